"""A file system that hangs under one workspace is in nobody else's way."""

import statistics
import threading
import time
from pathlib import Path

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import probing
from hephaes_rpc.store import workspace as place
from tests.methods.conftest import Table, bare

__all__ = ["bare"]


def test_only_the_workspace_that_hangs_is_refused(bare: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LIMIT_S", 0.2)
    stuck, well = (bare.call("workspaces/create", root_path=str(bare.folder / name)) for name in ("stuck", "well"))
    identify, back = place.identify, threading.Event()

    def hanging(path: Path) -> place.Identity | None:
        if path == Path(stuck["database_path"]):
            back.wait(20)
        return identify(path)

    monkeypatch.setattr(place, "identify", hanging)

    def refused() -> float:
        started = time.monotonic()
        with pytest.raises(HephaesError, match="its file system hangs") as told:
            bare.call("assets/list", workspace_id=stuck["id"])
        assert told.value.kind == "workspace_not_ready"
        return time.monotonic() - started

    assert refused() < 2
    assert statistics.median(refused() for _ in range(20)) < 0.15, "waited for again"
    assert bare.call("assets/list", workspace_id=well["id"])["total"] == 0
    statuses = {item["id"]: item["status"] for item in bare.call("workspaces/list")["items"]}
    assert statuses == {stuck["id"]: "invalid", well["id"]: "ready"}
    assert {each.id for each in bare.app.store.opened()} == {stuck["id"], well["id"]}
    back.set()
    until = time.monotonic() + 5
    while bare.call("workspaces/list")["items"][1]["status"] != "ready":
        assert time.monotonic() < until
    assert bare.call("assets/list", workspace_id=stuck["id"])["total"] == 0
