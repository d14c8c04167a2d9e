"""Where records go on behind damage: the first byte at which something begins that can only be a record.

Strategy: candidates are found by bytes that every record has (vectorised for MCAP, by ``find`` for bags) and then
judged one by one: their sizes must agree with each other and lie inside the data, what they name must be known, and
the records behind them must be framed too.  Only a chunk may run over the end of the data, as the last record of a log
that was cut.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from hephaes_rpc.engine.logs.chunks import COMPRESSIONS

Read = Callable[[int, int], bytes | memoryview]
WINDOW_BYTES: Final = 1 << 20
FOLLOWING: Final = 2
MAX_TIME: Final = 2**63 - 1

_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")
_MESSAGE = struct.Struct("<HIQQ")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")
SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, DATA_END = 3, 4, 5, 6, 7, 15
MAX_NAME_BYTES: Final = 64


class McapResync:
    """Finds records of an MCAP data section or chunk.

    Args:
        read: Reads up to so many bytes at a position.
        size: Bytes of the data.
        is_channel: Whether messages may name this channel.
    """

    def __init__(self, read: Read, size: int, is_channel: Callable[[int], bool]) -> None:
        self._read, self._size, self._is_channel = read, size, is_channel

    def next(self, start: int) -> int | None:
        """The first position from ``start`` on where a record begins; None if there is none."""
        for position in self._candidates(start):
            if self.is_record(position):
                return position
        return None

    def _candidates(self, start: int) -> Iterator[int]:
        """Positions with the opcode of a record of the data section and a length below 2^40."""
        while start < self._size:
            raw = np.frombuffer(self._read(start, WINDOW_BYTES + _RECORD.size - 1), np.uint8)
            if len(raw) < _RECORD.size:
                return
            heads = raw[: len(raw) - _RECORD.size + 1]
            found = np.flatnonzero(((heads >= SCHEMA) & (heads <= MESSAGE_INDEX)) | (heads == DATA_END))
            for k in (8, 7, 6):
                found = found[raw[found + k] == 0]
            yield from (found + start).tolist()
            start += len(heads)

    def is_record(self, position: int) -> bool:
        """Whether a record can be told to begin there."""
        head = bytes(self._read(position, _RECORD.size + _CHUNK.size + MAX_NAME_BYTES + _U64.size))
        if len(head) < _RECORD.size:
            return False
        opcode, length = _RECORD.unpack_from(head)
        body, end = head[_RECORD.size :], position + _RECORD.size + length
        if opcode == CHUNK:
            found = chunk_head(body, length)
            return found is not None and (found[4] or "none") in COMPRESSIONS
        if end > self._size or not self._followed(end):
            return False
        if opcode == MESSAGE:
            return self._is_message(body, length)
        if opcode == MESSAGE_INDEX:
            return length >= 6 and length % 16 == 6 and bool(_U32.unpack_from(body, 2)[0] == length - 6)
        if opcode in (SCHEMA, CHANNEL):
            return _strings_fit(bytes(self._read(position + _RECORD.size, length)), opcode)
        return bool(opcode == DATA_END and length == 4)

    def _is_message(self, body: bytes, length: int) -> bool:
        if length < _MESSAGE.size or len(body) < _MESSAGE.size:
            return False
        channel, _, log_time, _ = _MESSAGE.unpack_from(body)
        return log_time <= MAX_TIME and self._is_channel(channel)

    def _followed(self, position: int) -> bool:
        """Whether records are framed there, or the data ends."""
        for _ in range(FOLLOWING):
            if position == self._size:
                return True
            head = bytes(self._read(position, _RECORD.size))
            if len(head) < _RECORD.size:
                return False
            opcode, length = _RECORD.unpack(head)
            if not 0 < opcode <= DATA_END:
                return False
            if opcode == CHUNK:
                return True
            position += _RECORD.size + length
            if position > self._size:
                return False
        return True


def chunk_head(body: bytes, length: int) -> tuple[int, int, int, int, str, int] | None:
    """Times, raw size, CRC, compression and place of the data in a chunk's body, where its sizes agree."""
    if len(body) < _CHUNK.size:
        return None
    start_ns, end_ns, raw_bytes, crc, name_bytes = _CHUNK.unpack_from(body)
    at = _CHUNK.size + name_bytes + _U64.size
    if name_bytes > MAX_NAME_BYTES or len(body) < at:
        return None
    name = body[_CHUNK.size : _CHUNK.size + name_bytes].decode("ascii", "replace")
    (stored_bytes,) = _U64.unpack_from(body, at - _U64.size)
    if at + stored_bytes != length or start_ns > end_ns or raw_bytes >> 63:
        return None
    return start_ns, end_ns, raw_bytes, crc, name, at


