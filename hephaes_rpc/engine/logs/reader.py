"""The reader that bag and MCAP share.

Strategy: a container reader sweeps the records of the file once, hopping over chunk data, and collects chunks, index
records and definitions where they really lie; the summary at the end of the file is only compared with that.  A chunk
whose index records are absent or cannot be true is opened and scanned instead.  So counts and times are those of the
messages that are there, no list is believed twice, and no payload is read where the index holds.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np
from attrs import evolve

from hephaes_native import records
from hephaes_rpc.engine.logs.chunks import check_budget, decompress
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import ChunkEntries, MessageIndex
from hephaes_rpc.engine.logs.sweep import Sweep
from hephaes_rpc.engine.logs.types import (
    ChunkTable,
    CompressionUse,
    Connection,
    Int32s,
    LogSummary,
    Stream,
    TimeIndex,
    Walk,
)
from hephaes_rpc.errors import LogError

OK, TRUNCATED, INVALID_OPCODE, SHORT_RECORD, TIME_RANGE, FOREIGN = range(6)


Progress: TypeAlias = Callable[[int, int], None]


class StaleIndexError(LogError):
    """A chunk does not hold what the log's index says; ``LogReader.rescan`` and start again."""


class LogReader(ABC):
    """One open log.  Chunks may be read from another thread than the one that made the reader."""

    storage_format: ClassVar[Literal["bag", "mcap"]]
    summary: LogSummary
    chunks: ChunkTable

    _native_walk: ClassVar[Callable[..., records.Walk]]
    _native_scan: ClassVar[Callable[..., records.Entries]]

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Index ``file``, which the reader owns once that succeeded."""
        self._file = file
        self._progress = progress
        self._found = Sweep()
        self._connections: dict[int, Connection] = {}
        self._scanned: set[int] = set()
        self._cut: set[int] = set()
        self.profile = self.library = ""
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
    def _define(self, data: bytes | memoryview, offsets: Iterable[int]) -> None:
        """Take the definition records at ``offsets``; raises LogError where one contradicts an earlier one."""

    @abstractmethod
    def _claims(self) -> dict[int, int] | None:
        """Messages by connection as the file's own summary counts them, or None."""

    def _doubtful(self) -> Iterable[int]:
        """Chunks whose index entries the file's own summary contradicts."""
        return ()

    @abstractmethod
    def _stream_of(self, connection: Connection) -> tuple[Literal[1, 2], str | None]:
        """ROS generation of a connection and why its encoding is unsupported."""

    def _is_declared(self, id_: int) -> bool:
        """Whether all that a connection is declared by is known."""
        return id_ in self._connections

    # Public -----------------------------------------------------------------------------------------------------------

    def slots(self, streams: Sequence[Stream]) -> Int32s:
        """int32[max id + 1] for ``index`` and ``walk``: connections of ``streams[k]`` have slot k, others -1."""
        slots = np.full(max(self._connections, default=0) + 1, -1, np.int32)
        for k, stream in enumerate(streams):
            for connection in stream.connections:
                slots[connection.id] = k
        return slots

    def index(self, slots: Int32s) -> TimeIndex:
        """Log times of the selected messages, by slot."""
        return self._index.select(slots)

    def offsets(self, slots: Int32s) -> Int32s:
        """Where in its chunk's data each message of ``index(slots)`` begins, int32[n], bytes."""
        return self._index.select_offsets(slots)

    def read_chunk(self, i: int) -> bytes | memoryview:
        """The decompressed records of chunk ``i``; size and CRC checked, allocation bounded."""
        return self._chunk_data(i, f"{self._file.path}: {self._where(i)}")

    def walk(self, data: bytes | memoryview, slots: Int32s) -> Walk:
        """The selected messages of one chunk's records, up to the first damaged one."""
        return _walk(type(self)._native_walk(data, slots))

    def messages(self, i: int, slots: Int32s) -> tuple[bytes | memoryview, Walk]:
        """``read_chunk`` and ``walk`` of a chunk that ``index`` names; StaleIndexError where its content differs."""
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
            text = f"{self._file.path}: {self._where(i)} does not hold the messages its index lists"
            raise StaleIndexError("bad_input", text, chunk=i)
        return data, walk

    def rescan(self) -> None:
        """Rebuild ``summary``, ``chunks`` and the index from the content of every chunk, telling ``progress``."""
        self._scan(range(len(self._found.chunks)))
        self._settle()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

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

    def _where(self, i: int) -> str:
        chunk = self._found.chunks[i]
        name = f"chunk {i}" if chunk.chunked else f"block {i}"
        return f"{name} at byte {chunk.position}"

    def _chunk_data(self, i: int, where: str) -> bytes | memoryview:
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

    def _summarize(self) -> None:
        self.chunks = self._chunk_table()
        filled = self.chunks.start_ns <= self.chunks.end_ns
        some = bool(filled.any())
        self.summary = LogSummary(
            path=self._file.path,
            size_bytes=self._file.size,
            storage_format=self.storage_format,
            ros_version="ROS1" if self.storage_format == "bag" or self.profile == "ros1" else "ROS2",
            profile=self.profile,
            library=self.library,
            streams=self._streams(),
            start_ns=int(self.chunks.start_ns[filled].min()) if some else None,
            end_ns=int(self.chunks.end_ns[filled].max()) if some else None,
            message_count=len(self._index.time),
            compression=self._compression(),
            outcome="part" if self._found.lossy else "whole",
            gaps=list(self._found.gaps),
            warnings=list(self._found.warnings),
        )

    def _chunk_table(self) -> ChunkTable:
        names = tuple(dict.fromkeys(c.compression for c in self._found.chunks))
        position, stored, raw = (
            np.array([getattr(c, name) for c in self._found.chunks], np.int64)
            for name in ("position", "stored_bytes", "raw_bytes")
        )
        start_ns, end_ns = self._index.chunk_times()
        return ChunkTable(
            position=position,
            stored_bytes=stored,
            raw_bytes=raw,
            compression=np.array([names.index(c.compression) for c in self._found.chunks], np.int8),
            compressions=names,
            chunked=np.array([c.chunked for c in self._found.chunks], np.bool_),
            start_ns=start_ns,
            end_ns=end_ns,
        )

    def _compression(self) -> dict[str, CompressionUse]:
        use: dict[str, CompressionUse] = {}
        for code, name in enumerate(self.chunks.compressions):
            mine = self.chunks.compression == code
            use[name] = CompressionUse(
                chunks=int((mine & self.chunks.chunked).sum()),
                stored_bytes=int(self.chunks.stored_bytes[mine].sum()),
                raw_bytes=int(self.chunks.raw_bytes[mine].sum()),
            )
        return use

    def _streams(self) -> tuple[Stream, ...]:
        """Connections with equal topic, type, definition (but for comments) and encodings make one stream."""
        counts = self._index.counts()
        groups: dict[tuple[str, str, str, str, bytes], list[Connection]] = {}
        for id_ in sorted(self._connections):
            c = evolve(self._connections[id_], message_count=counts.get(id_, 0))
            schema = _without_comments(c.schema) if c.schema_encoding in ("ros1msg", "ros2msg") else c.schema
            groups.setdefault((c.topic, c.type_name, c.encoding, c.schema_encoding, schema), []).append(c)
        streams = []
        for key in sorted(groups):
            ros, unsupported = self._stream_of(groups[key][0])
            streams.append(Stream(key[0], key[1], tuple(groups[key]), ros, unsupported))
        return tuple(streams)


def _without_comments(definition: bytes) -> bytes:
    """A message definition without comments and blank lines; a line with a default or constant stays as it is."""
    lines = (line if b"=" in line.partition(b"#")[0] else line.partition(b"#")[0] for line in definition.splitlines())
    return b"\n".join(line.strip() for line in lines if line.strip())


def message_type(name: str) -> str:
    """``pkg/Type`` spelled ``pkg/msg/Type``; other names as they are."""
    package, slash, rest = name.partition("/")
    return f"{package}/msg/{rest}" if slash and "/" not in rest else name


def _walk(native: records.Walk) -> Walk:
    arrays = (native.log_time, native.publish_time, native.offset, native.length, native.bounds)
    log_time, publish_time, offset, length, bounds = (np.frombuffer(a, np.int64) for a in arrays)
    return Walk(log_time, publish_time, offset, length, bounds, native.messages)
