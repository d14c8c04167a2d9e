"""For the tests of whatever talks to the sidecar: the real process, a typed client, logs to feed it.

``hephaes_rpc.testing.plugin`` is the pytest plugin that is there once the package is installed.
"""

from hephaes_rpc.client import RpcError, frame
from hephaes_rpc.testing.sidecar import Sidecar, session_members
from hephaes_rpc.testing.typed import TypedClient

__all__ = ["RpcError", "Sidecar", "TypedClient", "frame", "session_members"]
