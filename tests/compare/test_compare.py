"""The comparison itself: what it lets pass, what it does not, and that the document says what it knows."""

import math
from typing import Any

import pyarrow as pa
import pytest

from tests.compare import document
from tests.compare.comparison import Between, Finding, compare, compare_json
from tests.compare.differences import RUNS, VALUES, run_reason
from tests.compare.sides import narrowed

STAMP = pa.struct([("sec", pa.int32()), ("nanosec", pa.uint32())])
QUATERNION = pa.struct([(name, pa.float64()) for name in "xyzw"])
NONE = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
HALF = {"x": 0.0, "y": 0.0, "z": 1.0, "w": 0.0}
QUARTER = {"x": 0.0, "y": 0.0, "z": math.sqrt(0.5), "w": math.sqrt(0.5)}


def stamp(sec: int, nanosec: int) -> dict[str, int]:
    return {"sec": sec, "nanosec": nanosec}


def reasons(kind: pa.DataType, reference: Any, ours: Any, between: Between | None = None) -> list[str]:
    return [finding.reason for finding in compare(kind, reference, ours, between)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int32(), 4),
        (pa.float64(), math.nan),
        (pa.float64(), -0.0),
        (pa.string(), "a"),
        (pa.binary(), b"\0\xff"),
        (pa.list_(pa.float32()), [0.5, 1.5]),
        (STAMP, stamp(1, 2)),
        (STAMP, None),
    ],
)
def test_equal_values_are_no_finding(kind, value):
    assert reasons(kind, value, value) == []


@pytest.mark.parametrize(
    ("kind", "reference", "ours", "between", "reason"),
    [
        (STAMP, {**stamp(1, 2), "__msgtype__": "t"}, stamp(1, 2), None, "type name"),
        (STAMP, {**stamp(1, 2), "MAX": 3}, stamp(1, 2), None, "constants"),
        (pa.struct([("present", pa.bool_())]), {}, {"present": True}, None, "empty message"),
        (pa.float64(), None, math.inf, None, "not a number"),
        (pa.binary(), [1, 255], b"\1\xff", None, "byte list"),
        (pa.binary(), [1, -1], b"\1\xff", None, "byte sign"),
        (pa.binary(), [1.5], b"\1", Between(b"\1", b"\2", 0.5), "bytes held"),
        (pa.int32(), 1.5, 1, Between(1, 2, 0.5), "integer held"),
        (pa.bool_(), 0.5, False, Between(False, True, 0.5), "integer held"),
        (STAMP, stamp(1, 0), stamp(1, 5), Between(stamp(1, 0), stamp(1, 10), 0.5), "stamp"),
        (QUATERNION, NONE, QUARTER, Between(NONE, HALF, 0.5), "rotation"),
        (pa.float32(), 0.1, 0.10000000149011612, Between(0.0, 0.2, 0.5), "declared width"),
        (pa.float64(), 7.0, 1.5, Between(1.0, 2.0, 0.5, tie=True), "one instant"),
    ],
)
def test_a_reason_is_found(kind, reference, ours, between, reason):
    assert reasons(kind, reference, ours, between) == [reason]
    assert reason in VALUES


@pytest.mark.parametrize(
    ("kind", "reference", "ours", "between"),
    [
        (pa.int32(), 1, 2, None),
        (pa.int32(), 1.5, 2, Between(1, 2, 0.5)),
        (pa.int32(), None, 1, None),
        (pa.int32(), 1, None, None),
        (pa.float64(), 1.0, 1.0000000000000002, None),
        (pa.float64(), 7.0, 1.5, Between(1.0, 2.0, 0.5)),
        (pa.float64(), None, 1.0, None),
        (pa.binary(), [1.5], b"\2", Between(b"\1", b"\2", 0.5)),
        (pa.binary(), [1], b"\1\2", None),
        (pa.string(), 1, "1", None),
        (pa.string(), "a", "b", Between("b", "a", 0.5)),
        (pa.list_(pa.int8()), [1], [1, 2], None),
        (STAMP, {"sec": 1}, stamp(1, 0), None),
        (STAMP, stamp(1, 0), stamp(1, 7), Between(stamp(1, 0), stamp(1, 10), 0.5)),
        (QUATERNION, NONE, NONE | {"w": 0.5}, Between(NONE, HALF, 0.5)),
    ],
)
def test_everything_else_is_unexplained(kind, reference, ours, between):
    assert set(reasons(kind, reference, ours, between)) == {"unexplained"}


@pytest.mark.parametrize(
    ("reference", "ours", "reason"),
    [
        ({"a": [1, None]}, {"a": [1, None]}, None),
        ({"a": 1, "MAX": 2}, {"a": 1}, "constants"),
        ([1, 2], b"\1\2", "byte list"),
        (None, {"__float__": "nan"}, "not a number"),
        (0.1, 0.10000000149011612, "digits"),
        (0.1, 0.2, "unexplained"),
        ({"a": 1}, {"b": 1}, "unexplained"),
        ([1], [1, 2], "unexplained"),
        ("1", 1, "unexplained"),
    ],
)
def test_json_is_compared_without_a_type(reference, ours, reason):
    assert [finding.reason for finding in compare_json(reference, ours, "x")] == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("path", "reference", "ours", "reason"),
    [
        ("x[0][1]", 0.1, 0.10000000149011612, "list of lists"),
        ("x[0]", 0.1, 0.10000000149011612, "unexplained"),
        ("x[0][1]", 0.1, 0.2, "unexplained"),
        ("x[0][1]", None, 0.1, "unexplained"),
    ],
)
def test_numbers_of_lists_of_lists_are_float32_in_an_example(path, reference, ours, reason):
    assert narrowed(Finding("unexplained", path, reference, ours)).reason == reason
    assert {reason} <= {*VALUES, "unexplained"}


def test_lists_of_two_lengths_stay_as_they_are():
    held = Between([1, 2], [3], 0.5)
    assert reasons(pa.list_(pa.int8()), [1, 2], [1, 2], held) == []


def test_an_error_has_a_reason_or_none():
    for name, difference in RUNS.items():
        assert run_reason(f"ValueError: {difference.error}") == name
    assert run_reason("ValueError: something else") is None


def test_the_document_is_current():
    assert document.is_current()
