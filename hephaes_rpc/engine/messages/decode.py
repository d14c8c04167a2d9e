"""Messages to Arrow: a definition becomes a native decode plan and the tree of arrays that its columns make.

Strategy: one walk over the definition emits, side by side, the items of the wire (``hephaes_native.decode``) and nodes
of the Arrow type; a node knows its columns and builds its array from their buffers without copying (bitmaps are packed
from bytes).  Fields that are not selected are walked on the wire and have no column.  A type that occurs several times
is expanded each time; ``msgdef`` bounds how many leaves that makes.

Arrow types: numbers as on the wire; ``time`` and ``duration`` are structs of ``sec`` and ``nanosec``; ``uint8`` arrays,
fixed or not, are binary; other arrays lists or fixed-size lists; a message without fields is a struct of one bool
``present``, always true.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from attrs import frozen
from numpy.typing import NDArray

from hephaes_native import decode as native
from hephaes_rpc.engine.messages.msgdef import STRINGS, TIMES, Definition, FieldType
from hephaes_rpc.engine.messages.picking import REASONS, Pick
from hephaes_rpc.engine.messages.rowdecoder import RowDecoder
from hephaes_rpc.engine.messages.xcdr2 import Xcdr2Feed
from hephaes_rpc.errors import LogError

Wire: TypeAlias = Literal["cdr", "ros1", "json", "protobuf"]
STATUS_NAMES = (*native.STATUS_NAMES, *REASONS.values())
_PARAMETERS, _MISFIT = (STATUS_NAMES.index(REASONS[reason]) for reason in ("parameters", "value"))
MAX_FIXED = 2**31 - 1
PRESENT = "present"

_BOOL, _BINARY = pa.bool_(), pa.binary()
_NUMBERS: dict[str, pa.DataType] = {
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "int16": pa.int16(),
    "uint16": pa.uint16(),
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
# (base, ROS generation) -> types of sec and nanosec; ROS1 time is unsigned, ROS1 duration signed in both.
_TIMES: dict[tuple[str, int], tuple[str, str]] = {
    ("time", 1): ("uint32", "uint32"),
    ("duration", 1): ("int32", "int32"),
    ("time", 2): ("int32", "uint32"),
    ("duration", 2): ("int32", "uint32"),
}

Buffers = Sequence[pa.Buffer]


class Node(Protocol):
    """A column tree's node: its Arrow type and how it is built."""

    @property
    def type(self) -> pa.DataType:
        """The Arrow type."""
        ...

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        """The array of ``n`` values."""
        ...


@frozen(eq=False)
class _Number:
    type: pa.DataType
    column: int

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        return pa.Array.from_buffers(self.type, n, [None, buffers[self.column]])


@frozen(eq=False)
class _Bool:
    column: int
    type: pa.DataType = _BOOL

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        bits = np.packbits(np.frombuffer(buffers[self.column], np.uint8, count=n), bitorder="little")
        return pa.Array.from_buffers(self.type, n, [None, pa.py_buffer(bits)])


@frozen(eq=False)
class _Bytes:
    """String or binary behind offsets."""

    type: pa.DataType
    column: int
    offsets: int

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        return pa.Array.from_buffers(self.type, n, [None, buffers[self.offsets], buffers[self.column]])


@frozen(eq=False)
class _FixedBytes:
    """Binary values of one size."""

    column: int
    size: int
    type: pa.DataType = _BINARY

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        if n * self.size > MAX_FIXED:
            raise OverflowError(f"{n} byte arrays of {self.size} bytes do not fit one column")
        offsets = np.arange(n + 1, dtype=np.int32) * np.int32(self.size)
        return pa.Array.from_buffers(self.type, n, [None, pa.py_buffer(offsets), buffers[self.column]])


@frozen(eq=False)
class _List:
    type: pa.DataType
    offsets: int
    items: Node

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        offsets = buffers[self.offsets]
        length = int(np.frombuffer(offsets, np.int32, count=1, offset=4 * n)[0])
        return pa.Array.from_buffers(self.type, n, [None, offsets], children=[self.items.build(buffers, length)])


@frozen(eq=False)
class _FixedList:
    type: pa.DataType
    size: int
    items: Node

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        return pa.Array.from_buffers(self.type, n, [None], children=[self.items.build(buffers, n * self.size)])


@frozen(eq=False)
class _Struct:
    type: pa.DataType
    members: tuple[Node, ...]

    def build(self, buffers: Buffers, n: int) -> pa.Array:
        children = [member.build(buffers, n) for member in self.members]
        return pa.Array.from_buffers(self.type, n, [None], children=children)


