"""Conversions of rows with features as a whole: values, files, policies, what is told, what is refused."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, convert, outline
from hephaes_rpc.engine.specs import document
from hephaes_rpc.errors import CancelledByClient, HephaesError, SpecError
from tests import factories
from tests.corpus import Context
from tests.factories import (
    START_NS,
    Sample,
    mcap_message,
    mcap_record,
    mcap_text,
    samples,
    store,
    write_bag,
    write_mcap,
)
from tests.reference import tfrecord as twin

MESSAGES = samples(300)
ACC = {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"}
WORD = {"source": {"topic": "/chatter", "field_path": "data"}, "dtype": "native"}
FIRST_JOINT = {"source": {"topic": "/joints", "field_path": "position[0]"}, "dtype": "float64"}
PER_WORD = {"row_strategy": {"kind": "per-message", "topic": "/chatter"}, "features": {"word": WORD}}
PER_JOINT = {"row_strategy": {"kind": "per-message", "topic": "/joints"}, "features": {"p0": FIRST_JOINT}}
THIRDS = {"train_fraction": 0.5, "val_fraction": 0.3, "test_fraction": 0.2}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_mcap(tmp_path / "run.mcap", MESSAGES)


def task(log: Path, folder: Path, spec: dict[str, Any], **more: Any) -> ConvertTask:
    loaded = document.load({"spec_version": 2, "spec": {"output": {"format": "parquet"}} | spec})
    return ConvertTask(log_path=str(log), spec=loaded.spec, output_dir=str(folder), episode_id="ep", stem="run", **more)


def run(log: Path, folder: Path, spec: dict[str, Any], **more: Any) -> ConvertResult:
    return convert(task(log, folder, spec, **more), Context())


def datasets(result: ConvertResult) -> list[Path]:
    return [Path(output.path) for output in result.outputs if output.role == "dataset"]


def table(log: Path, folder: Path, spec: dict[str, Any]) -> pa.Table:
    (path,) = datasets(run(log, folder, spec))
    return pq.read_table(path)


def manifest(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(f"{path.name}.manifest.json").read_bytes())


def of_topic(topic: str, messages: list[Sample] = MESSAGES) -> list[Sample]:
    return sorted((m for m in messages if m.topic == topic), key=lambda m: m.time)


def word_of(sample: Sample) -> str:
    return str(store(2).deserialize_cdr(sample.payload, "std_msgs/msg/String").data)


def joints_of(sample: Sample) -> list[float]:
    return [float(x) for x in store(2).deserialize_cdr(sample.payload, "sensor_msgs/msg/JointState").position]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["parquet", "tfrecord"])
def test_a_row_per_message_with_its_values(log: Path, tmp_path: Path, format_: str) -> None:
    spec = PER_WORD | {"output": {"format": format_}}
    (path,) = datasets(run(log, tmp_path / "out", spec))
    expected = [(m.time, word_of(m)) for m in of_topic("/chatter")]
    if format_ == "parquet":
        found = pq.read_table(path)
        assert found.schema.types == [pa.int64(), pa.string()]
        rows = list(zip(found["timestamp_ns"].to_pylist(), found["word"].to_pylist(), strict=True))
    else:
        records = twin.read(path)
        assert {tuple(record) for record in records} == {("timestamp_ns", "word__present", "word")}
        rows = [(r["timestamp_ns"][1][0], r["word"][1][0].decode()) for r in records]
    assert rows == expected


def test_joins_ages_and_metadata(log: Path, tmp_path: Path) -> None:
    join = {"topic": "/chatter", "required": False, "age_column": True}
    spec = {
        "row_strategy": {"kind": "trigger", "trigger_topic": "/joints", "joins": [join]},
        "features": {
            "word": WORD,
            "heard": {"source": {"kind": "metadata", "key": "log_time_ns", "topic": "/chatter"}, "dtype": "int64"},
            "said": {"source": {"kind": "metadata", "key": "publish_time_ns", "topic": "/chatter"}, "dtype": "int64"},
            "topics": {"source": {"kind": "metadata", "key": "present_topics"}, "dtype": "native"},
            "who": {"source": {"kind": "metadata", "key": "episode_id"}, "dtype": "native"},
        },
    }
    found = table(log, tmp_path / "out", spec)
    words = of_topic("/chatter")
    for row in found.to_pylist():
        before = [m for m in words if m.time <= row["timestamp_ns"]]
        last = before[-1] if before else None
        assert row["word"] == (None if last is None else word_of(last))
        assert row["heard"] == (None if last is None else last.time)
        assert row["said"] == (None if last is None else last.time - 7)
        assert row["chatter__age_ns"] == (None if last is None else row["timestamp_ns"] - last.time)
        assert row["topics"] == ([] if last is None else ["/chatter"]) + ["/joints"]
        assert row["who"] == "ep"
    assert found.num_rows == len(of_topic("/joints"))


def test_rows_on_the_clock_of_the_message(tmp_path: Path) -> None:
    log = write_mcap(tmp_path / "a.mcap", samples(80, topics=("/imu",)))
    stamps = [1_700_000_000 * 10**9 + n * (10**9 + 1000) for n in range(80)]
    spec = {"row_strategy": {"kind": "per-message", "topic": "/imu", "clock": "header_stamp"}, "features": {"a": ACC}}
    assert table(log, tmp_path / "out", spec)["timestamp_ns"].to_pylist() == stamps
    spec["row_strategy"]["clock"] = "publish_time"
    times = table(log, tmp_path / "published", spec)["timestamp_ns"].to_pylist()
    assert times == [m.time - 7 for m in of_topic("/imu", samples(80, topics=("/imu",)))]


def test_a_feature_of_no_topic_needs_no_payload(log: Path, tmp_path: Path) -> None:
    spec = PER_WORD | {"features": {"k": {"source": {"kind": "constant", "value": 7}, "dtype": "int64"}}}
    assert table(log, tmp_path / "out", spec)["k"].to_pylist() == [7] * len(of_topic("/chatter"))
    assert manifest(tmp_path / "out" / "run.parquet")["conversion"]["topics"]["/chatter"]["decoded"] == 0


@pytest.mark.parametrize("missing", ["default", "forward_fill", "drop"])
@pytest.mark.parametrize("sizes", [{}, {"FLUSH_BYTES": 2000, "BATCH_BYTES": 900}])
def test_a_shifted_feature_is_that_of_a_later_row(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, sizes: dict[str, int]
) -> None:
    """Whatever batches rows come in; beside features of the row itself, in shards, with what is told of it."""
    for name, size in sizes.items():
        monkeypatch.setattr(f"hephaes_rpc.engine.timeline.assembly.{name}", size)
        monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.FIRST_PIECE_ROWS", 3)
        monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.PIECE_BYTES", 300)
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/chatter"},
        "features": {"word": WORD, "next": WORD | {"shift": 1, "missing": missing}, "third": WORD | {"shift": 3}},
        "output": {"format": "parquet", "shards": 2},
    }
    parts = [pq.read_table(path) for path in datasets(run(log, tmp_path / "out", spec))]
    words = [word_of(m) for m in of_topic("/chatter")]
    following = {"default": [*words[1:], None], "forward_fill": [*words[1:], words[-1]], "drop": words[1:]}[missing]
    expected = list(zip(words, following, [*words[3:], None, None, None], strict=False))
    found = pa.concat_tables(parts)
    assert [tuple(row[name] for name in ("word", "next", "third")) for row in found.to_pylist()] == expected
    assert abs(parts[0].num_rows - parts[1].num_rows) <= 1
    told = manifest(datasets(run(log, tmp_path / "again", spec))[0])["conversion"]["features"]
    assert told["third"]["causes"] == {"no row is so late": 3}
    assert (told["word"]["shift"], told["next"]["shift"], told["third"]["absent"]) == (0, 1, 3)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["time", "random", "group"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("missing", ["default", "drop"])
def test_files_hold_every_row_once(log: Path, tmp_path: Path, strategy: str, shards: int, missing: str) -> None:
    feature = FIRST_JOINT | {"missing": missing}
    size = {"source": {"topic": "/joints", "field_path": "name"}, "dtype": "native"}
    whole = PER_JOINT | {"features": {"p0": feature, "size": size}}
    split = {"strategy": strategy, **THIRDS} | ({"group_by": "size"} if strategy == "group" else {})
    cut = whole | {"split": split, "output": {"format": "parquet", "shards": shards}}
    paths = datasets(run(log, tmp_path / "cut", cut))
    parts: dict[str, list[list[Any]]] = {}
    for path in paths:
        told, rows = manifest(path), pq.read_table(path).to_pylist()
        assert len(rows) == told["dataset"]["rows_written"]
        parts.setdefault(told["dataset"]["split_name"], []).append(rows)
    together = [row for files in parts.values() for rows in files for row in rows]
    expected = table(log, tmp_path / "whole", whole).to_pylist()
    by_time = sorted(together, key=lambda row: (row["timestamp_ns"], repr(row)))
    assert by_time == sorted(expected, key=lambda row: (row["timestamp_ns"], repr(row)))
    assert len(expected) == sum(bool(joints_of(m)) or missing == "default" for m in of_topic("/joints"))
    for files in parts.values():
        sizes = [len(rows) for rows in files]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) - min(sizes) <= 1
        times = [row["timestamp_ns"] for rows in files for row in rows]
        assert times == sorted(times)
    counts = manifest(paths[0])["conversion"]["split_counts"]
    assert {name: count for name, count in counts.items() if count} == {
        name: sum(map(len, files)) for name, files in parts.items()
    }
    if strategy == "group":
        owners = [{tuple(row["size"]) for rows in files for row in rows} for files in parts.values()]
        assert sum(map(len, owners)) == len(set().union(*owners))


def test_some_of_the_files_are_the_same_bytes(log: Path, tmp_path: Path) -> None:
    spec = PER_WORD | {"split": {"strategy": "random", **THIRDS}, "output": {"format": "tfrecord", "shards": 2}}
    whole = {Path(o.path).name: Path(o.path).read_bytes() for o in run(log, tmp_path / "whole", spec).outputs}
    names = [path.name for path in datasets(run(log, tmp_path / "again", spec))]
    cut: dict[str, bytes] = {}
    for k, name in enumerate(names):
        found = run(log, tmp_path / str(k), spec, only=(name,))
        cut |= {Path(o.path).name: Path(o.path).read_bytes() for o in found.outputs}
    assert cut == whole
    with pytest.raises(HephaesError, match="makes no file 'other'"):
        run(log, tmp_path / "none", spec, only=("other",))


def test_template_names(log: Path, tmp_path: Path) -> None:
    template = "{split}-{shard:02}of{num_shards}.{episode_id}.{extension}"
    output = {"format": "parquet", "shards": 2, "filename_template": template}
    spec = PER_WORD | {"split": {"strategy": "time", **THIRDS}, "output": output}
    names = [path.name for path in datasets(run(log, tmp_path / "out", spec))]
    assert names == [f"{part}-0{k}of2.ep.parquet" for part in ("train", "val", "test") for k in (0, 1)]


def test_more_shards_than_rows_and_no_rows(log: Path, tmp_path: Path) -> None:
    output = {"format": "parquet", "shards": 500}
    n = len(of_topic("/chatter"))
    paths = datasets(run(log, tmp_path / "many", PER_WORD | {"output": output}))
    assert [path.name for path in paths][-1] == f"run-{n - 1:05}-of-{n:05}.parquet"
    empty = PER_WORD | {"output": output, "input": {"start_ns": 5, "end_ns": 5}}
    (path,) = datasets(run(log, tmp_path / "none", empty))
    assert (path.name, pq.read_table(path).num_rows) == ("run.parquet", 0)
    assert pq.read_schema(path).names == ["timestamp_ns", "word"]


# -- labels and validation ---------------------------------------------------------------------------------------------


def test_labels_are_a_column_of_classes(log: Path, tmp_path: Path) -> None:
    sizes = {"source": {"topic": "/joints", "field_path": "name"}, "multi_label": True}
    classes = {f"joint_{k}": k for k in range(4)}
    spec = PER_JOINT | {"labels": sizes | {"class_map": classes}}
    found = table(log, tmp_path / "out", spec)
    hot = [[int(k < len(joints_of(m))) for k in range(4)] for m in of_topic("/joints")]
    assert found["label"].to_pylist() == hot
    del classes["joint_2"]
    with pytest.raises(HephaesError, match=r"no class for 'joint_2' \(row at"):
        run(log, tmp_path / "no", spec)
    assert left(tmp_path / "no") == []


def test_a_primary_feature_alone_is_only_summed_up(log: Path, tmp_path: Path) -> None:
    spec = PER_JOINT | {"labels": {"primary": "p0"}}
    (path,) = datasets(run(log, tmp_path / "out", spec))
    assert pq.read_schema(path).names == ["timestamp_ns", "p0"]
    summary = manifest(path)["conversion"]["preflight"]["label_summary"]
    lengths = [len(joints_of(m)) for m in of_topic("/joints")]
    assert (summary["present_count"], summary["missing_count"]) == (sum(map(bool, lengths)), lengths.count(0))


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (
            {"fail_fast": True},
            r"is set: feature 'p0' has no value in the row at \d+ ns: position\[0\] is out",
        ),
        ({"bad_record_budget": 3}, "more than 3 records are bad"),
        ({"fail_fast": True, "sample_n": 1}, None),
        ({"bad_record_budget": 300}, None),
        ({}, None),
    ],
)
def test_bad_records(log: Path, tmp_path: Path, validation: dict[str, Any], message: str | None) -> None:
    spec = PER_JOINT | {"features": {"p0": FIRST_JOINT | {"required": True}}, "validation": validation}
    if message is not None:
        with pytest.raises(HephaesError, match=message) as caught:
            run(log, tmp_path / "out", spec)
        assert caught.value.kind == "quality_gate"
        assert left(tmp_path / "out") == []
        return
    start = next(m.time for m in of_topic("/joints") if joints_of(m))
    result = run(log, tmp_path / "out", spec | {"input": {"start_ns": start}})
    kept = [m for m in of_topic("/joints") if m.time >= start]
    preflight = manifest(datasets(result)[0])["conversion"]["preflight"]
    bad = sum(not joints_of(m) for m in kept)
    if "sample_n" not in validation:
        assert result.counts["bad_records"] == preflight["bad_records"] == bad
        assert preflight["missing_feature_counts"] == {"p0": bad}
        assert any(f"{bad} of" in warning and "records are bad" in warning for warning in result.warnings)
    assert preflight["checked_records"] == validation.get("sample_n", len(kept))


def test_a_preview_is_asked_for(log: Path, tmp_path: Path) -> None:
    for asked in (True, False):
        (path,) = datasets(run(log, tmp_path / str(asked), PER_WORD | {"validation": {"preview": asked}}))
        report = path.with_name(f"{path.name}.report.md").read_text()
        assert ("## First rows" in report) is asked
        if asked:
            assert [row["word"] for row in manifest(path)["conversion"]["preview"]] == [
                word_of(m) for m in of_topic("/chatter")[:5]
            ]


# -- missing values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["default", "zeros", "forward_fill", "drop"])
@pytest.mark.parametrize("presence_flag", [True, False])
def test_missing_values_are_what_the_policy_says(log: Path, tmp_path: Path, missing: str, presence_flag: bool) -> None:
    feature = FIRST_JOINT | {"missing": missing, "presence_flag": presence_flag}
    spec = PER_JOINT | {"features": {"p0": feature}}
    values: list[float | None] = [next(iter(joints_of(m)), None) for m in of_topic("/joints")]
    expected, last = [], None
    for value in values:
        last = value if value is not None else last
        stand_in = {"default": None, "zeros": 0.0, "forward_fill": last, "drop": None}[missing]
        if value is None and stand_in is None and not presence_flag:
            stand_in = 0.0
        if value is not None or missing != "drop":
            expected.append(value if value is not None else stand_in)
    (path,) = datasets(run(log, tmp_path / "out", spec))
    assert pq.read_table(path)["p0"].to_pylist() == expected
    counts = manifest(path)["conversion"]["features"]["p0"]
    lacking = sum(value is None for value in values)
    assert sum(counts["causes"].values()) == lacking
    assert counts["dropped"] == (lacking if missing == "drop" else 0)
    records = twin.read(datasets(run(log, tmp_path / "tf", spec | {"output": {"format": "tfrecord"}}))[0])
    assert all(("p0__present" in record) is presence_flag for record in records)
    narrow = np.array([0.0 if value is None else value for value in expected], np.float32).tolist()
    assert [record["p0"][1][0] for record in records] == narrow
    if presence_flag:
        own = [value is not None for value in expected] if missing != "zeros" else [True] * len(expected)
        assert [bool(record["p0__present"][1][0]) for record in records] == own


def test_missing_error_ends_the_conversion(log: Path, tmp_path: Path) -> None:
    spec = PER_JOINT | {"features": {"p0": FIRST_JOINT | {"missing": "error"}}}
    with pytest.raises(HephaesError, match="feature 'p0' has no value"):
        run(log, tmp_path / "out", spec)
    assert left(tmp_path / "out") == []
    assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("hephaes-")}


# -- input and decoding ------------------------------------------------------------------------------------------------

MAPPED = {"mapping": {"word": ["/chatter"], "joint": ["/joints"]}}


@pytest.mark.parametrize("shape", [PER_WORD, MAPPED], ids=["rows", "mapping"])
@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"start_ns": START_NS + 10**8, "end_ns": START_NS + 5 * 10**8}, "window"),
        ({"max_messages": 40}, "first"),
        ({"max_messages": 40, "include_topics": ["/chatter", "/joints"]}, "first included"),
        ({"sample_rate_hz": 20}, "sampled"),
    ],
)
def test_input_selects_messages(
    log: Path, tmp_path: Path, shape: dict[str, Any], given: dict[str, Any], taken: str
) -> None:
    found = table(log, tmp_path / "out", shape | {"input": given})
    ordered = sorted(MESSAGES, key=lambda m: m.time)
    if taken == "window":
        kept = [m for m in ordered if given["start_ns"] <= m.time < given["end_ns"]]
    elif taken == "first":
        kept = ordered[:40]
    elif taken == "first included":
        kept = [m for m in ordered if m.topic in given["include_topics"]][:40]
    else:
        seen: set[tuple[str, int]] = set()
        kept = []
        for m in ordered:
            bucket = (m.topic, (m.time - ordered[0].time) // 50_000_000)
            if bucket not in seen:
                seen.add(bucket)
                kept.append(m)
    words = {m.time: word_of(m) for m in kept if m.topic == "/chatter"}
    rows = {row["timestamp_ns"]: row["word"] for row in found.to_pylist() if row["word"] is not None}
    assert {time: word if isinstance(word, str) else word["data"] for time, word in rows.items()} == words


def test_input_leaves_topics_out(log: Path, tmp_path: Path) -> None:
    found = table(log, tmp_path / "out", {"input": {"exclude_topics": ["/[ij]*"]}})
    assert found.column_names == ["timestamp_ns", "blob", "chatter"]
    result = run(log, tmp_path / "other", {"input": {"include_topics": ["/imu", "/nothing*"]}})
    assert "input.include_topics: no topic of the log matches '/nothing*'" in result.warnings
    with pytest.raises(SpecError, match="'/chatter'"):
        run(log, tmp_path / "no", PER_WORD | {"input": {"exclude_topics": ["/c*"]}})


@pytest.mark.parametrize("shape", [PER_WORD, MAPPED], ids=["rows", "mapping"])
@pytest.mark.parametrize("policy", ["skip", "warn", "fail", "topic fails", "topic skips"])
def test_messages_that_cannot_be_decoded(tmp_path: Path, shape: dict[str, Any], policy: str) -> None:
    bad = b"\0\1\0\0\xff\0\0\0x"
    messages = [m._replace(payload=bad) if m.topic == "/chatter" and k % 3 == 0 else m for k, m in enumerate(MESSAGES)]
    log = write_mcap(tmp_path / "a.mcap", messages)
    decoding: dict[str, Any] = {"on_decode_failure": policy}
    if policy.startswith("topic"):
        own = {"on_failure": "fail" if policy == "topic fails" else "skip"}
        decoding = {"on_decode_failure": "skip" if policy == "topic fails" else "fail", "topics": {"/chatter": own}}
    first = next(m.time for m in messages if m.payload == bad)
    if "fail" in policy:
        with pytest.raises(HephaesError, match=f"topic '/chatter': the message at {first} ns cannot be decoded: ") as e:
            run(log, tmp_path / "out", shape | {"decoding": decoding})
        assert e.value.kind == "bad_input"
        assert left(tmp_path / "out") == []
        return
    result = run(log, tmp_path / "out", shape | {"decoding": decoding})
    words = of_topic("/chatter", messages)
    read = words if shape is PER_WORD else list({m.time: m for m in words}.values())
    assert result.counts["decode_failures"] == sum(m.payload == bad for m in read)
    assert any("could not be decoded" in warning for warning in result.warnings) is (policy == "warn")


def test_a_type_hint_must_fit(log: Path, tmp_path: Path) -> None:
    for hint in ("std_msgs/String", "std_msgs/msg/String"):
        spec = PER_WORD | {"decoding": {"topics": {"/chatter": {"type_hint": hint}}}}
        assert table(log, tmp_path / hint.replace("/", "_"), spec).num_rows == len(of_topic("/chatter"))
    spec = PER_WORD | {"decoding": {"topics": {"/chatter": {"type_hint": "std_msgs/Strin"}}}}
    with pytest.raises(SpecError, match="no type 'std_msgs/Strin'; did you mean 'std_msgs/msg/String'"):
        run(log, tmp_path / "no", spec)


def two_types(path: Path) -> Path:
    """A topic with messages of two types."""
    records = mcap_record(1, mcap_text("ros2") + mcap_text("hand"))
    for id_, (type_name, text) in enumerate((("a/msg/A", "int8 data"), ("a/msg/B", "int16 data")), 1):
        ids = id_.to_bytes(2, "little")
        records += mcap_record(3, ids + b"".join(map(mcap_text, (type_name, "ros2msg", text))))
        records += mcap_record(4, ids * 2 + mcap_text("/x") + mcap_text("cdr") + bytes(4))
        records += mcap_message(id_, 5 + id_, b"\0\1\0\0\7\0")
    ends = mcap_record(15, bytes(4)) + mcap_record(2, bytes(20))
    path.write_bytes(b"\x89MCAP0\r\n" + records + ends + b"\x89MCAP0\r\n")
    return path


def test_a_type_hint_chooses_among_the_types_of_a_topic(tmp_path: Path) -> None:
    log = two_types(tmp_path / "two.mcap")
    data = {"source": {"topic": "/x", "field_path": "data"}, "dtype": "native"}
    spec = {"row_strategy": {"kind": "per-message", "topic": "/x"}, "features": {"d": data}}
    with pytest.raises(SpecError, match=r"has several types: say which of a/msg/A, a/msg/B by decoding\.topics"):
        run(log, tmp_path / "no", spec)
    for name, time, kind in (("A", 6, pa.int8()), ("B", 7, pa.int16())):
        hint = {"decoding": {"topics": {"/x": {"type_hint": f"a/{name}"}}}}
        found = table(log, tmp_path / name, spec | hint)
        assert (found.to_pylist(), found.schema.field("d").type) == ([{"timestamp_ns": time, "d": 7}], kind)
        mapped = table(log, tmp_path / f"mapped {name}", {"mapping": {"m": ["/x"]}} | hint)
        assert mapped.to_pylist() == [{"timestamp_ns": time, "m": {"data": 7}}]
    with pytest.raises(SpecError, match="the log has no topic '/y'"):
        run(log, tmp_path / "no", {"decoding": {"topics": {"/y": {"on_failure": "fail"}}}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_strategy": {"kind": "per-message", "topic": "/chater"}}, "no topic '/chater'; did you mean '/chatter'"),
        ({"features": {"w": {"source": {"topic": "/chatter", "field_path": "dat"}}}}, "did you mean 'data'"),
        ({"row_strategy": {"kind": "per-message", "topic": "/chatter", "clock": "header_stamp"}}, "header"),
    ],
)
def test_what_the_log_does_not_have_is_refused_before_it_is_read(
    log: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    context = Context()
    spec = PER_WORD | change
    if "row_strategy" in change:
        topic = change["row_strategy"]["topic"]
        spec |= {"features": {"w": {"source": {"topic": topic, "field_path": "data"}}}}
    with pytest.raises(SpecError, match=message):
        convert(task(log, tmp_path / "out", spec), context)
    assert not (tmp_path / "out").exists()
    assert not [phase for phase, *_ in context.told if phase == "decode"]


# -- images ------------------------------------------------------------------------------------------------------------


def png(k: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (k, 0, 255 - k)).save(file, "PNG")
    return file.getvalue()


def test_image_files_load_as_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(factories.TOPICS, "/camera", "sensor_msgs/msg/CompressedImage")
    types = store(2).types
    time = types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = types["std_msgs/msg/Header"](stamp=time, frame_id="c")
    messages = []
    for k in range(20):
        data = np.frombuffer(png(k), np.uint8)
        message = types["sensor_msgs/msg/CompressedImage"](header=header, format="png", data=data)
        payload = bytes(store(2).serialize_cdr(message, "sensor_msgs/msg/CompressedImage"))
        messages.append(Sample("/camera", START_NS + k, payload))
    log = write_mcap(tmp_path / "a.mcap", messages)
    feature = {"source": {"topic": "/camera", "field_path": "data"}, "dtype": "bytes"}
    spec = {"row_strategy": {"kind": "per-message", "topic": "/camera"}, "features": {"image": feature}}
    output = {"format": "parquet", "compression": "zstd"}
    (path,) = datasets(run(log, tmp_path / "out", spec | {"output": output}))
    found = pq.read_table(path)
    assert found.schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = json.loads((pq.read_schema(path).metadata or {})[b"huggingface"])
    assert metadata == {"info": {"features": {"image": {"_type": "Image"}}}}
    assert found["image"].to_pylist() == [{"bytes": png(k), "path": None} for k in range(20)]
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert columns["image.bytes"].compression == "UNCOMPRESSED"
    assert not columns["image.bytes"].has_dictionary_page
    assert columns["timestamp_ns"].compression == "ZSTD"
    (records,) = datasets(run(log, tmp_path / "tf", spec | {"output": {"format": "tfrecord"}}))
    assert [record["image"] for record in twin.read(records)] == [("bytes", [png(k)]) for k in range(20)]


# -- the run -----------------------------------------------------------------------------------------------------------

RICH = {
    "row_strategy": {
        "kind": "trigger",
        "trigger_topic": "/imu",
        "joins": [
            {"topic": "/joints", "required": False, "age_column": True},
            {"topic": "/chatter", "missing": "drop"},
        ],
    },
    "features": {
        "acc": ACC,
        "word": WORD,
        "p0": FIRST_JOINT | {"missing": "forward_fill"},
        "p1": {"source": {"topic": "/joints", "field_path": "position[1]"}, "dtype": "float32", "missing": "drop"},
        "names": {"source": {"topic": "/joints", "field_path": "name"}, "dtype": "json"},
        "imu": {"source": {"topic": "/imu"}, "dtype": "native"},
        "some": {"source": {"topic": "/joints", "field_path": "position[1:]"}, "dtype": "float64"},
        "cov": {"source": {"topic": "/imu", "field_path": "orientation_covariance[-2]"}, "dtype": "float32"},
    },
    "split": {"strategy": "random", "seed": 3, **THIRDS},
    "validation": {"preview": True},
}


@pytest.mark.parametrize(
    "output",
    [
        {"format": "parquet", "compression": "zstd", "shards": 2},
        {"format": "parquet", "payload_encoding": "json"},
        {"format": "tfrecord", "compression": "gzip", "shards": 2},
        {"format": "tfrecord", "absent_keys": "omit", "float64": "bytes"},
    ],
)
def test_same_inputs_same_bytes_wherever_and_in_whatever_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: dict[str, Any]
) -> None:
    log = write_mcap(tmp_path / "run.mcap", MESSAGES)
    found = []
    for name in ("one", "another place"):
        if name != "one":
            monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.FLUSH_BYTES", 2000)
            monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.BATCH_BYTES", 9000)
            monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.FIRST_PIECE_ROWS", 2)
            monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.PIECE_BYTES", 300)
        result = run(log, tmp_path / name, RICH | {"output": output})
        found.append({Path(o.path).name: Path(o.path).read_bytes() for o in result.outputs})
    assert found[0] == found[1]
    assert str(tmp_path).encode() not in b"".join(found[0].values())


def test_the_fingerprint_does_not_depend_on_storage(log: Path, tmp_path: Path) -> None:
    other = write_mcap(tmp_path / "other.mcap", MESSAGES, compression="zstd", chunk_size=700)
    prints = set()
    for k, path in enumerate((log, other)):
        told = manifest(datasets(run(path, tmp_path / str(k), RICH))[0])
        prints.add((told["source"]["fingerprint"]["value"], told["conversion"]["topics"]["/imu"]["fingerprint"]))
    assert len(prints) == 1


def test_counts_add_up(log: Path, tmp_path: Path) -> None:
    result = run(log, tmp_path / "out", RICH)
    told = manifest(datasets(result)[0])["conversion"]
    joins = sum(join["dropped_rows"] for join in told["joins"].values())
    dropped = told["features"]["p1"]["dropped"]
    assert dropped > 0
    assert told["candidate_rows"] == len(of_topic("/imu"))
    assert told["dropped_rows"] == joins + dropped == result.counts["dropped_rows"]
    assert told["candidate_rows"] - told["dropped_rows"] == result.counts["rows"] == told["rows_total"]
    assert result.counts["filled_values"] == told["features"]["p0"]["filled"]["forward_fill"]
    assert told["document_metadata"] == {}
    assert told["spec"]["split"]["seed"] == 3


def test_metadata_and_origin_of_a_document_are_told(log: Path, tmp_path: Path) -> None:
    spec = PER_WORD | {"draft_origin": {"kind": "inspection", "assumptions": ["none"]}, "schema": {"name": "talk"}}
    (path,) = datasets(run(log, tmp_path / "out", spec, metadata={"author": "me", "key": b"ab"}))
    told = manifest(path)["conversion"]
    key = {"__bytes__": True, "encoding": "base64", "value": "YWI="}
    assert told["document_metadata"] == {"author": "me", "key": key}
    assert told["draft_origin"]["assumptions"] == ["none"]
    assert told["schema"] == {"name": "talk", "version": 1}
    assert "- Schema: talk, version 1" in path.with_name(f"{path.name}.report.md").read_text()


@pytest.mark.parametrize("spec", [RICH, PER_WORD | {"output": {"format": "tfrecord", "shards": 3}}, {}, MAPPED])
def test_an_outline_says_what_would_be_written(log: Path, tmp_path: Path, spec: dict[str, Any]) -> None:
    found = outline(task(log, tmp_path / "out", spec), Context())
    assert not (tmp_path / "out").exists()
    result = run(log, tmp_path / "out", spec)
    written = [output for output in result.outputs if output.role == "dataset"]
    assert [file.name for file in found.files] == [Path(output.path).name for output in written]
    rows = sum(output.rows for output in written)
    assert found.rows == sum(file.rows for file in found.files)
    assert found.rows == rows if found.exact else found.rows > rows
    assert found.exact is (spec is not RICH)
    if Path(written[0].path).suffix == ".parquet":
        schema = pq.read_schema(written[0].path)
        assert [column.name for column in found.columns] == schema.names
    for file, output in zip(found.files, written, strict=True):
        assert file.size_bytes == pytest.approx(output.size_bytes, rel=0.7, abs=15_000)


class Cancelling(Context):
    """Asks to stop at the n-th check."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.checks = at, 0

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.at:
            raise CancelledByClient


