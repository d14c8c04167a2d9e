"""Definitions for logs that carry none: types of the ROS 2 distributions, where the messages prove the layout.

Strategy: a definition is taken when every sampled message decodes with it to its last byte.  Distributions that define
a type alike count once; where different layouts fit, none is proven.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hephaes_rpc.engine.messages.msgdef import Definition, parse_definition
from hephaes_rpc.errors import LogError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore


def bundled_definition(type_name: str, samples: Sequence[bytes]) -> Definition:
    """The definition that all samples prove; raises LogError (``unsupported``)."""
    text = f"the log has no definition of {type_name[:200]!a}"
    found = _candidates(type_name)
    if not found:
        raise LogError("unsupported", f"{text} and no ROS 2 distribution has one")
    if not samples:
        raise LogError("unsupported", f"{text} and no message to prove one")
    fitting = [definition for definition in found if _fits(definition, samples)]
    if not fitting:
        raise LogError("unsupported", f"{text} and its messages fit that of no ROS 2 distribution")
    if len(fitting) > 1:
        raise LogError("unsupported", f"{text} and its messages fit {len(fitting)} different ones of ROS 2")
    return fitting[0]


@cache
def _candidates(type_name: str) -> tuple[Definition, ...]:
    """What the distributions say, oldest first, each layout once."""
    found: list[Definition] = []
    for store in _stores():
        if type_name not in store.types:
            continue
        definition = parse_definition(type_name, store.generate_msgdef(type_name, ros_version=2)[0], 2)
        if all((definition.root, _fields(definition)) != (other.root, _fields(other)) for other in found):
            found.append(definition)
    return tuple(found)


def _fields(definition: Definition) -> dict[str, object]:
    return {name: type_.fields for name, type_ in definition.types.items()}


@cache
def _stores() -> "tuple[Typestore, ...]":
    from rosbags.typesys import Stores, get_typestore

    return tuple(get_typestore(store) for store in Stores if store.value.startswith("ros2_"))


def _fits(definition: Definition, samples: Sequence[bytes]) -> bool:
    """Whether all samples decode to their last byte, but for padding to a multiple of four."""
    from hephaes_rpc.engine.messages.decode import StreamDecoder

    length = np.array([len(payload) for payload in samples], np.int64)
    decoder = StreamDecoder(definition, "cdr")
    return not decoder.feed(b"".join(samples), np.cumsum(length) - length, length).any()
