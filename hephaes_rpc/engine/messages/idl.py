"""OMG IDL as far as ROS uses it: structs, modules, typedefs, sequences, arrays and strings.

Strategy: rosbags parses the IDL; its types are printed as an interface definition (.msg text), which ``msgdef`` parses
like any other, so that its limits, its name rules and its resolution hold for both notations.
"""

import re
from typing import Any

from attrs import evolve

from hephaes_rpc.engine.messages.idlannotations import Annotations, Struct, annotations
from hephaes_rpc.engine.messages.msgdef import ALIASES, BASES, FieldType, parse_definition
from hephaes_rpc.engine.messages.xcdr2 import TIME_NAMES, IdlDefinition, Layout
from hephaes_rpc.errors import LogError

MAX_IDL_CHARS = 256 << 10
_SEPARATOR = "=" * 80
_BASES = BASES | ALIASES[2].keys()
# What may hold parentheses without being an expression: strings, comments, annotations.
_ASIDE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_ANNOTATION = re.compile(r"@\w+\s*\([^()]*\)")
_ROS_NAME = re.compile(r"[A-Za-z]\w*/(?:msg|srv|action)/[A-Za-z]\w*")


def parse_idl(type_name: str, text: str) -> IdlDefinition:
    """The definition of ``type_name``; raises LogError (``bad_input``, ``unsupported``) that names the type."""
    shown = f"IDL definition of {type_name[:200]!a}"
    if len(text) > MAX_IDL_CHARS:
        raise LogError("bad_input", f"{shown}: the text has {len(text)} characters, the limit is {MAX_IDL_CHARS}")
    types = _parse(shown, text)
    root = type_name.replace("::", "/")
    if root not in types:
        raise LogError("bad_input", f"{shown}: the text defines no such type")
    said = annotations(text)
    sections = [_section(shown, types, said, root)]
    sections += [
        f"{_SEPARATOR}\nMSG: {_message_name(name)}\n{_section(shown, types, said, name)}"
        for name in types
        if name != root
    ]
    definition = parse_definition(_message_name(root), "\n".join(sections), 2)
    layouts = {_message_name(name): name for name in types if _message_name(name) in _known(definition.types)}
    return IdlDefinition(
        definition.root,
        definition.types,
        2,
        {shown_as: _layout(name, types, said, definition.types) for shown_as, name in layouts.items()},
    )


def _known(types: dict[str, Any]) -> set[str]:
    return {*types, *TIME_NAMES.values()}


def _layout(name: str, types: dict[str, Any], said: Annotations, parsed: dict[str, Any]) -> Layout:
    """The layout of a struct; without annotations its members are numbered from 0."""
    struct = said.structs.get(name)
    names = [field_name for field_name, _ in types[name][1]]
    if struct is None or [member.name for member in struct.members] != names:
        return Layout(struct.extensibility if struct is not None else None, tuple(range(len(names))))
    shown = (
        {member.name: member.type for member in parsed[_message_name(name)].fields}
        if _message_name(name) in parsed
        else {}
    )
    optional = {
        member.name: _own(types[name][1][k][1], shown[member.name])
        for k, member in enumerate(struct.members)
        if member.optional and member.name in shown
    }
    return Layout(struct.extensibility, tuple(member.id for member in struct.members), optional)


def _own(description: tuple[Any, Any], shown: FieldType) -> FieldType:
    """The type of an optional member when it is there, of which ``shown`` is the list that the definition has."""
    from rosbags.interfaces import Nodetype

    kind, detail = description
    if kind == Nodetype.SEQUENCE:
        return shown
    if kind == Nodetype.ARRAY:
        return evolve(shown, array="fixed", size=detail[1])
    return FieldType(shown.base, shown.string_bound)


def _parse(shown: str, text: str) -> dict[str, Any]:
    """Types of all IDL sections of the text: name -> (constants, fields), as rosbags gives them."""
    from rosbags.typesys import TypesysError, get_types_from_idl

    types: dict[str, Any] = {}
    for section in re.split(r"^=+\r?\n", text, flags=re.MULTILINE):
        body = re.sub(r"\A\s*IDL:[^\n]*\n", "", section)
        if "(" in _ANNOTATION.sub("", _ASIDE.sub("", body)):
            raise LogError("unsupported", f"{shown}: expressions in parentheses are not read")  # exponential in rosbags
        if body.strip():
            try:
                types |= get_types_from_idl(body)
            except TypesysError as error:
                raise LogError("unsupported", f"{shown}: {str(error).splitlines()[0]}") from error
            except (RecursionError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise LogError("bad_input", f"{shown} cannot be parsed") from error
    return types


def _section(shown: str, types: dict[str, Any], said: Annotations, name: str) -> str:
    struct = said.structs.get(name, Struct(None, ()))
    optional = {member.name for member in struct.members if member.optional}
    lines = []
    for field_name, description in types[name][1]:
        written = _field_type(shown, field_name, description, said)
        if field_name in optional:
            written = _listed(written)
        lines.append(f"{written} {field_name}")
    return "\n".join(lines)


def _listed(written: str) -> str:
    """An optional member's type: a list of at most one, or of nothing where it is a list anyway."""
    base, bracket, size = written.partition("[")
    if not bracket:
        return f"{base}[<=1]"
    size = size.removesuffix("]")
    return f"{base}[<={size}]" if size.isdigit() else written


def _field_type(shown: str, field_name: str, description: tuple[Any, Any], said: Annotations) -> str:
    from rosbags.interfaces import Nodetype

    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        element, size = detail
        count = str(size) if kind == Nodetype.ARRAY else f"<={size}" if size else ""
        return f"{_field_type(shown, field_name, element, said)}[{count}]"
    if kind == Nodetype.NAME:
        return "int32" if detail in said.enums else _message_name(detail)
    base, bound = detail
    if base not in _BASES:
        raise LogError("unsupported", f"{shown}: field {field_name} has type {base}, which cannot be decoded")
    return f"{base}<={bound}" if bound else str(base)


def _message_name(name: str) -> str:
    """``name`` as a message type name; names outside ROS packages go to package ``idl``."""
    return name if _ROS_NAME.fullmatch(name) else "idl/msg/" + re.sub(r"\W", "_", name)
