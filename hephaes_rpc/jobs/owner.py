"""Who works on a job: a name that says, to any other process of this machine, whether its bearer is still alive."""

import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

_UNKNOWN = "-"


def new_owner() -> str:
    """A name for this process: a random id, the process id, when it started, and in which run of the system."""
    pid = os.getpid()
    return ":".join((uuid.uuid4().hex, str(pid), _started(pid) or _UNKNOWN, _boot()))


def is_alive(owner: str) -> bool:
    """Whether the process that took that name still runs; a name that cannot be read has no bearer."""
    parts = owner.split(":")
    if len(parts) != 4 or not parts[1].isdigit():
        return False
    _, pid, started, boot = parts
    if boot != _boot():
        return False
    return _exists(int(pid)) if started == _UNKNOWN else _started(int(pid)) == started


def kill_worker(owner: str, pid: int) -> bool:
    """Kill a worker process of an owner that does not answer; False unless the process is known to be its child."""
    owner_pid = owner.split(":")[1]
    fields = _stat(pid)
    if not is_alive(owner) or fields is None or fields[1] != owner_pid:
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return True


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _UNKNOWN


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it has ended, or cannot be known."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]


def _stat(pid: int) -> list[str] | None:
    """State, parent and more of a process, as proc(5) lists them behind its name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
