"""Payloads in XCDR2, told as plain CDR: what the native decoder reads.

Strategy: the definition is walked along the payload.  Delimiters and member headers are read limits that nest and can
only shrink; what a writer of another version of the type left out has its default value (0, false, empty), what it
added is skipped.  Blocks of numbers are copied whole.  A struct whose extensibility the definition does not state is
what the encapsulation header says the outermost is: final under plain CDR2, appendable under delimited, mutable under
parameter lists; where the outermost states its own, those that do not are final.

Format: OMG DDS-XTypes 1.3, 7.4.3.
"""

import struct
from typing import Final, Literal, TypeAlias

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_native import records
from hephaes_rpc.engine.messages.msgdef import STRINGS, TIMES, Definition, FieldType

OK, TRUNCATED, ENCAPSULATION, UNTERMINATED, NO_TERMINATOR, OVER_BOUND, TRAILING, TOO_MANY_EMPTY = range(8)
MISFIT: Final = -1
Extensibility: TypeAlias = Literal["final", "appendable", "mutable"]
KINDS: Final[dict[int, Extensibility]] = {3: "final", 4: "appendable", 5: "mutable"}
MAX_EMPTY: Final = 65_536
MAX_DEFAULTS: Final = 65_536
FREE_BYTES: Final = 64 << 20
MAX_RATIO: Final = 64
TIME_NAMES: Final = {"time": "builtin_interfaces/msg/Time", "duration": "builtin_interfaces/msg/Duration"}
Int64s: TypeAlias = NDArray[np.int64]
Uint8s: TypeAlias = NDArray[np.uint8]
_LEAST_HEAD, _MOST_HEAD = bytes((0, 6, 0, 0)), bytes((0, 11, 255, 255))
_WIDTHS: Final = {"bool": 1, "float32": 4, "float64": 8} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@frozen
class Layout:
    """How a struct is on the wire.

    Args:
        ids: Number of each field.
        optional: Fields that may be absent, with the type they have when they are there (the definition has them as
            lists of at most one).
    """

    extensibility: Extensibility | None
    ids: tuple[int, ...]
    optional: dict[str, FieldType] = field(factory=dict)


@frozen
class IdlDefinition(Definition):
    """A definition made of IDL, with the layouts of its structs."""

    layouts: dict[str, Layout] = field(factory=dict, eq=False)

    @property
    def has_parameters(self) -> bool:
        """Whether plain CDR of the first version cannot hold it."""
        return any(layout.optional or layout.extensibility == "mutable" for layout in self.layouts.values())


