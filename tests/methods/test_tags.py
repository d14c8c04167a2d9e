from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError, ParamsError
from tests.methods.conftest import Table


def refusal(table: Table, name: str, /, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call(name, **params)
    return error.value


@pytest.fixture
def asset_id(table: Table, log: Path) -> str:
    return str(table.call("assets/register", file_path=str(log))["id"])


def test_tags_are_listed_by_name_in_byte_order(table: Table) -> None:
    for name in ("b", "a", "Ä", "Z"):
        made = table.call("tags/create", name=f" {name} ")
        assert (made["name"], made["asset_count"]) == (name, 0)
        assert set(made) == {"id", "name", "created_at", "asset_count"}
    page = table.call("tags/list")
    assert [item["name"] for item in page["items"]] == ["Z", "a", "b", "Ä"]
    assert page["total"] == 4
    assert [c["reason"] for c in table.changes("tags")] == ["created"]


def test_a_name_is_taken_whatever_its_case_and_blanks(table: Table) -> None:
    first = table.call("tags/create", name="Night  Drive")
    assert first["name"] == "Night  Drive"
    error = refusal(table, "tags/create", name=" night drive")
    assert (error.code, error.kind) == (409, "tag_already_exists")
    assert error.data == {"tag_id": first["id"], "name": "night drive"}
    assert "night drive" in error.message


@pytest.mark.parametrize("name", ["", "  ", "0c1bd3a4-7a55-4d0b-9d2b-93f7a4a0b0de", 3])
def test_names_that_are_none(table: Table, name: Any) -> None:
    with pytest.raises(ParamsError, match="name"):
        table.call("tags/create", name=name)


def test_attach_and_detach_by_id_or_name(table: Table, asset_id: str) -> None:
    tag = table.call("tags/create", name="Night Drive")
    table.changes("tags")
    detail = table.call("assets/attachTag", asset_id=asset_id, tag_id=" NIGHT  drive ")
    assert [each["id"] for each in detail["tags"]] == [tag["id"]]
    assert detail == table.call("assets/get", asset_id=asset_id)
    assert table.call("tags/list")["items"][0]["asset_count"] == 1
    assert table.changes("tags")[-1]["reason"] == "updated"
    assert table.changes("assets")[-1] == {
        "workspace_id": table.call("workspaces/list")["active_workspace_id"],
        "ids": [asset_id],
        "reason": "updated",
    }
    error = refusal(table, "assets/attachTag", asset_id=asset_id, tag_id=tag["id"])
    assert (error.code, error.kind) == (409, "tag_already_attached")
    assert "drive.mcap" in error.message
    assert "Night Drive" in error.message
    assert table.call("assets/detachTag", asset_id=asset_id, tag_id=tag["id"].upper())["tags"] == []
    assert table.call("tags/list")["items"] == []
    assert table.changes("tags")[-1] == {**table.changes("tags")[-1], "ids": [tag["id"]], "reason": "deleted"}


def test_a_tag_that_others_carry_stays(table: Table, asset_id: str) -> None:
    other = table.folder / "other.bag"
    other.touch()
    other_id = table.call("assets/register", file_path=str(other))["id"]
    tag = table.call("tags/create", name="t")
    for each in (asset_id, other_id):
        table.call("assets/attachTag", asset_id=each, tag_id="t")
    table.call("assets/detachTag", asset_id=asset_id, tag_id="t")
    assert [(item["id"], item["asset_count"]) for item in table.call("tags/list")["items"]] == [(tag["id"], 1)]
    assert [item["id"] for item in table.call("assets/list", tag="T")["items"]] == [other_id]


def test_refusals_say_which_is_missing(table: Table, asset_id: str) -> None:
    table.call("tags/create", name="t")
    for name in ("assets/attachTag", "assets/detachTag"):
        assert refusal(table, name, asset_id="nobody", tag_id="t").kind == "asset_not_found"
        assert refusal(table, name, asset_id=asset_id, tag_id="nothing").kind == "tag_not_found"
        with pytest.raises(ParamsError, match="tag_id"):
            table.call(name, asset_id=asset_id, tag_id=" ")
    error = refusal(table, "assets/detachTag", asset_id=asset_id, tag_id="t")
    assert (error.code, error.kind) == (404, "tag_not_attached")
