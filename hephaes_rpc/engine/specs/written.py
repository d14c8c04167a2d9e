"""Spec documents as text: JSON, and the part of YAML that says the same.

YAML is read from its events, without aliases, tags and constructors of its own: nothing in a document is executed or
grows, and its words mean what they mean in JSON (``yes`` is text, ``1e3`` a number).  Keys are always text.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MAX_TEXT = 8 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


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
        try:
            return _from_yaml(text)
        except yaml.YAMLError as other:
            if text.lstrip().startswith(("{", "[")):
                raise ValueError(f"is no JSON: {error}") from None
            raise ValueError(f"is no YAML: {_where(other)}") from None


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


def _where(error: Any) -> str:
    mark = getattr(error, "problem_mark", getattr(error, "context_mark", None))
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        return str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _from_yaml(text: str) -> Any:
    events = iter(yaml.parse(text, Loader=_LOADER))
    found: list[Any] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if found:
                raise ValueError("has a second document in it")
            found.append(_Reader(events).value(next(events), 0))
    if not found:
        raise ValueError("is empty")
    return found[0]


class _Reader:
    """One value from the events of a document."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._n_nodes = 0

    def value(self, event: Any, depth: int) -> Any:
        """The value that begins with ``event``."""
        line = event.start_mark.line + 1
        self._n_nodes += 1
        if depth >= MAX_DEPTH:
            raise ValueError(f"line {line}: is nested deeper than {MAX_DEPTH} levels")
        if self._n_nodes > MAX_NODES:
            raise ValueError(f"line {line}: has more than {MAX_NODES} parts")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise ValueError(f"line {line}: anchors and aliases are not taken")
        if event.tag is not None:
            raise ValueError(f"line {line}: tags are not taken: {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [self.value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key in self._until(yaml.MappingEndEvent):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarEvent) or key.anchor is not None or key.tag is not None:
                raise ValueError(f"line {line}: a key must be text")
            if key.value in members:
                raise ValueError(f"line {line}: the key {key.value!r} is given twice")
            members[key.value] = self.value(next(self._events), depth + 1)
        return members

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event


def scalar(text: str) -> Any:
    """What an unquoted word of YAML means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(_SPECIAL[text]) if text in _SPECIAL else text


class _Dumper(yaml.SafeDumper):
    """Quotes every text that ``scalar`` would take for something else; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if scalar(text) is text else "'")


_Dumper.add_representer(str, _text)


def to_yaml(value: Mapping[str, Any]) -> str:
    """Block YAML in ASCII, members in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, default_flow_style=False)
    return text


def to_json(value: Mapping[str, Any]) -> str:
    """Indented JSON, members in their order."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
