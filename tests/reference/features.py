"""Features row by row on Python values, as obviously as can be: the twin of the engine's columns.

Bytes stand for uint8 arrays, dicts for messages; stamps are dicts of sec and nanosec.
"""

import math
from typing import Any

import numpy as np
import orjson

from hephaes_rpc.engine.specs import transform_params as t
from hephaes_rpc.engine.specs.spec import ConcatSource, Feature, PathSource, Span, StackSource, parse_path


class AbsentError(Exception):
    """A row has no value."""


def walk(value: Any, steps: tuple[Any, ...]) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        return walk(value[step], rest)
    if isinstance(step, Span):
        part = value[step.start : step.stop]
        return [walk(item, rest) for item in part] if rest else part
    try:
        return walk(value[step], rest)
    except IndexError:
        raise AbsentError from None


def is_stamp(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"sec", "nanosec"}


def listed(value: Any) -> Any:
    """Bytes as lists of integers, stamps as nanoseconds."""
    if isinstance(value, bytes):
        return list(value)
    if is_stamp(value):
        return value["sec"] * 10**9 + value["nanosec"]
    return [listed(item) for item in value] if isinstance(value, list) else value


def each(value: Any, change: Any) -> Any:
    return [each(item, change) for item in value] if isinstance(value, list) else change(value)


def read(source: Any, messages: dict[str, Any], defaults: dict[str, Any]) -> tuple[Any, bool]:
    """The value, and whether a default stands in it."""
    if isinstance(source, PathSource):
        steps = parse_path(source.field_path) if source.field_path else ()
        if messages[source.topic] is not None:
            return walk(messages[source.topic], steps), False
        if source.topic in defaults:
            return walk(defaults[source.topic], steps), True
        raise AbsentError
    parts = [read(part, messages, defaults) for part in source.sources]
    values = [value for value, _ in parts]
    if isinstance(source, ConcatSource) and all(isinstance(value, bytes) for value in values):
        return b"".join(values), any(filled for _, filled in parts)
    if isinstance(source, ConcatSource) and all(isinstance(value, str) for value in values):
        return "".join(values), any(filled for _, filled in parts)
    join = stack if isinstance(source, StackSource) else concat
    return join([listed(value) for value in values], source.axis), any(filled for _, filled in parts)


def concat(values: list[Any], axis: int) -> Any:
    if not axis:
        return [item for value in values for item in value]
    if len({len(value) for value in values}) > 1:
        raise AbsentError
    return [concat(list(items), axis - 1) for items in zip(*values, strict=True)]


def stack(values: list[Any], axis: int) -> Any:
    if axis:
        if len({len(value) for value in values}) > 1:
            raise AbsentError
        return [stack(list(items), axis - 1) for items in zip(*values, strict=True)]
    if any(shape_of(value) != shape_of(values[0]) for value in values):
        raise AbsentError
    return values


def shape_of(value: Any) -> Any:
    return [shape_of(item) for item in value] if isinstance(value, list) else 0


def cast_one(value: Any, dtype: str) -> Any:
    if isinstance(value, list):
        if dtype == "bytes" and not any(isinstance(item, list | str | bytes) for item in value):
            if any(not 0 <= item <= 255 for item in value):
                raise AbsentError
            return bytes(value)
        return [cast_one(item, dtype) for item in value]
    try:
        if dtype == "bytes":
            return value.encode() if isinstance(value, str) else value
        if dtype == "bool":
            return bool(value)
        if dtype == "int64":
            whole = int(value)
            if not -(2**63) <= whole < 2**63:
                raise AbsentError
            return whole
        return to_float(float(value), dtype)
    except (ValueError, OverflowError):
        raise AbsentError from None


def to_float(value: Any, dtype: str) -> float:
    if dtype == "float64":
        return float(value)
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
    if math.isinf(narrow) and not math.isinf(value):
        raise AbsentError
    return narrow


def clamp_one(value: Any, low: Any, high: Any) -> Any:
    if value != value:
        return value
    value = int(value) if isinstance(value, bool) else value
    clamped = low if low is not None and value < low else value
    clamped = high if high is not None and clamped > high else clamped
    fractional = any(bound is not None and bound != int(bound) for bound in (low, high))
    return float(clamped) if isinstance(value, float) or fractional else int(clamped)