class MalformedError(Exception):
    """A payload is not what its definition says; ``status`` is one of the native decoder's, or MISFIT."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@define
class _Source:
    """Where reading is: ``end`` is the innermost limit."""

    data: memoryview
    at: int
    end: int
    little: bool
    empty: int = MAX_EMPTY

    def align(self, width: int) -> None:
        mask = min(width, 4) - 1
        self.at = (self.at + mask) & ~mask

    def take(self, n: int) -> memoryview:
        if n > self.end - self.at:
            raise MalformedError(TRUNCATED)
        self.at += n
        return self.data[self.at - n : self.at]

    def u32(self) -> int:
        self.align(4)
        value: int = struct.unpack("<I" if self.little else ">I", self.take(4))[0]
        return value

    def limit(self, size: int) -> int:
        """Shrink the limit to ``size`` bytes from here; the limit that it was."""
        if size > self.end - self.at:
            raise MalformedError(TRUNCATED)
        before, self.end = self.end, self.at + size
        return before

    def leave(self, before: int) -> None:
        """Go behind the limited part."""
        self.at, self.end = self.end, before

    def count(self, n: int, least: int) -> int:
        """``n``, if so many elements of at least ``least`` bytes can be there."""
        if least:
            if n > (self.end - self.at) // least:
                raise MalformedError(TRUNCATED)
            return n
        self.empty -= n
        if self.empty < 0:
            raise MalformedError(TOO_MANY_EMPTY)
        return n


@define
class _Target:
    """Plain CDR, little-endian; ``defaults`` is how many values a payload may still leave to be made up."""

    most: int
    defaults: int = MAX_DEFAULTS
    data: bytearray = field(factory=bytearray)

    def align(self, width: int) -> None:
        self.data += bytes(-len(self.data) % width)

    def put(self, raw: bytes | memoryview) -> None:
        if len(self.data) + len(raw) > self.most:
            raise MalformedError(TRUNCATED)
        self.data += raw

    def zeros(self, n: int) -> None:
        if len(self.data) + n > self.most:
            raise MalformedError(TRUNCATED)
        self.data += bytes(n)

    def default(self, n: int) -> None:
        """Count values that are not in the payload."""
        self.defaults -= n
        if self.defaults < 0:
            raise MalformedError(TRUNCATED)

    def u32(self, value: int) -> None:
        self.align(4)
        self.put(struct.pack("<I", value))


class Xcdr2:
    """Tells payloads of one type as plain CDR."""

    def __init__(self, definition: Definition) -> None:
        self._types = definition.types
        self._root = definition.root
        self._layouts = definition.layouts if isinstance(definition, IdlDefinition) else {}
        self._is_idl = isinstance(definition, IdlDefinition)
        self._default: Extensibility = "final"

    def plain(self, payload: memoryview) -> bytes | int:
        """The payload with a plain CDR header, or why it is malformed."""
        kind = KINDS.get(payload[1] >> 1)
        root = self._layouts.get(self._root)
        stated = root.extensibility if root is not None else None
        if kind is None or (stated or kind) != kind or (kind != "final" and not self._is_idl):
            return ENCAPSULATION
        self._default = kind if stated is None else "final"
        source = _Source(payload[4:], 0, len(payload) - 4, payload[1] & 1 == 1)
        target = _Target(max(FREE_BYTES, MAX_RATIO * len(payload)))
        try:
            self._struct(self._root, source, target)
        except MalformedError as error:
            return error.status
        if source.end - source.at > 3:
            return TRAILING
        return b"\0\1\0\0" + bytes(target.data)

    # Structs ----------------------------------------------------------------------------------------------------------

    def _struct(self, name: str, source: _Source, target: _Target) -> None:
        layout = self._layouts.get(name)
        kind = (layout.extensibility if layout is not None else None) or self._default
        if kind == "final":
            self._members(name, layout, source, target, may_end=False)
            return
        size = source.u32()
        before = source.limit(size)
        if kind == "mutable":
            self._parameters(name, layout, source, target)
        else:
            self._members(name, layout, source, target, may_end=True)
        source.leave(before)

    def _members(self, name: str, layout: Layout | None, source: _Source, target: _Target, *, may_end: bool) -> None:
        """Members in their order; where a delimiter ends them early, the rest have their defaults."""
        optional = layout.optional if layout is not None else {}
        fields = self._fields(name)
        if not fields:
            target.put(b"\0")
        for member, type_ in fields:
            if may_end and source.at >= source.end:
                self._absent(type_, target)
            elif member not in optional:
                self._field(type_, source, target)
            elif source.take(1)[0]:
                self._present(optional[member], type_, source, target)
            else:
                self._absent(type_, target)

    def _parameters(self, name: str, layout: Layout | None, source: _Source, target: _Target) -> None:
        """Members in any order, each behind its number and size."""
        fields = self._fields(name)
        ids = layout.ids if layout is not None else tuple(range(len(fields)))
        spans: dict[int, tuple[int, int]] = {}
        while source.end - source.at >= 4:
            head = source.u32()
            length = head >> 28 & 7
            if length < 4:
                size = 1 << length
            else:
                size = source.u32()
                if length > 4:
                    source.at -= 4
                    size = 4 + size * (1, 4, 8)[length - 5]
            id_ = head & 0x0FFF_FFFF
            if head >> 31 and id_ not in ids:
                raise MalformedError(MISFIT)
            begin = source.at
            source.take(size)
            spans[id_] = (begin, source.at)
        if spans and spans.keys().isdisjoint(ids):
            raise MalformedError(MISFIT)
        if not fields:
            target.put(b"\0")
        end = source.end
        optional = layout.optional if layout is not None else {}
        for id_, (member, type_) in zip(ids, fields, strict=True):
            if id_ not in spans:
                self._absent(type_, target)
                continue
            source.at, source.end = spans[id_]
            if member in optional:
                self._present(optional[member], type_, source, target)
            else:
                self._field(type_, source, target)
        source.at, source.end = end, end

    def _fields(self, name: str) -> list[tuple[str, FieldType]]:
        if name not in self._types and name in TIME_NAMES.values():
            nanosec = FieldType("uint32")
            return [("sec", FieldType("int32")), ("nanosec", nanosec)]
        return [(member.name, member.type) for member in self._types[name].fields]

    def _present(self, own: FieldType, shown: FieldType, source: _Source, target: _Target) -> None:
        """An optional member that is there: a list of one, or the list that it is."""
        if own.array in ("unbounded", "bounded"):
            self._field(own, source, target)
            return
        target.u32(own.size if own.array else 1)
        if own.array:
            self._items(own, own.size, source, target)
        else:
            self._one(shown.base, own.string_bound, source, target)

    # Values -----------------------------------------------------------------------------------------------------------

    def _field(self, type_: FieldType, source: _Source, target: _Target) -> None:
        if not type_.array:
            self._one(type_.base, type_.string_bound, source, target)
            return
        before = None
        if type_.base not in _WIDTHS:  # elements that are not numbers have a delimiter around them
            before = source.limit(source.u32())
        if type_.array == "fixed":
            n = type_.size
        else:
            n = source.u32()
            if type_.array == "bounded" and n > type_.size:
                raise MalformedError(OVER_BOUND)
            target.u32(n)
        self._items_of(type_, n, source, target)
        if before is not None:
            source.leave(before)

    def _items(self, type_: FieldType, n: int, source: _Source, target: _Target) -> None:
        before = source.limit(source.u32()) if type_.base not in _WIDTHS else None
        self._items_of(type_, n, source, target)
        if before is not None:
            source.leave(before)

    def _items_of(self, type_: FieldType, n: int, source: _Source, target: _Target) -> None:
        width = _WIDTHS.get(type_.base)
        if width is not None:
            if n:
                source.align(width)
                target.align(width)
                target.put(_ordered(source.take(source.count(n, width) * width), width, source.little))
            return
        for _ in range(source.count(n, self._least(type_.base))):
            self._one(type_.base, type_.string_bound, source, target)

    def _least(self, base: str) -> int:
        """Bytes that an element has at least."""
        return 4 if base in STRINGS else 0 if base not in TIMES and not self._types[base].fields else 1

    def _one(self, base: str, bound: int | None, source: _Source, target: _Target) -> None:
        width = _WIDTHS.get(base)
        if width is not None:
            source.align(width)
            target.align(width)
            target.put(_ordered(source.take(width), width, source.little))
        elif base == "string":
            raw = source.take(source.u32())
            if not len(raw):
                raise MalformedError(NO_TERMINATOR)
            if raw[-1]:
                raise MalformedError(UNTERMINATED)
            if bound is not None and len(raw) - 1 > bound:
                raise MalformedError(OVER_BOUND)
            target.u32(len(raw))
            target.put(raw)
        elif base == "wstring":
            self._wide(bound, source, target)
        else:
            self._struct(TIME_NAMES.get(base, base), source, target)

    @staticmethod
    def _wide(bound: int | None, source: _Source, target: _Target) -> None:
        """UTF-16 code units behind their size in bytes, as the units of four bytes that ROS writes."""
        raw = source.take(source.u32())
        units = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2" if source.little else ">u2")
        if bound is not None and len(units) > bound:
            raise MalformedError(OVER_BOUND)
        target.u32(len(units))
        target.put(units.astype("<u4").tobytes())

    def _absent(self, type_: FieldType, target: _Target) -> None:
        """The default value of a field."""
        if type_.array in ("unbounded", "bounded"):
            target.u32(0)
            return
        n = type_.size if type_.array else 1
        width = _WIDTHS.get(type_.base)
        target.default(1 if width is not None else n)
        if width is not None:
            target.align(width)
            target.zeros(n * width)
            return
        for _ in range(n):
            if type_.base in STRINGS:
                target.u32(1 if type_.base == "string" else 0)
                target.zeros(type_.base == "string")
            elif type_.base in TIMES:
                target.align(4)
                target.zeros(8)
            else:
                fields = self._fields(type_.base)
                if not fields:
                    target.zeros(1)
                for _, below in fields:
                    self._absent(below, target)


def _ordered(raw: memoryview, width: int, little: bool) -> bytes | memoryview:
    """Values in little-endian order."""
    if little or width == 1:
        return raw
    return np.frombuffer(raw, f">u{width}").astype(f"<u{width}").tobytes()


class Xcdr2Feed:
    """Picks the payloads in XCDR2 out of a batch and tells them as plain CDR.

    Attributes:
        refuses: Whether payloads of the first version are refused, too.
    """

    def __init__(self, definition: Definition, refusal: int, misfit: int) -> None:
        """Take the status of a payload of the first version whose type that cannot hold, and of one of another type."""
        self._xcdr2 = Xcdr2(definition)
        self.refuses = isinstance(definition, IdlDefinition) and definition.has_parameters
        self._refusal, self._misfit = refusal, misfit

    def concerns(self, data: bytes | memoryview, offset: Int64s, length: Int64s) -> bool:
        """Whether a payload of the batch is not simply plain CDR."""
        return self.refuses or records.any_begins(data, offset, length, _LEAST_HEAD, _MOST_HEAD)

    def told(self, data: bytes | memoryview, offset: Int64s, length: Int64s) -> tuple[bytes, Int64s, Int64s, Uint8s]:
        """Bytes, offsets and lengths of the payloads that can be told, and the status of all (0 for those)."""
        status = np.zeros(len(offset), np.uint8)
        view = memoryview(data)
        pieces: list[bytes | memoryview] = []
        newer = _is_xcdr2(data, offset, length)
        for k, (start, size, is_newer) in enumerate(zip(offset.tolist(), length.tolist(), newer.tolist(), strict=True)):
            payload: bytes | memoryview | int = view[start : start + size]
            if is_newer:
                payload = self._xcdr2.plain(view[start : start + size])
            elif self.refuses and size >= 4:
                payload = self._refusal
            if isinstance(payload, int):
                status[k] = self._misfit if payload == MISFIT else payload
            else:
                pieces.append(payload)
        sizes = np.array([len(piece) for piece in pieces], np.int64)
        return b"".join(pieces), np.cumsum(sizes) - sizes, sizes, status


def _is_xcdr2(data: bytes | memoryview, offset: Int64s, length: Int64s) -> NDArray[np.bool_]:
    """Which payloads have an encapsulation header of XCDR2."""
    raw = np.frombuffer(data, np.uint8)
    found = np.zeros(len(offset), np.bool_)
    whole = np.flatnonzero((length >= 4) & (offset >= 0) & (offset <= len(raw) - length))
    kind = raw[offset[whole] + 1]
    found[whole] = (raw[offset[whole]] == 0) & (kind >= 6) & (kind <= 11)
    return found
