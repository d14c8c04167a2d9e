"""JSON and Protobuf channels: definitions of their schemas, rows of their messages, against independent decoders."""

import base64
import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mcap.writer import Writer

from hephaes_rpc.engine.features.fieldpath import compile_path
from hephaes_rpc.engine.logs import Stream, open_log
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.messages.protomsg import protobuf_definition
from hephaes_rpc.errors import LogError
from tests.factories import START_NS

Channel = tuple[str, str, str, str, bytes, list[bytes]]


def write(path: Path, *channels: Channel) -> Path:
    """An MCAP file of channels: topic, message encoding, type, schema encoding (empty: no schema), schema, payloads."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=500)
        writer.start("", "test")
        for topic, encoding, type_name, schema_encoding, schema, payloads in channels:
            schema_id = writer.register_schema(type_name, schema_encoding, schema) if schema_encoding else 0
            channel = writer.register_channel(topic, encoding, schema_id)
            for k, payload in enumerate(payloads):
                writer.add_message(channel, START_NS + k, payload, START_NS + k)
        writer.finish()
    return path


def decode(stream: Stream, payloads: list[bytes], select: Iterable[str] | None = None) -> tuple[list[str], pa.Array]:
    """Status names and values."""
    decoder = StreamDecoder(stream.definition, stream.wire, select)
    length = np.array([len(p) for p in payloads], np.int64)
    status = decoder.feed(b"".join(payloads), np.cumsum(length) - length, length)
    assert (decoder.nbytes > 0) == bool((status == 0).any())
    values = decoder.take()
    values.validate(full=True)
    assert values.type == decoder.arrow_type
    assert decoder.nbytes == decoder.replaced_strings == 0
    return [STATUS_NAMES[code] for code in status.tolist()], values


def only_stream(path: Path) -> Stream:
    with open_log(path) as log:
        (stream,) = log.summary.streams
        _ = stream.undecodable
    return stream


def of_json(tmp_path: Path, messages: list[Any], schema: Any = None) -> tuple[list[str], pa.Array]:
    payloads = [json.dumps(m).encode() for m in messages]
    written = json.dumps(schema).encode() if schema is not None else b""
    kind = "jsonschema" if schema is not None else ""
    stream = only_stream(write(tmp_path / "a.mcap", ("/a", "json", "a.B", kind, written, payloads)))
    assert stream.undecodable is None
    return decode(stream, payloads)


class TestJson:
    def test_every_type_of_a_schema(self, tmp_path):
        schema = {
            "type": "object",
            "properties": {
                "n": {"type": "number"},
                "i": {"type": "integer"},
                "b": {"type": "boolean"},
                "s": {"type": "string"},
                "raw": {"type": "string", "contentEncoding": "base64"},
                "list": {"type": "array", "items": {"type": "number"}},
                "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                "below": {"$ref": "#/definitions/P"},
                "many": {"type": "array", "items": {"$ref": "#/definitions/P"}},
                "maybe": {"type": ["integer", "null"]},
                "kind": {"oneOf": [{"const": 0}, {"const": 1}]},
                "mode": {"enum": ["on", "off"]},
                "mixed": {"type": ["string", "number"]},
                "any": {},
            },
            "definitions": {"P": {"type": "object", "properties": {"x": {"type": "number"}}}},
        }
        full = {
            "n": 1,
            "i": 2**62,
            "b": True,
            "s": "ä",
            "raw": base64.b64encode(b"\0\xff").decode(),
            "list": [1, 2.5],
            "grid": [[1, 2], []],
            "below": {"x": 1.5},
            "many": [{"x": 1}, {}],
            "maybe": 3,
            "kind": 1,
            "mode": "on",
            "mixed": "text",
            "any": {"deep": [1]},
        }
        status, values = of_json(tmp_path, [full, {}, full | {"maybe": None, "extra": 1}], schema)
        assert set(status) == {"ok"}
        assert str(values.type) == (
            "struct<n: double, i: int64, b: bool, s: string, raw: binary, list: list<item: double>,"
            " grid: list<item: struct<value: list<item: int64>>>, below: struct<x: double>,"
            " many: list<item: struct<x: double>>, maybe: int64, kind: int64, mode: string, mixed: string, any: string>"
        )
        first, second, third = values.to_pylist()
        assert math.isnan(first["many"][1].pop("x"))
        assert first == full | {
            "raw": b"\0\xff",
            "grid": [{"value": [1, 2]}, {"value": []}],
            "many": [{"x": 1.0}, {}],
            "mixed": '"text"',
            "any": '{"deep":[1]}',
        }
        assert math.isnan(second["n"])
        assert (second["i"], second["s"], second["list"], second["raw"]) == (0, "", [], b"")
        assert third["maybe"] == 0

    def test_messages_that_do_not_fit_their_schema(self, tmp_path):
        schema = {"type": "object", "properties": {"i": {"type": "integer"}, "r": {"type": "boolean"}}}
        payloads = [b'{"i":1}', b"{", b'{"i":"1"}', b'{"i":1.5}', b'{"i":2.0,"r":true}', b'{"i":18446744073709551615}']
        payloads += [b"[1]", b"\xff", b'{"r":1}', b""]
        path = write(tmp_path / "a.mcap", ("/a", "json", "B", "jsonschema", json.dumps(schema).encode(), payloads))
        status, values = decode(only_stream(path), payloads)
        bad, none = "a value does not have its declared type", "it is no JSON"
        assert status == ["ok", none, bad, bad, "ok", bad, bad, none, bad, none]
        assert values.to_pylist() == [{"i": 1, "r": False}, {"i": 2, "r": True}]

    def test_without_a_schema_the_messages_say(self, tmp_path):
        messages = [{"x": k, "y": k / 2, "name": None, "list": []} for k in range(40)]
        messages += [{"x": 0.5, "y": 1, "name": "a", "list": [{"a": 1}], "new": {"z": 1}}]
        status, values = of_json(tmp_path, messages)
        assert set(status) == {"ok"}
        assert str(values.type) == (
            "struct<x: double, y: double, name: string, list: list<item: struct<a: int64>>, new: struct<z: int64>>"
        )

    def test_a_key_that_no_sampled_message_has_is_told(self, tmp_path):
        payloads = [b'{"x":1}'] * 5 + [b'{"x":1,"y":2}']
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "json", "", "", b"", payloads[:5])))
        status, values = decode(stream, payloads)
        assert status == ["ok"] * 5 + ["it has a key that no sampled message has"]
        assert len(values) == 5

    @pytest.mark.parametrize("message", [1.5, [1.5, 2.5], "text", True])
    def test_messages_that_are_no_objects(self, tmp_path, message):
        _, values = of_json(tmp_path, [message] * 3)
        assert values.to_pylist() == [{"value": message}] * 3

    def test_mixed_values_are_kept_as_their_text(self, tmp_path):
        _, values = of_json(tmp_path, [{"a": 1}, {"a": "x"}, {"a": [1]}])
        assert [v["a"] for v in values.to_pylist()] == ["1", '"x"', "[1]"]

    def test_a_selection(self, tmp_path):
        payloads = [b'{"a":{"b":1,"c":2},"d":[{"e":1,"f":2}],"g":3}']
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "json", "", "", b"", payloads)))
        _, values = decode(stream, payloads, ["a.c", "d.e"])
        assert values.to_pylist() == [{"a": {"c": 2}, "d": [{"e": 1}]}]
        path = compile_path("d[0].f", stream.definition)
        assert path.end.base == "int64"

    @pytest.mark.parametrize(
        ("schema", "reason"),
        [
            (b"nonsense", "is no JSON object"),
            (b"[]", "is no JSON object"),
            (b'{"$ref":"#/definitions/A","definitions":{"A":{"$ref":"#/definitions/A"}}}', "contains itself"),
            (b'{"type":"object","properties":{"a":{"$ref":"#"}}}', "contains itself"),
            (b'{"$ref":"#/nowhere"}', "points nowhere"),
            (b'{"$ref":"http://example.org/"}', "another document"),
            (b"{" + b'"a":{' * 400 + b"}" * 401, None),
            (b'{"properties":{"a":' * 150 + b"{}" + b"}}" * 150, "nested deeper"),
            (json.dumps({"properties": {str(k): {} for k in range(10_001)}}).encode(), "leaf columns"),
        ],
        ids=lambda v: str(v)[:20],
    )
    def test_schemas_that_are_refused(self, tmp_path, schema, reason):
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "json", "B", "jsonschema", schema, [b'{"a":1}'] * 2)))
        assert (reason is None) == (stream.undecodable is None)
        assert reason is None or reason in (stream.undecodable or "")

    def test_a_schema_that_doubles_at_each_level_is_refused_at_once(self, tmp_path):
        definitions: dict[str, Any] = {"T0": {"type": "object", "properties": {"x": {"type": "number"}}}}
        for k in range(1, 45):
            below = {"$ref": f"#/definitions/T{k - 1}"}
            definitions[f"T{k}"] = {"type": "object", "properties": {"a": below, "b": below}}
        schema = json.dumps({"$ref": "#/definitions/T44", "definitions": definitions}).encode()
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "json", "B", "jsonschema", schema, [b"{}"])))
        assert "leaf columns" in (stream.undecodable or "")


def file_set(*files: descriptor_pb2.FileDescriptorProto) -> bytes:
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


F = descriptor_pb2.FieldDescriptorProto
SCALARS = [F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_INT32, F.TYPE_FIXED64, F.TYPE_FIXED32]
SCALARS += [F.TYPE_BOOL, F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_UINT32, F.TYPE_SFIXED32, F.TYPE_SINT64, F.TYPE_ENUM]


def every_type() -> descriptor_pb2.FileDescriptorProto:
    """A message with every kind of field: single, repeated, optional, nested, map, oneof, well-known."""
    file = descriptor_pb2.FileDescriptorProto(name="all.proto", package="a", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    kind = file.enum_type.add(name="Kind")
    for k, name in enumerate(("ZERO", "ONE", "TWO")):
        kind.value.add(name=name, number=k)
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="x", number=1, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    file.message_type.add(name="Empty")
    root = file.message_type.add(name="All")
    number = 0
    for label in (F.LABEL_OPTIONAL, F.LABEL_REPEATED):
        for type_ in (*SCALARS, F.TYPE_MESSAGE):
            number += 1
            made = root.field.add(name=f"f{number}", number=number, type=type_, label=label)
            if type_ == F.TYPE_ENUM:
                made.type_name = ".a.Kind"
            if type_ == F.TYPE_MESSAGE:
                made.type_name = ".a.Inner"
    for k, type_ in enumerate((F.TYPE_INT32, F.TYPE_BYTES, F.TYPE_STRING)):
        number += 1
        root.oneof_decl.add(name=f"_o{k}")
        root.field.add(
            name=f"o{k}", number=number, type=type_, label=F.LABEL_OPTIONAL, proto3_optional=True, oneof_index=k
        )
    for name, type_name in (("t", ".google.protobuf.Timestamp"), ("e", ".a.Empty")):
        number += 1
        root.field.add(name=name, number=number, type=F.TYPE_MESSAGE, type_name=type_name, label=F.LABEL_OPTIONAL)
    for name, value in (("map1", F.TYPE_DOUBLE), ("map2", F.TYPE_MESSAGE)):
        entry = root.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
        below = entry.field.add(name="value", number=2, type=value, label=F.LABEL_OPTIONAL)
        if value == F.TYPE_MESSAGE:
            below.type_name = ".a.Inner"
        number += 1
        type_name = f".a.All.{name.capitalize()}Entry"
        root.field.add(name=name, number=number, type=F.TYPE_MESSAGE, type_name=type_name, label=F.LABEL_REPEATED)
    return file


def plain(message: Message) -> dict[str, Any]:
    """A message as our rows show it, by Protobuf's own reflection."""
    row: dict[str, Any] = {}
    for member in message.DESCRIPTOR.fields:
        value = getattr(message, member.name)
        is_map = member.message_type is not None and member.message_type.GetOptions().map_entry
        if is_map:
            shown = [{"key": k, "value": plain(v) if isinstance(v, Message) else v} for k, v in sorted(value.items())]
        elif member.is_repeated:
            shown = [_value(member, item, repeated=True) for item in value]
        elif member.containing_oneof is not None and member.message_type is None:
            shown = [_value(member, value, repeated=True)] if message.HasField(member.name) else []
        else:
            shown = _value(member, value)
        row[member.name] = shown
    return row or {"present": True}


