"""What has been freed goes back to the system."""

import ctypes

_M_ARENA_MAX = -8


def share_arenas(n_arenas: int) -> None:
    """Have all threads allocate from so few arenas, before there are any threads; glibc only.

    By default every thread up to eight per core gets one, and what it has freed serves no other thread.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, n_arenas)
    except (AttributeError, OSError, TypeError):
        return


def give_back() -> None:
    """Return freed memory that malloc keeps, after a phase that freed much of it in small pieces; glibc only."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
