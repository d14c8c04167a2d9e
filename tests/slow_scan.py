"""What can be recovered of a damaged log, found byte by byte: the slow twin of the readers' salvage.

Rules: records are walked one after the other.  A chunk counts where its sizes agree (or one of them leads to a record)
and its checksum holds; of a chunk that the end of the file cuts, the messages that are whole.  Where no record can
begin, the walk goes on at the first byte at which one can be told to begin; the message before is not trusted, unless
what follows it is a record with nothing wrong but its length.
"""

import bz2
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import lz4.frame
import zstandard

Message = tuple[str, int, bytes]
OPEN = range(1, 16)


def _unpack(name: str, data: bytes, raw: int, cut: bool) -> bytes | None:
    """Decompressed bytes; None where they are not what the chunk declares."""
    try:
        if name in ("", "none"):
            out = data
        elif name == "zstd":
            unpacker = zstandard.ZstdDecompressor().decompressobj()
            out = unpacker.decompress(data)
            if not cut and (not unpacker.eof or unpacker.unused_data):
                return None
        elif name == "lz4":
            made = lz4.frame.LZ4FrameDecompressor()
            out = made.decompress(data)
            if not cut and not made.eof:
                return None
        elif name == "bz2":
            made = bz2.BZ2Decompressor()
            out = made.decompress(data)
            if not cut and not made.eof:
                return None
        else:
            return None
    except (zstandard.ZstdError, RuntimeError, OSError, ValueError, EOFError):
        return None
    return out if len(out) == raw or (cut and len(out) < raw) else None


