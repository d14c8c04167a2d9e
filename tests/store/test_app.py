import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from hephaes_rpc.config import Config
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.db import scripts
from tests.store.conftest import fingerprint, listing

Settings = Callable[..., Config]


def kind_of(call: Callable[[], object]) -> str:
    with pytest.raises(HephaesError) as refusal:
        call()
    return refusal.value.kind


def database(root: Path) -> Path:
    return root / ".hephaes" / "workspace.db"


def make_newer(root: Path) -> None:
    connection = apsw.Connection(str(database(root)))
    connection.execute("PRAGMA user_version = 99").fetchall()
    connection.close()


def test_the_folders_are_private(settings: Settings, tmp_path: Path) -> None:
    config = settings(BACKEND_DB_PATH=str(tmp_path / "elsewhere" / "app.db"))
    AppStore(config).close()
    for folder in (config.data_dir, config.db_path.parent, config.raw_dir, config.log_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(config.db_path.stat().st_mode) == 0o600


def test_a_workspace_is_made_with_its_folder_and_database(app: AppStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    made = app.create_workspace(str(tmp_path / "link" / "a" / ".." / "new" / "root"))
    root = tmp_path / "new" / "root"
    assert (made.root_path, made.workspace_dir, made.database_path) == (
        str(root),
        str(root / ".hephaes"),
        str(database(root)),
    )
    assert (made.name, made.status, made.status_reason, made.active_job_count) == ("root", "ready", None, 0)
    assert made.last_opened_at is not None
    assert made.id.startswith("ws_")
    assert len(made.id) == 35
    assert app.active_workspace_id == made.id
    assert stat.S_IMODE((root / ".hephaes").stat().st_mode) == 0o700
    assert stat.S_IMODE(database(root).stat().st_mode) == 0o600
    opened = app.workspace(made.id)
    assert (opened.id, opened.name, opened.root, opened.outputs_dir) == (
        made.id,
        "root",
        root,
        root / ".hephaes" / "outputs",
    )
    assert app.workspace(None) is opened
    assert opened.outputs_dir.is_dir()


def test_a_registered_root_keeps_its_id(app: AppStore, tmp_path: Path) -> None:
    first = app.create_workspace(str(tmp_path / "root"), "mine", activate=False)
    assert (first.last_opened_at, first.name) == (None, "mine")
    again = app.create_workspace(str(tmp_path / "root"), activate=False)
    assert again == first
    renamed = app.create_workspace(str(tmp_path / "root"), "other")
    assert (renamed.id, renamed.name) == (first.id, "other")
    assert renamed.last_opened_at is not None
    assert app.workspace(first.id).name == "other"
    assert app.workspaces().total == 1


def test_a_workspace_of_another_registry_is_registered_as_it_is(
    app: AppStore, settings: Settings, tmp_path: Path
) -> None:
    made = app.create_workspace(str(tmp_path / "root"))
    asset = app.workspace(made.id).assets.register(Path("/logs/a.bag"), 1, 1)
    other = AppStore(settings(BACKEND_DB_PATH=str(tmp_path / "other.db")))
    found = other.create_workspace(str(tmp_path / "root"))
    assert found.id != made.id
    assert other.workspace(found.id).assets.get(asset.id) == asset
    both = app.workspace(made.id).assets.register(Path("/logs/b.bag"), 1, 1)
    assert other.workspace(found.id).assets.get(both.id) == both
    other.close()


def test_roots_that_cannot_be_workspaces(app: AppStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert kind_of(lambda: app.create_workspace(str(tmp_path / "file"))) == "invalid_path"
    assert kind_of(lambda: app.create_workspace(str(tmp_path / "file" / "below"))) == "io_error"
    assert kind_of(lambda: app.create_workspace("a\0b")) == "invalid_path"
    assert kind_of(lambda: app.create_workspace(str(tmp_path / "\udcff"))) == "invalid_path"
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / ".hephaes").write_text("x")
    assert kind_of(lambda: app.create_workspace(str(tmp_path / "odd"))) == "workspace_conflict"
    (tmp_path / "lost" / ".hephaes" / "outputs" / "run").mkdir(parents=True)
    before = fingerprint(tmp_path / "lost")
    assert kind_of(lambda: app.create_workspace(str(tmp_path / "lost"))) == "workspace_conflict"
    assert fingerprint(tmp_path / "lost") == before
    assert app.workspaces().total == 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_nested_root_is_a_workspace_of_its_own(app: AppStore, tmp_path: Path) -> None:
    outer = app.create_workspace(str(tmp_path / "root"))
    inner = app.create_workspace(str(tmp_path / "root" / "inner"))
    assert inner.id != outer.id
    assert database(tmp_path / "root" / "inner").is_file()


def test_a_workspace_of_an_older_program_gets_our_database_beside_its_own(app: AppStore, tmp_path: Path) -> None:
    folder = tmp_path / "root" / ".hephaes"
    (folder / "specs").mkdir(parents=True)
    (folder / "workspace.sqlite3").write_bytes(b"theirs")
    made = app.create_workspace(str(tmp_path / "root"))
    assert made.status == "ready"
    assert (folder / "workspace.sqlite3").read_bytes() == b"theirs"
    assert kind_of(lambda: app.delete_workspace(made.id)) == "workspace_conflict"
    app.delete_workspace(made.id, force=True)
    assert not folder.exists()


def test_broken_workspaces_are_entries_with_a_reason(app: AppStore, settings: Settings, tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("good", "newer", "garbage", "gone", "bare")}
    ids = {name: app.create_workspace(str(root), activate=False).id for name, root in roots.items()}
    app.close()
    make_newer(roots["newer"])
    database(roots["garbage"]).write_bytes(b"nonsense" * 1000)
    shutil.rmtree(roots["gone"])
    database(roots["bare"]).unlink()
    before = fingerprint(tmp_path)
    again = AppStore(settings())
    found = {workspace.id: workspace for workspace in again.workspaces().items}
    assert {name: found[ids[name]].status for name in ids} == {
        "good": "ready",
        "newer": "invalid",
        "garbage": "invalid",
        "gone": "missing",
        "bare": "missing",
    }
    assert "version 99" in str(found[ids["newer"]].status_reason)
    assert found[ids["gone"]].status_reason == f"{roots['gone'] / '.hephaes'} does not exist"
    assert found[ids["bare"]].status_reason == f"{database(roots['bare'])} does not exist"
    assert [workspace.id for workspace in again.open_workspaces()] == [ids["good"]]
    assert again.active_workspace_id == ids["good"]
    for name in ("newer", "garbage", "gone", "bare"):
        for call in (again.workspace, again.activate):
            with pytest.raises(HephaesError, match="is not ready") as refusal:
                call(ids[name])
            assert refusal.value.kind == "workspace_not_ready"
            assert refusal.value.data["workspace_id"] == ids[name]
    assert kind_of(lambda: again.create_workspace(str(roots["newer"]))) == "workspace_newer"
    assert kind_of(lambda: again.create_workspace(str(roots["garbage"]))) == "workspace_corrupt"
    again.close()
    assert fingerprint(tmp_path) == before


def test_a_mended_workspace_is_ready_again(app: AppStore, tmp_path: Path) -> None:
    root = tmp_path / "root"
    made = app.create_workspace(str(root))
    asset = app.workspace(made.id).assets.register(Path("/logs/a.bag"), 1, 1)
    app.workspace(made.id).close()
    good = database(root).read_bytes()
    database(root).unlink()
    assert app.get_workspace(made.id).status == "missing"
    database(root).write_bytes(b"")
    assert app.get_workspace(made.id).status == "invalid"
    assert app.get_workspace(made.id).status == "invalid"
    database(root).write_bytes(good)
    assert app.get_workspace(made.id).status == "ready"
    assert app.workspace(made.id).assets.get(asset.id) == asset


def test_unknown_and_absent_workspaces(app: AppStore) -> None:
    assert app.active_workspace_id is None
    assert kind_of(lambda: app.workspace(None)) == "no_active_workspace"
    for call in (app.workspace, app.activate, app.delete_workspace, app.get_workspace):
        with pytest.raises(HephaesError, match="ws_nobody") as refusal:
            call("ws_nobody")
        assert refusal.value.kind == "workspace_not_found"


def test_the_active_workspace_is_stored_and_reconciled(app: AppStore, settings: Settings, tmp_path: Path) -> None:
    never = app.create_workspace(str(tmp_path / "never"), activate=False).id
    first, second, third = (app.create_workspace(str(tmp_path / name)).id for name in "abc")
    app.activate(second)
    assert app.active_workspace_id == second
    other = AppStore(settings())
    assert other.active_workspace_id == second
    other.activate(first)
    assert (other.active_workspace_id, app.active_workspace_id) == (first, second)
    shutil.rmtree(tmp_path / "b")
    assert app.active_workspace_id == first
    shutil.rmtree(tmp_path / "a")
    assert app.active_workspace_id == other.active_workspace_id == third
    app.delete_workspace(third)
    assert app.active_workspace_id == never
    assert [item.id for item in app.workspaces().items] == [first, second, never]
    other.close()


def test_the_root_of_the_process_is_active_for_it_only(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "wanted"
    app = AppStore(settings())
    stored = app.create_workspace(str(tmp_path / "stored")).id
    wanted = AppStore(settings(root))
    active = wanted.active_workspace_id
    assert active not in (None, stored)
    assert wanted.workspace(None).root == root
    assert wanted.get_workspace(str(active)).last_opened_at is None
    assert app.active_workspace_id == stored
    again = AppStore(settings(root))
    assert again.active_workspace_id == active
    again.activate(stored)
    assert again.active_workspace_id == stored
    for store in (app, wanted, again):
        store.close()


def test_a_root_that_cannot_be_opened_does_not_stop_the_start(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "root"
    app = AppStore(settings())
    app.create_workspace(str(root), activate=False)
    other = app.create_workspace(str(tmp_path / "other")).id
    app.close()
    make_newer(root)
    before = fingerprint(root)
    app = AppStore(settings(root))
    with pytest.raises(HephaesError) as refusal:
        app.workspace(None)
    assert refusal.value.kind == "workspace_newer"
    assert (refusal.value.data["found_version"], refusal.value.data["known_version"]) == (99, len(scripts("workspace")))
    assert app.workspace(other).id == other
    assert fingerprint(root) == before
    app.activate(other)
    assert app.workspace(None).id == other
    app.close()


def test_the_workspace_of_an_older_setup_is_registered_once(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "legacy" / ".hephaes").mkdir(parents=True)
    config = settings(WORKSPACE_ROOT=str(tmp_path / "legacy"))
    app = AppStore(config)
    (found,) = app.workspaces().items
    assert found.root_path == str(tmp_path / "legacy")
    assert app.active_workspace_id == found.id
    app.create_workspace(str(tmp_path / "other"))
    app.delete_workspace(found.id)
    app.close()
    (tmp_path / "legacy" / ".hephaes").mkdir()
    app = AppStore(config)
    assert app.workspaces().total == 1
    app.close()


def test_a_broken_older_setup_does_not_stop_the_start(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "legacy" / ".hephaes").mkdir(parents=True)
    (tmp_path / "legacy" / ".hephaes" / "workspace.db").write_bytes(b"nonsense")
    app = AppStore(settings(WORKSPACE_ROOT=str(tmp_path / "legacy")))
    assert app.workspaces().total == 0
    app.close()


def test_deleting_removes_our_folder_and_nothing_else(app: AppStore, tmp_path: Path) -> None:
    root = tmp_path / "root"
    made = app.create_workspace(str(root))
    (root / "log.bag").write_text("mine")
    opened = app.workspace(made.id)
    asset = opened.assets.register(root / "log.bag", 4, 1)
    for status in ("queued", "running"):
        if status == "queued":
            job = opened.jobs.create("index", [asset.id], {}, {})
        else:
            opened.jobs.claim("me")
        with pytest.raises(HephaesError, match="still queued or running") as refusal:
            app.delete_workspace(made.id)
        assert refusal.value.kind == "workspace_busy"
        assert app.get_workspace(made.id).active_job_count == 1
    opened.jobs.transition(job.id, expect=("running",), to="succeeded")
    app.delete_workspace(made.id)
    assert listing(root) == ["log.bag"]
    assert app.workspaces().total == 0
    assert kind_of(lambda: opened.assets.get(asset.id)) == "io_error"


def test_entries_that_are_not_ready_can_be_deleted(app: AppStore, tmp_path: Path) -> None:
    gone = app.create_workspace(str(tmp_path / "gone"))
    garbage = app.create_workspace(str(tmp_path / "garbage"))
    shutil.rmtree(tmp_path / "gone")
    database(tmp_path / "garbage").unlink()
    database(tmp_path / "garbage").write_bytes(b"nonsense" * 100)
    for workspace in (gone, garbage):
        app.delete_workspace(workspace.id)
    assert app.workspaces().total == 0
    assert listing(tmp_path / "garbage") == []


def test_a_folder_that_leads_elsewhere_is_not_deleted(app: AppStore, tmp_path: Path) -> None:
    root = tmp_path / "root"
    made = app.create_workspace(str(root))
    (root / ".hephaes").rename(tmp_path / "precious")
    (root / ".hephaes").symlink_to(tmp_path / "precious")
    assert kind_of(lambda: app.delete_workspace(made.id)) == "workspace_conflict"
    assert (tmp_path / "precious" / "workspace.db").is_file()


def test_threads_that_create_one_root_get_one_workspace(app: AppStore, settings: Settings, tmp_path: Path) -> None:
    other = AppStore(settings())
    found: list[str] = []
    barrier = threading.Barrier(8)

    def create(store: AppStore) -> None:
        barrier.wait()
        found.append(store.create_workspace(str(tmp_path / "root")).id)

    threads = [threading.Thread(target=create, args=(store,)) for store in (app, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert app.workspaces().total == 1
    other.close()


def test_a_damaged_registry_is_refused_untouched(settings: Settings, tmp_path: Path) -> None:
    config = settings()
    AppStore(config).close()
    config.db_path.write_bytes(b"nonsense" * 100)
    before = fingerprint(tmp_path)
    assert kind_of(lambda: AppStore(config)) == "workspace_corrupt"
    assert fingerprint(tmp_path) == before
