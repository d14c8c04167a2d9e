"""Spec documents as text: JSON, and the part of YAML that says the same.

What reads YAML is imported when a text is no JSON: most documents are.
"""

import json
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 8 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000


def parse(text: str) -> Any:
    """The JSON value that a text says in JSON or YAML; raises ValueError."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    if not text.strip():
        raise ValueError("is empty")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        from hephaes_rpc.engine.specs import yamltext

        try:
            return yamltext.read(text, MAX_DEPTH, MAX_NODES)
        except yamltext.Malformed as other:
            if text.lstrip().startswith(("{", "[")):
                raise ValueError(f"is no JSON: {error}") from None
            raise ValueError(f"is no YAML: {yamltext.where(other)}") from None


def bounded(value: Any) -> None:
    """Raises ValueError for a value that is nested too deeply, has too many parts, or text that is no Unicode."""
    n_nodes, level = 0, [value]
    for _ in range(MAX_DEPTH):
        n_nodes += len(level)
        if n_nodes > MAX_NODES:
            raise ValueError(f"has more than {MAX_NODES} parts")
        if not all(item.isascii() or _is_unicode(item) for item in level if isinstance(item, str)):
            raise ValueError("has half a character (a lone surrogate) in it")
        level = [part for item in level if isinstance(item, list | dict) for part in _parts(item)]
        if not level:
            return
    raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> Any:
    return (*value.keys(), *value.values()) if isinstance(value, dict) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return members


def to_yaml(value: Mapping[str, Any]) -> str:
    """Block YAML in ASCII, members in their order."""
    from hephaes_rpc.engine.specs import yamltext

    return yamltext.write(value)


def to_json(value: Mapping[str, Any]) -> str:
    """Indented JSON, members in their order."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
