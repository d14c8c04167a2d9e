"""Interpolation of messages, column by column.

Strategy: two arrays of one type, ``lo`` and ``hi``, and a weight per row walk down the type together.  Only floating
leaves are blended, ``lo + a * (hi - lo)`` in float64 and stored in the message's own width; equal leaves keep their
value, so that two infinities stay infinite.  Stamps and durations are blended as one integer of nanoseconds, unit
quaternions on the sphere.  Lists are blended element by element where both have one length.  Everything else, and
every row of weight 0, is ``lo`` bit for bit.  The definition says which structs are stamps or quaternions: names of
members alone would not.
"""

from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hephaes_rpc.engine.messages.msgdef import TIMES, Definition
from hephaes_rpc.engine.timeline.spread import gather

Floats = NDArray[np.float64]
Numbers = NDArray[np.generic]

QUATERNION = "geometry_msgs/msg/Quaternion"
_NEARLY_PARALLEL = 1.0 - 1e-9
_BILLION = 1_000_000_000


def blend(lo: pa.Array, hi: pa.Array, weight: Floats, definition: Definition) -> pa.Array:
    """Messages between ``lo`` and ``hi``.

    Args:
        lo, hi: Equally long arrays of one type, as decoded by ``definition``; nulls only at the top.
        weight: float64[n] in [0, 1); 0 is ``lo``.

    Returns:
        Array of the same type; null where ``lo`` is null, ``lo`` where only ``hi`` is null.
    """
    if hi.null_count:
        weight, hi = _hold(lo, hi, weight, hi.is_valid().to_numpy(zero_copy_only=False))
    return _blend(lo, hi, weight, definition, definition.root)


def blended_part(array: pa.Array) -> pa.Array:
    """All that ``blend`` reads of ``hi``: strings and byte arrays are nulls, so that images need not be copied."""
    kind = array.type
    if pa.types.is_struct(kind):
        return _struct(array, [blended_part(array.field(i)) for i in range(kind.num_fields)])
    return pa.nulls(len(array), kind) if pa.types.is_string(kind) or pa.types.is_binary(kind) else array


def _blend(lo: pa.Array, hi: pa.Array, weight: Floats, definition: Definition, base: str) -> pa.Array:
    """As ``blend`` for a value whose declared type, array brackets aside, is ``base``."""
    kind = lo.type
    if pa.types.is_floating(kind):
        return _blend_floats(lo, hi, weight)
    if pa.types.is_struct(kind):
        if base in TIMES:
            return _blend_stamps(lo, hi, weight)
        if base == QUATERNION and {member.name for member in kind} == set("xyzw"):
            return _blend_quaternions(lo, hi, weight)
        return _blend_members(lo, hi, weight, definition, base)
    if _has_blendable(kind):
        return _blend_lists(lo, hi, weight, definition, base)
    return lo


