"""The reader of containers made of records, bag and MCAP.

Strategy: a container reader sweeps the records of the file once, hopping over chunk data, and collects chunks, index
records and definitions where they really lie; the summary at the end of the file is only compared with that.  A chunk
whose index records are absent or cannot be true is opened and scanned instead.  So counts and times are those of the
messages that are there, no list is believed twice, and no payload is read where the index holds.
"""

import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np

from hephaes_native import records
from hephaes_rpc.engine.logs.base import IndexedReader, Payload, Progress
from hephaes_rpc.engine.logs.chunks import check_budget, decompress
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import ChunkEntries, MessageIndex
from hephaes_rpc.engine.logs.types import Int32s, Walk
from hephaes_rpc.errors import LogError

OK, TRUNCATED, INVALID_OPCODE, SHORT_RECORD, TIME_RANGE, FOREIGN = range(6)


class RecordReader(IndexedReader):
    """One bag or MCAP file."""

    _native_walk: ClassVar[Callable[..., records.Walk]]
    _native_scan: ClassVar[Callable[..., records.Entries]]

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Index ``file``, which the reader owns once that succeeded."""
        super().__init__(file, progress)
        self._scanned: set[int] = set()
        self._cut: set[int] = set()
        self._sweep()
        self._found.judge()
        self._settle()

    # What a container knows -------------------------------------------------------------------------------------------

    @abstractmethod
    def _sweep(self) -> None:
        """Fill ``_found`` and ``_connections`` from the records of the file."""

    @abstractmethod
    def _known_chunks(self) -> list[int]:
        """Positions of chunks, ascending, as the file's own summary lists them; asked for only after damage."""

    @abstractmethod
    def _is_chunk(self, position: int) -> bool:
        """Whether a whole chunk record begins there."""

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
        self._scan(range(len(self._found.chunks)))
        self._settle()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    # For the containers -----------------------------------------------------------------------------------------------

    def _at(self, position: int) -> str:
        return f"byte {position}"

    def _lost(self, position: int, reason: str) -> int | None:
        """Tell that readable records end at ``position``; the next chunk the log's summary knows of, or None."""
        for resume in self._known_chunks():
            if resume > position and self._is_chunk(resume):
                self._found.close_chunk()
                self._found.warn(f"{self._at(position)}: {reason}; {resume - position} bytes are left out", lost=True)
                return resume
        rest = self._file.size - position
        self._found.warn(f"{self._at(position)}: {reason}; {rest} bytes are left out", lost=True)
        return None

    def _read(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        data = self.read_chunk(i)
        native = type(self)._native_walk(data, slots)
        self._define(data, native.definitions)
        walk, expected = _walk(native), self._index.select_chunk(i, slots)
        if (
            (native.status != OK and i not in self._cut)
            or (native.messages != self._index.chunk_size(i) and i not in self._scanned)
            or not np.array_equal(walk.bounds, expected.bounds)
            or not np.array_equal(walk.log_time, expected.time)
        ):
            raise self._stale(i)
        return data, walk

    def _chunk_data(self, i: int, where: str) -> Payload:
        chunk = self._found.chunks[i]
        check_budget(chunk.stored_bytes, chunk.raw_bytes, where)
        stored = self._file.read(chunk.data_position, chunk.stored_bytes)
        raw = decompress(chunk.compression, stored, chunk.raw_bytes, where)
        if chunk.crc and zlib.crc32(raw) != chunk.crc:
            raise LogError("bad_input", f"{where} is damaged: its CRC does not match", chunk=i)
        return raw

    def _scan(self, chunk_numbers: Iterable[int]) -> None:
        """Take the messages of these chunks from their content; a damaged chunk keeps those before the damage."""
        for i in chunk_numbers:
            if i not in self._scanned:
                self._scanned.add(i)
                self._found.entries[i] = self._scan_chunk(i)

    def _scan_chunk(self, i: int) -> ChunkEntries:
        self._progress(self._found.chunks[i].position, self._file.size)
        try:
            data = self._chunk_data(i, self._where(i))
        except LogError as error:
            self._found.warn(f"{error.message}; its messages are left out", lost=True)
            return ChunkEntries.empty()
        found = type(self)._native_scan(data)
        self._define(data, found.definitions)
        if found.status == TIME_RANGE:
            text = f"{self._file.path}: {self._where(i)}, offset {found.stop}: {records.STATUS_NAMES[TIME_RANGE]}"
            raise LogError("unsupported", text, chunk=i)
        if found.status != OK:
            self._cut.add(i)
            reason = records.STATUS_NAMES[found.status]
            self._found.warn(f"{self._where(i)}, offset {found.stop}: {reason}; the rest of it is left out", lost=True)
        return ChunkEntries.of(found).in_runs()

    # Making the summary -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Scan what the sweep could not index, compare with the file's claims, build the index and the summary."""
        self._scan([i for i, entries in enumerate(self._found.entries) if entries is None])
        self._index = self._build_index()
        doubtful = [i for i in self._doubtful() if i not in self._scanned]
        if doubtful:
            self._scan(doubtful)
            self._index = self._build_index()
        claims = self._claims()
        if claims is not None and claims != self._index.counts():
            self._scan(range(len(self._found.chunks)))
            self._index = self._build_index()
            self._report_claims(claims)
        if self._found.lossy and not len(self._index.time):
            text = f"{self._file.path} holds nothing that can be read: {self._found.warnings[0]}"
            raise LogError("bad_input", text, path=self._file.path)
        self._summarize()

    def _build_index(self) -> MessageIndex:
        """The index of all messages whose connection is declared; chunks are opened to find its declaration."""
        index = MessageIndex.build(self._entries())
        unknown = self._undeclared(index)
        if not unknown:
            return index
        for i in dict.fromkeys([*unknown.values(), *range(len(self._found.chunks))]):
            self._scan([i])
            if all(self._is_declared(id_) for id_ in unknown):
                break
        index = MessageIndex.build(self._entries())
        counts = index.counts()
        for id_ in counts.keys() - self._connections.keys():
            text = f"{counts[id_]} messages of connection {id_}, which is declared nowhere, are left out"
            self._found.warn(text, lost=True)
        self._found.entries = [entries.of_connections(self._connections) for entries in self._entries()]
        return MessageIndex.build(self._entries())

    def _entries(self) -> list[ChunkEntries]:
        return [entries for entries in self._found.entries if entries is not None]

    def _undeclared(self, index: MessageIndex) -> dict[int, int]:
        """Connections without declaration, each with the first chunk that holds messages of it."""
        ids, first_run = np.unique(index.run_connection, return_index=True)
        chunks = index.run_chunk[first_run].tolist()
        return {id_: chunk for id_, chunk in zip(ids.tolist(), chunks, strict=True) if not self._is_declared(id_)}

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


def _walk(native: records.Walk) -> Walk:
    arrays = (native.log_time, native.publish_time, native.offset, native.length, native.bounds)
    log_time, publish_time, offset, length, bounds = (np.frombuffer(a, np.int64) for a in arrays)
    return Walk(log_time, publish_time, offset, length, bounds, native.messages)
