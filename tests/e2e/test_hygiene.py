"""However a sidecar ends while it works: no process outlives it, its database is whole, its files are its results."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import Sidecar, session_members

pytestmark = pytest.mark.e2e

SPEC = {
    "row_strategy": {"kind": "per-message", "topic": "/imu"},
    "features": {"acc": {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"}},
    "computations": [
        {"file": "slow.py", "inputs": ["acc"], "outputs": {"c": {"dtype": "float64"}}, "time_limit_s": 60}
    ],
    "output": {"format": "parquet"},
}
SLOW = "import time\ndef compute(batch):\n    time.sleep(30 if len(batch) > 30 else 0)\n    return batch.column(0)\n"


def end_of_input(sidecar: Sidecar, _: "subprocess.Popen[bytes]") -> None:
    assert sidecar.process.stdin is not None
    sidecar.process.stdin.close()


def end_of_client(_: Sidecar, client: "subprocess.Popen[bytes]") -> None:
    client.kill()
    client.wait()


def signalled(number: signal.Signals) -> Callable[..., None]:
    return lambda sidecar, _: sidecar.process.send_signal(number)


ENDS = {
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGINT": signalled(signal.SIGINT),
    "SIGKILL": signalled(signal.SIGKILL),
    "end of input": end_of_input,
    "end of the client": end_of_client,
}


def busy(sidecar: Sidecar, root: Path, log: Path) -> list[Any]:
    """A conversion that decodes and one whose script sleeps."""
    (root / "scripts").mkdir(parents=True)
    (root / "scripts/slow.py").write_text(SLOW)
    sidecar.request("workspaces/create", {"root_path": str(root)})
    asset = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset})
    sidecar.request("scripts/register", {"path": "slow.py"})
    made = [
        sidecar.request("conversions/create", {"asset_ids": [asset], "spec": SPEC}),
        sidecar.request(
            "conversions/create", {"asset_ids": [asset], "output": {"format": "tfrecord", "compression": "gzip"}}
        ),
    ]
    for each in made:
        job_id = each["job_id"]
        sidecar.wait_for("jobs/progress", lambda p, j=job_id: p["job_id"] == j and p["phase"] == "decode")
    until = time.monotonic() + 10
    while not any(
        b"script" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in session_members(sidecar.process.pid)
    ):
        assert time.monotonic() < until, "no script runs"
        time.sleep(0.02)
    return made


@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_left_of_a_sidecar_that_worked(
    spawn: SpawnSidecar, tmp_path: Path, long_log: Path, how: str
) -> None:
    client = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    first = spawn(env={"HEPHAES_MAX_WORKERS": "2"})
    first.initialize(processId=client.pid)
    root = tmp_path / "workspace"
    made = busy(first, root, long_log)
    began = time.monotonic()
    ENDS[how](first, client)
    while session_members(first.process.pid):
        assert time.monotonic() - began < 3, "processes outlive the sidecar"
        time.sleep(0.02)
    client.kill()
    client.wait()
    folder = root / ".hephaes"
    if how != "SIGKILL":
        assert not any((folder / f"workspace.db{end}").exists() for end in ("-wal", "-shm")), "not checkpointed"
        assert [list(Path(each["output_path"]).glob(".*")) for each in made] == [[], []]
    db = apsw.Connection(str(folder / "workspace.db"))
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    if how not in ("SIGTERM", "SIGKILL"):
        return  # the next start is the same however the first one ended in order

    (root / "scripts/slow.py").write_text("def compute(batch):\n    return batch.column(0)\n")
    second = spawn()
    second.initialize()
    second.request("scripts/register", {"path": "slow.py"})
    jobs = [second.wait_for_job(each["job_id"]) for each in made]
    assert jobs[1]["status"] == "succeeded", jobs[1]["error"]
    assert (jobs[0]["status"], jobs[0]["error"] and jobs[0]["error"]["kind"]) in (
        ("succeeded", None),
        ("failed", "script_failed"),  # it was taken up before the other script was registered
    )
    assert [list(Path(each["output_path"]).glob(".*")) for each in made] == [[], []]
    assert second.shutdown() == 0
