from pathlib import Path

import pytest

from hephaes_rpc.errors import HephaesError
from tests.methods.conftest import Table


def test_backup_check_and_restore(table: Table, log: Path) -> None:
    workspace_id = table.call("workspaces/list")["active_workspace_id"]
    one = {"workspace_id": workspace_id}
    table.call("assets/register", file_path=str(log))
    made = table.call("workspaces/backup", **one)
    log.unlink()
    checked = table.call("workspaces/check", **one)
    assert checked == {
        "workspace_id": workspace_id,
        "ok": True,
        "problems": [],
        "n_files": 1,
        "n_missing_files": 1,
        "missing_files": [str(log)],
        "backups": [made],
    }
    database = Path(table.call("workspaces/list")["items"][0]["database_path"])
    with database.open("r+b") as file:
        file.write(b"no database")
    table.app.store.close()
    table.open()
    checked = table.call("workspaces/check", **one)
    assert not checked["ok"]
    assert "not a database" in checked["problems"][0]
    restored = table.call("workspaces/restore", **one, file_name=made["file_name"])
    assert restored["workspace"]["status"] == "ready"
    assert Path(restored["replaced_path"]).read_bytes().startswith(b"no database")
    assert table.call("assets/list")["total"] == 1
    assert table.changes("workspaces")[-1]["reason"] == "refreshed"


def test_a_workspace_with_waiting_jobs_is_not_restored(table: Table, log: Path) -> None:
    workspace_id = table.call("workspaces/list")["active_workspace_id"]
    workspace = table.app.store.workspace(workspace_id)
    asset = table.call("assets/register", file_path=str(log))
    table.call("workspaces/backup", workspace_id=workspace_id)
    workspace.jobs.index_once(asset["id"], {}, {})
    with pytest.raises(HephaesError) as refusal:
        table.call("workspaces/restore", workspace_id=workspace_id)
    assert refusal.value.kind == "workspace_busy"
