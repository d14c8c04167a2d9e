"""The OpenRPC document of the registered methods: JSON Schema (draft 7) of their attrs classes.

Strategy: the classes that ``serde`` structures and unstructures are walked by the same ``members``, so the document
says what the server does.  What comes in and what goes out differ (members with a default may be left out of params,
results have all of them; an ``*_ns`` integer or its ``*_ns_str`` text is enough in params), hence two renderings of a
class: ``Name`` for results, ``NameInput`` for params.
"""

import inspect
import json
import re
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

import attrs

from hephaes_rpc import __version__
from hephaes_rpc.errors import KINDS
from hephaes_rpc.glossary import MEANINGS
from hephaes_rpc.registry import BEFORE_INITIALIZE, REGISTRY, Lane, Method, Notification, Registry
from hephaes_rpc.serde import SAFE_INTEGER, Member, members, union_args, union_tag, unstructure

VERSION = "1.3.2"
EXAMPLES = Path(__file__).with_name("examples.json")
TITLE = "Hephaes RPC"
TOKEN: Any = str | int
INTEGER_TEXT = {"type": "string", "pattern": "^-?[0-9]+$"}
BYTES = {
    "type": "object",
    "properties": {"__bytes__": {"const": True}, "encoding": {"const": "base64"}, "value": {"type": "string"}},
    "required": ["__bytes__", "encoding", "value"],
}
_SCALARS: dict[Any, dict[str, Any]] = {
    Any: {},
    object: {},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    bytes: BYTES,
    type(None): {"type": "null"},
    None: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    dict: {"type": "object"},
    list: {"type": "array"},
}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ISSUE = {
    "type": "object",
    "properties": dict.fromkeys(("path", "message", "expected", "got"), _TEXT),
    "required": ["path", "message", "expected", "got"],
}
_DATA: dict[str, dict[str, Any]] = {
    "asset_ids": _TEXTS,
    "did_you_mean": {"type": ["string", "null"]},
    "known": _TEXTS,
    "errors": {"type": "array", "items": _ISSUE},
    "expected_offset": {"type": "integer"},
    "jobs": {"type": "object", "additionalProperties": {"type": "integer"}},
    "revision_number": {"type": "integer"},
}
"""Members of the data of errors that are no text."""
_COMMON_ERRORS = ("not_initialized", "invalid_request", "cancelled", "bug")


@cache
def document(registry: Registry = REGISTRY) -> dict[str, Any]:
    """The OpenRPC document; the lifecycle first, then resources by name, what the sidecar sends last."""
    schemas = Schemas()
    examples = recorded() if registry is REGISTRY else {}
    methods = [_method(method, schemas) for method in sorted(registry.methods.values(), key=_place)]
    sent = sorted(registry.outgoing.values(), key=_place)
    methods += [_outgoing(notification, schemas) for notification in sent]
    for method in methods:
        method |= _examples(examples.get(method["name"], []))
    return {
        "openrpc": VERSION,
        "info": {
            "title": TITLE,
            "version": __version__,
            "description": "Robot logs in, training datasets out: JSON-RPC 2.0 on stdin and stdout, framed as in LSP.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": methods,
        "components": {
            "schemas": dict(sorted((schemas.components | _error_schemas()).items())),
            "errors": {
                kind: {"code": known.code, "message": known.meaning, "data": {"kind": kind}}
                for kind, known in KINDS.items()
            },
        },
        "x-error-data": {"$ref": "#/components/schemas/ErrorData"},
    }


def _place(entry: Method | Notification) -> str:
    """What to sort by, so that the order does not depend on that of imports; the lifecycle keeps its own."""
    return entry.name if "/" in entry.name and entry.name[0] != "$" else ""


@cache
def recorded() -> dict[str, list[dict[str, Any]]]:
    """Calls recorded from a real sidecar, by method: name, params, and result or error where there is one."""
    calls: dict[str, list[dict[str, Any]]] = json.loads(EXAMPLES.read_bytes())
    return calls


def _examples(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Recorded calls as OpenRPC pairings; those that ended in an error, which pairings cannot say, stand beside."""
    pairings = [
        {
            "name": call["name"],
            "params": [{"name": name, "value": value} for name, value in call["params"].items()],
            **({"result": {"name": "result", "value": call["result"]}} if "result" in call else {}),
        }
        for call in calls
        if "error" not in call
    ]
    failures = [call for call in calls if "error" in call]
    return {**({"examples": pairings} if pairings else {}), **({"x-error-examples": failures} if failures else {})}


def error_data_name(kind: str) -> str:
    """The name of the schema of an error's data."""
    return "".join(word.capitalize() for word in kind.split("_")) + "Data"


def _error_schemas() -> dict[str, dict[str, Any]]:
    """The data of every kind of error, and the choice among them by ``kind``."""
    found = {}
    for kind, known in KINDS.items():
        own = {name: _DATA.get(name, _TEXT) for name in known.always}
        found[error_data_name(kind)] = {
            "type": "object",
            "description": f"Data of an error {known.code}: {known.meaning}; other members may stand beside.",
            "properties": {"kind": {"type": "string", "enum": [kind]}, "hint": _TEXT, **own},
            "required": ["kind", *own],
        }
    choice = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in found]}
    return {"ErrorData": {"description": "Data of an error; `kind` tells which.", **choice}, **found}


