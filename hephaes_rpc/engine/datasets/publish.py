"""Files appear under their final name complete or not at all.

Strategy: every file is written to a hidden sibling ``.{name}.{tag}.tmp``.  ``commit`` syncs all siblings, renames them
in the order they were opened (manifests come last), and syncs the folder.  A sibling still there when the publication
is left is removed; so is every file already renamed when a later rename fails and the file replaced none.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from hephaes_rpc.errors import HephaesError

MAX_NAME_BYTES = 255
SYNCS = 4
_KINDS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
}


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a HephaesError that names the folder."""
    try:
        yield
    except OSError as error:
        raise output_error(error, folder) from error


def output_error(error: OSError, folder: Path) -> HephaesError:
    """What a failed write into ``folder`` is called."""
    kind = _KINDS.get(error.errno or 0, "io_error")
    what = os.strerror(error.errno) if error.errno else str(error)
    if kind == "disk_full":
        return HephaesError(kind, f"{folder}: {what}{_free(folder)}", path=str(folder))
    return HephaesError(kind, f"{folder}: cannot write: {what}", path=str(folder))


def _free(folder: Path) -> str:
    try:
        usage = os.statvfs(folder)
    except OSError:
        return ""
    return f" ({usage.f_bavail * usage.f_frsize} bytes are free)"


class Publication:
    """The outputs of one conversion, all or none; a context manager."""

    def __init__(self, folder: Path, tag: str, *, overwrite: bool, check: Callable[[], None] | None = None) -> None:
        """Make ``folder``; ``tag`` marks the temporary files; what ``check`` raises keeps all of them unpublished."""
        self.folder = folder
        self._tag = tag
        self._check = check
        self._overwrite = overwrite
        self._names: list[str] = []
        self._pool = ThreadPoolExecutor(SYNCS, "hephaes-sync")  # what is synced at once, file systems write together
        self._synced: dict[str, Future[None]] = {}
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable")

    def expect(self, names: Iterable[str]) -> None:
        """Refuse now what ``claim`` would refuse of these names later."""
        for name in names:
            if len(os.fsencode(self._temporary(name).name)) > MAX_NAME_BYTES:
                raise HephaesError("invalid_path", f"the file name {name[:80]!r}... is too long", path=name[:80])
            final = self.folder / name
            if final.is_dir() and not final.is_symlink():
                raise HephaesError("output_exists", f"{final} is a folder", path=str(final))
            if not self._overwrite and os.path.lexists(final):
                raise HephaesError("output_exists", f"{final} is already there", path=str(final))

    def claim(self, name: str) -> Path:
        """Where to write the file that will be called ``name``."""
        self.expect([name])
        if name in self._names:
            raise HephaesError("bug", f"two outputs are called {name!r}")
        self._names.append(name)
        return self._temporary(name)

    def put(self, name: str, content: bytes) -> None:
        """Write a whole small file."""
        with writing_to(self.folder):
            self.claim(name).write_bytes(content)

    def sync_soon(self, name: str) -> None:
        """Have a file that is complete reach the disk, so that ``commit`` need not wait for it; any thread."""
        self._synced[name] = self._pool.submit(sync, self._temporary(name))

    def commit(self) -> None:
        """Give all files their final names, in the order they were claimed."""
        with writing_to(self.folder):
            for name in self._names:
                if name not in self._synced:
                    self.sync_soon(name)
            for name in self._names:
                self._synced[name].result()
            if self._check is not None:
                self._check()
            self._rename()
            sync(self.folder)

    def size(self, name: str) -> int:
        """Size in bytes of a file not yet committed."""
        with writing_to(self.folder):
            return self._temporary(name).stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for name in self._names:
            with suppress(OSError):
                self._temporary(name).unlink()

    def _temporary(self, name: str) -> Path:
        return self.folder / temporary_name(name, self._tag)

    def _rename(self) -> None:
        fresh: list[Path] = []
        try:
            for name in self._names:
                final = self.folder / name
                replaces = os.path.lexists(final)
                self._temporary(name).replace(final)
                if not replaces:
                    fresh.append(final)
        except OSError:
            for final in fresh:
                with suppress(OSError):
                    final.unlink()
            raise


def temporary_name(name: str, tag: str) -> str:
    """What a file is called until it is published."""
    return f".{name}.{tag}.tmp"


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
