"""Jobs through the real sidecar when processes are killed, stopped and cancelled."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar, session_members
from tests.factories import samples, write_mcap

pytestmark = pytest.mark.e2e

FINAL = ("succeeded", "failed", "cancelled")
SLOW = {"output": {"format": "tfrecord", "compression": "gzip"}}


@pytest.fixture(scope="module")
def short_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that is indexed and converted in no time."""
    return write_mcap(tmp_path_factory.mktemp("short") / "short.mcap", samples(100))


@pytest.fixture
def ready(sidecar: Sidecar, tmp_path: Path) -> Sidecar:
    """A sidecar with an active workspace."""
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    return sidecar


def indexed(sidecar: Sidecar, log: Path) -> str:
    asset = sidecar.request("assets/register", {"file_path": str(log)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    return str(asset["id"])


def started(sidecar: Sidecar, asset_id: str) -> Any:
    """A conversion that is decoding."""
    made = sidecar.request("conversions/create", {"asset_ids": [asset_id], **SLOW})
    sidecar.wait_for("jobs/progress", lambda p: p["job_id"] == made["job_id"] and p["phase"] == "decode")
    return made


def worker_of(sidecar: Sidecar, conversion: Any) -> int:
    """The process that writes a conversion's files."""
    folder = conversion["output_path"]
    for pid in sidecar.children():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(fd.readlink()).startswith(folder):
                    return pid
            except OSError:
                continue
    raise AssertionError("no worker writes there")


def finished(sidecar: Sidecar, job_id: str) -> Any:
    """The job in its final ``jobs/didChange``."""
    changed = sidecar.wait_for("jobs/didChange", lambda p: p["job"]["id"] == job_id and p["job"]["status"] in FINAL, 60)
    return changed["job"]


def statuses(sidecar: Sidecar, job_id: str) -> list[str]:
    return [p["job"]["status"] for p in sidecar.notifications("jobs/didChange") if p["job"]["id"] == job_id]


def files(conversion: Any) -> list[str]:
    return sorted(path.name for path in Path(conversion["output_path"]).iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_dies_by_a_signal_costs_its_job_an_attempt_and_others_nothing(
    ready: Sidecar, long_log: Path, short_log: Path, number: signal.Signals
) -> None:
    conversion = started(ready, indexed(ready, long_log))
    short = indexed(ready, short_log)
    os.kill(worker_of(ready, conversion), number)
    job_id = conversion["job_id"]
    lost = ready.wait_for("jobs/didChange", lambda p: p["job"]["id"] == job_id and p["job"]["status"] == "interrupted")
    job = lost["job"]
    assert (job["signal"], job["error"]["kind"]) == (number.name, "worker_died")
    assert number.name in job["error_message"]
    assert (job["attempt"], job["progress"]["percentage"] < 100) == (1, True)
    assert files(conversion) == []
    assert ready.request("outputs/list")["total"] == 0
    detail = ready.request("conversions/get", {"conversion_id": conversion["id"]})
    assert (detail["status"], detail["error_message"]) == ("interrupted", job["error_message"])

    after = ready.request("conversions/create", {"asset_ids": [short]})
    assert finished(ready, after["job_id"])["status"] == "succeeded"
    again = finished(ready, job_id)
    assert (again["status"], again["attempt"], again["error"]) == ("succeeded", 2, None)
    assert statuses(ready, job_id) == ["queued", "running", "interrupted", "queued", "running", "succeeded"]
    assert ready.shutdown() == 0


def test_nothing_outlives_a_killed_sidecar_and_the_next_one_goes_on(
    spawn: SpawnSidecar, long_log: Path, tmp_path: Path
) -> None:
    first = spawn()
    first.initialize()
    first.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    conversion = started(first, indexed(first, long_log))
    job_id = conversion["job_id"]
    assert first.children()
    first.process.kill()
    until = time.monotonic() + 3
    while session_members(first.process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert session_members(first.process.pid) == []
    assert all(name.startswith(".") for name in files(conversion))

    second = spawn()
    second.initialize()
    job = finished(second, job_id)
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 2, None)
    assert statuses(second, job_id) == ["interrupted", "queued", "running", "succeeded"]
    steps = [p["percentage"] for p in second.notifications("jobs/progress") if p["job_id"] == job_id]
    assert steps == sorted(steps)
    assert steps.count(100) == 1
    assert not any(name.startswith(".") for name in files(conversion))
    outputs = second.request("outputs/list", {"conversion_id": conversion["id"]})["items"]
    assert sorted(o["file_name"] for o in outputs) == files(conversion)
    assert second.shutdown() == 0


def test_an_index_that_its_sidecar_did_not_survive_is_done_by_the_next(
    spawn: SpawnSidecar, short_log: Path, tmp_path: Path
) -> None:
    first = spawn()
    first.initialize()
    first.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    asset = first.request("assets/register", {"file_path": str(short_log)})
    until = time.monotonic() + 5
    while not first.children():
        assert time.monotonic() < until, "no spare worker"
    os.kill(first.children()[0], signal.SIGSTOP)
    first.start("assets/index", {"asset_id": asset["id"]})
    running = first.wait_for("jobs/didChange", lambda p: p["job"]["status"] == "running")["job"]
    until = time.monotonic() + 5
    while first.request("assets/get", {"asset_id": asset["id"]})["asset"]["indexing_status"] != "indexing":
        assert time.monotonic() < until
    first.process.kill()
    first.wait()

    second = spawn()
    second.initialize()
    job = finished(second, running["id"])
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    detail = second.request("assets/get", {"asset_id": asset["id"]})
    assert detail["asset"]["indexing_status"] == "indexed"
    assert detail["metadata"]["message_count"] == 100


def test_shutdown_interrupts_and_the_next_sidecar_goes_on(spawn: SpawnSidecar, long_log: Path, tmp_path: Path) -> None:
    first = spawn()
    first.initialize()
    first.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    conversion = started(first, indexed(first, long_log))
    began = time.monotonic()
    assert first.shutdown() == 0
    assert time.monotonic() - began < 3
    assert statuses(first, conversion["job_id"])[-1] == "interrupted"
    assert files(conversion) == []
    assert session_members(first.process.pid) == []

    second = spawn()
    second.initialize()
    job = finished(second, conversion["job_id"])
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_a_running_conversion_is_cancelled_within_a_second(ready: Sidecar, long_log: Path) -> None:
    conversion = started(ready, indexed(ready, long_log))
    worker = worker_of(ready, conversion)
    began = time.monotonic()
    job = ready.request("jobs/cancel", {"job_id": conversion["job_id"]})
    assert time.monotonic() - began < 1
    assert (job["status"], job["error"], job["signal"]) == ("cancelled", None, None)
    assert statuses(ready, job["id"]) == ["queued", "running", "cancelling", "cancelled"]
    assert files(conversion) == []
    assert worker not in ready.children()
    with pytest.raises(RpcError) as again:
        ready.request("jobs/cancel", {"job_id": job["id"]})
    assert (again.value.code, again.value.data["kind"]) == (409, "job_already_finished")


def test_a_worker_that_does_not_listen_is_killed_within_a_second(ready: Sidecar, long_log: Path) -> None:
    conversion = started(ready, indexed(ready, long_log))
    os.kill(worker_of(ready, conversion), signal.SIGSTOP)
    began = time.monotonic()
    job = ready.request("jobs/cancel", {"job_id": conversion["job_id"]})
    assert time.monotonic() - began < 1
    assert job["status"] == "cancelled"
    assert files(conversion) == []
    retry = ready.request("jobs/retry", {"job_id": job["id"]})
    assert retry["retry_of"] == job["id"]
    assert finished(ready, retry["id"])["status"] == "succeeded"


def test_a_conversion_may_wait_for_the_index_of_its_logs(ready: Sidecar, short_log: Path, tmp_path: Path) -> None:
    asset = ready.request("assets/register", {"file_path": str(short_log)})["id"]
    with pytest.raises(RpcError) as refused:
        ready.request("conversions/create", {"asset_ids": [asset]})
    assert refused.value.data["kind"] == "asset_not_indexed"
    made = ready.request("conversions/create", {"asset_ids": [asset], "index_first": True})
    assert finished(ready, made["job_id"])["status"] == "succeeded"
    ended = [p["job"] for p in ready.notifications("jobs/didChange") if p["job"]["status"] == "succeeded"]
    assert [job["type"] for job in ended if job["type"] != "analyze"] == ["index", "convert"]
    assert ready.request("assets/get", {"asset_id": asset})["asset"]["indexing_status"] == "indexed"

    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"this is no log")
    asset = ready.request("assets/register", {"file_path": str(bad)})["id"]
    made = ready.request("conversions/create", {"asset_ids": [asset], "index_first": True})
    job = finished(ready, made["job_id"])
    assert (job["status"], job["attempt"], job["error"]["kind"]) == ("failed", 0, "bad_input")
    assert "could not be indexed first" in job["error_message"]
    bad.write_bytes(short_log.read_bytes())
    again = ready.request("jobs/retry", {"job_id": job["id"]})
    assert finished(ready, again["id"])["status"] == "succeeded"


def test_the_same_conversion_again_copies_nothing_and_says_so(ready: Sidecar, short_log: Path) -> None:
    asset = indexed(ready, short_log)
    made = [
        ready.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}, **more})
        for more in ({}, {"reuse": False})
    ]
    jobs = [finished(ready, each["job_id"]) for each in made]
    assert {job["status"] for job in jobs} == {"succeeded"}
    again = ready.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}})
    job = finished(ready, again["job_id"])
    assert job["progress"]["message"] == "1 of 1 logs are unchanged: nothing was converted"
    told = [line["text"] for line in ready.request("jobs/logs", {"job_id": job["id"]})["items"]]
    assert any("linked, nothing was copied" in text for text in told)
    inode = (Path(again["output_path"]) / "episode_0001.parquet").stat().st_ino
    others = {(Path(each["output_path"]) / "episode_0001.parquet").stat().st_ino for each in made}
    assert inode in others
    assert len(others) == 2
    outputs = ready.request("outputs/list", {"conversion_id": again["id"]})["items"]
    assert sorted(o["file_name"] for o in outputs) == files(again)
    assert all(o["availability_status"] == "ready" for o in outputs)
