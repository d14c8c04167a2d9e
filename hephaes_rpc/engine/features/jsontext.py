"""Decoded messages as JSON values: bytes, NaN and infinities tagged, 64-bit integers exact."""

import base64
import math
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa

_SAFE_INTEGER = 2**53


def json_values(array: pa.Array, *, tag_integers: bool = False) -> list[Any]:
    """The values of ``array`` as orjson takes them.

    Args:
        tag_integers: Integers that a JavaScript number cannot hold become ``{"__int64__": "..."}``.
    """
    values = array.to_pylist()
    convert = _converter(array.type, tag_integers)
    return values if convert is None else [None if value is None else convert(value) for value in values]


def json_cells(array: pa.Array) -> pa.StringArray:
    """Compact JSON text per value; null stays null."""
    return pa.array([None if value is None else orjson.dumps(value) for value in json_values(array)], pa.string())


def json_text(value: Any) -> str:
    """Compact JSON text of a Python value made of JSON values and bytes."""
    return orjson.dumps(_plain(value)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _bytes(value) if isinstance(value, bytes) else _float(value) if isinstance(value, float) else value


def _converter(kind: pa.DataType, tag_integers: bool) -> Callable[[Any], Any] | None:
    """What turns a Python value of this type into a JSON one; None when it is one already."""
    if pa.types.is_floating(kind):
        return _float
    if pa.types.is_binary(kind):
        return _bytes
    if pa.types.is_struct(kind):
        members = {member.name: _converter(member.type, tag_integers) for member in kind}
        return _of_members({name: convert for name, convert in members.items() if convert})
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _converter(kind.value_type, tag_integers)
        return None if inner is None else lambda values: [None if v is None else inner(v) for v in values]
    return _integer if tag_integers and pa.types.is_integer(kind) and kind.bit_width == 64 else None


def _of_members(members: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if not members:
        return None

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        for name, member in members.items():
            if value[name] is not None:
                value[name] = member(value[name])
        return value

    return convert


def _float(value: float) -> float | dict[str, str]:
    if math.isfinite(value):
        return value
    return {"__float__": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}


def _bytes(value: bytes) -> dict[str, Any]:
    return {"__bytes__": True, "encoding": "base64", "value": base64.b64encode(value).decode("ascii")}


def _integer(value: int) -> int | dict[str, str]:
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else {"__int64__": str(value)}
