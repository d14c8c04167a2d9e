"""Logs as files of the user's: which path is one, and which lie below a folder."""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hephaes_rpc.engine.identity import identify
from hephaes_rpc.engine.logs.recording import SUFFIXES, Recording, is_log_name, known_recording, recording_in
from hephaes_rpc.errors import HephaesError, LogError

logger = logging.getLogger(__name__)

TELL_EVERY = 500


class LogFile(NamedTuple):
    """A log by its absolute path, links resolved, as it is now; a recording of several files by its folder."""

    path: Path
    size_bytes: int
    mtime_ns: int


def log_file(text: str | Path) -> LogFile:
    """The log at a path, a recording's file or folder being all of it; raises ``invalid_path``, ``permission``."""
    path, found = _look(text)
    if stat.S_ISDIR(found.st_mode):
        recording = _recording_in(path)
        return _whole(recording) if recording.single is None else log_file(recording.single)
    if not stat.S_ISREG(found.st_mode):
        raise _invalid(path, "is not a file")
    if not is_log_name(path.name):
        supported = ", ".join(SUFFIXES)
        raise HephaesError(
            "invalid_path", f"{printable(path.name)} is no log: {supported} are supported", path=printable(path)
        )
    whole = known_recording(path.parent)
    if whole is not None and path.name in whole.parts:
        return _whole(whole)
    return LogFile(path, found.st_size, found.st_mtime_ns)


def _recording_in(folder: Path) -> Recording:
    try:
        recording = recording_in(folder)
    except LogError as error:
        raise HephaesError("invalid_path", error.message, path=printable(folder)) from error
    if recording is None:
        raise _invalid(folder, "is not a file, and no log lies in it")
    return recording


def _whole(recording: Recording) -> LogFile:
    found = [_look(path)[1] for path in recording.files]
    return LogFile(recording.path, sum(one.st_size for one in found), max(one.st_mtime_ns for one in found))


def fingerprint(path: Path) -> str | None:
    """What tells the log at a path from others; None when it cannot be read."""
    try:
        return identify(path).fingerprint
    except (OSError, HephaesError):
        return None


def folder_of(text: str) -> Path:
    """The folder at a path, absolute, links resolved; raises ``invalid_path`` or ``permission``."""
    path, found = _look(text)
    if not stat.S_ISDIR(found.st_mode):
        raise _invalid(path, "is not a folder")
    return path


def logs_below(folder: Path, recursive: bool, told: Callable[[int], None]) -> list[Path]:
    """The logs in a folder, sorted by path: regular files, links to such, hidden folders too; recordings as folders.

    Links to folders are not followed, so no tree is endless; what cannot be read is left out and told to the log.
    ``told`` is called again and again with how many have been found, and may raise.
    """
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        told(len(found))
        current = waiting.pop()
        here: list[Path] = []
        try:
            for k, entry in enumerate(_entries(current)):
                if k % TELL_EVERY == 0:
                    told(len(found))
                if entry.is_dir(follow_symlinks=False):
                    if recursive:
                        waiting.append(Path(entry.path))
                elif is_log_name(entry.name) and _is_file(entry):
                    here.append(Path(entry.path))
            found += _by_recording(current, here)
        except OSError as error:
            if current == folder:
                raise
            logger.warning("%s is left out of the scan: %s", printable(current), error.strerror)
    return sorted(found, key=lambda path: path.parts)


def _by_recording(folder: Path, logs: list[Path]) -> list[Path]:
    """Logs of one folder, those of a recording of several files as the folder itself."""
    whole = known_recording(folder) if logs else None
    if whole is None:
        return logs
    return [folder, *(path for path in logs if path.name not in whole.parts)]


def printable(path: Path | str) -> str:
    """A path as text that UTF-8 can say."""
    return str(path).encode(errors="backslashreplace").decode()


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        yield from entries


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle
        return False


def _look(text: str | Path) -> tuple[Path, os.stat_result]:
    try:
        path = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _invalid(text, f"is not a usable path: {reason}") from None
    try:
        return path, path.stat()
    except PermissionError:
        raise HephaesError("permission", f"{printable(path)} may not be looked at", path=printable(path)) from None
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise _invalid(path, "does not exist" if absent else f"cannot be used: {error.strerror}") from None
    except ValueError as error:
        raise _invalid(path, f"is not a usable path: {error}") from None


def _invalid(path: Path | str, what: str) -> HephaesError:
    return HephaesError("invalid_path", f"{printable(path)} {what}", path=printable(path))
