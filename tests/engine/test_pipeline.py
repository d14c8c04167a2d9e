"""Conversions as a whole: what is published, what is counted, what is left behind when something goes wrong."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaes_rpc import __version__
from hephaes_rpc.engine.datasets import files as datasets
from hephaes_rpc.engine.datasets import mapped
from hephaes_rpc.engine.datasets.manifest import iso_ns
from hephaes_rpc.engine.datasets.writers.base import ReadBack
from hephaes_rpc.engine.logs import StaleIndexError, open_log
from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, convert
from hephaes_rpc.engine.specs.spec import ConversionSpec, Output, ParquetOutput, Resample, TFRecordOutput
from hephaes_rpc.errors import CancelledByClient, HephaesError, LogError, SpecError
from tests.corpus import Context
from tests.engine.test_logs_damage import edit
from tests.factories import (
    START_NS,
    TOPICS,
    Sample,
    mcap_message,
    mcap_record,
    mcap_text,
    samples,
    write_mcap,
)
from tests.reference import tfrecord as twin

MESSAGES = samples(300)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_mcap(tmp_path / "run.mcap", MESSAGES)


def task(log: Path, folder: Path, output: Output | None = None, *, overwrite: bool = False, **spec: Any) -> ConvertTask:
    return ConvertTask(
        log_path=str(log),
        spec=ConversionSpec(output=output or ParquetOutput(), **spec),
        output_dir=str(folder),
        episode_id="episode_0001",
        stem="run",
        overwrite=overwrite,
    )


def names(result: ConvertResult) -> list[str]:
    return [Path(output.path).name for output in result.outputs]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def manifest_of(folder: Path, name: str = "run.parquet") -> dict[str, Any]:
    return json.loads((folder / f"{name}.manifest.json").read_bytes())


# -- what is published -------------------------------------------------------------------------------------------------


def test_outputs_come_in_order_with_their_size_and_hash(log: Path, tmp_path: Path) -> None:
    result = convert(task(log, tmp_path / "out", TFRecordOutput(layout="topics")), Context())
    stems = [f"run-{topic[1:]}" for topic in sorted(TOPICS)]
    assert names(result) == [
        *(f"{stem}.tfrecord" for stem in stems),
        *(f"{stem}.features.{suffix}" for stem in stems for suffix in ("json", "py")),
        *(f"{stem}.tfrecord.report.md" for stem in stems),
        *(f"{stem}.tfrecord.manifest.json" for stem in stems),
    ]
    assert left(tmp_path / "out") == sorted(names(result))
    for output in result.outputs:
        content = Path(output.path).read_bytes()
        assert (output.size_bytes, output.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert Path(output.path).is_absolute()
    assert sum(output.rows for output in result.outputs) == result.counts["rows"] == len(MESSAGES)


def test_the_two_formats_share_a_folder(log: Path, tmp_path: Path) -> None:
    convert(task(log, tmp_path / "out"), Context())
    convert(task(log, tmp_path / "out", TFRecordOutput()), Context())
    assert left(tmp_path / "out") == [
        "run.features.json",
        "run.features.py",
        "run.parquet",
        "run.parquet.manifest.json",
        "run.parquet.report.md",
        "run.tfrecord",
        "run.tfrecord.manifest.json",
        "run.tfrecord.report.md",
    ]


def test_without_manifest_there_is_no_report_either(log: Path, tmp_path: Path) -> None:
    result = convert(task(log, tmp_path / "out", write_manifest=False), Context())
    assert names(result) == left(tmp_path / "out") == ["run.parquet"]


INTERPOLATE = Resample(freq_hz=50, method="interpolate")


@pytest.mark.parametrize(
    ("output", "resample"),
    [
        (ParquetOutput(compression="zstd"), None),
        (ParquetOutput(layout="topics"), None),
        (ParquetOutput(), INTERPOLATE),
        (ParquetOutput(payload_encoding="json"), None),
        (TFRecordOutput(compression="gzip"), None),
        (TFRecordOutput(layout="topics"), None),
        (TFRecordOutput(), INTERPOLATE),
    ],
)
def test_same_inputs_same_bytes(log: Path, tmp_path: Path, output: Output, resample: Resample | None) -> None:
    found = []
    for name in ("one", "another place"):
        made = convert(task(log, tmp_path / name, output, resample=resample), Context())
        found.append({Path(o.path).name: Path(o.path).read_bytes() for o in made.outputs})
    assert found[0] == found[1]


def test_rows_do_not_depend_on_container_or_memory_limits(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(task(log, tmp_path / "a"), Context())
    other = write_mcap(tmp_path / "other.mcap", MESSAGES, compression="zstd", chunk_size=500)
    monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.FLUSH_BYTES", 1000)
    monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.BATCH_BYTES", 1000)
    monkeypatch.setattr(datasets, "MAX_PENDING_BYTES", 5000)
    convert(task(other, tmp_path / "b"), Context())
    a, b = (pq.read_table(tmp_path / name / "run.parquet") for name in "ab")
    assert a.schema.equals(b.schema)
    assert repr(a.to_pylist()) == repr(b.to_pylist())
    assert pq.read_metadata(tmp_path / "b" / "run.parquet").num_row_groups > 5


def test_many_topics_are_written_in_several_passes(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = convert(task(log, tmp_path / "a", ParquetOutput(layout="topics")), Context())
    monkeypatch.setattr(mapped, "MAX_OPEN_FILES", 3)
    context = Context()
    parts = convert(task(log, tmp_path / "b", ParquetOutput(layout="topics")), context)
    assert [(o.sha256, o.rows) for o in whole.outputs] == [(o.sha256, o.rows) for o in parts.outputs]
    assert whole.counts == parts.counts
    for wanted in ("decode", "write"):
        fractions = [done / total for phase, done, total, *_ in context.told if phase == wanted]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1


def test_field_names_become_safe_and_distinct_file_names(log: Path, tmp_path: Path) -> None:
    mapping = {"a/b": ["/imu"], "a b": ["/imu"], "A_B": ["/chatter"], "../x": ["/joints"], "é": ["/blob"]}
    result = convert(task(log, tmp_path / "out", ParquetOutput(layout="topics"), mapping=mapping), Context())
    datasets = [name for name in names(result) if name.endswith(".parquet")]
    assert datasets == [
        "run-a_b.parquet",
        "run-a_b_2.parquet",
        "run-A_B_3.parquet",
        "run-.._x.parquet",
        "run-é.parquet",
    ]
    assert {Path(output.path).parent for output in result.outputs} == {tmp_path / "out"}


# -- mapping -----------------------------------------------------------------------------------------------------------


def test_one_topic_may_feed_two_fields(log: Path, tmp_path: Path) -> None:
    mapping = {"first": ["/nothing", "/imu"], "second": ["/imu"], "words": ["/chatter"]}
    result = convert(task(log, tmp_path / "out", mapping=mapping), Context())
    table = pq.read_table(tmp_path / "out" / "run.parquet")
    assert table.column_names == ["timestamp_ns", "first", "second", "words"]
    assert repr(table["first"].to_pylist()) == repr(table["second"].to_pylist())
    assert result.counts["messages"] == sum(m.topic in ("/imu", "/chatter") for m in MESSAGES)
    conversion = manifest_of(tmp_path / "out")["conversion"]
    assert conversion["mapping_requested"] == mapping
    assert conversion["mapping_resolved"] == {"first": "/imu", "second": "/imu", "words": "/chatter"}
    assert conversion["mapping_mode"] == "custom"


def test_a_topic_the_log_lacks_is_refused_before_anything_is_made(log: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no topic '/imuu'; did you mean '/imu'"):
        convert(task(log, tmp_path / "out", mapping={"a": ["/imuu"]}), Context())
    assert not (tmp_path / "out").exists()


def mixed_log(path: Path) -> Path:
    """Two decodable topics, one with an encoding of its own, and one with a broken definition."""
    records = mcap_record(1, mcap_text("ros2") + mcap_text("hand"))
    for id_, topic, encoding, text in (
        (1, "/good", "cdr", "int8 data"),
        (2, "/odd", "json", "int8 data"),
        (3, "/broken", "cdr", "int8 data["),
        (4, "/nested", "cdr", "int8 x__data"),
    ):
        records += mcap_record(3, id_.to_bytes(2, "little") + b"".join(map(mcap_text, ("a/msg/B", "ros2msg", text))))
        ids = id_.to_bytes(2, "little") * 2
        records += mcap_record(4, ids + mcap_text(topic) + mcap_text(encoding) + bytes(4))
        records += mcap_message(id_, 5, b"\0\1\0\0\7")
    path.write_bytes(
        b"\x89MCAP0\r\n" + records + mcap_record(15, bytes(4)) + mcap_record(2, bytes(20)) + b"\x89MCAP0\r\n"
    )
    return path


def test_undecodable_topics_are_left_out_with_a_warning(tmp_path: Path) -> None:
    log = mixed_log(tmp_path / "a.mcap")
    result = convert(task(log, tmp_path / "out"), Context())
    assert pq.read_table(tmp_path / "out" / "run.parquet").to_pylist() == [
        {"timestamp_ns": 5, "good": {"data": 7}, "nested": {"x__data": 7}}
    ]
    left_out = [warning for warning in result.warnings if "is left out" in warning]
    assert len(left_out) == 2
    assert "'/broken'" in left_out[0]
    assert "'/odd' is left out: message encoding 'json'" in left_out[1]
    assert "is left out" in (tmp_path / "out" / "run.parquet.report.md").read_text()


@pytest.mark.parametrize(("topic", "kind"), [("/odd", "unsupported"), ("/broken", "bad_input")])
def test_an_undecodable_topic_asked_for_is_an_error(tmp_path: Path, topic: str, kind: str) -> None:
    log = mixed_log(tmp_path / "a.mcap")
    with pytest.raises(LogError, match=f"mapping field 'x': topic '{topic}' cannot be decoded: ") as failure:
        convert(task(log, tmp_path / "out", mapping={"x": [topic]}), Context())
    assert failure.value.kind == kind
    assert not (tmp_path / "out").exists()


# -- counts, manifest, report ------------------------------------------------------------------------------------------


def test_losses_are_counted_told_and_left_as_nulls_or_out(tmp_path: Path) -> None:
    bad, text = b"\0\1\0\0\xff\0\0\0x", b"\0\1\0\0\3\0\0\0\xffz\0"
    rows = [
        Sample("/chatter", START_NS + time, payload)
        for time, payload in ((5, text), (3, bad), (9, text), (9, bad), (20, text))
    ]
    log = write_mcap(tmp_path / "a.mcap", rows)
    result = convert(task(log, tmp_path / "wide"), Context())
    table = pq.read_table(tmp_path / "wide" / "run.parquet").to_pylist()
    word = {"data": "\ufffdz"}
    assert [(row["timestamp_ns"] - START_NS, row["chatter"]) for row in table] == [
        (3, None),
        (5, word),
        (9, None),
        (20, word),
    ]
    assert result.counts == {
        "rows": 4,
        "messages": 5,
        "decoded": 2,
        "decode_failures": 2,
        "collisions": 1,
        "out_of_order": 1,
    }
    assert any("'/chatter': 2 of 5 messages could not be decoded, the first at" in w for w in result.warnings)
    assert any("'/chatter': 2 strings are not UTF-8" in w for w in result.warnings)
    topic = manifest_of(tmp_path / "wide")["conversion"]["topics"]["chatter"]
    assert (topic["decode_failures"], topic["collisions"], topic["out_of_order"]) == (2, 1, 1)
    assert topic["first_failures"][0]["log_time_ns"] == START_NS + 3
    assert topic["replaced_strings"] == 2
    single = convert(task(log, tmp_path / "topics", ParquetOutput(layout="topics")), Context())
    assert single.counts["rows"] == 3
    assert pq.read_table(tmp_path / "topics" / "run-chatter.parquet")["chatter"].to_pylist() == [word] * 3


def test_the_manifest_says_what_the_dataset_is(log: Path, tmp_path: Path) -> None:
    resample = Resample(freq_hz=20, method="downsample")
    result = convert(task(log, tmp_path / "out", TFRecordOutput(), resample=resample), Context())
    content = manifest_of(tmp_path / "out", "run.tfrecord")
    assert list(content) == [
        "manifest_version",
        "hephaes_version",
        "episode_id",
        "dataset",
        "source",
        "temporal",
        "conversion",
        "robot_context",
        "labels",
        "privacy",
    ]
    dataset = result.outputs[0]
    assert content["hephaes_version"] == __version__
    assert content["dataset"]["path"] == content["dataset"]["output_filename"] == "run.tfrecord"
    assert content["dataset"]["sha256"] == dataset.sha256
    assert content["dataset"]["file_size_bytes"] == dataset.size_bytes
    assert content["dataset"]["rows_written"] == dataset.rows == len(twin.read(tmp_path / "out" / "run.tfrecord"))
    assert content["dataset"]["sidecars"] == ["run.features.json", "run.features.py"]
    assert content["source"]["path"] == "run.mcap"
    assert content["source"]["storage_format"] == "mcap"
    times = [message.time for message in MESSAGES]
    assert content["temporal"] == {
        "start_timestamp": min(times),
        "end_timestamp": max(times),
        "start_time_iso": iso_ns(min(times)),
        "end_time_iso": iso_ns(max(times)),
        "duration_seconds": (max(times) - min(times)) / 1e9,
        "message_count": len(MESSAGES),
    }
    assert content["conversion"]["resample"] == {"freq_hz": 20.0, "method": "downsample"}
    assert content["conversion"]["payload_representation"]["image_payload_contract"] == "bytes_v2"
    imu = content["conversion"]["topics"]["imu"]
    assert imu["messages"] == sum(message.topic == "/imu" for message in MESSAGES)
    assert imu["narrowed_float64"] > 0
    report = (tmp_path / "out" / "run.tfrecord.report.md").read_text()
    assert "| imu | /imu | sensor_msgs/msg/Imu |" in report
    assert "downsample to 20 Hz" in report


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times_are_written_exactly(time: int, text: str) -> None:
    assert iso_ns(time) == text


def test_the_dataset_carries_spec_source_and_version(log: Path, tmp_path: Path) -> None:
    convert(task(log, tmp_path / "out", mapping={"a": ["/imu"]}), Context())
    metadata = pq.read_metadata(tmp_path / "out" / "run.parquet").metadata
    assert metadata[b"hephaes.version"].decode() == __version__
    assert json.loads(metadata[b"hephaes.spec"])["mapping"] == {"a": ["/imu"]}
    source = json.loads(metadata[b"hephaes.source"])
    assert source["file_name"] == "run.mcap"
    assert source["fields"] == {"a": {"topic": "/imu", "type": "sensor_msgs/msg/Imu"}}


@pytest.mark.parametrize(
    "output", [ParquetOutput(), TFRecordOutput(compression="gzip"), ParquetOutput(layout="topics")]
)
def test_an_empty_log_gives_an_empty_dataset(tmp_path: Path, output: Output, data: Path) -> None:
    result = convert(task(data / "no-messages.bag", tmp_path / "out", output), Context())
    assert [o.rows for o in result.outputs if o.role == "dataset"] == [0]
    assert set(result.counts.values()) == {0}
    temporal = manifest_of(tmp_path / "out", f"run.{output.format}")["temporal"]
    assert temporal["start_timestamp"] is temporal["end_time_iso"] is None
    assert temporal["duration_seconds"] == 0


@pytest.mark.parametrize("method", ["downsample", "interpolate"])
def test_an_empty_topic_beside_a_full_one_is_a_column_of_nulls(tmp_path: Path, method: Any) -> None:
    log = write_mcap(tmp_path / "a.mcap", samples(50, topics=["/imu"]))
    body = mcap_record(3, (9).to_bytes(2, "little") + b"".join(map(mcap_text, ("a/msg/B", "ros2msg", "int8[] x"))))
    body += mcap_record(4, (9).to_bytes(2, "little") * 2 + mcap_text("/silent") + mcap_text("cdr") + bytes(4))
    content = log.read_bytes()
    at = content.index(mcap_record(15, bytes(4))[:9])
    log.write_bytes(content[:at] + body + mcap_record(15, bytes(4)) + mcap_record(2, bytes(20)) + b"\x89MCAP0\r\n")
    for resample in (None, Resample(freq_hz=50, method=method)):
        folder = tmp_path / str(resample is None)
        convert(task(log, folder, resample=resample), Context())
        table = pq.read_table(folder / "run.parquet")
        assert table.num_rows
        assert table["silent"].null_count == table.num_rows


# -- progress and cancellation -----------------------------------------------------------------------------------------


def test_progress_goes_through_the_phases_and_to_the_end(log: Path, tmp_path: Path) -> None:
    context = Context()
    convert(task(log, tmp_path / "out"), context)
    phases = list(dict.fromkeys(phase for phase, *_ in context.told))
    assert phases == ["index", "plan", "decode", "write", "publish"]
    for phase in phases:
        steps = [(done, total, unit) for name, done, total, unit, _ in context.told if name == phase]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]
    units = {name: unit for name, _, _, unit, _ in context.told}
    assert units == {"index": "bytes", "plan": "messages", "decode": "bytes", "write": "rows", "publish": "bytes"}


class Cancelling(Context):
    """Asks to stop at the n-th check."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.checks = at, 0
        self.thread = threading.current_thread()

    def check(self) -> None:
        assert threading.current_thread() is self.thread
        self.checks += 1
        if self.checks == self.at:
            raise CancelledByClient


