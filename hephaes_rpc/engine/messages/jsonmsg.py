"""JSON messages: a JSON Schema, or a look at the messages, becomes a definition; messages become rows of it.

Strategy: both notations are read into one tree of shapes, which is then named as message types.  An object of the
schema that lists no properties, and everything where there is no schema, is inferred from sampled messages.  Numbers
are float64, integers int64, base64 strings (``contentEncoding``) bytes; what has no single type (mixed values, objects
with too many keys, alternatives) is kept as its JSON text in a string.  A key that is absent or null is NaN, 0, false
or empty; a key that the schema does not list has no column; a key that no sampled message had makes a message that
cannot be decoded, unless an object of its own schema holds it.
"""

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import orjson
from attrs import define, field, frozen

from hephaes_rpc.engine.messages.limits import check_limits
from hephaes_rpc.engine.messages.msgdef import (
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_TEXT_CHARS,
    Definition,
    Field,
    FieldType,
    MessageType,
)
from hephaes_rpc.engine.messages.picking import MisfitError, Pick, every
from hephaes_rpc.errors import LogError

MAX_KEYS = 1000
MAX_NODES = 8 * MAX_LEAVES
VALUE = "value"
Kind = Literal["number", "integer", "boolean", "string", "bytes", "text", "list", "object", "nothing"]
_PLAIN: dict[Kind, str] = {
    "number": "float64",
    "integer": "int64",
    "boolean": "bool",
    "string": "string",
    "text": "string",
    "nothing": "string",
}
_SCHEMA_TYPES: dict[str, Kind] = {"number": "number", "integer": "integer", "boolean": "boolean", "string": "string"}
Convert = Callable[[Any], Any]


@define(eq=False)
class Shape:
    """What a JSON value looks like.

    Args:
        keys: Of an object.
        items: Of a list; None where none was seen.
        closed: Whether an object's other keys have been looked for in samples only.
    """

    kind: Kind
    keys: "dict[str, Shape]" = field(factory=dict)
    items: "Shape | None" = None
    closed: bool = False


@frozen
class JsonDefinition(Definition):
    """A definition made of JSON, with the shape behind it."""

    shape: Shape = field(factory=lambda: Shape("object"), eq=False)


def json_definition(type_name: str, schema: bytes, samples: Callable[[], Sequence[bytes]]) -> JsonDefinition:
    """The definition of a schema (may be empty) and, where it leaves something open, of messages.

    Raises:
        LogError: The schema is no JSON Schema of a message, or nothing is known of it at all.
    """
    shown = f"JSON Schema of {type_name[:200]!a}"
    shape = _of_schema(shown, schema) if schema.strip() else Shape("nothing")
    if _is_open(shape):
        values = [_loads(payload) for payload in samples()]
        shape = _filled(shape, [value for value in values if value is not _NO_JSON])
    if shape.kind == "nothing":
        raise LogError("unsupported", f"{shown}: neither it nor a message says what the messages are")
    if shape.kind != "object":
        shape = Shape("object", {VALUE: shape})
    root = type_name or "json"
    types: dict[str, MessageType] = {}
    _name(shape, root, types)
    definition = JsonDefinition(root, types, 2, shape)
    check_limits(definition, shown)
    return definition


def json_row(definition: JsonDefinition, pick: Pick | None) -> Callable[[bytes], Any]:
    """A function that makes the row of a message; raises MisfitError."""
    wrapped = set(definition.shape.keys) == {VALUE} and not definition.shape.closed
    convert = _object(definition.shape, pick)

    def row(payload: bytes) -> Any:
        value = _loads(payload)
        if value is _NO_JSON:
            raise MisfitError("json")
        if wrapped and not (isinstance(value, dict) and VALUE in value):
            value = {VALUE: value}
        return convert(value)

    return row


# Schemas --------------------------------------------------------------------------------------------------------------


def _of_schema(shown: str, schema: bytes) -> Shape:
    if len(schema) > MAX_TEXT_CHARS:
        raise LogError("bad_input", f"{shown}: it has {len(schema):,} bytes, more than the limit of {MAX_TEXT_CHARS:,}")
    document = _loads(schema)
    if not isinstance(document, dict):
        raise LogError("bad_input", f"{shown} is no JSON object")
    return _SchemaReader(shown, document).shape(document, ())


