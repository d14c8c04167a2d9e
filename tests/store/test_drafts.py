"""Drafts: what becomes of them, revision by revision; every event in every status, by the table."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from hephaes_rpc.engine.authoring.authored import Encoding, Estimate, Inspection, PreviewResult, PreviewRow
from hephaes_rpc.engine.specs.document import SpecDocument, load
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.conversions import DraftStatus
from hephaes_rpc.serde import unstructure
from hephaes_rpc.store.drafts import MOVES, DraftDetail, DraftFilters, NewDraft, is_good
from hephaes_rpc.store.workspace import OpenWorkspace

RESULT = PreviewResult(
    columns={"a": "double"},
    first_row=0,
    rows=[PreviewRow(timestamp_ns=2**60, field_data={"a": 1.5}, presence_data={"a": 1})],
    dropped_count=0,
    checked_records=1,
    bad_records=0,
    missing_feature_counts={},
    missing_feature_rates={},
    missing_topic_counts={},
    missing_topic_rates={},
    label_summary=None,
    encoding=Encoding(format="parquet", size_bytes=9, counts={}, error=None),
    estimate=Estimate(rows=9, rows_exact=True, size_bytes=81, read_bytes=100, seconds=None),
    warnings=[],
    preflight_ok=True,
)
GOOD: dict[str, Any] = unstructure(RESULT)
BAD = GOOD | {"preflight_ok": False}
INSPECTION = Inspection(
    bag_path=None, ros_version="ROS2", sample_n=8, start_ns=1, end_ns=2, message_count=0, topics={}, warnings=[]
)


def document(topic: str = "/imu", **metadata: Any) -> SpecDocument:
    feature = {"source": {"topic": topic, "field_path": "a"}, "dtype": "native"}
    return load({"spec": {"row_strategy": {"topic": topic}, "features": {"a": feature}}, "metadata": metadata})


def new(preview: dict[str, Any] | None = None, label: str | None = None) -> NewDraft:
    return NewDraft(
        document=document(),
        label=label,
        inspection_request={"sample_n": 8},
        inspection=unstructure(INSPECTION),
        draft_request={"template": None},
        draft_result={"warnings": []},
        preview_request=None if preview is None else {"sample_n": 5},
        preview=preview,
    )


@pytest.fixture
def made(workspace: OpenWorkspace, asset: Asset) -> DraftDetail:
    return workspace.drafts.create(asset.id, new(GOOD, "first"))


def test_a_draft_begins_with_revision_1(workspace: OpenWorkspace, asset: Asset, made: DraftDetail) -> None:
    assert (made.status, made.revision_number, made.source_asset_id) == ("draft", 1, asset.id)
    assert (made.preview_ready, made.confirmed_revision_number, made.saved_config_id) == (True, None, None)
    revision = made.revision
    assert (revision.revision_number, revision.label, revision.changes) == (1, "first", [])
    assert (revision.inspection_request, revision.draft_request) == ({"sample_n": 8}, {"template": None})
    assert (revision.inspection, revision.draft_result, revision.preview) == (None, {"warnings": []}, RESULT)
    assert workspace.drafts.get(made.id) == made
    assert workspace.drafts.get(made.id, inspection=True).revision.inspection == INSPECTION
    assert workspace.drafts.document(made.id)[1:] == (document(), 1)


def test_an_update_adds_a_revision_that_says_what_it_changed(workspace: OpenWorkspace, made: DraftDetail) -> None:
    updated = workspace.drafts.update(made.id, document("/odom", by="hand"), None)
    assert (updated.revision_number, updated.preview_ready) == (2, False)
    changes = {(change.op, change.path) for change in updated.revision.changes}
    assert ("replace", "/spec/row_strategy/topic") in changes
    assert ("add", "/metadata/by") in changes
    assert [revision.revision_number for revision in updated.revisions] == [2, 1]
    old = workspace.drafts.get(made.id, 1).revision
    assert (old.spec_document_json, old.preview) == (made.revision.spec_document_json, RESULT)
    assert updated.revision.inspection_request == {"sample_n": 8}
    with pytest.raises(HephaesError, match="has no revision 3"):
        workspace.drafts.get(made.id, 3)


def test_only_what_has_a_good_preview_is_confirmed(workspace: OpenWorkspace, made: DraftDetail) -> None:
    drafts = workspace.drafts
    drafts.update(made.id, document("/odom"), None)
    with pytest.raises(HephaesError, match="revision 2 of the draft has no good preview") as refusal:
        drafts.confirm(made.id, None)
    assert refusal.value.kind == "draft_not_previewed"
    drafts.save_preview(made.id, 2, {}, BAD)
    with pytest.raises(HephaesError, match="no good preview"):
        drafts.confirm(made.id, None)
    drafts.save_preview(made.id, 2, {}, GOOD)
    with pytest.raises(HephaesError, match="revision 1 is not the current one, which is 2"):
        drafts.confirm(made.id, 1)
    confirmed = drafts.confirm(made.id, 2)
    assert (confirmed.status, confirmed.confirmed_revision_number) == ("confirmed", 2)


def test_what_a_good_preview_is() -> None:
    assert is_good(GOOD)
    assert not is_good(BAD)
    assert not is_good(GOOD | {"rows": []}), "behind the last row"
    assert is_good(GOOD | {"rows": [], "estimate": {"rows": 0}})


def test_a_confirmation_falls_with_an_update_and_with_a_bad_preview(
    workspace: OpenWorkspace, made: DraftDetail
) -> None:
    drafts = workspace.drafts
    drafts.confirm(made.id, None)
    assert drafts.save_preview(made.id, 1, {}, GOOD).status == "confirmed"
    fallen = drafts.save_preview(made.id, 1, {}, BAD)
    assert (fallen.status, fallen.confirmed_revision_number) == ("draft", None)
    drafts.save_preview(made.id, 1, {}, GOOD)
    drafts.confirm(made.id, None)
    updated = drafts.update(made.id, document("/odom"), "second")
    assert (updated.status, updated.confirmed_revision_number) == ("draft", None)
    assert drafts.save_preview(made.id, 1, {}, BAD).status == "draft", "an older revision decides nothing"


def test_saving_makes_a_config_of_what_was_confirmed(workspace: OpenWorkspace, made: DraftDetail) -> None:
    drafts = workspace.drafts
    drafts.confirm(made.id, None)
    config_id = drafts.save_config(made.id, "Arm", "of the lab")
    config = workspace.configs.get(config_id)
    assert (config.name, config.description, config.draft_count) == ("Arm", "of the lab", 1)
    assert config.resolved_spec == document().spec
    saved = drafts.get(made.id)
    assert (saved.status, saved.saved_config_id) == ("saved", config_id)
    assert (config.latest_preview, config.latest_preview_available) == (RESULT, True)
    assert config.latest_preview_updated_at == made.revision.updated_at
    assert config.draft_revisions == saved.revisions
    (listed,) = workspace.configs.list().items
    assert (listed.latest_preview_available, listed.latest_preview_updated_at) == (True, made.revision.updated_at)
    again = drafts.create(made.source_asset_id or "", new(GOOD))
    drafts.confirm(again.id, None)
    with pytest.raises(HephaesError, match="with the name arm already exists") as refusal:
        drafts.save_config(again.id, "arm", None)
    assert refusal.value.kind == "config_name_taken"
    assert drafts.get(again.id).status == "confirmed"


def test_a_config_tells_of_every_revision_of_its_draft(workspace: OpenWorkspace, made: DraftDetail) -> None:
    drafts, later = workspace.drafts, GOOD | {"first_row": 7}
    drafts.update(made.id, document("/odom"), "second")
    drafts.save_preview(made.id, 2, {}, later)
    drafts.confirm(made.id, None)
    config = workspace.configs.get(drafts.save_config(made.id, "Arm", None))
    assert config.draft_revisions == drafts.get(made.id).revisions
    assert [(each.revision_number, len(each.changes)) for each in config.draft_revisions] == [(2, 2), (1, 0)]
    assert config.latest_preview is not None
    assert config.latest_preview.first_row == 7
    assert workspace.configs.create("other", document()).latest_preview is None


def test_lists_and_filters(workspace: OpenWorkspace, asset: Asset, made: DraftDetail) -> None:
    other = workspace.drafts.create(asset.id, new())
    workspace.drafts.discard(made.id)
    assert [draft.id for draft in workspace.drafts.list().items] == [made.id, other.id]
    assert [draft.id for draft in workspace.drafts.list(sort="created_at").items] == [made.id, other.id]
    assert [draft.id for draft in workspace.drafts.list(DraftFilters(status="draft")).items] == [other.id]
    assert workspace.drafts.list(DraftFilters(asset_id="nobody")).total == 0
    (gone,) = workspace.drafts.list(DraftFilters(status="discarded")).items
    assert gone.discarded_at is not None
    assert workspace.drafts.get(made.id).revision.spec_document_json is not None


Put = Callable[[OpenWorkspace, str], Any]
EVENTS: dict[str, Put] = {
    "update": lambda workspace, draft_id: workspace.drafts.update(draft_id, document("/odom"), None),
    "good_preview": lambda workspace, draft_id: workspace.drafts.save_preview(draft_id, 1, {}, GOOD),
    "bad_preview": lambda workspace, draft_id: workspace.drafts.save_preview(draft_id, 1, {}, BAD),
    "confirm": lambda workspace, draft_id: workspace.drafts.confirm(draft_id, None),
    "save": lambda workspace, draft_id: workspace.drafts.save_config(draft_id, "config", None),
    "discard": lambda workspace, draft_id: workspace.drafts.discard(draft_id),
}
WAYS: dict[DraftStatus, tuple[str, ...]] = {
    "draft": (),
    "confirmed": ("confirm",),
    "saved": ("confirm", "save"),
    "discarded": ("discard",),
}


@pytest.mark.parametrize("status", get_args(DraftStatus))
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_status(
    workspace: OpenWorkspace, made: DraftDetail, event: str, status: DraftStatus
) -> None:
    for way in WAYS[status]:
        EVENTS[way](workspace, made.id)
    expected = MOVES[event].get(status)  # type: ignore[call-overload]
    if expected is None:
        with pytest.raises(HephaesError, match=f"the draft is {status}") as refusal:
            EVENTS[event](workspace, made.id)
        assert refusal.value.kind == "draft_state"
        expected = status
    else:
        EVENTS[event](workspace, made.id)
    assert workspace.drafts.get(made.id).status == expected


def test_a_draft_that_does_not_exist(workspace: OpenWorkspace) -> None:
    for event, put in EVENTS.items():
        with pytest.raises(HephaesError, match="no draft has the id nobody") as refusal:
            put(workspace, "nobody")
        assert refusal.value.kind == "draft_not_found", event
