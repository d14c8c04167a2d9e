"""MCAP files, chunked or not, with or without message index, chunk index and summary.

Format: https://mcap.dev/spec.  Record bodies are parsed by the mcap library, out of exactly the bytes of the record.
"""

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from typing import ClassVar, Final, Literal, NamedTuple, TypeVar

from attrs import define, field
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Header, McapRecord, Schema, Statistics

from hephaes_native import records
from hephaes_rpc.engine.logs.base import OTHER_ENCODINGS, Progress, message_type
from hephaes_rpc.engine.logs.chunks import MAX_RAW_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import ChunkEntries
from hephaes_rpc.engine.logs.reader import (
    FOREIGN,
    INVALID_OPCODE,
    SHORT_RECORD,
    TIME_RANGE,
    TRUNCATED,
    RecordReader,
)
from hephaes_rpc.engine.logs.sweep import Chunk
from hephaes_rpc.engine.logs.types import IDL_ENCODINGS, Connection
from hephaes_rpc.errors import LogError

MAGIC: Final = b"\x89MCAP0\r\n"
BLOCK_BYTES: Final = 4 << 20
LEAST_WINDOW: Final = 4 << 10
MOST_WINDOW: Final = 1 << 20
SUMMARY_WINDOW: Final = 1 << 20
MAX_NAME_BYTES: Final = 64
OWN_SCHEMAS: Final = frozenset({("json", "jsonschema"), ("json", ""), ("protobuf", "protobuf")})

_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")
_LENGTH = struct.Struct("<Q")
_FOOTER = struct.Struct("<QQI")
_R = TypeVar("_R", bound=McapRecord)
_CHUNK_WINDOW = _RECORD.size + _CHUNK.size + MAX_NAME_BYTES + _LENGTH.size


class _Body(ReadDataStream):
    """The bytes of one record as the library's parsers read them; what is not there is EndOfFile."""

    def __init__(self, body: bytes | memoryview) -> None:
        super().__init__(BytesIO(body))

    def read(self, length: int) -> bytes:
        data = super().read(length)
        if len(data) != length:
            raise EndOfFile
        return data


