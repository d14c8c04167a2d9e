"""Those of the REST backend's defects (reference/rest-surface.md, 8.1) that only a conversion shows, one test each."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import START_NS, Sample, samples, write_mcap

pytestmark = pytest.mark.e2e


@pytest.fixture
def asset_id(sidecar: Sidecar, tmp_path: Path) -> str:
    """An indexed log with the topics of the factories."""
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    path = write_mcap(tmp_path / "drive.mcap", samples(120))
    asset = sidecar.request("assets/register", {"file_path": str(path)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    return str(asset["id"])


def converted(sidecar: Sidecar, asset_id: str, spec: dict[str, Any]) -> tuple[Any, Path | None]:
    """The job of a conversion by a spec, and its dataset."""
    made = sidecar.request("conversions/create", {"asset_ids": [asset_id], "spec": spec})
    job = sidecar.wait_for_job(made["job_id"])
    found = sidecar.request("outputs/list", {"conversion_id": made["id"], "role": "dataset"})["items"]
    return job, Path(made["output_path"]) / found[0]["relative_path"] if found else None


def path_feature(topic: str, field_path: str | None, dtype: str, **more: Any) -> dict[str, Any]:
    source = {"kind": "path", "topic": topic} | ({"field_path": field_path} if field_path else {})
    return {"source": source, "dtype": dtype, **more}


def test_9_a_topic_may_serve_two_fields(sidecar: Sidecar, asset_id: str) -> None:
    made = sidecar.request("conversions/create", {"asset_ids": [asset_id], "mapping": {"a": ["/imu"], "b": ["/imu"]}})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"


def test_10_bytes_may_stand_in_for_absent_messages(sidecar: Sidecar, asset_id: str) -> None:
    spec = {
        "row_strategy": {
            "kind": "trigger",
            "trigger_topic": "/imu",
            "joins": [{"topic": "/blob", "missing": "zeros", "staleness_ns": 1}],
        },
        "features": {"blob": path_feature("/blob", "data", "bytes", missing="zeros")},
        "output": {"format": "parquet"},
    }
    job, dataset = converted(sidecar, asset_id, spec)
    assert job["status"] == "succeeded", job["error"]
    assert dataset is not None
    assert b"" in pq.read_table(dataset)["blob"].to_pylist()


def test_12_a_row_per_message_of_an_absent_topic_is_refused(sidecar: Sidecar, asset_id: str) -> None:
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/absent"},
        "features": {"x": path_feature("/absent", "x", "float64")},
    }
    with pytest.raises(RpcError, match="/absent") as error:
        converted(sidecar, asset_id, spec)
    assert (error.value.code, error.value.data["kind"]) == (422, "invalid_spec")


def test_13_features_of_messages_are_interpolated(sidecar: Sidecar, tmp_path: Path, asset_id: str) -> None:
    del asset_id
    imu = samples(3, topics=("/imu",))
    spaced = [Sample(s.topic, START_NS + k * 1_000_000_000, s.payload) for k, s in enumerate(imu)]
    path = write_mcap(tmp_path / "three.mcap", spaced)
    asset = sidecar.request("assets/register", {"file_path": str(path)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    spec = {
        "row_strategy": {"kind": "resample", "freq_hz": 2.0, "method": "interpolate", "topics": ["/imu"]},
        "features": {"z": path_feature("/imu", "orientation.z", "float64")},
        "output": {"format": "parquet"},
    }
    job, dataset = converted(sidecar, asset["id"], spec)
    assert job["status"] == "succeeded", job["error"]
    assert dataset is not None
    values = pq.read_table(dataset)["z"].to_pylist()
    assert len(values) == 5
    assert values[1] == pytest.approx((values[0] + values[2]) / 2)
    assert values[3] == pytest.approx((values[2] + values[4]) / 2)
    assert len(set(values)) == 5


def test_14_whole_messages_go_to_tfrecord(sidecar: Sidecar, asset_id: str) -> None:
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/imu"},
        "features": {"imu": path_feature("/imu", None, "json")},
        "output": {"format": "tfrecord"},
    }
    job, dataset = converted(sidecar, asset_id, spec)
    assert job["status"] == "succeeded", job["error"]
    assert dataset is not None
    (output,) = sidecar.request("outputs/list", {"role": "dataset"})["items"]
    row = sidecar.request("outputs/rows", {"output_id": output["id"], "limit": 1})["items"][0]
    assert "orientation" in row["imu"]
