"""Messages as rosbags decodes them, in the plain form of ``tests.reference.wire``."""

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

EMPTY_MEMBER = "structure_needs_at_least_one_member"


def typestore(name: str, text: str) -> Typestore:
    """A store that knows one definition and what it refers to."""
    store = get_typestore(Stores.EMPTY)
    builtin = get_types_from_msg("int32 sec\nuint32 nanosec", "builtin_interfaces/msg/Time")
    builtin |= get_types_from_msg("int32 sec\nuint32 nanosec", "builtin_interfaces/msg/Duration")
    store.register(builtin | get_types_from_msg(text, name))
    return store


def plain(store: Typestore, name: str, message: Any, ros: int) -> Any:
    """A decoded message as dicts, lists, bytes and numbers."""
    found = {}
    for field, description in store.get_msgdef(name).fields:
        if field == EMPTY_MEMBER:
            return {"present": True}
        found[field] = _plain(store, description, getattr(message, field), ros)
    return found or {"present": True}


def _plain(store: Typestore, description: Any, value: Any, ros: int) -> Any:
    kind, detail = description
    if kind == Nodetype.NAME:
        if ros == 1 and detail in ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"):
            mask = (1 << 32) - 1  # rosbags reads ROS1 stamps with the signs of ROS 2
            sec, nanosec = value.sec & mask, value.nanosec & mask
            if detail.endswith("Duration"):
                sec, nanosec = ((part ^ 1 << 31) - (1 << 31) for part in (sec, nanosec))
            return {"sec": sec, "nanosec": nanosec}
        return plain(store, detail, value, ros)
    if kind == Nodetype.BASE:
        return _number(detail[0], value, ros)
    items = detail[0]
    if items[0] == Nodetype.BASE and items[1][0] != "string":
        base = items[1][0]
        if base in ("uint8", "char") or (base == "byte" and ros == 2):
            return value.astype(np.uint8).tobytes()
        return [_number(base, item, ros) for item in value.tolist()]
    return [_plain(store, items, item, ros) for item in value]


def _number(base: str, value: Any, ros: int) -> Any:
    return value & 0xFF if base == "byte" and ros == 2 else value
