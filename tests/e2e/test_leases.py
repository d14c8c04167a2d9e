"""Sidecars that stop answering: their jobs are taken over, and what they come back with is not wanted."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ASKED_ONLY
from tests.e2e.sidecar import Sidecar
from tests.factories import samples, write_mcap

pytestmark = pytest.mark.e2e

HASTY = [sys.executable, str(Path(__file__).with_name("hasty.py"))]
SLOW = {"output": {"format": "tfrecord", "compression": "gzip"}}


def both(tmp_path: Path, command: list[str] | None = None) -> Iterator[tuple[Sidecar, Sidecar]]:
    """Two sidecars with data folders of their own and one workspace."""
    options = {"workspace_root": str(tmp_path / "workspace")}
    with (
        Sidecar(tmp_path / "one", env=ASKED_ONLY, command=command) as one,
        Sidecar(tmp_path / "two", env=ASKED_ONLY, command=command) as two,
    ):
        for each in (one, two):
            each.initialize(initializationOptions=options)
            each.request("assets/list", {})
        yield one, two
        assert one.stray == two.stray == b""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Sidecar, Sidecar]]:
    """Two hasty sidecars with one workspace."""
    yield from both(tmp_path, HASTY)


@pytest.fixture
def patient_pair(tmp_path: Path) -> Iterator[tuple[Sidecar, Sidecar]]:
    """Two sidecars with one workspace, who take nobody for gone because the machine is slow."""
    yield from both(tmp_path)


def converting(sidecar: Sidecar, log: Path) -> Any:
    """A conversion that is decoding."""
    asset = sidecar.request("assets/register", {"file_path": str(log)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    made = sidecar.request("conversions/create", {"asset_ids": [asset["id"]], **SLOW})
    sidecar.wait_for("jobs/progress", lambda p: p["job_id"] == made["job_id"] and p["phase"] == "decode")
    return made


def workers_in(sidecar: Sidecar, folder: str) -> list[int]:
    """Processes of a sidecar that have a file of a folder open."""
    found = []
    for pid in sidecar.children():
        try:
            names = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if any(name.startswith(folder) for name in names):
            found.append(pid)
    return found


def digest(folder: str) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in Path(folder).iterdir()}


@pytest.mark.parametrize("whole", [False, True], ids=["the sidecar alone", "with its workers"])
def test_the_job_of_a_stopped_sidecar_is_taken_over_and_done_once(
    pair: tuple[Sidecar, Sidecar], long_log: Path, whole: bool
) -> None:
    one, two = pair
    made = converting(one, long_log)
    (worker,) = workers_in(one, made["output_path"])
    if whole:
        os.kill(worker, signal.SIGSTOP)
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        job = two.wait_for_job(made["job_id"])
        assert (job["status"], job["attempt"]) == ("succeeded", 2)
        told = [p["job"]["status"] for p in two.notifications("jobs/didChange") if p["job"]["id"] == job["id"]]
        assert told[-4:] == ["interrupted", "queued", "running", "succeeded"]
        before = digest(made["output_path"])
        assert not any(name.startswith(".") for name in before)
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    assert one.request("health")["status"] == "ok"
    time.sleep(1)
    assert digest(made["output_path"]) == before
    again = one.request("jobs/get", {"job_id": made["job_id"]})
    assert (again["status"], again["attempt"], again["finished_at"]) == ("succeeded", 2, job["finished_at"])
    told = [p["job"]["status"] for p in one.notifications("jobs/didChange") if p["job"]["id"] == made["job_id"]]
    assert told.count("succeeded") <= 1
    assert worker not in one.children()
    assert one.request("outputs/list", {"conversion_id": made["id"]})["total"] == len(before)


def test_a_stopped_worker_is_missed_and_its_job_done_by_the_next_one(
    pair: tuple[Sidecar, Sidecar], long_log: Path
) -> None:
    one, two = pair
    made = converting(one, long_log)
    (worker,) = workers_in(one, made["output_path"])
    os.kill(worker, signal.SIGSTOP)
    job = one.wait_for_job(made["job_id"])
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    lines = two.request("jobs/logs", {"job_id": job["id"], "attempt": 1})["items"]
    assert any("did not answer for 5 s" in line["text"] for line in lines)
    assert two.request("jobs/logs", {"job_id": job["id"], "limit": 2})["next_cursor"] == "2"


def test_two_sidecars_run_each_of_many_jobs_once(patient_pair: tuple[Sidecar, Sidecar], tmp_path: Path) -> None:
    one, two = patient_pair
    ids = []
    for n in range(12):
        log = write_mcap(tmp_path / f"{n}.mcap", samples(40, seed=n))
        ids.append(one.request("assets/register", {"file_path": str(log)})["id"])
    waiting = [(each, each.start("assets/reindexAll", {})) for each in patient_pair]
    for each, request in waiting:
        assert each.result(request)["failed_assets"] == []
    made = [each.request("conversions/create", {"asset_ids": [ids[n]]}) for n in range(12) for each in patient_pair]
    jobs = [one.wait_for_job(each["job_id"]) for each in made]
    assert {(job["status"], job["attempt"]) for job in jobs} == {("succeeded", 1)}
    listed = two.request("jobs/list", {"type": "index", "limit": 100})["items"]
    assert {job["target_asset_ids_json"][0] for job in listed} == set(ids)
    assert {(job["status"], job["attempt"]) for job in listed} == {("succeeded", 1)}
    for asset_id in ids:
        spans = sorted((j["created_at"], j["finished_at"]) for j in listed if j["target_asset_ids_json"] == [asset_id])
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), "two at a time"
