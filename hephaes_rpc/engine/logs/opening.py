"""Which reader a path needs: the recording of a folder, or a file by its first bytes.

A reader is imported for the first log that needs it.
"""

import os
from os import PathLike
from pathlib import Path

from hephaes_rpc.engine.logs.base import LogReader, Progress
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.inflate import MAGIC as ZSTD_MAGIC
from hephaes_rpc.engine.logs.magic import BAG_MAGIC, MCAP_MAGIC, SQLITE_MAGIC
from hephaes_rpc.errors import HephaesError, LogError

OTHER_FORMATS = (
    (b"#ROSBAG V", "bad_input", "a ROS bag of a format other than 2.0"),
    (b"\x89MCAP", "unsupported", "an MCAP file of another major version than 0"),
    (b"version https://git-lfs", "bad_input", "a Git LFS pointer: the log itself was not fetched"),
    (ZSTD_MAGIC, "unsupported", "a zstd-compressed file inside another"),
    (b"\x04\x22\x4d\x18", "unsupported", "an lz4-compressed file"),
    (b"\x1f\x8b", "unsupported", "a gzip-compressed file"),
    (b"BZh", "unsupported", "a bzip2-compressed file"),
    (b"PK\x03\x04", "unsupported", "a zip archive"),
)


def _no_progress(done: int, total: int) -> None:
    del done, total


def open_log(path: str | PathLike[str], progress: Progress = _no_progress) -> LogReader:
    """Open a log by its content and index it: a file, or the folder of a recording.

    Args:
        progress: Called with bytes done and bytes in all while the files are swept, and again from the start where
            chunks have to be scanned; what it raises ends the work.

    Raises:
        LogError: ``bad_input`` or ``unsupported``; the message says what the file is instead, or where it is damaged.
        HephaesError: ``invalid_path``, ``permission``, ``io_error``, ``disk_full``, ``source_changed``.
    """
    if not _is_folder(path):
        return open_file(path, progress)
    from hephaes_rpc.engine.logs.composite import CompositeReader
    from hephaes_rpc.engine.logs.recording import recording_in

    recording = recording_in(Path(path))
    if recording is None:
        raise HephaesError("invalid_path", f"{os.fspath(path)} is not a file, and no log lies in it")
    if recording.single is not None and not recording.notes:
        return open_file(recording.single, progress)
    return CompositeReader(recording, open_file, progress)


def open_file(path: str | PathLike[str], progress: Progress = _no_progress) -> LogReader:
    """As ``open_log`` for a single file."""
    file = LogFile(path)
    try:
        head = file.read_up_to(0, 32)
        if head.startswith(ZSTD_MAGIC):
            from hephaes_rpc.engine.logs.unpacking import unpack

            file = unpack(file, progress)
            head = file.read_up_to(0, 32)
        return _reader(file, head, progress)
    except BaseException:
        file.close()
        raise


def _reader(file: LogFile, head: bytes, progress: Progress) -> LogReader:
    if head.startswith(MCAP_MAGIC):
        from hephaes_rpc.engine.logs.mcap import McapReader

        return McapReader(file, progress)
    if head.startswith(BAG_MAGIC):
        from hephaes_rpc.engine.logs.bag import BagReader

        return BagReader(file, progress)
    if head.startswith(SQLITE_MAGIC):
        from hephaes_rpc.engine.logs.db3 import open_db3

        return open_db3(file, progress)
    raise _not_a_log(file.path, head)


def _is_folder(path: str | PathLike[str]) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _not_a_log(path: str, head: bytes) -> LogError:
    if not head:
        return LogError("bad_input", f"{path} is empty", path=path)
    for magic, kind, what in OTHER_FORMATS:
        if head.startswith(magic):
            return LogError(kind, f"{path} is no log of a known format, it is {what}", path=path)
    return LogError(
        "bad_input", f"{path} is no ROS bag, MCAP or rosbag2 SQLite file: it begins with {head[:8]!r}", path=path
    )
