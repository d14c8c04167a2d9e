"""What a log is made of, whatever its container: connections, streams, chunks, times."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.messages.msgdef import Definition, parse_definition
from hephaes_rpc.errors import LogError

IDL_ENCODINGS = frozenset(("ros2idl", "omgidl"))
StorageFormat: TypeAlias = Literal["bag", "mcap", "db3"]
Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]


@frozen
class Connection:
    """One bag connection or MCAP channel, as the log declares it.

    Args:
        id: Connection or channel id; unique in the log.
        type_name: ``pkg/msg/Type`` for ROS types, otherwise as written.
        encoding: Of the messages: ``cdr``, ``ros1``, ``json``, ...
        schema_encoding: ``ros2msg``, ``ros1msg``, ``protobuf``, ... or empty without a schema.
        schema: The message definition as stored, text or binary.
        message_count: Messages the log holds for it, as far as its index was read.
        metadata: Channel metadata, or the bag's connection header without the definition.
    """

    id: int
    topic: str
    type_name: str
    encoding: str
    schema_encoding: str
    schema: bytes = field(repr=False)
    message_count: int
    metadata: Mapping[str, str]

    @property
    def definition(self) -> str:
        """The schema as text (bytes that are not UTF-8 replaced)."""
        return self.schema.decode("utf-8", "replace")


@frozen
class Stream:
    """The messages of one topic with one type and one definition; a topic with two types is two streams.

    Args:
        ros: Generation of the wire format and definition; meaningless where the encoding is not a ROS one.
        unsupported: Why the encoding cannot be decoded, else None.
        sample: Gives payloads spread over the stream, for a stream without schema; may raise LogError.
    """

    topic: str
    type_name: str
    connections: tuple[Connection, ...]
    ros: Literal[1, 2]
    unsupported: str | None = None
    sample: Callable[[], Sequence[bytes]] | None = field(default=None, eq=False, repr=False)

    @property
    def wire(self) -> Literal["cdr", "ros1", "json", "protobuf"]:
        """Wire format of the payloads."""
        match self.connections[0].encoding:
            case "json":
                return "json"
            case "protobuf":
                return "protobuf"
            case _:
                return "ros1" if self.ros == 1 else "cdr"

    @property
    def message_count(self) -> int:
        """Messages of all its connections."""
        return sum(c.message_count for c in self.connections)

    @cached_property
    def definition(self) -> Definition:
        """The parsed definition; raises LogError where ``undecodable`` is not None.

        Parsers that few logs need are imported for those.
        """
        if self.unsupported:
            raise LogError("unsupported", f"{self.topic}: {self.unsupported}", topic=self.topic)
        connection = self.connections[0]
        if self.wire == "json":
            from hephaes_rpc.engine.messages.jsonmsg import json_definition

            return json_definition(self.type_name, connection.schema, self.sample or tuple)
        if self.wire == "protobuf":
            from hephaes_rpc.engine.messages.protomsg import protobuf_definition

            return protobuf_definition(self.type_name, connection.schema)
        if connection.schema_encoding in IDL_ENCODINGS:
            from hephaes_rpc.engine.messages.idl import parse_idl

            return parse_idl(self.type_name, connection.definition)
        if not connection.schema_encoding and self.sample is not None:
            from hephaes_rpc.engine.messages.bundled import bundled_definition

            return bundled_definition(self.type_name, self.sample())
        return parse_definition(self.type_name, connection.definition, self.ros)

    @cached_property
    def undecodable(self) -> str | None:
        """Why no message of the stream can be decoded (encoding, definition), or None."""
        if self.unsupported:
            return self.unsupported
        try:
            _ = self.definition
        except LogError as error:
            return error.message
        return None


@frozen(eq=False)
class ChunkTable:
    """The chunks in file order; runs of messages outside chunks count as uncompressed blocks of a few MB.

    Args:
        position: int64[n], file offset of the record (of the first record, for a block).
        stored_bytes: int64[n], bytes of the compressed data.
        raw_bytes: int64[n], declared bytes of the decompressed data.
        compression: int8[n], position in ``compressions``.
        chunked: bool[n], False for a block of messages outside chunks.
        start_ns, end_ns: int64[n], least and greatest log time of the messages inside; start > end where there is none.
    """

    position: Int64s
    stored_bytes: Int64s
    raw_bytes: Int64s
    compression: NDArray[np.int8]
    compressions: tuple[str, ...]
    chunked: NDArray[np.bool_]
    start_ns: Int64s
    end_ns: Int64s

    def __len__(self) -> int:
        return len(self.position)


@frozen
class CompressionUse:
    """How much of a log one compression holds; ``chunks`` is 0 for messages outside chunks."""

    chunks: int
    stored_bytes: int
    raw_bytes: int


@frozen
class LostRange:
    """Bytes of a file from which nothing could be read.

    Args:
        file: Name of the part where the log has several files, else empty.
        start, end: File offsets, bytes; ``end`` is behind the last.
        reason: What is wrong there.
    """

    file: str
    start: int
    end: int
    reason: str


@define
class LogSummary:
    """A log as its index describes it; counts and times are those of the messages that can be read.

    Args:
        ros_version: Generation of the messages.
        start_ns, end_ns: Log time of the first and of the last message; None for an empty log.
        compression: By compression name, as the chunks themselves say.
        outcome: ``part`` when messages are known or feared to be lost.
        gaps: Where they are lost; each is also one of the warnings.
        lost_ranges: Which bytes could not be read; a gap that is no range of bytes is not among them.
        files: Paths of the log's files in the order of the recording.
    """

    path: str
    size_bytes: int
    storage_format: StorageFormat
    ros_version: Literal["ROS1", "ROS2"]
    profile: str
    library: str
    streams: tuple[Stream, ...]
    start_ns: int | None
    end_ns: int | None
    message_count: int
    compression: dict[str, CompressionUse]
    outcome: Literal["whole", "part"]
    gaps: list[str]
    warnings: list[str]
    lost_ranges: list[LostRange]
    files: tuple[str, ...]

    @property
    def recovered(self) -> bool:
        """Whether the messages are what could be recovered from a damaged log."""
        return bool(self.gaps) and self.message_count > 0

    @property
    def reason(self) -> str | None:
        """The first of the gaps, or None."""
        return self.gaps[0] if self.gaps else None


@frozen(eq=False)
class TimeIndex:
    """Log times grouped by slot, in file order inside a slot.

    Args:
        time: int64[n], ns since the Unix epoch.
        chunk: int32[n], chunk that holds the message; ascending inside a slot.
        bounds: int64[n_slots + 1]; slot k owns ``[bounds[k], bounds[k + 1])``.
    """

    time: Int64s
    chunk: Int32s
    bounds: Int64s

    def slot(self, k: int) -> tuple[Int64s, Int32s]:
        """Times and chunks of slot ``k`` (views)."""
        part = slice(int(self.bounds[k]), int(self.bounds[k + 1]))
        return self.time[part], self.chunk[part]


class Part(NamedTuple):
    """Messages of one stream in a chunk: entries ``first`` to ``last`` of arrays that may hold others, too.

    Args:
        time: int64, log time, ns.
        offset, length: int64, bytes of the payload inside the chunk's data.
    """

    time: Int64s
    offset: Int64s
    length: Int64s
    first: int
    last: int

    def views(self) -> tuple[Int64s, Int64s, Int64s]:
        """Times, offsets and lengths of these messages alone."""
        part = slice(self.first, self.last)
        return self.time[part], self.offset[part], self.length[part]


@frozen(eq=False)
class Walk:
    """The selected messages of one chunk, grouped by slot, in file order inside a slot.

    Args:
        log_time, publish_time: int64[n], ns; a bag has no publish time and repeats the log time.
        offset, length: int64[n], bytes of the payload inside the chunk's data.
        bounds: int64[n_slots + 1]; slot k owns ``[bounds[k], bounds[k + 1])``.
        messages: Messages seen, selected or not.
    """

    log_time: Int64s
    publish_time: Int64s
    offset: Int64s
    length: Int64s
    bounds: Int64s
    messages: int

    def part(self, k: int) -> Part:
        """The messages of slot ``k``."""
        return Part(self.log_time, self.offset, self.length, int(self.bounds[k]), int(self.bounds[k + 1]))

    def slot(self, k: int) -> tuple[Int64s, Int64s, Int64s]:
        """Log times, offsets and lengths of slot ``k`` (views)."""
        return self.part(k).views()
