"""What both engines wrote, in one form: row times and, per field, plain values as the message type nests them.

Values are dicts, lists, numbers, bools, text and bytes; None is absence.  Numbers of the reference come as it wrote
them (floats where it blended integers, lists of numbers for byte arrays): ``comparison`` says what that means.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from tests.reference.rosbags_values import plain
from tests.reference.tfrecord import LENGTH, Example, parse

Decode = Callable[[bytes], Any]


@frozen(eq=False, repr=False)
class Dataset:
    """Row times, and per field a value for every row."""

    times: list[int]
    fields: dict[str, list[Any]]

    def __repr__(self) -> str:
        return f"{len(self.times)} rows of {', '.join(self.fields)}"


@frozen(eq=False)
class Topic:
    """The messages of a topic as rosbags reads them."""

    times: list[int]
    values: list[Any]
    decode: Decode


def topics_of(log: Path) -> dict[str, Topic]:
    """Every topic that rosbags can decode."""
    found: dict[str, Topic] = {}
    default = get_typestore(Stores.ROS1_NOETIC if log.suffix == ".bag" else Stores.ROS2_HUMBLE)
    with AnyReader([log], default_typestore=default) as reader:
        types, ros = reader.typestore, 2 if reader.is2 else 1
        read = types.deserialize_cdr if reader.is2 else types.deserialize_ros1

        def decoder(type_name: str) -> Decode:
            return lambda data: plain(types, type_name, read(data, type_name), ros)

        failed = set()
        for connection in reader.connections:
            found.setdefault(connection.topic, Topic([], [], decoder(connection.msgtype)))
        for connection, time, data in reader.messages():
            topic = found[connection.topic]
            topic.times.append(time)
            try:
                topic.values.append(topic.decode(data))
            except Exception:  # in many ways
                failed.add(connection.topic)
    return {name: topic for name, topic in found.items() if name not in failed}


# -- ours --------------------------------------------------------------------------------------------------------------


def ours_parquet(path: Path) -> Dataset:
    """Our typed columns."""
    table = pq.read_table(path)
    return Dataset(
        table.column("timestamp_ns").to_pylist(),
        {name: table.column(name).to_pylist() for name in table.column_names if name != "timestamp_ns"},
    )


def ours_tfrecord(path: Path, schema: pa.Schema) -> Dataset:
    """Our records, nested again as ``schema`` says."""
    examples = list(_records(path))
    fields = {}
    for member in list(schema)[1:]:
        fields[member.name] = [
            _nested(member.type, member.name, example, 1, top=True)[0]
            if example[f"{member.name}__present"][1][0]
            else None
            for example in examples
        ]
    return Dataset([example["timestamp_ns"][1][0] for example in examples], fields)


def _nested(kind: pa.DataType, key: str, example: Example, n: int, *, top: bool = False, axis: int = 0) -> list[Any]:
    """``n`` values of ``kind`` from the flat features below ``key``."""
    if pa.types.is_struct(kind):
        members = {}
        for member in kind:
            below = f"{key}__present_" if top and member.name == "present" else f"{key}__{member.name}"
            members[member.name] = _nested(member.type, below, example, n)
        return [{name: column[i] for name, column in members.items()} for i in range(n)]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = example[LENGTH + key + (f"__{axis}" if axis else "")][1]
        inner = _nested(kind.value_type, key, example, sum(lengths), axis=axis + 1)
        return [inner[end - length : end] for length, end in zip(lengths, accumulate(lengths), strict=True)]
    values = example[key][1]
    if pa.types.is_string(kind):
        return [value.decode() for value in values]
    if pa.types.is_boolean(kind):
        return [bool(value) for value in values]
    return [value % 2**64 for value in values] if kind == pa.uint64() else values


# -- the reference -----------------------------------------------------------------------------------------------------


def reference_parquet(path: Path, decoders: Mapping[str, Decode]) -> Dataset:
    """Its columns of text: JSON, or the bytes of the message, which ``decoders`` read by field."""
    table = pq.read_table(path)
    fields = {}
    for name in table.column_names[1:]:
        fields[name] = [_cell(text, decoders.get(name)) for text in table.column(name).to_pylist()]
    return Dataset(table.column(0).to_pylist(), fields)


def _cell(text: str | None, decode: Decode | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text  # it writes strings bare
    content = _tagged(value)
    return decode(content) if decode and isinstance(content, bytes) else content


def parsed(text: str | None) -> Any:
    """The value of our JSON text, bytes no longer tagged."""
    return None if text is None else _tagged(json.loads(text))


def _tagged(value: Any) -> Any:
    """The value with tagged bytes as bytes."""
    if isinstance(value, dict):
        if value.get("__bytes__") is True:
            return base64.b64decode(value["value"])
        return {name: _tagged(member) for name, member in value.items()}
    return [_tagged(item) for item in value] if isinstance(value, list) else value


def reference_tfrecord(path: Path, schema: pa.Schema) -> Dataset:
    """Its records, nested again; lists of anything but numbers and text are JSON in it."""
    examples = list(_records(path))
    fields = {}
    for member in list(schema)[1:]:
        fields[member.name] = [
            _found(member.type, member.name, example) if example[f"{member.name}__present"][1][0] else None
            for example in examples
        ]
    return Dataset([example["timestamp_ns"][1][0] for example in examples], fields)


def _found(kind: pa.DataType, key: str, example: Example) -> Any:
    if pa.types.is_struct(kind):
        if key in example:  # an empty message is the text {}
            return json.loads(example[key][1][0])
        return {member.name: _found(member.type, f"{key}__{member.name}", example) for member in kind}
    if LENGTH + key in example:
        form, values = example.get(key, ("", []))
        inner = pa.uint8() if pa.types.is_binary(kind) else kind.value_type
        if form == "bytes" and values and not pa.types.is_string(inner):
            return json.loads(values[0])
        return [_scalar(inner, value) for value in values]
    return _scalar(kind, example[key][1][0]) if key in example else None


def _scalar(kind: pa.DataType, value: Any) -> Any:
    if pa.types.is_string(kind):
        return value.decode()
    return value % 2**64 if kind == pa.uint64() else value


def _records(path: Path) -> Iterator[Example]:
    """The Examples of a file; checksums are other tests' business."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield parse(data[at + 12 : at + 12 + length])
        at += 16 + length
