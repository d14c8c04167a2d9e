"""TFRecord files of ``tf.train.Example``: every declared key in every record, kinds fixed by the declared type.

Strategy: the schema is compiled once into a tree of nodes that know their key, and each batch is walked down that tree
into encoder columns that point into the Arrow buffers; no row is touched in Python.  Lists of any depth stay flat: a
node below lists passes on where the values of each row lie, composed from the offsets above it.

Keys: ``timestamp_ns`` first; per field ``<field>__present`` (0 where the row has no such message: zeros, empty strings
and empty lists stand for its values; columns whose role has no presence go without), then a key per leaf, the names on
its path joined by ``__``.  A member that is
itself called ``present``, as BatteryState has one, is ``<field>__present_``, so that it does not hide the flag.

Kinds: bool and integers are int64 (uint64 as two's complement, counted), floats are float32 (float64 narrowed, counted;
or, with float64 ``bytes``, all values of the row as one little-endian byte string), strings and uint8 arrays are bytes,
one value per string or array.

Lists: values are flat, row-major; a list of structs becomes one flat list per leaf.  Every list writes its lengths
under ``__sequence_length__<its key>``, before its values: one int64 if nothing encloses it, and if it lies inside other
lists one int64 per element of the innermost of them.  So ``shapes: [{points: [{x}]}]`` of a field ``f`` has the keys
``__sequence_length__f__shapes`` (1 value, the number of shapes), ``__sequence_length__f__shapes__points`` (1 value per
shape) and ``f__shapes__points__x`` (all x).  A list directly inside a list has the number of its axis behind its length
key: ``__sequence_length__f``, ``__sequence_length__f__1``.  The features file names, per key, the length keys that
shape it.
"""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
from attrs import evolve, frozen
from numpy.typing import NDArray

from hephaes_native.flatten import Bits, Column, ExampleEncoder, Group, RecordCounter
from hephaes_rpc.engine.datasets.writers.base import (
    FEATURES_SUFFIX,
    MESSAGE,
    PIECE_BYTES,
    SNIPPET_SUFFIX,
    ColumnRole,
    ReadBack,
    WriterResult,
    pieces,
)
from hephaes_rpc.engine.datasets.writers.snippet import snippet
from hephaes_rpc.engine.specs.feature_rules import LENGTH_PREFIX, PRESENCE
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import TIMESTAMP, TFRecordOutput
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import Issue

FORMAT = ("output", "format")
GZIP_LEVEL = 6
_GZIP = 31  # zlib window bits: the largest window, gzip header (without time and name)

Offsets: TypeAlias = NDArray[np.signedinteger[Any]]


@frozen
class Feature:
    """A key of every record.

    Args:
        path: Where its values come from: field and members.
        dtype: Declared type of the values, before it became ``kind``.
        shape: Outermost first, -1 where the length varies; values are flat, row-major.
        lengths: The length keys of the lists of ``shape``, outermost first.
        encoding: ``little_endian`` where ``dtype`` values are packed into one byte string.
        counted: What an altered value of it counts as.
    """

    key: str
    path: tuple[str, ...]
    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    lengths: tuple[str, ...] = ()
    encoding: str = ""
    counted: str = ""

    def describe(self) -> dict[str, Any]:
        """Its entry in the features file."""
        count = -1 if -1 in self.shape else int(np.prod(self.shape, dtype=np.int64))
        entry: dict[str, Any] = {
            "kind": self.kind,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "values": 1 if self.encoding else count,
            "path": list(self.path),
        }
        if self.lengths:
            entry["lengths"] = list(self.lengths)
        if self.encoding:
            entry["encoding"] = self.encoding
        return entry


