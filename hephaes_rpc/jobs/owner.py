"""Who works on a job: a name that says, to any other process of this machine, whether its bearer is still alive."""

import os
import uuid
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


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _UNKNOWN


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it has ended, or cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
