"""The reader that bag and MCAP share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import Self

from hephaes_rpc.engine.logs.types import ChunkTable, Int32s, LogSummary, Stream, TimeIndex, Walk
from hephaes_rpc.errors import LogError


class StaleIndexError(LogError):
    """A chunk does not hold what the log's index says; ``LogReader.rescan`` and start again."""


class LogReader(ABC):
    """One open log.  Chunks may be read from another thread than the one that made the reader."""

    summary: LogSummary
    chunks: ChunkTable

    def slots(self, streams: Sequence[Stream]) -> Int32s:
        """int32[max id + 1] for ``index`` and ``walk``: connections of ``streams[k]`` have slot k, others -1."""
        raise NotImplementedError

    def index(self, slots: Int32s) -> TimeIndex:
        """Log times of the selected messages, by slot."""
        raise NotImplementedError

    @abstractmethod
    def read_chunk(self, i: int) -> bytes | memoryview:
        """The decompressed records of chunk ``i``; size and CRC checked, allocation bounded."""

    @abstractmethod
    def walk(self, data: bytes | memoryview, slots: Int32s) -> Walk:
        """The selected messages of one chunk's records."""

    def messages(self, i: int, slots: Int32s) -> tuple[bytes | memoryview, Walk]:
        """``read_chunk`` and ``walk``; raises StaleIndexError when the index said otherwise."""
        raise NotImplementedError

    def rescan(self) -> None:
        """Rebuild ``summary``, ``chunks`` and the index from the content of every chunk."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; may be called twice."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_log(path: str | PathLike[str]) -> LogReader:
    """Open a log by its content; raises LogError (``bad_input``, ``unsupported``) or HephaesError (``invalid_path``)."""
    raise NotImplementedError
