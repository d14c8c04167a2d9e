"""How this program starts further processes of itself, and how these end with the one that started them."""

import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def command(name: str) -> list[str]:
    """The command line of a process of this program, ``worker`` or ``script``."""
    if getattr(sys, "frozen", False):
        return [sys.executable, name]
    return [sys.executable, "-P", "-m", "hephaes_rpc", name]


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; nothing where it cannot."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
