import json
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.conversions import ConversionDetail
from hephaes_rpc.store.outputs import OutputFilters, classify
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store.conftest import fingerprint

MANIFEST = {"manifest_version": 1, "conversion": {"payload_representation": {"image": "bytes_v2"}}, "rows": 2**60}


@pytest.fixture
def conversion(workspace: OpenWorkspace, asset: Asset) -> ConversionDetail:
    """A conversion whose folder is there."""
    folder = workspace.outputs_dir / "run"
    folder.mkdir()
    return workspace.conversions.create([asset.id], {}, {}, output_path=str(folder))


def publish(workspace: OpenWorkspace, conversion: ConversionDetail, **files: bytes) -> list[str]:
    described = []
    for name, content in files.items():
        path = Path(conversion.output_path) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        described.append({"path": str(path), "size_bytes": len(content), "rows": 3})
    return workspace.outputs.publish(conversion.id, conversion.job_id, conversion.asset_ids, described)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.manifest.json", ("json", "manifest", "application/json")),
        ("a.report.md", ("md", "report", "text/markdown")),
        ("a.parquet", ("parquet", "dataset", "application/x-parquet")),
        ("a.tfrecord", ("tfrecord", "dataset", "application/octet-stream")),
        ("a.jsonl", ("jsonl", "sidecar", "application/x-ndjson")),
        ("a.features.json", ("json", "sidecar", "application/json")),
        ("a.features.py", ("py", "sidecar", "text/x-python")),
        ("a.PNG", ("png", "sidecar", "image/png")),
        ("a.odd", ("odd", "sidecar", None)),
        ("a", ("unknown", "sidecar", None)),
    ],
)
def test_classification(name: str, expected: tuple[str, str, str | None]) -> None:
    assert classify(name) == expected


def test_published_files_are_outputs(workspace: OpenWorkspace, conversion: ConversionDetail) -> None:
    manifest = json.dumps(MANIFEST).encode()
    files = {"b.parquet": b"data", "b.manifest.json": manifest, "a.report.md": b"# A", "sub/c.jsonl": b"{}"}
    ids = publish(workspace, conversion, **files)
    dataset, description, report, nested = (workspace.outputs.get(output_id) for output_id in ids)
    assert (dataset.conversion_id, dataset.job_id, dataset.asset_ids) == (
        conversion.id,
        conversion.job_id,
        conversion.asset_ids,
    )
    assert (dataset.file_name, dataset.relative_path, dataset.file_path) == (
        "b.parquet",
        "b.parquet",
        f"{conversion.output_path}/b.parquet",
    )
    assert (dataset.format, dataset.role, dataset.media_type) == ("parquet", "dataset", "application/x-parquet")
    assert (dataset.size_bytes, dataset.availability_status) == (4, "ready")
    assert dataset.content_url == f"/outputs/{dataset.id}/content"
    lifted = MANIFEST | {"payload_representation": {"image": "bytes_v2"}}
    assert dataset.metadata == description.metadata == {"manifest": lifted}
    assert report.metadata == nested.metadata == {}
    assert nested.relative_path == "sub/c.jsonl"
    with workspace.db.read() as session:
        assert session.value("SELECT count(*) FROM blobs") == 1
    found = workspace.conversions.get(conversion.id).output_files
    assert found == sorted(f"{conversion.output_path}/{name}" for name in files)


def test_a_manifest_may_be_given(workspace: OpenWorkspace, conversion: ConversionDetail) -> None:
    folder = conversion.output_path
    files = [{"path": f"{folder}/{name}", "size_bytes": 1} for name in ("x.tfrecord", "x.manifest.json")]
    ids = workspace.outputs.publish(
        conversion.id, conversion.job_id, conversion.asset_ids, files, {f"{folder}/x.manifest.json": {"a": 1}}
    )
    assert workspace.outputs.get(ids[0]).metadata == {"manifest": {"a": 1}}


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff"])
def test_a_manifest_that_is_none_is_left_out(
    workspace: OpenWorkspace, conversion: ConversionDetail, content: bytes
) -> None:
    ids = publish(workspace, conversion, **{"x.parquet": b"1", "x.manifest.json": content})
    assert workspace.outputs.get(ids[0]).metadata == {}


