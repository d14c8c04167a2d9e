"""From a log to a saved config over pipes: inspect, draft, preview, confirm, save, convert; what is refused too."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaes_rpc.client import RpcError
from tests.e2e.sidecar import Sidecar

pytestmark = pytest.mark.e2e


@pytest.fixture
def sidecar(common: Sidecar) -> Sidecar:
    """The sidecar of the module."""
    return common


@pytest.fixture
def asset(sidecar: Sidecar, data: Path, tmp_path: Path) -> str:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "root"), "activate": True})
    registered = sidecar.request("assets/register", {"file_path": str(data / "turtlesim-bz2.bag")})
    asset_id: str = registered["id"]
    return asset_id


def refusal(sidecar: Sidecar, method: str, params: dict[str, Any]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        sidecar.request(method, params)
    return caught.value


def test_the_whole_way(sidecar: Sidecar, asset: str) -> None:
    inspected = sidecar.request("conversions/inspect", {"asset_id": asset, "topics": ["/turtle1/pose"], "sample_n": 3})
    assert inspected["request"]["sample_n"] == 3
    pose = inspected["inspection"]["topics"]["/turtle1/pose"]
    assert pose["sampled_message_count"] == 3
    assert pose["first_ns_str"] == str(pose["first_ns"])
    assert inspected["representation_policy"]["output_format"] == "tfrecord"

    request = {"template": "imitation-learning", "output_format": "parquet", "preview_rows": 2}
    drafted = sidecar.request("conversions/draft", {"asset_id": asset, "draft_request": request})
    draft = drafted["draft"]
    assert draft["preview_ready"] is True
    assert {"action", "observation.state"} <= set(draft["spec"]["features"])
    assert draft["templates"] == ["imitation-learning", "time-series"]
    draft_id = drafted["draft_id"]
    detail = sidecar.request("drafts/get", {"draft_id": draft_id})
    assert detail["revision"]["id"] == drafted["draft_revision_id"]
    assert detail["status"] == "draft"
    sidecar.wait_for("drafts/didChange", lambda params: draft_id in params["ids"])

    spec = draft["spec"]
    spec["schema"]["name"] = "turtle"
    updated = sidecar.request("drafts/update", {"draft_id": draft_id, "spec": spec, "label": "named"})
    assert [change["path"] for change in updated["revision"]["changes"]] == ["/spec/schema/name"]
    assert refusal(sidecar, "drafts/confirm", {"draft_id": draft_id}).data["kind"] == "draft_not_previewed"
    shown = sidecar.request("drafts/preview", {"draft_id": draft_id, "sample_n": 3, "start_row": 10})
    assert shown["preview_ready"] is True
    assert sidecar.request("drafts/confirm", {"draft_id": draft_id})["status"] == "confirmed"
    saved = sidecar.request("drafts/saveConfig", {"draft_id": draft_id, "name": "turtle"})
    assert (saved["draft"]["status"], saved["config"]["name"]) == ("saved", "turtle")
    assert refusal(sidecar, "drafts/discard", {"draft_id": draft_id}).code == 409
    assert sidecar.request("drafts/list", {"status": "saved"})["total"] == 1

    preview = sidecar.request("conversions/preview", {"asset_id": asset, "spec": spec, "sample_n": 4, "start_row": 10})[
        "preview"
    ]
    assert preview["rows"][:3] == shown["revision"]["preview"]["rows"]
    sidecar.request("assets/index", {"asset_id": asset})
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "spec": spec})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"
    files = sidecar.request("conversions/get", {"conversion_id": made["id"]})["output_files"]
    (dataset,) = [path for path in files if path.endswith(".parquet")]
    rows = pq.read_table(dataset).slice(10, 4).to_pylist()
    assert [row["timestamp_ns"] for row in preview["rows"]] == [row["timestamp_ns"] for row in rows]
    assert [row["field_data"]["action"] for row in preview["rows"]] == [row["action"] for row in rows]


def test_what_is_refused(sidecar: Sidecar, asset: str) -> None:
    assert refusal(sidecar, "conversions/inspect", {"asset_id": "nobody"}).data["kind"] == "asset_not_found"
    wrong = refusal(sidecar, "conversions/inspect", {"asset_id": asset, "sample_n": 0})
    assert [error["path"] for error in wrong.data["errors"]] == ["sample_n"]
    assert refusal(sidecar, "conversions/preview", {"asset_id": asset, "spec": {}}).data["kind"] == "invalid_spec"
    request = {"asset_id": asset, "draft_request": {"template": "detection"}}
    unfit = refusal(sidecar, "conversions/draft", request)
    assert (unfit.code, unfit.data["kind"]) == (422, "unsupported")
    nested = {"asset_id": asset, "draft_request": {"preview_rows": 0, "templat": "x"}}
    errors = refusal(sidecar, "conversions/draft", nested).data["errors"]
    assert {error["path"] for error in errors} == {"draft_request.preview_rows", "draft_request.templat"}
    assert sidecar.request("drafts/list")["total"] == 0
    assert refusal(sidecar, "drafts/get", {"draft_id": "nobody"}).data["kind"] == "draft_not_found"


def test_progress_is_told(sidecar: Sidecar, asset: str) -> None:
    sidecar.request("conversions/draft", {"asset_id": asset, "workDoneToken": "t"})
    kinds = [params["value"]["kind"] for params in sidecar.notifications("$/progress") if params["token"] == "t"]
    assert kinds[0] == "begin"
    assert kinds[-1] == "end"


def test_a_log_that_is_gone(sidecar: Sidecar, asset: str, data: Path, tmp_path: Path) -> None:
    del asset
    log = tmp_path / "moved.bag"
    log.write_bytes((data / "poses.bag").read_bytes())
    gone = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    log.unlink()
    assert refusal(sidecar, "conversions/inspect", {"asset_id": gone}).data["kind"] == "asset_unavailable"


def test_nothing_but_json_leaves_an_inspection(sidecar: Sidecar, asset: str) -> None:
    found = sidecar.request("conversions/inspect", {"asset_id": asset, "thumbnails": True})
    assert "NaN" not in json.dumps(found)
