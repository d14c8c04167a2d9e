"""What a sweep over a log's records collects: chunks, their index entries, and what is wrong."""

from attrs import Factory, define, field, frozen

from hephaes_native.records import Entries
from hephaes_rpc.engine.logs.index import ChunkEntries, from_index

MAX_WARNINGS = 100


@frozen
class Chunk:
    """Where a chunk lies and what its own header says of it; ``crc`` 0 means none, ``times`` its least and greatest."""

    position: int
    data_position: int
    stored_bytes: int
    raw_bytes: int
    compression: str
    crc: int = 0
    times: tuple[int, int] | None = None
    chunked: bool = True


@define
class Sweep:
    """Chunks in file order with their entries (None: unknown, the chunk must be scanned), and warnings.

    Index records belong to the chunk before them: ``add_chunk``, then ``add_index`` as often as pieces come, then
    ``close_chunk``.
    """

    chunks: list[Chunk] = Factory(list)
    entries: list[ChunkEntries | None] = Factory(list)
    warnings: list[str] = Factory(list)
    lossy: bool = False
    _open: bool = field(default=False, init=False)
    _pieces: list[ChunkEntries] = field(factory=list, init=False)
    _malformed: int = field(default=0, init=False)

    def warn(self, message: str, *, lost: bool) -> None:
        """Tell something of the log; ``lost``: messages are, or may be, missing because of it."""
        self.lossy |= lost
        if message in self.warnings:
            return
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(message)
        else:
            self.warnings[-1] = "further warnings are left out"

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
        chunk = self.chunks[-1]
        entries = from_index(ChunkEntries.join(pieces), chunk.raw_bytes, chunk.times)
        if chunk.raw_bytes == 0 or (entries is not None and len(entries)):
            self.entries[-1] = entries
