"""Beams of laser scans against a loop over them; limits, infinities, NaN; real scans as rosbags reads them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from hephaes_rpc.engine.specs import document
from hephaes_rpc.errors import SpecError
from tests.engine.semantic.converting import Ros, errors, header, made, run, spec_of, table, write_log
from tests.factories import START_NS
from tests.reference import tfrecord as twin
from tests.thorough import examples

SCAN, TOPIC = "sensor_msgs/msg/LaserScan", "/scan"
FIELDS = ("range", "angle", "intensity", "x", "y")


def scan(ros: Ros, ranges: list[float], intensities: list[float], **more: Any) -> Any:
    known = {"angle_min": -1.5, "angle_max": 1.5, "angle_increment": 0.25, "time_increment": 0.0, "scan_time": 0.1}
    known |= {"range_min": 0.5, "range_max": 10.0} | more
    known = {name: float(np.float32(value)) for name, value in known.items()}
    arrays = {"ranges": np.array(ranges, np.float32), "intensities": np.array(intensities, np.float32)}
    return made(ros, SCAN, header=header(ros, START_NS), **known, **arrays)


def slow_beams(message: Any, fields: tuple[str, ...], rule: str) -> list[list[float]]:
    found = []
    for k, measured in enumerate(message.ranges.tolist()):
        distance, angle = measured, message.angle_min + k * message.angle_increment
        inside = message.range_min <= distance <= message.range_max
        if not inside and rule == "skip":
            continue
        if not inside and rule == "nan":
            distance = math.nan
        if not inside and rule == "clamp" and not math.isnan(distance):
            distance = message.range_min if distance < message.range_min else message.range_max
        known = {"range": distance, "angle": angle, "x": distance * math.cos(angle), "y": distance * math.sin(angle)}
        if "intensity" in fields:
            known["intensity"] = message.intensities.tolist()[k]
        found.append([known[name] for name in fields])
    return found


def beams(*fields: str, rule: str = "keep") -> dict[str, Any]:
    source = {"kind": "scan", "topic": TOPIC, "fields": list(fields), "out_of_range": rule}
    return {"source": source, "dtype": "float32"}


def close(found: list[list[float]], expected: list[list[float]]) -> bool:
    a, b = np.array(found, np.float64).reshape(-1), np.array(expected, np.float64).reshape(-1)
    return len(found) == len(expected) and bool(np.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True))


RANGES = st.lists(st.sampled_from([0.0, 0.5, 3.25, 9.5, 10.0, 11.0, -1.0, math.inf, -math.inf, math.nan]), max_size=6)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RANGES, min_size=1, max_size=5), st.permutations(FIELDS), st.integers(1, 5))
def test_beams_are_what_a_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[list[float]], fields: list[str], n: int
) -> None:
    wanted = tuple(fields[:n])
    folder = tmp_path_factory.mktemp("scan")
    messages = [scan(2, each, list(range(len(each))), angle_increment=0.1 * (k + 1)) for k, each in enumerate(ranges)]
    rules = ["keep", "skip", *(["nan", "clamp"] if {"range", "x", "y"} & set(wanted) else [])]
    with pytest.MonkeyPatch.context() as patch:
        log = write_log(folder / "a.mcap", patch, 2, [(TOPIC, START_NS + k, SCAN, m) for k, m in enumerate(messages)])
    spec = spec_of(TOPIC, {rule: beams(*wanted, rule=rule) for rule in rules})
    (path,) = [output.path for output in run(log, folder / "out", spec).outputs if output.role == "dataset"]
    with np.errstate(invalid="ignore"):
        for row, message in zip(pq.read_table(path).to_pylist(), messages, strict=True):
            for rule in rules:
                assert close(row[rule], slow_beams(message, wanted, rule)), (rule, row, message)


@pytest.mark.parametrize(("ros", "name"), [(1, "a.bag"), (2, "a.mcap")])
def test_columns_of_beams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ros: Ros, name: str) -> None:
    messages = [scan(ros, [1.0, 2.0, math.inf], [7.0, 8.0, 9.0]), scan(ros, [3.0, 4.0], []), scan(ros, [], [])]
    log = write_log(tmp_path / name, monkeypatch, ros, [(TOPIC, START_NS + k, SCAN, m) for k, m in enumerate(messages)])
    fixed = beams("range", "angle", rule="clamp") | {"transforms": [{"length": {"pad_to": 4}}], "shape": [4, 2]}
    spec = spec_of(TOPIC, {"all": beams("range"), "lit": beams("range", "intensity"), "fixed": fixed})
    found = table(log, tmp_path / "out", spec)
    assert found.schema.field("fixed").type == pa.list_(pa.list_(pa.float32(), 2), 4)
    assert found["all"].to_pylist() == [[[1], [2], [math.inf]], [[3], [4]], []]
    assert found["lit"].to_pylist() == [[[1, 7], [2, 8], [math.inf, 9]], None, []]
    assert found["fixed"].to_pylist()[:2] == [
        [[1, -1.5], [2, -1.25], [10, -1], [0, 0]],
        [[3, -1.5], [4, -1.25], [0, 0], [0, 0]],
    ]
    result = run(log, tmp_path / "records", spec | {"output": {"format": "tfrecord"}})
    assert any("not as many intensities as ranges (1)" in warning for warning in result.warnings)
    records = twin.read(next(Path(o.path) for o in result.outputs if o.role == "dataset"))
    assert records[0]["all"][1] == [1, 2, math.inf]


def test_what_the_spec_says_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = made(2, "std_msgs/msg/String", data="x")
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, [("/w", START_NS, "std_msgs/msg/String", word)])
    (found,) = errors(log, tmp_path / "o", spec_of("/w", {"x": {"source": {"kind": "scan", "topic": "/w"}}}))
    assert found[0] == "/features/x/source/topic"
    assert "are no laser scans, but std_msgs/msg/String" in found[1]
    for wrong in (
        beams(),
        beams("range", "range"),
        beams("r"),
        beams("range", rule="drop"),
        beams("angle", rule="nan"),
    ):
        with pytest.raises(SpecError):
            document.load(spec_of(TOPIC, {"x": wrong}))


def test_scans_of_a_real_robot(tmp_path: Path, shared: Path) -> None:
    log = shared / "corpus" / "embarktrucks__embag" / "test" / "test.bag"
    with AnyReader([log]) as reader:
        links = [c for c in reader.connections if c.msgtype == SCAN]
        topic = links[0].topic
        messages = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(links) if c.topic == topic]
    fields = ("range", "angle", "x", "y")
    source = {"kind": "scan", "topic": topic, "fields": list(fields), "out_of_range": "nan"}
    spec = spec_of(topic, {"b": {"source": source, "dtype": "float32"}})
    (path,) = [output.path for output in run(log, tmp_path, spec).outputs if output.role == "dataset"]
    found = pq.read_table(path)["b"].to_pylist()
    assert len(found) == len(messages) > 0
    for row, message in zip(found, messages, strict=True):
        assert len(row) == 90
        assert close(row, slow_beams(message, fields, "nan"))
