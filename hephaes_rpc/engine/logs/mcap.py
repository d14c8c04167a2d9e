"""MCAP files, chunked or not, with or without message index, chunk index and summary.

Format: https://mcap.dev/spec.  Record bodies are parsed by the mcap library, out of exactly the bytes of the record.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple, TypeVar

import numpy as np
from attrs import define, field
from mcap.opcode import Opcode

from hephaes_native import records
from hephaes_rpc.engine.logs.base import OTHER_ENCODINGS, Payload, Progress, message_type
from hephaes_rpc.engine.logs.chunks import MAX_RAW_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import ChunkEntries
from hephaes_rpc.engine.logs.magic import MCAP_MAGIC
from hephaes_rpc.engine.logs.mcaprecords import Channel, Header, RecordCutError, Schema, Statistics
from hephaes_rpc.engine.logs.reader import (
    FOREIGN,
    INVALID_OPCODE,
    SHORT_RECORD,
    TIME_RANGE,
    TRUNCATED,
    RecordReader,
)
from hephaes_rpc.engine.logs.resync import MAX_TIME, McapResync, chunk_head
from hephaes_rpc.engine.logs.sweep import Chunk
from hephaes_rpc.engine.logs.types import IDL_ENCODINGS, Connection, Int64s, Walk
from hephaes_rpc.errors import LogError

if TYPE_CHECKING:
    from hephaes_rpc.engine.logs.asides import Aside

BLOCK_BYTES: Final = 4 << 20
LEAST_WINDOW: Final = 4 << 10
MOST_WINDOW: Final = 1 << 20
SUMMARY_WINDOW: Final = 1 << 20
MAX_NAME_BYTES: Final = 64
SEQUENCE_BEFORE: Final = 20
"""Bytes from a message's sequence number to its payload."""
OWN_SCHEMAS: Final = frozenset({("json", "jsonschema"), ("json", ""), ("protobuf", "protobuf")})

_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")
_LENGTH = struct.Struct("<Q")
_MESSAGE = struct.Struct("<HIQQ")
_FOOTER = struct.Struct("<QQI")
_R = TypeVar("_R", Header, Schema, Channel, Statistics)
_D = TypeVar("_D", Schema, Channel)
_CHUNK_WINDOW = _RECORD.size + _CHUNK.size + MAX_NAME_BYTES + _LENGTH.size


@define
class _Summary:
    """The summary section, or as much as could be read of it; ``vouched``: it has a CRC, which holds."""

    definitions: list[bytes] = field(factory=list)
    statistics: Statistics | None = None
    chunk_positions: list[int] = field(factory=list)
    vouched: bool = False


class _Place(NamedTuple):
    """A record's first byte, opcode and body length."""

    position: int
    opcode: int
    length: int

    @property
    def end(self) -> int:
        return self.position + _RECORD.size + self.length


