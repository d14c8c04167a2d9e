"""For the tests of whatever talks to the sidecar: the real process, a typed client, logs to feed it.

``hephaes_rpc.testing.plugin`` is the pytest plugin that is there once the package is installed; every run of pytest
loads it, hence nothing is imported here before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hephaes_rpc.client import RpcError, frame
    from hephaes_rpc.testing.sidecar import Sidecar, session_members
    from hephaes_rpc.testing.typed import TypedClient

__all__ = ["RpcError", "Sidecar", "TypedClient", "frame", "session_members"]

_HOMES = {
    "RpcError": "hephaes_rpc.client",
    "frame": "hephaes_rpc.client",
    "Sidecar": "hephaes_rpc.testing.sidecar",
    "session_members": "hephaes_rpc.testing.sidecar",
    "TypedClient": "hephaes_rpc.testing.typed",
}


def __getattr__(name: str) -> Any:
    """The class or function of that name, from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
