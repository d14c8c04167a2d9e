"""Saved configs over real pipes: kept, found again, run by name, seen by another sidecar."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar
from tests.e2e.test_main_job import convert, indexed
from tests.factories import samples, write_mcap

pytestmark = pytest.mark.e2e

SPEC = {
    "schema": {"name": "chat", "version": 3},
    "row_strategy": {"kind": "per-message", "topic": "/chatter"},
    "features": {"text": {"source": {"topic": "/chatter", "field_path": "data"}, "dtype": "native"}},
    "output": {"format": "parquet"},
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a topic of texts."""
    return write_mcap(tmp_path_factory.mktemp("logs") / "drive.mcap", samples(300))


def test_a_config_outlives_the_sidecar_and_makes_a_dataset(spawn: SpawnSidecar, log: Path, tmp_path: Path) -> None:
    with spawn(data_dir=tmp_path / "data") as first:
        first.initialize()
        first.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
        made = first.request("conversionConfigs/create", {"name": "Chat", "spec": SPEC, "metadata": {"by": "us"}})
        told = first.wait_for("conversionConfigs/didChange", lambda p: p["reason"] == "created")
        assert told["ids"] == [made["id"]]
        assert first.shutdown() == 0
    with spawn(data_dir=tmp_path / "data") as second:
        second.initialize()
        assert second.request("conversionConfigs/get", {"config_id": "chat"}) == made
        conversion, job = convert(second, [indexed(second, log)], saved_config_id="CHAT")
        assert (conversion["status"], conversion["config"]["saved_config_id"]) == ("succeeded", made["id"])
        assert job["config_json"]["saved_config_revision_number"] == 1
        (dataset,) = [path for path in conversion["output_files"] if path.endswith(".parquet")]
        assert set(pq.read_table(dataset).column_names) >= {"text"}
        (manifest,) = [path for path in conversion["output_files"] if path.endswith(".manifest.json")]
        assert '"by": "us"' in Path(manifest).read_text()
        second.wait_for("conversionConfigs/didChange", lambda p: p["ids"] == [made["id"]])
        assert second.request("conversionConfigs/get", {"config_id": "chat"})["last_opened_at"] is not None
        assert second.shutdown() == 0


def test_two_sidecars_share_configs(spawn: SpawnSidecar, tmp_path: Path) -> None:
    with spawn(data_dir=tmp_path / "one") as one, spawn(data_dir=tmp_path / "two") as two:
        for each in (one, two):
            each.initialize(initializationOptions={"workspace_root": str(tmp_path / "workspace")})
        made = one.request("conversionConfigs/create", {"name": "Chat", "spec": SPEC})
        with pytest.raises(RpcError) as error:
            two.request("conversionConfigs/create", {"name": "CHAT", "spec": SPEC})
        assert error.value.data["config_id"] == made["id"]
        updated = two.request("conversionConfigs/update", {"config_id": "chat", "description": "theirs"})
        again = one.request("conversionConfigs/update", {"config_id": "chat", "name": "Ours"})
        assert (updated["revision_count"], again["revision_count"]) == (2, 3)
        assert [each["revision_number"] for each in again["revisions"]] == [3, 2, 1]
        assert two.request("conversionConfigs/list", {})["items"][0]["name"] == "Ours"


def test_big_integers_survive_the_way_there_and_back(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    spec = {**SPEC, "input": {"start_ns": 1_700_000_000_123_456_789}}
    made = sidecar.request("conversionConfigs/create", {"name": "a", "spec": spec, "metadata": {"n": 2**63}})
    assert made["resolved_spec"]["input"]["start_ns_str"] == "1700000000123456789"
    assert made["metadata"] == {"n": {"__int64__": str(2**63)}}
    same = {"config_id": "a", "spec": made["resolved_spec"], "metadata": made["metadata"]}
    assert sidecar.request("conversionConfigs/update", same)["changed"] is False