@frozen(eq=False)
class Extent:
    """Where the values of row i lie: ``per_row`` of them, or ``[rows[i], rows[i + 1])``; ``valid`` rows have any."""

    per_row: int = 1
    rows: Offsets | None = None
    valid: Bits | None = None

    def within(self, offsets: Offsets) -> "Extent":
        """The extent of the items of lists with these offsets, which lie in this extent."""
        rows = offsets[:: self.per_row] if self.rows is None else offsets[self.rows]
        return Extent(0, np.ascontiguousarray(rows), self.valid)

    def times(self, size: int) -> "Extent":
        """The extent of the items of lists of ``size``."""
        if self.rows is None:
            return evolve(self, per_row=self.per_row * size)
        return evolve(self, rows=self.rows.astype(np.int64) * size)

    def column(self, key: bytes, source: str, values: Any, **more: Any) -> Column:
        """A column of this extent."""
        rows = None if self.rows is None else self.rows.data
        return Column(key, source, values, self.per_row, rows, valid=self.valid, **more)


class Node(Protocol):
    """A part of a field's type."""

    def features(self) -> Iterator[Feature]:
        """The keys below, in the order of ``columns``."""
        ...

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        """The columns of an array of this type."""
        ...


@frozen(eq=False)
class _Struct:
    members: tuple[Node, ...]

    def features(self) -> Iterator[Feature]:
        for member in self.members:
            yield from member.features()

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        for i, member in enumerate(self.members):
            yield from member.columns(array.field(i), extent)


@frozen(eq=False)
class _List:
    """A list; a byte string that is to be written as integers is one too."""

    length: Feature
    item: Node

    def features(self) -> Iterator[Feature]:
        yield self.length
        yield from self.item.features()

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        offsets = _offsets(array)
        yield extent.column(self.length.key.encode(), "length", offsets)
        if pa.types.is_binary(array.type):
            items = pa.Array.from_buffers(pa.uint8(), int(offsets[-1]), [None, array.buffers()[2]])
        else:
            items = array.values
        yield from self.item.columns(items, extent.within(offsets))


@frozen(eq=False)
class _FixedList:
    length: Feature
    size: int
    item: Node

    def features(self) -> Iterator[Feature]:
        yield self.length
        yield from self.item.features()

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        lengths = np.full(len(array), self.size, np.int64)
        counted = extent if extent.rows is not None else evolve(extent, valid=None)
        yield counted.column(self.length.key.encode(), "int64", lengths)
        items = array.values.slice(array.offset * self.size, len(array) * self.size)
        yield from self.item.columns(items, extent.times(self.size))


@frozen(eq=False)
class _Text:
    """A string or byte string."""

    feature: Feature

    def features(self) -> Iterator[Feature]:
        yield self.feature

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        yield extent.column(self.feature.key.encode(), "slices", array.buffers()[2] or b"", slices=_offsets(array))


@frozen(eq=False)
class _Number:
    """A number or bool; ``source`` as the encoder calls it."""

    feature: Feature
    source: str

    def features(self) -> Iterator[Feature]:
        yield self.feature

    def columns(self, array: pa.Array, extent: Extent) -> Iterator[Column]:
        key, buffer = self.feature.key.encode(), array.buffers()[1]
        if buffer is None:
            yield extent.column(key, self.source, b"")
        elif self.source == "bool":
            yield extent.column(key, self.source, buffer, bit_offset=array.offset)
        else:
            width = array.type.bit_width // 8
            yield extent.column(key, self.source, buffer.slice(array.offset * width, len(array) * width))


def _offsets(array: pa.Array) -> Offsets:
    """int32[len(array) + 1] of a list, string or binary array."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32, count=len(array) + 1, offset=array.offset * 4)


# -- compiling a schema ------------------------------------------------------------------------------------------------


@frozen
class _Place:
    """A node's key, path and the lists it lies in; ``axis`` counts those between it and its key."""

    key: str
    path: tuple[str, ...]
    shape: tuple[int, ...] = ()
    lengths: tuple[str, ...] = ()
    axis: int = 0

    @property
    def length_key(self) -> str:
        """Of the list here."""
        return LENGTH_PREFIX + self.key + (f"__{self.axis}" if self.axis else "")

    def member(self, name: str) -> "_Place":
        written = "present_" if name == "present" and len(self.path) == 1 else name
        return evolve(self, key=f"{self.key}__{written}", path=(*self.path, name), axis=0)

    def items(self, size: int) -> "_Place":
        lengths = (*self.lengths, self.length_key)
        return evolve(self, shape=(*self.shape, size), lengths=lengths, axis=self.axis + 1)

    def feature(self, kind: str, dtype: str, encoding: str = "", counted: str = "") -> Feature:
        return Feature(self.key, self.path, kind, dtype, self.shape, self.lengths, encoding, counted)

    def length(self) -> Feature:
        """Of the list here."""
        return Feature(self.length_key, self.path, "int64", "length", self.shape, self.lengths)


