import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset, AssetMetadata, Episode, TopicSummary
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.values import new_id
from hephaes_rpc.store.workspace import OpenWorkspace

START_NS = 1_700_000_000_123_456_789


def metadata(**given: Any) -> AssetMetadata:
    topic = TopicSummary("/imu", "sensor_msgs/msg/Imu", 3, 1.5, "imu", "cdr", "ros2msg", START_NS, None, 7, 0, None)
    fields: dict[str, Any] = {
        "duration": 1.5,
        "start_time": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
        "end_time": datetime(2023, 11, 14, 22, 13, 21, 623456, UTC),
        "start_ns": START_NS,
        "end_ns": START_NS + 1_500_000_000,
        "message_count": 3,
        "topic_count": 1,
        "sensor_types": ["imu"],
        "topics": [topic],
        "default_episode": Episode("e", "Episode 1", 1.5),
        "raw_metadata": {"file_size_bytes": 2**53 + 1, "odd": "\ud800"},
        "indexing_error": None,
    }
    return AssetMetadata(**fields | given)


def tag(workspace: OpenWorkspace, name: str, *assets: Asset) -> str:
    made = workspace.tags.create(name)
    for asset in assets:
        workspace.tags.attach(asset.id, made.id)
    return made.id


def test_registering_makes_a_pending_asset(workspace: OpenWorkspace) -> None:
    path = workspace.root / "Run 1.MCAP"
    asset = workspace.assets.register(path, 12, 34)
    assert (asset.file_path, asset.file_name, asset.file_type, asset.file_size) == (
        str(path),
        "Run 1.MCAP",
        "mcap",
        12,
    )
    assert (asset.indexing_status, asset.last_indexed_time) == ("pending", None)
    assert workspace.assets.get(asset.id) == workspace.assets.by_path(path) == asset
    assert workspace.assets.by_path(path / "x") is None
    assert workspace.assets.metadata(asset.id) is None


def test_a_path_is_registered_once(workspace: OpenWorkspace, asset: Asset) -> None:
    with pytest.raises(HephaesError) as refusal:
        workspace.assets.register(Path(asset.file_path), 1, 1)
    assert refusal.value.kind == "asset_already_registered"
    assert refusal.value.data == {"asset_id": asset.id, "file_path": asset.file_path}


def test_many_are_registered_in_one_transaction_with_their_refusals(workspace: OpenWorkspace, asset: Asset) -> None:
    paths = [Path("/logs/a.bag"), Path(asset.file_path), Path("/logs/\udcff.bag"), Path("/logs/a.bag")]
    first, *refused = workspace.assets.register_many([(path, 1, 1) for path in paths])
    assert isinstance(first, Asset)
    assert [error.kind for error in refused if isinstance(error, HephaesError)] == [
        "asset_already_registered",
        "invalid_path",
        "asset_already_registered",
    ]
    assert workspace.assets.list().total == 2


def test_threads_that_register_one_file_have_one_winner(workspace: OpenWorkspace) -> None:
    outcomes: list[Asset | HephaesError] = []
    barrier = threading.Barrier(8)

    def register() -> None:
        barrier.wait()
        try:
            outcomes.append(workspace.assets.register(Path("/logs/same.bag"), 1, 1))
        except HephaesError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Asset)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, HephaesError)]
    assert {(error.kind, error.data["asset_id"]) for error in losers} == {("asset_already_registered", winner.id)}
    assert len(losers) == 7


def test_an_unknown_asset_is_named(workspace: OpenWorkspace) -> None:
    assets = workspace.assets
    for call in (
        lambda: assets.get("nobody"),
        lambda: assets.detail("nobody"),
        lambda: assets.mark_indexing("nobody"),
        lambda: assets.save_metadata("nobody", metadata(), 1, 1),
        lambda: assets.save_failure("nobody", "x"),
    ):
        with pytest.raises(HephaesError, match="no asset has the id nobody") as refusal:
            call()
        assert refusal.value.kind == "asset_not_found"
    assert assets.restore_status("nobody") is None


def test_metadata_travels_exactly(workspace: OpenWorkspace, asset: Asset) -> None:
    saved = workspace.assets.save_metadata(asset.id, metadata(), 200, 2)
    assert (saved.indexing_status, saved.file_size) == ("indexed", 200)
    assert saved.last_indexed_time is not None
    assert workspace.assets.metadata(asset.id) == metadata()
    empty = metadata(start_ns=None, end_ns=None, start_time=None, end_time=None, default_episode=None, topics=[])
    workspace.assets.save_metadata(asset.id, empty, 200, 2)
    assert workspace.assets.metadata(asset.id) == empty


def test_times_beyond_the_calendar_are_kept_in_nanoseconds(workspace: OpenWorkspace, asset: Asset) -> None:
    extreme = metadata(start_ns=-(2**63), end_ns=2**63 - 1)
    workspace.assets.save_metadata(asset.id, extreme, 1, 1)
    found = workspace.assets.metadata(asset.id)
    assert found is not None
    assert (found.start_ns, found.end_ns) == (-(2**63), 2**63 - 1)


def test_a_failure_keeps_what_an_earlier_index_found(workspace: OpenWorkspace, asset: Asset) -> None:
    assert workspace.assets.save_failure(asset.id, "first").indexing_status == "failed"
    found = workspace.assets.metadata(asset.id)
    assert found is not None
    assert (found.duration, found.topics, found.raw_metadata, found.indexing_error) == (None, [], {}, "first")
    saved = workspace.assets.save_metadata(asset.id, metadata(), 1, 1)
    failed = workspace.assets.save_failure(asset.id, "second")
    assert (failed.indexing_status, failed.last_indexed_time) == ("failed", saved.last_indexed_time)
    assert workspace.assets.metadata(asset.id) == metadata(indexing_error="second")
    workspace.assets.save_metadata(asset.id, metadata(), 1, 1)
    assert workspace.assets.metadata(asset.id) == metadata()


