"""Nested columns without nulls: the few moves that paths, transforms and features are made of.

Strategy: a value per row is a leaf (number, bool, text, bytes, struct) under any number of lists; every move works on
offsets and on the leaves of all rows at once.  Where a move can fail for a row it returns the values of the rows that
are left and a mask of them (None: all), so that nothing downstream ever sees a null.  Byte arrays are lists of uint8
under another name: ``sequence`` and ``binary`` turn one into the other without copying.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Flags: TypeAlias = NDArray[np.bool_]
Int64s: TypeAlias = NDArray[np.int64]
Part: TypeAlias = tuple[pa.Array, Flags | None]

UINT8, BINARY = pa.uint8(), pa.binary()


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def dims(kind: pa.DataType) -> tuple[tuple[int, ...], pa.DataType]:
    """Length per dimension (-1: any) and the type of the leaves."""
    found: list[int] = []
    while is_list(kind):
        found.append(kind.list_size if pa.types.is_fixed_size_list(kind) else -1)
        kind = kind.value_type
    return tuple(found), kind


def nest(shape: Sequence[int], leaf: pa.DataType) -> pa.DataType:
    """The type of lists of these lengths (-1 and 0: of any) over leaves."""
    for size in reversed(shape):
        leaf = pa.list_(leaf, size) if size > 0 else pa.list_(leaf)
    return leaf


def items(array: pa.Array) -> pa.Array:
    """The elements of all lists, one after the other."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return array.values.slice(array.offset * size, len(array) * size)
    offsets = _offsets(array)
    return array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def lengths(array: pa.Array) -> Int64s:
    """Elements per list."""
    if pa.types.is_fixed_size_list(array.type):
        return np.full(len(array), array.type.list_size, np.int64)
    return np.diff(_offsets(array)).astype(np.int64)


def lists(values: pa.Array, length: Int64s) -> pa.Array:
    """Lists of these lengths over ``values``."""
    offsets = np.zeros(len(length) + 1, np.int32)
    np.cumsum(length, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def rebuild(like: pa.Array, values: pa.Array) -> pa.Array:
    """The lists of ``like`` with other elements."""
    if pa.types.is_fixed_size_list(like.type):
        return pa.FixedSizeListArray.from_arrays(values, like.type.list_size)
    offsets = _offsets(like)
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), values)


def _offsets(array: pa.Array) -> NDArray[np.int32]:
    """int32[n + 1] of lists, text or bytes."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(buffer, np.int32, count=len(array) + 1, offset=array.offset * 4)


def all_of(length: Int64s, flags: Flags) -> Flags:
    """Per list whether all of its elements are flagged."""
    failed = np.concatenate(([0], np.cumsum(~flags)))
    ends = np.cumsum(length)
    return np.asarray(failed[ends] == failed[ends - length], np.bool_)


def both(first: Flags | None, second: Flags | None) -> Flags | None:
    """One mask for a move (``first``) and another over what it left (``second``)."""
    if first is None or second is None:
        return second if first is None else first
    kept = first.copy()
    kept[first] = second
    return kept


def select(array: pa.Array, kept: Flags | None) -> pa.Array:
    """The flagged values."""
    return array if kept is None else array.filter(pa.array(kept))


def of_items(array: pa.Array, part: Part) -> Part:
    """Lists of ``array`` with new elements; a list whose elements failed in part is left out whole."""
    values, kept = part
    if kept is None:
        return rebuild(array, values), None
    length = lengths(array)
    rows = all_of(length, kept)
    return rebuild(select(array, rows), select(values, np.repeat(rows, length)[kept])), rows


# -- bytes -------------------------------------------------------------------------------------------------------------


def sequence(array: pa.Array, size: int | None = None) -> pa.Array:
    """Bytes as lists of uint8 (of ``size`` where all have it), anything else as it is."""
    if array.type != BINARY:
        return array
    offsets, values = _offsets(array), _bytes(array)
    if size:
        return pa.FixedSizeListArray.from_arrays(values, size)
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), values)


def _bytes(array: pa.Array) -> pa.Array:
    """uint8 of all values of a binary array."""
    offsets, data = _offsets(array), array.buffers()[2]
    count = int(offsets[-1] - offsets[0])
    if data is None or not count:
        return pa.array([], UINT8)
    return pa.Array.from_buffers(UINT8, count, [None, data], offset=int(offsets[0]))


def binary(array: pa.Array) -> pa.Array:
    """Lists whose innermost are of uint8, with these as bytes."""
    if is_list(array.type.value_type):
        return rebuild(array, binary(items(array)))
    values = items(array)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths(array), out=offsets[1:])
    data = values.buffers()[1]
    data = pa.py_buffer(b"") if data is None else data.slice(values.offset, len(values))
    return pa.Array.from_buffers(BINARY, len(array), [None, pa.py_buffer(offsets), data])


# -- elements and ranges -----------------------------------------------------------------------------------------------


def element(array: pa.Array, index: int) -> Part:
    """Element ``index`` (negative: from the end) of every list; lists without it are left out."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return items(array).take(pa.array(np.arange(len(array)) * size + index % size)), None
    array = sequence(array)
    length = lengths(array)
    place = np.cumsum(length) - length + (index if index >= 0 else length + index)
    there = length > index if index >= 0 else length >= -index
    kept = None if there.all() else there
    return items(array).take(pa.array(place if kept is None else place[kept])), kept