@frozen
class _Compiler:
    output: TFRecordOutput

    def node(self, kind: pa.DataType, place: _Place) -> Node:
        if pa.types.is_struct(kind):
            legacy = self.output.image_payload_contract == "legacy_list_v1" and _is_image(kind)
            return _Struct(tuple(self.member(m, place.member(m.name), legacy and m.name == "data") for m in kind))
        if pa.types.is_list(kind):
            return _List(place.length(), self.node(kind.value_type, place.items(-1)))
        if pa.types.is_fixed_size_list(kind):
            size = kind.list_size
            return _FixedList(place.length(), size, self.node(kind.value_type, place.items(size)))
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            return _Text(place.feature("bytes", str(kind)))
        return self.number(kind, place)

    def member(self, member: pa.Field, place: _Place, as_integers: bool) -> Node:
        if as_integers and pa.types.is_binary(member.type):
            return _List(place.length(), self.number(pa.uint8(), place.items(-1)))
        return self.node(member.type, place)

    def number(self, kind: pa.DataType, place: _Place) -> _Number:
        dtype = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
            return _Number(place.feature("int64", dtype, counted="wrapped_uint64"), dtype)
        if dtype == "float64" and self.output.float64 == "bytes":
            return _Number(place.feature("bytes", dtype, encoding="little_endian"), "raw64")
        if dtype in ("float32", "float64"):
            return _Number(place.feature("float", dtype, counted="narrowed_float64"), dtype)
        message = f"field {'.'.join(place.path)!r} has the type {kind}, which TFRecord cannot hold"
        raise spec_error([Issue(FORMAT, message, "a format that holds such values", "tfrecord", "parquet")])


def _is_image(kind: pa.DataType) -> bool:
    names = {member.name for member in kind}
    return {"data", "height", "width", "encoding"} <= names or {"data", "format"} <= names


def _refuse_collisions(features: list[Feature]) -> None:
    """SpecError where two features have one key."""
    owners: dict[str, Feature] = {}
    for feature in features:
        other = owners.setdefault(feature.key, feature)
        if other is not feature:
            one, two = (".".join(f.path) for f in (other, feature))
            message = (
                f"{one!r} and {two!r} both have the TFRecord key {feature.key!r}; give one of the fields another name"
            )
            raise spec_error(
                [Issue(FORMAT, message, "a format whose columns have their own names", "tfrecord", "parquet")]
            )


# -- the file ----------------------------------------------------------------------------------------------------------