@pytest.mark.parametrize("output", [ParquetOutput(layout="topics"), TFRecordOutput(compression="gzip")])
def test_cancelling_at_any_check_leaves_nothing(log: Path, tmp_path: Path, output: Output) -> None:
    context = Cancelling(-1)
    convert(task(log, tmp_path / "whole", output), context)
    assert context.checks > 20
    for at in range(1, context.checks + 1):
        with pytest.raises(CancelledByClient):
            convert(task(log, tmp_path / "out", output), Cancelling(at))
        assert left(tmp_path / "out") == []
    assert {thread.name for thread in threading.enumerate() if "hephaes-" in thread.name} == set()


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_an_existing_output_is_refused_before_the_log_is_read(log: Path, tmp_path: Path) -> None:
    for existing in ("run.parquet", "run.parquet.manifest.json", "run.parquet.report.md"):
        folder = tmp_path / existing
        folder.mkdir()
        (folder / existing).write_text("mine")
        context = Context()
        with pytest.raises(HephaesError, match="is already there") as refusal:
            convert(task(log, folder), context)
        assert refusal.value.kind == "output_exists"
        assert left(folder) == [existing]
        assert (folder / existing).read_text() == "mine"
        assert not [phase for phase, *_ in context.told if phase == "decode"]
        convert(task(log, folder, overwrite=True), Context())
        assert (folder / existing).read_text(errors="replace") != "mine"


