"""JSON values to typed objects and back: a strict cattrs converter.

Strategy: cattrs dispatches on the type; every hook here refuses instead of coercing (``true`` is no int, ``"3"`` is no
int, but an int is a float) and reports what it refuses as issues with a path.  Containers and attrs classes structure
all their members before they raise, so that one error carries every issue.  Unknown members are refused by name.
"""

import base64
import json
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter

from hephaes_rpc.errors import ParamsError

T = TypeVar("T")
SAFE_INTEGER = 2**53
INT64 = 2**63

_INTEGER = re.compile(r"-?[0-9]{1,19}")

Path = tuple[str | int, ...]


class Issue(NamedTuple):
    """One thing that is wrong with a value; ``guess`` is what was probably meant."""

    path: Path
    message: str
    expected: str
    got: str
    guess: str | None = None


class _InvalidError(Exception):
    def __init__(self, issues: list[Issue]) -> None:
        super().__init__(issues)
        self.issues = issues


class Member(NamedTuple):
    """One field of an attrs class as it travels: its name on the wire may differ from the attribute's."""

    attribute: Any
    name: str
    type: Any
    is_ns: bool
    free: bool

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.attribute.default is attrs.NOTHING


def structure(value: Any, cls: type[T], path: str = "") -> T:
    """``value`` as an instance of ``cls`` (attrs class or any type expression); raises ParamsError with every error."""
    try:
        return _CONVERTER.structure(value, cls)
    except _InvalidError as error:
        raise ParamsError([_wire_issue(issue, path) for issue in error.issues]) from None


def issues_of(value: Any, cls: Any) -> list[Issue]:
    """Everything that keeps ``value`` from being an instance of ``cls``."""
    try:
        _CONVERTER.structure(value, cls)
    except _InvalidError as error:
        return error.issues
    return []


def _wire_issue(issue: Issue, prefix: str) -> dict[str, Any]:
    path = prefix
    for part in issue.path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return {"path": path, "message": issue.message, "expected": issue.expected, "got": issue.got}


@cache
def members(cls: Any) -> tuple[Member, ...]:
    """The fields of an attrs class that travel."""
    attrs.resolve_types(cls)
    found = []
    for attribute in attrs.fields(cls):
        if attribute.init:
            name = attribute.metadata.get("wire", attribute.name)
            is_ns = name.endswith("_ns") and _mentions(attribute.type, int)
            found.append(Member(attribute, name, attribute.type, is_ns, _is_free(attribute.type)))
    return tuple(found)


def union_args(tp: Any) -> tuple[Any, ...]:
    """The members of a union type, ``(tp,)`` for any other type."""
    return get_args(tp) if get_origin(tp) in (Union, types.UnionType) else (tp,)


def _mentions(tp: Any, wanted: type) -> bool:
    return tp is wanted or any(_mentions(arg, wanted) for arg in get_args(tp))


def _is_free(tp: Any) -> bool:
    return tp in (Any, object, dict, list) or any(
        _is_free(arg) for arg in get_args(tp) if get_origin(tp) is not Literal
    )


_NAMES = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
    datetime: "ISO 8601 time",
}


def describe(tp: Any) -> str:
    """What a type expects, in words."""
    if tp in _NAMES:
        return _NAMES[tp]
    origin = get_origin(tp)
    if origin is Literal:
        return _one_of(get_args(tp))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(arg) for arg in get_args(tp)))
    if isinstance(tp, type) and issubclass(tp, Enum):
        return _one_of(member.value for member in tp)
    if origin in (list, tuple, Sequence):
        return f"list of {describe(get_args(tp)[0])}"
    return "list" if tp is list else "any value" if tp is Any else "object"


def shown(value: Any) -> str:
    """What came, in words short enough for a message."""
    if type(value) is int:
        return str(value)[:80]
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return f"list of {len(value)}"
    if isinstance(value, str) and len(value) > 60:
        return json.dumps(value[:60])[:-1] + '..."'
    return json.dumps(value)[:80]