def _has_blendable(kind: pa.DataType) -> bool:
    """Whether a list type has floats or structs inside."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type) or pa.types.is_struct(kind.value_type))
    return False


def _blend_members(lo: pa.Array, hi: pa.Array, weight: Floats, definition: Definition, base: str) -> pa.Array:
    declared = {member.name: member.type.base for member in definition.types[base].fields}
    members = [
        _blend(lo.field(i), hi.field(i), weight, definition, declared.get(lo.type.field(i).name, ""))
        for i in range(lo.type.num_fields)
    ]
    return _struct(lo, members)


def _blend_floats(lo: pa.Array, hi: pa.Array, weight: Floats) -> pa.Array:
    a, b = _values(lo), _values(hi)
    blended = _between(a.astype(np.float64), b.astype(np.float64), weight)
    with np.errstate(over="ignore"):
        result = np.where(weight == 0, a, blended.astype(a.dtype))
    return pa.Array.from_buffers(lo.type, len(lo), [None, pa.py_buffer(result)])


def _between(a: Floats, b: Floats, weight: Floats) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(a == b, a, a + weight * (b - a))


def _blend_stamps(lo: pa.Array, hi: pa.Array, weight: Floats) -> pa.Array:
    """Struct of sec and nanosec; a result outside the range of ``sec`` cannot arise between two values inside it."""
    names = ("sec", "nanosec")
    a, b = ([_values(stamps.field(name)) for name in names] for stamps in (lo, hi))
    start, end = (sec.astype(np.int64) * _BILLION + nanosec.astype(np.int64) for sec, nanosec in (a, b))
    between = start + np.rint(weight * (end - start)).astype(np.int64)
    sec, nanosec = np.divmod(between, _BILLION)
    held = weight == 0
    members = {
        name: pa.Array.from_buffers(
            lo.type.field(name).type, len(lo), [None, pa.py_buffer(np.where(held, kept, value).astype(kept.dtype))]
        )
        for name, kept, value in zip(names, a, (sec, nanosec), strict=True)
    }
    return _struct(lo, [members[member.name] for member in lo.type])


def _blend_quaternions(lo: pa.Array, hi: pa.Array, weight: Floats) -> pa.Array:
    """Slerp the short way round; what is not of unit length (the unset 0, 0, 0, 0) is blended linearly."""
    names = [member.name for member in lo.type]
    raw = [_values(lo.field(name)) for name in names]
    a = np.stack([column.astype(np.float64) for column in raw], axis=1)
    b = np.stack([_values(hi.field(name)).astype(np.float64) for name in names], axis=1)
    result = slerp(a, b, weight)
    members = [
        pa.Array.from_buffers(
            lo.type.field(i).type,
            len(lo),
            [None, pa.py_buffer(np.where(weight == 0, raw[i], result[:, i].astype(raw[i].dtype)))],
        )
        for i in range(4)
    ]
    return _struct(lo, members)


def slerp(a: Floats, b: Floats, weight: Floats) -> Floats:
    """float64[n, 4] between unit quaternions ``a`` and ``b``, of unit length again; other rows linearly."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        norm_a, norm_b = (np.sqrt(np.sum(q * q, axis=1)) for q in (a, b))
        unit = (np.abs(norm_a - 1) < 1e-3) & (np.abs(norm_b - 1) < 1e-3)
        p, q = a / norm_a[:, None], b / norm_b[:, None]
        dot = np.sum(p * q, axis=1)
        q, dot = np.where(dot[:, None] < 0, -q, q), np.abs(dot)
        angle = np.arccos(np.minimum(dot, 1.0))
        sine = np.sin(angle)
        near = dot > _NEARLY_PARALLEL
        left = np.where(near, 1 - weight, np.sin((1 - weight) * angle) / sine)
        right = np.where(near, weight, np.sin(weight * angle) / sine)
        turned = left[:, None] * p + right[:, None] * q
        turned /= np.sqrt(np.sum(turned * turned, axis=1))[:, None]
        turn = unit & np.any(a != b, axis=1)
        return np.where(turn[:, None], turned, _between(a, b, weight[:, None]))


def _blend_lists(lo: pa.Array, hi: pa.Array, weight: Floats, definition: Definition, base: str) -> pa.Array:
    if pa.types.is_fixed_size_list(lo.type):
        size = lo.type.list_size
        items = _blend(_items(lo), _items(hi), np.repeat(weight, size), definition, base)
        return pa.Array.from_buffers(lo.type, len(lo), [None], children=[items])
    lengths = np.diff(_offsets(lo))
    same = lengths == np.diff(_offsets(hi))
    if not same.all():
        weight, hi = _hold(lo, hi, weight, same)
    items = _blend(_elements(lo), _elements(hi), np.repeat(weight, lengths), definition, base)
    offsets = np.zeros(len(lo) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(lo.type, len(lo), [None, pa.py_buffer(offsets)], children=[items])


def _hold(lo: pa.Array, hi: pa.Array, weight: Floats, usable: NDArray[np.bool_]) -> tuple[Floats, pa.Array]:
    """Weight and ``hi`` such that rows that are not usable hold ``lo``."""
    source = np.arange(len(lo)) + np.where(usable, len(lo), 0)
    return np.where(usable, weight, 0.0), gather(pa.concat_arrays([lo, hi]), source)


def _items(array: pa.Array) -> pa.Array:
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _elements(array: pa.Array) -> pa.Array:
    """The elements of lists, none of which is null, one list after the other."""
    offsets = _offsets(array)
    return array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _offsets(array: pa.Array) -> NDArray[np.int32]:
    if not len(array):
        return np.zeros(1, np.int32)
    return np.frombuffer(array.buffers()[1], np.int32, count=len(array) + 1, offset=array.offset * 4)


def _values(array: pa.Array) -> Numbers:
    """The values of a primitive array; what lies under a null is there but means nothing."""
    kind = np.dtype(array.type.to_pandas_dtype())
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.empty(0, kind)
    return cast(Numbers, np.frombuffer(buffer, kind, count=len(array), offset=array.offset * kind.itemsize))


def _struct(like: pa.Array, members: list[pa.Array]) -> pa.Array:
    """A struct of ``members`` with the type and the nulls of ``like``."""
    valid = None
    if like.null_count:
        flags = like.is_valid().to_numpy(zero_copy_only=False)
        valid = pa.py_buffer(np.packbits(flags, bitorder="little"))
    return pa.Array.from_buffers(like.type, len(like), [valid], children=members)
