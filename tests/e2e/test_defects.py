"""Those of the REST backend's defects (reference/rest-surface.md, 8.1) that only a conversion shows, one test each."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mcap.writer import Writer

from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import START_NS, Sample, samples, write_mcap

pytestmark = pytest.mark.e2e


@pytest.fixture
def sidecar(common: Sidecar) -> Sidecar:
    """The sidecar of the module."""
    return common


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


def test_9_a_mapping_may_repeat_a_topic_and_is_told_of_unknown_ones(sidecar: Sidecar, asset_id: str) -> None:
    with pytest.raises(RpcError, match="/nowhere") as error:
        sidecar.request("conversions/create", {"asset_ids": [asset_id], "mapping": {"a": ["/nowhere"]}})
    assert (error.value.code, error.value.data["kind"]) == (422, "invalid_spec")
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


def test_11_topics_without_fields_do_not_keep_others_from_a_draft(
    sidecar: Sidecar, asset_id: str, tmp_path: Path
) -> None:
    del asset_id
    path = tmp_path / "empty.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        for type_name, topic, payload in (
            ("std_msgs/msg/Empty", "/pulse", b"\0\1\0\0\0"),
            ("std_msgs/msg/Int32", "/count", b"\0\1\0\0\7\0\0\0"),
        ):
            schema = writer.register_schema(type_name, "ros2msg", b"" if "Empty" in type_name else b"int32 data")
            channel = writer.register_channel(topic, "cdr", schema)
            for n in range(20):
                writer.add_message(channel, START_NS + n * 10_000_000, payload, START_NS)
        writer.finish()
    asset = sidecar.request("assets/register", {"file_path": str(path)})
    request = {"selected_topics": ["/pulse", "/count"], "preview_rows": 2}
    drafted = sidecar.request("conversions/draft", {"asset_id": asset["id"], "draft_request": request})["draft"]
    assert "/count" in [feature["source"]["topic"] for feature in drafted["spec"]["features"].values()]
    assert [row["field_data"]["count"] for row in drafted["preview"]["rows"]] == [7, 7]


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


def test_15_params_of_an_inspection_that_are_no_text_are_named(sidecar: Sidecar, asset_id: str) -> None:
    params = {"asset_id": asset_id, "topics": ["/imu", 7, None], "topic_type_hints": {"/imu": 3}}
    with pytest.raises(RpcError) as error:
        sidecar.request("conversions/inspect", params)
    assert error.value.code == -32602
    issues = {issue["path"]: issue for issue in error.value.data["errors"]}
    assert set(issues) == {"topics[1]", "topics[2]", "topic_type_hints./imu"}
    assert (issues["topics[1]"]["expected"], issues["topics[1]"]["got"]) == ("string", "7")
