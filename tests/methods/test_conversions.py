from pathlib import Path
from typing import Any, get_args

import pytest

from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.methods import assets, conversion_configs, conversions, drafts, jobs, outputs, workspaces
from hephaes_rpc.model.assets import AssetMetadata, TopicSummary
from hephaes_rpc.store import app as store_app
from hephaes_rpc.store import assets as store_assets
from hephaes_rpc.store import configs as store_configs
from hephaes_rpc.store import conversions as store_conversions
from hephaes_rpc.store import drafts as store_drafts
from hephaes_rpc.store import joblists
from hephaes_rpc.store import outputs as store_outputs
from tests.methods.conftest import Table


def topic(name: str, message_type: str = "std_msgs/msg/String", undecodable: str | None = None) -> TopicSummary:
    return TopicSummary(name, message_type, 1, 0.0, "other", "cdr", "ros2msg", 0, 0, None, 0, undecodable)


def add(table: Table, name: str, *topics: TopicSummary) -> str:
    """An asset; indexed when it has topics."""
    path = table.folder / name
    path.write_bytes(b"x")
    asset_id = str(table.call("assets/register", file_path=str(path))["id"])
    if topics:
        found = AssetMetadata(0.0, None, None, 0, 0, 1, len(topics), [], list(topics), None, {}, None)
        table.app.store.workspace(None).assets.save_metadata(asset_id, found, 1, 0)
    return asset_id


def refusal(table: Table, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call("conversions/create", **params)
    assert table.call("conversions/list")["total"] == 0
    assert table.call("jobs/list")["total"] == 0
    return error.value


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        ({}, ["asset_ids"]),
        ({"asset_ids": []}, ["asset_ids"]),
        ({"asset_ids": ["a", " ", "a "]}, ["asset_ids[1]", "asset_ids[2]"]),
        ({"asset_ids": ["a", 1]}, ["asset_ids[1]"]),
        ({"asset_ids": ["a"], "mapping": {}}, ["mapping"]),
        (
            {"asset_ids": ["a"], "mapping": {" ": ["/t"], "x": [], "y": ["/t", ""]}},
            ["mapping", "mapping.x", "mapping.y[1]"],
        ),
        ({"asset_ids": ["a"], "output": {}}, ["output.format"]),
        ({"asset_ids": ["a"], "output": {"compression": "zstd"}}, ["output.format"]),
        ({"asset_ids": ["a"], "output": {"format": "csv"}}, ["output.format"]),
        ({"asset_ids": ["a"], "output": {"format": "tfrecord", "compression": "snappy"}}, ["output.compression"]),
        (
            {"asset_ids": ["a"], "output": {"format": "parquet", "null_encoding": "presence_flag"}},
            ["output.null_encoding"],
        ),
        ({"asset_ids": ["a"], "output": {"format": "parquet", "row_group_rows": 0}}, ["output.row_group_rows"]),
        ({"asset_ids": ["a"], "resample": {"freq_hz": 0}}, ["resample.method", "resample.freq_hz"]),
        ({"asset_ids": ["a"], "resample": {"freq_hz": 1, "method": "nearest"}}, ["resample.method"]),
        ({"asset_ids": ["a"], "saved_config_id": "c", "spec": {}}, ["spec"]),
        (
            {
                "asset_ids": ["a"],
                "saved_config_id": "c",
                "mapping": {"x": ["/t"]},
                "output": {"format": "parquet"},
                "resample": {"freq_hz": 1, "method": "downsample"},
            },
            ["mapping", "output", "resample"],
        ),
        ({"asset_ids": ["a"], "spec": {}, "mapping": {"x": ["/t"]}}, ["mapping"]),
        ({"asset_ids": ["a"], "spec": [], "write_manifest": "yes", "more": 1}, ["write_manifest", "spec", "more"]),
    ],
)
def test_params_that_do_not_fit(table: Table, params: dict[str, Any], paths: list[str]) -> None:
    error = refusal(table, **params)
    assert isinstance(error, ParamsError)
    assert [each["path"] for each in error.errors] == paths


def test_assets_that_are_unknown_or_not_indexed(table: Table) -> None:
    ready = add(table, "ready.bag", topic("/a"))
    new = [add(table, "one.bag"), add(table, "two.mcap")]
    error = refusal(table, asset_ids=[ready, "nobody", "nothing"])
    assert (error.code, error.kind, error.data) == (422, "unknown_asset", {"asset_id": "nobody"})
    error = refusal(table, asset_ids=[ready, *new])
    assert (error.code, error.kind, error.data) == (422, "asset_not_indexed", {"asset_ids": new})
    assert error.message == "one.bag, two.mcap must be indexed first"
    table.app.store.workspace(None).assets.save_failure(new[0], "broken")
    assert refusal(table, asset_ids=new[:1]).kind == "asset_not_indexed"


