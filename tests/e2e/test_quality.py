"""Findings through the real sidecar: each defect gives just its own, by index and by messages; an analysis stops."""

import html
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sidecar import RpcError, Sidecar
from tests.engine.quality.drives import clean, written
from tests.engine.quality.test_defects import DEFECTS, LEAP_OF_THE_LOG

pytestmark = pytest.mark.e2e

LOST_ON_THE_WAY = "lost on the way"
LOOKS_LIKE = {LEAP_OF_THE_LOG: [("gap", None)], LOST_ON_THE_WAY: [("missing_messages", "/camera/image_raw")]}
"""What the index makes of defects that only the messages tell rightly."""


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clean drive, and one for each defect, as a bag (a container whose messages are numbered)."""
    folder = tmp_path_factory.mktemp("drives")
    made = {"clean": written(folder / "clean.bag", clean())}
    for name, defect in DEFECTS.items():
        made[name] = written(folder / f"{name.replace(' ', '-')}.bag", defect.make(clean()))
    return made


def kinds(quality: Any) -> list[tuple[str, str | None]]:
    return [(each["kind"], each["topic"]) for each in quality["findings"]]


def test_each_defect_is_found_by_index_then_by_messages_and_assets_by_it(
    sidecar: Sidecar, drives: dict[str, Path], tmp_path: Path
) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    ids = {}
    for name, path in drives.items():
        ids[name] = sidecar.request("assets/register", {"file_path": str(path)})["id"]
        quality = sidecar.request("assets/index", {"asset_id": ids[name]})["quality"]
        defect = DEFECTS.get(name)
        expected = [(defect.kind, defect.topic)] if defect is not None and defect.by_index else []
        assert (name, quality["basis"], kinds(quality)) == (name, "index", LOOKS_LIKE.get(name, expected))
    assert sidecar.request("jobs/list", {"type": "analyze"})["total"] == 0
    for name, asset_id in ids.items():
        quality = sidecar.request("assets/analyze", {"asset_id": asset_id})["quality"]
        expected = [] if name == "clean" else [(DEFECTS[name].kind, DEFECTS[name].topic)]
        assert (name, quality["basis"], kinds(quality)) == (name, "messages", expected)
        assert (quality["score"]["value"] == 100) == (name == "clean")
        assert sidecar.request("assets/get", {"asset_id": asset_id})["quality"] == quality
    for kind in {defect.kind for defect in DEFECTS.values()}:
        listed = sidecar.request("assets/list", {"finding": kind})
        assert {each["id"] for each in listed["items"]} == {ids[n] for n, d in DEFECTS.items() if d.kind == kind}
    assert sidecar.request("assets/list", {"min_score": 100})["total"] == 1
    assert sidecar.request("assets/list", {"max_score": 99})["total"] == len(DEFECTS)
    severe = [each["severity"] for each in sidecar.request("assets/list", {"limit": 100})["items"]]
    assert sidecar.request("assets/list", {"severity": "error"})["total"] == severe.count("error") > 0
    assert sidecar.request("assets/list", {"severity": "info"})["total"] == len(DEFECTS)


def test_an_analysis_follows_indexing_and_is_not_made_twice(
    hephaes_sidecar: Sidecar, drives: dict[str, Path], tmp_path: Path
) -> None:
    sidecar = hephaes_sidecar
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    asset_id = sidecar.request("assets/register", {"file_path": str(drives["nan"])})["id"]
    assert sidecar.request("assets/index", {"asset_id": asset_id})["quality"]["findings"] == []
    done = sidecar.wait_for(
        "jobs/didChange", lambda p: p["job"]["type"] == "analyze" and p["job"]["status"] == "succeeded", 60
    )
    detail = sidecar.request("assets/get", {"asset_id": asset_id})
    assert kinds(detail["quality"]) == [("nonfinite_values", "/odom")]
    assert detail["quality"]["content_fingerprint"]
    assert {job["type"] for job in detail["related_jobs"]} == {"index", "analyze"}
    assert sidecar.request("assets/index", {"asset_id": asset_id})["quality"] == detail["quality"]
    sidecar.request("health")
    assert sidecar.request("jobs/list", {"type": "analyze"})["items"] == [done["job"]]
    page = Path(sidecar.request("assets/report", {"asset_id": asset_id})["file_path"]).read_text()
    (finding,) = detail["quality"]["findings"]
    assert html.escape(finding["message"]) in page
    assert f"<dd>{detail['quality']['score']['value']} <small>of 100" in page
    sidecar.request("workspaces/delete", {"workspace_id": sidecar.request("workspaces/list")["active_workspace_id"]})


def test_a_running_analysis_is_cancelled_within_a_second(
    hephaes_sidecar: Sidecar, long_log: Path, tmp_path: Path
) -> None:
    sidecar = hephaes_sidecar
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    asset_id = sidecar.request("assets/register", {"file_path": str(long_log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset_id})
    told = sidecar.wait_for("jobs/progress", lambda p: p["phase"] == "analyze" and 0 < p["done"] < p["total"], 60)
    began = time.monotonic()
    job = sidecar.request("jobs/cancel", {"job_id": told["job_id"]})
    took_s = time.monotonic() - began
    assert (job["type"], job["status"]) == ("analyze", "cancelled")
    assert took_s < 1
    assert sidecar.request("assets/get", {"asset_id": asset_id})["quality"]["basis"] == "index"
    with pytest.raises(RpcError) as refusal:
        sidecar.request("jobs/cancel", {"job_id": told["job_id"]})
    assert refusal.value.data["kind"] == "job_already_finished"
