"""Parquet files with real types, exact row groups and nothing in them that changes between runs.

Strategy: batches are kept until they fill a row group and are then written as one table, because the library closes a
row group at every write.  Without a wanted row count a group is closed when it reaches ROW_GROUP_BYTES of Arrow
memory, or earlier on ``flush``.  Strings get dictionaries (the library falls back where they do not pay); numbers do
not, which is faster and, compressed, smaller; binary columns have no statistics, which nobody could use.  Image files
are stored as ``struct{bytes, path}`` with the schema metadata by which Hugging Face ``datasets`` knows an image, plain
and uncompressed, since they are compressed already.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen

from hephaes_rpc.engine.datasets.writers.base import MESSAGE, ColumnRole, ReadBack, WriterResult, pieces
from hephaes_rpc.engine.features.jsontext import json_cells
from hephaes_rpc.engine.specs.spec import TIMESTAMP, ParquetOutput

ROW_GROUP_BYTES = 24 << 20
MAX_ROW_GROUP_ROWS = 1 << 20
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class ParquetFile:
    """Writer of one Parquet file (``engine.writers.Writer``)."""

    def __init__(
        self,
        output: ParquetOutput,
        schema: pa.Schema,
        path: Path,
        metadata: Mapping[str, str],
        roles: Mapping[str, ColumnRole],
    ) -> None:
        """Create ``path`` for batches of ``schema``."""
        self._path = path
        self._exact_rows = output.row_group_rows
        self._cells = [_cell(output, member, roles.get(member.name, MESSAGE)) for member in schema]
        self._schema = pa.schema(
            [pa.field(member.name, cell.type) for member, cell in zip(schema, self._cells, strict=True)]
        )
        images = [member.name for member, cell in zip(schema, self._cells, strict=True) if cell.make is _image]
        if images:
            self._schema = self._schema.with_metadata(_hugging_face(images))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._rows = 0
        self.pending_bytes = 0
        self._file = pa.OSFile(str(path), "wb")
        leaves = dict(_leaves(self._schema))
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            self._file,
            self._schema,
            compression={name: "none" if _top(name, images) else output.compression for name in leaves},
            use_dictionary=[
                name
                for name, kind in leaves.items()
                if pa.types.is_string(kind) and output.payload_encoding != "json" and not _top(name, images)
            ],
            write_statistics=[name for name, kind in leaves.items() if not pa.types.is_binary(kind)],
            sorting_columns=[pq.SortingColumn(self._schema.get_field_index(TIMESTAMP))],
        )
        self._writer.add_key_value_metadata(dict(metadata))

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch; writes the row groups that it fills."""
        columns = [cell.make(column) for cell, column in zip(self._cells, batch.columns, strict=True)]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._rows += batch.num_rows
        self.pending_bytes += batch.nbytes
        if self._exact_rows is not None:
            self._write_groups(self._exact_rows)
        elif self.pending_bytes >= ROW_GROUP_BYTES or self._pending_rows >= MAX_ROW_GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Close the row group in the making, unless its rows are prescribed."""
        if self._exact_rows is None and self._pending_rows:
            self._write_pending(self._pending_rows)

    def finish(self) -> WriterResult:
        """Write the rest and the footer."""
        if self._pending_rows:
            self._write_pending(self._pending_rows)
        assert self._writer is not None
        self._writer.close()
        self._writer = None  # with all it knows of the row groups
        self._file.close()
        return WriterResult(rows=self._rows)

    def abandon(self) -> None:
        """Drop what is pending and close the file, whatever the disk has against it."""
        self._pending.clear()
        self._pending_rows = self.pending_bytes = 0
        writer, self._writer = self._writer, None
        if writer is not None and writer.is_open:
            writer.is_open = False  # or its finalizer would write a footer
            with suppress(OSError):
                writer.writer.close()
        with suppress(OSError):
            self._file.close()

    def read_back(self, told: Callable[[int], None]) -> ReadBack:
        """Rows that the footer on disk declares, and the digest."""
        digest = hashlib.sha256()
        for piece in pieces(self._path, told):
            digest.update(piece)
        return ReadBack(int(pq.read_metadata(self._path).num_rows), digest.hexdigest())

    def _write_groups(self, rows: int) -> None:
        if self._pending_rows >= rows:
            self._write_pending(self._pending_rows - self._pending_rows % rows)

    def _write_pending(self, rows: int) -> None:
        """Write the first ``rows`` pending rows, in groups of the prescribed or largest size."""
        assert self._writer is not None
        table = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(table.slice(0, rows), row_group_size=self._exact_rows or MAX_ROW_GROUP_ROWS)
        rest = table.slice(rows)
        self._pending = rest.to_batches() if rest.num_rows else []
        self._pending_rows = rest.num_rows
        self.pending_bytes = sum(batch.nbytes for batch in self._pending)


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Path and type of every Parquet column."""
    for member in schema:
        yield from _below(member.name, member.type)


def _below(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for member in kind:
            yield from _below(f"{path}.{member.name}", member.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _below(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


@frozen(eq=False)
class _Cell:
    """What becomes of a column: its type in the file, and how it is made."""

    type: pa.DataType
    make: Callable[[pa.Array], pa.Array]


def _cell(output: ParquetOutput, member: pa.Field, role: ColumnRole) -> _Cell:
    if member.name == TIMESTAMP:
        return _Cell(member.type, _same)
    if output.payload_encoding == "json":
        return _Cell(pa.string(), _same if role.is_json else json_cells)
    return _Cell(IMAGE, _image) if role.is_image else _Cell(member.type, _same)


def _same(column: pa.Array) -> pa.Array:
    return column


def _image(column: pa.Array) -> pa.Array:
    """Image files as the struct of Hugging Face ``datasets``; no bytes, which it could not open, are no image."""
    import pyarrow.compute as pc  # a tenth of a start, and most files have no images

    path = pa.nulls(len(column), pa.string())
    absent = pc.fill_null(pc.equal(pc.binary_length(column), 0), True)
    return pa.StructArray.from_arrays([column, path], fields=list(IMAGE), mask=absent)


def _top(name: str, columns: Sequence[str]) -> bool:
    """Whether a leaf lies in one of these image columns."""
    return any(name in (f"{column}.bytes", f"{column}.path") for column in columns)


def _hugging_face(images: Sequence[str]) -> dict[str, str]:
    """The metadata that tells which columns are images."""
    features = {name: {"_type": "Image"} for name in images}
    return {"huggingface": orjson.dumps({"info": {"features": features}}).decode()}
