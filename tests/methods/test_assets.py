import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import CancelledByClient, HephaesError, ParamsError
from tests.methods.conftest import Table


def refusal(table: Table, name: str, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call(name, **params)
    return error.value


def test_register(table: Table, log: Path) -> None:
    asset = table.call("assets/register", file_path=f" {log} ")
    assert asset["file_path"] == str(log)
    assert (asset["file_name"], asset["file_type"], asset["file_size"]) == ("drive.mcap", "mcap", 13)
    assert (asset["indexing_status"], asset["last_indexed_time"]) == ("pending", None)
    assert table.call("assets/get", asset_id=asset["id"]) == {
        "asset": asset,
        "metadata": None,
        "quality": None,
        "tags": [],
        "related_jobs": [],
        "conversions": [],
    }
    (change,) = table.changes("assets")
    assert (change["ids"], change["reason"]) == ([asset["id"]], "created")
    assert change["workspace_id"] == table.call("workspaces/list")["active_workspace_id"]


def test_register_twice_also_through_a_link(table: Table, log: Path) -> None:
    asset = table.call("assets/register", file_path=str(log))
    link = log.with_name("link.MCAP")
    link.symlink_to(log)
    for path in (log, link):
        error = refusal(table, "assets/register", file_path=str(path))
        assert (error.code, error.kind) == (409, "asset_already_registered")
        assert error.data["asset_id"] == asset["id"]
        assert str(log) in error.message


def test_register_expands_the_home_folder(table: Table, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(log.parent))
    assert table.call("assets/register", file_path="~/drive.mcap")["file_path"] == str(log)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.mcap", "does not exist"),
        ("folder.mcap", "is not a file"),
        ("pipe.bag", "is not a file"),
        ("notes.txt", "notes.txt is no log"),
        (".mcap", ".mcap is no log"),
        ("circle.mcap", ""),
        ("drive.mcap/below.mcap", "does not exist"),
        ("x" * 300 + ".mcap", ""),
        ("nul\0.mcap", ""),
        ("\ud800.mcap", ""),
        ("bytes\udcff.mcap", ""),
        ("to_text.mcap", "no log"),
    ],
)
def test_register_refuses(table: Table, log: Path, name: str, says: str) -> None:
    folder = log.parent
    (folder / "folder.mcap").mkdir()
    os.mkfifo(folder / "pipe.bag")
    (folder / "notes.txt").touch()
    (folder / ".mcap").touch()
    (folder / "circle.mcap").symlink_to("circle.mcap")
    (folder / "bytes\udcff.mcap").touch()
    (folder / "to_text.mcap").symlink_to("notes.txt")
    error = refusal(table, "assets/register", file_path=f"{folder}/{name}")
    assert (error.code, error.kind) == (400, "invalid_path")
    assert says in error.message
    error.message.encode()
    assert table.call("assets/list")["total"] == 0


def test_register_params(table: Table) -> None:
    for params in ({}, {"file_path": " "}, {"file_path": 3}, {"file_path": "a.bag", "extra": 1}):
        with pytest.raises(ParamsError):
            table.call("assets/register", **params)


def test_scan(table: Table, log: Path) -> None:
    root = log.parent
    known = table.call("assets/register", file_path=str(log))
    for name in ("b.bag", "a/Upper.BAG", ".hidden/deep/c.mcap", "a/ignored.txt", "a/.mcap"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "a/again.mcap").symlink_to(log)
    (root / "a/loop").symlink_to(root)
    (root / "a/dangling.mcap").symlink_to("nowhere")
    (root / "a/circle.bag").symlink_to("circle.bag")
    (root / "a/folder.bag").mkdir()
    os.mkfifo(root / "a/pipe.mcap")
    (root / "z\udcff.bag").touch()
    (root / "a/text.bag").symlink_to("ignored.txt")
    result = table.call("assets/scanDirectory", directory_path=f" {root} ")
    assert (result["scanned_directory"], result["recursive"]) == (str(root), True)
    names = [asset["file_path"] for asset in result["registered_assets"]]
    assert names == [f"{root}/{name}" for name in (".hidden/deep/c.mcap", "a/Upper.BAG", "b.bag")]
    skipped = {entry["file_path"]: entry for entry in result["skipped"]}
    assert {path: entry["reason"] for path, entry in skipped.items()} == {
        f"{root}/a/again.mcap": "duplicate",
        f"{root}/a/text.bag": "invalid_path",
        f"{root}/drive.mcap": "duplicate",
        f"{root}/z\\udcff.bag": "invalid_path",
    }
    assert skipped[f"{root}/drive.mcap"]["detail"] == refusal(table, "assets/register", file_path=str(log)).message
    assert list(skipped) == sorted(skipped)
    assert result["discovered_file_count"] == 7
    assert table.call("assets/list")["total"] == 4
    created = {i for change in table.changes("assets") for i in change["ids"]}
    assert created == {known["id"], *(asset["id"] for asset in result["registered_assets"])}


