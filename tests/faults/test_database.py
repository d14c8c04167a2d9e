"""The n-th write, truncation or sync under SQLite fails, for every n: a clear error, and nothing half done."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import backups
from hephaes_rpc.store.db import Database, scripts
from hephaes_rpc.store.workspace import APPLICATION_ID, OpenWorkspace, create
from tests.faults.vfs import BASE, failing
from tests.thorough import THOROUGH

TOLD = ("disk_full", "io_error")
STRIDE = 1 if THOROUGH else 9


def steps(workspace: OpenWorkspace, number: int, first_id: str) -> list[Callable[[], object]]:
    """What a client does, one transaction each."""
    root = workspace.root
    return [
        *(lambda k=k: workspace.assets.register(root / f"{number}-{k}.bag", 1, 1) for k in range(5)),
        lambda: workspace.tags.create(f"tag {number}"),
        lambda: workspace.jobs.index_once(first_id, {"x": "y" * 20_000}, {}),
    ]


def made(root: Path) -> Path:
    create(root)
    return root


def told(step: Callable[[], object]) -> object:
    """What a step gives; None when it ends with an error that says why."""
    try:
        return step()
    except HephaesError as error:
        if error.kind not in TOLD:
            raise
        return None


def counts(db: Database) -> dict[str, int]:
    with db.read() as session:
        return {noun: session.value(f"SELECT count(*) FROM {noun}") for noun in ("assets", "tags", "jobs")}


def sound(path: Path) -> dict[str, int]:
    """The rows of a database that another connection finds whole."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=BASE)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    found: dict[str, Any] = {
        noun: connection.execute(f"SELECT count(*) FROM {noun}").fetchall()[0][0] for noun in ("assets", "tags", "jobs")
    }
    connection.close()
    return found


@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("kind", ["full", "write"])
def test_every_call_that_fails_is_told_and_changes_nothing(tmp_path: Path, kind: str, on: bool) -> None:
    with failing() as faults:
        create(tmp_path)
        workspace = OpenWorkspace("ws", "w", tmp_path)
        first = workspace.assets.register(tmp_path / "first.bag", 1, 1)
        expected = counts(workspace.db)
        n = 0
        while True:
            n += 1 if n < 12 else STRIDE
            faults.arm(kind, n, on=on)
            for step, noun in zip(steps(workspace, n, first.id), ["assets"] * 5 + ["tags", "jobs"], strict=True):
                done = told(step)
                if done is not None and not (noun == "jobs" and not done[1]):  # type: ignore[index]
                    expected[noun] += 1
            hit = faults.hit
            faults.disarm()
            assert counts(workspace.db) == expected
            assert sound(workspace.db.path) == expected
            if not hit:
                break
            assert n < 500
        assert n > 3, "nothing has failed"
        workspace.close()
        assert sound(tmp_path / ".hephaes" / "workspace.db") == expected


@pytest.mark.parametrize("kind", ["full", "write", "sync"])
def test_a_database_is_made_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    with failing() as faults:
        for n in range(1, 500, STRIDE):
            root = tmp_path / str(n)
            faults.arm(kind, n, on=False)
            done = told(partial(made, root))
            hit = faults.hit
            faults.disarm()
            if done is None:
                assert [path.name for path in (root / ".hephaes").iterdir() if path.name != "outputs"] == []
                continue
            OpenWorkspace("ws", "w", root).close()
            if not hit:
                break
        else:
            raise AssertionError("it never ended")
    assert n > 1


@pytest.mark.parametrize("kind", ["full", "write", "sync"])
def test_a_migration_happens_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / ".hephaes"
    folder.mkdir()
    path = folder / "workspace.db"
    with failing() as faults:
        for n in range(1, 500, STRIDE):
            path.unlink(missing_ok=True)
            assert Database.create(path, scripts("workspace")[:1], APPLICATION_ID)
            faults.arm(kind, n, on=False)
            opened = told(lambda: OpenWorkspace("ws", "w", tmp_path))
            if isinstance(opened, OpenWorkspace):
                opened.close()
            hit = faults.hit
            faults.disarm()
            sound(path)
            OpenWorkspace("ws", "w", tmp_path).close()
            if not hit:
                assert opened is not None
                break
        else:
            raise AssertionError("it never ended")
    assert n > 1


def test_what_is_to_be_on_the_disk_is_absent_when_syncing_fails(workspace: OpenWorkspace) -> None:
    with failing() as faults:
        database = Database(workspace.db.path, scripts("workspace"), APPLICATION_ID)
        insert = "INSERT INTO tags (id, name, normalized_name, created_at) VALUES (?1, ?1, ?1, 1)"
        faults.arm("sync", 1, on=True)
        with pytest.raises(HephaesError) as refusal, database.write("tags", durable=True) as session:
            session.run(insert, ("lost",))
        assert refusal.value.kind == "io_error"
        faults.disarm()
        with database.write("tags", durable=True) as session:
            session.run(insert, ("kept",))
        database.close()
    assert [tag.name for tag in workspace.tags.list().items] == ["kept"]


def test_a_copy_is_made_whole_or_not_at_all(workspace: OpenWorkspace) -> None:
    with failing() as faults:
        opened = OpenWorkspace("ws", "w", workspace.root)
        for n in range(1, 1000, STRIDE):
            faults.arm("full", n, on=False)
            made = told(lambda: backups.back_up(opened.db, opened.backups_dir, "daily"))
            hit = faults.hit
            faults.disarm()
            assert list(opened.backups_dir.glob(".*")) == []
            assert (made is None) == bool(hit)
            if not hit:
                break
        opened.close()
    assert n > 1
