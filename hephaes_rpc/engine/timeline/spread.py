"""Put the values of an Arrow array on chosen rows of a longer one, nulls elsewhere.

Strategy: an array is a tree of buffers, and each kind of node has one rule.  Fixed-width values (fixed-size lists of
them count as one wide value) are scattered into zeroed memory; lists, strings and binary keep their values untouched
and only get new offsets, where a null row is an empty range; structs recurse.  Nulls are written once, in the validity
bitmap of the outermost node: what lies below a null is zero and needs no bitmap of its own.  Cost: linear in the bytes
of the result, no work per row in Python.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def spread(array: pa.Array, rows: Rows, n_rows: int) -> pa.Array:
    """An array of ``n_rows`` with ``array[j]`` at ``rows[j]`` and null elsewhere.

    Args:
        rows: int64[len(array)], strictly ascending, in [0, n_rows).
    """
    place = _Place(rows, n_rows)
    valid = place.bits(_valid(array) if array.null_count else np.ones(len(array), np.bool_))
    return _rebuild(array, place, valid)


def gather(array: pa.Array, rows: Rows) -> pa.Array:
    """``array[rows]``; raises pyarrow.ArrowIndexError.

    As ``array.take``, which imports ``pyarrow.compute``: that makes a function of every kernel, a tenth of a start.
    """
    try:
        from pyarrow._compute import call_function
    except ImportError:  # where it lies is the library's own affair
        from pyarrow.compute import call_function

    return call_function("take", [array, from_numpy(rows)])


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """The numbers of a one-dimensional array, not copied if they lie side by side.

    As ``pa.array``, which imports ``numpy.ma`` to ask whether the array is masked: a fortieth of a start.
    """
    side_by_side = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(side_by_side.dtype)
    return pa.Array.from_buffers(kind, len(side_by_side), [None, pa.py_buffer(side_by_side)])


def row_bytes(kind: pa.DataType) -> int:
    """Bytes that a null row of this type takes, validity bits left out."""
    if pa.types.is_struct(kind):
        return sum(row_bytes(member.type) for member in kind)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * row_bytes(kind.value_type)
    if pa.types.is_primitive(kind):
        return max(1, int(kind.bit_width) // 8)
    return 4


class _Place:
    """Where the values go: ``rows[j]`` of ``n`` rows, and what can be derived from that once for all columns."""

    def __init__(self, rows: Rows, n: int) -> None:
        self.rows, self.n = rows, n

    @cached_property
    def before(self) -> Rows:
        """int64[n + 1]: how many of the values lie before each row."""
        count = np.zeros(self.n + 1, np.int64)
        count[self.rows + 1] = 1
        return np.cumsum(count, out=count)

    def times(self, k: int) -> "_Place":
        """The same for the elements of lists of length ``k``."""
        return _Place((self.rows[:, None] * k + np.arange(k)).ravel(), self.n * k)

    def values(self, values: NDArray[np.void]) -> pa.Buffer:
        """Fixed-width values, zero elsewhere."""
        buffer = pa.allocate_buffer(self.n * values.itemsize)
        placed = np.frombuffer(buffer, np.uint8)
        placed[:] = 0
        placed.view(values.dtype)[self.rows] = values
        return buffer

    def bits(self, flags: NDArray[np.bool_]) -> pa.Buffer:
        """Flags as a bitmap, false elsewhere."""
        placed = np.zeros(self.n, np.bool_)
        placed[self.rows] = flags
        return pa.py_buffer(np.packbits(placed, bitorder="little"))


def _rebuild(array: pa.Array, place: _Place, valid: pa.Buffer | None = None) -> pa.Array:
    """``array`` spread; ``valid`` is the bitmap where the caller knows it, else nulls of ``array`` stay nulls."""
    kind = array.type
    if valid is None and array.null_count:
        valid = place.bits(_valid(array))
    if pa.types.is_struct(kind):
        members = [_rebuild(member, place) for member in _members(array)]
        return pa.Array.from_buffers(kind, place.n, [valid], children=members)
    if pa.types.is_fixed_size_list(kind):
        return _rebuild_fixed_list(array, place, valid)
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, place.n, [valid, place.bits(_flags(array.buffers()[1], array))])
    if pa.types.is_list(kind):
        return pa.Array.from_buffers(kind, place.n, [valid, _offsets(array, place)], children=[array.values])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, place.n, [valid, _offsets(array, place), array.buffers()[2]])
    return pa.Array.from_buffers(kind, place.n, [valid, place.values(fixed_width(array))])


def _rebuild_fixed_list(array: pa.Array, place: _Place, valid: pa.Buffer | None) -> pa.Array:
    kind, size = array.type, array.type.list_size
    values = array.values.slice(array.offset * size, len(array) * size)
    if pa.types.is_primitive(kind.value_type) and not pa.types.is_boolean(kind.value_type) and not values.null_count:
        joined = fixed_width(values).view(f"V{size * kind.value_type.bit_width // 8}")
        items = pa.Array.from_buffers(kind.value_type, place.n * size, [None, place.values(joined)])
    else:
        items = _rebuild(values, place.times(size))
    return pa.Array.from_buffers(kind, place.n, [valid], children=[items])


def fixed_width(array: pa.Array) -> NDArray[np.void]:
    """The values of a primitive array (not bool) as void items, without copying."""
    width = array.type.bit_width // 8
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.empty(0, f"V{width}")
    return np.frombuffer(buffer, f"V{width}", count=len(array), offset=array.offset * width)


def _members(array: pa.StructArray) -> Iterator[pa.Array]:
    """The members as they lie under ``array``, its own nulls left aside."""
    for i in range(array.type.num_fields):
        yield array.field(i)


def _offsets(array: pa.Array, place: _Place) -> pa.Buffer:
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return pa.py_buffer(np.zeros(place.n + 1, np.int32))
    offsets = np.frombuffer(buffer, np.int32, count=len(array) + 1, offset=array.offset * 4)
    return pa.py_buffer(offsets[place.before])


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    return _flags(array.buffers()[0], array)


def _flags(bitmap: pa.Buffer | None, array: pa.Array) -> NDArray[np.bool_]:
    """bool[len(array)] of a bitmap of ``array``."""
    if bitmap is None:
        return np.ones(len(array), np.bool_)
    first = array.offset // 8
    count = array.offset % 8 + len(array)
    bits = np.frombuffer(bitmap, np.uint8)[first : first + (count + 7) // 8]
    return np.unpackbits(bits, count=count, bitorder="little")[array.offset % 8 :].view(np.bool_)