def test_a_stopped_index_restores_the_status(workspace: OpenWorkspace, asset: Asset) -> None:
    assets = workspace.assets
    assert assets.restore_status(asset.id) is None
    assert assets.mark_indexing(asset.id).indexing_status == "indexing"
    assert assets.restore_status(asset.id) == asset
    indexed = assets.save_metadata(asset.id, metadata(), 1, 1)
    assets.mark_indexing(asset.id)
    assert assets.restore_status(asset.id) == indexed


def test_to_index_takes_the_oldest_registration_first(workspace: OpenWorkspace) -> None:
    made = [workspace.assets.register(Path(f"/logs/{name}.bag"), 1, 1) for name in ("d", "b", "c", "a", "e")]
    workspace.assets.save_metadata(made[1].id, metadata(), 1, 1)
    workspace.assets.save_metadata(made[2].id, metadata(), 1, 1)
    workspace.assets.save_failure(made[2].id, "x")
    workspace.assets.mark_indexing(made[3].id)
    assert [asset.file_name for asset in workspace.assets.to_index()] == ["d.bag", "c.bag", "a.bag", "e.bag"]


def test_a_detail_holds_tags_by_name_and_the_ten_newest(workspace: OpenWorkspace, asset: Asset) -> None:
    other = workspace.assets.register(Path("/logs/other.bag"), 1, 1)
    for name in ("b", "B", "a"):
        tag(workspace, f"{name} {new_id()}", asset)
    tag(workspace, "not mine", other)
    folder = str(workspace.outputs_dir / "x")
    made = [workspace.conversions.create([other.id, asset.id], {}, {}, output_path=folder) for _ in range(12)]
    workspace.conversions.create([other.id], {}, {}, output_path=folder)
    detail = workspace.assets.detail(asset.id)
    assert detail.asset == asset
    assert [found.name[0] for found in detail.tags] == ["B", "a", "b"]
    assert [found.id for found in detail.conversions] == [conversion.id for conversion in made[:1:-1]]
    assert [job.id for job in detail.related_jobs] == [conversion.job_id for conversion in made[:1:-1]]
    assert detail.conversions[0].asset_ids == [other.id, asset.id]


def names(workspace: OpenWorkspace, **filters: Any) -> list[str]:
    page = workspace.assets.list(AssetFilters(**filters))
    assert page.total == len(page.items)
    return [item.file_name for item in page.items]


def test_filters(workspace: OpenWorkspace) -> None:
    assets = workspace.assets
    one = assets.register(workspace.root / "Straße" / "one.bag", 10, 1)
    two = assets.register(Path("/logs/two.mcap"), 20, 1)
    three = assets.register(Path("/logs/three.mcap"), 30, 1)
    assets.save_metadata(one.id, metadata(), 10, 1)
    assets.save_metadata(two.id, metadata(duration=9.0, start_ns=START_NS + 10**10), 20, 1)
    assets.save_failure(two.id, "x")
    tag_id = tag(workspace, "Night  Drive", one, three)

    assert names(workspace) == ["three.mcap", "two.mcap", "one.bag"]
    assert names(workspace, search="LOGS/T") == ["three.mcap", "two.mcap"]
    assert names(workspace, search="STRASSE") == ["one.bag"]
    assert names(workspace, search="one.bag bag /") == ["one.bag"]
    assert names(workspace, search=f"bag {workspace.root}/stra") == ["one.bag"]
    assert names(workspace, search="%") == names(workspace, search="\x01") == []
    assert names(workspace, tag=" night drive ") == names(workspace, tag=tag_id.upper()) == ["three.mcap", "one.bag"]
    assert names(workspace, tag="unknown") == []
    assert names(workspace, type="MCAP") == ["three.mcap", "two.mcap"]
    assert names(workspace, status="failed") == ["two.mcap"]
    assert names(workspace, min_duration=1.5, max_duration=1.5) == ["one.bag"]
    assert names(workspace, min_duration=0) == ["two.mcap", "one.bag"]
    start = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert names(workspace, start_after=start, start_before=start) == ["one.bag"]
    assert names(workspace, start_after=start + timedelta(seconds=1)) == ["two.mcap"]
    assert names(workspace, start_after=datetime.max.replace(tzinfo=UTC)) == []
    assert names(workspace, start_before=datetime.min.replace(tzinfo=UTC)) == []
    assert names(workspace, min_size_bytes=20, max_size_bytes=20) == ["two.mcap"]
    when = two.registered_time
    assert names(workspace, registered_after=when, registered_before=when) == ["two.mcap"]
    assert names(workspace, search="logs", type="mcap", tag="Night Drive", max_size_bytes=30) == ["three.mcap"]


def test_a_moved_workspace_finds_its_own_files(workspace: OpenWorkspace, tmp_path: Path) -> None:
    inside = workspace.assets.register(workspace.root / "a.bag", 1, 1)
    outside = workspace.assets.register(tmp_path / "b.bag", 1, 1)
    made = workspace.conversions.create([inside.id], {}, {}, output_path=str(workspace.outputs_dir / "x"))
    workspace.close()
    root = workspace.root.rename(tmp_path / "elsewhere")
    moved = OpenWorkspace(workspace.id, workspace.name, root)
    assert moved.assets.get(inside.id).file_path == str(root / "a.bag")
    assert moved.assets.get(outside.id).file_path == str(tmp_path / "b.bag")
    assert moved.conversions.get(made.id).output_path == str(root / ".hephaes" / "outputs" / "x")
    assert names(moved, search=str(root)) == ["a.bag"]
    moved.close()
