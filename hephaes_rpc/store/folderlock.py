"""Tells the other processes of this machine that a workspace's database is open, by a lock on its folder.

Strategy: whoever has the database open shares the lock, whoever puts another file in its place holds it alone.  No file
is made for it, nothing is left behind by a process that was killed, and no process that is started inherits it.  Where
a folder cannot be locked nothing is known and nothing held: on Windows, where no open file can be replaced anyway, and
on some network file systems.
"""

import errno
import os
import sys
from pathlib import Path

_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class FolderLock:
    """A lock that is held from now until ``close``.

    Args:
        folder: What is locked.
        alone: Whether nobody else may hold it; otherwise it is shared.

    Raises:
        BlockingIOError: Another process (or another lock of this one) is in the way.
    """

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        self._fd: int | None = None
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # whoever looks into the folder is told
            return
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in _BUSY:
                raise BlockingIOError(error.errno, error.strerror, str(folder)) from None
            return
        self._fd = fd

    def close(self) -> None:
        """Hold it no longer."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