@define
class _SchemaReader:
    shown: str
    document: dict[str, Any]
    seen: int = 0

    def shape(self, schema: Any, path: tuple[str, ...]) -> Shape:
        """The shape of what a schema allows; ``path`` holds the references being followed."""
        self.seen += 1
        if self.seen > MAX_NODES:
            raise LogError("bad_input", f"{self.shown}: more than {MAX_LEAVES:,} leaf columns, the limit")
        if len(path) > MAX_DEPTH:
            raise LogError("bad_input", f"{self.shown}: it is nested deeper than the limit of {MAX_DEPTH}")
        if not isinstance(schema, dict):
            return Shape("text")
        if isinstance(reference := schema.get("$ref"), str):
            if reference in path:
                raise LogError("unsupported", f"{self.shown}: {reference[:100]} contains itself")
            return self.shape(self.resolved(reference), (*path, reference))
        for word in ("oneOf", "anyOf"):
            if isinstance(options := schema.get(word), list) and "type" not in schema:
                return self.alternatives(options, path)
        return self.typed(schema, path)

    def resolved(self, reference: str) -> Any:
        """What a reference inside the document points at."""
        found: Any = self.document
        if not reference.startswith("#"):
            raise LogError("unsupported", f"{self.shown}: it refers to another document, {reference[:100]!a}")
        for part in filter(None, reference[1:].split("/")):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            raise LogError("bad_input", f"{self.shown}: {reference[:100]!a} points nowhere")
        return found

    def alternatives(self, options: list[Any], path: tuple[str, ...]) -> Shape:
        """One shape where all alternatives but null have it."""
        shapes = [self.shape(option, (*path, "")) for option in options if option != {"type": "null"}]
        found: Shape | None = None
        for shape in shapes:
            found = shape if found is None else _merged(found, shape)
        return found or Shape("text")

    def typed(self, schema: dict[str, Any], path: tuple[str, ...]) -> Shape:
        kinds = schema.get("type")
        kinds = [kind for kind in kinds if kind != "null"] if isinstance(kinds, list) else [kinds]
        if kinds == [None]:
            if "properties" in schema:
                kinds = ["object"]
            elif "const" in schema or isinstance(schema.get("enum"), list):
                return _of_values(schema.get("enum", [schema.get("const")]))
            else:
                return Shape("text")
        if sorted(map(str, kinds)) == ["integer", "number"]:
            kinds = ["number"]
        if len(kinds) != 1:
            return Shape("text")
        if kinds[0] == "string" and schema.get("contentEncoding") == "base64":
            return Shape("bytes")
        if kinds[0] in _SCHEMA_TYPES:
            return Shape(_SCHEMA_TYPES[kinds[0]])
        if kinds[0] == "array":
            items = schema.get("items")
            return Shape("list", items=self.shape(items, (*path, "")) if isinstance(items, dict) else None)
        if kinds[0] != "object":
            return Shape("text")
        properties = schema.get("properties")
        if not isinstance(properties, dict) or not properties:
            return Shape("nothing")
        return Shape("object", {name: self.shape(below, (*path, "")) for name, below in properties.items()})


# Messages -------------------------------------------------------------------------------------------------------------

_NO_JSON = object()


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _NO_JSON


def _of_value(value: Any, depth: int = 0) -> Shape:
    if isinstance(value, bool):
        return Shape("boolean")
    if isinstance(value, int):
        return Shape("integer" if -(2**63) <= value < 2**63 else "number")
    if isinstance(value, float):
        return Shape("number")
    if isinstance(value, str):
        return Shape("string")
    if value is None:
        return Shape("nothing")
    if depth > MAX_DEPTH or (isinstance(value, dict) and len(value) > MAX_KEYS):
        return Shape("text")
    if isinstance(value, list):
        items: Shape | None = None
        for item in value:
            shape = _of_value(item, depth + 1)
            items = shape if items is None else _merged(items, shape)
        return Shape("list", items=items)
    return Shape("object", {key: _of_value(below, depth + 1) for key, below in value.items()}, closed=True)


def _of_values(values: Iterable[Any]) -> Shape:
    found = Shape("nothing")
    for value in values:
        found = _merged(found, _of_value(value))
    return found


