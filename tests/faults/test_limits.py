"""A slow disk, and few descriptors and processes, under the real sidecar: it says so, waits, and goes on."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.testing.logs import samples, write_mcap
from tests.e2e.conftest import SpawnSidecar
from tests.e2e.logs import write_long_log
from tests.e2e.sidecar import RpcError, Sidecar
from tests.faults.test_disks import indexed, ready

pytestmark = pytest.mark.e2e

SERVE = [sys.executable, "-m", "hephaes_rpc", "serve"]
ANSWER_S = 1.0
USER = 65_530
"""Nobody's: limits on processes do not hold for root."""


def limited(statement: str) -> list[str]:
    """A sidecar that is started after a statement."""
    return [
        *(sys.executable, "-c"),
        f"import os, resource, sys; {statement}; os.execv({SERVE[0]!r}, {SERVE!r})",
    ]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to slow calls down")
def test_a_slow_disk_delays_nobody_else(spawn: SpawnSidecar, tmp_path: Path) -> None:
    slow = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:delay_enter=200ms"]
    sidecar = spawn(command=["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", *slow, *SERVE])
    asset = ready(sidecar, tmp_path / "w", write_long_log(tmp_path / "long.mcap", 10))
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "tfrecord"}})
    slowest, until = 0.0, time.monotonic() + 60
    job = sidecar.request("jobs/get", {"job_id": made["job_id"]})
    while job["status"] not in ("succeeded", "failed"):
        assert time.monotonic() < until
        for method, params in (("health", {}), ("jobs/get", {"job_id": made["job_id"]}), ("assets/list", {})):
            began = time.monotonic()
            answer = sidecar.request(method, params)
            slowest = max(slowest, time.monotonic() - began)
            job = answer if method == "jobs/get" else job
    assert job["status"] == "succeeded"
    assert slowest < ANSWER_S
    told = [each["percentage"] for each in sidecar.notifications("jobs/progress") if each["job_id"] == made["job_id"]]
    assert told == sorted(told)
    assert told[-1] == 100


def test_few_descriptors(spawn: SpawnSidecar, tmp_path: Path) -> None:
    sidecar = spawn(command=limited("resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"))
    asset = ready(sidecar, tmp_path / "w", write_mcap(tmp_path / "run.mcap", samples(50)))
    made = [sidecar.request("workspaces/create", {"root_path": str(tmp_path / "more")})["id"]]
    kinds = set()

    def asked(method: str, **params: str) -> Any:
        try:
            return sidecar.request(method, params)
        except RpcError as error:
            kinds.add(error.data["kind"])
            return None

    for k in range(30):
        if (created := asked("workspaces/create", root_path=str(tmp_path / f"w{k}"))) is not None:
            made.append(created["id"])
    assert kinds
    assert sidecar.request("health")["status"] == "ok"
    for workspace_id in made[-10:]:
        asked("workspaces/delete", workspace_id=workspace_id)
    assert kinds <= {"io_error", "workspace_not_ready"}
    first = next(
        item["id"] for item in sidecar.request("workspaces/list")["items"] if item["root_path"] == str(tmp_path / "w")
    )
    job = sidecar.request(
        "conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}, "workspace_id": first}
    )
    assert sidecar.wait_for_job(job["job_id"])["status"] == "succeeded"
    assert sidecar.shutdown() == 0


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of that user's which others may enter, too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, USER, -1)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs to become another user")
def test_few_processes(spawn: SpawnSidecar, tmp_path: Path, theirs: Path) -> None:
    become = ["setpriv", f"--reuid={USER}", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    sidecar = spawn(command=[*become, "--bounding-set=-sys_admin,-sys_resource", *SERVE])
    asset = ready(sidecar, theirs / "w", write_mcap(tmp_path / "run.mcap", samples(50)))
    limit_processes(sidecar, 1)
    asked = {"asset_ids": [asset], "output": {"format": "parquet"}, "reuse": False}
    made = [sidecar.request("conversions/create", asked)["job_id"] for _ in range(2)]
    until = time.monotonic() + 3
    while time.monotonic() < until:
        for method in ("health", "jobs/list", "assets/list", "conversionConfigs/list", "outputs/list"):
            sidecar.request(method)
    limit_processes(sidecar, 10_000)
    for job_id in made:
        assert sidecar.wait_for_job(job_id, 60)["status"] == "succeeded"
    assert indexed(sidecar, write_mcap(tmp_path / "more.mcap", samples(20)))
    assert "Traceback" not in sidecar.stderr
    assert sidecar.shutdown() == 0


def limit_processes(sidecar: Sidecar, n: int) -> None:
    """So many processes and threads may there be of its user before it can start no more."""
    words = ["setpriv", f"--reuid={USER}", "prlimit", f"--pid={sidecar.process.pid}", f"--nproc={n}:10000"]
    subprocess.run(words, check=True)