def test_topics_must_exist_on_every_asset(table: Table) -> None:
    both = [add(table, "one.bag", topic("/a"), topic("/imu")), add(table, "two.bag", topic("/a"))]
    error = refusal(table, asset_ids=both, mapping={"x": ["/a"], "y": ["/imu"]})
    assert (error.code, error.kind) == (422, "invalid_spec")
    assert error.message == "two.bag: mapping field 'y': the log has no topic '/imu'"
    error = refusal(table, asset_ids=both, mapping={"x": ["/aa"]})
    assert error.message.startswith("one.bag: ")
    assert error.message.endswith("did you mean '/a'?")


def test_topics_that_cannot_be_taken(table: Table) -> None:
    several = add(table, "one.bag", topic("/a", "x/msg/A"), topic("/a", "x/msg/B"), topic("/b", undecodable="protobuf"))
    error = refusal(table, asset_ids=[several], mapping={"x": ["/a"]})
    assert "'/a@x/msg/A', '/a@x/msg/B'" in error.message
    error = refusal(table, asset_ids=[several], mapping={"x": ["/b"]})
    assert (error.code, error.kind) == (422, "unsupported")
    assert error.message == "one.bag: field 'x': topic '/b' cannot be decoded: protobuf"


@pytest.mark.parametrize(
    "params",
    [
        {"output": {"format": "parquet", "layout": "topics"}, "resample": {"freq_hz": 1, "method": "downsample"}},
        {"output": {"format": "tfrecord", "layout": "topics", "absent_keys": "omit"}},
        {"mapping": {"timestamp_ns": ["/a"]}},
    ],
)
def test_specs_that_contradict_themselves(table: Table, params: dict[str, Any]) -> None:
    error = refusal(table, asset_ids=[add(table, "one.bag", topic("/a"))], **params)
    assert (error.code, error.kind) == (422, "invalid_spec")


def test_capabilities_say_what_is_taken(table: Table) -> None:
    found = table.call("conversions/capabilities")
    assert found["authoring_api_version"] == 1
    assert found["hephaes"]["output_formats"] == ["parquet", "tfrecord"]
    assert found["hephaes"]["parquet_compressions"] == ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]
    assert found["hephaes"]["tfrecord_compressions"] == ["none", "gzip"]
    assert found["hephaes"]["resample_strategies"] == ["downsample", "interpolate"]
    assert found["hephaes"]["layouts"] == ["wide", "topics"]
    assert found["hephaes"]["row_strategies"] == ["trigger", "per-message", "resample"]
    assert found["hephaes"]["feature_source_kinds"] == [
        *("path", "constant", "metadata", "concat", "stack"),
        *("points", "tf", "keyframe", "scan"),
    ]
    assert found["hephaes"]["feature_dtypes"] == ["bytes", "int64", "float32", "float64", "bool", "json", "native"]
    assert len(found["hephaes"]["transform_kinds"]) == 12
    assert found["hephaes"]["mapping_modes"] == ["auto", "custom", "spec", "saved-config"]
    assert found["hephaes"]["parquet_payload_encodings"] == ["typed", "json"]
    assert found["hephaes"]["tfrecord_float64"] == ["float32", "bytes"]
    assert found["output_contract"] == {
        "policy_version": 1,
        "default_image_payload_contract": "bytes_v2",
        "supported_image_payload_contracts": ["bytes_v2", "legacy_list_v1"],
        "legacy_compatibility_marker": "legacy_list_image_payload",
    }
    supported = {name for name, value in found["persistence"].items() if name.startswith("supports_") and value}
    assert supported == {
        "supports_saved_configs",
        "supports_saved_config_revisions",
        "supports_draft_revisions",
        "supports_preview_snapshots",
        "supports_migration_on_load",
        "supports_execute_from_saved_config",
    }


@pytest.mark.parametrize(
    ("module", "listing"),
    [
        (workspaces, store_app.LISTING),
        (assets, store_assets.LISTING),
        (conversions, store_conversions.LISTING),
        (conversion_configs, store_configs.LISTING),
        (drafts, store_drafts.LISTING),
        (jobs, joblists.LISTING),
        (outputs, store_outputs.LISTING),
    ],
)
def test_every_sort_of_a_list_is_offered(module: Any, listing: Any) -> None:
    assert set(get_args(module.Sort)) == {f"{sign}{name}" for name in listing.sorts for sign in ("", "-")}


def test_unknown_conversion_and_job(table: Table, tmp_path: Path) -> None:
    for name, param, kind in (
        ("conversions/get", "conversion_id", "conversion_not_found"),
        ("jobs/get", "job_id", "job_not_found"),
        ("outputs/get", "output_id", "output_not_found"),
        ("outputs/content", "output_id", "output_not_found"),
    ):
        with pytest.raises(HephaesError) as error:
            table.call(name, **{param: "nobody"})
        assert (error.value.code, error.value.kind) == (404, kind)
        assert error.value.data[param] == "nobody"
    for bad in ({"length": (8 << 20) + 1}, {"offset": -1}, {"length": -1}):
        with pytest.raises(ParamsError):
            table.call("outputs/content", output_id="nobody", **bad)
