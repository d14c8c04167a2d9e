"""Mutations that keep the outer shape of a log, so that what lies behind its checksums and compression is reached.

Half of them are libFuzzer's own over the whole file, with checksums made right again every other time; the others take
the file apart: the records of one chunk are changed and packed again, or records are dropped, doubled and swapped.
"""

import bz2
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import atheris
import lz4.frame
import zstandard

Mutator = Callable[[bytes, int, int], bytes]
MCAP_MAGIC = b"\x89MCAP0\r\n"
BAG_MAGIC = b"#ROSBAG V2.0\n"
MAX_RAW = 1 << 20
_ERRORS = (zstandard.ZstdError, RuntimeError, OSError, ValueError, EOFError, struct.error)
PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"": bytes,
    b"none": bytes,
    b"lz4": lz4.frame.compress,
    b"zstd": zstandard.ZstdCompressor().compress,
    b"bz2": bz2.compress,
}


def _changed(data: bytes, max_bytes: int) -> bytes:
    """As libFuzzer changes bytes."""
    changed: bytes = atheris.Mutate(data, max_bytes)
    return changed


def _unpacked(name: bytes, data: bytes) -> bytes | None:
    with suppress(*_ERRORS):
        if name == b"zstd":
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_RAW)
        if name == b"lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=MAX_RAW))
        if name == b"bz2":
            return bz2.BZ2Decompressor().decompress(data, max_length=MAX_RAW)
        return data if name in PACKERS else None
    return None


def _shuffled(parts: list[bytes], random_: random.Random) -> list[bytes]:
    """A record dropped, doubled, swapped with another, or changed."""
    if not parts:
        return parts
    i, k = random_.randrange(len(parts)), random_.randrange(len(parts))
    match random_.randrange(4):
        case 0:
            del parts[i]
        case 1:
            parts.insert(k, parts[i])
        case 2:
            parts[i], parts[k] = parts[k], parts[i]
        case _:
            parts[i] = _changed(parts[i], len(parts[i]) + 64)
    return parts


# MCAP -----------------------------------------------------------------------------------------------------------------


def _mcap_records(data: bytes, at: int) -> list[bytes]:
    """Records as far as they are framed; what is left is the last."""
    found = []
    while len(data) - at >= 9:
        end = at + 9 + int.from_bytes(data[at + 1 : at + 9], "little")
        if end > len(data):
            break
        found.append(data[at:end])
        at = end
    return [*found, data[at:]] if at < len(data) else found


