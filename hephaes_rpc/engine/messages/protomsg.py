"""Protobuf messages: a FileDescriptorSet becomes a definition, messages become rows of it.

Numbers keep their widths, enums are their int32 numbers, maps lists of ``key`` and ``value`` in the order of keys; a
submessage that is absent has its default values, an ``optional`` scalar is a list of at most one.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

from hephaes_rpc.engine.messages.limits import check_limits
from hephaes_rpc.engine.messages.msgdef import BASES, MAX_LEAVES, Definition, Field, FieldType, MessageType
from hephaes_rpc.engine.messages.picking import MisfitError, Pick, every
from hephaes_rpc.errors import LogError

MAX_SCHEMA_BYTES = 16 << 20
BYTES = "bytes value"
_F = FieldDescriptor
_BASES: dict[int, str] = {
    _F.CPPTYPE_INT32: "int32",
    _F.CPPTYPE_INT64: "int64",
    _F.CPPTYPE_UINT32: "uint32",
    _F.CPPTYPE_UINT64: "uint64",
    _F.CPPTYPE_DOUBLE: "float64",
    _F.CPPTYPE_FLOAT: "float32",
    _F.CPPTYPE_BOOL: "bool",
    _F.CPPTYPE_ENUM: "int32",
}
Convert = Callable[[Any], Any]


@frozen
class ProtobufDefinition(Definition):
    """A definition made of a descriptor."""

    descriptor: Any = field(default=None, eq=False, repr=False)

    @cached_property
    def message_class(self) -> type[Message]:
        """What parses its messages."""
        found: type[Message] = message_factory.GetMessageClass(self.descriptor)
        return found


def protobuf_definition(type_name: str, schema: bytes) -> ProtobufDefinition:
    """The definition of a message type; raises LogError (``bad_input``, ``unsupported``)."""
    shown = f"Protobuf descriptor of {type_name[:200]!a}"
    if len(schema) > MAX_SCHEMA_BYTES:
        raise LogError("bad_input", f"{shown}: it has {len(schema)} bytes, the limit is {MAX_SCHEMA_BYTES}")
    descriptor = _descriptor(shown, type_name, schema)
    types: dict[str, MessageType] = {}
    _describe(shown, descriptor, types)
    definition = ProtobufDefinition(_name(descriptor), types, 2, descriptor)
    check_limits(definition, shown)
    return definition


def protobuf_row(definition: ProtobufDefinition, pick: Pick | None) -> Callable[[bytes], Any]:
    """A function that makes the row of a message; raises MisfitError."""
    parse = definition.message_class.FromString
    convert = _message(definition.descriptor, pick)

    def row(payload: bytes) -> Any:
        try:
            message = parse(payload)
        except DecodeError as error:
            raise MisfitError("protobuf") from error
        return convert(message)

    return row


def _descriptor(shown: str, type_name: str, schema: bytes) -> Descriptor:
    """The message in a pool that holds the set's files and the well-known ones that it lacks."""
    try:
        files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(schema).file}
    except DecodeError as error:
        raise LogError("bad_input", f"{shown} is no FileDescriptorSet") from error
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for name in list(files):
        _add(shown, name, files, pool, added)
    try:
        return pool.FindMessageTypeByName(type_name)
    except KeyError:
        raise LogError("bad_input", f"{shown} defines no such message") from None


def _add(
    shown: str,
    name: str,
    files: dict[str, descriptor_pb2.FileDescriptorProto],
    pool: descriptor_pool.DescriptorPool,
    added: set[str],
) -> None:
    """Add a file behind those it depends on."""
    waiting = [name]
    while waiting:
        current = waiting[-1]
        if current not in files:
            files[current] = _well_known(shown, current)
        missing = [d for d in files[current].dependency if d not in added]
        if any(d in waiting for d in missing):
            raise LogError("bad_input", f"{shown}: {current[:100]} imports itself")
        if missing:
            waiting.append(missing[0])
            continue
        if current not in added:
            try:
                pool.Add(files[current])
                pool.FindFileByName(current)
            except (TypeError, KeyError) as error:
                raise LogError("bad_input", f"{shown}: {current[:100]} is invalid: {str(error)[:200]}") from error
            added.add(current)
        waiting.pop()


