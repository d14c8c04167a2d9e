"""What every open log offers, and what the readers of single files share: an index in memory, and a summary of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

import numpy as np
from attrs import evolve

from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import MessageIndex
from hephaes_rpc.engine.logs.inflate import inflate, may_hold_frames
from hephaes_rpc.engine.logs.sweep import MAX_WARNINGS, Chunk, Sweep
from hephaes_rpc.engine.logs.types import (
    ChunkTable,
    CompressionUse,
    Connection,
    Int32s,
    Int64s,
    LogSummary,
    StorageFormat,
    Stream,
    TimeIndex,
    Walk,
)
from hephaes_rpc.errors import LogError

if TYPE_CHECKING:
    from hephaes_rpc.engine.logs.asides import Aside

Progress: TypeAlias = Callable[[int, int], None]
Payload: TypeAlias = bytes | memoryview

MAX_TOPICS = 10_000
SAMPLED_MESSAGES = 64
SAMPLED_CHUNKS = 8
OTHER_ENCODINGS = frozenset(("ros1", "json", "protobuf", "flatbuffer", "cbor", "msgpack", "xcdr2", ""))
"""Message encodings that are known not to be CDR."""


class StaleIndexError(LogError):
    """A chunk does not hold what the log's index says; ``LogReader.rescan`` and start again."""


