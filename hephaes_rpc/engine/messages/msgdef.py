"""Message definitions: the text a log carries for a type becomes a closed set of typed messages.

Strategy: one pass over the lines splits the text into sections (the root, then one per ``MSG:`` line) and parses each
line with one regular expression; a depth-first walk from the root then resolves names and keeps only what is reachable.
The walk memoises depth and leaf count per type, so a definition whose expansion is exponential costs linear time.
Invariants: nothing of the text is ever executed; every limit is checked before the work it bounds.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from attrs import evolve, field, frozen, mutable

from hephaes_rpc.errors import LogError

MAX_TEXT_CHARS = 1_000_000
MAX_DEPTH = 100
MAX_LEAVES = 10_000
MAX_ARRAY = 2**31 - 1
KEPT_DEFINITIONS = 64
KEPT_CHARS = 1 << 14
"""Of a text whose definition is kept."""

INTEGERS = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"))
FLOATS = frozenset(("float32", "float64"))
STRINGS = frozenset(("string", "wstring"))
TIMES = frozenset(("time", "duration"))
BASES = INTEGERS | FLOATS | STRINGS | TIMES | {"bool"}
ALIASES: dict["Ros", dict[str, str]] = {1: {"byte": "int8", "char": "uint8"}, 2: {"byte": "uint8", "char": "uint8"}}

Ros = Literal[1, 2]
Value = bool | int | float | str


@frozen
class FieldType:
    """Type of one field.

    Args:
        base: A member of ``BASES`` or the name of a message type of the same definition.
        string_bound: Longest string allowed by ``string<=N``; None without a bound.
        array: ``""`` for a single value.
        size: Length of a fixed array, bound of a bounded one, else 0.
    """

    base: str
    string_bound: int | None = None
    array: Literal["", "fixed", "bounded", "unbounded"] = ""
    size: int = 0


@frozen
class Field:
    """A named field of a message."""

    name: str
    type: FieldType


@frozen
class Constant:
    """A named constant of a message; it is not on the wire."""

    name: str
    base: str
    value: Value


@frozen
class MessageType:
    """One message type; ``name`` is ``pkg/msg/Type``."""

    name: str
    fields: tuple[Field, ...]
    constants: tuple[Constant, ...] = ()


@frozen
class Definition:
    """A root type and all types it needs (transitive closure, acyclic).

    ROS1 ``time``, ``duration`` and ROS 2 ``builtin_interfaces/msg/Time``, ``Duration`` are the bases ``time`` and
    ``duration``.
    """

    root: str
    types: dict[str, MessageType]
    ros: Ros


def parse_definition(type_name: str, text: str, ros: Ros) -> Definition:
    """The definition of ``type_name``; LogError (``bad_input``, ``unsupported``) names the type and the line.

    Logs of one robot repeat their definitions: the last few, unless they are long, are kept, for nobody to change.
    """
    return (_kept if len(text) <= KEPT_CHARS else _parsed)(type_name, text, ros)


def _parsed(type_name: str, text: str, ros: Ros) -> Definition:
    return _Parser(type_name, ros).parse(text)


_kept = lru_cache(KEPT_DEFINITIONS)(_parsed)


@mutable
class _Section:
    """One message as written: references unresolved, ``lines`` has the line number of each field."""

    name: str
    fields: list[Field] = field(factory=list)
    lines: list[int] = field(factory=list)
    constants: list[Constant] = field(factory=list)


_TIME = (Field("sec", FieldType("int32")), Field("nanosec", FieldType("uint32")))
_STAMPED = (Field("stamp", FieldType("time")), Field("frame_id", FieldType("string")))
_HEADER = "std_msgs/msg/Header"
_BUILTIN_TIMES = {"builtin_interfaces/msg/Time": "time", "builtin_interfaces/msg/Duration": "duration"}
_BUILTINS: dict[Ros, dict[str, MessageType]] = {
    1: {_HEADER: MessageType(_HEADER, (Field("seq", FieldType("uint32")), *_STAMPED))},
    2: {_HEADER: MessageType(_HEADER, _STAMPED)} | {name: MessageType(name, _TIME) for name in _BUILTIN_TIMES},
}

_NAME = re.compile(r"[A-Za-z]\w*(?:/[A-Za-z]\w*){0,4}", re.ASCII)
_SEPARATOR = re.compile(r"={3,}\s*")
_HEADING = re.compile(r"(MSG|IDL):\s*(\S+)\s*")
_IDL = re.compile(r"\s*(?:module\s+\w+|#include\b|struct\s+\w+\s*\{)")
_LINE = re.compile(
    r"(?:@key[ \t]+)?([\w/]+)(<=[^\s\[\]]*)?(\[[^\s\[\]]*\])?[ \t]+([A-Za-z_]\w*)(.*)", re.ASCII | re.DOTALL
)
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'')
_ITEM = r"""(?:"(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'|[^\s,\[\]"'#]++)"""
_ARRAY = re.compile(rf"\[[ \t]*+((?:{_ITEM}[ \t]*+(?:,[ \t]*+{_ITEM}[ \t]*+)*+)?)\][ \t]*+(?:#.*)?")
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]{1,32})|0[bB]([01]{1,128})|0([0-7]{1,64})|([0-9]{1,64}))")
_FLOAT = re.compile(
    r"[+-]?(?:(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,5})?|nan|inf)", re.ASCII | re.IGNORECASE
)
_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)