def transform(step: Any, value: Any) -> Any:
    if isinstance(step, t.Cast):
        if step.dtype == "json":
            raise NotImplementedError
        is_bytes = step.dtype == "bytes" and not any(is_stamp(leaf) for leaf in flat(value))
        return cast_one(value if is_bytes else listed(value), step.dtype)
    value = listed(value)
    match step:
        case t.Clamp():
            return each(value, lambda x: clamp_one(x, step.min, step.max))
        case t.Scale():
            return each(value, lambda x: (float(x) - step.offset) * step.scale)
        case t.Normalize():
            if step.min is not None and step.max is not None:
                low, width = step.min, float(step.max) - step.min
                return each(value, lambda x: (float(x) - low) / width)
            mean, std, scale = step.mean or 0.0, step.std or 1.0, step.scale or 1.0
            return each(value, lambda x: (float(x) - mean) / std / scale)
        case t.OneHot() | t.MultiHot():
            found = [0] * step.depth
            for item in value if isinstance(value, list) else [value]:
                if not (math.isfinite(item) and 0 <= int(item) < step.depth and (item >= 0 or int(item) == 0)):
                    raise AbsentError
                found[int(item)] = 1
            return found
        case t.Length():
            return with_length(step, value)
    raise NotImplementedError


def with_length(step: t.Length, value: list[Any]) -> list[Any]:
    if step.exact is not None:
        if len(value) != step.exact:
            raise AbsentError
        return value
    if step.pad_to is not None:
        return value[: step.pad_to] + [step.pad_value] * (step.pad_to - len(value))
    if step.truncate_to is not None:
        value = value[: step.truncate_to]
    if len(value) < (step.min or 0) or (step.max is not None and len(value) > step.max):
        raise AbsentError
    return value


def check_shape(value: Any, shape: list[int]) -> None:
    if not shape:
        return
    if shape[0] not in (-1, len(value)):
        raise AbsentError
    for item in listed(value):
        check_shape(item, shape[1:])


def to_dtype(value: Any, dtype: str) -> Any:
    if dtype == "json":
        return orjson.dumps(json_value(value)).decode()
    if dtype == "bytes":
        if isinstance(value, list) and value and isinstance(value[0], list | bytes):
            return [to_dtype(item, dtype) for item in value]
        return bytes(value) if isinstance(value, list) else value
    if dtype in ("bool", "native"):
        return value
    value = listed(value)
    if dtype == "int64":
        if any(item >= 2**63 for item in flat(value)):
            raise AbsentError
        return each(value, int)
    return each(value, lambda x: to_float(x, dtype))


def flat(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


def json_value(value: Any) -> Any:
    import base64

    if isinstance(value, bytes):
        return {"__bytes__": True, "encoding": "base64", "value": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": "nan" if value != value else "inf" if value > 0 else "-inf"}
    if isinstance(value, dict):
        return {name: json_value(member) for name, member in value.items()}
    return [json_value(item) for item in value] if isinstance(value, list) else value


def evaluate(
    feature: Feature,
    rows: list[dict[str, Any]],
    *,
    zero_topics: frozenset[str] = frozenset(),
    defaults: dict[str, Any] | None = None,
    zero: Any = 0,
) -> tuple[list[Any], list[bool], list[bool], list[bool]]:
    """Values (None: absent), presence, rows dropped, bad rows; AbsentError where the policy is ``error``.

    With ``shift`` a row has what the row so many later would have; the last ones have nothing.
    """
    values: list[Any] = []
    present: list[bool] = []
    dropped: list[bool] = []
    bad: list[bool] = []
    last: Any = None
    nothing: dict[str, Any] = {}
    for messages in [*rows[feature.shift :], *[nothing] * min(feature.shift, len(rows))]:
        value, here, drop = None, False, False
        try:
            if messages is nothing:
                raise AbsentError
            value, filled = read(feature.source, messages, defaults or {})
            for step in feature.transforms:
                value = transform(step, value)
            if feature.shape is not None:
                check_shape(value, feature.shape)
            value = to_dtype(value, feature.dtype)
            here = not filled
        except AbsentError:
            topic = getattr(feature.source, "topic", "")
            if topic in zero_topics and messages.get(topic, nothing) is None:
                value = zero
            elif feature.missing == "error":
                raise
            else:
                value = {"zeros": zero, "forward_fill": last}.get(feature.missing)
                here = feature.missing == "forward_fill" and last is not None
                drop = feature.missing == "drop"
        if here:
            last = value
        values.append(value)
        present.append(here)
        dropped.append(drop)
        bad.append(value is None and feature.required and not drop)
    return values, present, dropped, bad
