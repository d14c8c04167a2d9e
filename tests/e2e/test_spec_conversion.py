"""Spec documents from file to dataset: through the sidecar and on the command line, over small real logs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import samples, write_mcap
from tests.reference import tfrecord as twin
from tests.tensorflow_client import TensorFlow

pytestmark = pytest.mark.e2e

FINAL = ("succeeded", "failed", "cancelled")
PROGRAM = [sys.executable, "-m", "hephaes_rpc"]

TURTLES = """
spec_version: 2
metadata: {author: somebody}
spec:
  schema: {name: turtles, version: 3}
  row_strategy:
    kind: trigger
    trigger_topic: /turtle1/pose
    joins:
      - {topic: /turtle1/cmd_vel, staleness_ns: 200000000, required: false, age_column: true}
      - {topic: /turtle2/pose, sync_policy: nearest, tolerance_ns: 20000000, no_future: true, missing: drop}
  features:
    position:
      source:
        kind: stack
        sources: [{topic: /turtle1/pose, field_path: x}, {topic: /turtle1/pose, field_path: y}]
      dtype: float32
      shape: [2]
    other_x: {source: {topic: /turtle2/pose, field_path: x}, dtype: float32}
    forward: {source: {topic: /turtle1/cmd_vel, field_path: linear.x}, dtype: float64, missing: zeros}
  labels: {primary: forward}
  split: {strategy: time, train_fraction: 0.8, val_fraction: 0.1, test_fraction: 0.1}
  validation: {expected_features: [position], preview: true}