def test_cancelling_at_any_check_leaves_nothing(log: Path, tmp_path: Path) -> None:
    context = Cancelling(-1)
    convert(task(log, tmp_path / "whole", RICH), context)
    for at in range(1, context.checks + 1, 5):
        with pytest.raises(CancelledByClient):
            convert(task(log, tmp_path / "out", RICH), Cancelling(at))
        assert left(tmp_path / "out") == []
    assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("hephaes-")}


def test_an_existing_output_is_refused(log: Path, tmp_path: Path) -> None:
    run(log, tmp_path / "out", PER_WORD)
    with pytest.raises(HephaesError, match="is already there"):
        run(log, tmp_path / "out", PER_WORD)
    run(log, tmp_path / "out", PER_WORD, overwrite=True)


def test_a_bag_has_no_publish_times(tmp_path: Path) -> None:
    log = write_bag(tmp_path / "a.bag", samples(50, ros=1))
    said = {"source": {"kind": "metadata", "key": "publish_time_ns"}, "dtype": "int64"}
    with pytest.raises(SpecError, match="only MCAP has publish times"):
        run(log, tmp_path / "out", PER_WORD | {"features": {"said": said}})


@pytest.mark.parametrize("method", ["downsample", "interpolate"])
def test_resampled_rows(log: Path, tmp_path: Path, method: str) -> None:
    strategy = {"kind": "resample", "freq_hz": 50, "method": method, "anchor_topic": "/imu"}
    found = table(log, tmp_path / "out", {"row_strategy": strategy, "features": {"acc": ACC, "word": WORD}})
    times = [m.time for m in of_topic("/imu")]
    assert found["timestamp_ns"].to_pylist() == list(range(times[0], times[-1] + 1, 20_000_000))
    assert set(found["acc"].to_pylist()) <= {9.81, None}


def test_a_damaged_chunk_is_left_out_with_a_warning(log: Path, tmp_path: Path) -> None:
    data = bytearray(log.read_bytes())
    at = data.index(b"hello 4", 200)
    data[at] ^= 1
    log.write_bytes(data)
    result = run(log, tmp_path / "out", PER_WORD)
    assert any("its messages are left out" in warning for warning in result.warnings)
    assert 0 < result.counts["rows"] < len(of_topic("/chatter"))
