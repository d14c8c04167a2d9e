"""Dataset writers behind one interface: record batches in, one complete file out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hephaes_rpc.engine.datasets.writers.base import ColumnRole, Writer
from hephaes_rpc.engine.specs.spec import Output, ParquetOutput

if TYPE_CHECKING:
    import pyarrow as pa


def open_writer(
    output: Output,
    schema: "pa.Schema",
    path: Path,
    metadata: Mapping[str, str],
    roles: Mapping[str, ColumnRole] | None = None,
) -> Writer:
    """A writer of ``output.format`` for ``path``, which it creates.

    Args:
        schema: ``timestamp_ns`` int64, then a nullable column per field (a struct) or feature (of any type).
        roles: By column; those left out are messages.
        metadata: ``hephaes.spec``, ``hephaes.source``, ``hephaes.version``: stored in the file or its sidecar.

    Raises:
        SpecError: The schema cannot be written with these options (colliding keys, ...).
    """
    if isinstance(output, ParquetOutput):
        from hephaes_rpc.engine.datasets.writers.parquet import ParquetFile

        return ParquetFile(output, schema, path, metadata, roles or {})
    from hephaes_rpc.engine.datasets.writers.tfrecord import TFRecordFile

    return TFRecordFile(output, schema, path, metadata, roles or {})
