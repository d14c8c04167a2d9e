"""Slow twins of the TFRecord writer: what a record should hold, and a reader of records written out by hand."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hephaes_rpc.engine.specs.spec import TFRecordOutput

Example = dict[str, tuple[str, list[Any]]]
LENGTH = "__sequence_length__"


def expected(schema: pa.Schema, row: dict[str, Any], output: TFRecordOutput) -> Example:
    """Key -> (kind, values) of one row, by the rules of the writer's docstring."""
    example: Example = {"timestamp_ns": ("int64", [row["timestamp_ns"]])}
    for member in list(schema)[1:]:
        value, name = row[member.name], member.name
        example[f"{name}__present"] = ("int64", [int(value is not None)])
        if value is None and output.absent_keys == "omit":
            continue
        _flatten(member.type, name, [zero(member.type) if value is None else value], output, example, top=True)
    return example


def zero(kind: pa.DataType) -> Any:
    """What stands for a value of an absent field."""
    if pa.types.is_struct(kind):
        return {member.name: zero(member.type) for member in kind}
    if pa.types.is_fixed_size_list(kind):
        return [zero(kind.value_type)] * kind.list_size
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else b"" if pa.types.is_binary(kind) else 0


def _flatten(
    kind: pa.DataType,
    key: str,
    values: list[Any],
    output: TFRecordOutput,
    out: Example,
    *,
    top: bool = False,
    axis: int = 0,
) -> None:
    if pa.types.is_struct(kind):
        names = {member.name for member in kind}
        image = {"data", "format"} <= names or {"data", "height", "width", "encoding"} <= names
        for member in kind:
            below = f"{key}__present_" if top and member.name == "present" else f"{key}__{member.name}"
            inner, kind_of = [value[member.name] for value in values], member.type
            legacy = image and output.image_payload_contract == "legacy_list_v1" and member.name == "data"
            if legacy and pa.types.is_binary(kind_of):
                kind_of = pa.list_(pa.uint8())
            _flatten(kind_of, below, inner, output, out)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        out[LENGTH + key + (f"__{axis}" if axis else "")] = ("int64", [len(value) for value in values])
        _flatten(kind.value_type, key, [item for value in values for item in value], output, out, axis=axis + 1)
    else:
        out[key] = _leaf(kind, values, output)


def _leaf(kind: pa.DataType, values: list[Any], output: TFRecordOutput) -> tuple[str, list[Any]]:
    if pa.types.is_string(kind):
        return "bytes", [value.encode() for value in values]
    if pa.types.is_binary(kind):
        return "bytes", values
    if pa.types.is_floating(kind):
        if kind.bit_width == 64 and output.float64 == "bytes":
            return "bytes", [struct.pack(f"<{len(values)}d", *values)]
        with np.errstate(over="ignore"):
            return "float", np.array(values, np.float64).astype(np.float32).tolist()
    return "int64", [int(value) - (2**64 if value >= 2**63 else 0) for value in values]


def read(path: Path) -> list[Example]:
    """The records of a file, checksums checked; gzip by content."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return list(records(data))


def records(data: bytes) -> Iterator[Example]:
    """The records of a TFRecord byte stream."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        payload = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at : at + 8])
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(payload)
        at += 16 + length
        yield parse(payload)


def parse(payload: bytes) -> Example:
    """A serialised tf.train.Example; entries in the order written."""
    example: Example = {}
    (features,) = [body for number, body in _fields(payload) if number == 1]
    for number, entry in _fields(features):
        assert number == 1
        parts = dict(_fields(entry))
        key = parts[1].decode()
        assert key not in example
        ((kind, body),) = _fields(parts[2])
        example[key] = _values(kind, body)
    return example


def _values(kind: int, body: bytes) -> tuple[str, list[Any]]:
    if kind == 1:
        return "bytes", [value for _, value in _fields(body)]
    packed = b"".join(value for _, value in _fields(body))
    if kind == 2:
        return "float", [value for (value,) in struct.iter_unpack("<f", packed)]
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value - (2**64 if value >= 2**63 else 0))
    return "int64", values


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        assert tag & 7 == 2
        size, at = _varint(data, at)
        assert at + size <= len(data)
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def crc32c(data: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as TFRecord stores it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