"""


def turtles(output: str) -> dict[str, Any]:
    from hephaes_rpc.engine.specs import document

    tree = document.to_dict(document.load(TURTLES))
    tree["spec"]["output"] = {"format": output, "shards": 2}
    return tree


@pytest.fixture
def sidecar(common: Sidecar) -> Sidecar:
    """The sidecar of the module."""
    return common


@pytest.fixture
def ready(sidecar: Sidecar, tmp_path: Path) -> Sidecar:
    """A sidecar with an active workspace."""
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    return sidecar


def indexed(sidecar: Sidecar, log: Path) -> str:
    """The id of a log that is registered and indexed now."""
    asset = sidecar.request("assets/register", {"file_path": str(log)})
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    return str(asset["id"])


def convert(sidecar: Sidecar, asset_ids: list[str], spec: Any, **more: Any) -> tuple[Any, Any]:
    """A finished conversion and its job."""
    made = sidecar.request("conversions/create", {"asset_ids": asset_ids, "spec": spec, **more})
    changed = sidecar.wait_for(
        "jobs/didChange", lambda p: p["job"]["id"] == made["job_id"] and p["job"]["status"] in FINAL, 60
    )
    return sidecar.request("conversions/get", {"conversion_id": made["id"]}), changed["job"]


def files_of(conversion: Any, suffix: str) -> list[Path]:
    return sorted(Path(path) for path in conversion["output_files"] if path.endswith(suffix))


def test_a_spec_through_the_sidecar(ready: Sidecar, data: Path) -> None:
    asset_id = indexed(ready, data / "turtlesim-bz2.bag")
    done, job = convert(ready, [asset_id], turtles("parquet"))
    assert job["status"] == "succeeded", job["error"]
    assert done["config"]["mapping_mode"] == "spec"
    assert done["config"]["spec"]["schema"] == {"name": "turtles", "version": 3}
    names = [f"episode_0001-{part}-0000{k}-of-00002.parquet" for part in ("test", "train", "val") for k in (0, 1)]
    paths = files_of(done, ".parquet")
    assert [path.name for path in paths] == names
    rows = [pq.read_metadata(path).num_rows for path in paths]
    assert all(0 <= one - other <= 1 for one, other in zip(rows[::2], rows[1::2], strict=True))
    table = pq.read_table(paths[2])
    assert table.column_names == ["timestamp_ns", "position", "other_x", "forward", "turtle1_cmd_vel__age_ns"]
    ages = [age for age in table["turtle1_cmd_vel__age_ns"].to_pylist() if age is not None]
    assert ages
    assert all(0 <= age <= 200_000_000 for age in ages)
    told = json.loads(paths[2].with_name(f"{paths[2].name}.manifest.json").read_bytes())
    assert told["conversion"]["document_metadata"] == {"author": "somebody"}
    assert told["conversion"]["rows_total"] == sum(rows) == told["conversion"]["preflight"]["checked_records"]
    page = ready.request("outputs/list", {"conversion_id": done["id"]})
    assert {item["role"] for item in page["items"]} == {"dataset", "manifest", "report"}
    assert sum(item["role"] == "dataset" for item in page["items"]) == 6


def test_several_logs_and_a_switch_for_manifests(ready: Sidecar, tmp_path: Path) -> None:
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/chatter"},
        "features": {"word": {"source": {"topic": "/chatter", "field_path": "data"}, "dtype": "native"}},
        "output": {"format": "tfrecord", "filename_template": "{episode_id}.{extension}"},
    }
    ids = [indexed(ready, write_mcap(tmp_path / f"{k}.mcap", samples(60, seed=k))) for k in (1, 2)]
    done, job = convert(ready, ids, spec, write_manifest=False)
    assert job["status"] == "succeeded", job["error"]
    assert [Path(path).name for path in sorted(done["output_files"])] == [
        f"episode_000{k}.{suffix}" for k in (1, 2) for suffix in ("features.json", "features.py", "tfrecord")
    ]
    page = ready.request("outputs/list", {"conversion_id": done["id"]})
    assert {(item["format"], item["role"]) for item in page["items"]} == {
        ("tfrecord", "dataset"),
        ("json", "sidecar"),
        ("py", "sidecar"),
    }
    for k in (1, 2):
        expected = sum(m.topic == "/chatter" for m in samples(60, seed=k))
        assert len(twin.read(files_of(done, ".tfrecord")[k - 1])) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown_key": 1}, "unknown_key"),
        ({"split": {"strategy": "time"}}, "split.train_fraction is missing"),
        ({"mapping": {"a": ["/chatter"]}}, "mapping cannot be given together with"),
        ({"input": {"paths": ["x.bag"]}}, "input.paths has no effect here"),
        ({"input": {"exclude_topics": ["/chatter"]}}, "'/chatter'"),
        ({"output": {"format": "parquet", "shards": 2, "filename_template": "{episode_id}"}}, "one name"),
        ({"row_strategy": {"kind": "per-message", "topic": "/chater"}}, "'/chatter'"),
    ],
)
def test_specs_that_are_refused_at_once(ready: Sidecar, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    asset_id = indexed(ready, write_mcap(tmp_path / "a.mcap", samples(20)))
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/chatter"},
        "features": {"word": {"source": {"topic": "/chatter", "field_path": "data"}}},
    }
    with pytest.raises(RpcError, match=message) as refusal:
        ready.request("conversions/create", {"asset_ids": [asset_id], "spec": spec | change})
    assert refusal.value.code == 422
    assert ready.request("conversions/list")["total"] == 0


def test_a_field_that_the_log_lacks_fails_the_job_before_anything_is_written(ready: Sidecar, data: Path) -> None:
    asset_id = indexed(ready, data / "turtlesim-bz2.bag")
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/turtle1/pose"},
        "features": {"x": {"source": {"topic": "/turtle1/pose", "field_path": "thetta"}, "dtype": "float32"}},
    }
    done, job = convert(ready, [asset_id], spec)
    assert (job["status"], job["error"]["kind"]) == ("failed", "invalid_spec")
    assert "did you mean 'theta'" in job["error"]["message"]
    assert done["output_files"] == []


def cli(*arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line_does_the_same(ready: Sidecar, data: Path, tmp_path: Path) -> None:
    spec = tmp_path / "turtles.yaml"
    spec.write_text(TURTLES)
    log = data / "turtlesim-bz2.bag"
    result = cli("convert", "--spec", spec, "-o", tmp_path / "out", log)
    assert result.returncode == 0, result.stderr
    made = [Path(line) for line in result.stdout.splitlines()]
    tree = turtles("tfrecord")
    tree["spec"]["output"]["shards"] = 1
    done, job = convert(ready, [indexed(ready, log)], tree)
    assert job["status"] == "succeeded", job["error"]
    for ours in (path for path in made if path.suffix == ".tfrecord"):
        name = ours.name.replace("turtlesim-bz2", "episode_0001")
        (theirs,) = files_of(done, name)
        assert ours.read_bytes() == theirs.read_bytes()
    planned = cli("plan", "--json", "--spec", spec, log)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert [file["name"] for file in plan["files"]] == [path.name for path in made if path.suffix == ".tfrecord"]
    assert plan["exact"] is True
    assert plan["rows"] == sum(len(twin.read(path)) for path in made if path.suffix == ".tfrecord")
    assert "label" not in {column["name"] for column in plan["columns"]}
    assert "rows, about" in cli("plan", "--spec", spec, log).stdout


def test_a_spec_names_its_logs(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    for name in ("a.mcap", "b.mcap", "deep/c.mcap"):
        write_mcap(logs / name, samples(20))
    spec = tmp_path / "spec.json"

    def made(paths: list[str], *, recursive: bool = False) -> list[str]:
        given = {"paths": paths, "recursive": recursive}
        spec.write_text(json.dumps({"input": given, "output": {"format": "parquet"}}))
        result = cli("convert", "--spec", spec, "-o", tmp_path / "out", "--overwrite", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return [Path(line).name for line in result.stdout.splitlines() if line.endswith(".parquet")]

    assert made(["logs"]) == ["a.parquet", "b.parquet"]
    assert made(["logs"], recursive=True) == ["a.parquet", "b.parquet", "c.parquet"]
    assert made(["logs/deep/c.mcap", "logs/[a-b].mcap"]) == ["c.parquet", "a.parquet", "b.parquet"]
    assert made([str(logs / "**" / "*.mcap")]) == ["a.parquet", "b.parquet", "c.parquet"]
    one = (tmp_path / "out" / "a.parquet").read_bytes()
    assert made([str(logs / "a.mcap")]) == ["a.parquet"]
    assert (tmp_path / "out" / "a.parquet").read_bytes() == one
    for paths, recursive, message in (
        (["nowhere"], False, "does not exist"),
        (["logs/x*"], False, "leads to no log"),
        (["logs/a.mcap"], True, "input.recursive has no effect"),
    ):
        spec.write_text(json.dumps({"input": {"paths": paths, "recursive": recursive}}))
        refused = cli("convert", "--spec", spec, "-o", tmp_path / "no", cwd=tmp_path)
        assert refused.returncode == 2
        assert message in refused.stderr
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "parquet"], "--format cannot be given together with --spec"),
        (["--topic", "/chatter"], "--topic cannot be given together with --spec"),
        (["--resample-hz", "5"], "--resample-hz cannot be given together with --spec"),
    ],
)
def test_options_beside_a_spec_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    log = write_mcap(tmp_path / "a.mcap", samples(20))
    (tmp_path / "spec.json").write_text("{}")
    refused = cli("convert", "--spec", tmp_path / "spec.json", "-o", tmp_path / "no", log, *options)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    template = {"output": {"format": "parquet", "filename_template": "all.{extension}"}} | {
        "row_strategy": {"kind": "per-message", "topic": "/chatter"},
        "features": {"word": {"source": {"topic": "/chatter", "field_path": "data"}}},
    }
    (tmp_path / "spec.json").write_text(json.dumps(template))
    refused = cli("convert", "--spec", tmp_path / "spec.json", "-o", tmp_path / "no", log, log)
    assert (refused.returncode, "gives 2 logs one name" in refused.stderr) == (2, True), refused.stderr


SNIPPET = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("reader", sys.argv[1])
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)
rows = []
for row in reader.dataset(*sys.argv[2:]).as_numpy_iterator():
    rows.append({key: value.tolist() for key, value in row.items() if key in ("position", "forward", "timestamp_ns")})
print(json.dumps(rows))
"""


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "float64": "bytes"}, {"absent_keys": "omit"}])
def test_tensorflow_reads_with_the_generated_spec(
    data: Path, tmp_path: Path, tensorflow: TensorFlow, options: dict[str, str]
) -> None:
    tree = turtles("tfrecord")
    tree["spec"]["output"] |= {"shards": 1} | options
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(tree))
    result = cli("convert", "--spec", spec, "-o", tmp_path / "out", data / "turtlesim-bz2.bag")
    assert result.returncode == 0, result.stderr
    paths = sorted((tmp_path / "out").glob("*.tfrecord"))
    tree["spec"]["output"] = {"format": "parquet"}
    spec.write_text(json.dumps(tree))
    assert cli("convert", "--spec", spec, "-o", tmp_path / "table", data / "turtlesim-bz2.bag").returncode == 0
    for path in paths:
        expected = pq.read_table(tmp_path / "table" / f"{path.stem}.parquet").to_pylist()
        records = tensorflow.read(path)
        assert records.rows == len(expected)
        for i in (0, len(expected) // 2, len(expected) - 1):
            assert records.features["position"].row(i) == expected[i]["position"]
            assert records.features["timestamp_ns"].row(i) == [expected[i]["timestamp_ns"]]
    path = paths[0]
    read = subprocess.run(
        [sys.executable, "-c", SNIPPET, str(path.with_name(f"{path.stem}.features.py")), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = json.loads(read.stdout)
    expected = pq.read_table(tmp_path / "table" / f"{path.stem}.parquet").to_pylist()
    assert [row["position"] for row in rows] == [row["position"] for row in expected]
    forward = [np.ravel(row["forward"]).tolist() for row in rows]
    if "absent_keys" not in options:
        assert forward == [[np.float32(row["forward"])] if not options else [row["forward"]] for row in expected]