def test_a_spec_that_contradicts_itself_is_refused(log: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="layout 'topics'"):
        convert(
            task(log, tmp_path, ParquetOutput(layout="topics"), resample=Resample(freq_hz=1, method="downsample")),
            Context(),
        )


def test_colliding_keys_leave_nothing(tmp_path: Path) -> None:
    log = mixed_log(tmp_path / "a.mcap")
    mapping = {"a": ["/nested"], "a__x": ["/good"]}
    with pytest.raises(SpecError, match=r"'a.x__data' and 'a__x.data' both have the TFRecord key 'a__x__data'"):
        convert(task(log, tmp_path / "out", TFRecordOutput(), mapping=mapping), Context())
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("output", [ParquetOutput(), TFRecordOutput()])
def test_a_damaged_chunk_is_left_out_with_a_warning(log: Path, tmp_path: Path, output: Output) -> None:
    with open_log(log) as opened:
        at = int(opened.chunks.position[1])
        lost = opened.messages(1, opened.slots(opened.summary.streams))[1].messages
    edit(log, lambda data: data.__setitem__(at + 200, data[at + 200] ^ 1))
    result = convert(task(log, tmp_path / "out", output), Context())
    assert result.counts["messages"] == len(MESSAGES) - lost
    assert any("its messages are left out" in warning for warning in result.warnings)
    assert manifest_of(tmp_path / "out", f"run.{output.format}")["source"]["source_metadata"]["outcome"] == "part"
    assert len(left(tmp_path / "out")) == len(result.outputs)