def _canonical(name: str) -> str:
    """``pkg/Type`` as ``pkg/msg/Type``; other forms unchanged."""
    package, _, rest = name.partition("/")
    return f"{package}/msg/{rest}" if rest and "/" not in rest else name


class _Parser:
    """State of one ``parse_definition`` call."""

    def __init__(self, type_name: str, ros: Ros) -> None:
        self.ros: Ros = ros
        self.shown = type_name
        if not _NAME.fullmatch(type_name):
            self.shown = ascii(type_name[:200])
            raise self.error("that is not the name of a message type")
        self.root = _canonical(type_name)
        self.sections: dict[str, _Section] = {}
        self.types: dict[str, MessageType] = {}

    def error(self, problem: str, line: int = 0, kind: str = "bad_input") -> LogError:
        """The error for a problem at a line of the text (0: the text as a whole)."""
        place = f", line {line}" if line else ""
        return LogError(kind, f"message definition of {self.shown}{place}: {problem}")

    def parse(self, text: str) -> Definition:
        """Split, parse and resolve the text."""
        if len(text) > MAX_TEXT_CHARS:
            raise self.error(f"the text has {len(text):,} characters, more than the limit of {MAX_TEXT_CHARS:,}")
        if _IDL.match(text):
            raise self.error("it is IDL (ros2idl), which this version does not read", kind="unsupported")
        self.split(text)
        self.reach(self.root, 0, [], {})
        return Definition(self.root, self.types, self.ros)

    def split(self, text: str) -> None:
        """Parse all sections into ``sections``."""
        lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
        section: _Section | None = None
        for number, raw in lines:
            line = raw.strip(" \t\r")
            if not line or line[0] == "#":
                continue
            if line[0] == "=" and _SEPARATOR.fullmatch(line):
                self.close(section, number)
                section = _Section(self.heading(lines, number))
            elif section is None and _HEADING.fullmatch(line):
                section = self.leading(line, number)
            else:
                section = section or _Section(self.root)
                self.line(section, line, number)
        self.close(section, 0)
        self.sections.setdefault(self.root, _Section(self.root))

    def leading(self, line: str, number: int) -> _Section:
        """The section of a heading that stands before the root definition."""
        name = self.heading(iter([(number, line)]), number)
        if name != self.root:
            raise self.error(f"the text begins with the definition of {name}", number)
        return _Section(name)

    def heading(self, lines: Iterator[tuple[int, str]], number: int) -> str:
        """The type named by the next non-blank line, which must be a ``MSG:`` line."""
        for number, line in lines:
            if not line.strip():
                continue
            match = _HEADING.fullmatch(line.strip())
            if match is None or not _NAME.fullmatch(match[2]):
                break
            if match[1] == "IDL":
                raise self.error(
                    f"{match[2]} is IDL (ros2idl), which this version does not read", number, "unsupported"
                )
            return _canonical(match[2])
        raise self.error("a separator must be followed by a line 'MSG: package/Type'", number)

    def close(self, section: _Section | None, number: int) -> None:
        """Keep a finished section; a repeated one must say the same."""
        if section is None:
            return
        known = self.sections.setdefault(section.name, section)
        if (known.fields, known.constants) != (section.fields, section.constants):
            raise self.error(f"{section.name} is defined twice, differently", number)

    def line(self, section: _Section, line: str, number: int) -> None:
        """Parse one field or constant."""
        match = _LINE.fullmatch(line)
        if match is None:
            if line == "@key":
                return
            if line == "---":
                raise self.error(
                    "it is a service or action definition, which this version does not read", number, "unsupported"
                )
            if line[0] == "@":
                raise self.error(f"annotation {line[:40]!r} is not supported", number, "unsupported")
            raise self.error(f"not a field, constant or comment: {line[:80]!r}", number)
        base, bound, array, name, rest = match.groups()
        type_ = self.type(base, bound, array, number)
        after = rest.lstrip(" \t")
        if after.startswith("="):
            section.constants.append(self.constant(type_, name, after[1:].strip(" \t"), number))
            return
        if after and after[0] != "#":
            if self.ros == 1 or after is rest:
                raise self.error(f"unexpected text after field {name!r}: {after[:80]!r}", number)
            self.default(type_, after, number)
        section.fields.append(Field(name, type_))
        section.lines.append(number)

    def type(self, base: str, bound: str | None, array: str | None, number: int) -> FieldType:
        """The type written as ``base<=bound[array]``; a reference is left as written."""
        base = ALIASES[self.ros].get(base, base)
        if base == "wstring" and self.ros == 1:
            raise self.error("ROS1 has no type 'wstring'", number)
        if not _NAME.fullmatch(base):
            raise self.error(f"{base[:80]!r} is not a type name", number)
        if bound is not None and base not in STRINGS:
            raise self.error(f"only strings have a bound, {base!r} does not", number)
        limit = None if bound is None else self.count(bound[2:], number)
        if array is None:
            return FieldType(base, limit)
        inner = array[1:-1]
        if not inner:
            return FieldType(base, limit, "unbounded")
        if inner.startswith("<="):
            return FieldType(base, limit, "bounded", self.count(inner[2:], number))
        return FieldType(base, limit, "fixed", self.count(inner, number))

    def count(self, text: str, number: int) -> int:
        """An array or string size."""
        if not _COUNT.fullmatch(text) or not 0 < int(text) <= MAX_ARRAY:
            raise self.error(f"size {text[:40]!r} is not a whole number from 1 to {MAX_ARRAY}", number)
        return int(text)

    def constant(self, type_: FieldType, name: str, text: str, number: int) -> Constant:
        """A constant; ROS1 string constants run to the end of the line, whatever is in it."""
        if type_.array or type_.base not in BASES - TIMES:
            raise self.error(f"constant {name!r} must have a plain type", number)
        if type_.base in STRINGS:
            return Constant(name, type_.base, text if self.ros == 1 else self.string(text, number))
        return Constant(name, type_.base, self.number(type_.base, text.partition("#")[0].rstrip(" \t"), number))

    def string(self, text: str, number: int) -> str:
        """A ROS 2 string value: quoted, or bare up to a comment."""
        if text[:1] not in ("'", '"'):
            return text.partition("#")[0].rstrip(" \t")
        match = _QUOTED.match(text)
        after = text[match.end() :].lstrip(" \t") if match else ""
        if match is None or (after and after[0] != "#"):
            raise self.error(f"string value is not closed: {text[:80]!r}", number)
        return match[match.lastindex or 1]

    def number(self, base: str, text: str, number: int) -> bool | int | float:
        """A literal of a bool, integer or float type."""
        if base == "bool" and text.lower() in ("true", "false", "0", "1"):
            return text.lower() in ("true", "1")
        if base in INTEGERS and (match := _INTEGER.fullmatch(text)):
            digits = next(
                (int(part, radix) for part, radix in zip(match.groups()[1:], (16, 2, 8, 10), strict=True) if part)
            )
            return -digits if match[1] == "-" else digits
        if base in FLOATS and _FLOAT.fullmatch(text):
            return float(text)
        raise self.error(f"{text[:80]!r} is not a value of type {base}", number)

    def default(self, type_: FieldType, text: str, number: int) -> None:
        """Check a ROS 2 default value; it has no effect on the wire."""
        if type_.base not in BASES - TIMES:
            raise self.error(f"a field of type {type_.base!r} cannot have a default", number)
        if not type_.array:
            if type_.base in STRINGS:
                self.string(text, number)
            else:
                self.number(type_.base, text.partition("#")[0].rstrip(" \t"), number)
            return
        match = _ARRAY.fullmatch(text)
        if match is None:
            raise self.error(f"array default is malformed: {text[:80]!r}", number)
        if type_.base not in STRINGS:
            for item in match[1].split(",") if match[1] else ():
                self.number(type_.base, item.strip(" \t"), number)

    def reach(self, name: str, line: int, path: list[str], known: dict[str, tuple[int, int]]) -> tuple[int, int]:
        """Resolve ``name`` and what it refers to; (nesting levels below, leaf columns) of it, memoised in ``known``."""
        if name in path:
            raise self.error(f"{name} contains itself", line)
        depth, leaves = known.get(name, (0, 0))
        if len(path) + depth > MAX_DEPTH:
            raise self.error(f"messages are nested deeper than the limit of {MAX_DEPTH}", line)
        if name in known:
            return depth, leaves
        section = self.section(name)
        seen: set[str] = set()
        fields = []
        path.append(name)
        for item, at in zip(section.fields, section.lines or [line] * len(section.fields), strict=True):
            if item.name in seen:
                raise self.error(f"field {item.name!r} of {name} is defined twice", at)
            seen.add(item.name)
            base = self.resolve(name, item, at)
            below, count = (0, 2 if base in TIMES else 1) if base in BASES else self.reach(base, at, path, known)
            depth, leaves = max(depth, below + (base not in BASES)), leaves + count
            if leaves > MAX_LEAVES:
                raise self.error(f"more than {MAX_LEAVES:,} leaf columns, the limit", at)
            fields.append(item if base == item.type.base else evolve(item, type=evolve(item.type, base=base)))
        path.pop()
        self.types[name] = MessageType(name, tuple(fields), tuple(section.constants))
        known[name] = depth, max(leaves, 1)
        return known[name]

    def section(self, name: str) -> _Section:
        """The section of a resolved name."""
        if name in self.sections:
            return self.sections[name]
        return _Section(name, list(_BUILTINS[self.ros][name].fields))

    def resolve(self, owner: str, item: Field, line: int) -> str:
        """The base or full type name that a field of ``owner`` refers to."""
        written = item.type.base
        if written in BASES:
            return written
        for name in self.candidates(owner, written):
            if self.ros == 2 and name in _BUILTIN_TIMES and self.is_plain_time(name):
                return _BUILTIN_TIMES[name]
            if name in self.sections or name in _BUILTINS[self.ros]:
                return name
        raise self.error(f"type {written!r} of field {item.name!r} is not defined in the text", line)

    def is_plain_time(self, name: str) -> bool:
        """Whether ``name`` has the well-known layout (a text may define it otherwise)."""
        return name not in self.sections or tuple(self.sections[name].fields) == _TIME

    def candidates(self, owner: str, written: str) -> list[str]:
        """Full names ``written`` may mean inside ``owner``, best first: own package before ``std_msgs``."""
        package, _, rest = written.partition("/")
        if rest:
            return [written] if "/" in rest else [f"{package}/{kind}/{rest}" for kind in ("msg", "srv", "action")]
        folder = owner.rpartition("/")[0]
        own = [f"{folder}/{written}", f"{folder.partition('/')[0]}/msg/{written}"] if folder else [written]
        if written != "Header":
            return own
        return [_HEADER] if self.ros == 1 else [*own, _HEADER]
