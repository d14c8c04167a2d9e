"""The native decoder against its slow twin and against rosbags, over generated types, values and damage."""

import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.serde import SerdeError

from hephaes_native import decode as native
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.errors import LogError
from tests.reference import rosbags_values, wire
from tests.thorough import examples

THOROUGH = settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
OK, TRUNCATED, ENCAPSULATION, UNTERMINATED, NO_TERMINATOR, OVER_BOUND, TRAILING, TOO_MANY_EMPTY = range(8)


def decoder(text: str, ros: int, select: list[str] | None = None, name: str = "pkg/msg/T") -> StreamDecoder:
    return StreamDecoder(parse_definition(name, text, ros), "ros1" if ros == 1 else "cdr", select)


def feed(subject: StreamDecoder, payloads: list[bytes], pad: bytes = b"") -> list[int]:
    """Statuses of payloads that lie behind each other, ``pad`` in between."""
    lengths = np.array([len(p) for p in payloads], np.int64)
    offsets = np.cumsum(lengths + len(pad)) - lengths
    return subject.feed(pad + pad.join(payloads), offsets, lengths).tolist()


def one(text: str, ros: int, payload: bytes) -> Any:
    subject = decoder(text, ros)
    status = feed(subject, [payload])[0]
    values = subject.take()
    values.validate(full=True)
    return values.to_pylist()[0] if status == OK else STATUS_NAMES[status]


@st.composite
def cases(draw: st.DrawFn, *, wide: bool) -> tuple[int, bool, wire.Type, list[Any]]:
    ros = draw(st.sampled_from([1, 2]))
    big = ros == 2 and draw(st.booleans())
    kind = draw(wire.types(ros, draw(st.integers(0, 4)), wide=wide))
    return ros, big, kind, draw(st.lists(wire.values(kind, ros), min_size=1, max_size=4))


@THOROUGH
@given(cases(wide=True), st.binary(max_size=7))
def test_equals_the_slow_twin(case: tuple[int, bool, wire.Type, list[Any]], pad: bytes) -> None:
    ros, big, kind, expected = case
    payloads = [wire.Writer(ros, big=big).payload(kind, value) for value in expected]
    assert wire.same([wire.Reader(ros, p).value(kind) for p in payloads], expected)
    subject = decoder(wire.text(kind, ros), ros, name=kind[1])
    assert feed(subject, payloads, pad) == [OK] * len(payloads)
    found = subject.take()
    found.validate(full=True)
    assert wire.same(found.to_pylist(), expected)


@THOROUGH
@given(cases(wide=False))
def test_equals_rosbags(case: tuple[int, bool, wire.Type, list[Any]]) -> None:
    ros, big, kind, expected = case
    store = rosbags_values.typestore(kind[1], wire.text(kind, ros))
    subject = decoder(wire.text(kind, ros), ros, name=kind[1])
    read = store.deserialize_ros1 if ros == 1 else store.deserialize_cdr
    payloads = [wire.Writer(ros, big=big).payload(kind, value) for value in expected]
    theirs = [rosbags_values.plain(store, kind[1], read(p, kind[1]), ros) for p in payloads]
    assert feed(subject, payloads) == [OK] * len(payloads)
    assert wire.same(subject.take().to_pylist(), theirs)


@THOROUGH
@given(cases(wide=True), st.data())
def test_a_damaged_payload_reads_as_the_twin_reads_it_or_is_refused(
    case: tuple[int, bool, wire.Type, list[Any]], data: st.DataObject
) -> None:
    ros, big, kind, expected = case
    payload = bytearray(wire.Writer(ros, big=big).payload(kind, expected[0]))
    if payload and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(payload) - 1))
        hostile = data.draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, len(payload), 0x80, 0xFF]))
        payload[at : at + 4] = struct.pack("<I", hostile)[: len(payload) - at]
    else:
        del payload[data.draw(st.integers(0, len(payload))) :]
    good = wire.Writer(ros, big=big).payload(kind, expected[0])
    subject = decoder(wire.text(kind, ros), ros, name=kind[1])
    statuses = feed(subject, [good, bytes(payload), good])
    found = subject.take()
    found.validate(full=True)
    assert statuses[0] == statuses[2] == OK
    assert wire.same(found[0].as_py(), expected[0])
    assert wire.same(found[-1].as_py(), expected[0])
    try:
        theirs = wire.Reader(ros, bytes(payload)).value(kind)
    except wire.Malformed:
        assert statuses[1] != OK
        assert len(found) == 2
    else:
        assert statuses[1] == OK
        assert wire.same(found[1].as_py(), theirs)


