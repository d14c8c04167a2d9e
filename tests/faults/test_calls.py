"""The n-th call of the system fails under the real sidecar and its workers: what is told is true, nothing is lost.

Strategy: strace makes calls fail in every thread of every process, at the n-th of its kind or from then on, while a
workspace is made, a log indexed and converted.  Then a sidecar that nothing fails for says what has become of it.
"""

import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pyarrow.parquet as pq
import pytest

from hephaes_rpc.testing.logs import samples, write_mcap
from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar
from tests.thorough import THOROUGH

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to have calls fail"),
]

KINDS = {"disk_full", "io_error", "permission", "worker_died", "workspace_not_ready", "no_active_workspace"}
CASES = [
    (call, error, n, on)
    for call, error, ns in (
        ("pwrite64", "ENOSPC", (12,)),
        ("fdatasync", "EIO", (1,)),
        ("fsync", "EIO", (2,)),
        ("rename", "EIO", ()),
        ("ftruncate", "EIO", ()),
    )
    for n in (range(1, 41) if THOROUGH else ns)
    for on in ((False, True) if THOROUGH else (n > 1,))
]
N_MESSAGES = 300


def failing(call: str, error: str, n: int, *, on: bool) -> list[str]:
    """A sidecar whose calls fail."""
    which = f"inject={call}:error={error}:when={n}{'+' if on else ''}"
    return [
        *("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}", "-e", which),
        *(sys.executable, "-m", "hephaes_rpc", "serve"),
    ]


class Client:
    """Asks, and keeps what was answered; a refusal must say why."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def ask(self, method: str, **params: Any) -> Any:
        try:
            return self._sidecar.request(method, params)
        except RpcError as error:
            if error.data["kind"] in KINDS:
                return None
            raise


def work(sidecar: Sidecar, root: Path, log: Path) -> tuple[set[str], Any]:
    """The tags that were said to be stored, and the conversion's job."""
    client = Client(sidecar)
    sidecar.initialize()
    for _ in range(3):
        if client.ask("workspaces/create", root_path=str(root)):
            break
    tags = {made["name"] for k in range(5) if (made := client.ask("tags/create", name=f"tag {k}"))}
    asset = client.ask("assets/register", file_path=str(log))
    job = None
    if asset and client.ask("assets/index", asset_id=asset["id"]):
        made = client.ask("conversions/create", asset_ids=[asset["id"]], output={"format": "parquet"})
        if made:
            for _ in count():
                job = client.ask("jobs/get", job_id=made["job_id"])
                if job is None or job["status"] in ("succeeded", "failed", "cancelled"):
                    break
    assert sidecar.request("health")["status"] == "ok"
    return tags, job


@pytest.mark.parametrize(("call", "error", "n", "on"), CASES)
def test_what_is_told_is_true(spawn: SpawnSidecar, tmp_path: Path, call: str, error: str, n: int, on: bool) -> None:
    root, log = tmp_path / "w", write_mcap(tmp_path / "run.mcap", samples(N_MESSAGES))
    before = log.read_bytes()
    data = tmp_path / "data"
    spawn(data_dir=data).initialize()
    sidecar = spawn(data_dir=data, command=failing(call, error, n, on=on))
    tags, job = work(sidecar, root, log)
    sidecar.notify("exit")
    sidecar.wait()
    assert log.read_bytes() == before
    after = spawn(data_dir=data)
    after.initialize()
    after.request("workspaces/create", {"root_path": str(root)})
    assert {tag["name"] for tag in after.request("tags/list")["items"]} >= tags
    if job is not None and job["status"] != "running":
        assert after.request("jobs/get", {"job_id": job["id"]})["status"] == job["status"]
    outputs = after.request("outputs/list")["items"]
    assert all(item["availability_status"] == "ready" for item in outputs)
    for item in outputs:
        if item["format"] == "parquet":
            path = after.request("outputs/get", {"output_id": item["id"]})["file_path"]
            written = item["metadata"]["manifest"]["dataset"]["rows_written"]
            assert pq.read_table(path).num_rows == written > 0
    if job is not None and job["status"] == "succeeded":
        assert outputs
    assert after.shutdown() == 0
    connection = apsw.Connection(str(root / ".hephaes" / "workspace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
