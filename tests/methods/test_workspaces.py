from pathlib import Path

import pytest

from hephaes_rpc.errors import HephaesError, ParamsError
from tests.methods.conftest import Table


def test_create_makes_the_folder_and_activates(bare: Table) -> None:
    root = bare.folder / "new" / "place"
    made = bare.call("workspaces/create", root_path=f"  {root} ", name="   ")
    assert made["status"] == "ready"
    assert made["name"] == "place"
    assert made["root_path"] == str(root)
    assert made["workspace_dir"] == str(root / ".hephaes")
    assert Path(made["database_path"]).is_file()
    assert made["active_job_count"] == 0
    assert made["last_opened_at"] is not None
    page = bare.call("workspaces/list")
    assert page["items"] == [made]
    assert page["total"] == 1
    assert page["next_cursor"] is None
    assert page["active_workspace_id"] == made["id"]
    assert bare.changes("workspaces") == [{"workspace_id": None, "ids": [made["id"]], "reason": "created"}]


def test_create_again_keeps_the_id_and_takes_a_name(bare: Table) -> None:
    root = str(bare.folder / "w")
    first = bare.call("workspaces/create", root_path=root, activate=False)
    assert first["last_opened_at"] is None
    again = bare.call("workspaces/create", root_path=root, name=" other ", activate=False)
    assert (again["id"], again["name"]) == (first["id"], "other")


@pytest.mark.parametrize("root_path", ["", "   "])
def test_blank_root_is_refused(bare: Table, root_path: str) -> None:
    with pytest.raises(ParamsError, match="root_path"):
        bare.call("workspaces/create", root_path=root_path)


def test_root_that_is_a_file(bare: Table) -> None:
    (bare.folder / "file").touch()
    with pytest.raises(HephaesError) as error:
        bare.call("workspaces/create", root_path=str(bare.folder / "file"))
    assert error.value.kind == "invalid_path"


def test_activate_switches_and_the_latest_stands_first(bare: Table) -> None:
    one, two = (bare.call("workspaces/create", root_path=str(bare.folder / name)) for name in "ab")
    assert bare.call("workspaces/list")["active_workspace_id"] == two["id"]
    assert bare.call("workspaces/activate", workspace_id=one["id"])["id"] == one["id"]
    page = bare.call("workspaces/list")
    assert page["active_workspace_id"] == one["id"]
    assert [item["id"] for item in page["items"]] == [one["id"], two["id"]]
    assert bare.changes("workspaces")[-1] == {"workspace_id": None, "ids": [one["id"]], "reason": "updated"}
    with pytest.raises(HephaesError) as error:
        bare.call("workspaces/activate", workspace_id="ws_nobody")
    assert (error.value.code, error.value.kind) == (404, "workspace_not_found")


def test_delete_removes_what_is_ours_only(bare: Table) -> None:
    root = bare.folder / "w"
    made = bare.call("workspaces/create", root_path=str(root))
    (root / "mine.bag").write_bytes(b"log")
    assert bare.call("workspaces/delete", workspace_id=made["id"]) is None
    assert [path.name for path in root.iterdir()] == ["mine.bag"]
    page = bare.call("workspaces/list")
    assert (page["items"], page["active_workspace_id"]) == ([], None)
    assert bare.changes("workspaces")[-1]["reason"] == "deleted"


def test_without_a_workspace(bare: Table) -> None:
    for name, params in (("assets/list", {}), ("jobs/list", {}), ("conversions/capabilities", {})):
        with pytest.raises(HephaesError) as error:
            bare.call(name, **params)
        assert (error.value.code, error.value.kind) == (409, "no_active_workspace")
    with pytest.raises(HephaesError) as error:
        bare.call("assets/list", workspace_id="ws_nobody")
    assert (error.value.code, error.value.kind) == (404, "workspace_not_found")


def test_workspace_id_serves_another_one_and_leaves_the_selection(table: Table, log: Path) -> None:
    other = table.call("workspaces/create", root_path=str(table.folder / "other"), activate=False)
    table.call("assets/register", file_path=str(log), workspace_id=other["id"])
    assert table.call("assets/list", workspace_id=other["id"])["total"] == 1
    assert table.call("assets/list", workspace_id="  ")["total"] == 0
    assert table.call("workspaces/list")["active_workspace_id"] != other["id"]
