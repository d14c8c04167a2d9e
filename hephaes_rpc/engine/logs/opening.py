"""Which reader a file needs, by its first bytes."""

from os import PathLike

from hephaes_rpc.engine.logs import bag, mcap
from hephaes_rpc.engine.logs.base import LogReader, Progress
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.errors import LogError

OTHER_FORMATS = (
    (b"#ROSBAG V", "bad_input", "a ROS bag of a format other than 2.0"),
    (b"\x89MCAP", "unsupported", "an MCAP file of another major version than 0"),
    (b"SQLite format 3\x00", "unsupported", "an SQLite database (a rosbag2 .db3 file?)"),
    (b"version https://git-lfs", "bad_input", "a Git LFS pointer: the log itself was not fetched"),
    (b"\x28\xb5\x2f\xfd", "unsupported", "a zstd-compressed file"),
    (b"\x04\x22\x4d\x18", "unsupported", "an lz4-compressed file"),
    (b"\x1f\x8b", "unsupported", "a gzip-compressed file"),
    (b"BZh", "unsupported", "a bzip2-compressed file"),
    (b"PK\x03\x04", "unsupported", "a zip archive"),
)


def _no_progress(done: int, total: int) -> None:
    del done, total


def open_log(path: str | PathLike[str], progress: Progress = _no_progress) -> LogReader:
    """Open a log by its content and index it.

    Args:
        progress: Called with bytes done and bytes in all while the file is swept, and again from the start where chunks
            have to be scanned; what it raises ends the work.

    Raises:
        LogError: ``bad_input`` or ``unsupported``; the message says what the file is instead, or where it is damaged.
        HephaesError: ``invalid_path``, ``permission``, ``io_error``, ``source_changed``.
    """
    file = LogFile(path)
    try:
        head = file.read_up_to(0, 32)
        if head.startswith(mcap.MAGIC):
            return mcap.McapReader(file, progress)
        if head.startswith(bag.MAGIC):
            return bag.BagReader(file, progress)
        raise _not_a_log(file.path, head)
    except BaseException:
        file.close()
        raise


def _not_a_log(path: str, head: bytes) -> LogError:
    if not head:
        return LogError("bad_input", f"{path} is empty", path=path)
    for magic, kind, what in OTHER_FORMATS:
        if head.startswith(magic):
            return LogError(kind, f"{path} is not a ROS bag or MCAP file of a known version, it is {what}", path=path)
    return LogError("bad_input", f"{path} is not a ROS bag or MCAP file: it begins with {head[:8]!r}", path=path)
