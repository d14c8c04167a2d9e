import json
from typing import Any
from uuid import uuid4

import jsonpatch
import jsonschema
import pytest
import yaml

from hephaes_rpc.engine.specs.document import load
from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.jobs.queue import JobQueue
from hephaes_rpc.openrpc import document
from tests.engine.specs import changed, mapping_spec, rows_spec
from tests.methods.conftest import Table
from tests.methods.test_conversions import add, topic
from tests.store.test_configs import OLD, put, spoil

SPEC = mapping_spec()


def create(table: Table, name: str = "one", **params: Any) -> dict[str, Any]:
    made: dict[str, Any] = table.call("conversionConfigs/create", **{"name": name, "spec": SPEC, **params})
    return made


def refused(table: Table, verb: str, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call(f"conversionConfigs/{verb}", **params)
    return error.value


def paths(error: HephaesError) -> list[str]:
    assert isinstance(error, ParamsError)
    return [each["path"] for each in error.errors]


@pytest.mark.parametrize(
    ("verb", "params", "wrong"),
    [
        ("create", {}, ["name", "spec"]),
        ("create", {"name": " ", "spec": {}}, ["name"]),
        ("create", {"name": str(uuid4()).upper(), "spec": {}}, ["name"]),
        ("create", {"name": "a", "spec": []}, ["spec"]),
        ("create", {"name": "a", "spec": {}, "metadata": []}, ["metadata"]),
        ("create", {"name": "a", "spec": {}, "metadata": {"hephaes_config": {}}}, ["metadata"]),
        ("create", {"name": "a", "spec": {}, "metadata": {"a": {"__bytes__": 1}}}, ["metadata"]),
        ("create", {"name": "a", "spec": {}, "metadata": json.loads("[" * 99 + "]" * 99)}, ["metadata"]),
        ("create", {"name": "a", "spec": {}, "metadata": {"a": json.loads("[" * 99 + "]" * 99)}}, ["metadata"]),
        ("get", {}, ["config_id"]),
        ("get", {"config_id": " "}, ["config_id"]),
        ("get", {"config_id": "a", "revision_limit": 501}, ["revision_limit"]),
        ("update", {"config_id": "one"}, [""]),
        ("update", {"config_id": "one", "name": " ", "metadata": None}, [""]),
        ("update", {"config_id": "one", "name": f" {uuid4()} "}, ["name"]),
        ("update", {"config_id": "one", "spec": {}, "restore_revision": 1}, ["restore_revision"]),
        ("update", {"config_id": "one", "restore_revision": 0}, ["restore_revision"]),
        ("duplicate", {"config_id": "one", "name": str(uuid4())}, ["name"]),
        ("diff", {"config_id": "one", "from_revision": 0}, ["from_revision"]),
        ("export", {"config_id": "one", "format": "toml"}, ["format"]),
        ("import", {"text": " "}, ["text"]),
        ("import", {"text": "mapping: {a: [/a]}"}, ["name"]),
        ("import", {"text": f"{{spec: {{}}, metadata: {{hephaes_config: {{name: {uuid4()}}}}}}}"}, ["name"]),
        ("list", {"sort": "created_at"}, ["sort"]),
        ("list", {"offset": 1}, ["offset"]),
    ],
)
def test_params_that_do_not_fit(table: Table, verb: str, params: dict[str, Any], wrong: list[str]) -> None:
    made = create(table)
    assert paths(refused(table, verb, **params)) == wrong
    assert [item["id"] for item in table.call("conversionConfigs/list")["items"]] == [made["id"]]


def test_specs_that_contradict_themselves(table: Table) -> None:
    wrong = changed(rows_spec(), {"features.turn.dtype": "float23"})
    for error in (
        refused(table, "create", name="a", spec=wrong),
        refused(table, "import", name="a", text=json.dumps(wrong)),
        refused(table, "update", config_id=create(table)["id"], spec=wrong),
    ):
        assert (error.code, error.kind) == (422, "invalid_spec")
        assert error.data["errors"][0]["pointer"] == "/features/turn/dtype"
    assert refused(table, "import", name="a", text="{").kind == "invalid_spec"
    assert table.call("conversionConfigs/list")["total"] == 1


def test_what_is_given_is_trimmed(table: Table) -> None:
    made = create(table, "  My  config ", description="  ")
    assert (made["name"], made["description"]) == ("My  config", None)
    assert table.call("conversionConfigs/get", config_id=" my config ") == made


def test_a_document_brings_its_metadata(table: Table) -> None:
    whole = {"spec_version": 1, "spec": SPEC, "metadata": {"by": "hand", "hephaes_config": {"name": "x"}}}
    assert create(table, "a", spec=whole)["metadata"] == {"by": "hand"}
    assert create(table, "b", spec=whole, metadata={"by": "me"})["metadata"] == {"by": "me"}
    assert create(table, "c", spec=whole, metadata={})["metadata"] == {}
    assert create(table, "d")["metadata"] == {}
    for spec, metadata in ((SPEC, {"by": "me"}), ({"spec": SPEC}, {"by": "me"}), (whole, {"by": "hand"})):
        assert table.call("conversionConfigs/update", config_id="b", spec=spec, name="b")["metadata"] == metadata


def test_updates(table: Table) -> None:
    made = create(table, description="text", metadata={"a": 1})
    update = {"name": " two ", "metadata": {"b": 2}, "description": None}
    config = table.call("conversionConfigs/update", config_id="one", **update)
    assert (config["changed"], config["name"], config["metadata"]) == (True, "two", {"b": 2})
    assert (config["description"], config["revision_count"]) == ("text", 2)
    assert [each["change_kind"] for each in config["revisions"]] == ["update", "create"]
    again = table.call("conversionConfigs/update", config_id="two", **update, revision_limit=1)
    assert (again.pop("changed"), len(again["revisions"])) == (False, 1)
    assert again == table.call("conversionConfigs/get", config_id="two", revision_limit=1)
    assert table.changes("conversionConfigs") == [
        {"workspace_id": table.app.store.active_workspace_id, "ids": [made["id"]], "reason": reason}
        for reason in ("created", "updated")
    ]


def test_every_change_is_told_once(table: Table) -> None:
    one = create(table)["id"]
    copy = table.call("conversionConfigs/duplicate", config_id=one)["id"]
    text = table.call("conversionConfigs/export", config_id=one)["text"]
    imported = table.call("conversionConfigs/import", text=text, name="new")["id"]
    table.call("conversionConfigs/list")
    table.call("conversionConfigs/diff", config_id=one)
    (told,) = table.changes("conversionConfigs")
    assert (told["ids"], told["reason"]) == ([one, copy, imported], "created")


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_an_export_comes_back_as_it_was(table: Table, form: str) -> None:
    made = create(table, "Über/Arm: 'x'", spec=rows_spec(), description="yes", metadata={"n": 2**60, "s": ["on", ".5"]})
    exported = table.call("conversionConfigs/export", config_id=made["id"], format=form)
    assert (exported["file_name"], exported["revision_number"]) == (f"Über_Arm_x.{form}", 1)
    assert load(exported["text"]).spec == load(rows_spec()).spec
    parsed = yaml.safe_load(exported["text"]) if form == "yaml" else json.loads(exported["text"])
    assert parsed["metadata"]["hephaes_config"] == {"name": "Über/Arm: 'x'", "description": "yes"}
    error = refused(table, "import", text=exported["text"])
    assert (error.code, error.kind, error.data["config_id"]) == (422, "config_name_taken", made["id"])
    table.call("conversionConfigs/update", config_id=made["id"], name="away")
    back = table.call("conversionConfigs/import", text=exported["text"])
    for name in ("name", "description", "metadata", "spec_document_json", "resolved_spec_document"):
        assert back[name] == made[name]
    assert [(each["change_kind"], each["change_summary"]) for each in back["revisions"]] == [("import", None)]
    other = table.call("conversionConfigs/import", text=exported["text"], name="other", description="text")
    assert (other["name"], other["description"]) == ("other", "text")


def test_an_older_text_is_imported_as_the_newer_one(table: Table) -> None:
    config = table.call("conversionConfigs/import", text=yaml.safe_dump(OLD), name="old")
    (revision,) = config["revisions"]
    assert (config["status"], config["spec_document_version"], config["metadata"]) == ("ready", 2, {"by": "hand"})
    assert (revision["change_kind"], revision["change_summary"]) == ("import", "imported from a document of version 1")
    assert config["resolved_spec"]["output"]["image_payload_contract"] == "legacy_list_v1"
    put(table.app.store.workspace(None), config["id"], OLD)
    assert '"spec_version": 2' in table.call("conversionConfigs/export", config_id="old", format="json")["text"]


def test_exports_of_earlier_revisions(table: Table) -> None:
    create(table)
    table.call("conversionConfigs/update", config_id="one", spec=rows_spec())
    texts = [
        table.call("conversionConfigs/export", config_id="one", revision_number=number)["text"] for number in (1, 2)
    ]
    assert [load(text).spec for text in texts] == [load(spec).spec for spec in (SPEC, rows_spec())]
    error = refused(table, "export", config_id="one", revision_number=3)
    assert (error.code, error.kind, error.data["revision_number"]) == (404, "config_revision_not_found", 3)


def test_diff_leads_from_one_revision_to_the_other(table: Table) -> None:
    made = create(table, spec=rows_spec())
    first = table.call("conversionConfigs/diff", config_id="one")
    assert (first["from_revision"], first["to_revision"], first["patch"], first["reordered"]) == (1, 1, [], [])
    other = changed(rows_spec(), {"features.turn.source.sources.1.value": 2**60, "input.start_ns": 2**61})
    other["features"] = dict(reversed(other["features"].items()))
    table.call("conversionConfigs/update", config_id="one", spec=other)
    config = table.call("conversionConfigs/update", config_id="one", metadata={"a": None})
    documents = {each["revision_number"]: each["spec_document_json"] for each in config["revisions"]}
    for low in documents:
        for high in documents:
            diff = table.call("conversionConfigs/diff", config_id=made["id"], from_revision=low, to_revision=high)
            assert jsonpatch.apply_patch(documents[low], diff["patch"]) == documents[high]
            assert (diff["patch"] == []) == (low == high)
            assert diff["reordered"] == (["/spec/features"] if (low == 1) != (high == 1) else [])
    last = table.call("conversionConfigs/diff", config_id="one")
    assert last == {
        "config_id": made["id"],
        "from_revision": 2,
        "to_revision": 3,
        "patch": [{"op": "add", "path": "/metadata/a", "value": None}],
        "reordered": [],
    }
    assert refused(table, "diff", config_id="one", from_revision=4).kind == "config_revision_not_found"


def test_the_order_of_a_mapping_is_told(table: Table) -> None:
    create(table)
    table.call(
        "conversionConfigs/update",
        config_id="one",
        spec={**SPEC, "mapping": dict(reversed(SPEC["mapping"].items()))},
    )
    diff = table.call("conversionConfigs/diff", config_id="one")
    assert (diff["patch"], diff["reordered"]) == ([], ["/spec/mapping"])


def test_a_broken_revision_can_be_compared_as_far_as_it_can_be_read(table: Table) -> None:
    made = create(table)
    workspace = table.app.store.workspace(None)
    put(workspace, made["id"], {"spec": {"colour": "red"}})
    table.call("conversionConfigs/update", config_id="one", spec=SPEC)
    patch = table.call("conversionConfigs/diff", config_id="one")["patch"]
    assert {"op": "remove", "path": "/spec/colour"} in patch
    spoil(workspace, b"rotten")
    for verb in ("diff", "export"):
        error = refused(table, verb, config_id="one")
        assert (error.code, error.kind, error.data["config_id"]) == (422, "config_invalid", made["id"])


def test_pages(table: Table) -> None:
    made = [create(table, f"config {n}")["id"] for n in range(5)]
    page = table.call("conversionConfigs/list", limit=2)
    assert ([item["id"] for item in page["items"]], page["total"]) == (made[:2:-1], 5)
    table.call("conversionConfigs/update", config_id=made[0], description="to the front")
    rest = table.call("conversionConfigs/list", cursor=page["next_cursor"])
    assert [item["id"] for item in rest["items"]] == [made[2], made[1]]
    assert table.call("conversionConfigs/list", limit=1)["items"][0]["id"] == made[0]
    error = refused(table, "list", cursor=page["next_cursor"], sort="name")
    assert (error.code, error.kind) == (400, "cursor_mismatch")


def test_a_config_belongs_to_its_workspace(table: Table) -> None:
    made = create(table)
    other = table.call("workspaces/create", root_path=str(table.folder / "other"))["id"]
    assert refused(table, "get", config_id=made["id"]).kind == "config_not_found"
    assert create(table, workspace_id=other)["id"] != made["id"]


def test_results_are_what_the_document_says(table: Table) -> None:
    described = {each["name"]: each for each in document()["methods"]}
    create(table, spec=rows_spec())
    spoilt = create(table, "bad")
    put(table.app.store.workspace(None), spoilt["id"], b"rotten")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list", {}),
        ("get", {"config_id": "one"}),
        ("get", {"config_id": "bad"}),
        ("update", {"config_id": "one", "spec": SPEC}),
        ("diff", {"config_id": "one"}),
        ("export", {"config_id": "one"}),
        ("duplicate", {"config_id": "one"}),
    ]
    for verb, params in calls:
        name = f"conversionConfigs/{verb}"
        schema = described[name]["result"]["schema"] | {"components": document()["components"]}
        jsonschema.Draft7Validator(schema).validate(table.call(name, **params))


