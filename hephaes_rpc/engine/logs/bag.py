"""ROS1 bags, format 2.0, closed or not.

Format: http://wiki.ros.org/Bags/Format/2.0.  A record is a header of ``name=value`` fields and data, each
behind its length.
"""

import struct
from collections.abc import Iterable
from typing import ClassVar, Final, Literal, NamedTuple

import numpy as np
from attrs import evolve, frozen

from hephaes_native import records
from hephaes_rpc.engine.logs import bagconnection
from hephaes_rpc.engine.logs.base import Payload, Progress, message_type
from hephaes_rpc.engine.logs.chunks import MAX_RAW_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.magic import BAG_MAGIC
from hephaes_rpc.engine.logs.reader import FOREIGN, INVALID_OPCODE, TRUNCATED, RecordReader
from hephaes_rpc.engine.logs.resync import BagResync
from hephaes_rpc.engine.logs.sweep import Chunk
from hephaes_rpc.engine.logs.types import Connection
from hephaes_rpc.errors import LogError

BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 3, 4, 5, 6, 7
LEAST_WINDOW: Final = 4 << 10
MAX_HEADER_BYTES: Final = 1 << 20
MAX_INNER_HEADER: Final = 4 << 10
MAX_CONNECTION_ID: Final = (1 << 16) - 1

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_PAIR = np.dtype([("connection", "<u4"), ("count", "<u4")])


class _Record(NamedTuple):
    """A framed record: its header fields, where its data begins and how long that is."""

    position: int
    fields: dict[str, bytes]
    data_position: int
    data_bytes: int

    @property
    def opcode(self) -> int:
        """Opcode; -1 where the header has none."""
        op = self.fields.get("op", b"")
        return op[0] if len(op) == 1 else -1

    @property
    def end(self) -> int:
        return self.data_position + self.data_bytes

    def number(self, name: str, layout: struct.Struct) -> int:
        """The integer in field ``name``; raises ValueError where it is missing or has another size."""
        value = self.fields.get(name, b"")
        if len(value) != layout.size:
            raise ValueError(f"field {name!r} is missing or has the wrong size")
        number: int = layout.unpack(value)[0]
        return number


@frozen
class _ChunkInfo:
    """What the index section says of one chunk."""

    position: int
    counts: dict[int, int]


