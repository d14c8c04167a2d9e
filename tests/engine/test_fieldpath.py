"""Field paths: what they mean over columns, what is selected for them, what is refused."""

from typing import Any

import pyarrow as pa
import pytest

from hephaes_rpc.engine.features.fieldpath import compile_path
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.engine.specs.spec import parse_path
from tests.reference.features import AbsentError, walk

TEXT = """
std_msgs/Header header
geometry_msgs/Quaternion q
int32[<=3] few
uint8[] data
uint8[4] tag
string name
test/Inner[] inner
test/Inner[2] pair
test/Empty nothing
================
MSG: test/Inner
float32[] values
float64 x
test/Inner2[] deep
================
MSG: test/Inner2
int16[3] three
string[] words
================
MSG: test/Empty
================
MSG: geometry_msgs/Quaternion
float64 x
float64 y
float64 z
float64 w
"""
DEFINITION = parse_definition("test/Outer", TEXT, 2)
KIND = StreamDecoder(DEFINITION, "cdr").arrow_type


def deep(k: int) -> dict[str, Any]:
    return {"three": [k, k + 1, k + 2], "words": ["w"] * k}


def inner(k: int) -> dict[str, Any]:
    return {"values": [0.5 * j for j in range(k)], "x": float(k), "deep": [deep(j) for j in range(k)]}


def outer(k: int) -> dict[str, Any]:
    return {
        "header": {"stamp": {"sec": k, "nanosec": 2 * k}, "frame_id": f"f{k}"},
        "q": {"x": 0.0, "y": 0.0, "z": 0.0, "w": float(k)},
        "few": list(range(k % 4)),
        "data": bytes(range(k)),
        "tag": bytes([k, 1, 2, 3]),
        "name": "n" * k,
        "inner": [inner(j) for j in range(k)],
        "pair": [inner(k), inner(1)],
        "nothing": {"present": True},
    }


MESSAGES = [outer(k) for k in (0, 3, 1, 4, 2)]
PATHS = """
    header.stamp.sec q.w few few[0] few.1 few[-3] few[1:] few[:-1] few[-2:5] data data[0] data[-1] data[1:3] data[-2:]
    tag[3] tag.-4 tag[1:3] name inner inner[0].x inner[-1].values inner[-1].values[0] inner[:].x inner[1:].values
    inner[:].values[0] inner[:2].deep[:].three[1:] inner[:].deep[0].words[-1] inner[2].deep[:].words pair[1].x
    pair[0].deep[2].three[0] pair[:].x pair[0:1].values[:1] nothing inner[1:].deep[1:].three[2]
    """


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("text", PATHS.split())
def test_a_path_is_a_walk_over_each_message(text: str, start: int) -> None:
    array = pa.array(MESSAGES, KIND)[start:]
    values, kept = compile_path(text, DEFINITION).extract(array)
    values.validate(full=True)
    expected, there = [], []
    for message in MESSAGES[start:]:
        try:
            expected.append(walk(message, parse_path(text)))
            there.append(True)
        except AbsentError:
            there.append(False)
    assert values.to_pylist() == expected
    assert ([True] * len(there) if kept is None else kept.tolist()) == there
    assert compile_path(text, DEFINITION).extract(array[:0])[0].type == values.type


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        (None, None),
        ("inner[0].deep[1:].three[0]", "inner.deep.three"),
        ("header.stamp.sec", "header.stamp"),
        ("q.w", "q"),
        ("pair[1].x", "pair.x"),
        ("nothing", "nothing"),
    ],
)
def test_what_is_decoded_for_a_path(text: str | None, selection: str | None) -> None:
    """Whole stamps and quaternions: interpolation cannot blend them in parts."""
    path = compile_path(text, DEFINITION)
    assert path.selection == selection
    kind = StreamDecoder(DEFINITION, "cdr", None if selection is None else [selection]).arrow_type
    path.extract(pa.array([], kind))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("heder", "did you mean 'header'"),
        ("header.stamp.secs", "did you mean 'sec'"),
        ("nothing.present", "has no field 'present'"),
        ("name.upper", "is a value of type string"),
        ("name[0]", "name is no array"),
        ("inner.x", r"inner is an array: add an index or \[:\]"),
        ("header[0]", "header is no array"),
        ("[0]", "the message is no array"),
        ("tag[4]", "has 4 elements"),
        ("tag[-5]", "has 4 elements"),
        ("few[3]", "at most 3 elements"),
        ("few[2:1]", "always empty"),
        ("tag[4:]", "always empty"),
        ("few[-1:-2]", "always empty"),
        ("few[0][0]", "is no array"),
        ("few[:][0]", "is no array"),
        ("few[:][:]", "is no array"),
        ("inner[:].x[0]", "is no array"),
        ("__class__", "has no field"),
        ("header..stamp", "makes no sense"),
    ],
)
def test_what_does_not_exist_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compile_path(text, DEFINITION)
