"""``hephaes-rpc wizard`` as a person runs it: in a pseudo-terminal, key by key."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyarrow.parquet as pq
import pytest
import yaml

from tests.test_cli import cli, sentence

DOWN, SPACE, ENTER, CTRL_C = "\x1b[B", " ", "\r", "\x03"
DIALOGUE = [
    "What is the dataset for",
    "Which topics",
    "which topic",
    "Which format",
    "Which compression",
    "What now",
    "Where does the spec go",
    "Where does the dataset go",
]


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    shutil.copy(data / "turtlesim-bz2.bag", tmp_path / "run.bag")
    return tmp_path


@pytest.fixture
def wizard(folder: Path) -> Iterator[pexpect.spawn]:
    """The wizard over ``run.bag``, in a terminal that answers no questions about its cursor."""
    child = spawned(folder)
    yield child
    child.close(force=True)


def spawned(folder: Path, *options: str) -> pexpect.spawn:
    environment = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "PYTHONWARNINGS": "default"}
    return pexpect.spawn(
        sys.executable,
        ["-m", "hephaes_rpc", "wizard", "run.bag", *options],
        cwd=str(folder),
        env=environment,
        encoding="utf-8",
        timeout=30,
        dimensions=(60, 200),
    )


def answer(wizard: pexpect.spawn, question: str, keys: str) -> None:
    wizard.expect(question)
    wizard.send(keys)


def ended(wizard: pexpect.spawn) -> int:
    wizard.expect(pexpect.EOF)
    wizard.close()
    return int(wizard.exitstatus)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "run.bag")


def test_from_a_log_to_a_dataset(wizard: pexpect.spawn, folder: Path) -> None:
    wizard.expect("/turtle1/pose")
    for question in DIALOGUE[:5]:
        answer(wizard, question, ENTER)
    wizard.expect("row 0")
    for question in DIALOGUE[5:]:
        answer(wizard, question, ENTER)
    assert ended(wizard) == 0
    assert names(folder) == ["run-dataset", "run.yaml"]
    table = pq.read_table(folder / "run-dataset" / "run.parquet")
    spec = yaml.safe_load((folder / "run.yaml").read_text())["spec"]
    assert set(spec["features"]) < set(table.column_names)
    cli("convert", folder / "run.bag", "--spec", folder / "run.yaml", "-o", folder / "again")
    assert (folder / "again" / "run.parquet").read_bytes() == (folder / "run-dataset" / "run.parquet").read_bytes()


def test_answers_are_heard(wizard: pexpect.spawn, folder: Path) -> None:
    """Imitation learning with the next state, TFRecord, the spec only, under another name."""
    answer(wizard, DIALOGUE[0], DOWN + ENTER)
    answer(wizard, DIALOGUE[1], ENTER)
    answer(wizard, "What is the action", "\x1b[A" * 3 + ENTER)
    answer(wizard, DIALOGUE[2], ENTER)
    answer(wizard, DIALOGUE[3], DOWN + ENTER)
    answer(wizard, DIALOGUE[4], DOWN + ENTER)
    answer(wizard, DIALOGUE[5], DOWN + ENTER)
    answer(wizard, DIALOGUE[6], "\x15mine.yml" + ENTER)
    assert ended(wizard) == 0
    assert names(folder) == ["mine.yml"]
    spec = yaml.safe_load((folder / "mine.yml").read_text())["spec"]
    assert spec["output"] == {"format": "tfrecord", "compression": "gzip"} | spec["output"]
    assert spec["draft_origin"]["provenance"]["template"] == "imitation-learning"
    assert spec["features"]["action"]["shift"] == 1


def test_the_rate_of_a_grid_is_asked_for(wizard: pexpect.spawn, folder: Path) -> None:
    answer(wizard, DIALOGUE[0], DOWN * 2 + ENTER)
    answer(wizard, DIALOGUE[1], ENTER)
    answer(wizard, "How many rows per second", "\x15none" + ENTER)
    answer(wizard, "a number", "\x157.5" + ENTER)
    for question in DIALOGUE[3:5]:
        answer(wizard, question, ENTER)
    answer(wizard, DIALOGUE[5], DOWN + ENTER)
    answer(wizard, DIALOGUE[6], ENTER)
    assert ended(wizard) == 0
    assert yaml.safe_load((folder / "run.yaml").read_text())["spec"]["row_strategy"]["freq_hz"] == 7.5


def test_a_spec_is_json_where_its_name_says_so(wizard: pexpect.spawn, folder: Path) -> None:
    for question in DIALOGUE[:5]:
        answer(wizard, question, ENTER)
    answer(wizard, DIALOGUE[5], DOWN + ENTER)
    answer(wizard, DIALOGUE[6], "\x15run.json" + ENTER)
    assert ended(wizard) == 0
    assert set(json.loads((folder / "run.json").read_text())["spec"]["features"])
    cli("convert", folder / "run.bag", "--spec", folder / "run.json", "-o", folder / "made")
    assert (folder / "made" / "run.parquet").is_file()


def test_a_spec_becomes_a_config_of_the_workspace(folder: Path) -> None:
    here = ["--data-dir", str(folder / "data")]
    call = ("call", "workspaces/create", json.dumps({"root_path": str(folder / "workspace")}), *here)
    cli(*call)
    child = spawned(folder, *here)
    try:
        for question in DIALOGUE[:5]:
            answer(child, question, ENTER)
        answer(child, DIALOGUE[5], DOWN * 2 + ENTER)
        answer(child, "What is the config called", "\x15taken" + ENTER)
        child.expect("the config is taken")
        assert ended(child) == 0
    finally:
        child.close(force=True)
    (config,) = json.loads(cli("call", "conversionConfigs/list", "{}", *here).stdout)["items"]
    assert config["name"] == "taken"
    params = json.dumps({"config_id": config["id"]})
    detail = json.loads(cli("call", "conversionConfigs/get", params, *here).stdout)
    assert detail["spec_document_json"]["spec"]["features"]


def test_without_a_workspace_a_config_is_refused_and_the_dialogue_goes_on(folder: Path) -> None:
    child = spawned(folder, "--data-dir", str(folder / "data"))
    try:
        for question in DIALOGUE[:5]:
            answer(child, question, ENTER)
        answer(child, DIALOGUE[5], DOWN * 2 + ENTER)
        answer(child, "What is the config called", ENTER)
        child.expect("workspace")
        answer(child, DIALOGUE[5], "\x1b[A" + ENTER)
        assert ended(child) == 0
    finally:
        child.close(force=True)


def test_what_is_there_is_not_replaced_unasked(wizard: pexpect.spawn, folder: Path) -> None:
    (folder / "run.yaml").write_text("mine")
    for question in DIALOGUE[:5]:
        answer(wizard, question, ENTER)
    answer(wizard, DIALOGUE[5], DOWN + ENTER)
    answer(wizard, DIALOGUE[6], ENTER)
    answer(wizard, "exists. Replace it", "n")
    answer(wizard, DIALOGUE[6], "\x15other.yaml" + ENTER)
    assert ended(wizard) == 0
    assert (folder / "run.yaml").read_text() == "mine"
    assert names(folder) == ["other.yaml", "run.yaml"]


@pytest.mark.parametrize("at", range(len(DIALOGUE)))
def test_ctrl_c_leaves_nothing(wizard: pexpect.spawn, folder: Path, at: int) -> None:
    for question in DIALOGUE[:at]:
        answer(wizard, question, ENTER)
    answer(wizard, DIALOGUE[at], CTRL_C)
    assert ended(wizard) == 130
    assert names(folder) == []


def test_without_a_terminal_it_says_so(data: Path) -> None:
    said = sentence(cli("wizard", data / "poses.bag", code=2))
    assert "stdin and stdout must be a terminal (in a script use draft, preview and convert)" in said