def _refuse(value: Any, expected: str, message: str | None = None, guess: str | None = None) -> _InvalidError:
    got = shown(value)
    return _InvalidError([Issue((), message or f"expected {expected}, got {got}", expected, got, guess)])


def _below(part: str | int, issues: list[Issue]) -> list[Issue]:
    return [issue._replace(path=(part, *issue.path)) for issue in issues]


def _int(value: Any, _: Any) -> int:
    if type(value) is not int:
        raise _refuse(value, "integer")
    if not -INT64 <= value < INT64:
        raise _refuse(value, "integer of 64 bits")
    return value


def _float(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise _refuse(value, "number")
    try:
        return float(value)
    except OverflowError:
        raise _refuse(value, "number that a double can hold") from None


def _exactly(wanted: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not wanted:
            raise _refuse(value, describe(wanted))
        return value

    return hook


def _datetime(value: Any, _: Any) -> datetime:
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _refuse(value, describe(datetime))


def _literal(value: Any, tp: Any) -> Any:
    return _choose(value, {choice: choice for choice in get_args(tp)})


def _enum(value: Any, tp: type[Enum]) -> Any:
    return _choose(value, {member.value: member for member in tp})


def _choose(value: Any, choices: Mapping[Any, Any]) -> Any:
    for choice, meaning in choices.items():
        if type(choice) is type(value) and choice == value:
            return meaning
    expected = _one_of(choices)
    guess = closest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else None
    hint = f"; did you mean {json.dumps(guess)}?" if guess else ""
    raise _refuse(value, expected, f"expected {expected}, got {shown(value)}{hint}", guess)


def _one_of(choices: Iterable[Any]) -> str:
    return "one of " + ", ".join(json.dumps(choice) for choice in choices)


def closest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that ``word`` was probably meant to be."""
    import difflib

    return next(iter(difflib.get_close_matches(word[:100], choices, n=1)), None)


def _list(value: Any, tp: Any) -> Any:
    if type(value) is not list:
        raise _refuse(value, describe(tp))
    item_type = (get_args(tp) or (Any,))[0]
    items: list[Any] = []
    issues: list[Issue] = []
    for index, item in enumerate(value):
        try:
            items.append(_CONVERTER.structure(item, item_type))
        except _InvalidError as error:
            issues += _below(index, error.issues)
    if issues:
        raise _InvalidError(issues)
    return tuple(items) if get_origin(tp) is tuple else items


def _mapping(value: Any, tp: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _refuse(value, "object")
    item_type = (get_args(tp) or (str, Any))[1]
    items: dict[str, Any] = {}
    issues: list[Issue] = []
    for key, item in value.items():
        try:
            items[key] = _CONVERTER.structure(item, item_type)
        except _InvalidError as error:
            issues += _below(key, error.issues)
    if issues:
        raise _InvalidError(issues)
    return items


def _json_kind(tp: Any) -> tuple[type, ...]:
    """The Python types that JSON values of a type arrive as."""
    origin = get_origin(tp) or tp
    if tp in (Any, object):
        return (type(None), bool, int, float, str, list, dict)
    if origin is Literal:
        return tuple({type(choice) for choice in get_args(tp)})
    if isinstance(origin, type) and issubclass(origin, Enum):
        return tuple({type(member.value) for member in origin})
    if origin is float:
        return (int, float)
    if origin in (list, tuple, Sequence):
        return (list,)
    if origin is datetime:
        return (str,)
    return (origin,) if origin in (int, str, bool, type(None)) else (dict,)


def _union(value: Any, tp: Any) -> Any:
    fitting = [arg for arg in get_args(tp) if type(value) in _json_kind(arg)]
    classes = [arg for arg in fitting if attrs.has(arg)]
    if len(classes) > 1:
        fitting = [_tagged(value, classes)]
    if not fitting:
        raise _refuse(value, describe(tp))
    failure: _InvalidError | None = None
    for arg in fitting:
        try:
            return _CONVERTER.structure(value, arg)
        except _InvalidError as error:
            failure = failure or error
    if len(fitting) > 1:
        raise _refuse(value, describe(tp))
    assert failure is not None
    raise failure


def _tagged(value: dict[str, Any], classes: Sequence[Any]) -> Any:
    """The class whose literal member has the value that came."""
    tag = union_tag(classes)
    choices = {choice: cls for cls in classes for m in members(cls) if m.name == tag for choice in get_args(m.type)}
    if tag not in value:
        raise _InvalidError([_missing(tag, _one_of(choices))])
    try:
        return _choose(value[tag], choices)
    except _InvalidError as error:
        raise _InvalidError(_below(tag, error.issues)) from None


def union_tag(classes: Sequence[Any]) -> str:
    """The name of the literal member that tells attrs classes of a union apart."""
    tables = [{m.name: m.type for m in members(cls) if get_origin(m.type) is Literal} for cls in classes]
    for name in tables[0]:
        choices = [choice for table in tables for choice in get_args(table.get(name))]
        if all(name in table for table in tables) and len(set(choices)) == len(choices):
            return name
    raise TypeError(f"nothing tells {', '.join(cls.__name__ for cls in classes)} apart")


def _missing(name: str, expected: str) -> Issue:
    return Issue((name,), f"{name} is missing: expected {expected}", expected, "nothing")


def _attrs_hook(cls: Any) -> Callable[[Any, Any], Any]:
    table = members(cls)
    names = [member.name for member in table]

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _refuse(value, "object")
        left = dict(value)
        given: dict[str, Any] = {}
        issues: list[Issue] = []
        for member in table:
            try:
                if member.is_ns and f"{member.name}_str" in left:
                    _take_text(left, member.name)
                if member.name in left:
                    given[member.attribute.alias] = _CONVERTER.structure(left.pop(member.name), member.type)
                elif member.required:
                    issues.append(_missing(member.name, describe(member.type)))
            except _InvalidError as error:
                issues += _below(member.name, error.issues)
        issues += [_unknown(key, left[key], names) for key in left]
        issues += _refusals(table, given)
        if issues:
            raise _InvalidError(issues)
        try:
            return cls(**given)
        except (ValueError, TypeError) as error:
            raise _refuse(value, "object", str(error)) from None

    return hook


def _take_text(left: dict[str, Any], name: str) -> None:
    """Put the exact integers of ``<name>_str`` in the place of ``name``."""
    text = left.pop(f"{name}_str")
    exact = [_from_text(item) for item in text] if isinstance(text, list) else _from_text(text)
    if name in left and json.dumps(left[name]) != json.dumps(exact):
        raise _refuse(text, f"the same value as {name}")
    left[name] = exact


def _from_text(text: Any) -> int | None:
    if text is None:
        return None
    if not isinstance(text, str) or _INTEGER.fullmatch(text) is None:
        raise _refuse(text, "integer as text")
    return int(text)


def _unknown(key: str, value: Any, names: list[str]) -> Issue:
    guess = closest(key, names)
    hint = f"; did you mean {guess}?" if guess else ""
    expected = "one of " + ", ".join(names) if names else "no members"
    return Issue((key,), f"{shown(key)} is not known here{hint}", expected, shown(value), guess)


def _refusals(table: tuple[Member, ...], given: Mapping[str, Any]) -> list[Issue]:
    """What the validators of the class have against the given values."""
    issues = []
    for member in table:
        attribute = member.attribute
        if attribute.validator is None or attribute.alias not in given:
            continue
        value = given[attribute.alias]
        try:
            attribute.validator(None, attribute, value)
        except (ValueError, TypeError) as refusal:
            message = str(refusal.args[0] if refusal.args else refusal)
            issues.append(Issue((member.name,), message, _constraint(member, message), shown(value)))
    return issues


def _constraint(member: Member, message: str) -> str:
    """``'limit' must be >= 1: 0`` as ``integer, must be >= 1``."""
    _, must, rest = message.partition("must ")
    return f"{describe(member.type)}, {must}{rest.rpartition(': ')[0] or rest}" if must else describe(member.type)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False, forbid_extra_keys=True)
    hooks: list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]] = [
        (lambda tp: tp in (Any, object), lambda value, _: value),
        (lambda tp: isinstance(tp, type) and issubclass(tp, Enum), _enum),
        (lambda tp: get_origin(tp) is Literal, _literal),
        (lambda tp: (get_origin(tp) or tp) in (list, tuple, Sequence), _list),
        (lambda tp: (get_origin(tp) or tp) in (dict, Mapping), _mapping),
        (lambda tp: get_origin(tp) in (Union, types.UnionType), _union),
    ]
    for predicate, hook in hooks:
        converter.register_structure_hook_func(predicate, hook)
    for scalar, hook in ((int, _int), (float, _float), (datetime, _datetime)):
        converter.register_structure_hook(scalar, hook)
    for kind in (str, bool, type(None)):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook_factory(lambda tp: attrs.has(tp), _attrs_hook)
    return converter


_CONVERTER = _make_converter()


class Verbatim(dict[str, Any]):
    """A JSON object that is sent as it is: its integers are not tagged."""


def unstructure(value: Any, tp: Any = Any) -> Any:
    """``value`` (attrs objects, containers, scalars) as JSON values; raises TypeError for anything else.

    Every field is written; datetimes as ISO 8601 with ``Z``; integers of fields named ``*_ns`` (lists of them too) also
    as text under ``*_ns_str``; bytes as ``{"__bytes__": true, "encoding": "base64", "value": ...}``.  In free-form
    values (fields of type Any or dict[str, Any], and ``value`` itself when ``tp`` is free-form) integers beyond 2^53
    are ``{"__int64__": "..."}``, non-finite floats ``{"__float__": "nan" | "inf" | "-inf"}``; a non-finite float where
    a number is declared raises ValueError.
    """
    return _out(value, free=tp is Any or _is_free(tp))


def _out(value: Any, *, free: bool) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return {"__int64__": str(value)} if free and abs(value) > SAFE_INTEGER else value
    if kind is float:
        if math.isfinite(value):
            return value
        if free:
            return {"__float__": str(value)}
        raise ValueError(f"{value} is no JSON number")
    if kind is dict:
        return {_key(key): _out(item, free=free) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_out(item, free=free) for item in value]
    if hasattr(kind, "__attrs_attrs__"):
        return _object(value)
    return _other(value, free)


def _object(value: Any) -> dict[str, Any]:
    members_out: dict[str, Any] = {}
    cls: Any = type(value)
    for attribute, name, _, is_ns, free in members(cls):
        item = getattr(value, attribute.name)
        members_out[name] = item if item is None or type(item) is str else _out(item, free=free)
        if is_ns:
            members_out[f"{name}_str"] = _text(item)
    return members_out


def _text(item: Any) -> Any:
    return None if item is None else [_text(each) for each in item] if isinstance(item, list | tuple) else str(item)


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise TypeError(f"{type(key).__name__} is no key of a JSON object")
    return key


def _other(value: Any, free: bool) -> Any:
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"__bytes__": True, "encoding": "base64", "value": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {_key(key): _out(item, free=free) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def iso(time: datetime) -> str:
    """ISO 8601 in UTC with ``Z``, microseconds, the fraction dropped when zero; a time without zone is UTC."""
    utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat() + "Z"


def encode(value: Any) -> bytes:
    """JSON values as strict UTF-8 JSON; raises TypeError or ValueError for what JSON cannot say."""
    import orjson

    try:
        body: bytes = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
        return body
    except TypeError:  # integers beyond 64 bits and lone surrogates, or no JSON at all
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