def _well_known(shown: str, name: str) -> descriptor_pb2.FileDescriptorProto:
    if name.startswith("google/protobuf/"):
        with suppress(ImportError):  # its module puts it into the default pool
            import_module(f"google.protobuf.{PurePosixPath(name).stem}_pb2")
    found = descriptor_pb2.FileDescriptorProto()
    try:
        file: FileDescriptor = descriptor_pool.Default().FindFileByName(name)
    except KeyError:
        raise LogError("bad_input", f"{shown}: it lacks the file {name[:100]!a}") from None
    file.CopyToProto(found)
    return found


# Definitions ----------------------------------------------------------------------------------------------------------


def _name(descriptor: Descriptor) -> str:
    return f".{descriptor.full_name}" if descriptor.full_name in BASES else str(descriptor.full_name)


def _describe(shown: str, root: Descriptor, types: dict[str, MessageType]) -> None:
    """The types of a message and of all below it."""
    waiting = [root]
    while waiting:
        descriptor = waiting.pop()
        if _name(descriptor) in types:
            continue
        if len(types) > MAX_LEAVES:
            raise LogError("bad_input", f"{shown}: more than {MAX_LEAVES:,} message types, the limit")
        fields = []
        for member in descriptor.fields:
            if member.message_type is not None:
                waiting.append(member.message_type)
            fields.append(Field(member.name, _field_type(member, types)))
        types[_name(descriptor)] = MessageType(_name(descriptor), tuple(fields))


def _field_type(member: FieldDescriptor, types: dict[str, MessageType]) -> FieldType:
    many = _is_many(member)
    if member.type == _F.TYPE_BYTES:
        if not many:
            return FieldType("uint8", None, "unbounded")
        types[BYTES] = MessageType(BYTES, (Field("value", FieldType("uint8", None, "unbounded")),))
        base = BYTES
    elif member.type == _F.TYPE_STRING:
        base = "string"
    elif member.message_type is not None:
        base = _name(member.message_type)
    else:
        base = _BASES[member.cpp_type]
    if not many:
        return FieldType(base)
    return FieldType(base, None, "unbounded") if member.is_repeated else FieldType(base, None, "bounded", 1)


def _is_many(member: FieldDescriptor) -> bool:
    """Whether the column is a list: repeated fields, and scalars that may be absent."""
    return bool(member.is_repeated) or _may_lack(member)


def _may_lack(member: FieldDescriptor) -> bool:
    """Whether the schema says of a scalar that it may be absent: ``optional``, or one of several."""
    return member.containing_oneof is not None and member.message_type is None


# Rows -----------------------------------------------------------------------------------------------------------------


def _message(descriptor: Descriptor, pick: Pick | None) -> Convert:
    members = [
        (member.name, _member(member, every(pick, member.name)))
        for member in descriptor.fields
        if pick is None or member.name in pick.below
    ]
    if not descriptor.fields:
        return lambda _: {"present": True}
    return lambda message: {name: get(message) for name, get in members}


def _member(member: FieldDescriptor, pick: Pick | None) -> Convert:
    """What reads a field of a message."""
    name = member.name
    if member.message_type is not None and member.message_type.GetOptions().map_entry:
        return _map(member, pick)
    if member.message_type is not None:
        below = _message(member.message_type, pick)
        if member.is_repeated:
            return lambda message: [below(item) for item in getattr(message, name)]
        return lambda message: below(getattr(message, name))
    if member.type == _F.TYPE_BYTES and _is_many(member):
        if member.is_repeated:
            return lambda message: [{"value": item} for item in getattr(message, name)]
        return lambda message: [{"value": getattr(message, name)}] if message.HasField(name) else []
    if member.is_repeated:
        return lambda message: list(getattr(message, name))
    if _is_many(member):
        return lambda message: [getattr(message, name)] if message.HasField(name) else []
    return lambda message: getattr(message, name)


def _map(member: FieldDescriptor, pick: Pick | None) -> Convert:
    name = member.name
    value = member.message_type.fields_by_name["value"]
    chosen = {"key", "value"} if pick is None else set(pick.below)
    below: Convert = lambda item: item  # noqa: E731
    if value.message_type is not None and "value" in chosen:
        below = _message(value.message_type, every(pick, "value"))

    def convert(message: Any) -> Any:
        found = getattr(message, name)
        rows = ({"key": key, "value": found[key]} for key in sorted(found))
        return [{k: below(v) if k == "value" else v for k, v in row.items() if k in chosen} for row in rows]

    return convert
