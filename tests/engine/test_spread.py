"""Spreading against the obvious: a list of nulls with values put in."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.timeline.spread import row_bytes, spread
from tests.engine.arrow_values import arrays, structs
from tests.thorough import examples


@st.composite
def places(draw: st.DrawFn, n: int) -> tuple[list[int], int]:
    """Rows for ``n`` values, and how many rows there are."""
    gaps = draw(st.lists(st.integers(0, 9), min_size=n + 1, max_size=n + 1))
    rows = (np.cumsum(np.array(gaps[:n], np.int64) + 1) - 1).tolist()
    return rows, (rows[-1] + 1 if rows else 0) + gaps[n]


@settings(deadline=None, max_examples=examples(300))
@given(arrays(), st.data())
def test_values_stand_on_their_rows_and_nulls_elsewhere(array: pa.StructArray, data: st.DataObject) -> None:
    rows, n = data.draw(places(len(array)))
    result = spread(array, np.array(rows, np.int64), n)
    result.validate(full=True)
    wanted: list[Any] = [None] * n
    for row, value in zip(rows, array.to_pylist(), strict=True):
        wanted[row] = value
    assert result.type == array.type
    assert repr(result.to_pylist()) == repr(wanted)
    assert result.null_count == n - len(array) + array.null_count


@settings(deadline=None, max_examples=examples(100))
@given(arrays(nulls=False), st.data())
def test_what_lies_below_a_null_is_zero(array: pa.StructArray, data: st.DataObject) -> None:
    rows, n = data.draw(places(len(array)))
    result = spread(array, np.array(rows, np.int64), n)
    bare = pa.Array.from_buffers(
        result.type, n, [None], children=[result.field(i) for i in range(result.type.num_fields)]
    )
    blank = set(range(n)) - set(rows)
    for row, value in enumerate(bare.to_pylist()):
        assert row not in blank or not any(_truths(value))


def _truths(value: Any) -> list[bool]:
    if isinstance(value, dict):
        return [t for member in value.values() for t in _truths(member)]
    if isinstance(value, list):
        return [t for item in value for t in _truths(item)]
    return [bool(value)]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 64])
def test_no_values_make_nulls(n: int) -> None:
    kind = pa.struct([("a", pa.list_(pa.string())), ("b", pa.list_(pa.bool_(), 3)), ("c", pa.binary())])
    result = spread(pa.array([], kind), np.empty(0, np.int64), n)
    result.validate(full=True)
    assert result.to_pylist() == [None] * n


@given(structs())
def test_a_null_row_has_a_size(kind: pa.DataType) -> None:
    assert row_bytes(kind) >= 1
    assert row_bytes(pa.list_(kind, 3)) == 3 * row_bytes(kind)


def test_row_bytes_counts_values_and_offsets() -> None:
    kind = pa.struct([("a", pa.float64()), ("b", pa.list_(pa.int16(), 5)), ("c", pa.string()), ("d", pa.bool_())])
    assert row_bytes(kind) == 8 + 10 + 4 + 1
