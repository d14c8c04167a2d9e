"""Concat and stack: readers of several parts."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hephaes_rpc.engine.features.columns import (
    BINARY,
    Part,
    both,
    concat,
    dims,
    fits,
    leaves,
    nest,
    reshape,
    select,
    stack,
    with_leaves,
)
from hephaes_rpc.engine.features.narrowing import widened
from hephaes_rpc.engine.features.readers import Joined, Reader
from hephaes_rpc.engine.features.steps import FLOAT64, CannotApplyError, Column, Kind, Tally
from hephaes_rpc.engine.features.transforms import as_lists, listed, nanoseconds
from hephaes_rpc.engine.specs.spec import ConcatSource, StackSource


def concat_reader(parts: Sequence[Reader], source: ConcatSource) -> Reader:
    types = {part.kind.type for part in parts}
    for text, empty in ((pa.string(), ""), (BINARY, b"")):
        if types == {text}:
            if source.axis not in (0, -1):
                raise CannotApplyError(f"concat of text or bytes has axis 0, not {source.axis}")
            sizes = [part.kind.size for part in parts]
            size = sum(n for n in sizes if n) if all(sizes) else None
            return Joined(Kind(text, size), tuple(parts), _text_joiner(empty))
    shapes, leaf, prepare = _prepared(parts, "concat")
    if not shapes[0]:
        raise CannotApplyError("concat needs lists, not single values; stack makes a list of these")
    axis = _axis(source.axis, len(shapes[0]))
    wanted = _agreed(shapes, axis)
    at_axis = [shape[axis] for shape in shapes]
    wanted[axis] = sum(at_axis) if -1 not in at_axis else -1
    return _joined(parts, wanted, leaf, prepare, lambda arrays: concat(arrays, axis))


def _text_joiner(empty: str | bytes) -> Callable[[list[pa.Array], Tally], Part]:
    def join(arrays: list[pa.Array], _: Tally) -> Part:
        return pc.binary_join_element_wise(*arrays, pa.scalar(empty)), None

    return join


def stack_reader(parts: Sequence[Reader], source: StackSource) -> Reader:
    shapes, leaf, prepare = _prepared(parts, "stack")
    if pa.types.is_string(leaf) and not shapes[0]:
        raise CannotApplyError("stack takes no text")
    axis = _axis(source.axis, len(shapes[0]) + 1)
    wanted = _agreed(shapes, None)
    wanted.insert(axis, len(parts))
    return _joined(parts, wanted, leaf, prepare, lambda arrays: stack(arrays, axis))


def _joined(
    parts: Sequence[Reader],
    wanted: Sequence[int],
    leaf: pa.DataType,
    prepare: Sequence[Callable[[pa.Array, Tally], pa.Array]],
    move: Callable[[list[pa.Array]], Part],
) -> Reader:
    def join(arrays: list[pa.Array], tally: Tally) -> Part:
        values, kept = move([ready(array, tally) for ready, array in zip(prepare, arrays, strict=True)])
        good = fits(values, wanted)
        return reshape(select(values, good), wanted), both(kept, good)

    return Joined(Kind(nest(wanted, leaf)), tuple(parts), join)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise CannotApplyError(f"axis {axis} does not exist: there are {rank}")
    return axis % rank


def _agreed(shapes: Sequence[Sequence[int]], axis: int | None) -> list[int]:
    """The one shape of all parts, leaving ``axis`` aside."""
    wanted = []
    for k, sizes in enumerate(zip(*shapes, strict=True)):
        known = {size for size in sizes if size >= 0}
        if len(known) > 1 and k != axis:
            raise CannotApplyError(f"the parts have different lengths in dimension {k}: {sorted(known)}")
        wanted.append(known.pop() if known else -1)
    return wanted


def _prepared(
    parts: Sequence[Reader], what: str
) -> tuple[list[tuple[int, ...]], pa.DataType, list[Callable[[pa.Array, Tally], pa.Array]]]:
    """Shapes, the common type of leaves, and what brings each part to that type with lists of any length."""
    kinds = [nanoseconds(part.kind).kind if part.kind.is_time else listed(part.kind) for part in parts]
    found = [dims(kind.type) for kind in kinds]
    shapes = [shape for shape, _ in found]
    if len({len(shape) for shape in shapes}) > 1:
        ranks = ", ".join(str(len(shape)) for shape in shapes)
        raise CannotApplyError(f"{what} needs parts of one number of dimensions, not {ranks}")
    leaf = _common([kind for _, kind in found], what)
    return shapes, leaf, [_preparation(part.kind, leaf) for part in parts]


def _preparation(kind: Kind, leaf: pa.DataType) -> Callable[[pa.Array, Tally], pa.Array]:
    stamps = nanoseconds(kind) if kind.is_time else None

    def prepare(values: pa.Array, tally: Tally) -> pa.Array:
        if stamps is not None:
            values = stamps.apply(Column(np.arange(len(values)), values, np.zeros(len(values), np.bool_)), tally).values
        values = as_lists(values, kind.size)
        found = leaves(values)
        if found.type != leaf:
            is_float = pa.types.is_floating(leaf)
            found = widened(found, leaf, tally)[0] if is_float else found.cast(leaf)
            values = with_leaves(values, (found, None))[0]
        return reshape(values, [-1] * len(dims(values.type)[0]))

    return prepare


def _common(kinds: Sequence[pa.DataType], what: str) -> pa.DataType:
    """The type that holds the numbers of all; other types must be the same."""
    if len(set(kinds)) == 1:
        return kinds[0]
    if not all(pa.types.is_primitive(kind) for kind in kinds):
        raise CannotApplyError(f"{what} cannot join {' and '.join(sorted({str(kind) for kind in kinds}))}")
    dtypes = [np.dtype(kind.to_pandas_dtype()) for kind in kinds]
    common = np.result_type(*dtypes)
    if common.kind == "f" and not any(dtype.kind == "f" for dtype in dtypes):
        raise CannotApplyError(f"{what} of uint64 and signed integers has no type that holds both; cast them first")
    return FLOAT64 if common == np.float64 else pa.from_numpy_dtype(common)