def test_a_saved_config_is_converted_from(table: Table) -> None:
    asset_id = add(table, "one.bag", topic("/image"), topic("/imu"))
    made = create(table, " Left  Arm ", metadata={"a": 1})
    table.call("conversionConfigs/update", config_id=made["id"], description="x")
    table.changes("conversionConfigs")
    for selector in (made["id"], "left arm"):
        conversion = convert(table, asset_id, saved_config_id=selector)
        for config in (conversion["config"], conversion["job"]["config_json"]):
            assert config["mapping_mode"] == "saved-config"
            assert config["saved_config_id"] == made["id"]
            assert config["saved_config_revision_number"] == 2
            assert config["saved_config_spec_document_version"] == 2
            assert config["mapping"] == SPEC["mapping"]
            assert config["output"]["format"] == "parquet"
        payload = table.app.store.workspace(None).jobs.payload(conversion["job_id"])
        assert payload["spec"] == made["spec_document_json"]
    after = table.call("conversionConfigs/get", config_id=made["id"])
    assert after["last_opened_at"] is not None
    assert after["revision_count"] == 2
    assert table.changes("conversionConfigs")[-1]["ids"] == [made["id"]]
    plain = convert(table, asset_id, saved_config_id="left arm", write_manifest=False)
    assert plain["config"]["write_manifest"] is False


def test_an_older_config_is_migrated_when_it_is_run(table: Table) -> None:
    asset_id = add(table, "one.bag", topic("/a"))
    made = create(table)
    put(table.app.store.workspace(None), made["id"], OLD)
    conversion = convert(table, asset_id, saved_config_id="one")
    assert conversion["config"]["saved_config_revision_number"] == 2
    assert conversion["config"]["saved_config_spec_document_version"] == 2
    assert conversion["representation_policy"]["image_payload_contract"] == "legacy_list_v1"
    assert table.call("conversionConfigs/get", config_id="one")["status"] == "ready"


def convert(table: Table, asset_id: str, **params: Any) -> dict[str, Any]:
    """A conversion that is asked for; its job waits, since the queue is not started."""

    async def queue() -> JobQueue:
        return JobQueue(table.app.config, table.app.store, table.app.notify, table.app.executor)

    table.app.jobs = table.loop.run_until_complete(queue())
    made: dict[str, Any] = table.call("conversions/create", asset_ids=[asset_id], **params)
    return made
