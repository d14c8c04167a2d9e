"""Previews: the rows that a conversion writes, from anywhere in the log, at the cost of what is shown."""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.authoring.authored import PreviewRequest
from hephaes_rpc.engine.authoring.preview import Preview
from hephaes_rpc.engine.authoring.workbench import preview_log
from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs.document import load
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.engine.timeline.plan import Between, Chosen, Every, Grid, PartOf, Picks, Points
from hephaes_rpc.errors import HephaesError, SpecError
from tests.authoring_check import check_rows
from tests.corpus import Context
from tests.engine.picks import all_uses
from tests.factories import samples, write_mcap
from tests.thorough import examples


def spec_of(features: dict[str, Any], rows: dict[str, Any] | None = None, **more: Any) -> ConversionSpec:
    strategy = rows or {"trigger_topic": "/imu", "joins": [{"topic": "/joints", "required": False}]}
    return load({"row_strategy": strategy, "features": features, "output": {"format": "parquet"}, **more}).spec


def shown(log: Path, spec: ConversionSpec, **request: Any) -> Preview:
    return preview_log(str(log), spec, PreviewRequest(**request), Context(), time.perf_counter)


def written(log: Path, spec: ConversionSpec, folder: Path) -> list[dict[str, Any]]:
    task = ConvertTask(
        log_path=str(log), spec=spec, output_dir=str(folder), episode_id="episode_0001", stem="episode_0001"
    )
    (dataset,) = [output.path for output in convert(task, Context()).outputs if output.role == "dataset"]
    rows: list[dict[str, Any]] = pq.read_table(dataset).to_pylist()
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mcap(tmp_path_factory.mktemp("log") / "log.mcap", samples(600), compression="zstd", chunk_size=4000)


IMU = {"source": {"topic": "/imu", "field_path": "orientation.z"}, "dtype": "float64", "shape": []}
FIRST = {"source": {"topic": "/joints", "field_path": "position[1]"}, "dtype": "float64", "shape": []}


@pytest.mark.parametrize("missing", ["default", "zeros", "forward_fill", "drop"])
def test_rows_are_those_of_the_conversion_wherever_it_starts(log: Path, tmp_path: Path, missing: str) -> None:
    spec = spec_of({"z": IMU, "first": {**FIRST, "missing": missing}})
    all_rows = written(log, spec, tmp_path)
    for start in (0, 1, 57, 120):
        found = shown(log, spec, start_row=start, sample_n=7)
        times = [row.timestamp_ns for row in found.result.rows]
        at = next(k for k, row in enumerate(all_rows) if row["timestamp_ns"] == times[0])
        assert at == start or missing == "drop"
        assert found.table.to_pylist() == all_rows[at : at + 7]


@pytest.mark.parametrize("missing", ["default", "zeros", "forward_fill", "drop"])
def test_what_later_rows_have_is_shown_wherever_it_starts(log: Path, tmp_path: Path, missing: str) -> None:
    spec = spec_of({"z": IMU, "first": {**FIRST, "shift": 2, "missing": missing}})
    all_rows = written(log, spec, tmp_path)
    n_rows = shown(log, spec, sample_n=1).result.estimate.rows
    for start in (0, 57, n_rows - 9, n_rows - 2, n_rows - 1):
        found = shown(log, spec, start_row=start, sample_n=7)
        rows = found.table.to_pylist()
        if not rows:
            assert (missing, start >= n_rows - 2) == ("drop", True)
            continue
        at = next(k for k, row in enumerate(all_rows) if row["timestamp_ns"] == rows[0]["timestamp_ns"])
        assert at == start or missing == "drop"
        assert rows == all_rows[at : at + 7]
        assert found.result.checked_records == len(rows)