class Mcap:
    """One MCAP file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.topics: dict[int, str] = {}
        self.raw: list[tuple[int, int, bytes]] = []
        self.ended = False

    def messages(self) -> list[Message]:
        self.summary()
        at: int | None = 8 + 9 + struct.unpack_from("<Q", self.data, 9)[0]
        while at is not None and not self.ended:
            at = self.step(at)
        return [(self.topics[c], t, p) for c, t, p in self.raw if c in self.topics]

    def summary(self) -> None:
        data = self.data
        if data[-8:] != b"\x89MCAP0\r\n" or data[-37] != 2:
            return
        (start,) = struct.unpack_from("<Q", data, len(data) - 28)
        at = start
        if not start or not 0 < start < len(data):
            return
        if zlib.crc32(data[start : len(data) - 12]) != struct.unpack_from("<I", data, len(data) - 12)[0]:
            return
        while data[at] != 2:
            end = at + 9 + struct.unpack_from("<Q", data, at + 1)[0]
            self.define(data[at], data[at + 9 : end])
            at = end

    def define(self, opcode: int, body: bytes) -> None:
        if opcode == 4:
            with suppress(struct.error, UnicodeDecodeError):
                (length,) = struct.unpack_from("<I", body, 4)
                self.topics.setdefault(struct.unpack_from("<H", body)[0], body[8 : 8 + length].decode())

    def step(self, at: int) -> int | None:
        """Take one record of the data section; where to go on."""
        data = self.data
        if len(data) - at < 9 or data[at] == 0:
            return self.broken(at)
        opcode, length = struct.unpack_from("<BQ", data, at)
        end = at + 9 + length
        if opcode == 6:
            return self.chunk(at, length)
        if end > len(data):
            return self.broken(at)
        body = data[at + 9 : end]
        if opcode in (2, 15):
            self.ended = True
        elif opcode == 1:
            return self.resume(at + 1)
        elif opcode == 5:
            self.last = (at, len(self.raw))
            if length >= 22:
                channel, _, time, _ = struct.unpack_from("<HIQQ", body)
                if time < 2**63:
                    self.raw.append((channel, time, body[22:]))
        else:
            self.define(opcode, body)
        self.before = at
        return end

    last: tuple[int, int] = (-1, 0)
    before: int = -1

    def broken(self, at: int) -> int | None:
        """No record ends here: distrust the one before, unless only a length is wrong."""
        search = at + 1
        if len(self.data) - at < 9:
            return self.resume(search)
        if not self.sound(at):
            if self.before == self.last[0] and self.before >= 0:
                del self.raw[self.last[1] :]
                search = self.before + 1
            elif self.before >= 0 and self.data[self.before] not in (6, 9):
                search = self.before + 1
        return self.resume(search)

    def sound(self, at: int) -> bool:
        data = self.data
        if data[at] not in OPEN:
            return False
        if data[at] != 5 or len(data) - at < 31:
            return True
        channel, _, time, _ = struct.unpack_from("<HIQQ", data, at + 9)
        return channel in self.topics and time < 2**63

    def resume(self, at: int) -> int | None:
        self.before = -1
        while at < len(self.data):
            if self.plausible(at):
                return at
            at += 1
        return None

    def plausible(self, at: int) -> bool:
        data = self.data
        if len(data) - at < 9 or data[at] not in (3, 4, 5, 6, 7, 15):
            return False
        opcode, length = struct.unpack_from("<BQ", data, at)
        if length >= 1 << 40:
            return False
        body = data[at + 9 : at + 9 + length]
        if opcode == 6:
            head = self.head(at)
            return head is not None and head[-1] == length and head[3] in ("", "none", "lz4", "zstd", "bz2")
        end = at + 9 + length
        if end > len(data) or not self.followed(end):
            return False
        if opcode == 5:
            if length < 22:
                return False
            channel, _, time, _ = struct.unpack_from("<HIQQ", body)
            return channel in self.topics and time < 2**63
        if opcode == 7:
            return length >= 6 and struct.unpack_from("<I", body, 2)[0] == length - 6 and (length - 6) % 16 == 0
        if opcode in (3, 4):
            place = 2 if opcode == 3 else 4
            for _ in range(3):
                if length < place + 4:
                    return False
                place += 4 + struct.unpack_from("<I", body, place)[0]
            return place == length
        return length == 4

    def followed(self, at: int) -> bool:
        for _ in range(2):
            if at == len(self.data):
                return True
            if len(self.data) - at < 9:
                return False
            opcode, length = struct.unpack_from("<BQ", self.data, at)
            if opcode not in OPEN:
                return False
            if opcode == 6:
                return True
            at += 9 + length
            if at > len(self.data):
                return False
        return True

    def head(self, at: int) -> tuple[int, int, int, str, int, int] | None:
        """Raw size, CRC, place of the data, compression, its size, what the record's length must then be."""
        data = self.data
        try:
            start, end, raw, crc, n = struct.unpack_from("<QQQII", data, at + 9)
            if n > 64 or start > end or raw >= 1 << 63:
                return None
            (stored,) = struct.unpack_from("<Q", data, at + 41 + n)
        except struct.error:
            return None
        name = data[at + 41 : at + 41 + n].decode("ascii", "replace")
        return raw, crc, at + 49 + n, name, stored, 40 + n + stored

    def chunk(self, at: int, length: int) -> int | None:
        head = self.head(at)
        if head is None:
            return self.resume(at + 1)
        raw, crc, begin, name, stored, implied = head
        if implied != length:
            end = at + 9 + length
            if end <= len(self.data) and (end == len(self.data) or self.plausible(end)) and end >= begin:
                stored = end - begin
        end = begin + stored
        cut = end > len(self.data)
        out = _unpack(name, self.data[begin:end], raw, cut) if raw < 1 << 30 else None
        if out is not None and (cut or not crc or zlib.crc32(out) == crc):
            inner = 0
            while len(out) - inner >= 9:
                opcode, size = struct.unpack_from("<BQ", out, inner)
                if inner + 9 + size > len(out):
                    break
                body = out[inner + 9 : inner + 9 + size]
                if opcode == 5:
                    channel, _, time, _ = struct.unpack_from("<HIQQ", body)
                    self.raw.append((channel, time, body[22:]))
                self.define(opcode, body)
                inner += 9 + size
        self.before = at
        return None if cut else end


def scan_mcap(data: bytes) -> list[Message]:
    """All messages that can be recovered of an MCAP file with its magic and header record."""
    return Mcap(data).messages()


