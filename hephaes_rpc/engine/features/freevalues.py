"""Free values of a spec (constants, defaults) as values of a type."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hephaes_rpc.engine.features.columns import is_list, reshape, zero
from hephaes_rpc.engine.features.steps import CannotApplyError
from hephaes_rpc.engine.specs.spec import Span, Step
from hephaes_rpc.serde import closest, shown


def covered(value: Any, steps: Sequence[Step]) -> Any:
    """What a path leads to in a free value; None for nothing."""
    for k, step in enumerate(steps):
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        elif not isinstance(value, list | bytes):
            return None
        elif isinstance(step, Span):
            value = value[step.start : step.stop]
            if rest := steps[k + 1 :]:
                found = [covered(item, rest) for item in value]
                return None if None in found else found
        else:
            value = value[step] if -len(value) <= step < len(value) else None
        if value is None:
            return None
    return value


def typed(value: Any, kind: pa.DataType) -> Any:
    """A free value as Arrow takes it for a type; ValueError for one that does not fit, members left out are zero."""
    if pa.types.is_struct(kind) and isinstance(value, dict):
        members = {member.name: member.type for member in kind}
        for name in value:
            if name not in members:
                guess = closest(name, list(members))
                raise ValueError(f"there is no field {name!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        return {name: typed(value[name], type_) if name in value else zero(type_) for name, type_ in members.items()}
    if is_list(kind) and isinstance(value, list):
        if pa.types.is_fixed_size_list(kind) and len(value) != kind.list_size:
            raise ValueError(f"a list of {len(value)} stands for {kind.list_size} elements")
        return [typed(item, kind.value_type) for item in value]
    if _fits(value, kind):
        return bytes(value) if isinstance(value, list) else value
    raise ValueError(f"{shown_value(value)} is no {kind}")


def is_zero(value: Any) -> bool:
    """Whether nothing but zeros and emptiness is in a value."""
    parts = value.values() if isinstance(value, dict) else value
    return all(map(is_zero, parts)) if isinstance(value, dict | list) else not value


def _fits(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_binary(kind):
        is_byte_list = isinstance(value, list) and all(type(item) is int and 0 <= item <= 255 for item in value)
        return isinstance(value, bytes) or is_byte_list
    if pa.types.is_floating(kind):
        return type(value) in (int, float)
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        return type(value) is int and limits.min <= value <= limits.max
    return False


def shown_value(value: Any) -> str:
    """A free value in words."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else shown(value)


def constant_array(value: Any) -> pa.Array:
    """One constant as an array, lists of one length fixed; CannotApplyError for what has no single type."""
    try:
        array = pa.array([value])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        array = None
    if array is None and isinstance(value, int) and 0 <= value < 2**64:
        array = pa.array([value], pa.uint64())
    if array is None or _has_null(array):
        raise CannotApplyError("the constant has no single type; only dtype json takes it as it is")
    return reshape(array, _regular(array))


def _has_null(array: pa.Array) -> bool:
    if array.null_count or pa.types.is_null(array.type):
        return True
    if pa.types.is_struct(array.type):
        return any(_has_null(array.field(k)) for k in range(array.type.num_fields))
    return is_list(array.type) and _has_null(array.values)


def _regular(array: pa.Array) -> tuple[int, ...]:
    """The one shape of all values, -1 where lengths differ."""
    shape: list[int] = []
    while is_list(array.type):
        found = set(np.diff(array.offsets.to_numpy()).tolist())
        shape.append(found.pop() if len(found) == 1 else -1)
        array = array.values
    return tuple(shape)
