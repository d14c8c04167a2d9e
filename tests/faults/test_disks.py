"""Small and read-only disks under the real sidecar: it says so, loses nothing, and goes on."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from hephaes_rpc.testing.logs import samples, write_mcap
from tests.e2e.conftest import SpawnSidecar
from tests.e2e.logs import write_long_log
from tests.e2e.sidecar import RpcError, Sidecar
from tests.faults.conftest import Disk, fill

pytestmark = pytest.mark.e2e


def ready(sidecar: Sidecar, root: Path, log: Path) -> str:
    """A workspace at ``root`` with an indexed asset; the asset's id."""
    sidecar.initialize()
    sidecar.request("workspaces/create", {"root_path": str(root)})
    return indexed(sidecar, log)


def indexed(sidecar: Sidecar, log: Path) -> str:
    asset = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset})
    return str(asset)


def refused(sidecar: Sidecar, method: str, **params: Any) -> str:
    with pytest.raises(RpcError) as told:
        sidecar.request(method, params)
    assert told.value.code == -32803
    return str(told.value.data["kind"])


def sound(root: Path) -> None:
    connection = apsw.Connection(str(root / ".hephaes" / "workspace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_full_disk_under_the_workspace(spawn: SpawnSidecar, disk: Disk, tmp_path: Path) -> None:
    root = disk("4m")
    sidecar = spawn()
    asset = ready(sidecar, root, write_mcap(tmp_path / "run.mcap", samples(300)))
    filler = fill(root)
    n, kinds = 0, set()
    for k in range(3000):
        try:
            sidecar.request("tags/create", {"name": f"tag {k} " + "x" * 60})
            n += 1
        except RpcError as error:
            kinds.add((error.code, error.data["kind"]))
            if len(kinds) and k > n + 20:
                break
    assert kinds == {(-32803, "disk_full")}
    assert sidecar.request("tags/list")["total"] == n
    assert sidecar.request("health")["status"] == "ok"
    assert sidecar.request("assets/get", {"asset_id": asset})
    assert refused(sidecar, "conversions/create", asset_ids=[asset], output={"format": "parquet"}) == "disk_full"
    workspace = sidecar.request("workspaces/list")["items"][0]
    assert refused(sidecar, "workspaces/backup", workspace_id=workspace["id"]) == "disk_full"
    assert list((root / ".hephaes" / "backups").glob("*")) == []
    sound(root)
    filler.unlink()
    sidecar.request("tags/create", {"name": "room again"})
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"
    assert sidecar.request("tags/list")["total"] == n + 1
    assert sidecar.shutdown() == 0
    sound(root)


def test_a_disk_too_small_for_the_output(spawn: SpawnSidecar, disk: Disk, tmp_path: Path) -> None:
    root = disk("6m")
    sidecar = spawn()
    asset = ready(sidecar, root, write_long_log(tmp_path / "long.mcap", 15))
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "tfrecord"}})
    job = sidecar.wait_for_job(made["job_id"], 60)
    assert (job["status"], job["error"]["kind"]) == ("failed", "disk_full")
    assert "bytes are free" in job["error"]["message"]
    assert sorted(Path(made["output_path"]).iterdir()) == []
    assert sidecar.request("outputs/list")["total"] == 0
    small = indexed(sidecar, write_mcap(tmp_path / "small.mcap", samples(50)))
    made = sidecar.request("conversions/create", {"asset_ids": [small], "output": {"format": "parquet"}})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"
    sound(root)


LIMIT = 1_500_000


def test_a_limit_on_the_size_of_files(spawn: SpawnSidecar, tmp_path: Path) -> None:
    words = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {resource.RLIM_INFINITY}))"
    command = [
        sys.executable,
        "-c",
        f"{words}; os.execv(sys.executable, [sys.executable, '-m', 'hephaes_rpc', 'serve'])",
    ]
    sidecar = spawn(command=command)
    log = write_long_log(tmp_path / "long.mcap", 10)
    asset = ready(sidecar, tmp_path / "w", log)
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "tfrecord"}})
    job = sidecar.wait_for_job(made["job_id"], 60)
    assert (job["status"], job["error"]["kind"]) == ("failed", "disk_full")
    assert sorted(Path(made["output_path"]).iterdir()) == []
    kinds = set()
    for k in range(2000):
        try:
            sidecar.request("tags/create", {"name": f"tag {k} " + "x" * 80})
        except RpcError as error:
            kinds.add(error.data["kind"])
            break
    assert kinds <= {"disk_full", "io_error"}
    assert sidecar.request("tags/list", {"limit": 1})["total"] == k + (not kinds)
    assert sidecar.request("health")["status"] == "ok"
    sound(tmp_path / "w")


def test_a_disk_that_becomes_read_only(spawn: SpawnSidecar, disk: Disk, tmp_path: Path) -> None:
    root = disk("16m")
    sidecar = spawn()
    asset = ready(sidecar, root, write_mcap(tmp_path / "run.mcap", samples(300)))
    assert sidecar.shutdown() == 0
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    try:
        sidecar = spawn()
        sidecar.initialize()
        status = sidecar.request("workspaces/list")["items"][0]
        if status["status"] == "ready":
            assert sidecar.request("assets/list")["total"] == 1
            assert refused(sidecar, "tags/create", name="x") == "permission"
            assert refused(sidecar, "conversions/create", asset_ids=[asset], output={}) == "permission"
        else:
            assert "read-only" in status["status_reason"]
        other = sidecar.request("workspaces/create", {"root_path": str(tmp_path / "other")})
        assert other["status"] == "ready"
        assert refused(sidecar, "workspaces/create", root_path=str(root / "new")) == "permission"
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(root)], check=True)
    assert sidecar.request("assets/list", {"workspace_id": status["id"]})["total"] == 1


def test_an_output_folder_that_vanishes_is_made_again_or_told(spawn: SpawnSidecar, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "w"
    sidecar = spawn()
    asset = ready(sidecar, root, write_long_log(tmp_path / "long.mcap", 30))
    made = sidecar.request(
        "conversions/create", {"asset_ids": [asset], "output": {"format": "tfrecord", "compression": "gzip"}}
    )
    sidecar.wait_for("jobs/progress", lambda p: p["job_id"] == made["job_id"] and p["phase"] == "decode")
    shutil.rmtree(root / ".hephaes" / "outputs")
    job = sidecar.wait_for_job(made["job_id"], 60)
    assert (job["status"], job["error"]["kind"]) == ("failed", "io_error")
    assert made["output_path"] in job["error"]["message"]
    again = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}})
    assert sidecar.wait_for_job(again["job_id"], 60)["status"] == "succeeded"
