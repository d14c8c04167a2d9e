"""OMG IDL as far as ROS uses it: structs, modules, typedefs, sequences, arrays and strings.

Strategy: rosbags parses the IDL; its types are printed as an interface definition (.msg text), which ``msgdef`` parses
like any other, so that its limits, its name rules and its resolution hold for both notations.
"""

import re
from typing import Any

from hephaes_rpc.engine.msgdef import ALIASES, BASES, Definition, parse_definition
from hephaes_rpc.errors import LogError

MAX_IDL_CHARS = 256 << 10
_SEPARATOR = "=" * 80
_BASES = BASES | ALIASES[2].keys()
# What may hold parentheses without being an expression: strings, comments, annotations.
_ASIDE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_ANNOTATION = re.compile(r"@\w+\s*\([^()]*\)")
_ROS_NAME = re.compile(r"[A-Za-z]\w*/(?:msg|srv|action)/[A-Za-z]\w*")


def parse_idl(type_name: str, text: str) -> Definition:
    """The definition of ``type_name``; raises LogError (``bad_input``, ``unsupported``) that names the type."""
    shown = f"IDL definition of {type_name[:200]!a}"
    if len(text) > MAX_IDL_CHARS:
        raise LogError("bad_input", f"{shown}: the text has {len(text)} characters, the limit is {MAX_IDL_CHARS}")
    types = _parse(shown, text)
    root = type_name.replace("::", "/")
    if root not in types:
        raise LogError("bad_input", f"{shown}: the text defines no such type")
    sections = [_section(shown, types, root)]
    sections += [
        f"{_SEPARATOR}\nMSG: {_message_name(name)}\n{_section(shown, types, name)}" for name in types if name != root
    ]
    return parse_definition(_message_name(root), "\n".join(sections), 2)


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


def _section(shown: str, types: dict[str, Any], name: str) -> str:
    lines = []
    for field_name, description in types[name][1]:
        lines.append(f"{_field_type(shown, field_name, description)} {field_name}")
    return "\n".join(lines)


def _field_type(shown: str, field_name: str, description: tuple[Any, Any]) -> str:
    from rosbags.interfaces import Nodetype

    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        element, size = detail
        count = str(size) if kind == Nodetype.ARRAY else f"<={size}" if size else ""
        return f"{_field_type(shown, field_name, element)}[{count}]"
    if kind == Nodetype.NAME:
        return _message_name(detail)
    base, bound = detail
    if base not in _BASES:
        raise LogError("unsupported", f"{shown}: field {field_name} has type {base}, which cannot be decoded")
    return f"{base}<={bound}" if bound else str(base)


def _message_name(name: str) -> str:
    """``name`` as a message type name; names outside ROS packages go to package ``idl``."""
    return name if _ROS_NAME.fullmatch(name) else "idl/msg/" + re.sub(r"\W", "_", name)