def _merged(one: Shape, other: Shape) -> Shape:
    """A shape for both."""
    if one.kind == "nothing" or other.kind == "nothing":
        return other if one.kind == "nothing" else one
    if {one.kind, other.kind} == {"integer", "number"}:
        return Shape("number")
    if one.kind != other.kind:
        return Shape("text")
    if one.kind == "list":
        if one.items is None or other.items is None:
            return Shape("list", items=one.items or other.items)
        return Shape("list", items=_merged(one.items, other.items))
    if one.kind == "object":
        keys = dict(one.keys)
        for key, shape in other.keys.items():
            keys[key] = _merged(keys[key], shape) if key in keys else shape
        if len(keys) > MAX_KEYS:
            return Shape("text")
        return Shape("object", keys, closed=one.closed and other.closed)
    return one


def _is_open(shape: Shape) -> bool:
    """Whether something is left to be inferred."""
    if shape.kind == "list":
        return shape.items is None or _is_open(shape.items)
    return shape.kind == "nothing" or any(map(_is_open, shape.keys.values()))


def _filled(shape: Shape, values: Sequence[Any]) -> Shape:
    """A shape with its open places inferred from values."""
    if shape.kind == "nothing":
        return _of_values(values)
    if shape.kind == "list":
        items = [item for value in values if isinstance(value, list) for item in value]
        return Shape("list", items=_filled(shape.items or Shape("nothing"), items))
    if shape.kind == "object":
        objects = [value for value in values if isinstance(value, dict)]
        keys = {
            key: _filled(below, [value[key] for value in objects if key in value]) if _is_open(below) else below
            for key, below in shape.keys.items()
        }
        return Shape("object", keys, closed=shape.closed)
    return shape


# Definitions ----------------------------------------------------------------------------------------------------------


def _name(shape: Shape, name: str, types: dict[str, MessageType]) -> None:
    """Make the message type of an object, and of those below."""
    fields = tuple(Field(key, _field_type(below, f"{name}.{key}", types)) for key, below in shape.keys.items())
    types[name] = MessageType(name, fields)


def _field_type(shape: Shape, name: str, types: dict[str, MessageType]) -> FieldType:
    if shape.kind == "bytes":
        return FieldType("uint8", None, "unbounded")
    if shape.kind == "list":
        items = shape.items or Shape("nothing")
        if items.kind in ("list", "bytes"):  # an array has no arrays as elements: one field in between
            _name(Shape("object", {VALUE: items}), name, types)
            return FieldType(name, None, "unbounded")
        return FieldType(_field_type(items, name, types).base, None, "unbounded")
    if shape.kind == "object":
        _name(shape, name, types)
        return FieldType(name)
    return FieldType(_PLAIN[shape.kind])


# Rows -----------------------------------------------------------------------------------------------------------------


def _converter(shape: Shape, pick: Pick | None) -> tuple[Convert, Callable[[], Any]]:
    """What makes a column's value of a JSON value, and the value where there is none."""
    if shape.kind == "object":
        convert = _object(shape, pick)
        return convert, lambda: convert({})
    if shape.kind == "list":
        return _list(shape.items or Shape("nothing"), pick), list
    return _SCALARS[shape.kind]


def _object(shape: Shape, pick: Pick | None) -> Convert:
    members = [
        (key, *_converter(below, every(pick, key)))
        for key, below in shape.keys.items()
        if pick is None or key in pick.below
    ]
    known = set(shape.keys)
    empty = not shape.keys

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MisfitError("value")
        if shape.closed and not value.keys() <= known:
            raise MisfitError("key")
        if empty:
            return {"present": True}
        row = {}
        for key, make, absent in members:
            found = value.get(key)
            row[key] = absent() if found is None else make(found)
        return row

    return convert


def _list(items: Shape, pick: Pick | None) -> Convert:
    make, absent = _converter(Shape("object", {VALUE: items}) if items.kind in ("list", "bytes") else items, pick)
    wrapped = items.kind in ("list", "bytes")

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            raise MisfitError("value")
        if wrapped:
            return [make({VALUE: item}) for item in value]
        return [absent() if item is None else make(item) for item in value]

    return convert


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MisfitError("value")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise MisfitError("value")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MisfitError("value")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise MisfitError("value")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except ValueError as error:
        raise MisfitError("value") from error


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:  # nested deeper than it writes
        raise MisfitError("value") from error


_SCALARS: dict[Kind, tuple[Convert, Callable[[], Any]]] = {
    "number": (_number, lambda: math.nan),
    "integer": (_integer, int),
    "boolean": (_boolean, bool),
    "string": (_string, str),
    "bytes": (_bytes, bytes),
    "text": (_text, str),
    "nothing": (_text, str),
}