@THOROUGH
@given(cases(wide=False), st.data())
def test_what_rosbags_refuses_is_refused(case: tuple[int, bool, wire.Type, list[Any]], data: st.DataObject) -> None:
    ros, big, kind, expected = case
    store = rosbags_values.typestore(kind[1], wire.text(kind, ros))
    payload = bytearray(wire.Writer(ros, big=big).payload(kind, expected[0]))
    if not payload:
        return
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= 1 << data.draw(st.integers(0, 7))
    subject = decoder(wire.text(kind, ros), ros, name=kind[1])
    status = feed(subject, [bytes(payload)])[0]
    subject.take()
    with suppress(SerdeError):
        (store.deserialize_ros1 if ros == 1 else store.deserialize_cdr)(bytes(payload), kind[1])
        return
    assert status != OK or subject.replaced_strings


class TestStatus:
    def test_truncated(self) -> None:
        assert one("uint32 a", 1, b"\1\2\3") == STATUS_NAMES[TRUNCATED]
        assert one("uint32 a", 2, b"\0\1\0") == STATUS_NAMES[TRUNCATED]
        assert one("uint8[] a", 1, b"\xff\xff\xff\xff") == STATUS_NAMES[TRUNCATED]
        assert one("string a", 2, b"\0\1\0\0\xff\xff\xff\x7fabc\0") == STATUS_NAMES[TRUNCATED]

    @pytest.mark.parametrize("head", [b"\0\2", b"\0\5", b"\0\x09", b"\0\x0b", b"\1\0", b"\0\3"])
    def test_encapsulations_other_than_plain_cdr(self, head: bytes) -> None:
        assert one("uint8 a", 2, head + b"\0\0\1") == STATUS_NAMES[ENCAPSULATION]

    def test_strings(self) -> None:
        assert one("string a", 2, b"\0\1\0\0\3\0\0\0abc") == STATUS_NAMES[UNTERMINATED]
        assert one("string a", 2, b"\0\1\0\0\0\0\0\0") == STATUS_NAMES[NO_TERMINATOR]
        assert one("string a", 1, b"\0\0\0\0") == {"a": ""}
        assert one("string a", 2, b"\0\1\0\0\4\0\0\0a\0b\0") == {"a": "a\0b"}

    def test_bounds(self) -> None:
        assert one("uint8[<=2] a", 2, b"\0\1\0\0\3\0\0\0abc") == STATUS_NAMES[OVER_BOUND]
        assert one("string<=2 a", 2, b"\0\1\0\0\4\0\0\0abc\0") == STATUS_NAMES[OVER_BOUND]
        assert one("string<=3 a", 2, b"\0\1\0\0\4\0\0\0abc\0") == {"a": "abc"}

    def test_trailing_bytes(self) -> None:
        assert one("uint8 a", 2, b"\0\1\0\0\1\0\0\0") == {"a": 1}
        assert one("uint8 a", 2, b"\0\1\0\0\1\0\0\0\0") == STATUS_NAMES[TRAILING]
        assert one("uint8 a", 1, b"\1\0") == STATUS_NAMES[TRAILING]

    def test_elements_without_bytes_are_limited(self) -> None:
        text = "pkg/E[] a\n===\nMSG: pkg/E\n"
        assert one(text, 1, struct.pack("<I", 3)) == {"a": [{"present": True}] * 3}
        assert one(text, 1, struct.pack("<I", 2**32 - 1)) == STATUS_NAMES[TOO_MANY_EMPTY]
        nested = "pkg/A[] a\n===\nMSG: pkg/A\npkg/E[60000] e\n===\nMSG: pkg/E\n"
        assert one(nested, 1, struct.pack("<I", 60000)) == STATUS_NAMES[TOO_MANY_EMPTY]

    def test_a_fixed_array_beyond_any_payload_is_refused(self) -> None:
        assert one("uint64[2147483647] a", 1, bytes(64)) == STATUS_NAMES[TRUNCATED]
        text = "pkg/A[65536] a\n===\nMSG: pkg/A\nuint64[2147483647] b"
        assert one(text, 1, bytes(64)) == STATUS_NAMES[TRUNCATED]
        deep = "pkg/A[2147483647] a\n===\nMSG: pkg/A\npkg/B[2147483647] b\n===\nMSG: pkg/B\nuint64[2147483647] c"
        with pytest.raises(LogError, match="larger than any payload"):
            decoder(deep, 1)


