"""JSON values to typed objects and back, and the JSON Schema of those types.

Nothing is coerced: ``true`` is no int, ``"3"`` is no int, an int is a float.  Unknown keys are refused by name.
"""

from typing import Any, TypeVar

T = TypeVar("T")


def structure(value: Any, cls: type[T], path: str = "") -> T:
    """``value`` as an instance of ``cls`` (attrs class or any type expression); raises ParamsError with every error."""
    raise NotImplementedError


def unstructure(value: Any) -> Any:
    """``value`` (attrs objects, containers, scalars) as JSON values; raises TypeError for anything else.

    Every field is written, under its name; datetimes as ISO 8601 with ``Z``; integers of fields named ``*_ns`` (lists of
    them too) also as text under ``*_ns_str``; non-finite floats as ``{"__float__": "nan" | "inf" | "-inf"}``; bytes as
    ``{"__bytes__": true, "encoding": "base64", "value": ...}``; in free-form values (fields of type Any or dict[str, Any])
    integers beyond 2^53 as ``{"__int64__": "..."}``.
    """
    raise NotImplementedError


def json_schema(cls: Any, components: dict[str, Any]) -> dict[str, Any]:
    """Draft-07 schema of ``cls``; attrs classes are put into ``components`` and referred to."""
    raise NotImplementedError
