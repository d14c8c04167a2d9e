"""Logs that move, double or change, and logs that the client's user chooses."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.engine.identity import identify
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.testing.logs import samples, write_bag, write_mcap
from tests.methods.conftest import Table
from tests.store.test_assets import metadata


def refusal(table: Table, name: str, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call(name, **params)
    return error.value


def index(table: Table, asset: dict[str, Any]) -> None:
    """As a worker's answer is stored."""
    found = identify(Path(asset["file_path"]))
    assets = table.app.store.workspace(None).assets
    assets.save_metadata(asset["id"], metadata(), found.size_bytes, found.mtime_ns, found.fingerprint)


@pytest.fixture(params=["indexed.mcap", "unindexed.mcap", "closed.bag", "open.bag"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A log in one of the shapes that tell themselves in different ways."""
    path = tmp_path / "logs" / request.param
    path.parent.mkdir()
    if path.suffix == ".mcap":
        return write_mcap(path, samples(50), summary="un" not in path.stem)
    return write_bag(path, samples(50, ros=1), closed=path.stem == "closed")


def test_a_moved_log_is_found_again(table: Table, drive: Path) -> None:
    asset = table.call("assets/register", file_path=str(drive))
    index(table, asset)
    table.call("tags/create", name="t")
    table.call("assets/attachTag", asset_id=asset["id"], tag_id="t")
    new = drive.with_name(f"moved{drive.suffix}")
    drive.rename(new)
    found = table.call("assets/register", file_path=str(new))
    assert found["id"] == asset["id"]
    assert (found["file_path"], found["file_name"], found["indexing_status"]) == (str(new), new.name, "indexed")
    assert table.changes("assets")[-1]["reason"] == "updated"
    assert [item["id"] for item in table.call("assets/list", search="moved", tag="t")["items"]] == [asset["id"]]
    assert table.call("assets/list", search=f"/{drive.name}")["total"] == 0
    assert table.call("assets/get", asset_id=asset["id"])["metadata"]["message_count"] == 3


def test_a_scan_finds_moved_logs_too(table: Table, drive: Path, tmp_path: Path) -> None:
    asset = table.call("assets/register", file_path=str(drive))
    index(table, asset)
    new = tmp_path / "elsewhere" / drive.name
    new.parent.mkdir()
    drive.rename(new)
    result = table.call("assets/scanDirectory", directory_path=str(tmp_path))
    assert [each["id"] for each in result["registered_assets"]] == [asset["id"]]
    assert table.call("assets/list")["total"] == 1


def test_a_copy_is_another_asset_and_flagged(table: Table, drive: Path) -> None:
    asset = table.call("assets/register", file_path=str(drive))
    index(table, asset)
    copy = drive.with_name(f"copy{drive.suffix}")
    shutil.copy(drive, copy)
    made = table.call("assets/register", file_path=str(copy))
    assert made["id"] != asset["id"]
    assert made["duplicate_of"] == asset["id"]
    listed = {item["id"]: item["duplicate_of"] for item in table.call("assets/list")["items"]}
    assert listed == {asset["id"]: None, made["id"]: asset["id"]}
    assert table.call("assets/get", asset_id=made["id"])["asset"]["duplicate_of"] == asset["id"]


def test_another_log_of_the_same_size_is_another_asset(table: Table, drive: Path) -> None:
    asset = table.call("assets/register", file_path=str(drive))
    index(table, asset)
    other = drive.with_name(f"other{drive.suffix}")
    data = bytearray(drive.read_bytes())
    data[-60] ^= 1
    other.write_bytes(data)
    drive.unlink()
    made = table.call("assets/register", file_path=str(other))
    assert made["id"] != asset["id"]
    assert made["duplicate_of"] is None


def test_a_changed_log_is_to_be_indexed_again_and_keeps_what_is_known(table: Table, drive: Path) -> None:
    asset = table.call("assets/register", file_path=str(drive))
    index(table, asset)
    workspace = table.app.store.workspace(None)
    assert refusal(table, "assets/register", file_path=str(drive)).data.keys() == {"asset_id", "file_path"}
    with drive.open("ab") as file:
        file.write(b"more")
    error = refusal(table, "assets/register", file_path=str(drive))
    assert (error.code, error.kind, error.data["has_changed"]) == (409, "asset_already_registered", True)
    assert table.changes("assets")[-1]["reason"] == "updated"
    detail = table.call("assets/get", asset_id=asset["id"])
    assert (detail["asset"]["indexing_status"], detail["metadata"]["message_count"]) == ("pending", 3)
    assert detail["asset"]["file_size"] == drive.stat().st_size
    assert [each.id for each in workspace.assets.to_index()] == [asset["id"]]
    workspace.assets.mark_indexing(asset["id"])
    restored = workspace.assets.restore_status(asset["id"])
    assert restored is not None
    assert restored.indexing_status == "pending"
    workspace.assets.save_failure(asset["id"], "no luck")
    detail = table.call("assets/get", asset_id=asset["id"])
    assert (detail["metadata"]["message_count"], detail["metadata"]["indexing_error"]) == (3, "no luck")
    index(table, asset)
    assert workspace.assets.to_index() == []


def choosing(table: Table, answer: Callable[[Any], Any], *, announced: bool = True) -> list[tuple[str, Any]]:
    """Have the client answer to the dialog; what it was asked."""
    asked: list[tuple[str, Any]] = []

    async def request(method: str, params: Any) -> Any:
        asked.append((method, params))
        await asyncio.sleep(0)
        return answer(params)

    table.app.request_client = request
    table.app.client_capabilities = {"window": {"openFileDialog": True}} if announced else {}
    return asked


def test_the_dialog_is_the_clients(table: Table, log: Path) -> None:
    asked = choosing(table, lambda _: {"file_paths": [str(log), str(log.parent / "no.bag"), str(log)]})
    result = table.call("assets/registerDialog")
    assert result["canceled"] is False
    assert [asset["file_path"] for asset in result["registered_assets"]] == [str(log)]
    assert {skip["reason"] for skip in result["skipped"]} >= {"invalid_path"}
    ((method, params),) = asked
    assert method == "window/openFileDialog"
    assert params.multiple
    assert "mcap" in params.filters[0].extensions


def test_a_dialog_that_is_cancelled(table: Table) -> None:
    choosing(table, lambda _: {"file_paths": []})
    assert table.call("assets/registerDialog") == {"canceled": True, "registered_assets": [], "skipped": []}


def fail(_: Any) -> Any:
    raise HephaesError("io_error", "no screen")


@pytest.mark.parametrize("answer", [lambda _: None, lambda _: {"file_paths": "a"}, lambda _: {}, fail])
def test_a_dialog_that_does_not_work(table: Table, answer: Callable[[Any], Any]) -> None:
    choosing(table, answer)
    error = refusal(table, "assets/registerDialog")
    assert (error.code, error.kind) == (503, "dialog_unavailable")


def test_a_client_without_a_dialog_is_not_asked(table: Table) -> None:
    asked = choosing(table, fail, announced=False)
    error = refusal(table, "assets/registerDialog")
    assert (error.code, error.kind) == (503, "dialog_unavailable")
    assert asked == []