def test_scan_flat_and_refusals(table: Table, log: Path) -> None:
    (log.parent / "below").mkdir()
    (log.parent / "below/x.bag").touch()
    result = table.call("assets/scanDirectory", directory_path=str(log.parent), recursive=False)
    assert [asset["file_name"] for asset in result["registered_assets"]] == ["drive.mcap"]
    missing = refusal(table, "assets/scanDirectory", directory_path=str(log.parent / "no"))
    no_folder = refusal(table, "assets/scanDirectory", directory_path=str(log))
    assert missing.code == no_folder.code == 400
    assert "does not exist" in missing.message
    assert "is not a folder" in no_folder.message


def test_scan_leaves_out_a_folder_that_cannot_be_read(table: Table, log: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    locked = log.parent / "locked"
    locked.mkdir(mode=0)
    try:
        assert table.call("assets/scanDirectory", directory_path=str(log.parent))["discovered_file_count"] == 1
        assert refusal(table, "assets/scanDirectory", directory_path=str(locked)).kind == "permission"
    finally:
        locked.chmod(0o700)


def test_a_cancelled_scan_keeps_whole_batches(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaes_rpc.methods.assets.SCAN_BATCH", 10)
    for k in range(35):
        (tmp_path / f"{k:02}.bag").touch()
    context = table.context()

    async def cancel_once_some_are_in() -> None:
        while not table.app.store.workspace(None).assets.list().total:
            await asyncio.sleep(0)
        context.cancelled = True

    watching = table.loop.create_task(cancel_once_some_are_in())
    with pytest.raises(CancelledByClient):
        table.call("assets/scanDirectory", context, directory_path=str(tmp_path))
    assert watching.done()
    kept = table.call("assets/list")
    assert kept["total"] in (10, 20, 30)
    assert {i for change in table.changes("assets") for i in change["ids"]} == {item["id"] for item in kept["items"]}


def test_list_filters_pages_and_orders(table: Table, tmp_path: Path) -> None:
    for k, name in enumerate(("Camera_A.bag", "b.mcap", "camera_c.mcap")):
        (tmp_path / name).write_bytes(b"x" * (10 * k))
        table.call("assets/register", file_path=str(tmp_path / name))

    def names(**params: Any) -> list[str]:
        return [item["file_name"] for item in table.call("assets/list", **params)["items"]]

    assert names() == ["camera_c.mcap", "b.mcap", "Camera_A.bag"]
    assert names(sort="file_name") == ["Camera_A.bag", "b.mcap", "camera_c.mcap"]
    assert names(sort="-file_size") == ["camera_c.mcap", "b.mcap", "Camera_A.bag"]
    assert names(search=" CAMERA ") == ["camera_c.mcap", "Camera_A.bag"]
    assert names(search="camera", type="MCAP", status="pending") == ["camera_c.mcap"]
    assert names(search=" ", tag="", type=" ") == names()
    assert names(tag="nobody") == names(status="indexed") == names(min_duration=0.0) == []
    assert names(min_size_bytes=10, max_size_bytes=10) == ["b.mcap"]
    assert names(registered_after="2000-01-01", registered_before="2000-01-02T00:00:00Z") == []
    first = table.call("assets/list", limit=2)
    assert (first["total"], len(first["items"])) == (3, 2)
    last = table.call("assets/list", limit=2, cursor=first["next_cursor"])
    assert [item["file_name"] for item in last["items"]] == ["Camera_A.bag"]
    assert last["next_cursor"] is None
    error = refusal(table, "assets/list", limit=2, cursor=first["next_cursor"], search="b")
    assert (error.code, error.kind) == (400, "cursor_mismatch")


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        ({"limit": 0}, ["limit"]),
        ({"limit": 501}, ["limit"]),
        ({"limit": True}, ["limit"]),
        ({"offset": 1}, ["offset"]),
        ({"sort": "name"}, ["sort"]),
        ({"status": "Pending"}, ["status"]),
        ({"min_duration": -1}, ["min_duration"]),
        ({"min_duration": 2, "max_duration": 1}, ["min_duration"]),
        (
            {"start_after": "2024-01-02", "start_before": "2024-01-01", "min_size_bytes": 2, "max_size_bytes": 1},
            ["start_after", "min_size_bytes"],
        ),
        ({"start_after": "yesterday", "max_size_bytes": "1"}, ["start_after", "max_size_bytes"]),
    ],
)
def test_list_refuses_what_does_not_fit(table: Table, params: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(ParamsError) as error:
        table.call("assets/list", **params)
    assert [each["path"] for each in error.value.errors] == paths
    assert all(set(each) == {"path", "message", "expected", "got"} for each in error.value.errors)


def test_unknown_asset(table: Table) -> None:
    error = refusal(table, "assets/get", asset_id="nobody")
    assert (error.code, error.kind, error.data) == (404, "asset_not_found", {"asset_id": "nobody"})
