import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.specs.document import SpecDocument, load, to_dict
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.serde import encode, unstructure
from hephaes_rpc.store import documents
from hephaes_rpc.store.blobs import store_blob
from hephaes_rpc.store.configs import ConfigChange, ConfigDetail
from hephaes_rpc.store.documents import Readings, stored_form
from hephaes_rpc.store.values import new_id
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.engine.specs import changed, mapping_spec, rows_spec
from tests.store.conftest import fingerprint
from tests.store.test_lists import count_statements
from tests.thorough import examples

OLD = {"spec_version": 1, "spec": {"schema_name": "old", "mapping": {"a": ["/a"]}}, "metadata": {"by": "hand"}}


def document(spec: dict[str, Any] | None = None, **metadata: Any) -> SpecDocument:
    return SpecDocument(spec=load(spec or rows_spec()).spec, metadata=metadata)


def put(workspace: OpenWorkspace, config_id: str, content: Any, number: int = 1) -> None:
    """Make ``content`` what a revision has stored, as another program, or an older version, would have."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    with workspace.db.write() as session:
        sha256 = store_blob(session, data, 1)
        session.run(
            "UPDATE config_revisions SET document_sha256 = ?, document_version = 1"
            " WHERE config_id = ? AND revision_number = ?",
            (sha256, config_id, number),
        )


def spoil(workspace: OpenWorkspace, data: bytes = b"\x00\xff rotten") -> None:
    """Damage every stored document."""
    with workspace.db.write() as session:
        session.run("UPDATE blobs SET data = ?", (data,))


def said(config: ConfigDetail) -> list[tuple[int, str, str | None]]:
    return [(each.revision_number, each.change_kind, each.change_summary) for each in config.revisions]


def refused(call: Any, *args: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        call(*args)
    return error.value


def test_a_config_is_what_was_kept(workspace: OpenWorkspace) -> None:
    kept = document(camera="left", big=2**60)
    made = workspace.configs.create("Left  Arm", kept, "for training")
    assert made == workspace.configs.get(made.id) == workspace.configs.get("  left arm ")
    assert made == workspace.configs.get(made.id.upper())
    assert (made.name, made.description, made.status, made.invalid_reason) == (
        "Left  Arm",
        "for training",
        "ready",
        None,
    )
    assert made.metadata == {"camera": "left", "big": {"__int64__": str(2**60)}}
    assert made.resolved_spec_document == kept
    assert made.resolved_spec == kept.spec
    assert made.spec_document_json == to_dict(kept)
    assert (made.spec_document_version, made.spec_schema_name, made.spec_schema_version) == (2, "generic_conversion", 1)
    assert (made.spec_row_strategy_kind, made.spec_feature_count) == ("trigger", 4)
    assert (made.spec_output_format, made.spec_output_compression) == ("parquet", "none")
    assert (made.revision_count, made.draft_count, made.migration_notes) == (1, 0, [])
    assert (made.latest_preview, made.latest_preview_available, made.latest_preview_updated_at) == (None, False, None)
    assert made.created_at == made.updated_at
    assert made.last_opened_at is None
    (revision,) = made.revisions
    assert (revision.config_id, revision.revision_number, revision.change_kind) == (made.id, 1, "create")
    assert (revision.spec_document_json, revision.resolved_spec) == (made.spec_document_json, made.resolved_spec)
    mapped = workspace.configs.create("mapped", document(mapping_spec()))
    assert (mapped.spec_row_strategy_kind, mapped.spec_feature_count) == (None, 0)
    assert [config.name for config in workspace.configs.list().items] == ["mapped", "Left  Arm"]
    assert [config.name for config in workspace.configs.list(sort="name").items] == ["Left  Arm", "mapped"]


def test_names_are_one_whatever_case_and_blanks(workspace: OpenWorkspace) -> None:
    one, other = (workspace.configs.create(name, document()) for name in ("Straße  1", "other"))
    for call in (
        lambda: workspace.configs.create(" STRASSE 1", document()),
        lambda: workspace.configs.update("other", ConfigChange(name="strasse 1")),
        lambda: workspace.configs.duplicate("other", ConfigChange(name="strasse 1")),
    ):
        error = refused(call)
        assert (error.code, error.kind, error.data["config_id"]) == (422, "config_name_taken", one.id)
    renamed, is_changed = workspace.configs.update(one.id, ConfigChange(name="STRASSE 1"))
    assert (is_changed, renamed.name) == (True, "STRASSE 1")
    assert workspace.configs.get("other") == other


def test_what_is_not_there(workspace: OpenWorkspace) -> None:
    made = workspace.configs.create("one", document())
    change = ConfigChange(name="x")
    configs = workspace.configs
    for call in (configs.get, configs.use, configs.state, lambda key: configs.update(key, change)):
        for selector in ("nobody", new_id(), "on"):
            error = refused(call, selector)
            assert (error.code, error.kind, error.data) == (404, "config_not_found", {"config_id": selector})
    for call in (
        lambda: configs.state("one", 2),
        lambda: configs.update("one", ConfigChange(restore_revision=2)),
    ):
        error = refused(call)
        assert (error.code, error.kind) == (404, "config_revision_not_found")
        assert error.data == {"config_id": made.id, "revision_number": 2}
    assert configs.get("one") == made


def test_every_change_is_a_revision_that_says_what_it_is(workspace: OpenWorkspace) -> None:
    configs = workspace.configs
    made = configs.create("one", document(a=1), "first")
    spec = load(changed(rows_spec(), {"features.turn.dtype": "float32", "output.shards": 3})).spec
    configs.update("one", ConfigChange(spec=spec))
    configs.update("one", ConfigChange(description="  ", name="two"))
    configs.update("two", ConfigChange(metadata={"a": 2}, description=" second "))
    last, is_changed = configs.update("two", ConfigChange(restore_revision=1))
    assert is_changed
    assert said(last) == [
        (5, "update", "spec changed from revision 1: features, output; metadata changed from revision 1"),
        (4, "update", "description changed; metadata changed"),
        (3, "update", "renamed from one to two; description taken away"),
        (2, "update", "spec changed: features, output"),
        (1, "create", None),
    ]
    assert (last.description, last.metadata, last.revision_count) == ("second", {"a": 1}, 5)
    assert last.resolved_spec_document == made.resolved_spec_document
    assert last.updated_at > last.created_at == made.created_at
    assert [each.spec_document_json for each in last.revisions][-1] == made.spec_document_json
    assert configs.get("two", 2).revisions == last.revisions[:2]
    assert configs.get("two", 0).revisions == []


def test_an_update_that_changes_nothing_writes_nothing(workspace: OpenWorkspace, tmp_path: Path) -> None:
    made = workspace.configs.create("one", document(a=1), "text")
    before = fingerprint(tmp_path)
    for change in (
        ConfigChange(name="one"),
        ConfigChange(description=" text "),
        ConfigChange(metadata={"a": 1}, spec=load(rows_spec()).spec),
        ConfigChange(restore_revision=1),
    ):
        assert workspace.configs.update("one", change) == (made, False)
    assert fingerprint(tmp_path) == before


def test_one_is_not_true(workspace: OpenWorkspace) -> None:
    workspace.configs.create("one", document(a=1))
    for value in (True, 1.0, "1"):
        assert workspace.configs.update("one", ConfigChange(metadata={"a": value}))[1]
    first = load(mapping_spec()).spec
    workspace.configs.create("two", SpecDocument(spec=first))
    reordered = load({"mapping": dict(reversed(mapping_spec()["mapping"].items())), "output": {"format": "parquet"}})
    config, is_changed = workspace.configs.update("two", ConfigChange(spec=reordered.spec))
    assert (is_changed, config.revisions[0].change_summary) == (True, "spec changed: mapping")


def test_documents_are_kept_once(workspace: OpenWorkspace) -> None:
    workspace.configs.create("one", document())
    workspace.configs.create("two", document())
    workspace.configs.update("two", ConfigChange(name="three"))
    workspace.configs.duplicate("three", ConfigChange())
    with workspace.db.read() as session:
        assert session.value("SELECT count(*) FROM blobs") == 1
        assert session.value("SELECT count(*) FROM config_revisions") == 4


def test_copies(workspace: OpenWorkspace) -> None:
    source = workspace.configs.create("Arm", document(a=1), "text")
    names = [workspace.configs.duplicate("arm", ConfigChange()).name for _ in range(3)]
    assert names == ["Copy of Arm", "Copy of Arm (2)", "Copy of Arm (3)"]
    copy = workspace.configs.duplicate(source.id, ConfigChange(name="mine", description="other", metadata={"b": 2}))
    assert (copy.name, copy.description, copy.metadata) == ("mine", "other", {"b": 2})
    assert copy.resolved_spec == source.resolved_spec
    assert said(copy) == [(1, "duplicate", "copied from Arm, revision 1")]
    assert workspace.configs.get("arm") == source
    assert workspace.configs.get("copy of arm").metadata == {"a": 1}


def test_an_older_document_is_read_as_the_newer_one(workspace: OpenWorkspace, tmp_path: Path) -> None:
    made = workspace.configs.create("one", document())
    put(workspace, made.id, OLD)
    before = fingerprint(tmp_path)
    (listed,) = workspace.configs.list().items
    config = workspace.configs.get("one")
    assert (config.status, config.invalid_reason, config.spec_document_version) == ("needs_migration", None, 1)
    assert (listed.status, listed.spec_schema_name, listed.spec_output_format) == ("needs_migration", "old", "tfrecord")
    assert (config.spec_document_json, config.revision_count) == (OLD, 1)
    assert config.metadata == listed.metadata == {"by": "hand"}
    assert config.resolved_spec is not None
    assert config.resolved_spec.output.image_payload_contract == "legacy_list_v1"  # type: ignore[union-attr]
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("change", [{"name": "one"}, {"name": "new"}, {"restore_revision": 1}, {"metadata": {"x": 1}}])
def test_an_older_document_becomes_a_revision_at_the_next_update(
    workspace: OpenWorkspace, change: dict[str, Any]
) -> None:
    made = workspace.configs.create("one", document())
    put(workspace, made.id, OLD)
    config, is_changed = workspace.configs.update("one", ConfigChange(**change))
    assert is_changed
    migration = next(each for each in config.revisions if each.revision_number == 2)
    assert (migration.change_kind, migration.change_summary) == ("migration", "migrated from version 1 to 2")
    assert (migration.spec_document_version, config.revisions[-1].spec_document_json) == (2, OLD)
    assert (config.status, config.spec_document_version) == ("ready", 2)
    assert config.migration_notes == ["migrated from version 1 to 2"]
    assert config.resolved_spec == load(OLD).spec
    assert config.updated_at > made.updated_at
    assert workspace.configs.update(change.get("name", "one"), ConfigChange(**change)) == (
        config,
        False,
    )


def test_use(workspace: OpenWorkspace) -> None:
    made = workspace.configs.create("one", document(a=1))
    used = workspace.configs.use("ONE")
    assert (used.id, used.name, used.revision_number, used.document) == (made.id, "one", 1, document(a=1))
    assert used.revision_id == made.revisions[0].id
    after = workspace.configs.get("one")
    assert after.last_opened_at is not None
    assert (after.updated_at, after.revision_count) == (made.updated_at, 1)
    put(workspace, made.id, OLD)
    for _ in range(2):
        used = workspace.configs.use("one")
        assert (used.revision_number, used.document) == (2, load(OLD))
    assert said(workspace.configs.get("one"))[0] == (2, "migration", "migrated from version 1 to 2")


BROKEN = {
    "damaged": None,
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "no object": b"[1, 2]",
    "empty": b"",
    "newer": {"spec_version": 9, "spec": {}},
    "no spec": {"spec": None},
    "unknown": {"spec": {"mapping": {"a": ["/a"]}, "colour": "red"}},
    "contradicts itself": {"spec": changed(rows_spec(), {"mapping": {"a": ["/a"]}})},
    "too deep": b'{"spec": ' + b"[" * 900 + b"]" * 900 + b"}",
    "half a character": b'{"spec": {}, "metadata": {"a": "\\ud800"}}',
    "beyond integers": {"spec_version": 10**30, "spec": {}},
    "two of a kind": b'{"spec": {}, "spec": {}}',
}


def broken(workspace: OpenWorkspace, what: str) -> ConfigDetail:
    """A config with a good first revision and a second one that is broken, among others that are not."""
    workspace.configs.create("good", document(mapping_spec()))
    made = workspace.configs.create("bad", document(a=1), "text")
    spec = load(changed(rows_spec(), {"output.shards": 3})).spec
    workspace.configs.update("bad", ConfigChange(spec=spec))
    if BROKEN[what] is not None:
        put(workspace, made.id, BROKEN[what], 2)
    else:
        with workspace.db.write() as session:
            session.run(
                "UPDATE blobs SET data = CAST(replace(CAST(data AS TEXT), '\"shards\": 3', '\"shards\": 4') AS BLOB)"
                " WHERE sha256 = (SELECT document_sha256 FROM config_revisions"
                " WHERE revision_number = 2)"
            )
    return made


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_document_is_shown_with_its_reason(workspace: OpenWorkspace, tmp_path: Path, what: str) -> None:
    broken(workspace, what)
    before = fingerprint(tmp_path)
    assert {config.name: config.status for config in workspace.configs.list().items} == {
        "good": "ready",
        "bad": "invalid",
    }
    config = workspace.configs.get("bad")
    assert config.invalid_reason
    assert (config.metadata, config.description) == ({"a": 1}, "text")
    assert (config.resolved_spec, config.resolved_spec_document, config.spec_feature_count) == (None, None, 0)
    assert (config.spec_document_json is None) != (config.spec_document_text is None)
    assert [each.invalid_reason for each in config.revisions] == [config.invalid_reason, None]
    for call in (configs := workspace.configs).use, lambda key: configs.duplicate(key, ConfigChange()):
        error = refused(call, "bad")
        assert (error.code, error.kind, error.data["last_good_revision"]) == (422, "config_invalid", 1)
        assert error.data["reason"] == config.invalid_reason
        assert error.hint is not None
        assert "restore_revision 1" in error.hint
    assert refused(configs.update, "bad", ConfigChange(metadata={})).kind == "config_invalid"
    assert refused(configs.update, "bad", ConfigChange(restore_revision=2)).kind == "config_invalid"
    assert refused(lambda: configs.state("bad").document).kind == "config_invalid"
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_document_is_repaired(workspace: OpenWorkspace, what: str) -> None:
    broken(workspace, what)
    renamed, is_changed = workspace.configs.update("bad", ConfigChange(name="worse", description=""))
    assert (is_changed, renamed.status, renamed.revision_count) == (True, "invalid", 3)
    restored, _ = workspace.configs.update("worse", ConfigChange(restore_revision=1))
    assert (restored.status, restored.metadata, restored.name) == ("ready", {"a": 1}, "worse")
    assert said(restored)[0] == (4, "update", "spec and metadata repaired from revision 1")
    assert workspace.configs.use("worse").document == document(a=1)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_document_is_replaced(workspace: OpenWorkspace, what: str) -> None:
    broken(workspace, what)
    config, is_changed = workspace.configs.update("bad", ConfigChange(spec=load(mapping_spec()).spec))
    assert (is_changed, config.status, config.metadata) == (True, "ready", {"a": 1})
    assert said(config)[0] == (3, "update", "spec and metadata repaired")
    assert config.resolved_spec == load(mapping_spec()).spec


def test_the_same_document_mends_a_damaged_one(workspace: OpenWorkspace) -> None:
    workspace.configs.create("one", document(a=1))
    spoil(workspace)
    config = workspace.configs.get("one")
    assert (config.status, config.spec_document_json, config.spec_document_text) == ("invalid", None, "\0\ufffd rotten")
    assert refused(workspace.configs.use, "one").data["last_good_revision"] is None
    mended, _ = workspace.configs.update("one", ConfigChange(spec=load(rows_spec()).spec))
    assert (mended.status, [each.invalid_reason for each in mended.revisions]) == ("ready", [None, None])
    assert mended.resolved_spec_document == document(a=1)


def test_a_lost_document_is_like_a_broken_one(workspace: OpenWorkspace) -> None:
    made = workspace.configs.create("one", document())
    with workspace.db.write() as session:
        session.run("DELETE FROM config_revisions")
    (listed,) = workspace.configs.list().items
    assert (listed.status, listed.invalid_reason, listed.revision_count) == ("invalid", "the document has been lost", 0)
    assert refused(workspace.configs.update, "one", ConfigChange(name="two")).kind == "config_invalid"
    config, _ = workspace.configs.update("one", ConfigChange(spec=load(rows_spec()).spec))
    assert (config.id, config.status, config.revision_count) == (made.id, "ready", 1)


def test_what_has_been_read_is_not_read_again(workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = Readings()
    data = [stored_form(document(n=n)) for n in range(3)]
    keys = [hashlib.sha256(each).hexdigest() for each in data]
    first = [readings.of(key, each) for key, each in zip(keys, data, strict=True)]
    assert all(readings.of(key, each) is seen for key, each, seen in zip(keys, data, first, strict=True))
    monkeypatch.setattr(documents, "REMEMBERED_BYTES", len(data[0]) * 2)
    readings = Readings()
    first = [readings.of(key, each) for key, each in zip(keys, data, strict=True)]
    assert readings.of(keys[0], data[0]) is not first[0]
    assert readings.of(keys[2], data[2]) is first[2]
    assert readings.of(keys[2], data[1]).reason == "the document is damaged: it is not what was stored"


@pytest.mark.parametrize("n", [1, 12])
def test_reading_takes_the_same_statements_however_much(
    workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    for k in range(n):
        workspace.configs.create(f"config {k}", document(k=k))
        workspace.configs.update("config 0", ConfigChange(description=f"text {k}"))
    assert count_statements(monkeypatch, workspace.configs.list) == 2
    assert count_statements(monkeypatch, lambda: workspace.configs.get("config 0")) == 3


def test_drafts_are_counted(workspace: OpenWorkspace, asset: Asset) -> None:
    made = workspace.configs.create("one", document())
    draft, revisions = new_id(), [new_id(), new_id()]
    with workspace.db.write() as session:
        session.run(
            "INSERT INTO drafts (id, source_asset_id, saved_config_id, created_at, updated_at) VALUES (?, ?, ?, 1, 1)",
            (draft, asset.id, made.id),
        )
        sha256 = store_blob(session, b"{}", 1)
        session.many(
            "INSERT INTO draft_revisions (id, draft_id, revision_number, document_sha256, document_version,"
            " created_at, updated_at) VALUES (?, ?, ?, ?, 2, 1, 1)",
            [(revision, draft, number, sha256) for number, revision in enumerate(revisions, 1)],
        )
    assert workspace.configs.get("one").draft_count == workspace.configs.list().items[0].draft_count == 2
    assert [each.revision_number for each in workspace.configs.get("one").draft_revisions] == [2, 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["spec", "spec_version", "metadata", "features", "mapping", "output"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_stored_is_read_or_has_a_reason(data: bytes) -> None:
    reading = Readings().of(hashlib.sha256(data).hexdigest(), data)
    assert (reading.document is None) == (reading.reason is not None)
    assert (reading.content is None) == (reading.text is not None)
    encode(unstructure(reading))