def _fields(header: bytes, *, framed: bool = False) -> dict[str, bytes] | None:
    """Fields by name; with ``framed`` one without a name is passed over."""
    found, at = {}, 0
    while at < len(header):
        if len(header) - at < 4:
            return None
        (n,) = struct.unpack_from("<I", header, at)
        name, equals, value = header[at + 4 : at + 4 + n].partition(b"=")
        if len(header) - at - 4 < n or not (equals or framed):
            return None
        found[name.decode("latin1")] = value
        at += 4 + n
    return found


def bag_record(data: bytes, at: int, *, framed: bool = False) -> tuple[dict[str, bytes], int, int] | None:
    """Header fields, place and size of the data."""
    if len(data) - at < 4:
        return None
    (n,) = struct.unpack_from("<I", data, at)
    if not 0 < n < 4096 or len(data) - at < n + 8:
        return None
    fields = _fields(data[at + 4 : at + 4 + n], framed=framed)
    return None if fields is None else (fields, at + 8 + n, struct.unpack_from("<I", data, at + 4 + n)[0])


def scan_bag_cut(data: bytes) -> list[Message]:
    """All whole messages of a bag that was cut: chunk after chunk, the last one as far as it goes."""
    topics: dict[int, str] = {}
    raw: list[tuple[int, int, bytes]] = []
    at = 13
    while (record := bag_record(data, at)) is not None:
        fields, begin, size = record
        if fields["op"] == b"\x05":
            part = data[begin : begin + size]
            cut = begin + size > len(data)
            out = _unpack(fields["compression"].decode(), part, struct.unpack("<I", fields["size"])[0], cut) or b""
            _inner(out, topics, raw)
        elif fields["op"] == b"\x07" and begin + size <= len(data):
            topics[struct.unpack("<I", fields["conn"])[0]] = fields["topic"].decode()
        at = begin + size
    return [(topics[c], t, p) for c, t, p in raw if c in topics]


def _inner(out: bytes, topics: dict[int, str], raw: list[tuple[int, int, bytes]]) -> None:
    inner = 0
    while (found := bag_record(out, inner)) is not None:
        fields, begin, size = found
        if begin + size > len(out):
            break
        (id_,) = struct.unpack("<I", fields["conn"])
        if fields["op"] == b"\x02":
            sec, nanosec = struct.unpack("<II", fields["time"])
            raw.append((id_, sec * 10**9 + nanosec, out[begin : begin + size]))
        else:
            topics.setdefault(id_, fields["topic"].decode())
        inner = begin + size


