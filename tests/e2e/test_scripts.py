"""Scripts of users through the real sidecar: registered, checked, run, and survived."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import samples, write_mcap

pytestmark = pytest.mark.e2e

FINAL = ("succeeded", "failed", "cancelled")
TWICE = "def compute(batch):\n    return {'twice': [2 * x for x in batch.column(0).to_pylist()]}\n"
SPEC = {
    "row_strategy": {"kind": "per-message", "topic": "/imu"},
    "features": {"acc": {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"}},
    "computations": [
        {
            "file": "made.py",
            "inputs": ["acc"],
            "outputs": {"twice": {"dtype": "float64"}},
            "time_limit_s": 1,
            "memory_limit_mb": 64,
        }
    ],
    "output": {"format": "parquet"},
}


@pytest.fixture
def sidecar(common: Sidecar) -> Sidecar:
    """The sidecar of the module."""
    return common


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace/scripts").mkdir(parents=True)
    return tmp_path / "workspace"


@pytest.fixture
def asset(sidecar: Sidecar, root: Path, tmp_path: Path) -> str:
    """A log of 400 messages in an active workspace, indexed."""
    sidecar.request("workspaces/create", {"root_path": str(root)})
    log = write_mcap(tmp_path / "run.mcap", samples(400))
    found = sidecar.request("assets/register", {"file_path": str(log)})
    sidecar.request("assets/index", {"asset_id": found["id"]})
    return str(found["id"])


def put(sidecar: Sidecar, root: Path, script: str) -> Any:
    """The script, registered."""
    (root / "scripts/made.py").write_text(script)
    return sidecar.request("scripts/register", {"path": "made.py"})


def finished(sidecar: Sidecar, job_id: str) -> Any:
    changed = sidecar.wait_for("jobs/didChange", lambda p: p["job"]["id"] == job_id and p["job"]["status"] in FINAL, 60)
    return changed["job"]


def create(sidecar: Sidecar, asset: str, **more: Any) -> Any:
    return sidecar.request("conversions/create", {"asset_ids": [asset], "spec": SPEC, **more})


def test_a_script_runs_once_its_user_has_let_it(sidecar: Sidecar, root: Path, asset: str) -> None:
    (root / "scripts/made.py").write_text(TWICE)
    listed = sidecar.request("scripts/list")
    assert (listed["folder"], listed["total"]) == (str(root / "scripts"), 1)
    assert (listed["items"][0]["path"], listed["items"][0]["status"]) == ("made.py", "disabled")
    with pytest.raises(RpcError) as refused:
        create(sidecar, asset)
    assert refused.value.data["kind"] == "script_not_enabled"
    checked = sidecar.request("scripts/check", {"path": "made.py", "function": "compute"})
    assert (checked["problem"], [each["name"] for each in checked["functions"]]) == (None, ["compute"])
    assert put(sidecar, root, TWICE)["status"] == "enabled"
    checked = sidecar.request("scripts/check", {"path": "made.py", "spec": SPEC, "asset_id": asset})
    assert checked["rows"][0]["field_data"]["twice"] == 2 * checked["rows"][0]["field_data"]["acc"]

    made = create(sidecar, asset)
    assert finished(sidecar, made["job_id"])["status"] == "succeeded"
    found = pq.read_table(Path(made["output_path"]) / "episode_0001.parquet").to_pydict()
    assert found["twice"] == [2 * acc for acc in found["acc"]]
    manifest = json.loads((Path(made["output_path"]) / "episode_0001.parquet.manifest.json").read_bytes())
    assert manifest["conversion"]["computations"][0]["sha256"] == checked["script"]["sha256"]

    (root / "scripts/made.py").write_text(TWICE + "\n")
    assert sidecar.request("scripts/list", {"status": "changed"})["total"] == 1
    with pytest.raises(RpcError, match="has changed since") as refused:
        create(sidecar, asset)
    put(sidecar, root, TWICE + "\n")
    again = create(sidecar, asset)
    assert finished(sidecar, again["job_id"])["status"] == "succeeded"
    logs = [line["text"] for line in sidecar.request("jobs/logs", {"job_id": again["job_id"]})["items"]]
    assert not any("unchanged" in text for text in logs), "another script may make other bytes"
    assert sidecar.request("scripts/register", {"path": "made.py", "enabled": False})["status"] == "disabled"
    with pytest.raises(RpcError):
        create(sidecar, asset)


def test_a_script_is_tried_before_its_job_is_made(sidecar: Sidecar, root: Path, asset: str) -> None:
    put(sidecar, root, "def compute(batch):\n    return {'twice': 1 / 0}\n")
    with pytest.raises(RpcError, match=r"made.py, line 2: ZeroDivisionError") as refused:
        create(sidecar, asset)
    assert (refused.value.code, refused.value.data["kind"], refused.value.data["line"]) == (422, "script_failed", 2)
    assert sidecar.request("conversions/list")["total"] == 0
    checked = sidecar.request("scripts/check", {"path": "made.py", "spec": SPEC, "asset_id": asset})
    assert (checked["line"], "ZeroDivisionError" in checked["problem"]) == (2, True)


LATER = "def compute(batch):\n    if len(batch) > 30:\n{then}\n    return {{'twice': batch.column(0)}}\n"
MISDEEDS = {
    "loops": ("        while True: pass", "line 3: it took longer than its 1 s"),
    "allocates": ("        x = [bytes(1 << 20) for _ in range(1 << 20)]", "it needed more memory than its 64 MB"),
    "exits": ("        raise SystemExit", "line 3: it called exit"),
    "leaves": ("        __import__('os')._exit(0)", "it ended its process with code 0"),
    "prints": ("        print('x' * 200000); raise ValueError('no')", "line 3: ValueError: no"),
    "forks": ("        __import__('os').fork()", "line 3: PermissionError"),
    "crashes": ("        __import__('ctypes').string_at(0)", "its process was killed by SIGSEGV"),
}


@pytest.mark.parametrize("what", MISDEEDS)
def test_a_script_that_misbehaves_costs_its_job_and_nothing_else(
    sidecar: Sidecar, root: Path, asset: str, what: str
) -> None:
    misdeed, why = MISDEEDS[what]
    put(sidecar, root, LATER.format(then=misdeed))
    made = create(sidecar, asset)
    job = finished(sidecar, made["job_id"])
    assert (job["status"], job["attempt"], job["error"]["kind"]) == ("failed", 1, "script_failed")
    assert why in job["error"]["message"]
    assert job["error"]["data"]["script"] == "made.py"
    assert not list(Path(made["output_path"]).glob("*"))
    assert sidecar.request("jobs/list", {"type": "convert", "status": "running"})["items"] == []
    put(sidecar, root, TWICE)
    retried = sidecar.request("jobs/retry", {"job_id": job["id"]})
    assert finished(sidecar, retried["id"])["status"] == "succeeded"
    assert sidecar.stray == b""


def test_scripts_are_listed_in_pages(sidecar: Sidecar, root: Path, asset: str) -> None:
    (root / "scripts/sub").mkdir()
    for name in ("b.py", "a.py", "sub/c.py", "notes.txt"):
        (root / "scripts" / name).write_text("x = 1\n")
    (root / "scripts/.hidden").mkdir()
    (root / "scripts/.hidden/d.py").write_text("x = 1\n")
    sidecar.request("scripts/register", {"path": "b.py"})
    (root / "scripts/b.py").unlink()
    for sort, paths in (("path", ["a.py", "b.py", "sub/c.py"]), ("-path", ["sub/c.py", "b.py", "a.py"])):
        found: list[Any] = []
        cursor = None
        while True:
            page = sidecar.request("scripts/list", {"sort": sort, "limit": 1, "cursor": cursor})
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [(each["path"], each["status"]) for each in found] == [
            (path, "missing" if path == "b.py" else "disabled") for path in paths
        ]
    first = sidecar.request("scripts/list", {"limit": 1})
    with pytest.raises(RpcError) as refused:
        sidecar.request("scripts/list", {"limit": 1, "sort": "-path", "cursor": first["next_cursor"]})
    assert refused.value.data["kind"] == "cursor_mismatch"
    for path in ("../secret.py", "/etc/passwd", "notes.txt", "nobody.py"):
        with pytest.raises(RpcError) as refused:
            sidecar.request("scripts/register", {"path": path})
        assert (refused.value.code, refused.value.data["kind"]) == (404, "script_not_found")


def test_a_workspace_from_elsewhere_brings_no_script_that_may_run(
    spawn: SpawnSidecar, sidecar: Sidecar, root: Path, asset: str, tmp_path: Path
) -> None:
    put(sidecar, root, TWICE)
    assert sidecar.request("scripts/list")["items"][0]["status"] == "enabled"
    other = spawn(data_dir=tmp_path / "another machine")
    other.initialize(initializationOptions={"workspace_root": str(root)})
    assert other.request("scripts/list")["items"][0]["status"] == "disabled"
    with pytest.raises(RpcError) as refused:
        create(other, asset)
    assert refused.value.data["kind"] == "script_not_enabled"
    assert other.shutdown() == 0
