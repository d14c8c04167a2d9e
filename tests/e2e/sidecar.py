"""The real sidecar, from the harness that is shipped."""

from hephaes_rpc.testing import RpcError, Sidecar, frame, session_members

__all__ = ["RpcError", "Sidecar", "frame", "session_members"]
