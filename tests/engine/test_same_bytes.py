"""A conversion gives the same bytes on any day, and however its files are divided among those who make them."""

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs import document
from tests.corpus import Context
from tests.factories import samples, write_bag, write_mcap

FEATURES = {
    "acc": {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"},
    "word": {"source": {"topic": "/chatter", "field_path": "data"}, "dtype": "native", "missing": "forward_fill"},
}
ROWS = {
    "trigger": {"kind": "trigger", "trigger_topic": "/imu", "joins": [{"topic": "/chatter", "required": False}]},
    "resample": {"kind": "resample", "freq_hz": 200.0, "method": "interpolate"},
}
SPLITS = {
    "time": {"strategy": "time"},
    "random": {"strategy": "random", "seed": 7},
    "group": {"strategy": "group", "group_by": "word"},
}
FRACTIONS = {"train_fraction": 0.5, "val_fraction": 0.3, "test_fraction": 0.2}
LATER_S = 987_654_321
# every clock that Python code can ask is LATER_S ahead, as on another day
LATER = f"""
import datetime, sys, time
ahead = {LATER_S}
now, now_ns, moment = time.time, time.time_ns, datetime.datetime
class Later(moment):
    @classmethod
    def now(cls, tz=None):
        return moment.now(tz) + datetime.timedelta(seconds=ahead)
    @classmethod
    def utcnow(cls):
        return moment.utcnow() + datetime.timedelta(seconds=ahead)
datetime.datetime = Later
time.time = lambda: now() + ahead
time.time_ns = lambda: now_ns() + ahead * 10**9
for name in ("gmtime", "localtime"):
    setattr(time, name, lambda at=None, real=getattr(time, name): real(time.time() if at is None else at))
from hephaes_rpc.__main__ import main
sys.exit(main())
"""


def made(logs: list[Path], folder: Path, spec: dict[str, Any], cut: list[tuple[int, tuple[str, ...] | None]]) -> dict:
    """What is in ``folder`` once all pieces are made: numbers of logs, and the names of their files to make."""
    loaded = document.load(spec).spec
    for number, only in cut:
        log = logs[number]
        task = ConvertTask(
            log_path=str(log),
            spec=loaded,
            output_dir=str(folder),
            episode_id=f"ep{number}",
            stem=log.stem,
            only=only,
        )
        convert(task, Context())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pairs_of(names: list[str]) -> list[list[str]]:
    return [names[k : k + 2] for k in range(0, len(names), 2)]


def check_cuts(folder: Path, spec: dict[str, Any]) -> int:
    """Whole logs, file by file, and two and two from behind: always the same bytes; how many datasets there are."""
    logs = [
        write_mcap(folder / "a.mcap", samples(300, seed=1)),
        write_bag(folder / "b.bag", samples(200, ros=1, seed=2)),
    ]
    whole = made(logs, folder / "whole", spec, [(0, None), (1, None)])
    extension = spec["output"]["format"]
    datasets = [
        (k, sorted(name for name in whole if name.endswith(f".{extension}") and name.startswith(log.stem)))
        for k, log in enumerate(logs)
    ]
    single = [(k, (name,)) for k, names in datasets for name in names]
    assert made(logs, folder / "single", spec, single) == whole
    pairs = [(k, tuple(pair)) for k, names in reversed(datasets) for pair in pairs_of(names[::-1])]
    assert made(logs, folder / "pairs", spec, pairs) == whole
    return len(single)


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
@pytest.mark.parametrize(("rows", "split"), [("trigger", "random"), ("trigger", "group"), ("resample", "time")])
def test_a_plan_cut_by_log_shard_and_split(tmp_path: Path, form: str, rows: str, split: str) -> None:
    spec = {
        "row_strategy": ROWS[rows],
        "features": FEATURES,
        "split": SPLITS[split] | FRACTIONS,
        "output": {"format": form, "shards": 2},
    }
    assert check_cuts(tmp_path, spec) > 4


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
def test_a_plan_cut_by_topic(tmp_path: Path, form: str) -> None:
    assert check_cuts(tmp_path, {"output": {"format": form, "layout": "topics"}}) > 4


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
def test_another_day(tmp_path: Path, form: str) -> None:
    """The second run has every clock years ahead, its log was touched then, and dates are written elsewhere."""
    log = write_mcap(tmp_path / "run.mcap", samples(100))
    spec = tmp_path / "spec.json"
    loaded = {"row_strategy": ROWS["trigger"], "features": FEATURES, "output": {"format": form, "compression": "gzip"}}
    spec.write_text(document.dump(document.load(loaded)))
    found = []
    for number, program in enumerate((["-m", "hephaes_rpc"], ["-c", LATER])):
        folder = tmp_path / str(number)
        argv = [sys.executable, *program, "convert", str(log), "--spec", str(spec), "-o", str(folder)]
        environment = os.environ | {"TZ": ("UTC", "Asia/Kathmandu")[number], "PYTHONHASHSEED": str(number)}
        subprocess.run(argv, check=True, capture_output=True, env=environment)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
        stamp = datetime.datetime.now(datetime.UTC).timestamp() + LATER_S
        os.utime(log, (stamp, stamp))
    assert found[0]
    assert found[0] == found[1]
