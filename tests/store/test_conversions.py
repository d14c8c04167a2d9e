import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.jobs import JobError
from hephaes_rpc.store.values import new_id
from hephaes_rpc.store.workspace import OpenWorkspace


def test_a_conversion_comes_with_its_job(workspace: OpenWorkspace, asset: Asset) -> None:
    conversion_id = new_id()
    folder = str(workspace.outputs_dir / conversion_id)
    made = workspace.conversions.create(
        [asset.id], {"mapping_mode": "auto"}, {"spec": {}}, output_path=folder, conversion_id=conversion_id
    )
    assert made == workspace.conversions.get(conversion_id)
    assert (made.id, made.status, made.asset_ids, made.output_path) == (conversion_id, "queued", [asset.id], folder)
    assert (made.config, made.output_files, made.error_message) == ({"mapping_mode": "auto"}, [], None)
    assert made.job == workspace.jobs.get(made.job_id)
    assert (made.job.type, made.job.output_path) == ("convert", folder)
    assert made.job.config_json == {"output_path": folder, "mapping_mode": "auto"}
    assert workspace.jobs.payload(made.job_id) == {"spec": {}}
    assert workspace.conversions.of_job(made.job_id) == conversion_id
    assert workspace.conversions.of_job("nobody") is None


def test_it_is_made_whole_or_not_at_all(workspace: OpenWorkspace, asset: Asset) -> None:
    for asset_ids in ([asset.id, "nobody"], ["nobody"]):
        with pytest.raises(HephaesError, match="no asset has the id nobody"):
            workspace.conversions.create(asset_ids, {}, {}, output_path="/x")
    assert workspace.conversions.list().total == workspace.jobs.list().total == 0
    with pytest.raises(HephaesError, match="no conversion has the id nobody") as refusal:
        workspace.conversions.get("nobody")
    assert refusal.value.kind == "conversion_not_found"


def test_its_status_is_that_of_its_job(workspace: OpenWorkspace, asset: Asset) -> None:
    made = workspace.conversions.create([asset.id], {}, {}, output_path=str(workspace.outputs_dir / "x"))
    workspace.jobs.claim_job(made.job_id, "me")
    assert workspace.conversions.get(made.id).status == "running"
    workspace.jobs.transition(made.job_id, expect=("running",), to="failed", error=JobError("bad_input", "cut off"))
    failed = workspace.conversions.get(made.id)
    assert (failed.status, failed.error_message) == ("failed", "cut off")
    assert failed.updated_at == failed.job.updated_at > made.updated_at
    (listed,) = workspace.conversions.list().items
    assert (listed.status, listed.error_message, listed.updated_at) == ("failed", "cut off", failed.updated_at)


def test_a_retry_takes_the_conversion_over(workspace: OpenWorkspace, asset: Asset) -> None:
    made = workspace.conversions.create([asset.id], {}, {"p": 1}, output_path=str(workspace.outputs_dir / "x"))
    workspace.jobs.transition(made.job_id, expect=("queued",), to="cancelled")
    retry = workspace.jobs.create("convert", [asset.id], {}, {"p": 1}, retry_of=made.job_id)
    assert retry.retry_of == made.job_id
    again = workspace.conversions.get(made.id)
    assert (again.job_id, again.status) == (retry.id, "queued")
    assert workspace.conversions.of_job(made.job_id) == workspace.conversions.of_job(retry.id) == made.id
    moved = workspace.conversions.move_to_job(made.id, made.job_id)
    assert (moved.job_id, moved.status) == (made.job_id, "cancelled")
    with pytest.raises(HephaesError, match="no conversion has the id nobody"):
        workspace.conversions.move_to_job("nobody", retry.id)