def _method(method: Method, schemas: "Schemas") -> dict[str, Any]:
    params = schemas.descriptors(method.params) if method.params is not None else []
    if method.progress:
        doc = {"description": "progress of the request is reported under this token by $/progress"}
        params.append({"name": "workDoneToken", "required": False, "schema": schemas.of(TOKEN, inward=True), **doc})
    entry = _entry(method.name, method.summary, params)
    if method.notification:
        return {**entry, "x-direction": "client-to-server"}
    kinds = dict.fromkeys((*(("invalid_params",) if params else ()), *_COMMON_ERRORS, *method.errors))
    if method.lane is Lane.FAST:
        kinds.pop("cancelled")
    if method.name in BEFORE_INITIALIZE:
        kinds.pop("not_initialized")
    return {
        **entry,
        "result": {"name": "result", "required": True, "schema": schemas.of(method.result, inward=False)},
        "errors": [{"$ref": f"#/components/errors/{kind}"} for kind in kinds],
        "x-progress": method.progress,
    }


def _outgoing(notification: Notification, schemas: "Schemas") -> dict[str, Any]:
    params = schemas.descriptors(notification.params, inward=False) if notification.params is not None else []
    entry = {**_entry(notification.name, notification.summary, params), "x-direction": "server-to-client"}
    if not notification.request:
        return entry
    result = {"name": "result", "required": True, "schema": schemas.of(notification.result, inward=True)}
    return {**entry, "result": result, "x-request": True}


def _entry(name: str, text: str, params: list[dict[str, Any]]) -> dict[str, Any]:
    summary, _, description = text.replace("``", "`").partition("\n")
    more = {"description": description.strip()} if description.strip() else {}
    tags = {"tags": [{"name": name.partition("/")[0]}]} if "/" in name and name[0] != "$" else {}
    return {"name": name, "summary": summary, **more, **tags, "paramStructure": "by-name", "params": params}


class Schemas:
    """JSON Schemas of types; attrs classes become ``components``, once each.

    Args:
        base: Where the components will stand in the document.
        input_suffix: Tells the rendering of a class that comes in from that of one that goes out.
        has_text_twins: Integers named ``*_ns`` may be given as text too.
    """

    def __init__(
        self, base: str = "#/components/schemas/", input_suffix: str = "Input", has_text_twins: bool = True
    ) -> None:
        self._base = base
        self._input_suffix = input_suffix
        self._has_text_twins = has_text_twins
        self.components: dict[str, dict[str, Any]] = {}
        self._classes: dict[str, Any] = {}

    def of(self, tp: Any, *, inward: bool) -> dict[str, Any]:
        """The schema of a type expression."""
        if (known := _scalar(tp)) is not None:
            return dict(known)
        origin, args = get_origin(tp), get_args(tp)
        if origin is Literal:
            return _enum(args)
        if isinstance(tp, type) and issubclass(tp, Enum):
            return _enum(tuple(member.value for member in tp))
        if isinstance(tp, type) and issubclass(tp, PurePath):
            return {"type": "string"}
        if attrs.has(tp):
            return self._reference(tp, inward)
        if len(union_args(tp)) > 1:
            return self._union(union_args(tp), inward)
        if origin is dict:
            value = self.of(args[1], inward=inward)
            return {"type": "object", **({"additionalProperties": value} if value else {})}
        if origin in (list, tuple):
            item = self.of(args[0], inward=inward)
            return {"type": "array", **({"items": item} if item else {})}
        raise TypeError(f"no JSON Schema for {tp!r}")

    def descriptors(self, cls: Any, *, inward: bool = True) -> list[dict[str, Any]]:
        """The members of a params class as OpenRPC content descriptors, required ones first."""
        found = []
        docs = {name: text for each in reversed(cls.__mro__) for name, text in _documented(each).items()}
        for name, member, schema, required in self._properties(cls, inward):
            text = _meaning(name, member, docs)
            doc = {"description": text} if text else {}
            found.append({"name": name, "required": required, **doc, "schema": schema})
        return sorted(found, key=lambda descriptor: not descriptor["required"])

    def _union(self, args: tuple[Any, ...], inward: bool) -> dict[str, Any]:
        schemas = [self.of(arg, inward=inward) for arg in args]
        if inward and len(classes := [arg for arg in args if attrs.has(arg)]) > 1:
            told = {"required": [union_tag(classes)]}
            schemas = [{"allOf": [each, told]} if "$ref" in each else each for each in schemas]
        plain = [schema for schema in schemas if schema.keys() == {"type"}]
        if len(plain) == len(schemas):
            return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}
        return {} if {} in schemas else {"anyOf": schemas}

    def _reference(self, cls: Any, inward: bool) -> dict[str, Any]:
        name = f"{cls.__name__}{self._input_suffix}" if inward else cls.__name__
        if self._classes.setdefault(name, cls) is not cls:
            raise TypeError(f"two classes would be called {name}: {cls} and {self._classes[name]}")
        if name not in self.components:
            self.components[name] = {}  # ends a recursion
            self.components[name] = self._object(cls, inward)
        return {"$ref": self._base + name}

    def _object(self, cls: Any, inward: bool) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required: list[str] = []
        either: list[dict[str, Any]] = []
        docs = _documented(cls)
        for name, member, schema, is_required in self._properties(cls, inward):
            doc = _meaning(name, member, docs)
            properties[name] = {**schema, "description": doc} if doc and "$ref" not in schema else schema
            if is_required:
                required.append(name)
            elif inward and member.required and name == member.name:
                either.append({"anyOf": [{"required": [name]}, {"required": [f"{name}_str"]}]})
        return {
            "type": "object",
            "description": (cls.__doc__ or "").strip().partition("\n")[0],
            "properties": properties,
            **({"required": required} if required else {}),
            **({"allOf": either} if either else {}),
            **({"additionalProperties": False} if inward else {}),
        }

    def _properties(self, cls: Any, inward: bool) -> list[tuple[str, Member, dict[str, Any], bool]]:
        """Name, member, schema and whether it must be there, for every member and every text twin of an integer."""
        found = []
        for member in members(cls):
            schema = self.of(member.type, inward=inward)
            schema = _constrained(schema, member.attribute.validator)
            if inward and (default := _default(member.attribute)) is not attrs.NOTHING and "$ref" not in schema:
                schema = {**schema, "default": default}
            has_twin = member.is_ns and self._has_text_twins
            always = not inward or (member.required and not has_twin)
            found.append((member.name, member, schema, always))
            if has_twin:
                found.append((f"{member.name}_str", member, _text_twin(member.type), always))
        return found