class BagReader(RecordReader):
    """One ROS1 bag."""

    storage_format: ClassVar = "bag"
    _native_walk: ClassVar = staticmethod(records.walk_bag)
    _native_scan: ClassVar = staticmethod(records.scan_bag)

    def __init__(self, file: LogFile, progress: Progress) -> None:
        """Index ``file``."""
        self._infos: list[_ChunkInfo] = []
        self._seen: set[bytes] = set()
        self._index_position = 0
        super().__init__(file, progress)

    # The records of the file ------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        position, chunk_count = self._read_header()
        self._sweep_records(position)
        self._check_infos(chunk_count)

    def _read_header(self) -> tuple[int, int]:
        """The position behind the bag header record, and the number of chunks it claims."""
        try:
            header = self._record(len(BAG_MAGIC))
            if header is None or header.opcode != BAG_HEADER or header.end > self._file.size:
                raise ValueError("there is none behind the version line")
            self._index_position = header.number("index_pos", _U64)
            chunk_count = header.number("chunk_count", _U32)
        except ValueError as error:
            text = f"{self._file.path} has no readable bag header record: {error}"
            raise LogError("bad_input", text, path=self._file.path) from error
        if self._index_position == 0:
            self._found.warn("the bag was not closed by its recorder", lost=True)
        elif self._index_position > self._file.size:
            text = f"the index lies at byte {self._index_position}, the file ends at {self._file.size}"
            self._found.warn(f"the bag is cut: {text}", lost=True)
        return header.end, chunk_count

    def _sweep_records(self, start: int) -> None:
        """Hop from ``start`` to the end of the file."""
        position: int | None = start
        behind = start
        window_bytes = LEAST_WINDOW
        while position is not None:
            self._progress(position, self._file.size)
            window = self._file.read_up_to(position, window_bytes)
            found = records.index_bag(window)
            self._found.add_index(found)
            self._define(window, found.definitions)
            position += found.stop
            if position == self._file.size:
                return
            try:
                record = self._record(position, window[found.stop :])
            except ValueError as error:
                if self._file.read_up_to(position, len(BAG_MAGIC)) == BAG_MAGIC:
                    self._found.warn(f"{self._at(position)}: another bag follows, it is not read", lost=True)
                    self._found.lose(position, self._file.size, "another bag follows")
                    return
                position = self._lost(position, f"no record begins there ({error})")
                continue
            if record is None or (record.end > self._file.size and record.opcode != CHUNK):
                position = self._lost(position, "a record runs over the end of the file")
            elif record.opcode == CHUNK:
                between = position - behind
                window_bytes = min(max(LEAST_WINDOW, between + between // 8 + LEAST_WINDOW // 8), MAX_HEADER_BYTES)
                position = self._take_chunk(record)
                behind = position or 0
            elif found.status in (FOREIGN, INVALID_OPCODE):
                position = self._lost(position, "a record has no place there")
            elif found.status == TRUNCATED and record.opcode in (INDEX, CONNECTION, CHUNK_INFO):
                if record.end - position > MAX_RAW_BYTES:
                    position = self._lost(position, f"a record of {record.end - position} bytes")
                else:
                    window_bytes = max(window_bytes, record.end - position)
            elif found.status == TRUNCATED:
                position = record.end

    def _record(self, position: int, ahead: bytes = b"") -> _Record | None:
        """Frame the record at ``position``, of which ``ahead`` may hold the first bytes.

        None where the file ends before the record's header does; ValueError where the header is malformed.
        """
        head = ahead if len(ahead) >= LEAST_WINDOW // 8 else self._file.read_up_to(position, LEAST_WINDOW)
        if len(head) < 4:
            return None
        (header_bytes,) = _U32.unpack_from(head)
        if header_bytes > MAX_HEADER_BYTES:
            raise ValueError(f"its header would have {header_bytes} bytes")
        if len(head) < header_bytes + 8:
            head = self._file.read_up_to(position, header_bytes + 8)
            if len(head) < header_bytes + 8:
                return None
        fields = _fields(head[4 : 4 + header_bytes])
        (data_bytes,) = _U32.unpack_from(head, 4 + header_bytes)
        return _Record(position, fields, position + 8 + header_bytes, data_bytes)

    def _take_chunk(self, record: _Record) -> int | None:
        """Note a chunk; the position behind it, or where records go on."""
        try:
            raw_bytes = record.number("size", _U32)
            name = record.fields.get("compression", b"").decode("ascii")
        except ValueError as error:
            return self._lost(record.position, f"a chunk's header: {error}")
        end = record.end
        if name == "none" and raw_bytes != record.data_bytes:
            end = self._likelier_end(record, record.data_position + raw_bytes)
            raw_bytes = end - record.data_position
        cut = end > self._file.size
        stored_bytes = max(0, min(end, self._file.size) - record.data_position)
        chunk = Chunk(record.position, record.data_position, stored_bytes, raw_bytes, name or "none", cut=cut)
        self._found.add_chunk(chunk)
        if not cut:
            return end
        after = self._next_record(record.data_position)
        if after is not None:  # not the file, the chunk's length is wrong
            self._found.chunks[-1] = evolve(chunk, stored_bytes=after - record.data_position)
        reason = "the file ends inside a chunk" if after is None else "a chunk runs over the end of the file"
        begin, until = (self._file.size, end) if after is None else (record.data_position, after)
        self._found.warn(f"{self._at(begin)}: {reason}; {until - begin} bytes are missing or in doubt", lost=True)
        self._found.lose(begin, until, reason)
        return after

    def _likelier_end(self, record: _Record, other: int) -> int:
        """Which of the two ends of an uncompressed chunk, that differ, has a record behind it."""
        self._found.warn(f"{self._at(record.position)}: a chunk's sizes contradict each other", lost=False)
        for end in (record.end, other):
            if end == self._file.size:
                return end
            try:
                behind = self._record(end) if end < self._file.size else None
            except ValueError:
                continue
            if behind is not None and behind.opcode in (INDEX, CHUNK, CONNECTION, CHUNK_INFO):
                return end
        return record.end

    def _read_index_section(self) -> None:
        """Read the index section by its address, in case the sweep does not get there."""
        if not self._infos and len(BAG_MAGIC) < self._index_position < self._file.size:
            position = self._index_position
            while True:
                window = self._file.read_up_to(position, MAX_HEADER_BYTES)
                found = records.index_bag(window)
                self._define(window, found.definitions)
                position += found.stop
                if found.stop == 0:
                    break

    def _next_record(self, start: int) -> int | None:
        self._read_index_section()
        return BagResync(self._scanning, self._file.size, _fields).next_chunk(start)

    def _next_inner(self, data: Payload, start: int) -> int | None:
        view = memoryview(data)
        read = lambda position, length: view[position : position + length]  # noqa: E731
        return BagResync(read, len(view), _fields).next_message(start)

    def _record_end(self, data: Payload, at: int) -> int:
        (header_bytes,) = _U32.unpack_from(data, at)
        return at + 8 + int(header_bytes) + int(_U32.unpack_from(data, at + 4 + header_bytes)[0])

    def _begins_soundly(self, data: Payload, at: int) -> bool:
        head = bytes(data[at : at + MAX_INNER_HEADER])
        if len(head) < 4:
            return True
        (header_bytes,) = _U32.unpack_from(head)
        try:
            fields = _fields(head[4 : 4 + header_bytes])
        except ValueError:
            return False
        return fields.get("op") in (b"\x02", b"\x07") and len(fields.get("conn", b"")) == 4

    # The index section ------------------------------------------------------------------------------------------------

    def _check_infos(self, chunk_count: int) -> None:
        """Tell where the bag header and the index section know of other chunks than the file holds."""
        positions = {chunk.position for chunk in self._found.chunks}
        if len({info.position for info in self._infos}) != len(self._infos):
            self._found.warn("the index section lists chunks more than once", lost=False)
        if self._index_position and chunk_count != len(positions):
            text = f"the bag header counts {chunk_count} chunks, the file holds {len(positions)}"
            self._found.warn(text, lost=chunk_count > len(positions))
        if self._index_position and {info.position for info in self._infos} != positions:
            self._found.warn("the index section lists other chunks than the file holds", lost=False)

    def _doubtful(self) -> Iterable[int]:
        infos = {info.position: info for info in self._infos}
        for i, chunk in enumerate(self._found.chunks):
            info = infos.get(chunk.position)
            if info is not None and info.counts != self._index.chunk_counts(i):
                yield i

    def _claims(self) -> dict[int, int] | None:
        if not self._infos:
            return None
        claims: dict[int, int] = {}
        for info in {info.position: info for info in self._infos}.values():
            for id_, count in info.counts.items():
                claims[id_] = claims.get(id_, 0) + count
        return claims

    # Definitions ------------------------------------------------------------------------------------------------------

    def _define(self, data: Payload, offsets: Iterable[int]) -> None:
        view = memoryview(data)
        for at in offsets:
            (header_bytes,) = _U32.unpack_from(view, at)
            (data_bytes,) = _U32.unpack_from(view, at + 4 + header_bytes)
            record = bytes(view[at : at + 8 + header_bytes + data_bytes])
            if record not in self._seen:
                self._seen.add(record)
                self._define_record(record, header_bytes)

    def _define_record(self, record: bytes, header_bytes: int) -> None:
        try:
            header = _Record(0, _fields(record[4 : 4 + header_bytes]), 8 + header_bytes, len(record) - 8 - header_bytes)
            if header.opcode == CHUNK_INFO:
                self._infos.append(_chunk_info(header, record))
            else:
                self._connect(header, record)
        except ValueError as error:
            self._found.warn(f"a connection or chunk info record is left out: {error}", lost=False)

    def _connect(self, header: _Record, record: bytes) -> None:
        id_ = header.number("conn", _U32)
        if id_ > MAX_CONNECTION_ID:
            text = f"{self._file.path}: connection id {id_} is beyond the limit of {MAX_CONNECTION_ID}"
            raise LogError("unsupported", text)
        fields = _fields(record[header.data_position :])
        texts = {name: value.decode("utf-8", "backslashreplace") for name, value in fields.items()}
        topic = header.fields.get("topic", fields.get("topic", b"")).decode("utf-8", "backslashreplace")
        connection = Connection(
            id=id_,
            topic=topic,
            type_name=message_type(texts.get("type", "")),
            encoding="ros1",
            schema_encoding="ros1msg",
            schema=fields.get("message_definition", b""),
            message_count=0,
            metadata={name: value for name, value in texts.items() if name != "message_definition"},
        )
        first = self._connections.setdefault(id_, connection)
        if (first.topic, first.type_name, first.schema) != (topic, connection.type_name, connection.schema):
            self._settle_declarations(first, connection)

    def _settle_declarations(self, one: Connection, other: Connection) -> None:
        """Keep the one of two declarations that contradicts itself less; LogError where neither does.

        A bag declares each connection in a chunk and in its index, with the topic in header and data, and with a
        checksum of the definition: damage to one copy shows.
        """
        doubts = bagconnection.doubts(one), bagconnection.doubts(other)
        alike = (one.topic, one.type_name) == (other.topic, other.type_name) and doubts == (0, 0)
        if doubts[0] == doubts[1] and not alike:
            what = f"connection {one.id} is declared twice with different content ({one.topic!r}, then {other.topic!r})"
            raise LogError("bad_input", f"{self._file.path}: {what}")
        text = f"connection {one.id} ({one.topic!r}) is declared otherwise, too"
        self._found.warn(f"{text}; the declaration whose checksum holds is taken", lost=False)
        if doubts[1] < doubts[0]:
            self._connections[one.id] = other
            self._redeclared += 1

    def _stream_of(self, connection: Connection) -> tuple[Literal[1, 2], str | None]:
        return 1, None if connection.type_name else "the connection names no type"


def _fields(header: bytes) -> dict[str, bytes]:
    """The fields of a record header or connection header; raises ValueError where one is malformed."""
    fields: dict[str, bytes] = {}
    at = 0
    while at < len(header):
        if len(header) - at < 4:
            raise ValueError("a header field is cut")
        (length,) = _U32.unpack_from(header, at)
        field = header[at + 4 : at + 4 + length]
        name, equals, value = field.partition(b"=")
        if len(field) != length or not equals:
            raise ValueError("a header field is malformed")
        fields[name.decode("utf-8", "backslashreplace")] = value
        at += 4 + length
    return fields


def _chunk_info(header: _Record, record: bytes) -> _ChunkInfo:
    position, count = header.number("chunk_pos", _U64), header.number("count", _U32)
    if header.number("ver", _U32) != 1 or count * _PAIR.itemsize > header.data_bytes:
        raise ValueError("a chunk info record contradicts itself")
    pairs = np.frombuffer(record, _PAIR, count, header.data_position)
    counts: dict[int, int] = {}
    for id_, messages in pairs.tolist():
        if messages:
            counts[id_] = counts.get(id_, 0) + messages
    return _ChunkInfo(position, counts)
