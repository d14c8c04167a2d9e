"""What went wrong in the REST backend (reference/rest-surface.md, 8.1), one test for each number.

Those of configs are in ``test_defects_configs``, those that take a conversion in ``tests/e2e/test_defects``; 21 and 24
are about origins of pages and polls of health, which stdio does not have.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from hephaes_rpc.engine.specs.spec import TFRecordOutput
from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.jobs import records
from hephaes_rpc.methods.conversions import representation_policy
from hephaes_rpc.serde import unstructure
from tests.methods.conftest import Table
from tests.methods.test_conversion_configs import create
from tests.methods.test_conversions import add, topic


def queued(table: Table, name: str = "a.bag") -> Any:
    """A conversion whose job waits: nothing runs here."""
    asset_id = add(table, name, topic("/t"))
    workspace = table.app.store.workspace(None)
    folder = workspace.outputs_dir / name
    return workspace.conversions.create([asset_id], {}, {"assets": []}, output_path=str(folder))


def published(table: Table, name: str = "a.bag") -> Any:
    """A conversion with one output."""
    conversion = queued(table, name)
    folder = Path(conversion.output_path)
    folder.mkdir()
    (folder / "x.parquet").write_bytes(b"1234")
    file = {"path": str(folder / "x.parquet"), "size_bytes": 4}
    table.app.store.workspace(None).outputs.publish(conversion.id, conversion.job_id, conversion.asset_ids, [file])
    return conversion


def test_every_number_has_one_test() -> None:
    folder = Path(__file__).parent
    files = [*folder.glob("test_defects*.py"), folder.parent / "e2e" / "test_defects.py"]
    numbers = [int(n) for file in files for n in re.findall(r"^def test_(\d+)_", file.read_text(), re.MULTILINE)]
    assert sorted(numbers) == sorted(set(range(1, 26)) - {21, 24})


def test_1_the_dashboard_counts_queued_conversions(table: Table) -> None:
    queued(table)
    summary = table.call("dashboard/summary")
    assert summary["conversions"]["status_counts"]["queued"] == 1
    assert summary["jobs"]["active_count"] == 1


def test_2_an_unknown_tag_finds_nothing(table: Table) -> None:
    asset_id = add(table, "a.bag")
    table.call("tags/create", name="t")
    table.call("assets/attachTag", asset_id=asset_id, tag_id="t")
    table.call("assets/detachTag", asset_id=asset_id, tag_id="t")
    page = table.call("assets/list", tag="t")
    assert (page["items"], page["total"], page["next_cursor"]) == ([], 0, None)


def test_3_inverted_ranges_are_refused_with_their_reason(table: Table) -> None:
    for params in (
        {"min_duration": 2, "max_duration": 1},
        {"start_after": "2024-01-02", "start_before": "2024-01-01"},
        {"min_size_bytes": 2, "max_size_bytes": 1},
        {"registered_after": "2024-01-02", "registered_before": "2024-01-01"},
    ):
        with pytest.raises(ParamsError) as error:
            table.call("assets/list", **params)
        assert [each["path"] for each in error.value.errors] == [next(iter(params))]


def test_4_a_vanished_folder_breaks_nothing(table: Table) -> None:
    gone, kept = published(table, "a.bag"), published(table, "b.bag")
    shutil.rmtree(gone.output_path)
    listed = {item["conversion_id"]: item for item in table.call("outputs/list")["items"]}
    assert listed[gone.id]["availability_status"] == "missing"
    assert listed[kept.id]["availability_status"] == "ready"
    output_id = listed[gone.id]["id"]
    assert table.call("outputs/get", output_id=output_id)["size_bytes"] == 0
    with pytest.raises(HephaesError) as error:
        table.call("outputs/content", output_id=output_id)
    assert (error.value.code, error.value.kind) == (404, "output_unavailable")
    assert table.call("dashboard/blockers")["missing_outputs"] == 1
    assert table.call("dashboard/summary")["outputs"]["total_output_bytes"] == 4


def test_6_a_config_that_came_from_a_draft_opens(table: Table) -> None:
    config = create(table, "promoted")
    workspace = table.app.store.workspace(None)
    with workspace.db.write() as session:
        sha256 = session.value("SELECT document_sha256 FROM config_revisions")
        session.run(
            "INSERT INTO drafts (id, created_at, updated_at, saved_config_id) VALUES ('d', 1, 1, ?)", (config["id"],)
        )
        session.run(
            "INSERT INTO draft_revisions (id, draft_id, revision_number, document_sha256, document_version,"
            " draft_request, created_at, updated_at) VALUES ('r', 'd', 1, ?, 2, '{}', 1, 1)",
            (sha256,),
        )
    assert table.call("conversionConfigs/get", config_id=config["id"])["status"] == "ready"
    assert table.call("conversionConfigs/list")["items"][0]["draft_count"] == 1


def test_a_mapping_to_unknown_topics_names_them(table: Table) -> None:
    asset_id = add(table, "a.bag", topic("/t"))
    with pytest.raises(HephaesError) as error:
        table.call("conversions/create", asset_ids=[asset_id], mapping={"x": ["/nothing"]})
    assert (error.value.code, error.value.kind) == (422, "invalid_spec")
    assert "/nothing" in error.value.message


def test_16_what_a_crash_left_behind_is_taken_up_again(table: Table) -> None:
    asset_id = add(table, "a.bag")
    workspace = table.app.store.workspace(None)
    job = workspace.jobs.create("index", [asset_id], {}, {"assets": []})
    workspace.jobs.claim_job(job.id, "a sidecar that is gone")
    workspace.assets.mark_indexing(asset_id)
    (change,) = records.mark_orphans(workspace, lambda _: False)
    assert (change.job.status, change.asset_ids) == ("interrupted", (asset_id,))
    assert table.call("assets/get", asset_id=asset_id)["asset"]["indexing_status"] == "pending"
    (change,) = records.resume_interrupted(workspace)
    assert change.job.status == "queued"


def test_17_a_database_that_is_none_disturbs_nobody(table: Table) -> None:
    broken = table.call("workspaces/create", root_path=str(table.folder / "broken"), activate=False)
    table.app.store.close()
    Path(broken["database_path"]).write_bytes(b"this is no database at all" * 50)
    table.open()
    listed = {item["id"]: item for item in table.call("workspaces/list")["items"]}
    assert listed[broken["id"]]["status"] == "invalid"
    assert listed[broken["id"]]["status_reason"]
    assert table.call("assets/list")["total"] == 0
    with pytest.raises(HephaesError) as error:
        table.call("assets/list", workspace_id=broken["id"])
    assert (error.value.code, error.value.kind) == (409, "workspace_not_ready")
    assert table.call("workspaces/delete", workspace_id=broken["id"]) is None
    assert table.call("workspaces/list")["total"] == 1


def test_18_a_jobs_policy_is_that_of_its_conversion(table: Table) -> None:
    asset_id = add(table, "a.bag", topic("/t"))
    workspace = table.app.store.workspace(None)
    policy = representation_policy(TFRecordOutput(image_payload_contract="legacy_list_v1"))
    made = workspace.conversions.create([asset_id], {}, {}, output_path=str(workspace.outputs_dir / "x"), policy=policy)
    job = table.call("jobs/get", job_id=made.job_id)
    assert job["representation_policy"] == unstructure(policy)
    assert job["representation_policy"]["image_payload_contract"] == "legacy_list_v1"
    assert table.call("conversions/get", conversion_id=made.id)["representation_policy"] == job["representation_policy"]


def test_19_uploads_of_one_name_stay_apart(table: Table) -> None:
    other = table.call("workspaces/create", root_path=str(table.folder / "other"), activate=False)["id"]
    here = table.call("assets/upload", file_name="a.bag", data_base64="QQ==")
    there = table.call("assets/upload", file_name="a.bag", data_base64="QkI=", workspace_id=other)
    assert here["file_path"] != there["file_path"]
    assert Path(here["file_path"]).read_bytes() == b"A"
    Path(here["file_path"]).unlink()
    with pytest.raises(HephaesError) as error:
        table.call("assets/upload", file_name="a.bag", data_base64="Q0ND")
    assert error.value.kind == "asset_already_registered"
    assert not Path(here["file_path"]).exists()
    assert table.call("assets/get", asset_id=here["id"])["asset"]["file_size"] == 1


def test_20_content_is_that_of_the_workspace_that_is_named(table: Table) -> None:
    conversion = published(table)
    output_id = table.call("outputs/list", conversion_id=conversion.id)["items"][0]["id"]
    home = table.call("workspaces/list")["active_workspace_id"]
    other = table.call("workspaces/create", root_path=str(table.folder / "other"))["id"]
    with pytest.raises(HephaesError) as error:
        table.call("outputs/content", output_id=output_id)
    assert error.value.kind == "output_not_found"
    found = table.call("outputs/content", output_id=output_id, workspace_id=home)
    assert (found["size_bytes"], found["eof"]) == (4, True)
    assert table.call("workspaces/list")["active_workspace_id"] == other


def test_22_no_row_can_lack_what_its_list_needs(table: Table) -> None:
    published(table)
    path = table.app.store.workspace(None).db.path
    for sql in (
        "INSERT INTO outputs (id, path, relative_path, file_name, format, role, size_bytes, search_text, created_at,"
        " updated_at) VALUES ('o', 'p', 'p', 'p', 'json', 'sidecar', 1, 'p', 1, 1)",
        "INSERT INTO conversions (id, config, output_path, created_at, updated_at) VALUES ('c', '{}', 'p', 1, 1)",
        "INSERT INTO jobs (id, type, config, payload, max_attempts, created_at, updated_at)"
        " VALUES ('j', 'prepare_visualization', '{}', '{}', 1, 1, 1)",
    ):
        db = apsw.Connection(str(path))
        with pytest.raises(apsw.ConstraintError):
            db.execute(sql).fetchall()
        db.close()
    for name in ("outputs/list", "conversions/list", "jobs/list"):
        assert table.call(name)["total"] == 1