class TestValues:
    def test_any_byte_but_zero_is_true(self) -> None:
        assert one("bool a\nbool[] b\nbool[2] c", 1, b"\2\3\0\0\0\0\1\xff\7\0") == {
            "a": True,
            "b": [False, True, True],
            "c": [True, False],
        }

    @pytest.mark.parametrize(
        ("base", "code", "bits"), [("float32", "<I", 0x7FA00001), ("float64", "<Q", 0xFFF4 << 48 | 5)]
    )
    def test_the_bits_of_a_nan_are_kept(self, base: str, code: str, bits: int) -> None:
        subject = decoder(f"{base} a\n{base}[2] b\n{base}[] c", 1)
        nan = struct.pack(code, bits)
        assert feed(subject, [nan * 3 + b"\1\0\0\0" + nan]) == [OK]
        found = subject.take()
        for array in (found.field("a"), found.field("b").values, found.field("c").values):
            raw = array.buffers()[1].to_pybytes()
            assert raw == nan * (len(raw) // len(nan))

    def test_text_that_is_not_utf8_is_replaced_and_counted(self) -> None:
        subject = decoder("string a\nstring b", 1)
        payload = b"\3\0\0\0a\xffb\2\0\0\0ok"
        assert feed(subject, [payload, b"\0\0\0\0\4\0\0\0\xf0\x9f\xa4\x96", payload]) == [OK] * 3
        assert [v.as_py() for v in subject.take()] == [
            {"a": "a\ufffdb", "b": "ok"},
            {"a": "", "b": "\U0001f916"},
            {"a": "a\ufffdb", "b": "ok"},
        ]
        assert subject.replaced_strings == 2

    @pytest.mark.parametrize(
        "raw",
        [
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80",
            b"\x80",
            b"abcdefg\xc3",
        ],
    )
    def test_overlong_and_surrogate_forms_are_not_utf8(self, raw: bytes) -> None:
        subject = decoder("string a", 1)
        assert feed(subject, [struct.pack("<I", len(raw)) + raw]) == [OK]
        assert subject.take().field("a")[0].as_py() == raw.decode("utf-8", "replace")
        assert subject.replaced_strings == 1

    def test_strings_of_any_length_are_copied_and_judged_whole(self) -> None:
        texts = ["abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"[:n] for n in range(41)]
        raws = [text.encode() for text in texts]
        raws += [raw[:k] + b"\xff" + raw[k + 1 :] for raw in raws for k in range(len(raw))]
        for body in ("string a", "string[1] a", "string[] a"):
            subject = decoder(f"{body}\nuint8 b", 1)
            count = struct.pack("<I", 1) if body == "string[] a" else b""
            assert set(feed(subject, [count + struct.pack("<I", len(raw)) + raw + b"\7" for raw in raws])) == {OK}
            found = subject.take()
            values = [value if isinstance(value, str) else value[0] for value in found.field("a").to_pylist()]
            assert values == [raw.decode("utf-8", "replace") for raw in raws]
            assert subject.replaced_strings == len(raws) - len(texts)
            assert set(found.field("b").to_pylist()) == {7}

    def test_wide_strings(self) -> None:
        units = [0x61, 0xD83E, 0xDD16, 0xDC00, 0x20AC, 0x1F916, 0x110000]
        payload = b"\0\1\0\0" + struct.pack(f"<I{len(units)}I", len(units), *units)
        assert one("wstring a", 2, payload) == {"a": "a\U0001f916\ufffd\u20ac\U0001f916\ufffd"}

    def test_arrow_types(self) -> None:
        text = "byte a\nchar b\nbyte[] c\nuint8[3] d\ntime e\nduration f\nint16[2] g\nstring[] h\nstd_msgs/Header i"
        kinds = {member.name: member.type for member in decoder(text, 1).arrow_type}
        assert kinds["a"] == pa.int8()
        assert kinds["b"] == pa.uint8()
        assert kinds["c"] == pa.list_(pa.int8())
        assert kinds["d"] == pa.binary()
        assert kinds["e"] == pa.struct({"sec": pa.uint32(), "nanosec": pa.uint32()})
        assert kinds["f"] == pa.struct({"sec": pa.int32(), "nanosec": pa.int32()})
        assert kinds["g"] == pa.list_(pa.int16(), 2)
        assert kinds["h"] == pa.list_(pa.string())
        assert [member.name for member in kinds["i"]] == ["seq", "stamp", "frame_id"]
        ros2 = {
            member.name: member.type for member in decoder("byte a\nbyte[] c\nbuiltin_interfaces/Time e", 2).arrow_type
        }
        assert ros2["a"] == pa.uint8()
        assert ros2["c"] == pa.binary()
        assert ros2["e"] == pa.struct({"sec": pa.int32(), "nanosec": pa.uint32()})


P = [("name", ("prim", "string")), ("x", ("array", ("prim", "float32"), "unbounded", 0)), ("k", ("prim", "uint8"))]


class TestSelection:
    TEXT = "std_msgs/Header header\npkg/P[] p\nfloat64 z\n===\nMSG: pkg/P\nstring name\nfloat32[] x\nuint8 k"

    def payload(self) -> bytes:
        kind = (
            "msg",
            "pkg/msg/T",
            [("p", ("array", ("msg", "pkg/msg/P", P), "unbounded", 0)), ("z", ("prim", "float64"))],
        )
        header = struct.pack("<III", 7, 8, 9) + b"\3\0\0\0map"
        rest = {"p": [{"name": "n", "x": [1.0, 2.0], "k": 3}, {"name": "", "x": [], "k": 4}], "z": 5.0}
        return header + wire.Writer(1).payload(kind, rest)

    @pytest.mark.parametrize(
        ("select", "expected"),
        [
            (["z"], {"z": 5.0}),
            (["header.stamp.nanosec", "p.k"], {"header": {"stamp": {"nanosec": 9}}, "p": [{"k": 3}, {"k": 4}]}),
            (["p.x"], {"p": [{"x": [1.0, 2.0]}, {"x": []}]}),
            (["header", "header.seq"], {"header": {"seq": 7, "stamp": {"sec": 8, "nanosec": 9}, "frame_id": "map"}}),
        ],
    )
    def test_only_what_is_wanted_has_columns(self, select: list[str], expected: dict[str, Any]) -> None:
        subject = decoder(self.TEXT, 1, select)
        assert feed(subject, [self.payload()]) == [OK]
        assert subject.take().to_pylist() == [expected]

    def test_what_is_skipped_is_still_checked(self) -> None:
        subject = decoder(self.TEXT, 1, ["z"])
        assert feed(subject, [self.payload()[:-9] + self.payload()[-8:], self.payload()[:-1]]) == [TRUNCATED, TRUNCATED]

    def test_an_unknown_field_is_named(self) -> None:
        with pytest.raises(KeyError, match="nosuch"):
            decoder(self.TEXT, 1, ["p.nosuch"])


class TestNative:
    def test_offsets_outside_the_data_are_refused(self) -> None:
        subject = native.Decoder([native.Fixed(0, 1)], [False], cdr=False)
        for offset, length in [(-1, 1), (0, -1), (3, 1), (2, 2), (2**63 - 1, 2**63 - 1)]:
            with pytest.raises(ValueError, match="outside"):
                subject.feed(b"abc", np.array([offset], np.int64), np.array([length], np.int64))
        with pytest.raises(ValueError, match="lengths"):
            subject.feed(b"abc", np.array([0], np.int64), np.array([], np.int64))

    @pytest.mark.parametrize(
        "item",
        [
            native.Fixed(1, 1),
            native.Fixed(0, 3),
            native.Fixed(0, 1, 0),
            native.Text(0, -1),
            native.Text(0, 0),
            native.Sequence(0, 0, 4),
            native.Fixed(0, 1, 1, "other"),
        ],
    )
    def test_plans_that_cannot_be_are_refused(self, item: Any) -> None:
        with pytest.raises(ValueError, match=r"cannot be decoded|column"):
            native.Decoder([item], [False], cdr=True)

    def test_columns_survive_their_decoder(self) -> None:
        subject = native.Decoder([native.Fixed(0, 8)], [False], cdr=False)
        subject.feed(struct.pack("<d", math.pi), np.array([0], np.int64), np.array([8], np.int64))
        (buffer, _), *_ = subject.take()
        del subject
        assert struct.unpack("<d", memoryview(buffer)) == (math.pi,)

    def test_taking_starts_anew(self) -> None:
        subject = decoder("string[] a", 1)
        for n in (1, 0, 2):
            payload = struct.pack("<I", n) + b"\1\0\0\0x" * n
            assert feed(subject, [payload]) == [OK]
            assert subject.take().to_pylist() == [{"a": ["x"] * n}]
        assert len(subject.take()) == 0


class TestStreams:
    """Payloads of several streams in one call."""

    @THOROUGH
    @given(st.lists(cases(wide=False), max_size=4), st.randoms(use_true_random=False))
    def test_each_gives_what_it_gives_alone(
        self, streams: list[tuple[int, bool, wire.Type, list[Any]]], random: Any
    ) -> None:
        payloads = [[wire.Writer(ros, big=big).payload(kind, v) for v in values] for ros, big, kind, values in streams]
        for some in payloads:
            cut = random.randrange(2 * len(some))
            some[cut:] = [payload[: random.randrange(len(payload) + 1)] for payload in some[cut:]]
        left = [k for k, some in enumerate(payloads) if random.random() < 0.2 and some[0] and streams[k][0] == 2]
        for k in left:
            payloads[k].append(b"\0\7\0\0")
        together, alone = (
            [decoder(wire.text(kind, ros), ros, name=kind[1]) for ros, _, kind, _ in streams] for _ in "12"
        )
        passed = [k for k in range(len(streams)) if random.random() < 0.2]
        plain = [None if k in passed else one.plain for k, one in enumerate(together)]
        every = [payload for some in payloads for payload in some]
        length = np.array([len(payload) for payload in every], np.int64)
        bounds = np.cumsum([0, *map(len, payloads)]).astype(np.int64)
        statuses, untouched, gained = native.feed_streams(
            plain, b"".join(every), np.cumsum(length) - length, length, bounds
        )
        assert gained == sum(one.nbytes for one in together)
        expected = []
        for k, some in enumerate(payloads):
            found = feed(alone[k], some)
            if k in passed or ENCAPSULATION in native_statuses(streams[k], some):
                expected += [OK] * len(some)
                assert together[k].nbytes == 0
                assert (k in untouched) == (k not in passed)
            else:
                expected += found
                assert k not in untouched
                assert repr(together[k].take().to_pylist()) == repr(alone[k].take().to_pylist())
        assert list(statuses) == expected

    def test_bounds_that_cannot_be_are_refused(self) -> None:
        one = native.Decoder([native.Fixed(0, 1)], [False], cdr=False)
        places = np.array([0, 1], np.int64), np.array([1, 1], np.int64)
        for bounds in ([0, 3], [-1, 1], [2, 1]):
            with pytest.raises(ValueError, match="outside the payloads"):
                native.feed_streams([one], b"ab", *places, np.array(bounds, np.int64))
        with pytest.raises(ValueError, match="1 decoders but 3 bounds"):
            native.feed_streams([one], b"ab", *places, np.array([0, 1, 2], np.int64))
        with pytest.raises(ValueError, match="payload 1 lies outside"):
            native.feed_streams([one], b"a", *places, np.array([0, 2], np.int64))
        assert one.rows == 0
        with pytest.raises(TypeError):
            native.feed_streams([object()], b"ab", *places, np.array([0, 2], np.int64))  # type: ignore[list-item]


def native_statuses(stream: tuple[int, bool, wire.Type, list[Any]], payloads: list[bytes]) -> list[int]:
    """What the native decoder says of payloads, whatever their version."""
    ros, _, kind, _ = stream
    subject = decoder(wire.text(kind, ros), ros, name=kind[1]).plain
    assert subject is not None
    length = np.array([len(payload) for payload in payloads], np.int64)
    return list(subject.feed(b"".join(payloads), np.cumsum(length) - length, length))
