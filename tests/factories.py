"""What tests write byte by byte: records of containers.  Whole logs are those of ``hephaes_rpc.testing.logs``."""

import struct

from hephaes_rpc.testing.logs import (
    BAG_COMPRESSIONS,
    MCAP_COMPRESSIONS,
    START_NS,
    TOPICS,
    Sample,
    message,
    samples,
    store,
    write_bag,
    write_mcap,
)

__all__ = [
    "BAG_COMPRESSIONS",
    "MCAP_COMPRESSIONS",
    "START_NS",
    "TOPICS",
    "Sample",
    "bag_message",
    "bag_record",
    "mcap_message",
    "mcap_record",
    "mcap_text",
    "message",
    "samples",
    "store",
    "write_bag",
    "write_mcap",
]


def mcap_record(opcode: int, body: bytes, length: int | None = None) -> bytes:
    """An MCAP record; ``length`` to lie about the body's."""
    return struct.pack("<BQ", opcode, len(body) if length is None else length) + body


def mcap_text(text: str | bytes) -> bytes:
    """A length-prefixed string."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data


def mcap_message(channel: int, time: int, payload: bytes = b"payload", publish_time: int = 0) -> bytes:
    """A message record."""
    return mcap_record(5, struct.pack("<HIQQ", channel, 0, time, publish_time) + payload)


def bag_record(fields: dict[str, bytes], data: bytes = b"", length: int | None = None) -> bytes:
    """A bag record; ``length`` to lie about the data's."""
    header = b"".join(struct.pack("<I", len(k) + 1 + len(v)) + k.encode() + b"=" + v for k, v in fields.items())
    data_bytes = len(data) if length is None else length
    return struct.pack("<I", len(header)) + header + struct.pack("<I", data_bytes) + data


def bag_message(connection: int, time: int, payload: bytes = b"payload") -> bytes:
    """A message record."""
    stamp = struct.pack("<II", *divmod(time, 10**9))
    return bag_record({"op": b"\x02", "conn": struct.pack("<I", connection), "time": stamp}, payload)