def _strings_fit(body: bytes, opcode: int) -> bool:
    """Whether a schema or channel record is made of its strings to the last byte."""
    at = 2 if opcode == SCHEMA else 4
    for _ in range(3):
        if len(body) < at + 4:
            return False
        at += 4 + int(_U32.unpack_from(body, at)[0])
    return at == len(body)


_OP_FIELD: Final = b"\x04\x00\x00\x00op="
MAX_HEADER_BYTES: Final = 4096


class BagResync:
    """Finds chunks of a bag, or the messages of one.

    Args:
        read: Reads up to so many bytes at a position.
        size: Bytes of the data.
        fields: Takes a record header apart; raises ValueError.
    """

    def __init__(self, read: Read, size: int, fields: Callable[[bytes], dict[str, bytes]]) -> None:
        self._read, self._size, self._fields = read, size, fields

    def next_chunk(self, start: int) -> int | None:
        """The first position from ``start`` on where a chunk begins."""
        return self._next(start, b"\x05", self._is_chunk)

    def next_message(self, start: int) -> int | None:
        """The first position from ``start`` on where a message or connection of a chunk begins."""
        found = (self._next(start, op, self._is_inner) for op in (b"\x02", b"\x07"))
        return min((position for position in found if position is not None), default=None)

    def _next(self, start: int, op: bytes, judge: Callable[[dict[str, bytes], int, int], bool]) -> int | None:
        overlap = MAX_HEADER_BYTES
        position = start
        while position < self._size:
            window = bytes(self._read(position, WINDOW_BYTES + overlap))
            at = window.find(_OP_FIELD + op)
            while at >= 0:
                found = self._around(position + at, start, judge)
                if found is not None:
                    return found
                at = window.find(_OP_FIELD + op, at + 1)
            position += WINDOW_BYTES
        return None

    def _around(self, at: int, start: int, judge: Callable[[dict[str, bytes], int, int], bool]) -> int | None:
        """Where the record begins whose header holds the field at ``at``."""
        first = max(start, at - MAX_HEADER_BYTES)
        before = bytes(self._read(first, at - first))
        for back in range(4, len(before) + 1):
            (header_bytes,) = _U32.unpack_from(before, len(before) - back)
            if not back + 4 <= header_bytes + 4 <= MAX_HEADER_BYTES:
                continue
            position = at - back
            head = bytes(self._read(position + 4, header_bytes + 4))
            if len(head) < header_bytes + 4:
                continue
            try:
                fields = self._fields(head[:header_bytes])
            except ValueError:
                continue
            data_position = position + 8 + header_bytes
            if judge(fields, data_position, _U32.unpack_from(head, header_bytes)[0]):
                return position
        return None

    def _is_chunk(self, fields: dict[str, bytes], data_position: int, data_bytes: int) -> bool:
        return (
            fields.get("op") == b"\x05"
            and len(fields.get("size", b"")) == 4
            and fields.get("compression", b"").decode("ascii", "replace") in COMPRESSIONS
            and (fields["compression"] != b"none" or _U32.unpack(fields["size"])[0] == data_bytes)
            and data_position <= self._size
        )

    def _is_inner(self, fields: dict[str, bytes], data_position: int, data_bytes: int) -> bool:
        if data_position + data_bytes > self._size or len(fields.get("conn", b"")) != 4:
            return False
        if fields["op"] == b"\x02" and len(fields.get("time", b"")) != 8:
            return False
        return fields["op"] == b"\x02" or "topic" in fields