def _mcap_chunk(record: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Times, compression and stored data of a chunk."""
    with suppress(struct.error):
        if record[:1] == b"\x06":
            (n,) = struct.unpack_from("<I", record, 37)
            (stored,) = struct.unpack_from("<Q", record, 41 + n)
            return record[9:25], record[41 : 41 + n], record[49 + n : 49 + n + stored]
    return None


def _packed_chunk(times: bytes, name: bytes, raw: bytes) -> bytes:
    data = PACKERS[name](raw)
    head = times + struct.pack("<QII", len(raw), zlib.crc32(raw), len(name)) + name
    body = head + struct.pack("<Q", len(data)) + data
    return struct.pack("<BQ", 6, len(body)) + body


def _sealed(data: bytes) -> bytes:
    """The checksums of chunks and summary made right."""
    records = _mcap_records(data, len(MCAP_MAGIC))
    for i, record in enumerate(records):
        chunk = _mcap_chunk(record)
        raw = chunk and _unpacked(chunk[1], chunk[2])
        if chunk and raw is not None and record[33:37] != bytes(4):
            records[i] = record[:33] + struct.pack("<I", zlib.crc32(raw)) + record[37:]
    data = MCAP_MAGIC + b"".join(records)
    if len(data) > 45 and data.endswith(MCAP_MAGIC) and data[-12:-8] != bytes(4):
        start = int.from_bytes(data[-28:-20], "little")
        if 0 < start < len(data) - 12:
            data = data[:-12] + struct.pack("<I", zlib.crc32(data[start:-12])) + MCAP_MAGIC
    return data


def mcap(data: bytes, max_size: int, seed: int) -> bytes:
    """A mutated MCAP file."""
    random_ = random.Random(seed)
    way = random_.randrange(6)
    if way < 3 or not data.startswith(MCAP_MAGIC):
        changed = _changed(data, max_size)
        if way:
            changed = MCAP_MAGIC + changed[len(MCAP_MAGIC) :]
        return _sealed(changed)[:max_size] if way == 2 else changed
    records = _mcap_records(data, len(MCAP_MAGIC))
    if way == 3:
        records = _shuffled(records, random_)
    else:
        places = [i for i, record in enumerate(records) if record[:1] == b"\x06"]
        if not places:
            return _changed(data, max_size)
        i = random_.choice(places)
        chunk = _mcap_chunk(records[i])
        raw = chunk and _unpacked(chunk[1], chunk[2])
        if chunk and raw is not None:
            parts = _shuffled(_mcap_records(raw, 0), random_)
            name = random_.choice((chunk[1], b"", b"lz4", b"zstd"))
            changed = b"".join(parts) if way == 4 else _changed(raw, max(1, max_size // 2))
            records[i] = _packed_chunk(chunk[0], name, changed)
    return _sealed(MCAP_MAGIC + b"".join(records))[:max_size]


# Bag ------------------------------------------------------------------------------------------------------------------


def _bag_records(data: bytes, at: int) -> list[bytes]:
    found = []
    while len(data) - at >= 8:
        head = int.from_bytes(data[at : at + 4], "little")
        end = at + 8 + head + int.from_bytes(data[at + 4 + head : at + 8 + head], "little")
        if end > len(data):
            break
        found.append(data[at:end])
        at = end
    return [*found, data[at:]] if at < len(data) else found


def _bag_chunk(record: bytes) -> tuple[bytes, bytes] | None:
    """Compression and stored data of a chunk."""
    head = int.from_bytes(record[:4], "little")
    fields = record[4 : 4 + head]
    if b"op=\x05" not in fields:
        return None
    name = next((n for n in (b"none", b"bz2", b"lz4") if b"compression=" + n in fields), None)
    return None if name is None else (name, record[8 + head :])


def _packed_bag_chunk(name: bytes, raw: bytes) -> bytes:
    data = PACKERS[name](raw)
    fields = (b"op=\x05", b"compression=" + name, b"size=" + struct.pack("<I", len(raw)))
    head = b"".join(struct.pack("<I", len(f)) + f for f in fields)
    return struct.pack("<I", len(head)) + head + struct.pack("<I", len(data)) + data


def bag(data: bytes, max_size: int, seed: int) -> bytes:
    """A mutated bag."""
    random_ = random.Random(seed)
    way = random_.randrange(6)
    if way < 3 or not data.startswith(BAG_MAGIC):
        changed = _changed(data, max_size)
        return BAG_MAGIC + changed[len(BAG_MAGIC) :] if way else changed
    records = _bag_records(data, len(BAG_MAGIC))
    chunks = [(i, found) for i, record in enumerate(records) if (found := _bag_chunk(record))]
    if way == 3 or not chunks:
        records = _shuffled(records, random_)
    else:
        i, (name, stored) = random_.choice(chunks)
        raw = _unpacked(name, stored)
        if raw is not None:
            parts = _shuffled(_bag_records(raw, 0), random_)
            changed = b"".join(parts) if way == 4 else _changed(raw, max(1, max_size // 2))
            records[i] = _packed_bag_chunk(random_.choice((name, b"none", b"bz2", b"lz4")), changed)
    return (BAG_MAGIC + b"".join(records))[:max_size]


# The others -----------------------------------------------------------------------------------------------------------


def db3(data: bytes, max_size: int, seed: int) -> bytes:
    """A mutated SQLite file, mostly with its magic."""
    changed = _changed(data, max_size)
    return b"SQLite format 3\x00" + changed[16:] if seed % 8 else changed


def decode(data: bytes, max_size: int, seed: int) -> bytes:
    """Schema or payload changed, the other kept."""
    random_ = random.Random(seed)
    if len(data) < 8 or not random_.randrange(8):
        return _changed(data, max_size)
    begin = 2 + data[1]
    schema_bytes = int.from_bytes(data[begin : begin + 2], "little")
    schema, payload = data[begin + 2 : begin + 2 + schema_bytes], data[begin + 2 + schema_bytes :]
    if not random_.randrange(4):
        schema = _changed(schema, max(1, max_size // 2))
    else:
        payload = _changed(payload, max(1, max_size // 2))
    return (data[:begin] + struct.pack("<H", len(schema) & 0xFFFF) + schema + payload)[:max_size]


MUTATORS: dict[str, Mutator] = {"bag": bag, "mcap": mcap, "db3": db3, "decode": decode}
