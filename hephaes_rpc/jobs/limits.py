"""What a worker process may take of the machine: memory it has to itself, no core dumps."""

import errno
import sys
from contextlib import suppress
from pathlib import Path

from hephaes_rpc.errors import HephaesError

SPARE_BYTES = 4 << 30
"""Address space beyond the limit: stacks, mapped files and what allocators reserve are no memory in use."""
_REFUSALS = ("annot allocate memory", "failed to map segment", "can't start new thread")
"""How loaders and threads say it, without an error number."""


def restrict(memory_bytes: int | None) -> None:
    """Have single allocations that could never fit refused; nothing where the system has no such limit."""
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if memory_bytes is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = memory_bytes + SPARE_BYTES
    mapped = _mapped_bytes()
    if (soft == resource.RLIM_INFINITY or wanted < soft) and mapped is not None and mapped < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def private_bytes() -> int | None:
    """Memory of this process that no file stands behind; None where that cannot be known."""
    found = _statm()
    return None if found is None else (found[1] - found[2]) * _page_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came of, is that memory was refused: by Python and the libraries that raise
    MemoryError, by the system (ENOMEM), by the loader of a library or the start of a thread.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or (isinstance(seen, OSError) and seen.errno == errno.ENOMEM):
            return True
        if isinstance(seen, ImportError | RuntimeError) and any(sign in str(seen) for sign in _REFUSALS):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False


def out_of_memory(memory_bytes: int | None) -> HephaesError:
    """What is told of a task that wanted too much."""
    limit = _limit_bytes(memory_bytes)
    of = "" if limit is None else f": it may have {limit >> 20} MB"
    return HephaesError(
        "worker_died",
        f"the worker ran out of memory{of}",
        hint="convert fewer topics at a time, choose fewer rows per row group, or raise HEPHAES_WORKER_MEMORY_MB",
        reason="memory",
        limit_bytes=limit,
    )


def _limit_bytes(memory_bytes: int | None) -> int | None:
    """The smaller of ours and one that came from outside."""
    if sys.platform == "win32":
        return memory_bytes
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft == resource.RLIM_INFINITY:
        return memory_bytes
    return soft if memory_bytes is None else min(soft, memory_bytes)


def _mapped_bytes() -> int | None:
    found = _statm()
    return None if found is None else found[0] * _page_bytes()


def _statm() -> tuple[int, int, int] | None:
    try:
        size, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    return int(size), int(resident), int(shared)


def _page_bytes() -> int:
    import mmap

    return mmap.PAGESIZE
