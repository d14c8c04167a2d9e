"""Values short enough to be shown: the beginning of lists and text, size and SHA-256 of long bytes.

A value is cut before it becomes Python objects, so that showing a cell costs what is shown of it.
"""

import hashlib
from typing import Any

import pyarrow as pa
from attrs import frozen

from hephaes_rpc.engine.features.columns import BINARY, is_list, items


@frozen
class Limits:
    """How much of a value is shown."""

    items: int
    characters: int
    bytes: int


EXAMPLE = Limits(16, 200, 64)
CELL = Limits(1024, 4096, 16 << 10)


def excerpt(array: pa.Array, row: int, limits: Limits) -> Any:
    """The value of a row; what is longer than the limits is told by its beginning and its size."""
    kind = array.type
    if not array[row].is_valid:
        return None
    if pa.types.is_struct(kind):
        return {kind.field(k).name: excerpt(array.field(k), row, limits) for k in range(kind.num_fields)}
    if is_list(kind):
        inner = items(array.slice(row, 1))
        shown = inner.slice(0, limits.items)
        found = [excerpt(shown, k, limits) for k in range(len(shown))] if _is_deep(kind) else shown.to_pylist()
        return found if len(shown) == len(inner) else {"items": found, "length": len(inner)}
    value = array[row].as_py()
    if kind == BINARY and len(value) > limits.bytes:
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, str) and len(value) > limits.characters:
        return {"text": value[: limits.characters], "characters": len(value)}
    return value


def _is_deep(kind: pa.DataType) -> bool:
    return not (pa.types.is_primitive(kind.value_type))


def summary(value: Any, most: int = 8) -> Any:
    """The top of an excerpt: the first members of an object or elements of a list, told with its kind."""
    if isinstance(value, dict):
        members = dict(list(value.items())[:most])
        more = {"truncated": True} if len(value) > most else {}
        return {"kind": "dict", "members": {key: summary(item, most) for key, item in members.items()}, **more}
    if isinstance(value, list):
        return {"kind": "list", "length": len(value), "items": [summary(item, most) for item in value[:most]]}
    return value