def test_an_index_that_lies_is_overruled(tmp_path: Path) -> None:
    log = write_mcap(tmp_path / "run.mcap", MESSAGES, chunk_size=100_000)
    good = convert(task(log, tmp_path / "good"), Context())
    with open_log(log) as opened:
        at, start, end = (int(a[0]) for a in (opened.chunks.position, opened.chunks.start_ns, opened.chunks.end_ns))

    def lie(data: bytearray) -> None:
        """Move an entry inside the chunk's time range by 1 ns."""
        record, time = at, start
        while not start < time < end - 1:
            record += 9 + int.from_bytes(data[record + 1 : record + 9], "little")
            assert data[record] == 7
            time = int.from_bytes(data[record + 15 : record + 23], "little")
        data[record + 15 : record + 23] = (time + 1).to_bytes(8, "little")

    edit(log, lie)
    with open_log(log) as opened, pytest.raises(StaleIndexError):
        opened.messages(0, opened.slots(opened.summary.streams))
    again = convert(task(log, tmp_path / "again"), Context())
    assert again.outputs[0].sha256 == good.outputs[0].sha256
    assert again.counts == good.counts


LIMITED = """
import resource, signal, sys
from pathlib import Path
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.engine.pipeline import convert
from hephaes_rpc.engine.specs.spec import ParquetOutput, TFRecordOutput
from tests.engine.test_pipeline import Context, left, task

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log, folder = map(Path, sys.argv[1:3])
for limit in (0, 1, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for output in ParquetOutput(), ParquetOutput(layout="topics"), TFRecordOutput(compression="gzip"), TFRecordOutput():
        try:
            convert(task(log, folder, output), Context())
        except HephaesError as error:
            assert error.kind == "disk_full", error
            assert "bytes are free" in error.message
        else:
            raise SystemExit(f"no error at {limit} {output}")
        assert left(folder) == [], left(folder)
"""


