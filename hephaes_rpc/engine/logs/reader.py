"""The reader of containers made of records, bag and MCAP.

Strategy: a container reader sweeps the records of the file once, hopping over chunk data, and collects chunks, index
records and definitions where they really lie; the summary at the end of the file is only compared with that.  A chunk
whose index records are absent or cannot be true is opened and scanned instead.  So counts and times are those of the
messages that are there, no list is believed twice, and no payload is read where the index holds.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np

from hephaes_native import records
from hephaes_rpc.engine.logs.base import IndexedReader, Payload, Progress
from hephaes_rpc.engine.logs.chunks import SCAN_COST, check_budget, check_scan_budget, decompress, decompress_part
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import ChunkEntries, MessageIndex
from hephaes_rpc.engine.logs.resync import WINDOW_BYTES
from hephaes_rpc.engine.logs.types import Int32s, Walk
from hephaes_rpc.errors import LogError

OK, TRUNCATED, INVALID_OPCODE, SHORT_RECORD, TIME_RANGE, FOREIGN = range(6)
MAX_HOLES = 1000
MOST_AHEAD_BYTES = 4 << 20


class RecordReader(IndexedReader):
    """One bag or MCAP file."""

    _native_walk: ClassVar[Callable[..., records.Walk]]
    _native_scan: ClassVar[Callable[..., records.Entries]]

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Index ``file``, which the reader owns once that succeeded."""
        super().__init__(file, progress)
        self._scanned: set[int] = set()
        self._holes: dict[int, list[tuple[int, int]]] = {}
        self._out_of_range = False
        self._redeclared = 0
        self._scan_cost = 0
        self._sweep()
        self._found.judge()
        self._settle()

    # What a container knows -------------------------------------------------------------------------------------------

    @abstractmethod
    def _sweep(self) -> None:
        """Fill ``_found`` and ``_connections`` from the records of the file."""

    @abstractmethod
    def _next_record(self, start: int) -> int | None:
        """The first position in the file from ``start`` on where a record of the data section can be told to begin."""

    @abstractmethod
    def _next_inner(self, data: Payload, start: int) -> int | None:
        """As ``_next_record`` inside a chunk's data."""

    @abstractmethod
    def _record_end(self, data: Payload, at: int) -> int:
        """Where a record ends whose frame is sound, though its content is not."""

    @abstractmethod
    def _begins_soundly(self, data: Payload, at: int) -> bool:
        """Whether what cannot be read at ``at`` is a record whose length alone is wrong."""

    @abstractmethod
    def _define(self, data: Payload, offsets: Iterable[int]) -> None:
        """Take the definition records at ``offsets``; raises LogError where one contradicts an earlier one."""

    @abstractmethod
    def _claims(self) -> dict[int, int] | None:
        """Messages by connection as the file's own summary counts them, or None."""

    def _doubtful(self) -> Iterable[int]:
        """Chunks whose index entries the file's own summary contradicts."""
        return ()

    def _is_declared(self, id_: int) -> bool:
        """Whether all that a connection is declared by is known."""
        return id_ in self._connections

    # Public -----------------------------------------------------------------------------------------------------------

    def read_chunk(self, i: int) -> Payload:
        """The decompressed records of chunk ``i``; size and CRC checked, allocation bounded."""
        return self._chunk_data(i, f"{self._file.path}: {self._where(i)}")

    def walk(self, data: Payload, slots: Int32s) -> Walk:
        """The selected messages of one chunk's records, up to the first damaged one."""
        return _walk(type(self)._native_walk(data, slots))

    def rescan(self) -> None:
        """Rebuild ``summary``, ``chunks`` and the index from the content of every chunk, telling ``progress``."""
        self._take_apart()
        self._scan(range(len(self._found.chunks)))
        self._settle()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    @property
    def can_reopen(self) -> bool:
        """Whether ``reopen`` may follow ``close``."""
        return self._file.can_reopen

    def reopen(self, progress: Progress) -> None:
        """Open the file anew after ``close``; raises HephaesError where it is not the very file, as it was."""
        self._file.reopen()
        self._progress = progress

    # For the containers -----------------------------------------------------------------------------------------------

    def _at(self, position: int) -> str:
        return f"byte {position}"

    def _lost(self, position: int, reason: str, *, suspect: int | None = None) -> int | None:
        """Tell that readable records end at ``position``; where they go on, or None.

        Args:
            suspect: The record before, if its length may be what is wrong.
        """
        resume = self._next_record((position if suspect is None else suspect) + 1)
        end = self._file.size if resume is None else resume
        if resume is not None:
            self._found.close_chunk()
        begin = min(position, end)
        self._found.warn(f"{self._at(begin)}: {reason}; {end - begin} bytes are left out", lost=True)
        self._found.lose(begin, end, reason)
        return resume

    def _scanning(self, position: int, length: int) -> bytes:
        """Bytes for a search, with progress told."""
        if length >= WINDOW_BYTES:
            self._progress(position, self._file.size)
        return self._file.read_up_to(position, length)

    def is_read_ahead(self, i: int) -> bool:
        """Whether a chunk has to be decompressed, to MOST_AHEAD_BYTES or less."""
        chunk = self._found.chunks[i]
        return chunk.compression != "none" and chunk.raw_bytes <= MOST_AHEAD_BYTES

    def _read(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        data = self.read_chunk(i)
        native = type(self)._native_walk(data, slots)
        redeclared = self._redeclared
        self._define(data, native.definitions)
        walk = _walk(native)
        if (
            native.status != OK
            or self._redeclared != redeclared
            or (native.messages != self._index.chunk_size(i) and i not in self._scanned)
            or not self._index.lists(i, slots, walk.bounds, walk.log_time)
        ):
            raise self._stale(i)
        return data, walk

    def _chunk_data(self, i: int, where: str) -> Payload:
        chunk = self._found.chunks[i]
        check_budget(chunk.stored_bytes, chunk.raw_bytes, where)
        stored = self._file.read(chunk.data_position, chunk.stored_bytes)
        if chunk.cut:
            raw = decompress_part(chunk.compression, stored, chunk.raw_bytes, where)
        else:
            raw = decompress(chunk.compression, stored, chunk.raw_bytes, where)
            if chunk.crc and records.crc32(raw) != chunk.crc:
                raise LogError("bad_input", f"{where} is damaged: its CRC does not match", chunk=i)
        holes = self._holes.get(i)
        return _joined(raw, holes) if holes is not None else raw

    def _scan(self, chunk_numbers: Iterable[int]) -> None:
        """Take the messages of these chunks from their content; what is damaged of a chunk is left out."""
        for i in chunk_numbers:
            if i not in self._scanned:
                self._scanned.add(i)
                self._found.entries[i] = self._scan_chunk(i)

    def _scan_chunk(self, i: int) -> ChunkEntries:
        chunk = self._found.chunks[i]
        self._progress(chunk.position, self._file.size)
        try:
            self._scan_cost += self._cost(i)
            data = self._chunk_data(i, self._where(i))
        except LogError as error:
            self._found.warn(f"{error.message}; its messages are left out", lost=True)
            self._found.lose(chunk.position, chunk.data_position + chunk.stored_bytes, error.message)
            return ChunkEntries.empty()
        found = type(self)._native_scan(data)
        if found.status != OK:
            self._holes[i] = self._sound_pieces(i, data, found)
            data = _joined(data, self._holes[i])
            found = type(self)._native_scan(data)
        self._define(data, found.definitions)
        return ChunkEntries.of(found).in_runs()

    def _cost(self, i: int) -> int:
        """What it costs to scan a chunk, in bytes that are decompressed; LogError where it would be too much."""
        chunk, where = self._found.chunks[i], self._where(i)
        check_budget(chunk.stored_bytes, chunk.raw_bytes, where)
        cost = chunk.raw_bytes * SCAN_COST.get(chunk.compression, 1)
        if cost:
            check_scan_budget(self._scan_cost + cost, self._file.size, where)
        return cost

    def _sound_pieces(self, i: int, data: Payload, found: records.Entries) -> list[tuple[int, int]]:
        """What can be read of a chunk's data, as (begin, end); the rest is told."""
        chunk, view = self._found.chunks[i], memoryview(data)
        pieces: list[tuple[int, int]] = []
        start = 0
        while len(pieces) < MAX_HOLES:
            stop = start + found.stop
            if found.status == OK:
                pieces.append((start, stop))
                return pieces
            reason = records.STATUS_NAMES[found.status]
            resume: int | None
            if found.status in (SHORT_RECORD, TIME_RANGE):
                resume = self._record_end(data, stop)
                self._out_of_range = self._out_of_range or found.status == TIME_RANGE
            elif chunk.cut and found.status == TRUNCATED:
                resume = None
            else:
                first = stop
                if not chunk.crc and len(found.offset) and not self._begins_soundly(data, stop):
                    first = start + found.offset[-1]  # the record before may be what is damaged
                resume = self._next_inner(data, first + 1)
                stop = first if resume is not None or found.status != TRUNCATED else stop
            pieces.append((start, stop))
            end = len(view) if resume is None else resume
            rest = "the rest of it is left out" if resume is None else f"{end - stop} bytes are left out"
            self._found.warn(f"{self._where(i)}, offset {stop}: {reason}; {rest}", lost=True)
            if chunk.compression == "none":
                self._found.lose(chunk.data_position + stop, chunk.data_position + end, reason)
            else:
                self._found.lose(chunk.position, chunk.data_position + chunk.stored_bytes, reason)
            if resume is None:
                return pieces
            start = resume
            found = type(self)._native_scan(view[start:])
        self._found.warn(f"{self._where(i)} is damaged in too many places; the rest of it is left out", lost=True)
        return pieces

    # Making the summary -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Scan what the sweep could not index, compare with the file's claims, build the index and the summary."""
        self._scan([i for i, entries in enumerate(self._found.entries) if entries is None])
        self._build_index()
        doubtful = [i for i in self._doubtful() if i not in self._scanned]
        if doubtful:
            self._take_apart()
            self._scan(doubtful)
            self._build_index()
        claims = self._claims()
        if claims is not None and claims != self._index.counts():
            self._take_apart()
            self._scan(range(len(self._found.chunks)))
            self._build_index()
            self._report_claims(claims)
        if self._found.lossy and not len(self._index.time):
            text = f"{self._file.path} holds nothing that can be read: {self._found.warnings[0]}"
            raise LogError("unsupported" if self._out_of_range else "bad_input", text, path=self._file.path)
        self._summarize()

    def _build_index(self) -> None:
        """Index all messages whose connection is declared; chunks are opened to find its declaration."""
        if unknown := self._undeclared():
            for i in dict.fromkeys([*unknown.values(), *range(len(self._found.chunks))]):
                self._scan([i])
                if all(self._is_declared(id_) for id_ in unknown):
                    break
        self._put_together()
        if not unknown:
            return
        counts = self._index.counts()
        left_out = counts.keys() - self._connections.keys()
        for id_ in left_out:
            text = f"{counts[id_]} messages of connection {id_}, which is declared nowhere, are left out"
            self._found.warn(text, lost=True)
        if left_out:
            self._take_apart()
            self._found.entries = [entries.of_connections(self._connections) for entries in self._entries()]
            self._put_together()

    def _put_together(self) -> None:
        """Make the index of the entries found, which are in it then."""
        entries, self._found.entries = self._entries(), []
        self._index = MessageIndex.build(entries)

    def _take_apart(self) -> None:
        """Have the entries of each chunk again."""
        self._found.entries = list(self._index.entries())

    def _entries(self) -> list[ChunkEntries]:
        return [entries for entries in self._found.entries if entries is not None]

    def _undeclared(self) -> dict[int, int]:
        """Connections without declaration, each with the first chunk that holds messages of it."""
        first: dict[int, int] = {}
        for i, entries in enumerate(self._entries()):
            for id_ in entries.runs.connection:
                first.setdefault(id_, i)
        return {id_: i for id_, i in first.items() if not self._is_declared(id_)}

    def _report_claims(self, claims: dict[int, int]) -> None:
        counts = self._index.counts()
        if counts != claims:
            claimed, found = sum(claims.values()), sum(counts.values())
            what = (
                f"{claimed} messages, {found} were found" if claimed != found else "other counts per topic than found"
            )
            self._found.warn(f"the summary claims {what}", lost=claimed > found)
        else:
            self._found.warn("the message index is wrong; the chunks were scanned", lost=False)


def _joined(data: Payload, pieces: Iterable[tuple[int, int]]) -> bytes:
    view = memoryview(data)
    return b"".join(view[begin:end] for begin, end in pieces)


def _walk(native: records.Walk) -> Walk:
    arrays = (native.log_time, native.publish_time, native.offset, native.length, native.bounds)
    log_time, publish_time, offset, length, bounds = (np.frombuffer(a, np.int64) for a in arrays)
    return Walk(log_time, publish_time, offset, length, bounds, native.messages)