class McapReader(RecordReader):
    """One MCAP file."""

    storage_format: ClassVar = "mcap"
    _native_walk: ClassVar = staticmethod(records.walk_mcap)
    _native_scan: ClassVar = staticmethod(records.scan_mcap)

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Index ``file``."""
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._unlinked: set[int] = set()
        self._seen: set[bytes] = set()
        self._summary = _Summary()
        self._tail_read = False
        super().__init__(file, progress)

    # The data section -------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._data_start = self._read_header()
        end = self._sweep_data(self._data_start)
        if end is not None:
            self._read_summary(end)
        elif not self._tail_read:
            self._read_tail()
        self._define_records(self._summary.definitions)
        self._compare_chunks()

    def asides(self) -> "Iterator[Aside]":
        """Attachments and metadata, and what of them cannot be read."""
        from hephaes_rpc.engine.logs.asides import asides_of  # the library's records take long to import

        ends = {c.position: c.data_position + c.stored_bytes for c in self._found.chunks if c.chunked}
        return asides_of(self._file, self._data_start, ends, self._found.lost)

    def _read_header(self) -> int:
        place = self._place(len(MCAP_MAGIC))
        if place is None or place.opcode != Opcode.HEADER or place.end > self._file.size:
            raise LogError(
                "bad_input", f"{self._file.path} has no header record behind its magic", path=self._file.path
            )
        if place.length > SUMMARY_WINDOW:
            raise LogError("bad_input", f"{self._file.path} has a header record of {place.length} bytes")
        body = self._file.read(place.position + _RECORD.size, place.length)
        header = self._parse(Header, body, "the header record")
        if header is not None:
            self.profile, self.library = header.profile, header.library
        return place.end

    def _sweep_data(self, start: int) -> int | None:
        """Hop from ``start`` to the end of the data section; its end, or None where the file is damaged for good."""
        position: int | None = start
        behind = start
        window_bytes = LEAST_WINDOW
        while position is not None:
            self._progress(position, self._file.size)
            base = position
            window = self._file.read_up_to(position, window_bytes)
            found = records.index_mcap(window)
            self._found.add_index(found)
            if found.definitions:
                self._define(window, found.definitions)
            position += found.stop
            place = self._place(position, window[found.stop :])
            if place is None:
                position = self._lost(position, "the file ends without an end of its data section")
            elif found.status == INVALID_OPCODE:
                suspect = self._last_record(window[: found.stop], base)
                position = self._lost(position, "no record begins there", suspect=suspect)
            elif place.end > self._file.size and place.opcode != Opcode.CHUNK:
                suspect = None
                if not self._begins_soundly(window, found.stop):
                    suspect = self._last_record(window[: found.stop], base)
                reason = f"a record of {place.length} bytes runs over the end of the file"
                position = self._lost(position, reason, suspect=suspect)
            elif found.status == TRUNCATED and place.opcode in (Opcode.MESSAGE_INDEX, Opcode.SCHEMA, Opcode.CHANNEL):
                if place.end - position > max(window_bytes, MAX_RAW_BYTES):
                    self._found.warn(f"{self._at(position)}: a record of {place.length} bytes is left out", lost=True)
                    position = place.end
                window_bytes = max(window_bytes, min(place.end - position, MAX_RAW_BYTES))
            elif found.status == TRUNCATED:
                position = place.end
            elif found.status == FOREIGN and place.opcode == Opcode.CHUNK:
                window_bytes = _next_window(position - behind)
                position = self._take_chunk(place, window[found.stop :])
                behind = position or 0
            elif found.status == FOREIGN and place.opcode == Opcode.MESSAGE:
                position = self._take_block(place)
            elif found.status == FOREIGN and place.opcode == Opcode.DATA_END:
                return place.end
            elif found.status == FOREIGN and place.opcode == Opcode.FOOTER:
                self._found.warn(f"{self._at(position)}: the data section has no end record", lost=False)
                return position
            elif found.status == FOREIGN:
                position = self._lost(position, "a second header record")
        return None

    def _place(self, position: int, ahead: bytes = b"") -> _Place | None:
        """The record at ``position``, of which ``ahead`` may hold the first bytes; None at the end of the file."""
        if len(ahead) < _RECORD.size:
            ahead = self._file.read_up_to(position, _RECORD.size)
            if len(ahead) < _RECORD.size:
                return None
        return _Place(position, *_RECORD.unpack_from(ahead))

    def _take_chunk(self, place: _Place, ahead: bytes) -> int | None:
        """Note the chunk at ``place``; the position behind it, or where records go on."""
        if len(ahead) < _CHUNK_WINDOW:
            ahead = self._file.read_up_to(place.position, _CHUNK_WINDOW)
        body, length = ahead[_RECORD.size :], place.length
        head = chunk_head(body, length)
        if head is None and place.end <= self._file.size and self._is_followed(place.end):
            head = chunk_head(self._with_stored_bytes(body, length), length)
        if head is None:
            length = self._inner_length(ahead)
            head = chunk_head(body, length)
        if head is None:
            return self._lost(place.position, "a chunk's header contradicts its length")
        start_ns, end_ns, raw_bytes, crc, name, at = head
        if length != place.length:
            self._found.warn(f"{self._at(place.position)}: a chunk's length is wrong; its data's is taken", lost=False)
        data_position = place.position + _RECORD.size + at
        end = place.position + _RECORD.size + length
        cut = end > self._file.size
        stored_bytes = max(0, min(end, self._file.size) - data_position)
        chunk = Chunk(
            place.position, data_position, stored_bytes, raw_bytes, name or "none", crc, (start_ns, end_ns), cut=cut
        )
        self._found.add_chunk(chunk)
        if cut:
            reason = "the file ends inside a chunk"
            self._found.warn(
                f"{self._at(self._file.size)}: {reason}; {end - self._file.size} bytes are missing", lost=True
            )
            self._found.lose(self._file.size, end, reason)
            return None
        return end

    @staticmethod
    def _inner_length(ahead: bytes) -> int:
        """What the length of a chunk's body must be by the size of its data."""
        try:
            name_bytes = int(_CHUNK.unpack_from(ahead, _RECORD.size)[4])
            at = _CHUNK.size + name_bytes
            return at + _LENGTH.size + int(_LENGTH.unpack_from(ahead, _RECORD.size + at)[0])
        except struct.error:
            return -1

    @staticmethod
    def _with_stored_bytes(body: bytes, length: int) -> bytes:
        """The head of a chunk's body with the size of its data set to what the body's length says."""
        try:
            at = _CHUNK.size + _CHUNK.unpack_from(body)[4]
        except struct.error:
            return body
        stored_bytes = max(0, length - at - _LENGTH.size)
        return body[:at] + _LENGTH.pack(stored_bytes) + body[at + _LENGTH.size :]

    def _is_followed(self, position: int) -> bool:
        return position == self._file.size or self._resync().is_record(position)

    def _last_record(self, between: bytes, base: int) -> int | None:
        """Where the last of whole records begins, if its length may be wrong; an attachment may hold anything."""
        last, at = None, 0
        while at < len(between):
            last, at = at, _Place(at, *_RECORD.unpack_from(between, at)).end
        return None if last is None or between[last] == Opcode.ATTACHMENT else base + last

    def _resync(self) -> McapResync:
        if not self._tail_read:
            self._read_tail()
            self._define_records(self._summary.definitions)
        return McapResync(self._scanning, self._file.size, self._channels.__contains__)

    def _sequences(self, data: Payload, walk: Walk) -> Int64s:
        raw = np.frombuffer(data, np.uint8)
        at = walk.offset[:, None] - SEQUENCE_BEFORE + np.arange(4)
        numbers: Int64s = raw[at].view("<u4").reshape(-1).astype(np.int64)
        return numbers

    def _next_record(self, start: int) -> int | None:
        return self._resync().next(start)

    def _next_inner(self, data: Payload, start: int) -> int | None:
        view = memoryview(data)
        read = lambda position, length: view[position : position + length]  # noqa: E731
        return McapResync(read, len(view), self._channels.__contains__).next(start)

    def _record_end(self, data: Payload, at: int) -> int:
        return int(_Place(at, *_RECORD.unpack_from(data, at)).end)

    def _begins_soundly(self, data: Payload, at: int) -> bool:
        head = bytes(data[at : at + _RECORD.size + _MESSAGE.size])
        if not head or not 0 < head[0] <= Opcode.DATA_END:
            return False
        if head[0] != Opcode.MESSAGE or len(head) < _RECORD.size + _MESSAGE.size:
            return True
        channel, _, log_time, _ = _MESSAGE.unpack_from(head, _RECORD.size)
        return channel in self._channels and log_time <= MAX_TIME

    def _take_block(self, place: _Place) -> int | None:
        """Note a run of messages outside chunks; the position behind it."""
        window = self._file.read_up_to(place.position, BLOCK_BYTES)
        found = records.scan_mcap(window)
        if found.status == TRUNCATED and found.stop == 0:
            if place.end - place.position > MAX_RAW_BYTES:
                self._found.warn(
                    f"{self._at(place.position)}: a message of {place.length} bytes is left out", lost=True
                )
                return place.end
            window = self._file.read(place.position, place.end - place.position)
            found = records.scan_mcap(window)
        position = place.position + found.stop
        if found.status in (TIME_RANGE, SHORT_RECORD) and found.stop == 0:
            reason = records.STATUS_NAMES[found.status]
            self._out_of_range = self._out_of_range or found.status == TIME_RANGE
            self._found.warn(f"{self._at(position)}: {reason}; it is left out", lost=True)
            self._found.lose(position, place.end, reason)
            return place.end
        self._define(window, found.definitions)
        entries, size = ChunkEntries.of(found), found.stop
        broken = self._is_broken(window, found, position)
        if broken:
            size = found.offset[-1]
            entries = ChunkEntries(entries.connection[:-1], entries.time[:-1], entries.offset[:-1])
        if size:
            self._scanned.add(len(self._found.chunks))
            block = Chunk(place.position, place.position, size, size, "none", chunked=False)
            self._found.add_chunk(block, entries.in_runs())
        if broken:
            return self._lost(place.position + size, "records end in something else")
        return position

    def _is_broken(self, window: bytes, found: records.Entries, position: int) -> bool:
        """Whether messages outside chunks end in what is no record, so that the last of them may be damaged, too."""
        if found.status == INVALID_OPCODE:
            return True
        place = self._place(position) if found.status == TRUNCATED else None
        return place is not None and place.end > self._file.size and not self._begins_soundly(window, found.stop)

    # The summary section ----------------------------------------------------------------------------------------------

    def _read_tail(self) -> None:
        """Read the summary by way of the footer at the end of the file, if there is one."""
        self._tail_read = True
        footer_bytes = _RECORD.size + _FOOTER.size + len(MCAP_MAGIC)
        tail = self._file.read_up_to(max(0, self._file.size - footer_bytes), footer_bytes)
        if len(tail) < footer_bytes or not tail.endswith(MCAP_MAGIC) or tail[0] != Opcode.FOOTER:
            return
        summary_start = _FOOTER.unpack_from(tail, _RECORD.size)[0]
        if len(MCAP_MAGIC) < summary_start < self._file.size:
            self._read_summary(summary_start)

    def _read_summary(self, start: int) -> None:
        """Read records from ``start`` through the footer; nothing of a summary with a wrong CRC is believed."""
        summary, crc, position, window_bytes = _Summary(), 0, start, SUMMARY_WINDOW
        while True:
            window = self._file.read_up_to(position, window_bytes)
            at = 0
            while (place := self._place_in(window, at)) is not None:
                if place.opcode == Opcode.FOOTER:
                    crc = records.crc32(window[: at + _RECORD.size + 16], crc)
                    self._end_summary(summary, crc, start, position + at, window[at + _RECORD.size : place.end])
                    return
                self._take_summary(summary, window, place)
                at = place.end
            if at == 0 and (len(window) < window_bytes or window[0] == 0 or window_bytes > self._file.size):
                self._found.warn(f"{self._at(position)}: the summary is damaged; it is not used", lost=False)
                self._summary = _Summary(chunk_positions=summary.chunk_positions)
                return
            crc = records.crc32(window[:at], crc)
            position += at
            window_bytes = SUMMARY_WINDOW if at else window_bytes * 4

    @staticmethod
    def _place_in(window: bytes, at: int) -> _Place | None:
        """The record at ``at`` if it is valid and wholly in the window."""
        if len(window) - at < _RECORD.size or window[at] == 0:
            return None
        place = _Place(at, *_RECORD.unpack_from(window, at))
        return place if place.end <= len(window) else None

    def _take_summary(self, summary: _Summary, window: bytes, place: _Place) -> None:
        if place.opcode == Opcode.CHUNK_INDEX:
            if place.length >= 24:
                (position,) = _LENGTH.unpack_from(window, place.position + _RECORD.size + 16)
                summary.chunk_positions.append(position)
        elif place.opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            summary.definitions.append(window[place.position : place.end])
        elif place.opcode == Opcode.STATISTICS:
            body = window[place.position + _RECORD.size : place.end]
            summary.statistics = self._parse(Statistics, body, "the statistics record")

    def _end_summary(self, summary: _Summary, crc: int, start: int, position: int, footer: bytes) -> None:
        """Judge a summary by its footer, and what comes behind it."""
        if len(footer) < _FOOTER.size:
            self._found.warn(f"{self._at(position)}: the footer is cut", lost=False)
            return
        summary_start, _, summary_crc = _FOOTER.unpack_from(footer)
        if summary_start not in (0, start):
            text = f"the footer puts the summary at byte {summary_start}, it begins at byte {start}"
            self._found.warn(f"{self._at(position)}: {text}", lost=False)
        if summary_crc in (0, crc):
            self._summary = summary
            self._summary.vouched = bool(summary_crc)
        else:
            self._found.warn(f"{self._at(start)}: the summary's CRC does not match; it is not used", lost=False)
        end = position + _RECORD.size + _FOOTER.size
        behind = self._file.read_up_to(end, 2 * len(MCAP_MAGIC))
        if not behind.startswith(MCAP_MAGIC):
            self._found.warn(f"{self._at(end)}: the magic at the end is missing", lost=False)
        elif end + len(MCAP_MAGIC) < self._file.size:
            what = (
                "another recording follows, it is" if behind.endswith(MCAP_MAGIC) else "further bytes follow, they are"
            )
            self._found.warn(f"{self._at(end + len(MCAP_MAGIC))}: {what} not read", lost=True)

    def _compare_chunks(self) -> None:
        listed = sorted(self._summary.chunk_positions)
        there = [chunk.position for chunk in self._found.chunks if chunk.chunked]
        if listed and listed != there:
            text = f"the summary lists {len(listed)} chunks, the data section holds {len(there)}"
            if len(listed) == len(there):
                text = "the summary lists chunks where none are"
            self._found.warn(text, lost=False)

    def _claims(self) -> dict[int, int] | None:
        statistics = self._summary.statistics
        if statistics is None:
            return None
        claims = {id_: count for id_, count in statistics.channel_message_counts.items() if count}
        if not claims and statistics.message_count:
            counts = self._index.counts()
            return counts if sum(counts.values()) == statistics.message_count else {-1: statistics.message_count}
        return claims

    # Definitions ------------------------------------------------------------------------------------------------------

    def _define(self, data: Payload, offsets: Iterable[int]) -> None:
        view = memoryview(data)
        self._define_records(bytes(view[at : _Place(at, *_RECORD.unpack_from(view, at)).end]) for at in offsets)

    def _define_records(self, definitions: Iterable[bytes]) -> None:
        for record in definitions:
            if record not in self._seen:
                self._seen.add(record)
                self._define_record(record)
        for id_ in list(self._unlinked):
            self._link(self._channels[id_])

    def _define_record(self, record: bytes) -> None:
        where = "a schema or channel record"
        body = record[_RECORD.size :]
        if record[0] == Opcode.SCHEMA:
            schema = self._parse(Schema, body, where)
            if schema is not None and self._schemas.setdefault(schema.id, schema) != schema:
                known = self._schemas[schema.id]
                self._schemas[schema.id] = self._settled(Schema, "schema", (known, known.name), (schema, schema.name))
        else:
            channel = self._parse(Channel, body, where)
            if channel is None:
                return
            if self._channels.setdefault(channel.id, channel) != channel:
                one = self._channels[channel.id]
                found = self._settled(Channel, "channel", (one, one.topic), (channel, channel.topic))
                self._channels[channel.id] = found
            self._unlinked.add(channel.id)

    def _settled(self, kind: type[_D], what: str, one: tuple[_D, str], other: tuple[_D, str]) -> _D:
        """Which of two records of one id holds: that of a summary whose CRC holds; LogError where there is none."""
        if not self._tail_read:
            self._read_tail()
        opcode = Opcode.SCHEMA if kind is Schema else Opcode.CHANNEL
        vouched = [r[_RECORD.size :] for r in self._summary.definitions if self._summary.vouched and r[0] == opcode]
        for record, shown in (one, other):
            if any(self._parse(kind, body, "") == record for body in vouched):
                text = f"{what} {record.id} ({shown!r}) is declared otherwise, too"
                self._found.warn(f"{text}; the summary's is taken, whose CRC holds", lost=False)
                return record
        text = f"{what} {one[0].id} is declared twice with different content"
        raise LogError("bad_input", f"{self._file.path}: {text} ({one[1]!r}, then {other[1]!r})")

    def _is_declared(self, id_: int) -> bool:
        return id_ in self._connections and id_ not in self._unlinked

    def _link(self, channel: Channel) -> None:
        """Make the channel a connection; one whose schema is not known yet is tried again."""
        schema = self._schemas.get(channel.schema_id)
        if schema is not None or channel.schema_id == 0:
            self._unlinked.discard(channel.id)
        encoding = schema.encoding if schema else ""
        name = schema.name if schema else ""
        self._connections[channel.id] = Connection(
            id=channel.id,
            topic=channel.topic,
            type_name=message_type(name) if encoding in ("ros1msg", "ros2msg", "ros2idl", "") else name,
            encoding=channel.message_encoding,
            schema_encoding=encoding,
            schema=schema.data if schema else b"",
            message_count=0,
            metadata=channel.metadata,
        )

    def _stream_of(self, connection: Connection) -> tuple[Literal[1, 2], str | None]:
        encoding, schema_encoding = connection.encoding, connection.schema_encoding
        if encoding == "cdr" and schema_encoding in ("ros2msg", *IDL_ENCODINGS):
            return 2, None
        if (encoding, schema_encoding) == ("ros1", "ros1msg"):
            return 1, None
        if (encoding, schema_encoding) == ("cdr", "") and connection.type_name:
            return 2, None
        if (encoding, schema_encoding) in OWN_SCHEMAS and connection.id not in self._unlinked:
            return 2, None
        if schema_encoding == "ros2msg" and self.profile == "ros2" and encoding not in OTHER_ENCODINGS:
            text = f"message encoding {encoding!r} is unknown; the profile is ros2, so it is read as cdr"
            self._found.warn(f"{connection.topic}: {text}", lost=False)
            return 2, None
        schema_id = self._channels[connection.id].schema_id
        if connection.id in self._unlinked:
            return 2, f"its schema {schema_id} is not in the file"
        schema = f"with schema encoding {schema_encoding!r}" if schema_id else "without a schema"
        return 2, f"message encoding {encoding!r} {schema} cannot be decoded"

    # Helpers ----------------------------------------------------------------------------------------------------------

    def _parse(self, kind: type[_R], body: bytes, where: str) -> _R | None:
        """The record, or None with a warning where its body is damaged."""
        try:
            return kind.read(body)
        except (RecordCutError, UnicodeDecodeError) as error:
            self._found.warn(f"{where} is damaged ({type(error).__name__}); it is left out", lost=False)
            return None


def _next_window(between: int) -> int:
    """Bytes to read behind a chunk, where ``between`` bytes of index came before it."""
    return min(max(LEAST_WINDOW, between + between // 8 + _CHUNK_WINDOW), MOST_WINDOW)