class LogReader(ABC):
    """One open log.  Chunks may be read from another thread than the one that made the reader."""

    summary: LogSummary
    chunks: ChunkTable

    @abstractmethod
    def slots(self, streams: Sequence[Stream]) -> Int32s:
        """int32[max id + 1] for ``index`` and ``messages``: connections of ``streams[k]`` have slot k, others -1."""

    @abstractmethod
    def index(self, slots: Int32s) -> TimeIndex:
        """Log times of the selected messages, by slot."""

    def times(self, slots: Int32s) -> list[Int64s]:
        """Log times of the selected messages, a list by slot: those of ``index``."""
        index = self.index(slots)
        return [index.slot(k)[0] for k in range(len(index.bounds) - 1)]

    @abstractmethod
    def offsets(self, slots: Int32s) -> Int32s:
        """Numbers that rise, inside a chunk, with the place of each message of ``index(slots)``; int32[n]."""

    def is_read_ahead(self, i: int) -> bool:
        """Whether it pays to read a chunk in another thread before its turn, and it does not take too much."""
        del i
        return False

    @abstractmethod
    def messages(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        """Bytes and messages of a chunk that ``index`` names; StaleIndexError where its content differs."""

    @abstractmethod
    def stored(self, i: int, slots: Int32s) -> tuple[Payload, Walk, Int64s]:
        """As ``messages``, payloads as they are stored, with their sequence numbers (0 where there are none)."""

    def asides(self) -> "Iterator[Aside]":
        """What the log holds beside its messages, and what of that cannot be read."""
        return iter(())

    @abstractmethod
    def rescan(self) -> None:
        """Rebuild ``summary``, ``chunks`` and the index from the content of every chunk, telling progress."""

    @abstractmethod
    def require_unchanged(self, *, may_grow: bool = False) -> None:
        """Raise ``source_changed`` unless the files on the disk are those that were opened, as they were then.

        With ``may_grow`` they may have become longer.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the files; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class IndexedReader(LogReader):
    """A single file whose messages are all known by connection, time, chunk and offset."""

    storage_format: ClassVar[StorageFormat]

    _index: MessageIndex

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Own ``file``, once all of the reader's making succeeded; nothing is read here."""
        self._file, self._progress = file, progress
        self._found = self._nothing_found()
        self._connections: dict[int, Connection] = {}
        self.profile = self.library = ""

    def _nothing_found(self) -> Sweep:
        found = Sweep()
        if self._file.damage:
            found.warn(self._file.damage, lost=True)
        return found

    def require_unchanged(self, *, may_grow: bool = False) -> None:
        """Raise ``source_changed`` unless the file on the disk is the one that was opened, as it was then."""
        self._file.require_unchanged(may_grow=may_grow)

    @abstractmethod
    def _stream_of(self, connection: Connection) -> tuple[Literal[1, 2], str | None]:
        """ROS generation of a connection and why its encoding is unsupported."""

    @abstractmethod
    def _read(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        """As ``messages``, payloads as they are stored."""

    def slots(self, streams: Sequence[Stream]) -> Int32s:
        """int32[max id + 1] for ``index`` and ``messages``: connections of ``streams[k]`` have slot k, others -1."""
        slots = np.full(max(self._connections, default=0) + 1, -1, np.int32)
        for k, stream in enumerate(streams):
            for connection in stream.connections:
                slots[connection.id] = k
        return slots

    def index(self, slots: Int32s) -> TimeIndex:
        """Log times of the selected messages, by slot."""
        return self._index.select(slots)

    def times(self, slots: Int32s) -> list[Int64s]:
        """Log times of the selected messages, a list by slot."""
        return self._index.times(slots)

    def offsets(self, slots: Int32s) -> Int32s:
        """Where in its chunk's data each message of ``index(slots)`` begins, int32[n], bytes."""
        return self._index.select_offsets(slots)

    def messages(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        """Bytes and messages of a chunk that ``index`` names; StaleIndexError where its content differs.

        Payloads that are zstd frames, as rosbag2 writes them with compression per message, come decompressed.
        """
        data, walk = self._read(i, slots)
        if not may_hold_frames(data, walk):
            return data, walk
        wrapped = [id_ for id_, connection in self._connections.items() if connection.encoding not in OTHER_ENCODINGS]
        return inflate(data, walk, np.unique(slots[wrapped]), f"{self._file.path}: {self._where(i)}")

    def stored(self, i: int, slots: Int32s) -> tuple[Payload, Walk, Int64s]:
        """As ``messages``, payloads as they are stored, with their sequence numbers (0 where there are none)."""
        data, walk = self._read(i, slots)
        return data, walk, self._sequences(data, walk)

    def _sequences(self, data: Payload, walk: Walk) -> Int64s:
        del data
        return np.zeros(len(walk.offset), np.int64)

    def _where(self, i: int) -> str:
        chunk = self._found.chunks[i]
        name = f"chunk {i}" if chunk.chunked else f"block {i}"
        return f"{name} at byte {chunk.position}"

    def _stale(self, i: int) -> StaleIndexError:
        text = f"{self._file.path}: {self._where(i)} does not hold the messages its index lists"
        return StaleIndexError("bad_input", text, chunk=i)

    # Making the summary -----------------------------------------------------------------------------------------------

    def _summarize(self) -> None:
        """Set ``chunks`` and ``summary`` by what has been found."""
        self.chunks = self._chunk_table()
        filled = self.chunks.start_ns <= self.chunks.end_ns
        some = bool(filled.any())
        require_topics(self._connections.values(), self._file.path)
        streams = self._streams()
        self.summary = LogSummary(
            path=self._file.path,
            size_bytes=self._file.stored_bytes,
            storage_format=self.storage_format,
            ros_version="ROS1" if self.storage_format == "bag" or self.profile == "ros1" else "ROS2",
            profile=self.profile,
            library=self.library,
            streams=streams,
            start_ns=int(self.chunks.start_ns[filled].min()) if some else None,
            end_ns=int(self.chunks.end_ns[filled].max()) if some else None,
            message_count=len(self._index.time),
            compression=self._compression(),
            outcome="part" if self._found.lossy else "whole",
            gaps=list(self._found.gaps),
            warnings=[*self._found.warnings, *kept_apart(streams)],
            lost_ranges=list(self._found.lost),
            files=(self._file.path,),
        )

    def _streams(self) -> tuple[Stream, ...]:
        counts = self._index.counts()
        connections = [evolve(c, message_count=counts.get(id_, 0)) for id_, c in sorted(self._connections.items())]
        return tuple(self._with_sample(stream) for stream in grouped((c, *self._stream_of(c)) for c in connections))

    def _with_sample(self, stream: Stream) -> Stream:
        """A stream whose schema may not say everything can look at its messages."""
        first = stream.connections[0]
        if stream.unsupported or (first.schema_encoding and first.encoding != "json"):
            return stream
        return evolve(stream, sample=lambda: sample(self, stream))

    def _chunk_table(self) -> ChunkTable:
        found = self._found.chunks
        start_ns, end_ns = self._index.chunk_times()
        return chunk_table(found, start_ns, end_ns)

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


def chunk_table(chunks: Sequence[Chunk], start_ns: Int64s, end_ns: Int64s) -> ChunkTable:
    """The table of chunks with their least and greatest log times."""
    names = tuple(dict.fromkeys(c.compression for c in chunks))
    position, stored, raw = (
        np.array([getattr(c, name) for c in chunks], np.int64) for name in ("position", "stored_bytes", "raw_bytes")
    )
    return ChunkTable(
        position=position,
        stored_bytes=stored,
        raw_bytes=raw,
        compression=np.array([names.index(c.compression) for c in chunks], np.int8),
        compressions=names,
        chunked=np.array([c.chunked for c in chunks], np.bool_),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def grouped(connections: Iterable[tuple[Connection, Literal[1, 2], str | None]]) -> tuple[Stream, ...]:
    """Connections with equal topic, type, definition (but for comments) and encodings make one stream."""
    groups: dict[tuple[str, str, str, str, bytes], list[Connection]] = {}
    facts: dict[tuple[str, str, str, str, bytes], tuple[Literal[1, 2], str | None]] = {}
    for c, ros, unsupported in connections:
        schema = _without_comments(c.schema) if c.schema_encoding in ("ros1msg", "ros2msg") else c.schema
        key = (c.topic, c.type_name, c.encoding, c.schema_encoding, schema)
        groups.setdefault(key, []).append(c)
        facts.setdefault(key, (ros, unsupported))
    return tuple(Stream(key[0], key[1], tuple(groups[key]), *facts[key]) for key in sorted(groups))


def require_topics(connections: Iterable[Connection], path: str) -> None:
    """Refuse a log of more topics, or topics and types, than anybody could look at."""
    n = len({(connection.topic, connection.type_name) for connection in connections})
    if n > MAX_TOPICS:
        raise LogError("unsupported", f"{path} has {n} topics; the limit is {MAX_TOPICS}", path=path)


def kept_apart(streams: Sequence[Stream]) -> list[str]:
    """Which topics are more than one stream."""
    kinds: dict[str, list[str]] = {}
    for stream in streams:
        kinds.setdefault(stream.topic, []).append(stream.type_name)
    return [
        f"topic {topic!r} has messages of {len(names)} "
        f"{'types' if len(set(names)) > 1 else f'definitions of {names[0]}'}; they are kept apart"
        for topic, names in kinds.items()
        if len(names) > 1
    ][:MAX_WARNINGS]


def sample(log: LogReader, stream: Stream) -> list[bytes]:
    """Up to SAMPLED_MESSAGES payloads of a stream, spread over up to SAMPLED_CHUNKS of its chunks."""
    slots = log.slots([stream])
    chunks = np.unique(log.index(slots).chunk)
    chosen = chunks[np.unique(np.linspace(0, len(chunks) - 1, min(len(chunks), SAMPLED_CHUNKS)).astype(np.int64))]
    found: list[bytes] = []
    for i in chosen.tolist():
        data, walk = log.messages(i, slots)
        n = len(walk.length)
        most = min(n, SAMPLED_MESSAGES // len(chosen))
        for k in np.unique(np.linspace(0, n - 1, most).astype(np.int64)).tolist():
            found.append(bytes(data[walk.offset[k] : walk.offset[k] + walk.length[k]]))
    return found


def _without_comments(definition: bytes) -> bytes:
    """A message definition without comments and blank lines; a line with a default or constant stays as it is."""
    lines = (line if b"=" in line.partition(b"#")[0] else line.partition(b"#")[0] for line in definition.splitlines())
    return b"\n".join(line.strip() for line in lines if line.strip())


def message_type(name: str) -> str:
    """``pkg/Type`` spelled ``pkg/msg/Type``; other names as they are."""
    package, slash, rest = name.partition("/")
    return f"{package}/msg/{rest}" if slash and "/" not in rest else name


def base_name(path: str) -> str:
    """The last part of a path."""
    return PurePath(path).name
