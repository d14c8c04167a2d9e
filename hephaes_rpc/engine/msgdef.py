"""Message definitions: the text a log carries for a type becomes a closed set of typed messages."""

from typing import Literal

from attrs import frozen

BASES = frozenset(
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64 string wstring time duration".split()
)


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
    value: bool | int | float | str


@frozen
class MessageType:
    """One message type; ``name`` is ``pkg/msg/Type``."""

    name: str
    fields: tuple[Field, ...]
    constants: tuple[Constant, ...] = ()


@frozen
class Definition:
    """A root type and all types it needs (transitive closure, acyclic).

    ROS1 ``time``/``duration`` and ROS 2 ``builtin_interfaces/msg/Time``/``Duration`` are the bases ``time`` and ``duration``.
    """

    root: str
    types: dict[str, MessageType]
    ros: Literal[1, 2]


def parse_definition(type_name: str, text: str, ros: Literal[1, 2]) -> Definition:
    """The definition of ``type_name``; raises LogError (``bad_input``, ``unsupported``) naming the type and the line."""
    raise NotImplementedError