class _Gzip:
    """A gzip stream without time and name, so that equal content is equal bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, data: memoryview) -> None:
        self._file.write(self._stream.compress(data))

    def close(self) -> None:
        self._file.write(self._stream.flush())
        self._file.close()


class TFRecordFile:
    """Writer of one TFRecord file (``engine.writers.Writer``)."""

    pending_bytes = 0

    def __init__(
        self,
        output: TFRecordOutput,
        schema: pa.Schema,
        path: Path,
        metadata: Mapping[str, str],
        roles: Mapping[str, ColumnRole],
    ) -> None:
        """Create ``path`` for batches of ``schema``."""
        self._output = output
        self._metadata = dict(metadata)
        self._path = path
        compiler = _Compiler(output)
        self._fields = [
            (m.name, compiler.node(m.type, _Place(m.name, (m.name,))), roles.get(m.name, MESSAGE).has_presence)
            for m in schema
            if m.name != TIMESTAMP
        ]
        self._features = [Feature(TIMESTAMP, (TIMESTAMP,), "int64", "int64")]
        for name, node, has_presence in self._fields:
            if has_presence:
                self._features.append(Feature(name + PRESENCE, (name,), "int64", "bool"))
            self._features += node.features()
        _refuse_collisions(self._features)
        self._rows = 0
        self._altered = np.zeros(len(self._features), np.int64)
        self._file = path.open("wb")
        self._sink = _Gzip(self._file) if output.compression == "gzip" else self._file

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the records of a batch."""
        if not batch.num_rows:
            return
        try:
            encoder = ExampleEncoder(batch.num_rows, *self._columns(batch))
        except OverflowError as error:
            raise HephaesError("unsupported", f"a record is too large for TFRecord: {error}") from error
        row = 0
        while row < batch.num_rows:
            data, row = encoder.encode(row, PIECE_BYTES)
            self._sink.write(data)
        self._altered += np.array(encoder.altered, np.int64)
        self._rows += batch.num_rows

    def flush(self) -> None:
        """Nothing is held back."""

    def finish(self) -> WriterResult:
        """Close the file."""
        self._sink.close()
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for feature, altered in zip(self._features, self._altered.tolist(), strict=True):
            if altered:
                counts[feature.path[0]][feature.counted] += altered
        plain = {name: dict(found) for name, found in counts.items()}
        return WriterResult(self._rows, plain, self._sidecars())

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._file.close()

    def read_back(self, told: Callable[[int], None]) -> ReadBack:
        """Records of the file, whose lengths must lead from one to the next and to its end, and the digest."""
        digest = hashlib.sha256()
        found = _hashed(pieces(self._path, told), digest)
        rows = _count_records(_inflated(found, self._path.name) if self._output.compression == "gzip" else found)
        return ReadBack(rows, digest.hexdigest())

    def _columns(self, batch: pa.RecordBatch) -> tuple[list[Column], list[Group]]:
        """All columns, and those of each field that are alike in all rows without it."""
        columns = list(_Number(self._features[0], "int64").columns(batch.column(0), Extent()))
        groups: list[Group] = []
        omit = self._output.absent_keys == "omit"
        for i, (name, node, has_presence) in enumerate(self._fields, 1):
            array = batch.column(i)
            valid = Bits(array.buffers()[0], array.offset) if array.null_count else None
            first = len(columns)
            if has_presence:
                columns.append(_present((name + PRESENCE).encode(), len(array), valid))
            for column in node.columns(array, Extent(valid=valid)):
                columns.append(column._replace(present=valid) if omit else column)
            if valid is not None:
                groups.append(Group(first, len(columns), valid))
        return columns, groups

    def _sidecars(self) -> dict[str, bytes]:
        """All that a reader must know to parse the records: the declared keys as JSON, and as Python for TensorFlow."""
        compression_type = "GZIP" if self._output.compression == "gzip" else ""
        features = {feature.key: feature.describe() for feature in self._features}
        content = {
            "format": "tfrecord",
            "record": "tf.train.Example",
            "compression_type": compression_type,
            "rows": self._rows,
            "absent_keys": self._output.absent_keys,
            "features": features,
            "metadata": self._metadata,
        }
        may_lack = self._output.absent_keys == "omit"
        return {
            FEATURES_SUFFIX: orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
            SNIPPET_SUFFIX: snippet(compression_type, features, may_lack=may_lack),
        }


def _present(key: bytes, n_rows: int, valid: Bits | None) -> Column:
    if valid is None:
        return Column(key, "bool", b"\xff" * ((n_rows + 7) // 8))
    return Column(key, "bool", valid.buffer, bit_offset=valid.offset)


def _hashed(found: Iterator[memoryview], digest: "hashlib._Hash") -> Iterator[memoryview]:
    for piece in found:
        digest.update(piece)
        yield piece


def _inflated(found: Iterator[memoryview], name: str) -> Iterator[bytes]:
    stream = zlib.decompressobj(_GZIP)
    for piece in found:
        yield stream.decompress(piece)
    if not stream.eof:
        raise OSError(f"{name}: the gzip stream is cut off")


def _count_records(found: Iterable[bytes | memoryview]) -> int:
    """Records in a byte stream; OSError where it does not end with one."""
    counter = RecordCounter()
    for piece in found:
        counter.feed(piece)
    if not counter.is_whole:
        raise OSError("a record reaches beyond the end of the file")
    return counter.records
