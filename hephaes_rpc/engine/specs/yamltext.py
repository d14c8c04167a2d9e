"""The part of YAML that says what JSON says.

It is read from its events, without aliases, tags and constructors of its own: nothing in a document is executed or
grows, and its words mean what they mean in JSON (``yes`` is text, ``1e3`` a number).  Keys are always text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Malformed = yaml.YAMLError
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


def where(error: Any) -> str:
    """Place and problem that the parser tells of."""
    mark = getattr(error, "problem_mark", getattr(error, "context_mark", None))
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        return str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def read(text: str, most_depth: int, most_nodes: int) -> Any:
    """The value of a text; raises ValueError, where it has more depth or nodes too, and Malformed for no YAML."""
    events = iter(yaml.parse(text, Loader=_LOADER))
    found: list[Any] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if found:
                raise ValueError("has a second document in it")
            found.append(_Reader(events, most_depth, most_nodes).value(next(events), 0))
    if not found:
        raise ValueError("is empty")
    return found[0]


class _Reader:
    """One value from the events of a document."""

    def __init__(self, events: Iterator[Any], most_depth: int, most_nodes: int) -> None:
        self._events, self._most_depth, self._most_nodes = events, most_depth, most_nodes
        self._n_nodes = 0

    def value(self, event: Any, depth: int) -> Any:
        """The value that begins with ``event``."""
        line = event.start_mark.line + 1
        self._n_nodes += 1
        if depth >= self._most_depth:
            raise ValueError(f"line {line}: is nested deeper than {self._most_depth} levels")
        if self._n_nodes > self._most_nodes:
            raise ValueError(f"line {line}: has more than {self._most_nodes} parts")
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


def write(value: Mapping[str, Any]) -> str:
    """Block YAML in ASCII, members in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, default_flow_style=False)
    return text
