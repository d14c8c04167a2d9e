"""What went wrong with configs in the REST backend (reference/rest-surface.md, 8.1), one test for each number."""

from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError
from tests.engine.specs import mapping_spec
from tests.methods.conftest import Table
from tests.methods.test_conversion_configs import convert, create
from tests.methods.test_conversions import add, topic
from tests.store.conftest import fingerprint
from tests.store.test_configs import OLD, put


def test_5_one_corrupt_document_breaks_neither_the_list_nor_itself(table: Table) -> None:
    create(table, "good")
    bad = create(table, "bad")
    put(table.app.store.workspace(None), bad["id"], b'{"spec": {')
    listed = {item["name"]: item for item in table.call("conversionConfigs/list")["items"]}
    assert {name: item["status"] for name, item in listed.items()} == {"good": "ready", "bad": "invalid"}
    config = table.call("conversionConfigs/get", config_id="bad")
    assert config["invalid_reason"] == listed["bad"]["invalid_reason"] != ""
    assert (config["spec_document_json"], config["spec_document_text"]) == (None, '{"spec": {')
    repaired = table.call("conversionConfigs/update", config_id="bad", spec=mapping_spec())
    assert (repaired["status"], repaired["revision_count"]) == ("ready", 2)


def test_7_reading_changes_neither_order_nor_times(table: Table, tmp_path: Path) -> None:
    for name in "abc":
        create(table, name)
    before = fingerprint(tmp_path)
    first = table.call("conversionConfigs/list")
    assert [item["name"] for item in first["items"]] == ["c", "b", "a"]
    for name in "abc":
        assert table.call("conversionConfigs/get", config_id=name)["last_opened_at"] is None
        table.call("conversionConfigs/export", config_id=name)
        table.call("conversionConfigs/diff", config_id=name)
    assert table.call("conversionConfigs/list") == first
    assert fingerprint(tmp_path) == before


def test_8_a_config_can_be_run_by_its_name(table: Table) -> None:
    asset_id = add(table, "one.bag", topic("/image"), topic("/imu"))
    made = create(table, "Mine")
    conversion = convert(table, asset_id, saved_config_id=" MINE ")
    assert conversion["config"]["saved_config_id"] == made["id"]
    put(table.app.store.workspace(None), made["id"], b"rotten")
    for selector, kind in (("nobody", "unknown_config"), ("mine", "config_invalid")):
        with pytest.raises(HephaesError) as error:
            convert(table, asset_id, saved_config_id=selector)
        assert (error.value.code, error.value.kind) == (422, kind)
    assert table.call("jobs/list")["total"] == table.call("conversions/list")["total"] == 1


@pytest.mark.parametrize("description", ["it migrates birds", "Migration of cranes"])
def test_23_the_kind_of_a_change_is_not_guessed_from_the_description(table: Table, description: str) -> None:
    create(table, description=description)
    update(table, metadata={"n": 1})
    config = update(table, description="")
    assert config["description"] is None
    assert [each["change_kind"] for each in config["revisions"]] == ["update", "update", "create"]
    assert [each["change_summary"] for each in config["revisions"]] == [
        "description taken away",
        "metadata changed",
        None,
    ]
    assert config["migration_notes"] == []


def update(table: Table, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = table.call("conversionConfigs/update", config_id="one", **params)
    return found


def test_25_the_migration_names_the_version_of_the_document(table: Table) -> None:
    made = create(table)
    workspace = table.app.store.workspace(None)
    put(workspace, made["id"], OLD)
    with workspace.db.write() as session:
        session.run("UPDATE config_revisions SET document_version = 2")
    config = table.call("conversionConfigs/get", config_id="one")
    assert (config["spec_document_version"], config["status"]) == (1, "needs_migration")
    config = update(table, name="two")
    assert config["migration_notes"] == ["migrated from version 1 to 2"]
    assert [each["change_kind"] for each in config["revisions"]] == ["update", "migration", "create"]
