"""Free values of a spec (constants, defaults): JSON values, bytes and non-finite floats.

In JSON and YAML, what JSON cannot say is tagged as ``serde.unstructure`` tags it: ``{"__bytes__": true, "encoding":
"base64", "value": ...}``, ``{"__float__": "nan" | "inf" | "-inf"}``, ``{"__int64__": "..."}``.
"""

import base64
import binascii
from typing import Any

TAGS = ("__bytes__", "__float__", "__int64__")


def untagged(value: Any) -> Any:
    """``value`` with every well-formed tag in it replaced by what it stands for."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(tag in value for tag in TAGS):
        return {key: untagged(item) for key, item in value.items()}
    try:
        return _meant(value)
    except ValueError:
        return value


def _meant(value: dict[str, Any]) -> Any:
    match value:
        case {"__bytes__": True, "encoding": "base64", "value": str(text)} if len(value) == 3:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"__bytes__ is not base64: {error}") from None
        case {"__float__": "nan" | "inf" | "-inf" as text} if len(value) == 1:
            return float(text)
        case {"__int64__": str(text)} if len(value) == 1:
            return int(text)
    raise ValueError(f"{', '.join(tag for tag in TAGS if tag in value)} marks a value, but not in a form that is known")


def plain(_instance: object, _attribute: object, value: Any) -> None:
    """Raises ValueError for a value with a malformed tag in it, and for what is neither JSON nor bytes."""
    if isinstance(value, list):
        for item in value:
            plain(None, None, item)
    elif isinstance(value, dict):
        if any(tag in value for tag in TAGS):
            _meant(value)
            return
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"must have text as keys: {key!r}")
            plain(None, None, item)
    elif value is not None and not isinstance(value, str | bool | int | float | bytes):
        raise ValueError(f"must be made of JSON values and bytes: {type(value).__name__}")


def is_script_path(path: str) -> bool:
    """Whether a path can be that of a script: relative, with slashes, below the folder, ``.py``."""
    parts = path.split("/")
    clean = all(part and part not in (".", "..") and part.isprintable() and "\\" not in part for part in parts)
    return clean and path.endswith(".py") and ":" not in path
