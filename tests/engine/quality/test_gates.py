"""Quality gates: their language, what they measure, and that a log that fails one is not converted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.pipeline import ConvertTask, convert, outline
from hephaes_rpc.engine.quality.analysis import read
from hephaes_rpc.engine.quality.gates import Verdict, judge
from hephaes_rpc.engine.specs.gates import MEASURES, GateError, parse_gate
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.engine.timeline.window import WHOLE, Window
from hephaes_rpc.errors import HephaesError, SpecError
from hephaes_rpc.serde import structure
from tests.corpus import Context
from tests.engine.quality import test_defects as defects
from tests.engine.quality.drives import MS, PERIODS, SECOND, clean, written

CAMERA = "/camera/image_raw"


def judged(path: Path, *gates: str, window: Window = WHOLE) -> list[Verdict]:
    with open_log(str(path)) as log:
        return judge(gates, log, window, lambda done, total: None)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("gates") / "drive.mcap", clean())


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("gates") / "gapped.mcap", defects.gap(clean()))


def test_a_gate_is_a_topic_and_conditions() -> None:
    gate = parse_gate('"/my topic"  >= 28 Hz,gap<200ms , missing <= 0.5 %,messages>10')
    assert gate.topic == "/my topic"
    assert [(c.measure, c.comparison, c.value, c.is_share, c.demanded) for c in gate.conditions] == [
        ("rate", ">=", 28.0, False, ">= 28 Hz"),
        ("gap", "<", 200.0 * MS, False, "< 200 ms"),
        ("missing", "<=", 0.005, True, "<= 0.5 %"),
        ("messages", ">", 10.0, False, "> 10"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with a topic"),
        ("camera", "a condition is missing"),
        ("camera >= 28", "say what is measured by '>= 28'"),
        ("camera gapp < 3 s", "did you mean 'gap'"),
        ("camera gap < 200", "gap needs a unit: ns, us, ms, s, min, h"),
        ("camera gap < 20 Hz", "gap has no unit 'Hz'"),
        ("camera missing < 2 s", "its units are none or %"),
        ("camera gap ~ 2 s", "is no condition"),
        ("camera gap < 2 s,", "a condition is missing"),
        ("camera gap < 2 s jitter < 1 ms", "is no condition"),
        ("camera score > 80", "score is of the whole log"),
        ("* gap < 2 s", "gap is of a topic"),
        ("camera gap < -2 s", "is no condition"),
    ],
)
def test_a_wrong_gate_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(GateError, match=said.replace("*", r"\*").replace("?", r"\?")):
        parse_gate(text)
    spec = structure({"quality": ["camera >= 1 Hz", text]}, ConversionSpec, "spec")
    with pytest.raises(SpecError) as refused:
        convert(_task(Path("nowhere.mcap"), spec, Path()), Context())
    assert refused.value.data["errors"][0]["pointer"] == "/quality/1"


def test_topics_are_found_by_name_or_end(drive: Path) -> None:
    for name in (CAMERA, "image_raw", "camera/image_raw"):
        assert judged(drive, f"{name} > 1 Hz")[0].topic == CAMERA
    with pytest.raises(
        SpecError, match=r"/quality/0: the log has no topic 'image_rw'; did you mean '/camera/image_raw'"
    ):
        judged(drive, "image_rw > 1 Hz")
    with pytest.raises(SpecError, match="no topic 'raw'"):
        judged(drive, "raw > 1 Hz")


def test_an_end_of_several_topics_is_refused(tmp_path: Path) -> None:
    from tests.factories import TOPICS, samples, write_mcap

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOPICS, "/left/image", "std_msgs/msg/String")
        patch.setitem(TOPICS, "/right/image", "std_msgs/msg/String")
        some = samples(20, topics=("/chatter",))
        path = write_mcap(
            tmp_path / "x.mcap",
            [s._replace(topic="/left/image" if k % 2 else "/right/image") for k, s in enumerate(some)],
        )
    with pytest.raises(SpecError, match="the end of several topics: /left/image, /right/image"):
        judged(path, "image > 1 Hz")


def test_measures_of_time_equal_those_of_the_reader_of_mcap(gapped: Path) -> None:
    with gapped.open("rb") as file:
        times = np.array([m.log_time for _, c, m in make_reader(file).iter_messages() if c.topic == CAMERA])
        file.seek(0)
        edges = [m.log_time for _, _, m in make_reader(file).iter_messages()]
    steps = np.diff(times)
    found = {
        v.measure: v.measured
        for v in judged(
            gapped,
            "image_raw rate > 0 Hz, gap < 1 h, jitter < 1 h, messages > 0, missing < 1",
            "image_raw late_start < 1 h, early_end < 1 h",
            "* duration > 1 s",
        )
    }
    assert found["rate"] == pytest.approx((len(times) - 1) / (times[-1] - times[0]) * 1e9)
    assert found["gap"] == steps.max()
    assert found["jitter"] == pytest.approx(np.median(np.abs(steps - np.median(steps))), abs=1)
    assert found["messages"] == len(times)
    assert found["missing"] == round(steps.max() / PERIODS[CAMERA]) - 1
    assert found["late_start"] == times[0] - min(edges)
    assert found["early_end"] == max(edges) - times[-1]
    assert found["duration"] == max(edges) - min(edges)


@pytest.mark.parametrize(
    ("defect", "container", "condition", "measured"),
    [
        ("malformed", "mcap", "odom decode_failures < 1", 3),
        ("numbers leap", "bag", "odom sequence_drops < 1", 4),
        ("offset", "mcap", "imu/data clock_offset < 1 s", pytest.approx(90 * SECOND, abs=10 * MS)),
        ("jump", "mcap", "imu/data clock_jump < 10 ms", pytest.approx(400 * MS, abs=2 * MS)),
        ("nan", "mcap", "odom nonfinite < 1", 10),
        ("nan", "mcap", "odom nonfinite < 1 %", pytest.approx(10 / 239, abs=0.001)),
        ("frozen camera", "mcap", "image_raw frozen < 100 ms", pytest.approx(SECOND, abs=80 * MS)),
        ("repeated", "mcap", "image_raw repeated < 1", 60),
        ("order", "mcap", "fix out_of_order < 1", 1),
        ("duplicates", "mcap", "imu/data duplicates < 1", 5),
        ("nan", "mcap", "* score == 100", 92),
    ],
)
def test_gates_measure_defects(defect: str, container: str, condition: str, measured: Any, tmp_path: Path) -> None:
    (clean_one,) = judged(written(tmp_path / f"clean.{container}", clean()), condition)
    assert clean_one.passed
    (verdict,) = judged(written(tmp_path / f"drive.{container}", defects.DEFECTS[defect].make(clean())), condition)
    assert not verdict.passed
    assert verdict.measured == measured


def test_every_measure_is_measured_somewhere(drive: Path) -> None:
    absent = set()
    for name, measure in MEASURES.items():
        unit = {"rate": " Hz", "time": " ns"}.get(measure.quantity, "")
        (verdict,) = judged(drive, f"{'*' if measure.of_log else 'image_raw'} {name} >= 0{unit}")
        if verdict.measured is None:
            absent.add(name)
    assert absent == {"sequence_drops"}  # a ROS 2 log numbers nothing


def test_only_the_window_is_measured(gapped: Path) -> None:
    (whole,) = judged(gapped, "image_raw gap < 200 ms")
    assert not whole.passed
    assert whole.start_ns is not None
    before = Window(None, whole.start_ns)
    assert judged(gapped, "image_raw gap < 200 ms", window=before)[0].passed
    assert judged(gapped, "* score == 100", window=before)[0].passed


@pytest.mark.parametrize("window", [WHOLE, Window(None, 10**18)])
def test_what_has_been_read_is_not_read_again(gapped: Path, window: Window) -> None:
    gates = ["image_raw nonfinite == 0, frozen < 1 s", "* score == 100"]

    def told(_done: int, _total: int) -> None:
        pytest.fail("messages are read")

    with open_log(str(gapped)) as log:
        found = read(log, lambda done, total: None, window=window)
        assert judge(gates, log, window, told, found) == judge(gates, log, window, lambda done, total: None)


def _task(path: Path, spec: ConversionSpec, out: Path) -> ConvertTask:
    return ConvertTask(log_path=str(path), spec=spec, output_dir=str(out), episode_id="e", stem="e")


def test_a_log_that_fails_a_gate_is_not_converted(gapped: Path, drive: Path, tmp_path: Path) -> None:
    mapping = {"camera": [CAMERA]}
    spec = structure(
        {"quality": ["image_raw >= 20 Hz, gap < 200 ms"], "mapping": mapping, "output": {"format": "parquet"}},
        ConversionSpec,
        "spec",
    )
    with pytest.raises(HephaesError, match="demands < 200 ms") as failed:
        convert(_task(gapped, spec, tmp_path / "out"), Context())
    error = failed.value
    assert error.kind == "quality_gate"
    assert error.message.startswith("/camera/image_raw has a longest gap of 1.5")
    assert error.data["topic"] == CAMERA
    assert error.data["measure"] == "gap"
    assert error.data["measured"] == pytest.approx(1.5 * SECOND, abs=40 * MS)
    assert error.data["demanded"] == "< 200 ms"
    assert error.data["pointer"] == "/quality/0"
    assert error.data["end_ns"] - error.data["start_ns"] == error.data["measured"]
    assert list((tmp_path / "out").glob("*") if (tmp_path / "out").exists() else []) == []
    gates = outline(_task(gapped, spec, tmp_path), Context()).gates
    assert [(gate.measure, gate.passed) for gate in gates] == [("rate", True), ("gap", False)]
    made = convert(_task(drive, spec, tmp_path / "good"), Context())
    assert made.counts["rows"] > 0
