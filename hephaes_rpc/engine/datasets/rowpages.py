"""Rows and columns of finished Parquet and TFRecord files, a page at a time, as JSON values.

Strategy: the files may be anything by now, so this runs where it can hurt nothing but itself.  A page ends with its
rows, or earlier once it holds PAGE_BYTES of JSON, but never before its first row.  Parquet is read from the row group
that holds the first row; TFRecord from the byte where the last page ended, or, packed by gzip, from the start.  The
records of a TFRecord file take their types from the features file beside it; without one they are what they are.
Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord (framing), tensorflow/core/example/*.proto.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen

from hephaes_native.flatten import masked_crc32c
from hephaes_rpc.engine.datasets.writers.base import FEATURES_SUFFIX
from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.encodings import ImageError
from hephaes_rpc.engine.features.images import Picture
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import encode, unstructure

Row: TypeAlias = dict[str, Any]

PAGE_BYTES = 1 << 20
MAX_ROW_BYTES = 32 << 20
MAX_RECORD_BYTES = 1 << 28
BATCH_ROWS = 16
SAMPLED_RECORDS = 100
MAX_METADATA_BYTES = 1 << 20
_FRAME = struct.Struct("<QI")
_CRC_BYTES = 4
_GZIP_MAGIC = b"\x1f\x8b"
_IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


@frozen
class Place:
    """Where a page starts: the number of its first row and, in TFRecord files, the byte of its first record."""

    row: int = 0
    offset: int = 0


@frozen
class Wanted:
    """What of a file is wanted.

    Args:
        columns: Names of columns, of Parquet also of members with dots; None for all.
        images: What stands for images: themselves, nothing but their size, or small PNG images.
    """

    output_id: str
    path: str
    format: str
    place: Place = Place()
    limit: int = 100
    columns: tuple[str, ...] | None = None
    images: str | None = None
    rows: int | None = None


@frozen
class RowsPage:
    """A page of rows; ``next`` is where the next one starts."""

    columns: list[str]
    items: list[Row]
    total: int
    next: Place | None


@frozen
class ColumnSchema:
    """A column; nested ones by their leaves, lists by the values they hold, -1 where their length varies."""

    name: str
    dtype: str
    shape: list[int]
    nullable: bool
    null_count: int | None
    min: Any
    max: Any


@frozen
class FileSchema:
    """The columns of a file and what it says of itself."""

    columns: list[ColumnSchema]
    row_count: int
    row_groups: int
    metadata: dict[str, Any]


def read_rows(wanted: Wanted) -> RowsPage:
    """A page of rows; raises HephaesError for a file or a column that is not what it should be."""
    with _judging(wanted):
        return _parquet_rows(wanted) if wanted.format == "parquet" else _tfrecord_rows(wanted)


def read_schema(wanted: Wanted) -> FileSchema:
    """The columns of a file; raises HephaesError for one that is not what it should be."""
    with _judging(wanted):
        return _parquet_schema(wanted) if wanted.format == "parquet" else _tfrecord_schema(wanted)


class _judging:  # noqa: N801  (reads as a statement)
    """Turns what readers raise into errors that name the file."""

    def __init__(self, wanted: Wanted) -> None:
        self._id, self._path = wanted.output_id, wanted.path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            message = f"the content of output {self._id} is unavailable"
            raise HephaesError("output_unavailable", message, output_id=self._id) from error
        if isinstance(error, PermissionError):
            raise HephaesError("permission", f"{self._path} may not be read", path=self._path) from error
        broken = (pa.ArrowException, OSError, ValueError, EOFError, zlib.error, struct.error, OverflowError, IndexError)
        if isinstance(error, broken):
            raise HephaesError("bad_input", f"{self._path} is damaged: {error}", path=self._path) from error


def _page(
    rows: Iterator[tuple[Row, Place]], wanted: Wanted, total: int, columns: Sequence[str], place: Place
) -> RowsPage:
    """As many rows as fit into a page; each comes with the place behind it."""
    picture = _PICTURES[wanted.images]
    items: list[Row] = []
    size_bytes = 0
    for row, behind in rows:
        item = unstructure({name: _plain(value) for name, value in picture(row).items()})
        row_bytes = len(encode(item))
        if row_bytes > MAX_ROW_BYTES:
            message = f"row {place.row} of {wanted.path} takes more than {MAX_ROW_BYTES >> 20} MiB"
            raise HephaesError("unsupported", message, hint="leave out columns or images", row=place.row)
        size_bytes += row_bytes
        if items and size_bytes > PAGE_BYTES:
            break
        items.append(item)
        place = behind
        if len(items) == wanted.limit:
            break
    return RowsPage(list(columns), items, total, place if items and place.row < total else None)


def _plain(value: Any) -> Any:
    """Values as JSON can say them or ``unstructure`` knows them; anything else as text."""
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _refuse_columns(unknown: Sequence[str], known: Sequence[str]) -> None:
    if unknown:
        expected = "names of columns: " + ", ".join(known[:20])
        errors = [
            {"path": "columns", "message": f"there is no column {name!r}", "expected": expected, "got": name}
            for name in unknown
        ]
        raise HephaesError("invalid_params", f"columns: {errors[0]['message']}", errors=errors)


# -- images ------------------------------------------------------------------------------------------------------------


def _as_it_is(row: Row) -> Row:
    return row


def _without_images(row: Row) -> Row:
    return _changed(row, lambda picture: {"__omitted__": True, "size_bytes": len(picture.data or b"")})


def _with_thumbnails(row: Row) -> Row:
    return _changed(row, _thumbnail)


_PICTURES: dict[str | None, Callable[[Row], Row]] = {
    None: _as_it_is,
    "omit": _without_images,
    "thumbnail": _with_thumbnails,
}


def _thumbnail(picture: Picture) -> Any:
    from hephaes_rpc.engine.features.thumbnails import thumbnail

    try:
        return thumbnail(picture)
    except ImageError as error:
        return {"__omitted__": True, "size_bytes": len(picture.data or b""), "reason": str(error)}


def _changed(row: Row, change: Callable[[Picture], Any]) -> Row:
    """The row with every image in it changed: messages that hold one, flat or nested, and image files."""
    changed: Row = {}
    for name, value in row.items():
        prefix = name.removesuffix("data")
        about = {key.removeprefix(prefix): each for key, each in row.items() if key.startswith(prefix)}
        if isinstance(value, bytes) and prefix != name and (picture := _picture(value, about)) is not None:
            changed[name] = change(picture)
        else:
            changed[name] = _changed_value(value, change)
    return changed


def _changed_value(value: Any, change: Callable[[Picture], Any]) -> Any:
    if isinstance(value, dict):
        return _changed(value, change)
    if isinstance(value, list):
        return [_changed_value(each, change) for each in value]
    if isinstance(value, bytes) and value.startswith(_IMAGE_MAGIC):
        return change(images.picture_of_file(memoryview(value), ""))
    return value


def _picture(data: bytes, about: Mapping[str, Any]) -> Picture | None:
    """The image whose bytes are ``data``, by the members beside it; None if these are not those of an image."""
    if isinstance(about.get("format"), str) and "width" not in about:
        with suppress(ImageError):
            return images.picture_of_file(memoryview(data), about["format"])
    sizes = [about.get(name) for name in ("height", "width")]
    if isinstance(about.get("encoding"), str) and all(isinstance(each, int) for each in sizes):
        rest: list[Any] = [about["encoding"], *sizes, about.get("step") or 0, bool(about.get("is_bigendian"))]
        return Picture(memoryview(data), *rest)
    return None


# -- Parquet -----------------------------------------------------------------------------------------------------------


@frozen
class _Leaf:
    """A leaf of an Arrow type; ``name`` is its path, ``open_names`` what on the way to it lies in no list."""

    name: str
    open_names: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    nullable: bool


def _parquet_rows(wanted: Wanted) -> RowsPage:
    with pq.ParquetFile(wanted.path) as file:
        schema = file.schema_arrow
        known = [*dict.fromkeys(name for leaf in _leaves(schema) for name in leaf.open_names)]
        names = list(dict.fromkeys(wanted.columns)) if wanted.columns is not None else None
        _refuse_columns([name for name in names or () if name not in known], known)
        columns = [each.name for each in schema] if names is None else names
        if wanted.place.row >= file.metadata.num_rows:
            return RowsPage(columns, [], file.metadata.num_rows, None)
        rows = _rows_from(file, wanted.place.row, names)
        return _page(rows, wanted, file.metadata.num_rows, columns, wanted.place)


def _rows_from(file: pq.ParquetFile, row: int, columns: list[str] | None) -> Iterator[tuple[Row, Place]]:
    """The rows from number ``row`` on, each with the place behind it."""
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    for group, end in enumerate(accumulate(sizes)):
        if row >= end:
            continue
        at = end - sizes[group]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns):
            skipped = min(batch.num_rows, max(0, row - at))
            at += batch.num_rows
            if skipped == batch.num_rows:
                continue
            for item in batch.slice(skipped).to_pylist():
                row += 1
                yield item, Place(row)


def _parquet_schema(wanted: Wanted) -> FileSchema:
    with pq.ParquetFile(wanted.path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        leaves = list(_leaves(schema))
        has_statistics = len(leaves) == metadata.num_columns
        columns = [_column(leaf, metadata, k if has_statistics else None) for k, leaf in enumerate(leaves)]
        said = {key.decode("utf-8", "replace"): value for key, value in (metadata.metadata or {}).items()}
        return FileSchema(
            columns=columns,
            row_count=metadata.num_rows,
            row_groups=metadata.num_row_groups,
            metadata={
                key: value[:MAX_METADATA_BYTES].decode("utf-8", "replace")
                for key, value in said.items()
                if key != "ARROW:schema"
            },
        )


def _column(leaf: _Leaf, metadata: pq.FileMetaData, k: int | None) -> ColumnSchema:
    """A leaf with its statistics over all row groups, as far as each of them has any."""
    groups = range(metadata.num_row_groups) if k is not None else range(0)
    found = [metadata.row_group(group).column(k).statistics for group in groups]
    nulls = [each.null_count if each is not None and each.has_null_count else None for each in found]
    bounded = bool(found) and all(
        each is not None and (each.has_min_max or each.null_count == each.num_values + each.null_count)
        for each in found
    )
    bounds = [(each.min, each.max) for each in found if each is not None and each.has_min_max]
    return ColumnSchema(
        name=leaf.name,
        dtype=leaf.dtype,
        shape=list(leaf.shape),
        nullable=leaf.nullable,
        null_count=None if k is None or None in nulls else sum(each or 0 for each in nulls),
        min=_plain(min(low for low, _ in bounds)) if bounded and bounds else None,
        max=_plain(max(high for _, high in bounds)) if bounded and bounds else None,
    )


def _leaves(schema: pa.Schema) -> Iterator[_Leaf]:
    for member in schema:
        yield from _below(member, member.name, (member.name,), (), is_open=True)


def _below(
    member: pa.Field, name: str, open_names: tuple[str, ...], shape: tuple[int, ...], *, is_open: bool
) -> Iterator[_Leaf]:
    kind = member.type
    if pa.types.is_struct(kind):
        for each in kind:
            path = f"{name}.{each.name}"
            yield from _below(each, path, (*open_names, path) if is_open else open_names, shape, is_open=is_open)
    elif pa.types.is_map(kind):
        for each in (kind.key_field, kind.item_field):
            yield from _below(each, f"{name}.{each.name}", open_names, (*shape, -1), is_open=False)
    elif pa.types.is_fixed_size_list(kind):
        yield from _below(kind.value_field, name, open_names, (*shape, kind.list_size), is_open=False)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _below(kind.value_field, name, open_names, (*shape, -1), is_open=False)
    else:
        dtype = {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))
        yield _Leaf(name, open_names, dtype, shape, member.nullable)


# -- TFRecord ----------------------------------------------------------------------------------------------------------


def _tfrecord_rows(wanted: Wanted) -> RowsPage:
    features = _features(wanted.path)
    known = list(features["features"]) if features else []
    names = list(dict.fromkeys(wanted.columns)) if wanted.columns is not None else None
    if features:
        _refuse_columns([name for name in names or () if name not in known], known)
    total = wanted.rows if wanted.rows is not None else _count(wanted.path)
    seen: dict[str, None] = dict.fromkeys(names if names is not None else known)

    def rows() -> Iterator[tuple[Row, Place]]:
        for payload, behind in _records(wanted.path, wanted.place):
            row = _typed(_example(payload), features["features"] if features else {})
            if names is not None:
                row = {name: row[name] for name in names if name in row}
            seen.update(dict.fromkeys(row))
            yield row, behind

    page = _page(rows(), wanted, total, (), wanted.place)
    return RowsPage(list(seen), page.items, page.total, page.next)


def _tfrecord_schema(wanted: Wanted) -> FileSchema:
    features = _features(wanted.path)
    row_count = wanted.rows if wanted.rows is not None else _count(wanted.path)
    if features:
        columns = [
            ColumnSchema(name, each["dtype"], list(each["shape"]), False, 0, None, None)
            for name, each in features["features"].items()
        ]
        about: dict[str, Any] = dict(features.get("metadata") or {})
        about |= {key: features[key] for key in ("compression_type", "absent_keys") if key in features}
        return FileSchema(columns, row_count, 0, about)
    kinds: dict[str, tuple[str, set[int]]] = {}
    for sampled, (payload, _) in enumerate(_records(wanted.path, Place())):
        if sampled == SAMPLED_RECORDS:
            break
        for key, (kind, values) in _example(payload).items():
            kinds.setdefault(key, (kind, set()))[1].add(len(values))
    columns = [
        ColumnSchema(name, kind, [next(iter(sizes))] if len(sizes) == 1 else [-1], True, None, None, None)
        for name, (kind, sizes) in kinds.items()
    ]
    return FileSchema(columns, row_count, 0, {})


def _features(path: str) -> dict[str, Any] | None:
    """The content of the features file beside a TFRecord file, if it is one."""
    own = Path(path)
    for stem in (own.name, own.stem):
        try:
            data = own.with_name(stem + FEATURES_SUFFIX).read_bytes()
        except OSError:
            continue
        with suppress(orjson.JSONDecodeError):
            content = orjson.loads(data)
            entries = content.get("features") if isinstance(content, dict) else None
            if isinstance(entries, dict) and all(_is_entry(each) for each in entries.values()):
                return dict(content)
    return None


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("dtype"), str)
        and isinstance(entry.get("shape"), list)
        and all(isinstance(size, int) for size in entry["shape"])
    )


def _records(path: str, place: Place) -> Iterator[tuple[bytes, Place]]:
    """The payloads of the records from a place on, checked, each with the place behind it."""
    own = Path(path)
    with own.open("rb") as raw:
        packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        raw.seek(0 if packed else place.offset)
        row = 0 if packed else place.row
        file: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        room = own.stat().st_size
        offset = 0 if packed else place.offset
        while head := file.read(_FRAME.size):
            (length, crc) = _FRAME.unpack(head)
            if masked_crc32c(head[:8]) != crc:
                raise ValueError(f"record {row} has a wrong length checksum")
            if length > (MAX_RECORD_BYTES if packed else room - offset):
                raise ValueError(f"record {row} has a length that cannot be")
            payload, check = file.read(length), file.read(_CRC_BYTES)
            if len(payload) < length or len(check) < _CRC_BYTES:
                raise ValueError(f"record {row} is cut off")
            offset += _FRAME.size + length + _CRC_BYTES
            row += 1
            if row <= place.row:
                continue
            if masked_crc32c(payload) != int.from_bytes(check, "little"):
                raise ValueError(f"record {row - 1} has a wrong checksum")
            yield payload, Place(row, offset)


def _count(path: str) -> int:
    """Records of a file."""
    return sum(1 for _ in _records(path, Place()))


def _typed(example: Mapping[str, tuple[str, list[Any]]], features: Mapping[str, Any]) -> Row:
    """Values as their features say they were before they became what a record can hold."""
    return {key: _value(kind, values, features.get(key)) for key, (kind, values) in example.items()}


def _value(kind: str, values: list[Any], feature: Mapping[str, Any] | None) -> Any:
    if feature is None:
        return values[0] if len(values) == 1 else values
    dtype = feature["dtype"]
    if feature.get("encoding") == "little_endian" and kind == "bytes":
        values = [number for data in values for (number,) in struct.iter_unpack("<d", data)]
    elif dtype == "uint64":
        values = [value + 2**64 if value < 0 else value for value in values]
    elif dtype == "bool":
        values = [bool(value) for value in values]
    elif dtype == "string" and kind == "bytes":
        values = [value.decode("utf-8", "replace") for value in values]
    return values[0] if not feature["shape"] and len(values) == 1 else values


def _example(data: bytes) -> dict[str, tuple[str, list[Any]]]:
    """Key -> (kind, values) of a serialized ``tf.train.Example``; raises ValueError."""
    found: dict[str, tuple[str, list[Any]]] = {}
    for number, features in _fields(data):
        if number != 1:
            continue
        for entry_number, entry in _fields(_bytes(features)):
            if entry_number == 1:
                members = dict(_fields(_bytes(entry)))
                found[_bytes(members.get(1, b"")).decode("utf-8", "replace")] = _list(_bytes(members.get(2, b"")))
    return found


def _list(feature: bytes) -> tuple[str, list[Any]]:
    for number, content in _fields(feature):
        kind = _KINDS.get(number)
        if kind is None:
            continue
        values: list[Any] = []
        for member, value in _fields(_bytes(content)):
            if member != 1:
                continue
            if kind == "bytes":
                values.append(_bytes(value))
            elif kind == "float":
                values += [each for (each,) in struct.iter_unpack("<f", _bytes(value))]
            else:
                values += [_signed(each) for each in ([value] if isinstance(value, int) else _varints(value))]
        return kind, values
    return "bytes", []


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a protocol buffer message; fixed ones as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("a record is no tf.train.Example")
        if size > len(data) - at:
            raise ValueError("a record is no tf.train.Example")
        yield tag >> 3, data[at : at + size]
        at += size


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > math.ceil(64 / 7) * 7:
            raise ValueError("a record is no tf.train.Example")


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a record is no tf.train.Example")
    return value
