"""A file of known size, read by position; what it lacks is an error that says so."""

import os
import stat
from os import PathLike
from typing import Self

from hephaes_rpc.errors import HephaesError

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)


class LogFile:
    """Positional reads of a regular file, as large as it was when it was opened; safe from several threads.

    Memory mapping is avoided on purpose: a file that shrinks under a mapping kills the process.  For a file that was
    unpacked ``stored_bytes`` is its size on the disk, ``size`` that of its content, and ``damage`` tells what of it
    could not be unpacked.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Open ``path``; raises HephaesError (``invalid_path``, ``permission``, ``io_error``)."""
        self.path = os.fspath(path)
        self.damage: str | None = None
        self._fd = -1
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):  # noqa: PTH116  (before open: a pipe would block)
                raise HephaesError("invalid_path", f"{self.path} is not a file", path=self.path)
            self._fd = os.open(self.path, _OPEN_FLAGS)
            self._opened = os.fstat(self._fd)
            self.size = self.stored_bytes = self._opened.st_size
            self.can_reopen = True
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise HephaesError("invalid_path", f"{self.path} does not exist", path=self.path) from error
        except PermissionError as error:
            raise HephaesError("permission", f"{self.path} may not be read", path=self.path) from error
        except OSError as error:
            raise HephaesError("io_error", f"{self.path}: {error.strerror}", path=self.path) from error

    def read(self, position: int, length: int) -> bytes:
        """Exactly ``length`` bytes; the range must lie inside ``size``."""
        try:
            data = os.pread(self._fd, length, position)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), position + len(data))
                if not more:
                    raise HephaesError(
                        "source_changed",
                        f"{self.path} became shorter while it was read: nothing at byte {position + len(data)}, "
                        f"it had {self.size}",
                        path=self.path,
                    )
                data += more
        except OSError as error:
            raise HephaesError("io_error", f"{self.path}, byte {position}: {error.strerror}", path=self.path) from error
        return data

    def read_up_to(self, position: int, length: int) -> bytes:
        """As ``read``, cut at the end of the file."""
        return self.read(position, max(0, min(length, self.size - position)))

    def require_unchanged(self, *, may_grow: bool = False) -> None:
        """Raise ``source_changed`` unless what has the path is the very file that was opened, as it was then.

        With ``may_grow`` it may have become longer: a recorder still writes to it.
        """
        before = self._opened
        try:
            now = os.stat(self.path)  # noqa: PTH116  (not what is open: what has the name)
        except OSError as error:
            raise self._changed(f"it cannot be found any more ({error.strerror})") from None
        if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
            raise self._changed("it was replaced by another file")
        if may_grow and now.st_size > before.st_size:
            return
        if now.st_size != before.st_size:
            raise self._changed(f"it had {before.st_size} bytes and has {now.st_size} now")
        if now.st_mtime_ns != before.st_mtime_ns:
            raise self._changed("it was written to")

    def _changed(self, how: str) -> HephaesError:
        return HephaesError("source_changed", f"{self.path} changed while it was read: {how}", path=self.path)

    def reopen(self) -> None:
        """Open the file anew after ``close``; raises HephaesError where it is not the very file, as it was."""
        again = LogFile(self.path)
        self._fd, again._fd = again._fd, -1
        try:
            self.require_unchanged()
        except HephaesError:
            self.close()
            raise

    def replaced(self, fd: int, damage: str | None) -> Self:
        """The unpacked content of this file, open as ``fd``, under the same path; this one is closed."""
        unpacked = type(self).__new__(type(self))
        unpacked.path, unpacked.stored_bytes, unpacked.damage = self.path, self.stored_bytes, damage
        unpacked._fd, unpacked.size, unpacked._opened = fd, os.fstat(fd).st_size, self._opened
        unpacked.can_reopen = False
        self.close()
        return unpacked

    def close(self) -> None:
        """Close the descriptor; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