@pytest.mark.parametrize(
    "rows",
    [
        {"kind": "resample", "freq_hz": 300.0, "method": "interpolate"},
        {"kind": "resample", "freq_hz": 40.0, "method": "downsample", "skip_empty": True},
        {"kind": "resample", "freq_hz": 90.0, "method": "interpolate", "skip_empty": True, "anchor_topic": "/joints"},
        {"kind": "trigger", "trigger_topic": "/imu", "joins": [{"topic": "/joints", "sync_policy": "nearest"}]},
        {
            "kind": "trigger",
            "trigger_topic": "/imu",
            "joins": [{"topic": "/joints", "tolerance_ns": 10**7, "sync_policy": "nearest", "age_column": True}],
            "clock": "header_stamp",
        },
    ],
)
def test_every_row_strategy(log: Path, rows: dict[str, Any]) -> None:
    spec = spec_of({"z": IMU, "p": {"source": {"topic": "/joints", "field_path": "position"}, "dtype": "native"}}, rows)
    assert list(check_rows(log, spec)) == []


def test_a_start_by_time_or_by_offset(log: Path) -> None:
    spec = spec_of({"z": IMU}, {"topic": "/imu"})
    times = [row.timestamp_ns for row in shown(log, spec, sample_n=1000).result.rows]
    assert shown(log, spec, start_ns=times[40]).result.rows[0].timestamp_ns == times[40]
    assert shown(log, spec, start_ns=times[40] + 1, sample_n=1).result.rows[0].timestamp_ns > times[40]
    offset = (times[40] - times[0]) / 1e9
    assert shown(log, spec, offset_s=offset).result.rows[0].timestamp_ns == times[40]
    late = shown(log, spec, start_ns=times[-1] + 1).result
    assert late.rows == []
    assert late.warnings == [f"there is no row so late: the dataset has {len(times)} rows"]
    with pytest.raises(SpecError, match="not at several of them"):
        shown(log, spec, start_row=1, offset_s=1.0)


def test_only_the_chunks_of_the_rows_are_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hephaes_rpc.engine.logs import open_log

    with open_log(str(log)) as opened:
        kind, chunks = type(opened), len(opened.chunks)
    read: list[int] = []
    plain = kind.read_chunk
    monkeypatch.setattr(kind, "read_chunk", lambda self, i: (read.append(i), plain(self, i))[1])
    shown(log, spec_of({"z": IMU, "first": FIRST}), start_row=80, sample_n=3)
    assert chunks > 20
    assert 0 < len(read) <= 4


def test_absent_values_are_counted_and_told(log: Path) -> None:
    spec = spec_of({"z": {**IMU, "required": True}, "first": {**FIRST, "required": True}}, labels={"primary": "z"})
    result = shown(log, spec, sample_n=20).result
    absent = sum(row.field_data["first"] is None for row in result.rows)
    assert absent > 0
    assert [row.presence_data["first"] for row in result.rows].count(0) == absent
    assert result.missing_feature_counts == {"first": absent}
    assert result.missing_feature_rates == {"first": absent / 20}
    assert (result.checked_records, result.bad_records, result.preflight_ok) == (20, absent, False)
    assert result.label_summary is not None
    assert result.label_summary["present_count"] == 20
    assert any("position[1] is out of range" in text for text in result.warnings)


def test_the_budget_of_bad_records_holds(log: Path) -> None:
    spec = spec_of({"z": IMU, "first": {**FIRST, "required": True}}, validation={"bad_record_budget": 0})
    with pytest.raises(HephaesError, match="bad_record_budget") as caught:
        shown(log, spec, sample_n=20)
    assert caught.value.kind == "quality_gate"


def test_what_the_writer_refuses_is_told_before_it_writes(log: Path) -> None:
    name = {"source": {"topic": "/imu", "field_path": "header.frame_id"}, "dtype": "native"}
    features = {"a": {"source": {"topic": "/imu", "field_path": "header"}, "dtype": "native"}, "a__frame_id": name}
    spec = load({"row_strategy": {"topic": "/imu"}, "features": features, "output": {"format": "tfrecord"}}).spec
    with pytest.raises(SpecError, match="TFRecord key 'a__frame_id'"):
        shown(log, spec)


def test_large_values_are_told_by_size(log: Path) -> None:
    text = "x" * 5000
    constant = {"source": {"value": text}, "dtype": "native"}
    cell = shown(log, spec_of({"z": IMU, "c": constant}, {"topic": "/imu"}), sample_n=1).result.rows[0].field_data["c"]
    assert (len(cell["text"]), cell["characters"]) == (4096, 5000)


