"""Two sidecars on one workspace: both write, each sees what the other has changed, and nothing of its own twice."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import samples, write_mcap

pytestmark = pytest.mark.e2e

SETTLED_S = 1.0
"""Longer than four looks."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Sidecar, Sidecar]]:
    """Two sidecars with data folders of their own and one workspace."""
    options = {"workspace_root": str(tmp_path / "workspace")}
    with Sidecar(tmp_path / "one") as one, Sidecar(tmp_path / "two") as two:
        for each in (one, two):
            each.initialize(initializationOptions=options)
            each.request("assets/list", {})
        time.sleep(SETTLED_S)
        yield one, two
        assert one.stray == two.stray == b""


def settle() -> None:
    """Long enough for every change to have been told."""
    time.sleep(SETTLED_S)


def all_changed(sidecar: Sidecar, noun: str) -> int:
    """How often a whole list was told to have changed."""
    return sum(params["ids"] is None for params in sidecar.notifications(f"{noun}/didChange"))


def test_each_hears_of_the_others_changes_only(pair: tuple[Sidecar, Sidecar], tmp_path: Path) -> None:
    one, two = pair
    log = write_mcap(tmp_path / "drive.mcap", samples(20))
    asset = one.request("assets/register", {"file_path": str(log)})
    told = two.wait_for("assets/didChange", lambda params: params["ids"] is None)
    assert told == {
        "workspace_id": two.request("workspaces/list", {})["active_workspace_id"],
        "ids": None,
        "reason": "refreshed",
    }
    assert two.request("assets/list", {})["items"][0]["id"] == asset["id"]
    one.request("tags/create", {"name": "t"})
    two.wait_for("tags/didChange", lambda params: params["ids"] is None)
    before = all_changed(two, "assets")
    two.request("assets/attachTag", {"asset_id": asset["id"], "tag_id": "t"})
    one.wait_for("assets/didChange", lambda params: params["ids"] is None)
    settle()
    assert all_changed(two, "assets") == before
    assert all_changed(one, "assets") == all_changed(one, "tags") == 1
    assert all_changed(one, "outputs") == all_changed(two, "outputs") == 0


def test_a_job_of_one_is_told_by_both(pair: tuple[Sidecar, Sidecar], tmp_path: Path) -> None:
    one, two = pair
    log = write_mcap(tmp_path / "drive.mcap", samples(300))
    asset = one.request("assets/register", {"file_path": str(log)})
    one.request("assets/index", {"asset_id": asset["id"]})
    made = one.request("conversions/create", {"asset_ids": [asset["id"]], "output": {"format": "parquet"}})
    for each in (one, two):
        job = each.wait_for_job(made["job_id"])
        assert job["status"] == "succeeded"
    settle()
    for each in (one, two):
        statuses = [
            params["job"]["status"]
            for params in each.notifications("jobs/didChange")
            if params["job"]["id"] == made["job_id"]
        ]
        assert statuses[-1] == "succeeded"
        assert len(statuses) == len(set(statuses)), statuses
        ended = [m.get("method") for m in each.messages if made["job_id"] in str(m.get("params"))]
        assert ended[-1] == "jobs/didChange"
        assert any(
            params["job_id"] == made["job_id"] and params["percentage"] == 100
            for params in each.notifications("jobs/progress")
        )
    assert all_changed(two, "outputs") >= 1
    assert two.request("outputs/list", {})["total"] == one.request("outputs/list", {})["total"]


