"""What a sweep over a log's records collects: chunks, their index entries, and what is wrong."""

import numpy as np
from attrs import Factory, define, field, frozen
from numpy.typing import NDArray

from hephaes_native.records import Entries
from hephaes_rpc.engine.logs.index import ChunkEntries, impossible
from hephaes_rpc.engine.logs.types import LostRange

MAX_WARNINGS = 100


@frozen
class Chunk:
    """Where a chunk lies and what its own header says of it; ``crc`` 0 means none, ``times`` its least and greatest.

    ``cut``: the file ends inside it, ``stored_bytes`` are those that are there.
    """

    position: int
    data_position: int
    stored_bytes: int
    raw_bytes: int
    compression: str
    crc: int = 0
    times: tuple[int, int] | None = None
    chunked: bool = True
    cut: bool = False


@define
class Sweep:
    """Chunks in file order with their entries (None: unknown, the chunk must be scanned), and warnings.

    Index records belong to the chunk before them: ``add_chunk``, then ``add_index`` as often as pieces come, then
    ``close_chunk``.
    """

    chunks: list[Chunk] = Factory(list)
    entries: list[ChunkEntries | None] = Factory(list)
    warnings: list[str] = Factory(list)
    gaps: list[str] = Factory(list)
    lost: list[LostRange] = Factory(list)
    _open: bool = field(default=False, init=False)
    _pieces: list[ChunkEntries] = field(factory=list, init=False)
    _malformed: int = field(default=0, init=False)

    def warn(self, message: str, *, lost: bool) -> None:
        """Tell something of the log; ``lost``: messages are, or may be, missing because of it."""
        for told in (self.warnings, self.gaps) if lost else (self.warnings,):
            if message in told:
                continue
            if len(told) < MAX_WARNINGS:
                told.append(message)
            else:
                told[-1] = f"further {'gaps' if told is self.gaps else 'warnings'} are left out"

    def lose(self, start: int, end: int, reason: str) -> None:
        """Note bytes that could not be read, beside the warning; a range that goes on is one."""
        if self.lost and self.lost[-1].end == start and self.lost[-1].reason == reason:
            start = self.lost.pop().start
        if start < end and len(self.lost) < MAX_WARNINGS:
            self.lost.append(LostRange("", start, end, reason))

    @property
    def lossy(self) -> bool:
        """Whether messages are, or may be, missing."""
        return bool(self.gaps)

    def add_chunk(self, chunk: Chunk, entries: ChunkEntries | None = None) -> None:
        """Add a chunk; without entries it is open for index records."""
        self.close_chunk()
        self.chunks.append(chunk)
        self.entries.append(entries)
        self._open = entries is None

    def add_index(self, entries: Entries) -> None:
        """Add index entries of the open chunk."""
        self._pieces.append(ChunkEntries.of(entries))
        self._malformed += entries.malformed

    def close_chunk(self) -> None:
        """Give the open chunk its index entries, if they are there and can be true."""
        pieces, malformed, was_open = self._pieces, self._malformed, self._open
        self._pieces, self._malformed, self._open = [], 0, False
        if not was_open or malformed:
            return
        entries = ChunkEntries.join(pieces)
        if len(entries) or self.chunks[-1].raw_bytes == 0:
            self.entries[-1] = entries

    def judge(self) -> None:
        """Forget index entries that cannot be true, so that their chunks are scanned."""
        self.close_chunk()
        if any(entries is not None for entries in self.entries):
            entries = [entries or ChunkEntries.empty() for entries in self.entries]
            for i in np.flatnonzero(self._impossible(entries, self.chunks)):
                again = entries[i].in_runs()
                self.entries[i] = None if self._impossible([again], [self.chunks[i]])[0] else again

    @staticmethod
    def _impossible(entries: list[ChunkEntries], chunks: list[Chunk]) -> NDArray[np.bool_]:
        return impossible(entries, [c.raw_bytes for c in chunks], [c.times for c in chunks])
