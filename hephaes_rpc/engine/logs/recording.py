"""Recordings of several files: a folder that rosbag2 has written, or one that holds its splits without metadata.

Format: https://github.com/ros2/rosbag2, ``metadata.yaml`` of versions 1 to 9.  Only the names of the files it lists are
used; they lie beside it, whatever folder it says.
"""

import re
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve, frozen

from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.errors import HephaesError, LogError

METADATA = "metadata.yaml"
SUFFIXES = (".bag", ".mcap", ".db3")
PACKED = (".zstd", ".zst")
NEWEST_VERSION = 9
MAX_METADATA_BYTES = 4 << 20
MAX_METADATA_NODES = 400_000
"""As many commas, colons and lines; what reading them costs grows with them."""
MAX_PARTS = 10_000
_SPLIT = re.compile(r"(?P<prefix>.+)_(?P<number>\d{1,9})(?P<suffix>\.(?:mcap|db3))(?:\.zstd?)?", re.IGNORECASE)


@frozen
class Recording:
    """The files of a recording.

    Args:
        path: Its folder.
        parts: Names of the files that are there, in order.
        missing: Names of files that belong to it and are not there.
        notes: What is wrong with its metadata.
    """

    path: Path
    parts: tuple[str, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of the files that are there, in order."""
        return tuple(self.path / name for name in self.parts)

    @property
    def single(self) -> Path | None:
        """The only file of a recording that has and had no other."""
        return self.files[0] if len(self.parts) == 1 and not self.missing else None


def is_log_name(name: str) -> bool:
    """Whether a file name is one of a log."""
    return PurePosixPath(_unpacked(name)).suffix.lower() in SUFFIXES


def known_recording(folder: Path) -> Recording | None:
    """The recording of several files in a folder: by its metadata, or by names as rosbag2 gives them."""
    names = _log_names(folder)
    try:
        listed = _listed(folder) if names else None
    except LogError:
        listed = None
    if listed is not None:
        found, missing = _present(listed, names)
        if found:
            recording = Recording(folder, found, missing)
            return None if recording.single else recording
    return _own_splits(folder, names)


def _own_splits(folder: Path, names: Iterable[str]) -> Recording | None:
    """The files that are numbered behind the name of their folder, where they are several."""
    own = [splits for (prefix, _), splits in _splits(names).items() if prefix == folder.name and len(splits) > 1]
    return _numbered(folder, own[0], ()) if len(own) == 1 else None


def recording_in(folder: Path) -> Recording | None:
    """The recording that a folder holds, of one file or several; None where there is no log in it.

    Raises:
        LogError: Several logs lie there and nothing says that they are one.
    """
    names = _log_names(folder)
    notes: tuple[str, ...] = ()
    try:
        listed = _listed(folder)
        if listed is not None:
            found, missing = _present(listed, names)
            if found:
                return Recording(folder, found, missing)
            notes = (f"{METADATA} lists other files than lie beside it",)
    except LogError as error:
        notes = (error.message,)
    if not names:
        return None
    splits = _splits(names)
    known = _own_splits(folder, names)
    if known is not None:
        return evolve(known, notes=notes)
    if len(names) == 1:
        return Recording(folder, tuple(names), (), notes)
    if len(splits) == 1 and sum(map(len, splits.values())) == len(names):
        return _numbered(folder, next(iter(splits.values())), notes)
    text = f"{folder} holds {len(names)} logs that are not known to be one recording; name one of them"
    raise LogError("bad_input", text, path=str(folder))


def _log_names(folder: Path) -> list[str]:
    """The logs in a folder; a packed one beside its unpacked self does not count."""
    try:
        names = {entry.name for entry in folder.iterdir() if is_log_name(entry.name) and entry.is_file()}
    except PermissionError as error:
        raise HephaesError("permission", f"{folder} may not be read", path=str(folder)) from error
    except OSError as error:
        raise HephaesError("invalid_path", f"{folder}: {error.strerror}", path=str(folder)) from error
    return sorted(name for name in names if _unpacked(name) == name or _unpacked(name) not in names)


def _unpacked(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in PACKED else name


def _listed(folder: Path) -> list[str] | None:
    """Names of the files that the metadata lists; None without metadata, LogError where it cannot be read."""
    path = folder / METADATA
    try:
        with closing(LogFile(path)) as file:
            data = file.read_up_to(0, MAX_METADATA_BYTES + 1)
    except HephaesError:  # such as a pipe, which nobody may write to
        return None
    if len(data) > MAX_METADATA_BYTES:
        raise LogError("bad_input", f"{path} has more than {MAX_METADATA_BYTES} bytes, the limit")
    if sum(map(data.count, (b",", b":", b"\n"))) > MAX_METADATA_NODES:
        raise LogError("bad_input", f"{path} has more than {MAX_METADATA_NODES} entries, the limit")
    information = _information(path, data)
    listed = information.get("relative_file_paths")
    version = information.get("version")
    if version not in [str(k) for k in range(1, NEWEST_VERSION + 1)]:
        raise LogError("unsupported", f"{path} has version {ascii(version)[:40]}; known are 1 to {NEWEST_VERSION}")
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed) or len(listed) > MAX_PARTS:
        raise LogError("bad_input", f"{path} lists no files")
    return list(dict.fromkeys(PurePosixPath(name.replace("\\", "/")).name for name in listed))


def _information(path: Path, data: bytes) -> dict[str, Any]:
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # makes lists, mappings and text of it, nothing else
    try:
        found = yaml.load(data, Loader=loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LogError("bad_input", f"{path} is no YAML") from error
    information = found.get("rosbag2_bagfile_information") if isinstance(found, dict) else None
    if not isinstance(information, dict):
        raise LogError("bad_input", f"{path} has no rosbag2_bagfile_information")
    return information


def _present(listed: Iterable[str], names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of the listed files are there, packed or not, under the names that they have; and which are not."""
    there = {_unpacked(name): name for name in names}
    pairs = [(name, there.get(_unpacked(name))) for name in listed]
    return tuple(found for _, found in pairs if found), tuple(name for name, found in pairs if not found)


def _splits(names: Iterable[str]) -> dict[tuple[str, str], dict[int, str]]:
    """Split files by prefix and suffix, then by number."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        match = _SPLIT.fullmatch(name)
        if match is not None:
            found.setdefault((match["prefix"], match["suffix"].lower()), {})[int(match["number"])] = name
    return found


def _numbered(folder: Path, splits: dict[int, str], notes: tuple[str, ...]) -> Recording:
    numbers = sorted(splits)
    gaps = [k for a, b in pairwise(numbers) for k in range(a + 1, min(b, a + 100))]
    prefix = _unpacked(splits[numbers[0]]).rpartition("_")[0]
    return Recording(folder, tuple(splits[k] for k in numbers), tuple(f"{prefix}_{k}" for k in gaps[:100]), notes)
