"""Slow twin of interpolation: one pair of messages, walked by the declared types."""

import math
from typing import Any

import numpy as np

from hephaes_rpc.engine.messages.msgdef import Definition, FieldType

QUATERNION = "geometry_msgs/msg/Quaternion"


def blend(lo: Any, hi: Any, a: float, definition: Definition) -> Any:
    """The message at weight ``a`` between two messages (dicts)."""
    return lo if a == 0 or lo is None or hi is None else _message(lo, hi, a, definition, definition.root)


def _message(lo: Any, hi: Any, a: float, definition: Definition, name: str) -> Any:
    if name == QUATERNION and set(lo) == set("xyzw"):
        return _quaternion(lo, hi, a)
    return {
        member.name: _field(lo[member.name], hi[member.name], a, definition, member.type)
        for member in definition.types[name].fields
    }


def _field(lo: Any, hi: Any, a: float, definition: Definition, type_: FieldType) -> Any:
    if not type_.array:
        return _single(lo, hi, a, definition, type_.base)
    if isinstance(lo, bytes) or len(lo) != len(hi):
        return lo
    return [_single(x, y, a, definition, type_.base) for x, y in zip(lo, hi, strict=True)]


def _single(lo: Any, hi: Any, a: float, definition: Definition, base: str) -> Any:
    if base in ("time", "duration"):
        start, end = (v["sec"] * 10**9 + v["nanosec"] for v in (lo, hi))
        sec, nanosec = divmod(start + int(np.rint(a * (end - start))), 10**9)
        return {"sec": sec, "nanosec": nanosec}
    if base in ("float32", "float64"):
        return _float(lo, hi, a, base)
    return _message(lo, hi, a, definition, base) if base in definition.types else lo


def _float(lo: float, hi: float, a: float, base: str) -> float:
    if lo == hi:
        return lo
    with np.errstate(all="ignore"):
        value = np.float64(lo) + a * (np.float64(hi) - np.float64(lo))
        return float(np.float32(value)) if base == "float32" else float(value)


def _quaternion(lo: Any, hi: Any, a: float) -> Any:
    p, q = ([v[name] for name in "xyzw"] for v in (lo, hi))
    if p == q:
        return lo
    norms = [math.sqrt(math.fsum(c * c for c in v)) for v in (p, q)]
    if not all(abs(norm - 1) < 1e-3 for norm in norms):
        return {name: _float(lo[name], hi[name], a, "float64") for name in "xyzw"}
    p, q = ([c / norm for c in v] for v, norm in zip((p, q), norms, strict=True))
    if (dot := math.fsum(x * y for x, y in zip(p, q, strict=True))) < 0:
        q, dot = [-c for c in q], -dot
    angle = math.acos(min(1.0, dot))
    if angle > 1e-4:
        left, right = math.sin((1 - a) * angle), math.sin(a * angle)
    else:
        left, right = 1 - a, a
    turned = [left * x + right * y for x, y in zip(p, q, strict=True)]
    norm = math.sqrt(math.fsum(c * c for c in turned))
    return {name: c / norm for name, c in zip("xyzw", turned, strict=True)}
