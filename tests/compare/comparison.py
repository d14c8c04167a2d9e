"""Two values of one message type side by side: equal, different for a reason that is checked, or different.

The walk follows our Arrow type.  Where rows are interpolated, ``Between`` gives the messages around the row as rosbags
reads them, so that a reason is not believed but computed: what is held must be the earlier value, a stamp the
rounded blend, a rotation the point on the arc.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tests.reference.rosbags_values import EMPTY_MEMBER

BILLION = 1_000_000_000
TYPE_NAME = "__msgtype__"
CONSTANT = re.compile("[A-Z][A-Z0-9_]*")
UNEXPLAINED = "unexplained"


class Finding(NamedTuple):
    """One place where the values differ: a key of ``differences.VALUES`` or UNEXPLAINED."""

    reason: str
    path: str
    reference: Any
    ours: Any


class Between(NamedTuple):
    """A row between two messages: their values, its weight (0 < weight < 1), whether more were recorded with ``hi``."""

    lo: Any
    hi: Any
    weight: float
    tie: bool = False

    def member(self, name: str) -> "Between":
        """Of one member."""
        return self._replace(lo=self.lo[name], hi=self.hi[name])

    def items(self) -> list["Between"]:
        """Of the items of two lists; those of lists of two lengths stay as they are."""
        later = self.hi if len(self.hi) == len(self.lo) else self.lo
        return [self._replace(lo=a, hi=b) for a, b in zip(self.lo, later, strict=True)]

    def blended(self, kind: pa.DataType) -> float:
        """Of two floats."""
        value = self.lo if self.lo == self.hi else self.lo + self.weight * (self.hi - self.lo)
        return float(np.float32(value)) if kind == pa.float32() else value


def compare(
    kind: pa.DataType, reference: Any, ours: Any, between: Between | None = None, path: str = ""
) -> Iterator[Finding]:
    """Everywhere the two differ."""
    if ours is None or (reference is None and not pa.types.is_floating(kind)):
        if reference is not ours:
            yield Finding(UNEXPLAINED, path, reference, ours)
    elif pa.types.is_struct(kind):
        yield from _structs(kind, reference, ours, between, path)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _lists(kind, reference, ours, between, path)
    elif pa.types.is_binary(kind):
        yield from _bytes(reference, ours, between, path)
    elif pa.types.is_floating(kind):
        yield from _floats(kind, reference, ours, between, path)
    elif not (reference == ours and isinstance(reference, str) is isinstance(ours, str)):
        held = between is not None and ours == between.lo and not isinstance(ours, str)
        yield Finding("integer held" if held else UNEXPLAINED, path, reference, ours)


def _structs(
    kind: pa.DataType, reference: Any, ours: dict[str, Any], between: Between | None, path: str
) -> Iterator[Finding]:
    if not isinstance(reference, dict):
        yield Finding(UNEXPLAINED, path, reference, ours)
        return
    names = [member.name for member in kind]
    if TYPE_NAME in reference:
        yield Finding("type name", path, reference[TYPE_NAME], None)
    constants = {name for name in reference if CONSTANT.fullmatch(name)} - set(names)
    if constants:
        yield Finding("constants", path, sorted(constants), None)
    found = {name: value for name, value in reference.items() if name not in constants | {TYPE_NAME}}
    if names == ["present"] and ours == {"present": True} and found.keys() <= {EMPTY_MEMBER}:
        yield Finding("empty message", path, found, ours)
    elif found.keys() != set(names):
        yield Finding(UNEXPLAINED, path, sorted(found), names)
    elif between and set(names) == {"sec", "nanosec"}:
        yield from _whole("stamp", found, ours, _is_blended_stamp(ours, between), path)
    elif between and set(names) == set("xyzw"):
        yield from _whole("rotation", found, ours, _is_on_arc(ours, between), path)
    else:
        for member in kind:
            inner = between.member(member.name) if between else None
            yield from compare(
                member.type, found[member.name], ours[member.name], inner, f"{path}.{member.name}".lstrip(".")
            )


def _whole(reason: str, reference: Any, ours: Any, explained: bool, path: str) -> Iterator[Finding]:
    if reference != ours:
        yield Finding(reason if explained else UNEXPLAINED, path, reference, ours)


def _is_blended_stamp(ours: dict[str, int], between: Between) -> bool:
    lo, hi = (stamp["sec"] * BILLION + stamp["nanosec"] for stamp in (between.lo, between.hi))
    expected = lo + round(between.weight * (hi - lo))
    return abs(ours["sec"] * BILLION + ours["nanosec"] - expected) <= 1 and 0 <= ours["nanosec"] < BILLION


def _is_on_arc(ours: dict[str, float], between: Between) -> bool:
    """Whether ours is the slerp, computed by the angle from the earlier one."""
    lo, hi = (np.array([q[name] for name in "xyzw"]) for q in (between.lo, between.hi))
    if abs(lo @ lo - 1) > 1e-6 or abs(hi @ hi - 1) > 1e-6:
        return False
    lo, hi = lo / np.linalg.norm(lo), hi / np.linalg.norm(hi)
    hi = hi if lo @ hi >= 0 else -hi
    angle = 2 * math.atan2(float(np.linalg.norm(hi - lo)), float(np.linalg.norm(hi + lo)))
    side = hi - (lo @ hi) * lo
    size = float(np.linalg.norm(side))
    turn = between.weight * angle
    expected = lo if size < 1e-12 else math.cos(turn) * lo + math.sin(turn) * side / size
    return bool(np.allclose([ours[name] for name in "xyzw"], expected, rtol=0, atol=1e-6))


def _lists(kind: pa.DataType, reference: Any, ours: list[Any], between: Between | None, path: str) -> Iterator[Finding]:
    if not isinstance(reference, list) or len(reference) != len(ours):
        yield Finding(UNEXPLAINED, path, reference, ours)
        return
    inner = between.items() if between else [None] * len(ours)
    for i, (theirs, mine) in enumerate(zip(reference, ours, strict=True)):
        yield from compare(kind.value_type, theirs, mine, inner[i], f"{path}[{i}]")


def _bytes(reference: Any, ours: bytes, between: Between | None, path: str) -> Iterator[Finding]:
    if reference == ours:
        return
    if isinstance(reference, list) and len(reference) == len(ours) and reference == list(ours):
        yield Finding("byte list", path, reference, ours)
    elif isinstance(reference, list) and len(reference) == len(ours) and [n % 256 for n in reference] == list(ours):
        yield Finding("byte sign", path, reference, ours)
    else:
        held = between is not None and ours == between.lo
        yield Finding("bytes held" if held else UNEXPLAINED, path, reference, ours)


def _floats(kind: pa.DataType, reference: Any, ours: float, between: Between | None, path: str) -> Iterator[Finding]:
    if reference is None and not math.isfinite(ours):
        yield Finding("not a number", path, reference, ours)
    elif not isinstance(reference, int | float):
        yield Finding(UNEXPLAINED, path, reference, ours)
    elif not _same(float(reference), ours):
        with np.errstate(over="ignore"):
            if kind == pa.float32() and _same(float(np.float32(reference)), ours):
                reason = "declared width"
            elif between and between.tie and _same(between.blended(kind), ours):
                reason = "one instant"
            else:
                reason = UNEXPLAINED
        yield Finding(reason, path, reference, ours)


def compare_json(reference: Any, ours: Any, path: str) -> Iterator[Finding]:
    """The same for two values that were JSON text."""
    if isinstance(reference, dict) and isinstance(ours, dict) and "__float__" not in ours:
        constants = {name for name in reference if CONSTANT.fullmatch(name)} - ours.keys()
        if constants:
            yield Finding("constants", path, sorted(constants), None)
        if reference.keys() - constants != ours.keys():
            yield Finding(UNEXPLAINED, path, sorted(reference), sorted(ours))
            return
        for name, value in ours.items():
            yield from compare_json(reference[name], value, f"{path}.{name}")
    elif isinstance(reference, list) and isinstance(ours, list) and len(reference) == len(ours):
        for i, (theirs, mine) in enumerate(zip(reference, ours, strict=True)):
            yield from compare_json(theirs, mine, f"{path}[{i}]")
    elif isinstance(ours, bytes):
        yield from _bytes(reference, ours, None, path)
    elif reference is None and isinstance(ours, dict):
        yield Finding("not a number", path, reference, ours)
    elif isinstance(reference, float) and isinstance(ours, float):
        if reference != ours:
            short = np.float32(reference) == ours
            yield Finding("digits" if short else UNEXPLAINED, path, reference, ours)
    elif reference != ours or isinstance(reference, str) is not isinstance(ours, str):
        yield Finding(UNEXPLAINED, path, reference, ours)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
