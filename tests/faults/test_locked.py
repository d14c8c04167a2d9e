"""A database that another process holds: whoever needs it waits, nobody else does."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar

pytestmark = pytest.mark.e2e

READS = ("assets/list", "tags/list", "jobs/list", "conversions/list", "drafts/list", "dashboard/trends")
WAITING = ("dashboard/summary", "outputs/list", "conversionConfigs/list", "assets/reindexAll")
ANSWER_S = 1.0


def ready(spawn: SpawnSidecar, root: Path) -> Sidecar:
    sidecar = spawn()
    sidecar.initialize()
    sidecar.request("workspaces/create", {"root_path": str(root)})
    sidecar.request("rpc.discover")  # every method is there afterwards
    return sidecar


@contextmanager
def unreadable(root: Path) -> Iterator[None]:
    """Nobody can read the database: the marks of its readers (bytes 120 to 127 of the index of its log) are locked."""
    with (root / ".hephaes" / "workspace.db-shm").open("r+b") as shared:
        fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)
        yield


def asked(sidecar: Sidecar, seconds: float) -> list[tuple[float, object]]:
    """How long ``health`` takes, and the jobs it tells of, again and again."""
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        jobs = sidecar.request("health", timeout=10)["jobs"]
        found.append((time.monotonic() - began, jobs))
        time.sleep(0.05)
    return found


def test_nobody_waits_for_a_database_that_cannot_be_read(spawn: SpawnSidecar, tmp_path: Path) -> None:
    root = tmp_path / "w"
    sidecar = ready(spawn, root)
    with unreadable(root):
        waiting = [sidecar.start(method, {}) for method in (*READS, *WAITING)]
        told = asked(sidecar, 2)
        assert max(took for took, _ in told) < ANSWER_S
        assert told[-1][1] is None, "counted what cannot be read"
        assert all(sidecar.responses(each) == [] for each in waiting)
        assert sidecar.request("rpc.discover", timeout=ANSWER_S)["openrpc"]
        sidecar.cancel(waiting[-1])
        assert sidecar.response(waiting[-1], ANSWER_S)["error"]["code"] == -32800
    for each in waiting[:-1]:
        answer = sidecar.response(each, 20)
        assert "result" in answer or answer["error"]["data"]["kind"] == "io_error"
    until = time.monotonic() + 5
    while sidecar.request("health")["jobs"] is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    for method in READS:
        sidecar.request(method, {})
    assert sidecar.shutdown() == 0


def test_writes_wait_for_another_writer_and_reads_do_not(spawn: SpawnSidecar, tmp_path: Path) -> None:
    root = tmp_path / "w"
    sidecar = ready(spawn, root)
    other = apsw.Connection(str(root / ".hephaes" / "workspace.db"))
    other.execute("BEGIN IMMEDIATE").fetchall()
    waiting = [sidecar.start("tags/create", {"name": f"tag {k}"}) for k in range(20)]
    told = asked(sidecar, 1)
    assert max(took for took, _ in told) < ANSWER_S
    assert told[-1][1] == {"queued": 0, "running": 0}
    for method in READS:
        sidecar.request(method, {}, timeout=ANSWER_S)
    assert all(sidecar.responses(each) == [] for each in waiting[8:])
    other.execute("ROLLBACK").fetchall()
    other.close()
    for each in waiting:
        sidecar.result(each, 20)
    assert sidecar.request("tags/list")["total"] == 20
    with pytest.raises(RpcError):
        sidecar.request("tags/create", {"name": "tag 1"})
    assert sidecar.shutdown() == 0