class Bag:
    """One bag, damaged anywhere behind its header record."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.topics: dict[int, list[str]] = {}
        self.raw: list[tuple[int, int, bytes]] = []

    def messages(self) -> list[Message]:
        record = bag_record(self.data, 13)
        assert record is not None
        at: int | None = record[1] + record[2]
        while at is not None and at < len(self.data):
            at = self.step(at)
        return [(self.topics[c][0], t, p) for c, t, p in self.raw if c in self.topics]

    def declare(self, fields: dict[str, bytes], body: bytes) -> None:
        """A declaration whose two topics are one goes before one that contradicts itself."""
        (id_,) = struct.unpack("<I", fields["conn"])
        inner = _fields(body)
        if "topic" not in fields or inner is None:
            return
        known = self.topics.setdefault(id_, [])
        topic = fields["topic"].decode("utf-8", "backslashreplace")
        sound = inner.get("topic", fields["topic"]) == fields["topic"]
        known.insert(0 if sound and len(known) < 2 else len(known), topic)

    def step(self, at: int) -> int | None:
        """Take one record between chunks; where to go on."""
        record = bag_record(self.data, at)
        if record is None or "op" not in record[0] or len(record[0]["op"]) != 1:
            return self.resume(at + 1)
        fields, begin, size = record
        if fields["op"] == b"\x05":
            return self.chunk(at, fields, begin, size)
        if begin + size > len(self.data) or fields["op"] == b"\x02":
            return self.resume(at + 1)
        if fields["op"] == b"\x07" and len(fields.get("conn", b"")) == 4:
            self.declare(fields, self.data[begin : begin + size])
        return begin + size

    def chunk(self, at: int, fields: dict[str, bytes], begin: int, size: int) -> int | None:
        name = fields.get("compression", b"").decode("latin1")
        if len(fields.get("size", b"")) != 4:
            return self.resume(at + 1)
        (raw,) = struct.unpack("<I", fields["size"])
        end = begin + size
        if name == "none" and raw != size:
            ends = [e for e in (end, begin + raw) if e == len(self.data) or self.is_record(e)]
            end = ends[0] if ends else end
            raw = end - begin
        cut = end > len(self.data)
        after = self.resume(begin) if cut else end
        out = _unpack(name, self.data[begin : end if after is None else after], raw, cut) if raw < 1 << 30 else None
        if out is not None:
            self.inner(out, ends=cut)
        return after

    def is_record(self, at: int) -> bool:
        record = bag_record(self.data, at)
        return record is not None and record[0].get("op") in (b"\x04", b"\x05", b"\x06", b"\x07")

    def resume(self, at: int) -> int | None:
        """The first byte from ``at`` on at which a chunk begins."""
        while (found := self.data.find(b"\x04\0\0\0op=\x05", at)) >= 0:
            for start in range(max(at, found - 4096), found - 3):
                record = bag_record(self.data, start)
                if record is None or not start + 4 <= found < record[1] - 4:
                    continue
                fields, _, size = record
                if fields.get("op") != b"\x05" or len(fields.get("size", b"")) != 4:
                    continue
                name = fields.get("compression", b"")
                if name in (b"bz2", b"lz4", b"zstd") or (name == b"none" and struct.pack("<I", size) == fields["size"]):
                    return start
            at = found + 1
        return None

    def inner(self, out: bytes, *, ends: bool) -> None:
        """The messages of a chunk; one before what is no record is not trusted, unless only a length is wrong there."""
        at, last = 0, -1
        while at < len(out):
            found = bag_record(out, at, framed=True)
            fields, begin, size = found if found is not None else ({}, 0, 0)
            op, conn = fields.get("op"), fields.get("conn", b"")
            if op in (b"\x02", b"\x07") and begin + size <= len(out):
                if op == b"\x07":
                    if len(conn) == 4:
                        self.declare(fields, out[begin : begin + size])
                elif len(conn) == 4 and len(fields.get("time", b"")) == 8:
                    last = at
                    sec, nanosec = struct.unpack("<II", fields["time"])
                    self.raw.append((struct.unpack("<I", conn)[0], sec * 10**9 + nanosec, out[begin : begin + size]))
                at = begin + size
                continue
            framed = found is not None and (op not in (None, b"\x05")) and len(op or b"") == 1
            if framed and begin + size > len(out) and ends:
                return
            search = at + 1
            if last >= 0 and not (op in (b"\x02", b"\x07") and len(conn) == 4):
                search = last + 1
            after = self.inner_resume(out, search)
            if search == last + 1 and last >= 0 and (after is not None or not self.is_short(out, at)):
                self.raw.pop()
            if after is None:
                return
            at, last = after, -1

    @staticmethod
    def is_short(out: bytes, at: int) -> bool:
        """Whether what is wrong at a byte is that the record there is longer than the bytes left."""
        if len(out) - at < 4:
            return True
        (n,) = struct.unpack_from("<I", out, at)
        if n == 0:
            return False
        if n + 8 > len(out) - at:
            return True
        fields = _fields(out[at + 4 : at + 4 + n], framed=True)
        if fields is None or len(fields.get("op", b"")) != 1 or fields["op"] == b"\x05":
            return False
        return at + 8 + n + int(struct.unpack_from("<I", out, at + 4 + n)[0]) > len(out)

    @staticmethod
    def inner_resume(out: bytes, at: int) -> int | None:
        for start in range(at, len(out) - 8):
            found = bag_record(out, start)
            if found is None:
                continue
            fields, begin, size = found
            if begin + size > len(out) or len(fields.get("conn", b"")) != 4:
                continue
            if fields.get("op") == b"\x02" and len(fields.get("time", b"")) == 8:
                return start
            if fields.get("op") == b"\x07" and "topic" in fields:
                return start
        return None


def scan_bag(data: bytes) -> list[Message]:
    """All messages that can be recovered of a bag with its version line and header record."""
    return Bag(data).messages()


Scan = Callable[[bytes], list[Message]]