def test_a_clock_that_was_ahead_hides_no_change(tmp_path: Path) -> None:
    options = {"workspace_root": str(tmp_path / "workspace")}
    asset = {"asset_id": ""}
    with Sidecar(tmp_path / "one") as one:
        one.initialize(initializationOptions=options)
        log = write_mcap(tmp_path / "drive.mcap", samples(20))
        asset["asset_id"] = one.request("assets/register", {"file_path": str(log)})["id"]
        one.request("assets/index", asset)
        assert one.shutdown() == 0
    with contextlib.closing(apsw.Connection(str(tmp_path / "workspace" / ".hephaes" / "workspace.db"))) as database:
        database.execute("UPDATE jobs SET updated_at = updated_at + 3600000000").fetchall()
        assert database.changes() > 0
    with Sidecar(tmp_path / "one") as one, Sidecar(tmp_path / "two") as two:
        for each in (one, two):
            each.initialize(initializationOptions=options)
            each.request("assets/list", {})
        settle()
        one.request("assets/index", asset)
        settle()
        ids = {params["job"]["id"] for params in one.notifications("jobs/didChange")}
        assert ids
        assert {params["job"]["id"] for params in two.notifications("jobs/didChange")} == ids


def test_reads_are_told_to_nobody(pair: tuple[Sidecar, Sidecar]) -> None:
    one, two = pair
    seen = len(two.messages)
    for name in ("assets/list", "jobs/list", "outputs/list", "tags/list", "dashboard/summary", "workspaces/list"):
        one.request(name, {})
    settle()
    assert two.messages[seen:] == []


def writing(sidecar: Sidecar, mark: str, until: float, failures: list[RpcError]) -> int:
    """Write whatever can be written, again and again; how often."""
    asset = sidecar.request("assets/upload", {"file_name": f"{mark}.bag", "data_base64": "QQ=="})
    steps: list[Callable[[int], tuple[str, dict[str, Any]]]] = [
        lambda n: ("tags/create", {"name": f"{mark} {n}"}),
        lambda n: ("assets/attachTag", {"asset_id": asset["id"], "tag_id": f"{mark} {n}"}),
        lambda n: ("assets/upload", {"file_name": f"{mark} {n}.bag", "data_base64": "QUI="}),
        lambda n: ("assets/detachTag", {"asset_id": asset["id"], "tag_id": f"{mark} {n}"}),
        lambda _: ("assets/list", {"search": mark, "limit": 5}),
    ]
    n = 0
    while time.monotonic() < until:
        n += 1
        for step in steps:
            try:
                sidecar.request(*step(n))
            except RpcError as error:
                failures.append(error)
    return n


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_both_write_and_no_lock_reaches_a_client(pair: tuple[Sidecar, Sidecar], seconds: int) -> None:
    failures: list[RpcError] = []
    rounds: dict[int, int] = {}
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=lambda k=k, each=each: rounds.update({k: writing(each, f"side {k}", until, failures)}))
        for k, each in enumerate(pair)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert min(rounds.values()) >= 5
    settle()
    for each in pair:
        assert all_changed(each, "assets") >= 1
        assert all_changed(each, "tags") >= 1
        assert all_changed(each, "assets") <= seconds / 0.25 + 8
        assert each.request("assets/list", {})["total"] == sum(rounds.values()) + 2


def test_a_database_that_another_sidecar_has_open_is_not_replaced(
    pair: tuple[Sidecar, Sidecar], tmp_path: Path
) -> None:
    one, two = pair
    ids = [each.request("workspaces/list", {})["active_workspace_id"] for each in pair]
    one.request("workspaces/backup", {"workspace_id": ids[0]})
    log = write_mcap(tmp_path / "drive.mcap", samples(20))
    asset = one.request("assets/register", {"file_path": str(log)})
    with pytest.raises(RpcError, match="is open in another sidecar") as refusal:
        one.request("workspaces/restore", {"workspace_id": ids[0]})
    assert refusal.value.data["kind"] == "workspace_busy"
    for each in pair:
        each.request("tags/create", {"name": f"of {each.process.pid}"})
        assert each.request("assets/list", {})["items"][0]["id"] == asset["id"]
        assert each.request("tags/list", {})["total"] == pair.index(each) + 1
    two.process.kill()
    two.wait()
    assert one.request("workspaces/restore", {"workspace_id": ids[0]})["workspace"]["status"] == "ready"
    assert one.request("assets/list", {})["total"] == 0
