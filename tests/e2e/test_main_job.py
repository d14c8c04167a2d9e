"""From nothing to a dataset, over real pipes."""

import base64
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import samples, write_bag, write_mcap

pytestmark = pytest.mark.e2e

FINAL = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One log of each container."""
    folder = tmp_path_factory.mktemp("logs")
    return {
        "bag": write_bag(folder / "drive.bag", samples(300, ros=1), compression="lz4"),
        "mcap": write_mcap(folder / "drive.mcap", samples(300), compression="zstd"),
    }


@pytest.fixture
def ready(hephaes_sidecar: Sidecar, tmp_path: Path) -> Sidecar:
    """A sidecar with an active workspace."""
    hephaes_sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    return hephaes_sidecar


def indexed(sidecar: Sidecar, log: Path) -> str:
    """The id of a log that is registered and indexed now."""
    asset = sidecar.request("assets/register", {"file_path": str(log)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    return str(asset["id"])


def finished(sidecar: Sidecar, job_id: str) -> Any:
    """The job in its final ``jobs/didChange``."""
    changed = sidecar.wait_for("jobs/didChange", lambda p: p["job"]["id"] == job_id and p["job"]["status"] in FINAL, 60)
    return changed["job"]


def convert(sidecar: Sidecar, asset_ids: list[str], **params: Any) -> tuple[Any, Any]:
    """A finished conversion and its job."""
    made = sidecar.request("conversions/create", {"asset_ids": asset_ids, **params})
    job = finished(sidecar, made["job_id"])
    return sidecar.request("conversions/get", {"conversion_id": made["id"]}), job


@pytest.mark.parametrize("container", ["bag", "mcap"])
@pytest.mark.parametrize("output_format", ["parquet", "tfrecord"])
def test_log_to_dataset(
    ready: Sidecar, logs: dict[str, Path], tmp_path: Path, container: str, output_format: str
) -> None:
    log = logs[container]
    asset = ready.request("assets/register", {"file_path": str(log)})
    assert (asset["indexing_status"], asset["file_path"]) == ("pending", str(log))

    detail = ready.request("assets/index", {"asset_id": asset["id"], "workDoneToken": "t"})
    metadata = detail["metadata"]
    assert detail["asset"]["indexing_status"] == "indexed"
    assert (metadata["message_count"], metadata["topic_count"]) == (300, 4)
    assert {topic["name"] for topic in metadata["topics"]} == {"/chatter", "/imu", "/joints", "/blob"}
    assert metadata["start_ns"] == int(metadata["start_ns_str"])
    assert {job["type"] for job in detail["related_jobs"]} <= {"index", "analyze"}
    (index,) = (job for job in detail["related_jobs"] if job["type"] == "index")
    assert index["config_json"] == {"execution": "worker", "trigger": "index_asset"}
    values = [p["value"] for p in ready.notifications("$/progress")]
    assert [values[0]["kind"], values[-1]["kind"]] == ["begin", "end"]

    made = ready.request("conversions/create", {"asset_ids": [asset["id"]], "output": {"format": output_format}})
    assert made["status"] in ("queued", "running")
    assert made["output_files"] == []
    root = tmp_path / "workspace/.hephaes/outputs" / made["id"]
    assert made["output_path"] == str(root)
    assert made["config"]["mapping_mode"] == "auto"
    assert made["config"]["mapping"] == {name: [f"/{name}"] for name in ("blob", "chatter", "imu", "joints")}
    assert made["config"]["output"]["compression"] == "none"
    assert made["config"]["resample"] is None
    assert made["config"]["write_manifest"] is True

    job = finished(ready, made["job_id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["progress"]["percentage"] == 100
    told = [p for p in ready.notifications("jobs/progress") if p["job_id"] == job["id"]]
    steps = [p["percentage"] for p in told]
    assert steps == sorted(steps)
    assert steps[-1] == 100

    done = ready.request("conversions/get", {"conversion_id": made["id"]})
    assert done["status"] == "succeeded"
    assert done["output_files"] == sorted(str(path) for path in root.iterdir())
    page = ready.request("outputs/list", {"conversion_id": made["id"]})
    assert page["total"] == len(done["output_files"])
    (dataset,) = (item for item in page["items"] if item["role"] == "dataset")
    assert (dataset["format"], dataset["file_name"]) == (output_format, f"episode_0001.{output_format}")
    assert dataset["asset_ids"] == [asset["id"]]
    assert dataset["metadata"]["manifest"]["episode_id"] == "episode_0001"
    assert {item["role"] for item in page["items"]} >= {"dataset", "manifest"}

    output = ready.request("outputs/get", {"output_id": dataset["id"]})
    path = Path(output["file_path"])
    assert path.stat().st_size == output["size_bytes"]
    content = ready.request("outputs/content", {"output_id": dataset["id"]})
    assert base64.b64decode(content["data_base64"]) == path.read_bytes()
    assert content["eof"] is True
    if output_format == "parquet":
        table = pq.read_table(path)
        assert table.column_names == ["timestamp_ns", "blob", "chatter", "imu", "joints"]
        assert sum(len(table[name]) - table[name].null_count for name in table.column_names[1:]) <= 300
    ready.wait_for("outputs/didChange", lambda p: dataset["id"] in (p["ids"] or ()))
    order = [
        (m["method"], m["params"].get("percentage"), (m["params"].get("job") or {}).get("status"))
        for m in ready.messages
        if m.get("method") in ("jobs/progress", "jobs/didChange")
        and (m["params"].get("job_id") or m["params"]["job"]["id"]) == job["id"]
    ]
    assert order[-2:] == [("jobs/progress", 100, "succeeded"), ("jobs/didChange", None, "succeeded")] or order[-2:] == [
        ("jobs/progress", 100, None),
        ("jobs/didChange", None, "succeeded"),
    ]


def test_mapping_resampling_and_options(ready: Sidecar, logs: dict[str, Path]) -> None:
    asset_ids = [indexed(ready, logs["bag"]), indexed(ready, logs["mcap"])]
    conversion, job = convert(
        ready,
        asset_ids,
        mapping={"imu": ["/nowhere", "/imu"], "text": ["/chatter"]},
        output={"format": "parquet", "compression": "zstd", "row_group_rows": 100},
        resample={"freq_hz": 100, "method": "interpolate"},
        write_manifest=False,
    )
    assert job["status"] == "succeeded", job["error"]
    assert conversion["asset_ids"] == asset_ids
    assert conversion["config"]["mapping_mode"] == "custom"
    assert [Path(path).name for path in conversion["output_files"]] == ["episode_0001.parquet", "episode_0002.parquet"]
    for path in conversion["output_files"]:
        file = pq.ParquetFile(path)
        assert file.schema_arrow.names == ["timestamp_ns", "imu", "text"]
        groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        assert groups[:-1] == [100] * (len(groups) - 1)
        times = file.read(["timestamp_ns"])["timestamp_ns"].to_pylist()
        assert {b - a for a, b in itertools.pairwise(times)} == {10_000_000}


def test_tfrecord_policy_and_topics_layout(ready: Sidecar, logs: dict[str, Path]) -> None:
    asset_id = indexed(ready, logs["mcap"])
    legacy, job = convert(ready, [asset_id], output={"format": "tfrecord", "image_payload_contract": "legacy_list_v1"})
    assert job["status"] == "succeeded", job["error"]
    policy = legacy["representation_policy"]
    assert policy["requested_image_payload_contract"] == policy["image_payload_contract"] == "legacy_list_v1"
    assert policy["compatibility_markers"] == ["legacy_list_image_payload"]
    assert len(policy["warnings"]) == 1
    assert legacy["config"]["representation_policy"]["effective_image_payload_contract"] == "legacy_list_v1"
    topics, job = convert(ready, [asset_id], output={"format": "parquet", "layout": "topics"}, mapping=None)
    assert job["status"] == "succeeded", job["error"]
    datasets = [Path(path) for path in topics["output_files"] if path.endswith(".parquet")]
    assert sum(pq.read_metadata(path).num_rows for path in datasets) == 300
    page = ready.request("conversions/list", {"legacy_compatible": True})
    assert [item["id"] for item in page["items"]] == [legacy["id"]]
    page = ready.request("conversions/list", {"image_payload_contract": "nothing"})
    assert page["items"] == []
    assert [item["id"] for item in ready.request("conversions/list")["items"]] == [topics["id"], legacy["id"]]


def test_a_damaged_log_fails_and_says_why(ready: Sidecar, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no log at all")
    asset = ready.request("assets/register", {"file_path": str(broken)})
    with pytest.raises(RpcError) as error:
        ready.request("assets/index", {"asset_id": asset["id"]})
    assert (error.value.code, error.value.data["kind"]) == (422, "bad_input")
    detail = ready.request("assets/get", {"asset_id": asset["id"]})
    assert detail["asset"]["indexing_status"] == "failed"
    assert detail["metadata"]["indexing_error"] == error.value.message
    job = ready.request("jobs/get", {"job_id": error.value.data["job_id"]})
    assert (job["status"], job["error_message"]) == ("failed", error.value.message)
    with pytest.raises(RpcError) as error:
        ready.request("conversions/create", {"asset_ids": [asset["id"]]})
    assert (error.value.code, error.value.data["kind"]) == (422, "asset_not_indexed")


def test_a_vanished_log(ready: Sidecar, tmp_path: Path, logs: dict[str, Path]) -> None:
    log = tmp_path / "gone.mcap"
    log.write_bytes(logs["mcap"].read_bytes())
    asset_id = indexed(ready, log)
    log.unlink()
    with pytest.raises(RpcError) as error:
        ready.request("assets/index", {"asset_id": asset_id})
    assert (error.value.code, error.value.data["kind"]) == (422, "asset_unavailable")
    conversion, job = convert(ready, [asset_id])
    assert (job["status"], job["error"]["kind"]) == ("failed", "asset_unavailable")
    assert conversion["status"] == "failed"
    assert conversion["error_message"] == job["error_message"]


def test_the_same_asset_is_indexed_once_at_a_time(ready: Sidecar, long_log: Path) -> None:
    asset = ready.request("assets/register", {"file_path": str(long_log)})
    waiting = [ready.start("assets/index", {"asset_id": asset["id"]}) for _ in range(4)]
    details = [ready.result(request) for request in waiting]
    assert all(detail["asset"]["indexing_status"] == "indexed" for detail in details)
    assert ready.request("jobs/list", {"type": "index"})["total"] == 1


def test_reindex_all(ready: Sidecar, logs: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.bag"
    broken.write_bytes(b"#ROSBAG V2.0\nrubbish")
    order = [logs["mcap"], broken, logs["bag"]]
    ids = [ready.request("assets/register", {"file_path": str(path)})["id"] for path in order]
    result = ready.request("assets/reindexAll", {"workDoneToken": 7})
    assert [asset["id"] for asset in result["indexed_assets"]] == [ids[0], ids[2]]
    assert [asset["id"] for asset in result["failed_assets"]] == [ids[1]]
    assert result["total_requested"] == 3
    assert {p["value"]["kind"] for p in ready.notifications("$/progress")} >= {"begin", "end"}
    again = ready.request("assets/reindexAll", {})
    assert ([asset["id"] for asset in again["failed_assets"]], again["total_requested"]) == ([ids[1]], 1)
    jobs = ready.request("jobs/list", {"asset_id": ids[1]})["items"]
    assert [job["config_json"]["trigger"] for job in jobs] == ["reindex_all", "reindex_all"]


def test_cancelled_conversion_leaves_nothing_and_can_be_retried(ready: Sidecar, long_log: Path) -> None:
    asset_id = indexed(ready, long_log)
    output = {"format": "tfrecord", "compression": "gzip"}
    made = ready.request("conversions/create", {"asset_ids": [asset_id], "output": output})
    ready.wait_for("jobs/progress", lambda p: p["job_id"] == made["job_id"] and p["phase"] == "decode")
    began = time.monotonic()
    job = ready.request("jobs/cancel", {"job_id": made["job_id"]})
    took_s = time.monotonic() - began
    assert job["status"] == "cancelled"
    assert took_s < 1
    folder = Path(made["output_path"])
    assert not folder.exists() or list(folder.iterdir()) == []
    assert ready.request("outputs/list")["items"] == []
    with pytest.raises(RpcError) as error:
        ready.request("jobs/cancel", {"job_id": made["job_id"]})
    assert (error.value.code, error.value.data["kind"]) == (409, "job_already_finished")

    retry = ready.request("jobs/retry", {"job_id": made["job_id"]})
    assert retry["retry_of"] == made["job_id"]
    assert retry["id"] != made["job_id"]
    assert finished(ready, retry["id"])["status"] == "succeeded"
    conversion = ready.request("conversions/get", {"conversion_id": made["id"]})
    assert (conversion["status"], conversion["job_id"]) == ("succeeded", retry["id"])
    with pytest.raises(RpcError) as error:
        ready.request("jobs/retry", {"job_id": retry["id"]})
    assert error.value.code == 409


def spare_worker(sidecar: Sidecar) -> int:
    """Process id of the one worker that waits for work."""
    until = time.monotonic() + 10
    while len(children := sidecar.children()) != 1:
        assert time.monotonic() < until, f"workers: {children}"
        time.sleep(0.02)
    return children[0]


def test_a_cancelled_index_request(ready: Sidecar, logs: dict[str, Path]) -> None:
    asset = ready.request("assets/register", {"file_path": str(logs["mcap"])})
    os.kill(spare_worker(ready), signal.SIGSTOP)
    waiting = ready.start("assets/index", {"asset_id": asset["id"], "workDoneToken": "w"})
    job = ready.wait_for("jobs/didChange", lambda p: p["job"]["status"] == "running")["job"]
    assert ready.request("assets/get", {"asset_id": asset["id"]})["asset"]["indexing_status"] == "indexing"
    began = time.monotonic()
    ready.cancel(waiting)
    with pytest.raises(RpcError) as error:
        ready.result(waiting)
    assert error.value.code == -32800
    assert time.monotonic() - began < 1
    assert ready.request("jobs/get", {"job_id": job["id"]})["status"] == "cancelled"
    assert ready.request("assets/get", {"asset_id": asset["id"]})["asset"]["indexing_status"] == "pending"
    assert ready.notifications("$/progress")[-1]["value"]["kind"] == "end"
    assert ready.request("assets/index", {"asset_id": asset["id"]})["asset"]["indexing_status"] == "indexed"


def test_a_shared_index_goes_on_for_the_one_that_still_waits(ready: Sidecar, logs: dict[str, Path]) -> None:
    asset = ready.request("assets/register", {"file_path": str(logs["bag"])})
    worker = spare_worker(ready)
    os.kill(worker, signal.SIGSTOP)
    one, other = (ready.start("assets/index", {"asset_id": asset["id"]}) for _ in range(2))
    ready.wait_for("jobs/didChange", lambda p: p["job"]["status"] == "running")
    ready.request("jobs/list")  # the second request has then been taken, too
    ready.cancel(one)
    assert ready.response(one)["error"]["code"] == -32800
    os.kill(worker, signal.SIGCONT)
    assert ready.result(other)["asset"]["indexing_status"] == "indexed"
    assert [job["status"] for job in ready.request("jobs/list", {"type": "index"})["items"]] == ["succeeded"]


def test_a_cancelled_reindex_keeps_what_is_finished(ready: Sidecar, logs: dict[str, Path]) -> None:
    order = [logs["mcap"], logs["bag"]]
    ids = [ready.request("assets/register", {"file_path": str(path)})["id"] for path in order]
    os.kill(spare_worker(ready), signal.SIGSTOP)
    waiting = ready.start("assets/reindexAll", {})
    ended = ready.wait_for("jobs/didChange", lambda p: p["job"]["status"] == "succeeded")["job"]
    ready.cancel(waiting)
    assert ready.response(waiting)["error"]["code"] == -32800
    states = {item["id"]: item["indexing_status"] for item in ready.request("assets/list")["items"]}
    (finished_id,) = ended["target_asset_ids_json"]
    assert states == {asset_id: "indexed" if asset_id == finished_id else "pending" for asset_id in ids}
    jobs = ready.request("jobs/list", {"type": "index"})["items"]
    assert {job["status"] for job in jobs} == {"succeeded", "cancelled"}


def test_other_requests_answer_while_a_conversion_runs(ready: Sidecar, long_log: Path) -> None:
    asset_id = indexed(ready, long_log)
    output = {"format": "tfrecord", "compression": "gzip"}
    made = ready.request("conversions/create", {"asset_ids": [asset_id], "output": output})
    ready.wait_for("jobs/progress", lambda p: p["job_id"] == made["job_id"] and p["phase"] == "decode")
    took: list[float] = []
    while len(took) < 100 and ready.request("jobs/get", {"job_id": made["job_id"]})["status"] == "running":
        for method in ("health", "assets/list"):
            began = time.perf_counter()
            ready.request(method, {})
            took.append(time.perf_counter() - began)
    assert len(took) >= 20, "the conversion was too short for this test"
    took.sort()
    p99 = took[int(0.99 * len(took))]
    print(f"\nhealth and assets/list beside a conversion: p99 {1000 * p99:.1f} ms, worst {1000 * took[-1]:.1f} ms")
    assert p99 < 1
    assert finished(ready, made["job_id"])["status"] == "succeeded"


def test_outputs_that_vanish_and_return(ready: Sidecar, logs: dict[str, Path]) -> None:
    conversion, _ = convert(ready, [indexed(ready, logs["mcap"])])
    page = ready.request("outputs/list", {"role": " DATASET "})
    (dataset,) = page["items"]
    path = Path(ready.request("outputs/get", {"output_id": dataset["id"]})["file_path"])
    hidden = path.with_name("elsewhere")
    path.rename(hidden)
    (missing,) = ready.request("outputs/list", {"role": "dataset"})["items"]
    assert (missing["availability_status"], missing["size_bytes"]) == ("missing", 0)
    ready.wait_for("outputs/didChange", lambda p: p["reason"] == "refreshed" and p["ids"] == [dataset["id"]])
    with pytest.raises(RpcError) as error:
        ready.request("outputs/content", {"output_id": dataset["id"]})
    assert (error.value.code, error.value.data["kind"]) == (404, "output_unavailable")
    assert dataset["id"] in error.value.message
    os.mkfifo(path)
    with pytest.raises(RpcError) as error:
        ready.request("outputs/content", {"output_id": dataset["id"]})
    assert error.value.data["kind"] == "output_unavailable"
    path.unlink()
    hidden.rename(path)
    assert ready.request("outputs/get", {"output_id": dataset["id"]})["availability_status"] == "ready"
    parts = []
    while not parts or not parts[-1]["eof"]:
        offset = sum(len(base64.b64decode(part["data_base64"])) for part in parts)
        parts.append(ready.request("outputs/content", {"output_id": dataset["id"], "offset": offset, "length": 10_000}))
    assert b"".join(base64.b64decode(part["data_base64"]) for part in parts) == path.read_bytes()
    beyond = ready.request("outputs/content", {"output_id": dataset["id"], "offset": 1 << 40})
    assert (beyond["data_base64"], beyond["eof"]) == ("", True)
    assert conversion["status"] == "succeeded"


def test_work_is_there_after_a_restart(spawn: SpawnSidecar, logs: dict[str, Path], tmp_path: Path) -> None:
    first = spawn(tmp_path / "data")
    first.initialize()
    first.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    conversion, _ = convert(first, [indexed(first, logs["mcap"])])
    assert first.shutdown() == 0
    second = spawn(tmp_path / "data")
    second.initialize()
    assert second.request("conversions/get", {"conversion_id": conversion["id"]}) == conversion
    assert second.request("assets/list")["total"] == 1


@pytest.mark.parametrize("container", ["bag", "mcap"])
def test_independent_client(logs: dict[str, Path], container: str) -> None:
    """The editor-style client of another implementation goes through the main job."""
    client = os.environ.get("HEPHAES_NODE_CLIENT")
    if not client:
        pytest.skip("needs the node client: set HEPHAES_NODE_CLIENT to its drive.mjs, its modules installed beside it")
    drive = subprocess.run(
        ["node", client, "--log", str(logs[container]), "--", sys.executable, "-m", "hephaes_rpc", "serve"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert drive.stdout.rstrip().endswith("all ok"), drive.stdout + drive.stderr