@define
class _Summary:
    """The summary section, or as much as could be read of it."""

    definitions: list[bytes] = field(factory=list)
    statistics: Statistics | None = None
    chunk_positions: list[int] = field(factory=list)


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
        end = self._sweep_data(self._read_header())
        if end is not None:
            self._read_summary(end)
        elif not self._tail_read:
            self._read_tail()
        self._define_records(self._summary.definitions)
        self._compare_chunks()

    def _read_header(self) -> int:
        place = self._place(len(MAGIC))
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
            window = self._file.read_up_to(position, window_bytes)
            found = records.index_mcap(window)
            self._found.add_index(found)
            self._define(window, found.definitions)
            position += found.stop
            place = self._place(position, window[found.stop :])
            if place is None:
                position = self._lost(position, "the file ends without an end of its data section")
            elif found.status == INVALID_OPCODE:
                position = self._lost(position, "no record begins there")
            elif place.end > self._file.size:
                position = self._lost(position, f"a record of {place.length} bytes runs over the end of the file")
            elif found.status == TRUNCATED and place.opcode in (Opcode.MESSAGE_INDEX, Opcode.SCHEMA, Opcode.CHANNEL):
                if place.end - position > max(window_bytes, MAX_RAW_BYTES):
                    self._found.warn(f"{self._at(position)}: a record of {place.length} bytes is left out", lost=True)
                    position = place.end
                window_bytes = max(window_bytes, min(place.end - position, MAX_RAW_BYTES))
            elif found.status == TRUNCATED:
                position = place.end
            elif found.status == FOREIGN and place.opcode == Opcode.CHUNK:
                window_bytes = _next_window(position - behind)
                position = behind = self._take_chunk(place, window[found.stop :])
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

    def _take_chunk(self, place: _Place, ahead: bytes) -> int:
        """Note the chunk at ``place``; the position behind it."""
        if len(ahead) < _CHUNK_WINDOW:
            ahead = self._file.read_up_to(place.position, _CHUNK_WINDOW)
        try:
            start_ns, end_ns, raw_bytes, crc, name_bytes = _CHUNK.unpack_from(ahead, _RECORD.size)
            at = _RECORD.size + _CHUNK.size + name_bytes
            name = ahead[at - name_bytes : at].decode()
            (stored_bytes,) = _LENGTH.unpack_from(ahead, at)
            data_position = place.position + at + _LENGTH.size
            if name_bytes > MAX_NAME_BYTES or stored_bytes > place.end - data_position or raw_bytes >> 63:
                raise ValueError
        except (struct.error, ValueError):
            self._found.warn(
                f"{self._at(place.position)}: a chunk's header contradicts its length; it is left out", lost=True
            )
            return place.end
        times = (start_ns, end_ns)
        self._found.add_chunk(Chunk(place.position, data_position, stored_bytes, raw_bytes, name or "none", crc, times))
        return place.end

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
        if found.status == TIME_RANGE:
            raise LogError(
                "unsupported", f"{self._file.path}, {self._at(position)}: {records.STATUS_NAMES[TIME_RANGE]}"
            )
        if found.status == SHORT_RECORD and found.stop == 0:
            self._found.warn(f"{self._at(position)}: {records.STATUS_NAMES[SHORT_RECORD]}; it is left out", lost=True)
            return place.end
        self._define(window, found.definitions)
        self._scanned.add(len(self._found.chunks))
        block = Chunk(place.position, place.position, found.stop, found.stop, "none", chunked=False)
        self._found.add_chunk(block, ChunkEntries.of(found).in_runs())
        return position

    def _known_chunks(self) -> list[int]:
        if not self._tail_read:
            self._read_tail()
        return sorted(self._summary.chunk_positions)

    def _is_chunk(self, position: int) -> bool:
        place = self._place(position) if position < self._file.size else None
        return place is not None and place.opcode == Opcode.CHUNK and place.end <= self._file.size

    # The summary section ----------------------------------------------------------------------------------------------

    def _read_tail(self) -> None:
        """Read the summary by way of the footer at the end of the file, if there is one."""
        self._tail_read = True
        footer_bytes = _RECORD.size + _FOOTER.size + len(MAGIC)
        tail = self._file.read_up_to(max(0, self._file.size - footer_bytes), footer_bytes)
        if len(tail) < footer_bytes or not tail.endswith(MAGIC) or tail[0] != Opcode.FOOTER:
            return
        summary_start = _FOOTER.unpack_from(tail, _RECORD.size)[0]
        if len(MAGIC) < summary_start < self._file.size:
            self._read_summary(summary_start)

    def _read_summary(self, start: int) -> None:
        """Read records from ``start`` through the footer; nothing of a summary with a wrong CRC is believed."""
        summary, crc, position, window_bytes = _Summary(), 0, start, SUMMARY_WINDOW
        while True:
            window = self._file.read_up_to(position, window_bytes)
            at = 0
            while (place := self._place_in(window, at)) is not None:
                if place.opcode == Opcode.FOOTER:
                    crc = zlib.crc32(window[: at + _RECORD.size + 16], crc)
                    self._end_summary(summary, crc, start, position + at, window[at + _RECORD.size : place.end])
                    return
                self._take_summary(summary, place.opcode, window[at : place.end])
                at = place.end
            if at == 0 and (len(window) < window_bytes or window[0] == 0 or window_bytes > self._file.size):
                self._found.warn(f"{self._at(position)}: the summary is damaged; it is not used", lost=False)
                self._summary = _Summary(chunk_positions=summary.chunk_positions)
                return
            crc = zlib.crc32(window[:at], crc)
            position += at
            window_bytes = SUMMARY_WINDOW if at else window_bytes * 4

    @staticmethod
    def _place_in(window: bytes, at: int) -> _Place | None:
        """The record at ``at`` if it is valid and wholly in the window."""
        if len(window) - at < _RECORD.size or window[at] == 0:
            return None
        place = _Place(at, *_RECORD.unpack_from(window, at))
        return place if place.end <= len(window) else None

    def _take_summary(self, summary: _Summary, opcode: int, record: bytes) -> None:
        if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            summary.definitions.append(record)
        elif opcode == Opcode.STATISTICS:
            body = record[_RECORD.size :]
            summary.statistics = self._parse(Statistics, body, "the statistics record")
        elif opcode == Opcode.CHUNK_INDEX and len(record) >= _RECORD.size + 24:
            (position,) = _LENGTH.unpack_from(record, _RECORD.size + 16)
            summary.chunk_positions.append(position)

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
        else:
            self._found.warn(f"{self._at(start)}: the summary's CRC does not match; it is not used", lost=False)
        end = position + _RECORD.size + _FOOTER.size
        behind = self._file.read_up_to(end, 2 * len(MAGIC))
        if not behind.startswith(MAGIC):
            self._found.warn(f"{self._at(end)}: the magic at the end is missing", lost=False)
        elif end + len(MAGIC) < self._file.size:
            what = "another recording follows, it is" if behind.endswith(MAGIC) else "further bytes follow, they are"
            self._found.warn(f"{self._at(end + len(MAGIC))}: {what} not read", lost=True)

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

    def _define(self, data: bytes | memoryview, offsets: Iterable[int]) -> None:
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
        if record[0] == Opcode.SCHEMA:
            schema = self._parse(Schema, record[_RECORD.size :], where)
            if schema is not None and self._schemas.setdefault(schema.id, schema) != schema:
                raise self._redefined("schema", schema.id, self._schemas[schema.id].name, schema.name)
        else:
            channel = self._parse(Channel, record[_RECORD.size :], where)
            if channel is None:
                return
            if self._channels.setdefault(channel.id, channel) != channel:
                raise self._redefined("channel", channel.id, self._channels[channel.id].topic, channel.topic)
            self._unlinked.add(channel.id)

    def _is_declared(self, id_: int) -> bool:
        return id_ in self._connections and id_ not in self._unlinked

    def _redefined(self, what: str, id_: int, first: str, second: str) -> LogError:
        text = f"{what} {id_} is declared twice with different content ({first!r}, then {second!r})"
        return LogError("bad_input", f"{self._file.path}: {text}")

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
            type_name=message_type(name) if encoding in ("ros1msg", "ros2msg", "ros2idl") else name,
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
            record: _R = kind.read(_Body(body))  # type: ignore[attr-defined]
        except (EndOfFile, McapError, struct.error, UnicodeDecodeError) as error:
            self._found.warn(f"{where} is damaged ({type(error).__name__}); it is left out", lost=False)
            return None
        return record


def _next_window(between: int) -> int:
    """Bytes to read behind a chunk, where ``between`` bytes of index came before it."""
    return min(max(LEAST_WINDOW, between + between // 8 + _CHUNK_WINDOW), MOST_WINDOW)
