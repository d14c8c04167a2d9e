"""Pages of logs over pipes: where they are written, what is refused, and that a request can be stopped."""

import hashlib
from pathlib import Path

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


def refused(sidecar: Sidecar, **params: object) -> str:
    with pytest.raises(RpcError) as caught:
        sidecar.request("assets/report", params)
    kind: str = caught.value.data["kind"]
    return kind


def test_a_page_in_the_workspace_and_elsewhere(sidecar: Sidecar, asset: str, tmp_path: Path) -> None:
    made = sidecar.request("assets/report", {"asset_id": asset})
    path = Path(made["file_path"])
    assert path == tmp_path / "root" / ".hephaes" / "reports" / f"{asset}.html"
    content = path.read_bytes()
    assert content.startswith(b"<!DOCTYPE html>")
    assert (made["size_bytes"], made["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert made["media_type"] == "text/html"
    assert sidecar.request("assets/report", {"asset_id": asset}) == made
    target = tmp_path / "pages" / "turtle.html"
    there = sidecar.request("assets/report", {"asset_id": asset, "output_path": str(target)})
    assert (there["file_path"], there["sha256"]) == (str(target), made["sha256"])
    assert refused(sidecar, asset_id=asset, output_path=str(target)) == "output_exists"
    again = sidecar.request("assets/report", {"asset_id": asset, "output_path": str(target), "overwrite": True})
    assert again == there
    assert [p.name for p in target.parent.iterdir()] == ["turtle.html"]


def test_what_is_refused(sidecar: Sidecar, asset: str, data: Path, tmp_path: Path) -> None:
    assert refused(sidecar, asset_id=asset, output_path="page.html") == "invalid_path"
    assert refused(sidecar, asset_id=asset, output_path=str(data / "turtlesim-bz2.bag"), overwrite=True) == (
        "output_exists"
    )
    gone = tmp_path / "gone.bag"
    gone.write_bytes((data / "poses.bag").read_bytes())
    registered = sidecar.request("assets/register", {"file_path": str(gone)})
    gone.unlink()
    assert refused(sidecar, asset_id=registered["id"]) == "asset_unavailable"


def test_a_stopped_request_writes_nothing(sidecar: Sidecar, asset: str, tmp_path: Path) -> None:
    target = tmp_path / "pages" / "turtle.html"
    request = sidecar.start("assets/report", {"asset_id": asset, "output_path": str(target)})
    sidecar.notify("$/cancelRequest", {"id": request})
    with pytest.raises(RpcError) as caught:
        sidecar.result(request)
    assert caught.value.code == -32800
    assert not target.exists()
    assert sidecar.request("assets/report", {"asset_id": asset, "output_path": str(target)})["file_path"] == str(target)