def span(array: pa.Array, start: int | None, stop: int | None) -> pa.Array:
    """``list[start:stop]`` of every list, as Python slices."""
    if array.type == BINARY:
        return pc.binary_slice(array, start or 0, stop)
    length = lengths(array)
    first, last = _bound(length, start, 0), _bound(length, stop, None)
    taken = np.maximum(last - first, 0)
    ends = np.cumsum(taken)
    begin = np.cumsum(length) - length + first
    place = np.repeat(begin - (ends - taken), taken) + np.arange(int(ends[-1]) if len(ends) else 0)
    values = items(array).take(pa.array(place))
    if pa.types.is_fixed_size_list(array.type) and (size := span_size(array.type.list_size, start, stop)):
        return pa.FixedSizeListArray.from_arrays(values, size)
    return lists(values, taken)


def span_size(size: int, start: int | None, stop: int | None) -> int:
    """Length of ``list[start:stop]`` of a list of ``size``."""
    return len(range(*slice(start, stop).indices(size)))


def _bound(length: Int64s, end: int | None, default: int | None) -> Int64s:
    if end is None:
        return length if default is None else np.full_like(length, default)
    return np.minimum(end, length) if end >= 0 else np.maximum(length + end, 0)


# -- shapes ------------------------------------------------------------------------------------------------------------


def fits(array: pa.Array, shape: Sequence[int]) -> Flags | None:
    """Per row whether every list at depth k has ``shape[k]`` elements (-1: any); None when all rows fit."""
    row = np.arange(len(array))
    good = np.ones(len(array), np.bool_)
    for size in shape:
        length = lengths(array)
        if size >= 0 and not (pa.types.is_fixed_size_list(array.type) and array.type.list_size == size):
            good[row[length != size]] = False
        row = np.repeat(row, length)
        array = items(array)
    return None if good.all() else good


def reshape(array: pa.Array, shape: Sequence[int]) -> pa.Array:
    """Lists that fit ``shape``, in the type that ``nest`` gives it."""
    if not len(shape):
        return array
    inner = reshape(items(array), shape[1:])
    if shape[0] > 0:
        return pa.FixedSizeListArray.from_arrays(inner, shape[0])
    return lists(inner, lengths(array))


