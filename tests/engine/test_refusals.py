"""Every refusal of a spec says where in the document it is, what is expected there, and what may be meant."""

import ast
from pathlib import Path
from typing import Any

import pytest

import hephaes_rpc.engine
from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs import document
from hephaes_rpc.errors import SpecError
from tests.corpus import Context
from tests.factories import samples, write_bag, write_mcap

ENGINE = Path(hephaes_rpc.engine.__file__).parent
JUDGES = ("specs", "timeline", "features", "datasets", "quality", "computations")
TEXT = {"topic": "/chatter", "field_path": "data"}
NUMBER = {"topic": "/imu", "field_path": "linear_acceleration.z"}
WORD = {"word": {"source": {"topic": "/chatter", "field_path": "data"}, "dtype": "native"}}
ACC = {"acc": {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"}}
PER_WORD = {"kind": "per-message", "topic": "/chatter"}
JOINED = {"kind": "trigger", "trigger_topic": "/chatter"}

REFUSED: list[tuple[dict[str, Any], list[str], str | None]] = [
    ({"mapping": {"imu": ["/imuu"], "w": ["/chater"]}}, ["/mapping/imu", "/mapping/w"], "/imu"),
    ({"resample": {"freq_hz": 1e9, "method": "downsample"}}, ["/resample/freq_hz"], None),
    (
        {"row_strategy": {"kind": "resample", "freq_hz": 1e9, "method": "interpolate"}, "features": ACC},
        ["/row_strategy/freq_hz"],
        None,
    ),
    (
        {
            "row_strategy": PER_WORD | {"topic": "/chater"},
            "features": {"word": {"source": {"topic": "/chater", "field_path": "data"}}},
        },
        ["/row_strategy/topic", "/features/word/source/topic"],
        "/chatter",
    ),
    ({"row_strategy": PER_WORD | {"clock": "header_stamp"}, "features": WORD}, ["/row_strategy/clock"], None),
    ({"row_strategy": PER_WORD | {"clock": "field:dat"}, "features": WORD}, ["/row_strategy/clock"], "field:data"),
    ({"row_strategy": PER_WORD | {"clock": "field:data"}, "features": WORD}, ["/row_strategy/clock"], None),
    ({"row_strategy": PER_WORD | {"clock": "field:data[0]"}, "features": WORD}, ["/row_strategy/clock"], None),
    (
        {"row_strategy": JOINED | {"joins": [{"topic": "/imu", "clock": "field:header.stmp"}]}, "features": WORD | ACC},
        ["/row_strategy/joins/0/clock"],
        "field:header.stamp",
    ),
    (
        {
            "row_strategy": JOINED
            | {"joins": [{"topic": "/imu", "sync_policy": "exact-within-tolerance", "missing": "error"}]},
            "features": WORD | ACC,
        },
        ["/row_strategy/joins/0/missing"],
        None,
    ),
    (
        {"row_strategy": PER_WORD, "features": {"word": {"source": {"topic": "/chatter", "field_path": "dat"}}}},
        ["/features/word/source/field_path"],
        "data",
    ),
    ({"row_strategy": PER_WORD, "features": WORD, "labels": {"source": TEXT}}, ["/labels/source"], None),
    (
        {"row_strategy": PER_WORD, "features": WORD, "labels": {"source": TEXT, "multi_label": True}},
        ["/labels/source"],
        None,
    ),
    (
        {"row_strategy": {"kind": "per-message", "topic": "/imu"}, "features": ACC, "labels": {"source": NUMBER}},
        ["/labels/source"],
        None,
    ),
    ({"quality": ["/imuu rate > 1 Hz"]}, ["/quality/0"], "/imu"),
    ({"input": {"include_topics": ["/imu"]}, "mapping": {"w": ["/chatter"]}}, ["/mapping/w/0"], None),
]


def at(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; KeyError or IndexError where that is nothing."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def made_of(log: Path, spec: dict[str, Any], folder: Path) -> None:
    """Convert a log by a bare spec: pointers are into this."""
    loaded = document.load(spec | {"output": {"format": "parquet"}})
    task = ConvertTask(log_path=str(log), spec=loaded.spec, output_dir=str(folder), episode_id="e", stem="run")
    convert(task, Context())


@pytest.mark.parametrize(("spec", "pointers", "guess"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_refusal_says_where_and_what(
    tmp_path: Path, spec: dict[str, Any], pointers: list[str], guess: str | None
) -> None:
    log = write_mcap(tmp_path / "run.mcap", samples(300))
    with pytest.raises(SpecError) as caught:
        made_of(log, spec, tmp_path / "out")
    errors = caught.value.data["errors"]
    assert [error["pointer"] for error in errors] == pointers
    assert errors[0]["did_you_mean"] == guess
    for error in errors:
        at(spec, error["pointer"])
        assert error["expected"]
        assert error["got"]
        assert error["message"]
    assert not list((tmp_path / "out").glob("*"))


def test_a_bag_has_no_publish_times(tmp_path: Path) -> None:
    log = write_bag(tmp_path / "run.bag", samples(40, ros=1))
    spec = {"row_strategy": PER_WORD | {"clock": "publish_time"}, "features": WORD}
    with pytest.raises(SpecError) as caught:
        made_of(log, spec, tmp_path)
    assert [error["pointer"] for error in caught.value.data["errors"]] == ["/row_strategy/clock"]


def test_no_refusal_of_the_engine_goes_without_its_place() -> None:
    """A SpecError is made of issues, which have a place; only the two functions that do that make one."""
    made = [
        f"{path.relative_to(ENGINE)}:{function.name}"
        for judge in JUDGES
        for path in sorted((ENGINE / judge).rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "SpecError"
    ]
    assert made == ["specs/issues.py:spec_error", "specs/rules.py:topic_error"]