def test_the_estimate(log: Path, tmp_path: Path) -> None:
    spec = spec_of({"z": IMU, "first": FIRST})
    rows = written(log, spec, tmp_path)
    estimate = shown(log, spec, sample_n=len(rows)).result.estimate
    assert (estimate.rows, estimate.rows_exact) == (len(rows), True)
    (size,) = [path.stat().st_size for path in tmp_path.iterdir() if path.suffix == ".parquet"]
    assert abs(estimate.size_bytes - size) < 3000, "but for the metadata of the file"
    assert estimate.seconds is not None
    drops = spec_of({"z": IMU, "first": {**FIRST, "missing": "drop"}})
    assert not shown(log, drops).result.estimate.rows_exact


def test_hints_go_before_those_of_the_spec(log: Path) -> None:
    spec = spec_of({"z": IMU}, {"topic": "/imu"})
    assert shown(log, spec, topic_type_hints={"/imu": "sensor_msgs/Imu"}).result.rows
    with pytest.raises(SpecError, match="has no type 'a/B'"):
        shown(log, spec, topic_type_hints={"/imu": "a/B"})


def test_a_mapping_has_no_preview(log: Path) -> None:
    with pytest.raises(SpecError, match="only a spec with row_strategy and features"):
        shown(log, load({"mapping": {"imu": ["/imu"]}}).spec)


def test_a_damaged_index_is_rebuilt(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "log.mcap", samples(200), chunk_size=4000)
    data = bytearray(path.read_bytes())
    at = data.index(b"joint_1")
    data[at] ^= 0xFF  # a chunk whose checksum no longer fits
    path.write_bytes(data)
    assert shown(path, spec_of({"z": IMU}, {"topic": "/imu"}), sample_n=500).result.rows


# -- parts of tables ---------------------------------------------------------------------------------------------------


@st.composite
def picks_of_rows(draw: st.DrawFn) -> tuple[Picks, int]:
    """Picks of a stream, and how many rows the table has."""
    steps = draw(st.lists(st.integers(0, 7), min_size=1, max_size=12))
    times = np.array(list(itertools.accumulate(steps)), np.int64)
    kind = draw(st.sampled_from(["every", "chosen", "points", "between"]))
    if kind == "every":
        return Every(len(times)), len(times)
    if kind == "between":
        grid = Grid(draw(st.integers(-5, 20)), draw(st.integers(1, 5)), draw(st.integers(1, 30)))
        return Between.of(times, grid), grid.n_rows
    n_rows = draw(st.integers(1, 20))
    message = sorted(draw(st.lists(st.integers(0, len(times) - 1), min_size=n_rows, max_size=n_rows)))
    absent = draw(st.lists(st.booleans(), min_size=n_rows, max_size=n_rows))
    if kind == "chosen":
        return Chosen.of(np.where(absent, -1, message).astype(np.int32), len(times)), n_rows
    rows = np.flatnonzero(~np.array(absent))
    return Points(rows, np.array(message, np.int64)[rows]), n_rows


@settings(max_examples=examples(150), deadline=None)
@given(picks_of_rows(), st.data())
def test_a_part_takes_what_its_rows_take(made: tuple[Picks, int], data: st.DataObject) -> None:
    picks, n_rows = made
    first = data.draw(st.integers(0, n_rows))
    n = data.draw(st.integers(0, n_rows - first))
    part = PartOf(picks, first, n)
    whole, found = picks.window(first, first + n), part.window(0, n)
    assert found.rows.tolist() == whole.rows.tolist()
    assert found.lo.tolist() == whole.lo.tolist()
    wanted: dict[int, int] = {}
    for row in range(n):
        one = picks.window(first + row, first + row + 1)
        taken = set(one.lo.tolist())
        if one.hi is not None and one.weight is not None:
            taken |= set(one.hi[one.weight > 0].tolist())
        for message in taken:
            wanted.setdefault(message, row)
        assert all(message >= part.keep_from(row) for message in taken)
    message, row_of = all_uses(part)
    assert dict(zip(message.tolist(), row_of.tolist(), strict=True)) == dict(sorted(wanted.items()))