def test_a_full_disk_is_an_error_that_leaves_nothing(log: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(log), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o500)
    with pytest.raises(HephaesError) as failure:
        convert(task(log, folder), Context())
    assert failure.value.kind == "permission"


def test_a_bug_in_a_writer_reaches_the_caller(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("hephaes_rpc.engine.datasets.writers.tfrecord.TFRecordFile.write", broken)
    with pytest.raises(ZeroDivisionError):
        convert(task(log, tmp_path / "out", TFRecordOutput()), Context())
    assert left(tmp_path / "out") == []


def test_a_file_that_does_not_read_back_is_not_published(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hephaes_rpc.engine.datasets.writers.tfrecord.TFRecordFile.read_back", lambda *_: ReadBack(1, "")
    )
    with pytest.raises(HephaesError, match="rows were written and 1 can be read"):
        convert(task(log, tmp_path / "out", TFRecordOutput()), Context())
    assert left(tmp_path / "out") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from hephaes_rpc.engine.pipeline import convert
from hephaes_rpc.engine.specs.spec import TFRecordOutput
from tests.engine.test_pipeline import Context, task

class Dying(Context):
    def progress(self, phase, done, total, unit, message=""):
        if phase == sys.argv[3] and done:
            os.kill(os.getpid(), signal.SIGKILL)

convert(task(Path(sys.argv[1]), Path(sys.argv[2]), TFRecordOutput()), Dying())
"""


@pytest.mark.parametrize("phase", ["decode", "write"])
def test_a_killed_conversion_leaves_no_final_name_and_does_not_hinder_the_next(
    log: Path, tmp_path: Path, phase: str
) -> None:
    folder = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(log), str(folder), phase], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert all(name.startswith(".") and name.endswith(".tmp") for name in left(folder))
    result = convert(task(log, folder, TFRecordOutput()), Context())
    assert left(folder) == sorted(names(result))