def _meaning(name: str, member: Member, docs: dict[str, str]) -> str | None:
    """What is said of a member: by itself, by its class, by the glossary."""
    text: str | None = member.attribute.metadata.get("doc", docs.get(member.attribute.name))
    if text is None:
        twin = name.removesuffix("_str") if member.is_ns else name
        text = MEANINGS.get(twin)
    return text


def _documented(cls: Any) -> dict[str, str]:
    """What the ``Args`` of a class's docstring say of its members."""
    _, _, text = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def _scalar(tp: Any) -> dict[str, Any] | None:
    try:
        return _SCALARS.get(tp)
    except TypeError:  # unhashable, hence no scalar
        return None


def _enum(values: tuple[Any, ...]) -> dict[str, Any]:
    text = {"type": "string"} if all(isinstance(value, str) for value in values) else {}
    return {**text, "enum": list(values)}


def _text_twin(tp: Any) -> dict[str, Any]:
    """The schema of ``*_ns_str`` beside an ``*_ns`` of that type."""
    twins: list[dict[str, Any]] = []
    for arg in union_args(tp):
        is_list = get_origin(arg) in (list, tuple)
        twin = {"type": "array", "items": INTEGER_TEXT} if is_list else INTEGER_TEXT
        twins.append({"type": "null"} if arg is type(None) else twin)
    return twins[0] if len(twins) == 1 else {"anyOf": twins}


def _default(attribute: Any) -> Any:
    """The default of a member as JSON, NOTHING when it has none that can be shown."""
    default = attribute.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        if default.takes_self:
            return attrs.NOTHING
        default = default.factory()
    return default if default is attrs.NOTHING else unstructure(default)


_BOUNDS = {">=": "minimum", "<=": "maximum", ">": "exclusiveMinimum", "<": "exclusiveMaximum"}


def _constrained(schema: dict[str, Any], validator: Any) -> dict[str, Any]:
    """``schema`` narrowed by what an attrs validator asks for; validators of other kinds narrow nothing."""
    limits = _limits(validator)
    if not limits:
        return schema
    if "anyOf" in schema:
        return {"anyOf": [each if each == {"type": "null"} else {**each, **limits} for each in schema["anyOf"]]}
    return {**schema, **limits}


def _limits(validator: Any) -> dict[str, Any]:
    kind = type(validator).__name__
    limits: dict[str, Any] = {}
    if kind == "_AndValidator":
        for each in validator._validators:
            limits |= _limits(each)
    elif kind == "_OptionalValidator":
        limits = _limits(validator.validator)
    elif kind == "_NumberValidator" and abs(validator.bound) <= SAFE_INTEGER:
        limits = {_BOUNDS[validator.compare_op]: validator.bound}
    elif kind == "_MinLengthValidator":
        limits = {"minLength": validator.min_length}
    elif kind == "_MaxLengthValidator":
        limits = {"maxLength": validator.max_length}
    elif kind == "_MatchesReValidator":
        limits = {"pattern": validator.pattern.pattern}
    elif kind == "_InValidator":
        limits = {"enum": list(validator.options)}
    elif kind == "_DeepIterable" and (inner := _limits(validator.member_validator)):
        limits = {"items": inner}
    return limits