def test_a_path_keeps_its_id(workspace: OpenWorkspace, conversion: ConversionDetail, asset: Asset) -> None:
    (first,) = publish(workspace, conversion, **{"x.parquet": b"1"})
    before = workspace.outputs.get(first)
    retry = workspace.jobs.create("convert", [asset.id], {}, {}, retry_of=conversion.job_id)
    again = workspace.conversions.get(conversion.id)
    assert publish(workspace, again, **{"x.parquet": b"22"}) == [first]
    after = workspace.outputs.get(first)
    assert (after.size_bytes, after.job_id, after.created_at) == (2, retry.id, before.created_at)
    assert after.asset_ids == [asset.id]
    assert workspace.outputs.list().total == 1


def test_unknown_ids_are_named(workspace: OpenWorkspace, conversion: ConversionDetail) -> None:
    with pytest.raises(HephaesError, match="no output has the id nobody") as refusal:
        workspace.outputs.get("nobody")
    assert refusal.value.kind == "output_not_found"
    with pytest.raises(HephaesError, match="no conversion has the id nobody"):
        workspace.outputs.publish("nobody", conversion.job_id, [], [{"path": "/x", "size_bytes": 1}])


def test_refresh_writes_changes_only(workspace: OpenWorkspace, conversion: ConversionDetail, tmp_path: Path) -> None:
    kept, lost = publish(workspace, conversion, **{"a.parquet": b"1", "b.parquet": b"22"})
    before = fingerprint(tmp_path)
    assert workspace.outputs.refresh() == workspace.outputs.refresh(conversion.id) == []
    assert fingerprint(tmp_path) == before
    path = Path(conversion.output_path) / "b.parquet"
    path.unlink()
    assert workspace.outputs.refresh("another conversion") == []
    assert workspace.outputs.refresh(conversion.id) == [lost]
    gone = workspace.outputs.get(lost)
    assert (gone.availability_status, gone.size_bytes) == ("missing", 0)
    assert workspace.outputs.refresh() == []
    path.mkdir()
    assert workspace.outputs.refresh() == []
    path.rmdir()
    path.write_bytes(b"333")
    assert workspace.outputs.refresh() == [lost]
    back = workspace.outputs.get(lost)
    assert (back.availability_status, back.size_bytes) == ("ready", 3)
    assert workspace.outputs.get(kept).availability_status == "ready"


def test_filters(workspace: OpenWorkspace, conversion: ConversionDetail, asset: Asset) -> None:
    other = workspace.assets.register(Path("/logs/other.bag"), 1, 1)
    second = workspace.conversions.create([other.id], {}, {}, output_path=str(workspace.outputs_dir / "second"))
    table, text = publish(workspace, conversion, **{"Table.parquet": b"1", "a.report.md": b"2"})
    (records,) = publish(workspace, second, **{"x.tfrecord": b"3"})
    Path(conversion.output_path, "Table.parquet").unlink()
    workspace.outputs.refresh()

    def found(**filters: Any) -> set[str]:
        page = workspace.outputs.list(OutputFilters(**filters))
        assert page.total == len(page.items)
        return {item.id for item in page.items}

    assert found() == {table, text, records}
    assert found(search="TABLE") == {table}
    assert found(search=f"dataset {second.id[:8]}") == found(search="x.tfrecord X") == {records}
    assert found(format="Parquet") == {table}
    assert found(role="REPORT") == {text}
    assert found(role="unheard of") == set()
    assert found(availability="missing") == {table}
    assert found(asset_id=asset.id) == found(conversion_id=conversion.id) == {table, text}
    assert found(asset_id=other.id, role="dataset") == {records}
