"""A file system under SQLite that says no at the n-th call."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

ERRORS: dict[str, type[apsw.Error]] = {"full": apsw.FullError, "write": apsw.IOError, "sync": apsw.IOError}

BASE = apsw.vfs_names()[0]


class Faults:
    """What fails next.

    Attributes:
        calls: Calls counted so far.
        hit: How many have failed.
    """

    def __init__(self) -> None:
        self.calls = self.hit = 0
        self._kind, self._at, self._on = "", 0, False

    def arm(self, kind: str, at: int, *, on: bool) -> None:
        """Have call number ``at`` from now on fail, with ``on`` every later one too."""
        self.calls = self.hit = 0
        self._kind, self._at, self._on = kind, at, on

    def disarm(self) -> None:
        """Have nothing fail."""
        self._kind = ""

    def count(self, call: str) -> None:
        """One more call of SQLite; raises when its turn has come."""
        if self._kind == "" or (self._kind == "sync") != (call == "sync"):
            return
        self.calls += 1
        if self.calls == self._at or (self._on and self.calls > self._at):
            self.hit += 1
            raise ERRORS[self._kind](f"fault {self._kind} at call {self.calls}")


class _File(apsw.VFSFile):
    def __init__(self, faults: Faults, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)
        self._faults = faults

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._faults.count("write")
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._faults.count("write")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._faults.count("sync")
        super().xSync(flags)


class _Vfs(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        super().__init__("faults", BASE, makedefault=True)
        self._faults = faults

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._faults, name, flags)


def _no_checkpoint(connection: apsw.Connection) -> None:
    """SQLite lets a checkpoint behind a commit fail in silence; apsw would raise what was meant for SQLite."""
    connection.wal_autocheckpoint(0)


@contextmanager
def failing() -> Iterator[Faults]:
    """Every database opened meanwhile lies on a file system that fails as armed."""
    faults = Faults()
    vfs = _Vfs(faults)
    apsw.connection_hooks.append(_no_checkpoint)
    try:
        yield faults
    finally:
        apsw.connection_hooks.remove(_no_checkpoint)
        vfs.unregister()
        apsw.set_default_vfs(BASE)
