"""Decoded values as JSON."""

import base64
import math
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings

from hephaes_rpc.engine.features.jsontext import json_cells, json_values
from tests.engine.arrow_values import arrays
from tests.thorough import examples


def untagged(value: Any) -> Any:
    """The value that a JSON value stands for."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("__bytes__") is True:
        return base64.b64decode(value["value"], validate=True)
    if "__float__" in value:
        return float(value["__float__"])
    if "__int64__" in value:
        return int(value["__int64__"])
    return {name: untagged(member) for name, member in value.items()}


@settings(deadline=None, max_examples=examples(150))
@given(arrays())
def test_cells_say_every_value_exactly(array: pa.StructArray) -> None:
    cells = json_cells(array)
    assert cells.type == pa.string()
    found = [None if cell is None else untagged(orjson.loads(cell)) for cell in cells.to_pylist()]
    assert repr(found) == repr(array.to_pylist())


@settings(deadline=None, max_examples=examples(50))
@given(arrays())
def test_tagged_integers_are_what_javascript_cannot_hold(array: pa.StructArray) -> None:
    for value, original in zip(json_values(array, tag_integers=True), array.to_pylist(), strict=True):
        assert repr(untagged(value)) == repr(original)
        assert all(abs(number) <= 2**53 for number in integers(value))


def integers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [n for member in value.values() for n in integers(member)]
    if isinstance(value, list):
        return [n for item in value for n in integers(item)]
    return [value] if type(value) is int else []


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        (math.nan, pa.float32(), {"__float__": "nan"}),
        (-math.inf, pa.float64(), {"__float__": "-inf"}),
        (b"\x00\xff", pa.binary(), {"__bytes__": True, "encoding": "base64", "value": "AP8="}),
        (2**64 - 1, pa.uint64(), {"__int64__": str(2**64 - 1)}),
        (2**53, pa.int64(), 2**53),
        (True, pa.bool_(), True),
        ([1.5, None], pa.list_(pa.float64()), [1.5, None]),
    ],
)
def test_values_are_tagged(value: Any, kind: pa.DataType, wanted: Any) -> None:
    assert json_values(pa.array([value, None], kind), tag_integers=True) == [wanted, None]
