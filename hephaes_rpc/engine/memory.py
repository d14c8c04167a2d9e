"""What has been freed goes back to the system."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

KEPT_BYTES = 16 << 20


def stay_small(n_arenas: int, large_bytes: int) -> None:
    """Have what threads allocate lie in few places, and what is large apart from it; before there are threads; glibc.

    By default every thread up to eight per core gets an arena, and what it has freed serves no other thread; and what
    counts as large grows with what has been freed, so that large buffers come to lie between small ones.
    """
    _set({_M_ARENA_MAX: n_arenas, _M_MMAP_THRESHOLD: large_bytes})


def keep_freed() -> None:
    """Have malloc keep up to KEPT_BYTES of what is freed for what is needed next, pages and all; glibc only.

    By default what is freed in large pieces goes back to the system, which has to clear it before it is had again:
    a twentieth of the CPU time of a conversion of images.
    """
    _set({_M_MMAP_THRESHOLD: KEPT_BYTES, _M_TRIM_THRESHOLD: KEPT_BYTES})


def give_back() -> None:
    """Return freed memory that malloc keeps, after a phase that freed much of it in small pieces; glibc only."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def _set(options: dict[int, int]) -> None:
    try:
        libc = ctypes.CDLL(None)
        for option, value in options.items():
            libc.mallopt(option, value)
    except (AttributeError, OSError, TypeError):
        return
