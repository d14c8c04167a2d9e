"""The transforms of features, bound to the type that they are applied to and run over whole columns.

Strategy: ``bind`` checks a transform against the type of what comes in and gives a step that knows the type of what
goes out, so that what cannot apply is refused before a byte is read.  A step works on the leaves or the offsets of all
rows at once; a row in which it fails leaves the column and its cause is counted.  Numbers keep their type through
``clamp`` and ``length``; ``scale`` and ``normalize`` compute and give float64; a stamp counts as int64 nanoseconds.
Work per row in Python is left to images (Pillow) and to text that is parsed, once per distinct text.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hephaes_rpc.engine.features.columns import (
    BINARY,
    UINT8,
    Flags,
    Int64s,
    Part,
    all_of,
    binary,
    dims,
    is_list,
    items,
    leaves,
    lengths,
    lists,
    nest,
    numbers,
    rebuild,
    select,
    sequence,
    span,
    with_leaves,
)
from hephaes_rpc.engine.features.jsontext import json_cells
from hephaes_rpc.engine.features.narrowing import widened
from hephaes_rpc.engine.features.pictures import bind_image, pixel_lists
from hephaes_rpc.engine.features.steps import (
    FLOAT32,
    FLOAT64,
    INT64,
    MAX_SIZE,
    ArrayStep,
    CannotApplyError,
    Kind,
    Move,
    Step,
    Tally,
)
from hephaes_rpc.engine.specs.transform_params import (
    Cast,
    Clamp,
    ImageColorConvert,
    ImageCrop,
    ImageDecode,
    ImageEncode,
    ImageResize,
    Length,
    MultiHot,
    Normalize,
    OneHot,
    Scale,
    Transform,
)

_BILLION = 1_000_000_000


def bind(transform: Transform, kind: Kind) -> list[Step]:
    """The steps of a transform over values of ``kind``; CannotApplyError when there can be none."""
    if isinstance(transform, ImageColorConvert | ImageResize | ImageCrop | ImageDecode | ImageEncode):
        return bind_image(transform, kind)
    steps: list[Step] = []
    if kind.type is None:
        steps.append(pixel_lists(kind))
        kind = steps[-1].kind
    if kind.is_time and not (isinstance(transform, Cast) and transform.dtype == "json"):
        steps.append(nanoseconds(kind))
        kind = steps[-1].kind
    match transform:
        case Cast():
            steps.append(_cast(transform, kind))
        case Length():
            steps.append(_length(transform, kind))
        case Clamp():
            steps.append(_clamp(transform, kind))
        case Scale(scale=scale, offset=offset):
            steps.append(_affine(kind, "scale", lambda x: (x - offset) * scale))
        case Normalize():
            steps.append(_affine(kind, "normalize", _normalizer(transform)))
        case OneHot():
            steps.append(_one_hot(transform, kind))
        case MultiHot():
            steps.append(_multi_hot(transform, kind))
    return steps


# -- numbers -----------------------------------------------------------------------------------------------------------


def listed(kind: Kind) -> Kind:
    """The same with bytes as lists of uint8."""
    if kind.type is None:
        return kind
    shape, leaf = dims(kind.type)
    if leaf != BINARY:
        return kind
    return Kind(nest((*shape, kind.size or -1), UINT8))


def as_lists(values: pa.Array, size: int | None) -> pa.Array:
    """Values with bytes as lists of uint8."""
    if is_list(values.type):
        return rebuild(values, as_lists(items(values), size))
    return sequence(values, size)


def nanoseconds(kind: Kind) -> Step:
    """Stamps as int64 ns."""
    assert kind.type is not None
    shape, _ = dims(kind.type)

    def move(values: pa.Array, _: Tally) -> Part:
        leaf = leaves(values)
        sec, nanosec = (numbers(leaf.field(leaf.type.get_field_index(name))) for name in ("sec", "nanosec"))
        return with_leaves(values, (pa.array(sec.astype(np.int64) * _BILLION + nanosec), None))

    return ArrayStep(Kind(nest(shape, INT64)), move)


def over_numbers(kind: Kind, leaf_type: pa.DataType, leaf_move: Move, cause: str = "") -> Step:
    """A step over the leaves, which are numbers, bools, text or bytes as lists."""
    out = listed(kind)
    assert out.type is not None
    shape, _ = dims(out.type)

    def move(values: pa.Array, tally: Tally) -> Part:
        values = as_lists(values, kind.size)
        return with_leaves(values, leaf_move(leaves(values), tally))

    return ArrayStep(Kind(nest(shape, leaf_type)), move, cause)


def leaf_of(kind: Kind) -> pa.DataType:
    """Type of the leaves, bytes as lists."""
    return dims(listed(kind).type)[1]


def _number_leaf(kind: Kind, what: str) -> pa.DataType:
    leaf = leaf_of(kind)
    if not (pa.types.is_integer(leaf) or pa.types.is_floating(leaf) or pa.types.is_boolean(leaf)):
        raise CannotApplyError(f"{what} needs numbers, not {kind}")
    return leaf


def _affine(kind: Kind, what: str, compute: Callable[[Any], Any]) -> Step:
    _number_leaf(kind, what)

    def move(leaf: pa.Array, _: Tally) -> Part:
        with np.errstate(all="ignore"):
            return pa.array(compute(numbers(leaf).astype(np.float64)), FLOAT64), None

    return over_numbers(kind, FLOAT64, move)


def _normalizer(normalize: Normalize) -> Callable[[Any], Any]:
    low, high = normalize.min, normalize.max
    if low is not None and high is not None:
        return lambda x: (x - low) / (float(high) - low)
    mean, std, scale = normalize.mean or 0.0, normalize.std or 1.0, normalize.scale or 1.0
    return lambda x: (x - mean) / std / scale


def _clamp(clamp: Clamp, kind: Kind) -> Step:
    leaf_type = _number_leaf(kind, "clamp")
    bounds = [bound for bound in (clamp.min, clamp.max) if bound is not None]
    if pa.types.is_boolean(leaf_type):
        leaf_type = INT64
    if pa.types.is_integer(leaf_type) and any(bound != math.floor(bound) for bound in bounds):
        leaf_type = FLOAT64
    dtype = np.dtype(leaf_type.to_pandas_dtype())
    low, high = clamp.min, clamp.max
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        low, high = limits.min if low is None else int(low), limits.max if high is None else int(high)
        if low > limits.max or high < limits.min:
            raise CannotApplyError(f"clamp leaves no value of {leaf_type}; cast it first")
        low, high = max(low, int(limits.min)), min(high, int(limits.max))

    def move(leaf: pa.Array, tally: Tally) -> Part:
        before = numbers(leaf).astype(dtype, copy=False)
        after = np.clip(before, None if low is None else dtype.type(low), None if high is None else dtype.type(high))
        tally.change("clamped", int(np.count_nonzero((after != before) & (before == before))))
        return pa.array(after, leaf_type), None

    return over_numbers(kind, leaf_type, move)


# -- cast --------------------------------------------------------------------------------------------------------------


def _cast(cast: Cast, kind: Kind) -> Step:
    if cast.dtype == "json":
        return ArrayStep(Kind(pa.string(), is_json=True), lambda values, _: (json_cells(values), None))
    if cast.dtype == "bytes":
        return _cast_to_bytes(kind)
    leaf = leaf_of(kind)
    if not (pa.types.is_string(leaf) or pa.types.is_primitive(leaf)):
        raise CannotApplyError(f"cast to {cast.dtype} needs numbers or text, not {kind}")
    cause = f"a value is no {cast.dtype}"
    if cast.dtype == "bool":
        return over_numbers(kind, pa.bool_(), _truth)
    if cast.dtype == "int64":
        return over_numbers(kind, INT64, _to_int64, cause)
    if cast.dtype == "float64":
        return over_numbers(kind, FLOAT64, _to_float64, cause)
    return over_numbers(kind, FLOAT32, _cast_to_float32, cause)


def _truth(leaf: pa.Array, _: Tally) -> Part:
    if pa.types.is_string(leaf.type):
        return pc.greater(pc.binary_length(leaf), 0), None
    return pa.array(numbers(leaf).astype(np.bool_)), None


def _to_int64(leaf: pa.Array, _: Tally) -> Part:
    """Towards zero; what is no number or does not fit fails."""
    if pa.types.is_string(leaf.type):
        return _parsed(leaf, _parse_int, np.int64)
    values = numbers(leaf)
    if values.dtype.kind == "f":
        good = (values >= -(2.0**63)) & (values < 2.0**63)
        values = np.where(good, values, 0)
    else:
        good = values <= np.uint64(2**63 - 1) if values.dtype == np.uint64 else np.ones(len(values), np.bool_)
    return pa.array(values.astype(np.int64)), None if good.all() else good


def _to_float64(leaf: pa.Array, tally: Tally) -> Part:
    if pa.types.is_string(leaf.type):
        return _parsed(leaf, float, np.float64)
    return widened(leaf, FLOAT64, tally)


def _cast_to_float32(leaf: pa.Array, tally: Tally) -> Part:
    values, good = _to_float64(leaf, tally) if pa.types.is_string(leaf.type) else (leaf, None)
    narrow, fits = widened(values, FLOAT32, tally)
    return narrow, fits if good is None else good if fits is None else good & fits


def _parse_int(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError
    return value


def _parsed(leaf: pa.Array, parse: Callable[[str], Any], dtype: Any) -> Part:
    """Text as numbers, each distinct text parsed once."""
    coded = leaf.dictionary_encode()
    found, good = np.zeros(len(coded.dictionary), dtype), np.ones(len(coded.dictionary), np.bool_)
    for k, text in enumerate(coded.dictionary.to_pylist()):
        try:
            found[k] = parse(text)
        except ValueError:
            good[k] = False
    place = numbers(coded.indices)
    return pa.array(found[place]), None if good.all() else good[place]


def _cast_to_bytes(kind: Kind) -> Step:
    assert kind.type is not None
    shape, leaf = dims(kind.type)
    if leaf == BINARY:
        return ArrayStep(kind, lambda values, _: (values, None))
    if pa.types.is_string(leaf):
        return ArrayStep(
            Kind(nest(shape, BINARY)), lambda values, _: with_leaves(values, (leaves(values).cast(BINARY), None))
        )
    if not pa.types.is_integer(leaf) or not shape:
        raise CannotApplyError(f"cast to bytes needs text or a list of integers, not {kind}")

    def move(values: pa.Array, _: Tally) -> Part:
        whole = numbers(leaves(values))
        good = (whole >= 0) & (whole <= 255)
        found, kept = with_leaves(values, (pa.array(whole.astype(np.uint8)), None if good.all() else good))
        return binary(found), kept

    size = shape[-1] if len(shape) == 1 and shape[-1] > 0 else None
    return ArrayStep(Kind(nest(shape[:-1], BINARY), size), move, "an element is no byte")


# -- lengths and classes -----------------------------------------------------------------------------------------------


def _length(length: Length, kind: Kind) -> Step:
    out = listed(kind)
    assert out.type is not None
    shape, leaf = dims(out.type)
    if not shape:
        raise CannotApplyError(f"length needs a list, not {kind}")
    for size in (length.exact, length.pad_to, length.truncate_to):
        if size is not None and size > MAX_SIZE:
            raise CannotApplyError(f"length {size} is more than {MAX_SIZE}")
    if length.exact is not None:
        if shape[0] >= 0 and shape[0] != length.exact:
            raise CannotApplyError(f"length is always {shape[0]}, never {length.exact}")
        return _exact_length(length.exact, kind, nest((length.exact, *shape[1:]), leaf))
    if length.pad_to is not None:
        return _padded(length, kind, shape, leaf)
    return _bounded_length(length, kind, shape, leaf)


def _exact_length(exact: int, kind: Kind, result: pa.DataType) -> Step:
    def move(values: pa.Array, _: Tally) -> Part:
        values = as_lists(values, kind.size)
        good = lengths(values) == exact
        kept = None if good.all() else good
        return fixed(select(values, kept), exact), kept

    return ArrayStep(Kind(result), move, f"length is not {exact}")


def fixed(values: pa.Array, size: int) -> pa.Array:
    """Lists that all have ``size`` elements, as fixed-size lists unless they are empty."""
    if not size or (pa.types.is_fixed_size_list(values.type) and values.type.list_size == size):
        return values if size else lists(items(values), lengths(values))
    return pa.FixedSizeListArray.from_arrays(items(values), size)


def _bounded_length(length: Length, kind: Kind, shape: Sequence[int], leaf: pa.DataType) -> Step:
    low, high, cut = length.min or 0, MAX_SIZE if length.max is None else length.max, length.truncate_to
    size = shape[0] if cut is None or shape[0] < 0 else min(shape[0], cut)
    if size >= 0 and not low <= size <= max(high, low):
        raise CannotApplyError(f"length is always {size}, never {low} to {high}")
    has_max = length.max is not None

    def move(values: pa.Array, tally: Tally) -> Part:
        values = as_lists(values, kind.size)
        if cut is not None:
            tally.change("truncated", int(np.count_nonzero(lengths(values) > cut)))
            values = span(values, 0, cut)
        found = lengths(values)
        good = (found >= low) & (found <= high) if has_max else found >= low
        kept = None if good.all() else good
        return select(values, kept), kept

    bounds = f"at least {low}" if not has_max else f"{low} to {high}"
    return ArrayStep(Kind(nest((size, *shape[1:]), leaf)), move, f"length is not {bounds}")


def _padded(length: Length, kind: Kind, shape: Sequence[int], leaf: pa.DataType) -> Step:
    size = length.pad_to or 0
    inner = nest(shape[1:], leaf)
    filler = pa.array([_filler(inner, length.pad_value)], inner)

    def move(values: pa.Array, tally: Tally) -> Part:
        values = as_lists(values, kind.size)
        found = lengths(values)
        tally.change("truncated", int(np.count_nonzero(found > size)))
        tally.change("padded", int(np.count_nonzero(found < size)))
        elements = pa.concat_arrays([items(values), filler])
        place = (np.cumsum(found) - found)[:, None] + np.arange(size)
        place = np.where(np.arange(size) < found[:, None], place, len(elements) - 1).ravel()
        taken = elements.take(pa.array(place))
        if not size:
            return lists(taken, np.zeros(len(values), np.int64)), None
        return pa.FixedSizeListArray.from_arrays(taken, size), None

    return ArrayStep(Kind(nest((size, *shape[1:]), leaf)), move)


def _filler(kind: pa.DataType, value: float) -> Any:
    """The element that lists are padded with."""
    if pa.types.is_fixed_size_list(kind):
        return [_filler(kind.value_type, value)] * kind.list_size
    if pa.types.is_floating(kind):
        return float(value)
    limits = (0, 1)
    if pa.types.is_integer(kind):
        info = np.iinfo(kind.to_pandas_dtype())
        limits = (int(info.min), int(info.max))
    elif not pa.types.is_boolean(kind):
        if value == 0 and pa.types.is_string(kind):
            return ""
        raise CannotApplyError(f"length cannot pad a list of {kind} with {value}")
    if value != math.floor(value) or not limits[0] <= value <= limits[1]:
        raise CannotApplyError(f"pad_value {value} is no {kind}; cast the list first")
    return bool(value) if pa.types.is_boolean(kind) else int(value)


def _one_hot(hot: OneHot, kind: Kind) -> Step:
    if not _is_class(kind.type) or kind.type is None:
        raise CannotApplyError(f"one_hot needs a number, not {kind}")
    _check_depth(hot.depth)

    def move(values: pa.Array, _: Tally) -> Part:
        index, good = _classes(values, hot.depth)
        index = index[good]
        found = np.zeros((len(index), hot.depth), np.int64)
        found[np.arange(len(index)), index] = 1
        return pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), hot.depth), None if good.all() else good

    return ArrayStep(Kind(nest((hot.depth,), INT64)), move, f"class is not one of 0 to {hot.depth - 1}")


def _multi_hot(hot: MultiHot, kind: Kind) -> Step:
    out = listed(kind).type
    if not (_is_class(out) or (out is not None and is_list(out) and _is_class(out.value_type))):
        raise CannotApplyError(f"multi_hot needs a number or a list of numbers, not {kind}")
    _check_depth(hot.depth)

    def move(values: pa.Array, _: Tally) -> Part:
        values = as_lists(values, kind.size)
        length = lengths(values) if is_list(values.type) else np.ones(len(values), np.int64)
        index, good_items = _classes(leaves(values), hot.depth)
        row = np.repeat(np.arange(len(values)), length)
        good = all_of(length, good_items)
        place = np.cumsum(good) - 1
        wanted = good[row]
        found = np.zeros((int(np.count_nonzero(good)), hot.depth), np.int64)
        found[place[row[wanted]], index[wanted]] = 1
        return pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), hot.depth), None if good.all() else good

    return ArrayStep(Kind(nest((hot.depth,), INT64)), move, f"class is not one of 0 to {hot.depth - 1}")


def _check_depth(depth: int) -> None:
    if depth > MAX_SIZE:
        raise CannotApplyError(f"depth {depth} is more than {MAX_SIZE}")


def _is_class(kind: pa.DataType | None) -> bool:
    return kind is not None and bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _classes(leaf: pa.Array, depth: int) -> tuple[Int64s, Flags]:
    """Class numbers, truncated, and which of them lie in range."""
    values = numbers(leaf)
    if values.dtype.kind == "f":
        values = np.trunc(values)
    values = values.astype(np.uint8) if values.dtype == np.bool_ else values
    good = np.asarray((values >= 0) & (values < depth), np.bool_)
    index: Int64s = np.where(good, values, 0).astype(np.int64)
    return index, good
