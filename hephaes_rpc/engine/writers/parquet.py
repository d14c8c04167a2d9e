"""Parquet files with real types, exact row groups and nothing in them that changes between runs.

Strategy: batches are kept until they fill a row group and are then written as one table, because the library closes a
row group at every write.  Without a wanted row count a group is closed when it reaches ROW_GROUP_BYTES of Arrow
memory, or earlier on ``flush``.  Strings get dictionaries (the library falls back where they do not pay); numbers do
not, which is faster and, compressed, smaller; binary columns have no statistics, which nobody could use.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hephaes_rpc.engine.jsontext import json_cells
from hephaes_rpc.engine.spec import TIMESTAMP, ParquetOutput
from hephaes_rpc.engine.writers import ReadBack, WriterResult, pieces

ROW_GROUP_BYTES = 64 << 20
MAX_ROW_GROUP_ROWS = 1 << 20


class ParquetFile:
    """Writer of one Parquet file (``engine.writers.Writer``)."""

    def __init__(self, output: ParquetOutput, schema: pa.Schema, path: Path, metadata: Mapping[str, str]) -> None:
        """Create ``path`` for batches of ``schema``."""
        self._path = path
        self._exact_rows = output.row_group_rows
        self._as_json = output.payload_encoding == "json"
        self._schema = _json_schema(schema) if self._as_json else schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._rows = 0
        self.pending_bytes = 0
        self._file = pa.OSFile(str(path), "wb")
        leaves = dict(_leaves(self._schema))
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression=output.compression,
            use_dictionary=[] if self._as_json else [name for name, kind in leaves.items() if pa.types.is_string(kind)],
            write_statistics=[name for name, kind in leaves.items() if not pa.types.is_binary(kind)],
            sorting_columns=[pq.SortingColumn(self._schema.get_field_index(TIMESTAMP))],
        )
        self._writer.add_key_value_metadata(dict(metadata))

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch; writes the row groups that it fills."""
        if self._as_json:
            batch = _json_batch(batch, self._schema)
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
        self._writer.close()
        self._file.close()
        return WriterResult(rows=self._rows)

    def abandon(self) -> None:
        """Drop what is pending and close the file, whatever the disk has against it."""
        self._pending.clear()
        self._pending_rows = self.pending_bytes = 0
        if self._writer.is_open:
            self._writer.is_open = False  # or its finalizer would write a footer
            with suppress(OSError):
                self._writer.writer.close()
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


def _json_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([member if member.name == TIMESTAMP else pa.field(member.name, pa.string()) for member in schema])


def _json_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        column if member.name == TIMESTAMP else json_cells(column)
        for member, column in zip(schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