def _value(member: FieldDescriptor, value: Any, *, repeated: bool = False) -> Any:
    if isinstance(value, Message):
        return plain(value)
    return {"value": value} if repeated and member.type == member.TYPE_BYTES else value


class TestProtobuf:
    def test_every_type(self, tmp_path):
        schema = file_set(every_type())
        definition = protobuf_definition("a.All", schema)
        make = definition.message_class
        random_ = random.Random(1)
        messages = [make(), *(self.filled(make(), random_) for _ in range(30))]
        payloads = [m.SerializeToString() for m in messages]
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "protobuf", "a.All", "protobuf", schema, payloads)))
        assert stream.undecodable is None
        status, values = decode(stream, payloads)
        assert set(status) == {"ok"}
        assert values.to_pylist() == [plain(m) for m in messages]
        assert str(values.type).startswith(
            "struct<f1: double, f2: float, f3: int64, f4: uint64, f5: int32, f6: uint64, f7: uint32, f8: bool,"
            " f9: string, f10: binary, f11: uint32, f12: int32, f13: int64, f14: int32, f15: struct<x: int32>,"
        )

    @staticmethod
    def filled(message: Any, random_: random.Random) -> Any:
        for member in message.DESCRIPTOR.fields:
            if member.message_type is not None or random_.random() < 0.3:
                continue
            one = {
                member.CPPTYPE_STRING: b"\0\xff" if member.type == member.TYPE_BYTES else "tü",
                member.CPPTYPE_BOOL: True,
                member.CPPTYPE_DOUBLE: 1e300,
                member.CPPTYPE_FLOAT: 0.5,
                member.CPPTYPE_ENUM: 2,
            }.get(member.cpp_type, random_.randrange(2**31))
            if member.is_repeated:
                getattr(message, member.name).extend([one] * random_.randrange(3))
            else:
                setattr(message, member.name, one)
        message.f15.x = 5
        message.map1["b"] = 1.5
        message.map1["a"] = 2.5
        message.map2["c"].x = 7
        message.t.seconds, message.t.nanos = 2**40, 5
        return message

    def test_messages_that_are_none(self, tmp_path):
        schema = file_set(every_type())
        payloads = [b"", b"\xff\xff", b"\x08"]
        stream = only_stream(write(tmp_path / "a.mcap", ("/a", "protobuf", "a.All", "protobuf", schema, payloads)))
        status, values = decode(stream, payloads, ["f1", "f15.x", "map2.key"])
        assert status == ["ok"] + ["it is no Protobuf message of its type"] * 2
        assert values.to_pylist() == [{"f1": 0.0, "f15": {"x": 0}, "map2": []}]

    def test_descriptors_that_are_refused(self, tmp_path):
        recursive = descriptor_pb2.FileDescriptorProto(name="r.proto", package="a", syntax="proto3")
        node = recursive.message_type.add(name="All")
        node.field.add(name="next", number=1, type=F.TYPE_MESSAGE, type_name=".a.All", label=F.LABEL_OPTIONAL)
        lacking = every_type()
        lacking.dependency.append("other.proto")
        circular = [descriptor_pb2.FileDescriptorProto(name=a, dependency=[b]) for a, b in ("ab", "ba")]
        wide = descriptor_pb2.FileDescriptorProto(name="w.proto", package="a", syntax="proto3")
        root = wide.message_type.add(name="All")
        for k in range(10_001):
            root.field.add(name=f"f{k}", number=k + 1 + 1000 * (k > 15_000), type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
        for schema, reason in (
            (b"\xff\xff", "is no FileDescriptorSet"),
            (b"", "defines no such message"),
            (file_set(recursive), "a.All contains itself"),
            (file_set(lacking), "it lacks the file 'other.proto'"),
            (file_set(*circular), "imports itself"),
            (file_set(wide), "leaf columns"),
        ):
            stream = only_stream(write(tmp_path / "a.mcap", ("/a", "protobuf", "a.All", "protobuf", schema, [b""])))
            assert reason in (stream.undecodable or ""), reason
            with pytest.raises(LogError):
                _ = stream.definition


def test_a_channel_that_cannot_be_decoded_costs_that_channel(tmp_path):
    good = ("/good", "json", "B", "jsonschema", b'{"properties":{"x":{"type":"number"}}}', [b'{"x":1}'] * 3)
    bad = ("/bad", "protobuf", "a.B", "protobuf", b"\xff", [b"1"] * 2)
    other = ("/other", "cbor", "a.B", "cddl", b"", [b"1"])
    with open_log(write(tmp_path / "a.mcap", good, bad, other)) as log:
        reasons = {s.topic: s.undecodable for s in log.summary.streams}
        assert reasons["/good"] is None
        assert "FileDescriptorSet" in (reasons["/bad"] or "")
        assert "'cbor'" in (reasons["/other"] or "")
        assert log.summary.outcome == "whole"
        assert log.summary.message_count == 6


def test_real_logs_decode_as_other_decoders_do(shared):
    """Every JSON and Protobuf message of the corpus: json.loads, and mcap's own Protobuf decoder."""
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory

    counted = {"json": 0, "protobuf": 0}
    for path in sorted((shared / "corpus").rglob("*.mcap")):
        if "conformance" in path.parts or path.stat().st_size < 200:
            continue
        with open_log(path) as log:
            streams = [s for s in log.summary.streams if s.wire in counted]
            for stream in streams:
                assert stream.undecodable is None, path
                slots = log.slots([stream])
                found: list[tuple[int, Any]] = []
                for i in np.unique(log.index(slots).chunk).tolist():
                    data, walk = log.messages(i, slots)
                    payloads = [bytes(data[o : o + n]) for o, n in zip(walk.offset, walk.length, strict=True)]
                    status, values = decode(stream, payloads)
                    assert set(status) == {"ok"}, (path, status)
                    found += zip(walk.log_time.tolist(), values.to_pylist(), strict=True)
                factory = DecoderFactory()
                expected: list[tuple[int, Any]] = []
                with path.open("rb") as file:
                    for schema, channel, message in make_reader(file).iter_messages(topics=[stream.topic]):
                        if channel.message_encoding == "json":
                            expected.append((message.log_time, json.loads(message.data)))
                        else:
                            decoder = factory.decoder_for("protobuf", schema)
                            assert decoder is not None
                            expected.append((message.log_time, plain(decoder(message.data))))
                key = lambda pair: (pair[0], repr(pair[1]))  # noqa: E731
                assert len(found) == len(expected)
                for (time, ours), (other_time, theirs) in zip(
                    sorted(found, key=key), sorted(expected, key=key), strict=True
                ):
                    assert time == other_time
                    assert _covers(ours, theirs), (path, ours, theirs)
                counted[stream.wire] += len(found)
    assert counted["json"] > 300
    assert counted["protobuf"] > 250


def _covers(ours: Any, theirs: Any) -> bool:
    """Whether all that a foreign value says is in ours; keys that it lacks are empty."""
    if isinstance(theirs, dict):
        return ours.keys() >= theirs.keys() and all(_covers(ours[k], v) for k, v in theirs.items())
    return bool(ours == theirs)
