"""Databases that are not what they were, under the real sidecar: refused with the reason, untouched, and restored."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from hephaes_rpc.testing.logs import samples, write_mcap
from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError

pytestmark = pytest.mark.e2e


def run(path: Path, sql: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(sql).fetchall()


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"This is not a database. " * 1000)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def flipped_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(os.urandom(4096))


def from_the_future(path: Path) -> None:
    run(path, "PRAGMA user_version = 999")


def foreign(path: Path) -> None:
    path.unlink()
    run(path, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")


def marked_by_another(path: Path) -> None:
    run(path, "PRAGMA application_id = 7")


def hostile_trigger(path: Path) -> None:
    run(path, "CREATE TRIGGER evil AFTER INSERT ON tags BEGIN DELETE FROM assets; END")


def hostile_view(path: Path) -> None:
    run(path, "CREATE VIEW evil AS SELECT 1")


def stray_log(path: Path) -> None:
    """The log of another database beside it."""
    other = path.with_name("other.db")
    connection = apsw.Connection(str(other))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE t (x)").fetchall()
    for _ in range(20):
        connection.execute("INSERT INTO t VALUES (randomblob(9000))").fetchall()
    shutil.copy(f"{other}-wal", f"{path}-wal")
    connection.close()
    other.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (missing, "does not exist"),
    "empty": (empty, "it is empty"),
    "garbage": (garbage, "not a database"),
    "cut": (cut, "malformed|damaged"),
    "flipped page": (flipped_page, "malformed|damaged"),
    "from the future": (from_the_future, "has version 999"),
    "foreign": (foreign, "not written by this program"),
    "marked by another": (marked_by_another, "not written by this program"),
    "hostile trigger": (hostile_trigger, "its tables are not those of version"),
    "hostile view": (hostile_view, "its tables are not those of version"),
    "stray log": (stray_log, "cannot be used"),
    "folder": (folder, "cannot be opened|is a folder|cannot be used|failed"),
    "pipe": (pipe, "it is empty"),
    "endless": (endless, "it is empty"),
}


def state(path: Path) -> object:
    """What lies there, without following what leads elsewhere."""
    if not path.is_file() or path.is_symlink():
        return path.lstat().st_mode if os.path.lexists(path) else None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_is_refused_untouched_and_restored(spawn: SpawnSidecar, tmp_path: Path) -> None:
    data = tmp_path / "data"
    log = write_mcap(tmp_path / "run.mcap", samples(50))
    sidecar = spawn(data_dir=data)
    sidecar.initialize()
    ids = {}
    for name in (*FAULTS, "well"):
        made = sidecar.request("workspaces/create", {"root_path": str(tmp_path / name)})
        ids[name] = made["id"]
        sidecar.request("assets/register", {"file_path": str(log)})
        sidecar.request("workspaces/backup", {"workspace_id": made["id"]})
    assert sidecar.shutdown() == 0
    states = {}
    for name, (spoil, _) in FAULTS.items():
        path = tmp_path / name / ".hephaes" / "workspace.db"
        spoil(path)
        states[name] = state(path)

    sidecar = spawn(data_dir=data)
    sidecar.initialize()
    listed = {item["id"]: item for item in sidecar.request("workspaces/list", {"limit": 100})["items"]}
    for name, (_, reason) in FAULTS.items():
        path = tmp_path / name / ".hephaes" / "workspace.db"
        assert listed[ids[name]]["status"] in ("invalid", "missing"), name
        with pytest.raises(RpcError, match=reason) as refusal:
            sidecar.request("assets/list", {"workspace_id": ids[name]})
        assert refusal.value.data["kind"] == "workspace_not_ready"
        with pytest.raises(RpcError) as refusal:
            sidecar.request("workspaces/create", {"root_path": str(tmp_path / name)})
        assert refusal.value.data["kind"] in ("workspace_corrupt", "workspace_newer", "workspace_conflict", "io_error")
        assert not sidecar.request("workspaces/check", {"workspace_id": ids[name]})["ok"]
        assert state(path) == states[name], f"{name}: the file has been written to"
    assert sidecar.request("assets/list", {"workspace_id": ids["well"]})["total"] == 1
    for name in FAULTS:
        restored = sidecar.request("workspaces/restore", {"workspace_id": ids[name]})
        assert restored["workspace"]["status"] == "ready", name
        assert sidecar.request("assets/list", {"workspace_id": ids[name]})["total"] == 1
        assert sidecar.request("workspaces/check", {"workspace_id": ids[name]})["ok"]
    assert sidecar.shutdown() == 0
