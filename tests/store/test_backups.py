"""Copies of a database: when they are made, what becomes of them, and the way back."""

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from hephaes_rpc.config import Config
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import backups, keeper
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.db import Database, scripts
from hephaes_rpc.store.folderlock import FolderLock
from hephaes_rpc.store.workspace import APPLICATION_ID, OpenWorkspace
from tests.store.conftest import listing


def n_assets(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found: list[tuple[Any, ...]] = connection.execute("SELECT count(*) FROM assets").fetchall()
    connection.close()
    return int(found[0][0])


def named(when: datetime, reason: str = "daily") -> str:
    return f"workspace-{when:%Y%m%dT%H%M%S.%f}Z-v0003-{reason}.db"


def test_a_copy_holds_what_is_committed_while_others_write(workspace: OpenWorkspace) -> None:
    workspace.assets.register(workspace.root / "a.bag", 1, 1)
    other = apsw.Connection(str(workspace.db.path))
    other.execute("BEGIN IMMEDIATE; UPDATE assets SET file_size = 2").fetchall()
    made = backups.back_up(workspace.db, workspace.backups_dir, "asked")
    other.execute("COMMIT").fetchall()
    other.close()
    path = workspace.backups_dir / made.file_name
    workspace.assets.register(workspace.root / "b.bag", 1, 1)
    assert n_assets(path) == 1
    assert (made.reason, made.version, made.size_bytes) == ("asked", len(scripts("workspace")), path.stat().st_size)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(workspace.backups_dir.stat().st_mode) == 0o700
    assert listing(workspace.backups_dir) == [made.file_name]


def test_the_newest_of_each_automatic_kind_are_kept(workspace: OpenWorkspace) -> None:
    asked = [backups.back_up(workspace.db, workspace.backups_dir, "asked") for _ in range(backups.KEPT + 2)]
    daily = [backups.back_up(workspace.db, workspace.backups_dir, "daily") for _ in range(backups.KEPT + 2)]
    found = backups.backups_in(workspace.backups_dir)
    assert found == [*reversed(daily[2:]), *reversed(asked)]


def test_a_new_copy_is_kept_although_the_clock_went_backwards(workspace: OpenWorkspace) -> None:
    workspace.backups_dir.mkdir()
    ahead = datetime.now(UTC) + timedelta(days=400)
    for n in range(backups.KEPT):
        (workspace.backups_dir / named(ahead + timedelta(days=n))).touch()
    assert backups.is_due(workspace.backups_dir), "copies from the future are no reason to make none"
    made = backups.back_up(workspace.db, workspace.backups_dir, "daily")
    assert made in backups.backups_in(workspace.backups_dir)
    assert not backups.is_due(workspace.backups_dir)


def test_one_a_day(workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    workspace.backups_dir.mkdir()
    (workspace.backups_dir / named(datetime.now(UTC) - timedelta(hours=25))).touch()
    daily = keeper.Keeper(lambda: [workspace])
    until = datetime.now(UTC) + timedelta(seconds=10)
    while len(backups.backups_in(workspace.backups_dir)) < 2:
        assert datetime.now(UTC) < until
    daily.stop()
    assert len(backups.backups_in(workspace.backups_dir)) == 2


def test_a_migration_is_preceded_by_a_copy(tmp_path: Path) -> None:
    folder = tmp_path / "root" / ".hephaes"
    folder.mkdir(parents=True)
    assert Database.create(folder / "workspace.db", scripts("workspace")[:1], APPLICATION_ID)
    OpenWorkspace("ws", "name", tmp_path / "root").close()
    (made,) = backups.backups_in(folder / "backups")
    assert (made.version, made.reason) == (1, "migration")
    connection = apsw.Connection(str(folder / "backups" / made.file_name))
    assert connection.execute("PRAGMA user_version").fetchall() == [(1,)]
    connection.close()
    OpenWorkspace("ws", "name", tmp_path / "root").close()
    assert backups.backups_in(folder / "backups") == [made]


def test_a_migration_that_cannot_be_preceded_by_a_copy_does_not_happen(tmp_path: Path) -> None:
    folder = tmp_path / "root" / ".hephaes"
    folder.mkdir(parents=True)
    path = folder / "workspace.db"
    assert Database.create(path, scripts("workspace")[:1], APPLICATION_ID)
    (folder / "backups").touch()
    before = path.read_bytes()
    with pytest.raises(HephaesError) as refusal:
        OpenWorkspace("ws", "name", tmp_path / "root")
    assert refusal.value.kind == "io_error"
    assert path.read_bytes() == before


def spoil_bytes(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def spoil_cut(path: Path) -> None:
    os.truncate(path, 5000)


def spoil_empty(path: Path) -> None:
    os.truncate(path, 0)


def spoil_foreign(path: Path) -> None:
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)").fetchall()
    connection.close()


def spoil_gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "spoil", [spoil_bytes, spoil_cut, spoil_empty, spoil_foreign, spoil_gone], ids=lambda spoil: spoil.__name__
)
def test_the_way_back_from_a_broken_database(
    settings: Callable[..., Config], app: AppStore, workspace: OpenWorkspace, spoil: Callable[[Path], None]
) -> None:
    workspace.assets.register(workspace.root / "a.bag", 1, 1)
    backups.back_up(workspace.db, workspace.backups_dir, "asked")
    path = workspace.db.path
    app.close()
    spoil(path)
    app = AppStore(settings())
    broken = path.read_bytes() if path.exists() else None
    seen = app.get_workspace(workspace.id)
    assert seen.status == ("missing" if broken is None else "invalid")
    with pytest.raises(HephaesError) as refusal:
        app.create_workspace(str(workspace.root))
    assert refusal.value.kind == ("workspace_conflict" if broken is None else "workspace_corrupt")
    assert refusal.value.hint == "workspaces/restore puts a backup in its place"
    assert (path.read_bytes() if path.exists() else None) == broken, "a broken database is never written to"

    restored, replaced = app.restore_workspace(workspace.id)
    assert restored.status == "ready"
    assert app.workspace(workspace.id).assets.list().total == 1
    assert (Path(replaced).read_bytes() if replaced else None) == broken
    assert app.workspace(workspace.id).db.problems() == []
    app.close()


def test_a_database_that_breaks_while_it_is_open_is_left_alone(app: AppStore, workspace: OpenWorkspace) -> None:
    workspace.assets.register(workspace.root / "a.bag", 1, 1)
    backups.back_up(workspace.db, workspace.backups_dir, "asked")
    path = workspace.db.path
    with workspace.db.write() as session:  # its log is empty afterwards, so that the file itself is read
        session.run("UPDATE assets SET file_size = 3")
    other = apsw.Connection(str(path))
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    other.close()
    data = bytearray(path.read_bytes())
    data[100:] = os.urandom(len(data) - 100)
    path.write_bytes(data)
    refusals = []

    def read() -> None:  # by a connection that has no pages of it yet
        try:
            workspace.assets.list()
        except HephaesError as error:
            refusals.append(error.kind)

    with workspace.db.read() as session:  # the connection that has them
        session.value("SELECT 1")
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert refusals == ["workspace_corrupt"]
    assert app.get_workspace(workspace.id).status == "invalid"
    _, replaced = app.restore_workspace(workspace.id)
    assert replaced is not None
    assert Path(replaced).read_bytes() == data
    assert app.workspace(workspace.id).assets.list().total == 1


def test_a_copy_that_is_damaged_replaces_nothing(app: AppStore, workspace: OpenWorkspace) -> None:
    made = backups.back_up(workspace.db, workspace.backups_dir, "asked")
    spoil_cut(workspace.backups_dir / made.file_name)
    workspace.assets.register(workspace.root / "a.bag", 1, 1)
    with pytest.raises(HephaesError) as refusal:
        app.restore_workspace(workspace.id)
    assert refusal.value.kind == "workspace_corrupt"
    assert app.workspace(workspace.id).assets.list().total == 1
    for name in ("no.db", "../workspace.db", made.file_name + "x"):
        with pytest.raises(HephaesError) as refusal:
            app.restore_workspace(workspace.id, name)
        assert refusal.value.kind == "backup_not_found"
    assert [name for name in listing(workspace.dir) if "replaced" in name or "tmp" in name] == []


def test_nobody_opens_a_database_that_is_being_replaced(
    settings: Callable[..., Config], app: AppStore, workspace: OpenWorkspace
) -> None:
    app.close()
    with contextlib.closing(FolderLock(workspace.dir, alone=True)):
        app = AppStore(settings())
        with pytest.raises(HephaesError, match="is being replaced by another sidecar") as refusal:
            app.workspace(workspace.id)
        assert refusal.value.kind == "workspace_not_ready"
    assert app.workspace(workspace.id).assets.list().total == 0
    app.close()