class _Compiler:
    """Emits items and nodes for one definition."""

    def __init__(self, definition: Definition, wire: Wire) -> None:
        self.definition = definition
        self.cdr = wire == "cdr"
        self.offsets_columns: list[bool] = []

    def column(self, *, offsets: bool = False) -> int:
        self.offsets_columns.append(offsets)
        return len(self.offsets_columns) - 1

    def message(self, name: str, selected: Pick | None, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        """Items and node of one message type; no node where nothing of it is wanted."""
        type_ = self.definition.types[name]
        if not type_.fields:
            return self.empty(wanted=wanted)
        items: list[native.Item] = []
        names: list[str] = []
        nodes: list[Node] = []
        for member in type_.fields:
            chosen = wanted and (selected is None or member.name in selected.below)
            below = selected.below.get(member.name) if selected is not None else None
            more, node = self.field(member.type, below, wanted=chosen)
            items += more
            if node is not None:
                names.append(member.name)
                nodes.append(node)
        if selected is not None and wanted and (unknown := selected.below.keys() - {f.name for f in type_.fields}):
            raise KeyError(f"{name} has no field {sorted(unknown)[0]!r}")
        return items, _struct(names, nodes) if nodes else None

    def empty(self, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        """A message without fields: CDR has one byte for it, ROS1 none."""
        width = 1 if self.cdr else 0
        if not wanted:
            return ([native.Fixed(-1, 1)] if width else []), None
        column = self.column()
        return [native.Fixed(column, width, form="one")], _struct([PRESENT], [_Bool(column)])

    def field(self, type_: FieldType, selected: Pick | None, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        """Items and node of a field with its array brackets."""
        if not type_.array:
            return self.single(type_, selected, wanted=wanted)
        if type_.base not in STRINGS | TIMES and type_.base not in self.definition.types:
            return self.numbers(type_, wanted=wanted)
        count = type_.size if type_.array == "fixed" else -1
        bound = type_.size if type_.array == "bounded" else -1
        offsets = self.column(offsets=True) if wanted and count < 0 else -1
        body, node = self.single(type_, selected, wanted=wanted)
        items: list[native.Item] = [native.Loop(offsets, tuple(body), count, bound)]
        if node is None:
            return items, None
        if count < 0:
            return items, _List(pa.list_(node.type), offsets, node)
        return items, _FixedList(pa.list_(node.type, count), count, node)

    def single(self, type_: FieldType, selected: Pick | None, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        """Items and node of one value of the base type."""
        base = type_.base
        if base in TIMES:
            return self.time(base, selected, wanted=wanted)
        if base in STRINGS:
            column, offsets = (self.column(), self.column(offsets=True)) if wanted else (-1, -1)
            bound = -1 if type_.string_bound is None else type_.string_bound
            item = native.Text(column, offsets, base == "wstring", bound)
            return [item], _Bytes(pa.string(), column, offsets) if wanted else None
        if base in self.definition.types:
            return self.message(base, selected, wanted=wanted)
        column = self.column() if wanted else -1
        if base == "bool":
            return [native.Fixed(column, 1, form="bool")], _Bool(column) if wanted else None
        kind = _NUMBERS[base]
        return [native.Fixed(column, kind.bit_width // 8)], _Number(kind, column) if wanted else None

    def time(self, base: str, selected: Pick | None, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        items: list[native.Item] = []
        names: list[str] = []
        nodes: list[Node] = []
        for name, number in zip(("sec", "nanosec"), _TIMES[base, self.definition.ros], strict=True):
            chosen = wanted and (selected is None or name in selected.below)
            column = self.column() if chosen else -1
            items.append(native.Fixed(column, 4))
            if chosen:
                names.append(name)
                nodes.append(_Number(_NUMBERS[number], column))
        return items, _struct(names, nodes) if nodes else None

    def numbers(self, type_: FieldType, *, wanted: bool) -> tuple[list[native.Item], Node | None]:
        """Arrays of numbers and bools."""
        is_bool = type_.base == "bool"
        width = 1 if is_bool else _NUMBERS[type_.base].bit_width // 8
        form = "bool" if is_bool else "value"
        column = self.column() if wanted else -1
        if type_.array == "fixed":
            item: native.Item = native.Fixed(column, width, type_.size, form)
            return [item], self.fixed_node(type_, column) if wanted else None
        offsets = self.column(offsets=True) if wanted else -1
        bound = type_.size if type_.array == "bounded" else -1
        item = native.Sequence(column, offsets, width, bound, form)
        if not wanted:
            return [item], None
        if type_.base == "uint8":
            return [item], _Bytes(_BINARY, column, offsets)
        node: Node = _Bool(column) if is_bool else _Number(_NUMBERS[type_.base], column)
        return [item], _List(pa.list_(node.type), offsets, node)

    def fixed_node(self, type_: FieldType, column: int) -> Node:
        if type_.base == "uint8":
            return _FixedBytes(column, type_.size)
        node: Node = _Bool(column) if type_.base == "bool" else _Number(_NUMBERS[type_.base], column)
        return _FixedList(pa.list_(node.type, type_.size), type_.size, node)


def _struct(names: list[str], nodes: list[Node]) -> Node:
    kinds = [pa.field(name, node.type) for name, node in zip(names, nodes, strict=True)]
    return _Struct(pa.struct(kinds), tuple(nodes))


class StreamDecoder:
    """Decodes the messages of one stream.

    Args:
        select: Dotted paths of the fields wanted (a struct's path takes all below it); None takes all.

    Raises:
        LogError: The type cannot be laid out (``unsupported``).
        KeyError: A selected field does not exist.
    """

    def __init__(self, definition: Definition, wire: Wire, select: Iterable[str] | None = None) -> None:
        compiler = _Compiler(definition, wire)
        pick = None if select is None else Pick(select)
        items, node = compiler.message(definition.root, pick, wanted=True)
        if node is None:
            raise KeyError(f"nothing of {definition.root} is selected")
        self.arrow_type: pa.StructType = node.type
        self._decoder: RowDecoder | _NativeDecoder
        row = _row(definition, wire, pick)
        if row is not None:
            self._decoder = RowDecoder(node.type, row, len(native.STATUS_NAMES))
        else:
            self._decoder = _NativeDecoder(definition.root, compiler, items, node)
        self._xcdr2 = Xcdr2Feed(definition, _PARAMETERS, _MISFIT) if wire == "cdr" else None

    def feed(self, data: bytes | memoryview, offset: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode the payloads of ``length`` bytes at each ``offset`` of ``data``.

        Returns:
            uint8[n]: 0, or why the payload is malformed (a position in STATUS_NAMES); such a payload leaves no value.
        """
        if self._xcdr2 is not None and self._xcdr2.concerns(data, offset, length):
            told, offset, length, status = self._xcdr2.told(data, offset, length)
            status[status == 0] = self._decoder.feed(told, offset, length)
            return status
        return self._decoder.feed(data, offset, length)

    @property
    def plain(self) -> native.Decoder | None:
        """For ``feed_streams``: what decodes payloads of this stream that are plain CDR or ROS1, all alike."""
        if isinstance(self._decoder, RowDecoder) or (self._xcdr2 is not None and self._xcdr2.refuses):
            return None
        return self._decoder.decoder

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._decoder.nbytes

    @property
    def replaced_strings(self) -> int:
        """Strings taken so far that were not UTF-8."""
        return self._decoder.replaced_strings

    def take(self) -> pa.StructArray:
        """The values of all well-formed payloads since the last call, in order; no nulls."""
        return self._decoder.take()


def _row(definition: Definition, wire: Wire, pick: Pick | None) -> Callable[[bytes], Any] | None:
    """What makes rows of messages that a library decodes; None for those of ROS."""
    if wire == "json":
        from hephaes_rpc.engine.messages.jsonmsg import JsonDefinition, json_row

        if isinstance(definition, JsonDefinition):
            return json_row(definition, pick)
    if wire == "protobuf":
        from hephaes_rpc.engine.messages.protomsg import ProtobufDefinition, protobuf_row

        if isinstance(definition, ProtobufDefinition):
            return protobuf_row(definition, pick)
    return None


class _NativeDecoder:
    """As ``StreamDecoder`` for ROS1 and CDR."""

    def __init__(self, root: str, compiler: _Compiler, items: list[native.Item], node: Node) -> None:
        try:
            self.decoder = native.Decoder(items, compiler.offsets_columns, cdr=compiler.cdr)
        except OverflowError as error:
            raise LogError("unsupported", f"{root}: {error}") from error
        self._node = node
        self._texts = [(item.column, item.offsets) for item in _texts(items) if item.offsets >= 0]
        self.replaced_strings = 0

    def feed(self, data: bytes | memoryview, offset: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.frombuffer(
            self.decoder.feed(data, np.ascontiguousarray(offset), np.ascontiguousarray(length)), np.uint8
        )

    @property
    def nbytes(self) -> int:
        return self.decoder.nbytes

    def take(self) -> pa.StructArray:
        n = self.decoder.rows
        found = self.decoder.take()
        buffers = [pa.py_buffer(buffer) for buffer, _ in found]
        for column, offsets in self._texts:
            broken = found[column][1] + found[offsets][1]
            if broken:
                self.replaced_strings += broken
                buffers[offsets], buffers[column] = _replace_invalid(buffers[offsets], buffers[column])
        return self._node.build(buffers, n)


def _texts(items: Iterable[native.Item]) -> Iterable[native.Text]:
    for item in items:
        if isinstance(item, native.Text):
            yield item
        elif isinstance(item, native.Loop):
            yield from _texts(item.body)


def _replace_invalid(offsets: pa.Buffer, data: pa.Buffer) -> tuple[pa.Buffer, pa.Buffer]:
    """The same strings with U+FFFD for what is not UTF-8."""
    n = offsets.size // 4 - 1
    raw = pa.Array.from_buffers(pa.binary(), n, [None, offsets, data])
    text = pa.array([value.decode("utf-8", "replace") for value in raw.to_pylist()], pa.string())
    return text.buffers()[1], text.buffers()[2] or pa.py_buffer(b"")
