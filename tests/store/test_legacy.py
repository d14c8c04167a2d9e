"""What an older program has kept is taken over once, whole, and nothing about it changes."""

import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from hephaes_rpc.config import Config
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store import older
from tests.store.conftest import fingerprint


@pytest.fixture
def imported(app: AppStore, tmp_path: Path) -> OpenWorkspace:
    """A workspace made where the older program had one."""
    older.write(tmp_path / "root")
    return app.workspace(app.create_workspace(str(tmp_path / "root")).id)


def test_assets_come_with_metadata_and_tags(imported: OpenWorkspace) -> None:
    b, a = imported.assets.list().items
    assert (a.id, a.file_path, a.file_type, a.file_size) == (
        "asset-0",
        str(imported.root / "logs" / "a.bag"),
        "bag",
        100,
    )
    assert a.registered_time == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert a.last_indexed_time == datetime(2024, 5, 2, 10, 0, 0, 250000, UTC)
    assert (a.indexing_status, b.indexing_status) == ("indexed", "pending")
    assert [tag.name for tag in a.tags] == ["Night  Drive"]
    assert [(tag.name, tag.asset_count) for tag in imported.tags.list().items] == [("Night  Drive", 1)]
    found = imported.assets.metadata("asset-0")
    assert found is not None
    assert (found.duration, found.message_count, found.sensor_types) == (2.5, 3, ["imu"])
    assert found.start_time == datetime(2024, 4, 30, 8, 0, 0, 500000, UTC)
    assert [(topic.name, topic.rate_hz) for topic in found.topics] == [("/imu", 1.5)]
    assert found.default_episode is not None
    assert imported.assets.metadata("asset-1") is None
    for filters in (AssetFilters(search="a.bag"), AssetFilters(tag="night drive"), AssetFilters(min_duration=2)):
        assert [item.id for item in imported.assets.list(filters).items] == ["asset-0"]


def test_jobs_end_and_conversions_have_one_each(imported: OpenWorkspace) -> None:
    jobs = {job.id: job for job in imported.jobs.list().items}
    assert {name: jobs[name].status for name in ("job-i", "job-c", "job-q")} == {
        "job-i": "failed",
        "job-c": "succeeded",
        "job-q": "failed",
    }
    assert "job-x" not in jobs
    assert jobs["job-i"].error_message == "no luck"
    assert jobs["job-q"].error is not None
    assert jobs["job-q"].error.kind == "worker_died"
    assert jobs["job-i"].target_asset_ids_json == ["asset-1"]
    lost, run = sorted(imported.conversions.list().items, key=lambda item: item.id, reverse=True)
    assert (run.job_id, run.status, run.asset_ids) == ("job-c", "succeeded", ["asset-0"])
    assert run.representation_policy is not None
    assert run.representation_policy.image_payload_contract == "legacy_list_v1"
    assert (lost.status, lost.error_message, lost.asset_ids) == ("failed", "lost its job", ["asset-0", "asset-1"])
    assert len(jobs) == 4
    assert imported.dashboard.blockers().failed_conversions == 1


def test_outputs_belong_to_their_conversions(imported: OpenWorkspace) -> None:
    outputs = {output.id: output for output in imported.outputs.list().items}
    assert set(outputs) == {"output-0", "output-1"}
    assert outputs["output-0"].metadata["manifest"]["dataset"]["rows_written"] == 7
    assert outputs["output-0"].asset_ids == ["asset-0"]
    assert imported.outputs.refresh() == ["output-1"]


def test_configs_keep_their_documents(imported: OpenWorkspace) -> None:
    config = imported.configs.get("old config")
    assert (config.id, config.description, config.status) == (older.CONFIG, "of old", "needs_migration")
    assert [(revision.revision_number, revision.change_kind) for revision in config.revisions] == [(1, "import")]
    assert config.resolved_spec is not None
    assert config.resolved_spec.schema.name == "old"


def test_it_is_done_once_and_the_old_files_stay(app: AppStore, settings: Callable[..., Config], tmp_path: Path) -> None:
    root = tmp_path / "root"
    old = older.write(root)
    before = fingerprint(root)
    made = app.create_workspace(str(root))
    workspace = app.workspace(made.id)
    assert {name: digest for name, digest in fingerprint(root).items() if name in before} == before
    assert not [path for path in old.parent.iterdir() if path.name.startswith(".import")]
    asset = workspace.assets.list().items[0]
    workspace.tags.attach(asset.id, "night drive")
    app.close()
    with closing(AppStore(settings())) as again:
        workspace = again.workspace(made.id)
        assert workspace.assets.list().total == 2
        assert workspace.tags.list().items[0].asset_count == 2


def test_the_sidecars_own_database_may_have_been_there_first(
    app: AppStore, settings: Callable[..., Config], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    made = app.create_workspace(str(root))
    workspace = app.workspace(made.id)
    mine = workspace.assets.register(root / "logs" / "a.bag", 5, 5)
    workspace.tags.create("NIGHT drive")
    app.close()
    shutil.move(str(older.write(tmp_path / "other")), root / ".hephaes" / "workspace.sqlite3")
    db = apsw.Connection(str(root / ".hephaes" / "workspace.sqlite3"))
    db.execute("UPDATE assets SET file_path = replace(file_path, '/other/', '/root/')").fetchall()
    db.close()
    with closing(AppStore(settings())) as again:
        workspace = again.workspace(made.id)
        assert {item.file_name: item.id for item in workspace.assets.list().items} == {
            "a.bag": mine.id,
            "b.mcap": "asset-1",
        }
        assert [tag.name for tag in workspace.tags.list().items] == ["NIGHT drive"]


@pytest.mark.parametrize("damage", ["version", "text", "tables"])
def test_one_that_cannot_be_read_is_left_alone(app: AppStore, tmp_path: Path, damage: str) -> None:
    old = older.write(tmp_path / "root", "9" if damage == "version" else "11")
    if damage == "text":
        old.write_bytes(b"no database at all")
    if damage == "tables":
        db = apsw.Connection(str(old))
        db.execute("DROP TABLE output_artifacts").fetchall()
        db.close()
    before = old.read_bytes()
    made = app.create_workspace(str(tmp_path / "root"))
    assert made.status == "ready"
    assert app.workspace(made.id).assets.list().total == 0
    assert old.read_bytes() == before


def test_deleting_asks_for_force_while_it_stands(app: AppStore, imported: OpenWorkspace) -> None:
    with pytest.raises(HephaesError) as refusal:
        app.delete_workspace(imported.id)
    assert refusal.value.kind == "workspace_conflict"
    app.delete_workspace(imported.id, force=True)
    assert not imported.dir.exists()
