"""Parquet files as pyarrow reads them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from hephaes_rpc.engine.datasets.writers import open_writer, parquet
from hephaes_rpc.engine.datasets.writers.base import ColumnRole
from hephaes_rpc.engine.specs.spec import ParquetOutput
from tests.engine.arrow_values import arrays
from tests.engine.test_tfrecord import KIND, ROWS, batch_of
from tests.thorough import examples

ANY = ParquetOutput()
METADATA = {"hephaes.version": "1", "hephaes.spec": "{}"}


def write(path: Path, batches: list[pa.RecordBatch], output: ParquetOutput = ANY) -> pq.FileMetaData:
    writer = parquet.ParquetFile(output, batches[0].schema, path, METADATA, {})
    for batch in batches:
        writer.write(batch)
    result = writer.finish()
    assert result.rows == writer.read_back(print).rows == sum(batch.num_rows for batch in batches)
    writer.abandon()
    return pq.read_metadata(path)


def groups(metadata: pq.FileMetaData) -> list[int]:
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(100))
@given(arrays())
def test_values_and_types_come_back(tmp_path: Path, array: pa.StructArray) -> None:
    batch = batch_of({"f": array})
    write(tmp_path / "a.parquet", [batch])
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.equals(batch.schema)
    assert repr(table.to_pylist()) == repr(batch.to_pylist())


def test_nan_bits_survive(tmp_path: Path) -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF0DEADBEEF0001, 0x7FF0000000000000, 1 << 63], np.uint64)
    array = pa.StructArray.from_arrays([pa.array(bits.view(np.float64))], ["x"])
    write(tmp_path / "a.parquet", [batch_of({"f": array})])
    (column,) = pq.read_table(tmp_path / "a.parquet")["f"].combine_chunks().flatten()
    assert column.to_numpy().view(np.uint64).tolist() == bits.tolist()


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_every_compression_is_used_and_reads_back(tmp_path: Path, compression: Any) -> None:
    batch = batch_of({"f": pa.array(ROWS * 20, KIND)})
    metadata = write(tmp_path / "a.parquet", [batch], ParquetOutput(compression=compression))
    names = {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)}
    assert names == {"UNCOMPRESSED" if compression == "none" else compression.upper()}
    assert repr(pq.read_table(tmp_path / "a.parquet").to_pylist()) == repr(batch.to_pylist())


@pytest.mark.parametrize("cuts", [[20], [1] * 20, [7, 0, 13], [3, 17]])
@pytest.mark.parametrize("rows", [1, 6, 7, 20, 21])
def test_row_groups_are_exact_however_rows_arrive(tmp_path: Path, cuts: list[int], rows: int) -> None:
    whole = batch_of({"f": pa.array([{"x": i} for i in range(20)], pa.struct([("x", pa.int32())]))})
    batches = [whole.slice(sum(cuts[:k]), cut) for k, cut in enumerate(cuts)]
    metadata = write(tmp_path / "a.parquet", batches, ParquetOutput(row_group_rows=rows))
    assert groups(metadata) == [rows] * (20 // rows) + ([20 % rows] if 20 % rows else [])
    assert pq.read_table(tmp_path / "a.parquet").to_batches(max_chunksize=20)[0].num_rows
    assert pq.read_table(tmp_path / "a.parquet")["timestamp_ns"].to_pylist() == whole["timestamp_ns"].to_pylist()


def test_groups_are_closed_by_bytes_or_by_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of({"f": pa.array([{"b": b"x" * 1000}] * 10, pa.struct([("b", pa.binary())]))})
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 25_000)
    assert groups(write(tmp_path / "a.parquet", [batch] * 7)) == [30, 30, 10]
    writer = parquet.ParquetFile(ANY, batch.schema, tmp_path / "b.parquet", {}, {})
    writer.write(batch)
    assert writer.pending_bytes == batch.nbytes
    writer.flush()
    assert writer.pending_bytes == 0
    writer.flush()
    writer.write(batch)
    writer.finish()
    assert groups(pq.read_metadata(tmp_path / "b.parquet")) == [10, 10]


def test_flush_does_not_break_prescribed_groups(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array([{"x": 1}] * 10, pa.struct([("x", pa.int32())]))})
    writer = parquet.ParquetFile(ParquetOutput(row_group_rows=8), batch.schema, tmp_path / "a.parquet", {}, {})
    for _ in range(2):
        writer.write(batch)
        writer.flush()
    assert 0 < writer.pending_bytes < batch.nbytes
    writer.finish()
    assert groups(pq.read_metadata(tmp_path / "a.parquet")) == [8, 8, 4]


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    metadata = write(tmp_path / "a.parquet", [batch_of({"f": pa.array(ROWS, KIND)})])
    assert {k: metadata.metadata[k.encode()].decode() for k in METADATA} == METADATA
    group = metadata.row_group(0)
    assert group.sorting_columns == (pq.SortingColumn(0),)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(metadata.num_columns)}
    assert columns["timestamp_ns"].statistics.min == 10**18
    assert columns["f.big"].statistics.max == 2**63 + 3
    assert columns["f.names.list.element"].has_dictionary_page
    assert not columns["f.covariance.list.element"].has_dictionary_page
    assert columns["f.blob"].statistics is None


def test_json_cells_keep_integers_bytes_and_nan(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND)})
    write(tmp_path / "a.parquet", [batch], ParquetOutput(payload_encoding="json"))
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.types == [pa.int64(), pa.string()]
    cells = table["f"].to_pylist()
    assert cells[1] is None
    first, third = json.loads(cells[0]), json.loads(cells[2])
    assert first["x"] == {"__float__": "nan"}
    assert first["big"] == 2**63
    assert third["blob"] == {"__bytes__": True, "encoding": "base64", "value": "AAEC"}
    assert third["shapes"][2]["points"][1] == {"x": 1.1, "name": "p1"}
    assert math.isclose(third["x"], 1e300)


def test_no_rows_is_a_file_with_a_schema(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array([], KIND)})
    assert write(tmp_path / "a.parquet", [batch]).num_rows == 0
    assert pq.read_schema(tmp_path / "a.parquet").equals(batch.schema)


def test_same_batches_same_bytes(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS * 10, KIND)})
    for name in ("a", "b"):
        write(tmp_path / name, [batch, batch], ParquetOutput(compression="zstd"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_abandoning_twice_is_fine(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND)})
    writer = parquet.ParquetFile(ANY, batch.schema, tmp_path / "a.parquet", {}, {})
    writer.write(batch)
    writer.abandon()
    writer.abandon()
    assert writer.pending_bytes == 0


def test_no_bytes_are_no_image(tmp_path: Path) -> None:
    schema = pa.schema([("timestamp_ns", pa.int64()), ("picture", pa.binary())])
    path = tmp_path / "x.parquet"
    file = open_writer(ParquetOutput(), schema, path, {}, {"picture": ColumnRole(is_image=True)})
    file.write(pa.record_batch([pa.array([1, 2, 3]), pa.array([b"", None, b"png"])], schema=schema))
    file.finish()
    assert pq.read_table(path)["picture"].to_pylist() == [None, None, {"bytes": b"png", "path": None}]