def same_shape(arrays: Sequence[pa.Array]) -> Flags | None:
    """Per row whether the lists of all arrays agree in every length; None when all do."""
    good = np.ones(len(arrays[0]), np.bool_)
    levels = list(arrays)
    row = [np.arange(len(good))] * len(levels)
    while is_list(levels[0].type):
        length = [lengths(array) for array in levels]
        for k in range(1, len(levels)):
            if len(row[0]) == len(row[k]) and np.array_equal(length[0], length[k]):
                continue
            good &= _agree(row[0], length[0], row[k], length[k], len(good))
        kept = [good[r] for r in row]
        row = [np.repeat(r[keep], n[keep]) for r, n, keep in zip(row, length, kept, strict=True)]
        levels = [items(select(array, None if keep.all() else keep)) for array, keep in zip(levels, kept, strict=True)]
    return None if good.all() else good


def _agree(row: Int64s, length: Int64s, other_row: Int64s, other_length: Int64s, n: int) -> Flags:
    """Per row of ``n`` whether its lengths are the same in both; rows ascending."""
    count, other = np.bincount(row, minlength=n), np.bincount(other_row, minlength=n)
    good = count == other
    mine, theirs = good[row], good[other_row]
    differing = row[mine][length[mine] != other_length[theirs]]
    good[differing] = False
    return np.asarray(good, np.bool_)


def concat(arrays: Sequence[pa.Array], axis: int) -> Part:
    """Lists of one type joined along ``axis``; rows whose other lengths differ are left out."""
    if axis:
        return _below(arrays, axis, concat)
    length = [lengths(array) for array in arrays]
    joined = pa.concat_arrays([items(array) for array in arrays])
    row = np.concatenate([np.repeat(np.arange(len(n)), n) for n in length])
    order = np.argsort(row, kind="stable")
    return lists(joined.take(pa.array(order)), np.sum(length, axis=0)), None


def stack(arrays: Sequence[pa.Array], axis: int) -> Part:
    """Values of one type beside each other in a new dimension; rows whose shapes differ are left out."""
    if axis:
        return _below(arrays, axis, stack)
    kept = same_shape(arrays)
    arrays = [select(array, kept) for array in arrays]
    n, k = len(arrays[0]), len(arrays)
    order = (np.arange(k) * n + np.arange(n)[:, None]).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.concat_arrays(arrays).take(pa.array(order)), k), kept


def _below(arrays: Sequence[pa.Array], axis: int, move: Any) -> Part:
    """``concat`` or ``stack`` of the elements of lists that are equally long."""
    length = [lengths(array) for array in arrays]
    same = np.all([n == length[0] for n in length], axis=0)
    kept = None if same.all() else same
    arrays = [select(array, kept) for array in arrays]
    values, rows = of_items(arrays[0], move([items(array) for array in arrays], axis - 1))
    return values, both(kept, rows)


# -- leaves ------------------------------------------------------------------------------------------------------------


def leaves(array: pa.Array) -> pa.Array:
    """The leaves of all rows."""
    while is_list(array.type):
        array = items(array)
    return array


def with_leaves(array: pa.Array, part: Part) -> Part:
    """``array`` with other leaves; rows with a leaf that failed are left out.

    Args:
        part: All leaves anew, and which of them are good (None: all).
    """
    values, good = part
    if not is_list(array.type):
        return select(values, good), good
    chain = [array]
    while is_list(chain[-1].type.value_type):
        chain.append(items(chain[-1]))
    for level in reversed(chain):
        values = rebuild(level, values)
        good = None if good is None else all_of(lengths(level), good)
    return select(values, good), good


def numbers(array: pa.Array) -> NDArray[Any]:
    """Numbers or bools as a numpy array, numbers without copying."""
    return np.asarray(array.to_numpy(zero_copy_only=False))


def zero(kind: pa.DataType) -> Any:
    """The Python value that is zero in this type; lists of any length are empty."""
    if pa.types.is_struct(kind):
        return {member.name: zero(member.type) for member in kind}
    if pa.types.is_fixed_size_list(kind):
        return [zero(kind.value_type)] * kind.list_size
    if pa.types.is_list(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_binary(kind):
        return b""
    return False if pa.types.is_boolean(kind) else 0
