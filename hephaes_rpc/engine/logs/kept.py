"""The index of the log that was looked at last, for whoever asks about the same log again.

Strategy: between two uses the file is closed; what is kept is only what the sweep over its records found.  It is used
again when the path leads to the very file of then (device, inode, size, time of change), and forgotten otherwise, where
the work over it failed, and where it is large.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from hephaes_rpc.engine.logs.base import LogReader, Progress
from hephaes_rpc.engine.logs.opening import open_log
from hephaes_rpc.engine.logs.reader import RecordReader
from hephaes_rpc.errors import HephaesError

MAX_MESSAGES = 8 << 20
"""12 bytes each."""


class KeptLog:
    """Opens logs one after the other; keeps the last one."""

    def __init__(self) -> None:
        self._kept: tuple[str, RecordReader] | None = None

    @contextmanager
    def open(self, path: str, progress: Progress) -> Iterator[LogReader]:
        """As ``open_log``; the log is closed at the end."""
        with self._again(path, progress) or open_log(path, progress) as log:
            yield log
        if isinstance(log, RecordReader) and log.can_reopen and log.summary.message_count <= MAX_MESSAGES:
            self._kept = (path, log)

    def _again(self, path: str, progress: Progress) -> RecordReader | None:
        kept, self._kept = self._kept, None
        if kept is None or kept[0] != path:
            return None
        try:
            kept[1].reopen(progress)
        except HephaesError:
            return None
        return kept[1]
