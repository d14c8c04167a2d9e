"""``hephaes-rpc draft`` and ``preview``, run as a person runs them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.test_cli import cli, sentence


def test_a_draft_is_a_spec_that_preview_and_convert_take(data: Path, tmp_path: Path) -> None:
    log, spec = data / "turtlesim-bz2.bag", tmp_path / "spec.yaml"
    drafted = cli("draft", log, "--template", "imitation-learning")
    assert drafted.stderr == ""
    assert drafted.stdout.startswith("# drafted for turtlesim-bz2.bag\n")
    assert "# actions are the messages of '/turtle1/cmd_vel', for its name\n" in drafted.stdout
    spec.write_text(drafted.stdout)
    found = json.loads(cli("preview", log, "--spec", spec, "-n", "3", "--row", "7", "--json").stdout)
    cli("convert", log, "--spec", spec, "-o", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "turtlesim-bz2.parquet").slice(7, 3).to_pylist()
    assert [row["timestamp_ns"] for row in found["rows"]] == [row["timestamp_ns"] for row in rows]
    assert [row["field_data"]["action"] for row in found["rows"]] == [row["action"] for row in rows]


def test_a_preview_for_people(data: Path, tmp_path: Path) -> None:
    log, spec = data / "poses.bag", tmp_path / "spec.yaml"
    spec.write_text(cli("draft", log, "--format", "tfrecord", "--max-features", "1").stdout)
    shown = cli("preview", log, "--spec", "-", "--offset", "1", "-n", "2", input=spec.read_text()).stdout.splitlines()
    assert "rows, about" in shown[0]
    assert sum(line.startswith("row ") for line in shown) == 2
    assert shown[-1].split(maxsplit=1)[0] == "pose_data"


def test_bad_records_end_with_1(data: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    source = {"topic": "/one_shot/joint_state", "field_path": "position[9]"}
    feature = {"source": source, "dtype": "float64", "required": True}
    spec.write_text(json.dumps({"row_strategy": {"topic": "/one_shot/joint_state"}, "features": {"p": feature}}))
    done = cli("preview", data / "imu-joint-state.mcap", "--spec", spec, code=1)
    assert "position[9] is out of range" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("draft", "poses.bag", "--template", "detection"),
            "needs a topic with images and a topic with lists of boxes",
        ),
        (("draft", "poses.bag", "--template", "detect"), "did you mean 'detection'?"),
        (("draft", "poses.bag", "--max-features", "0"), "'0' is not a number of features"),
        (("draft", "no-messages.bag"), "no topic of the log can become features: it has no topics"),
        (("draft", "poses.bag", "--trigger", "pose"), "did you mean 'pose_data'?"),
        (("preview", "poses.bag", "--spec", "x", "-n", "0"), "there must be one row at least"),
        (("preview", "poses.bag", "--spec", "x", "--offset", "nan"), "'nan' is not a number of seconds"),
        (("preview", "poses.bag"), "the following arguments are required: --spec"),
        (("preview", "poses.bag", "--spec", "x", "--row", "1", "--offset", "2"), "not allowed with argument --row"),
        (("preview", "poses.bag", "--spec", "absent.yaml"), "the spec cannot be read"),
    ],
)
def test_refusals_are_one_sentence(data: Path, arguments: tuple[str, ...], said: str) -> None:
    command, log, *options = arguments
    assert said in sentence(cli(command, data / log, *options, code=2))
