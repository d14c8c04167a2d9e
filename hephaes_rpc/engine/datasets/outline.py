"""What a conversion would write, without writing it: rows, columns, sizes, warnings.

Strategy: rows and files are planned from the index as for a conversion; the first rows are decoded, evaluated and
encoded into a scratch file, whose size per row stands for that of all rows.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import field, frozen

from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.datasets.writers.base import ColumnRole
from hephaes_rpc.engine.specs.spec import Output

if TYPE_CHECKING:
    from hephaes_rpc.engine.quality.gates import Verdict

SAMPLE_ROWS = 512


@frozen
class OutlinedFile:
    """A dataset file that would be written."""

    name: str
    split: str | None
    rows: int
    size_bytes: int


@frozen
class OutlinedColumn:
    """A column of every file, or of the files that have it."""

    name: str
    type: str


@frozen
class Outline:
    """What a conversion would write.

    Args:
        rows: Of all files; ``exact`` unless what is in the messages decides over rows or parts, then at most these.
        read_bytes: Stored bytes of the chunks that would be read.
        gates: The conditions of the spec's gates, judged; one that is not passed ends a conversion.
    """

    files: list[OutlinedFile]
    columns: list[OutlinedColumn]
    rows: int
    exact: bool
    read_bytes: int
    warnings: list[str]
    gates: "list[Verdict]" = field(factory=list)

    @property
    def size_bytes(self) -> int:
        """Estimated size of all dataset files."""
        return sum(file.size_bytes for file in self.files)


def columns_of(schemas: Iterable[pa.Schema]) -> list[OutlinedColumn]:
    """The distinct columns of schemas."""
    found = {member.name: str(member.type) for schema in schemas for member in schema}
    return [OutlinedColumn(name, kind) for name, kind in found.items()]


class Sizes:
    """Estimates sizes of files of one schema from some rows."""

    def __init__(
        self, output: Output, schema: pa.Schema, roles: Mapping[str, ColumnRole], rows: Sequence[pa.RecordBatch]
    ) -> None:
        """Encode ``rows``, the first ones there are, SAMPLE_ROWS at most."""
        sample = pa.Table.from_batches(rows, schema).slice(0, SAMPLE_ROWS)
        self._empty = _encoded(output, schema, roles, [])
        self._per_row = 0.0
        if sample.num_rows:
            self._per_row = (_encoded(output, schema, roles, sample.to_batches()) - self._empty) / sample.num_rows

    def of(self, n_rows: int) -> int:
        """Estimated bytes of a file of so many rows."""
        return self._empty + round(self._per_row * n_rows)


def _encoded(output: Output, schema: pa.Schema, roles: Mapping[str, ColumnRole], rows: Iterable[pa.RecordBatch]) -> int:
    with tempfile.TemporaryDirectory(prefix="hephaes-") as folder:
        path = Path(folder) / "sample"
        writer = open_writer(output, schema, path, {}, roles)
        try:
            for batch in rows:
                writer.write(batch)
            writer.finish()
        finally:
            writer.abandon()
        return path.stat().st_size
