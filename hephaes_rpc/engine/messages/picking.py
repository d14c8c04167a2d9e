"""What of a message is wanted, and why a message has nothing of it: shared by all decoders."""

from collections.abc import Iterable
from typing import Literal

Reason = Literal["json", "value", "key", "protobuf", "parameters"]
REASONS: dict[Reason, str] = {
    "json": "it is no JSON",
    "value": "a value does not have its declared type",
    "key": "it has a key that no sampled message has",
    "protobuf": "it is no Protobuf message of its type",
    "parameters": "optional and mutable members are not read of CDR before XCDR2",
}


class MisfitError(Exception):
    """A message is not what its definition says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


class Pick:
    """Which fields below a message are wanted: names with what is wanted below them; None is all."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.below: dict[str, Pick | None] = {}
        rests: dict[str, list[str]] = {}
        for path in paths:
            name, _, rest = path.partition(".")
            rests.setdefault(name, []).append(rest)
        for name, found in rests.items():
            self.below[name] = None if "" in found else Pick(found)


def every(pick: Pick | None, name: str) -> Pick | None:
    """What is wanted below a field that is wanted."""
    return None if pick is None else pick.below[name]
