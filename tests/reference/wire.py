"""Slow twin of the decoder: types, their text, values, and both wire formats in obvious Python.

A type is ``("prim", base)``, ``("array", type, kind, size)`` or ``("msg", name, [(field, type), ...])``.  Values are
plain: bytes for arrays of uint8, dicts for messages and times, ``{"present": True}`` for a message without fields.
"""

import math
import struct
from typing import Any

from hypothesis import strategies as st

CODES = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
TIMES = {("time", 1): "II", ("duration", 1): "ii", ("time", 2): "iI", ("duration", 2): "iI"}
Type = tuple[Any, ...]


# Types and values -----------------------------------------------------------------------------------------------------


def types(ros: int, depth: int, *, wide: bool) -> st.SearchStrategy[Type]:
    """Messages nested up to ``depth`` levels; ``wide`` allows wstring."""
    bases = [*CODES, "byte", "char", "string", "time", "duration", *(["wstring"] if wide and ros == 2 else [])]
    prims = st.sampled_from(bases).map(lambda base: ("prim", base))
    leaves = prims | arrays(prims)
    names = iter(range(10**9))

    def message(members: list[Type]) -> Type:
        return "msg", f"pkg/msg/T{next(names)}", [(f"f{i}", member) for i, member in enumerate(members)]

    def wrap(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
        return st.lists(leaves | inner | arrays(inner), max_size=5).map(message)

    level = st.lists(leaves, max_size=6).map(message)
    for _ in range(depth):
        level = wrap(level)
    return level


def arrays(items: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    kind = st.sampled_from(["fixed", "bounded", "unbounded"])
    return st.tuples(st.just("array"), items, kind, st.integers(1, 4))


def text(kind: Type, ros: int) -> str:
    """The message definition of a message type, with all types it needs."""
    sections: dict[str, str] = {}
    _section(kind, ros, sections)
    root = kind[1]
    parts = [sections.pop(root)]
    parts += [f"{'=' * 80}\nMSG: {_short(name)}\n{body}" for name, body in sections.items()]
    return "\n".join(parts)


def _short(name: str) -> str:
    return name.replace("/msg/", "/")


def _section(kind: Type, ros: int, sections: dict[str, str]) -> str:
    if kind[0] == "prim":
        base = kind[1]
        return f"builtin_interfaces/{base.capitalize()}" if ros == 2 and base in ("time", "duration") else str(base)
    if kind[0] == "array":
        _, items, form, size = kind
        bracket = {"fixed": f"[{size}]", "bounded": f"[<={size}]" if ros == 2 else "[]", "unbounded": "[]"}[form]
        return _section(items, ros, sections) + bracket
    _, name, members = kind
    if name not in sections:
        sections[name] = ""
        sections[name] = "\n".join(f"{_section(member, ros, sections)} {field}" for field, member in members)
    return _short(name)


def values(kind: Type, ros: int) -> st.SearchStrategy[Any]:
    """Values of a type, extremes included."""
    if kind[0] == "msg":
        if not kind[2]:
            return st.just({"present": True})
        return st.fixed_dictionaries({field: values(member, ros) for field, member in kind[2]})
    if kind[0] == "array":
        _, items, form, size = kind
        least, most = (size, size) if form == "fixed" else (0, size)
        if is_uint8(items, ros):
            return st.binary(min_size=least, max_size=most)
        return st.lists(values(items, ros), min_size=least, max_size=most)
    base = plain(kind[1], ros)
    if base in ("string", "wstring"):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    if base == "bool":
        return st.booleans()
    if base in ("time", "duration"):
        return st.fixed_dictionaries(
            {name: integers(code) for name, code in zip(("sec", "nanosec"), TIMES[base, ros], strict=True)}
        )
    if base in ("float32", "float64"):
        return st.floats(width=int(base[5:]))
    return integers(CODES[base])


def integers(code: str) -> st.SearchStrategy[int]:
    bits = 8 * struct.calcsize("=" + code)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    return st.integers(low, high) | st.sampled_from([low, high])


def plain(base: str, ros: int) -> str:
    """``base`` without ROS's aliases."""
    return {"byte": "int8" if ros == 1 else "uint8", "char": "uint8"}.get(base, base)


def is_uint8(kind: Type, ros: int) -> bool:
    return kind[0] == "prim" and plain(kind[1], ros) == "uint8"


# Wire -----------------------------------------------------------------------------------------------------------------


class Writer:
    """Encodes values; CDR alignment counts from behind the encapsulation header."""

    def __init__(self, ros: int, *, big: bool = False) -> None:
        self.ros = ros
        self.order = ">" if big else "<"
        self.out = bytearray()

    def payload(self, kind: Type, value: Any) -> bytes:
        self.put(kind, value)
        head = b"" if self.ros == 1 else bytes((0, self.order == "<", 0, 0))
        return head + bytes(self.out)

    def number(self, code: str, value: Any) -> None:
        if self.ros == 2:
            self.out += bytes(-len(self.out) % struct.calcsize("=" + code))
        self.out += struct.pack(self.order + code, value)

    def put(self, kind: Type, value: Any) -> None:
        if kind[0] == "msg":
            if not kind[2] and self.ros == 2:
                self.out += b"\0"
            for field, member in kind[2]:
                self.put(member, value[field])
        elif kind[0] == "array":
            _, items, form, _ = kind
            if form != "fixed":
                self.number("I", len(value))
            for item in value:
                self.put(items, item)
        else:
            self.single(plain(kind[1], self.ros), value)

    def single(self, base: str, value: Any) -> None:
        if base == "string":
            raw = value.encode() + (b"\0" if self.ros == 2 else b"")
            self.number("I", len(raw))
            self.out += raw
        elif base == "wstring":
            units = memoryview(value.encode("utf-16-le")).cast("H")
            self.number("I", len(units))
            for unit in units:
                self.number("I", unit)
        elif base in ("time", "duration"):
            for code, part in zip(TIMES[base, self.ros], (value["sec"], value["nanosec"]), strict=True):
                self.number(code, part)
        else:
            self.number(CODES[base], value)


class Malformed(Exception):  # noqa: N818
    """The payload does not fit its type."""


class Reader:
    """Decodes a payload, strictly."""

    def __init__(self, ros: int, payload: bytes) -> None:
        self.ros = ros
        self.order = "<"
        self.data = payload
        self.at = 0
        if ros == 2:
            if len(payload) < 4 or payload[0] != 0 or payload[1] > 1:
                raise Malformed("encapsulation")
            self.order = "<" if payload[1] else ">"
            self.data = payload[4:]

    def value(self, kind: Type) -> Any:
        found = self.get(kind)
        if len(self.data) - self.at > (3 if self.ros == 2 else 0):
            raise Malformed("trailing bytes")
        return found

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise Malformed("truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, code: str) -> Any:
        width = struct.calcsize("=" + code)
        if self.ros == 2:
            self.at += -self.at % width
        return struct.unpack(self.order + code, self.take(width))[0]

    def get(self, kind: Type) -> Any:
        if kind[0] == "msg":
            if not kind[2]:
                self.take(1 if self.ros == 2 else 0)
                return {"present": True}
            return {field: self.get(member) for field, member in kind[2]}
        if kind[0] == "array":
            _, items, form, size = kind
            n = size if form == "fixed" else self.number("I")
            if n > size and form == "bounded" and self.ros == 2:
                raise Malformed("bound")
            if n > len(self.data) + 65536:
                raise Malformed("count")
            found = [self.get(items) for _ in range(n)]
            return bytes(found) if is_uint8(items, self.ros) else found
        return self.single(plain(kind[1], self.ros))

    def single(self, base: str) -> Any:
        if base == "string":
            raw = self.take(self.number("I"))
            if self.ros == 2:
                if not raw or raw[-1] != 0:
                    raise Malformed("terminator")
                raw = raw[:-1]
            return raw.decode("utf-8", "replace")
        if base == "wstring":
            units = [self.number("I") for _ in range(self.count_units())]
            return _wide(units)
        if base in ("time", "duration"):
            sec, nanosec = (self.number(code) for code in TIMES[base, self.ros])
            return {"sec": sec, "nanosec": nanosec}
        return self.number(CODES[base])

    def count_units(self) -> int:
        n: int = self.number("I")
        if 4 * n > len(self.data) - self.at:
            raise Malformed("truncated")
        return n


def _wide(units: list[int]) -> str:
    found, i = "", 0
    while i < len(units):
        unit, after = units[i], units[i + 1] if i + 1 < len(units) else 0
        i += 1
        if 0xD800 <= unit < 0xDC00 <= after < 0xE000:
            found += chr(0x10000 + ((unit - 0xD800) << 10) + after - 0xDC00)
            i += 1
        else:
            found += "\ufffd" if unit > 0x10FFFF or 0xD800 <= unit < 0xE000 else chr(unit)
    return found


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN and -0.0 differs from 0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b) if a == a or b == b else True
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)
