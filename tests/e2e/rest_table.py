"""The 37 routes of the REST backend (reference/rest-surface.md) as methods: fields, orders and errors of each.

A type is ``text``, ``int``, ``float``, ``bool``, ``utc``, ``day``, ``object``, ``any`` or ``one|of|these``, ``?`` after
it for null, ``[]`` for a list, ``{}`` for the values of an object; ``@name`` is one of ``SHAPES``.  A value that
begins with ``$`` stands for something of the tests' own making.
"""

from typing import Any, NamedTuple

STATUS = "queued|running|cancelling|succeeded|failed|cancelled|interrupted"
INDEXING = "pending|indexing|indexed|failed"
CONTRACT = "bytes_v2|legacy_list_v1"
STRATEGY = "trigger|per-message|resample"
SPEC: dict[str, Any] = {
    "row_strategy": {"kind": "per-message", "topic": "/imu"},
    "features": {"z": {"source": {"topic": "/imu", "field_path": "orientation.z"}, "dtype": "float32"}},
    "output": {"format": "tfrecord"},
}
PREVIEWED = {
    "row_strategy": {"kind": "trigger", "trigger_topic": "/imu", "joins": []},
    "features": SPEC["features"],
}

SHAPES: dict[str, dict[str, str]] = {
    "health": {"status": "ok", "app_name": "text"},
    "workspace": {
        "id": "text",
        "name": "text",
        "active_job_count": "int",
        "root_path": "text",
        "workspace_dir": "text",
        "database_path": "text",
        "created_at": "utc",
        "updated_at": "utc",
        "last_opened_at": "utc?",
        "status": "ready|missing|invalid",
        "status_reason": "text?",
    },
    "asset": {
        "id": "text",
        "file_path": "text",
        "file_name": "text",
        "file_type": "text",
        "file_size": "int",
        "registered_time": "utc",
        "indexing_status": INDEXING,
        "last_indexed_time": "utc?",
    },
    "tag": {"id": "text", "name": "text", "created_at": "utc"},
    "skip": {"file_path": "text", "reason": "duplicate|invalid_path", "detail": "text"},
    "dialog": {"canceled": "bool", "registered_assets": "@asset[]", "skipped": "@skip[]"},
    "scan": {
        "scanned_directory": "text",
        "recursive": "bool",
        "discovered_file_count": "int",
        "registered_assets": "@asset[]",
        "skipped": "@skip[]",
    },
    "reindex": {"indexed_assets": "@asset[]", "failed_assets": "@asset[]", "total_requested": "int"},
    "topic": {
        "name": "text",
        "message_type": "text",
        "message_count": "int",
        "rate_hz": "float",
        "modality": "image|points|scalar_series|other",
    },
    "episode": {"episode_id": "text", "label": "text", "duration": "float"},
    "raw": {
        "path": "text",
        "file_path": "text",
        "file_size_bytes": "int",
        "ros_version": "ROS1|ROS2",
        "storage_format": "bag|mcap|unknown",
        "compression_format": "text",
    },
    "metadata": {
        "duration": "float?",
        "start_time": "utc?",
        "end_time": "utc?",
        "message_count": "int",
        "topic_count": "int",
        "sensor_types": "text[]",
        "topics": "@topic[]",
        "default_episode": "@episode?",
        "raw_metadata": "@raw",
        "indexing_error": "text?",
    },
    "asset detail": {
        "asset": "@asset",
        "metadata": "@metadata?",
        "tags": "@tag[]",
        "related_jobs": "@job[]",
        "conversions": "@conversion[]",
    },
    "policy": {
        "policy_version": "int",
        "output_format": "parquet|tfrecord",
        "requested_image_payload_contract": f"{CONTRACT}?",
        "image_payload_contract": f"{CONTRACT}?",
        "payload_encoding": "typed_features?",
        "null_encoding": "presence_flag?",
        "compatibility_markers": "text[]",
        "warnings": "text[]",
    },
    "job": {
        "id": "text",
        "type": "index|convert|analyze",
        "status": STATUS,
        "target_asset_ids_json": "text[]",
        "config_json": "object",
        "representation_policy": "@policy?",
        "output_path": "text?",
        "error_message": "text?",
        "created_at": "utc",
        "updated_at": "utc",
        "started_at": "utc?",
        "finished_at": "utc?",
    },
    "conversion config": {
        "mapping": "object",
        "mapping_mode": "auto|custom|spec|saved-config",
        "output": "object",
        "resample": "object?",
        "write_manifest": "bool",
        "spec": "object",
        "representation_policy": "object",
    },
    "conversion": {
        "id": "text",
        "job_id": "text",
        "status": STATUS,
        "asset_ids": "text[]",
        "config": "@conversion config",
        "output_path": "text",
        "error_message": "text?",
        "representation_policy": "@policy?",
        "created_at": "utc",
        "updated_at": "utc",
    },
    "config": {
        "id": "text",
        "name": "text",
        "description": "text?",
        "metadata": "object",
        "spec_document_version": "int",
        "spec_schema_name": "text?",
        "spec_schema_version": "int?",
        "spec_row_strategy_kind": f"{STRATEGY}?",
        "spec_output_format": "text?",
        "spec_output_compression": "text?",
        "spec_feature_count": "int",
        "revision_count": "int",
        "draft_count": "int",
        "migration_notes": "text[]",
        "invalid_reason": "text?",
        "latest_preview_available": "bool",
        "latest_preview_updated_at": "utc?",
        "created_at": "utc",
        "updated_at": "utc",
        "last_opened_at": "utc?",
        "status": "ready|needs_migration|invalid",
    },
    "document": {"spec_version": "int", "spec": "object", "metadata": "object"},
    "config revision": {
        "id": "text",
        "config_id": "text",
        "revision_number": "int",
        "change_kind": "create|update|duplicate|migration|import",
        "change_summary": "text?",
        "spec_document_version": "int",
        "spec_document_json": "object",
        "resolved_spec": "object?",
        "created_at": "utc",
    },
    "output": {
        "id": "text",
        "conversion_id": "text",
        "job_id": "text",
        "asset_ids": "text[]",
        "relative_path": "text",
        "file_name": "text",
        "format": "text",
        "role": "dataset|manifest|report|sidecar",
        "media_type": "text?",
        "size_bytes": "int",
        "availability_status": "ready|missing|invalid",
        "metadata": "object",
        "content_url": "text",
        "created_at": "utc",
        "updated_at": "utc",
    },
    "content": {
        "file_path": "text",
        "media_type": "text?",
        "size_bytes": "int",
        "offset": "int",
        "data_base64": "text",
        "eof": "bool",
    },
    "inspect request": {
        "topics": "text[]",
        "sample_n": "int",
        "max_depth": "int",
        "max_sequence_items": "int",
        "on_failure": "skip|warn|fail",
        "topic_type_hints": "text{}",
    },
    "sample": {"timestamp": "int", "payload": "any"},
    "candidate": {
        "path": "text",
        "kind": "scalar|sequence|struct|bytes|image|unknown",
        "examples": "any[]",
        "nullable": "bool",
        "candidate_dtypes": "text[]",
        "shape_hint": "int[]?",
        "variable_length": "bool",
        "image_like": "bool",
        "confidence": "float",
        "warnings": "text[]",
    },
    "topic inspection": {
        "topic": "text",
        "message_type": "text?",
        "sampled_message_count": "int",
        "sample_timestamps": "int[]",
        "sample_payloads": "@sample[]",
        "top_level_summary": "object",
        "field_candidates": "@candidate{}",
        "warnings": "text[]",
    },
    "inspection": {
        "bag_path": "text?",
        "ros_version": "text?",
        "sample_n": "int",
        "topics": "@topic inspection{}",
        "warnings": "text[]",
    },
    "inspected": {
        "asset_id": "text",
        "request": "@inspect request",
        "inspection": "@inspection",
        "representation_policy": "@policy",
    },
    "draft request": {
        "trigger_topic": "text?",
        "selected_topics": "text[]",
        "join_topics": "text[]",
        "schema_name": "text",
        "schema_version": "int",
        "output_format": "parquet|tfrecord",
        "output_compression": "text",
        "max_features_per_topic": "int",
        "label_feature": "text?",
        "include_preview": "bool",
        "preview_rows": "int",
    },
    "draft": {
        "request": "@draft request",
        "spec": "object",
        "selected_topics": "text[]",
        "join_topics": "text[]",
        "trigger_topic": "text?",
        "warnings": "text[]",
        "assumptions": "text[]",
        "unresolved_fields": "text[]",
        "preview": "@preview?",
    },
    "row": {"timestamp_ns": "int", "field_data": "object", "presence_data": "int{}"},
    "preview": {
        "rows": "@row[]",
        "dropped_count": "int",
        "checked_records": "int",
        "bad_records": "int",
        "missing_feature_counts": "int{}",
        "missing_feature_rates": "float{}",
        "missing_topic_counts": "int{}",
        "missing_topic_rates": "float{}",
        "label_summary": "object?",
        "warnings": "text[]",
    },
    "previewed": {"asset_id": "text", "request": "object", "preview": "@preview", "representation_policy": "@policy"},
    "spec capabilities": {
        "spec_version": "int",
        **dict.fromkeys(
            (
                "supports_spec_documents",
                "supports_inspection",
                "supports_draft_generation",
                "supports_preview",
                "supports_migration",
            ),
            "bool",
        ),
        **dict.fromkeys(
            (
                "row_strategies",
                "authoring_row_strategies",
                "planned_row_strategies",
                "feature_source_kinds",
                "authoring_feature_source_kinds",
                "planned_feature_source_kinds",
                "feature_dtypes",
                "sync_policies",
                "missing_data_policies",
                "decode_failure_policies",
                "resample_strategies",
                "output_formats",
                "parquet_compressions",
                "tfrecord_compressions",
                "tfrecord_payload_encodings",
                "tfrecord_null_encodings",
                "transform_kinds",
            ),
            "text[]",
        ),
    },
    "contracts": {
        "policy_version": "int",
        "default_image_payload_contract": CONTRACT,
        "supported_image_payload_contracts": "text[]",
        "legacy_compatibility_marker": "legacy_list_image_payload",
    },
    "persistence": {
        "mode": "sqlite-json",
        **dict.fromkeys(
            (
                "supports_saved_configs",
                "supports_saved_config_revisions",
                "supports_draft_revisions",
                "supports_preview_snapshots",
                "supports_migration_on_load",
                "supports_execute_from_saved_config",
            ),
            "bool",
        ),
        "spec_document_version": "int",
    },
    "capabilities": {
        "authoring_api_version": "int",
        "hephaes": "@spec capabilities",
        "output_contract": "@contracts",
        "persistence": "@persistence",
    },
    "inventory": dict.fromkeys(
        ("asset_count", "total_asset_bytes", "registered_last_24h", "registered_last_7d", "registered_last_30d"), "int"
    ),
    "asset statuses": dict.fromkeys(INDEXING.split("|"), "int"),
    "job statuses": dict.fromkeys(STATUS.split("|"), "int"),
    "indexing figures": {"status_counts": "@asset statuses"},
    "job figures": {"active_count": "int", "failed_last_24h": "int", "status_counts": "@job statuses"},
    "conversion figures": {"status_counts": "@job statuses"},
    "count": {"key": "text", "count": "int"},
    "output figures": {
        "output_count": "int",
        "total_output_bytes": "int",
        "outputs_created_last_7d": "int",
        "format_counts": "@count[]",
        "availability_counts": "@count[]",
    },
    "freshness": {
        "computed_at": "utc",
        "latest_asset_registration_at": "utc?",
        "latest_asset_indexed_at": "utc?",
        "latest_job_update_at": "utc?",
        "latest_conversion_update_at": "utc?",
        "latest_output_update_at": "utc?",
    },
    "summary": {
        "inventory": "@inventory",
        "indexing": "@indexing figures",
        "jobs": "@job figures",
        "conversions": "@conversion figures",
        "outputs": "@output figures",
        "freshness": "@freshness",
    },
    "day count": {"date": "day", "count": "int"},
    "trends": {
        "days": "int",
        **dict.fromkeys(
            (
                "registrations_by_day",
                "job_failures_by_day",
                "conversions_by_day",
                "conversion_failures_by_day",
                "outputs_created_by_day",
            ),
            "@day count[]",
        ),
    },
    "blockers": dict.fromkeys(
        ("pending_assets", "failed_assets", "failed_jobs", "failed_conversions", "missing_outputs", "invalid_outputs"),
        "int",
    ),
}
SHAPES["asset item"] = SHAPES["asset"] | {"tags": "@tag[]"}
SHAPES["tag entry"] = SHAPES["tag"] | {"asset_count": "int"}
SHAPES["conversion detail"] = SHAPES["conversion"] | {"output_files": "text[]", "job": "@job"}
SHAPES["config detail"] = SHAPES["config"] | {
    "spec_document_json": "@document",
    "resolved_spec": "object?",
    "resolved_spec_document": "@document?",
    "latest_preview": "@preview?",
    "revisions": "@config revision[]",
    "draft_revisions": "object[]",
}
SHAPES["output detail"] = SHAPES["output"] | {"file_path": "text?"}
SHAPES["drafted"] = SHAPES["inspected"] | {"draft": "@draft", "draft_revision_id": "text?"}


class Refusal(NamedTuple):
    """What a method answers to params that replace those of its route; ``about`` is the kind, or the path in params."""

    params: dict[str, Any]
    code: int
    about: str


class Route(NamedTuple):
    """A route of the REST backend and its method.

    Args:
        rest: As it was.
        params: That succeed.
        result: Its type; of a list that of its items.
        refusals: Every documented error but those of the workspace, which all routes from 6 on share.
        order: Fields that a list is ordered by, each after ``-`` where it descends.
    """

    rest: str
    method: str
    params: dict[str, Any]
    result: str
    refusals: list[Refusal]
    order: tuple[str, ...] = ()


def bad(path: str, **params: Any) -> Refusal:
    """A refusal of the shape of params (422 of validation)."""
    return Refusal(params, -32602, path)


def no(code: int, kind: str, **params: Any) -> Refusal:
    """A refusal by kind."""
    return Refusal(params, code, kind)


MISMATCH = no(400, "cursor_mismatch", cursor="bm90aGluZw==")
PAGING = [
    bad("limit", limit=0),
    bad("limit", limit=501),
    bad("sort", sort="nothing"),
    bad("offset", offset=1),
    MISMATCH,
]
NO_ASSET = no(404, "asset_not_found", asset_id="nobody")
READING = [
    NO_ASSET,
    bad("asset_id", asset_id=" "),
    no(422, "bad_input", asset_id="$broken"),
    no(422, "asset_unavailable", asset_id="$gone"),
    no(422, "unsupported", asset_id="$unsupported"),
]
UPLOADS = [
    no(400, "invalid_name", file_name=" "),
    no(400, "invalid_name", file_name=".."),
    no(400, "invalid_name", file_name="notes.txt"),
    no(400, "invalid_name", file_name=".mcap"),
    no(400, "upload_empty", data_base64=""),
    no(409, "asset_already_registered", file_name="uploaded.mcap"),
    bad("data_base64", data_base64="?"),
]
INSPECTION = [
    *READING,
    bad("topics[0]", topics=[7]),
    bad("topics", topics=["/imu", " "]),
    bad("sample_n", sample_n=0),
    bad("max_depth", max_depth=-1),
    bad("max_sequence_items", max_sequence_items=0),
    bad("on_failure", on_failure="panic"),
    bad("topic_type_hints./imu", topic_type_hints={"/imu": 7}),
    bad("topic_type_hints", topic_type_hints={"/imu": " "}),
    bad("unknown", unknown=1),
]

ROUTES = [
    Route("GET /health", "health", {}, "@health", [bad("unknown", unknown=1)]),
    Route("GET /workspaces", "workspaces/list", {}, "@workspace", PAGING, ("-last_opened_at",)),
    Route(
        "POST /workspaces",
        "workspaces/create",
        {"root_path": "$fresh_root"},
        "@workspace",
        [
            bad("root_path", root_path=" "),
            bad("root_path", root_path=None),
            bad("activate", activate="yes"),
            bad("unknown", unknown=1),
            no(400, "invalid_path", root_path="$file_root"),
            no(409, "workspace_conflict", root_path="$taken_root"),
            no(409, "workspace_corrupt", root_path="$foreign_root"),
            no(409, "workspace_newer", root_path="$newer_root"),
        ],
    ),
    Route(
        "POST /workspaces/{workspace_id}/activate",
        "workspaces/activate",
        {"workspace_id": "$workspace"},
        "@workspace",
        [
            no(404, "workspace_not_found", workspace_id="ws_nobody"),
            no(409, "workspace_not_ready", workspace_id="$missing_workspace"),
        ],
    ),
    Route(
        "DELETE /workspaces/{workspace_id}",
        "workspaces/delete",
        {"workspace_id": "$doomed_workspace"},
        "null",
        [
            no(404, "workspace_not_found", workspace_id="ws_nobody"),
            no(409, "workspace_busy", workspace_id="$busy_workspace"),
            no(409, "workspace_conflict", workspace_id="$replaced_workspace"),
        ],
    ),
    Route(
        "POST /assets/register",
        "assets/register",
        {"file_path": "$new_log"},
        "@asset",
        [
            bad("file_path", file_path=" "),
            bad("file_path", file_path=7),
            bad("unknown", unknown=1),
            no(400, "invalid_path", file_path="/nowhere.bag"),
            no(400, "invalid_path", file_path="$folder"),
            no(400, "invalid_path", file_path="$text_file"),
            no(409, "asset_already_registered", file_path="$log"),
        ],
    ),
    Route("POST /assets/upload", "assets/upload", {"file_name": "new.mcap", "data_base64": "QQ=="}, "@asset", UPLOADS),
    Route(
        "POST /assets/register-dialog",
        "assets/registerDialog",
        {},
        "@dialog",
        [no(503, "dialog_unavailable"), bad("unknown", unknown=1)],
    ),
    Route(
        "POST /assets/scan-directory",
        "assets/scanDirectory",
        {"directory_path": "$folder"},
        "@scan",
        [
            bad("directory_path", directory_path=" "),
            bad("recursive", recursive="yes"),
            bad("unknown", unknown=1),
            no(400, "invalid_path", directory_path="/nowhere"),
            no(400, "invalid_path", directory_path="$log"),
        ],
    ),
    Route(
        "POST /assets/{asset_id}/index",
        "assets/index",
        {"asset_id": "$asset"},
        "@asset detail",
        [
            NO_ASSET,
            no(422, "bad_input", asset_id="$broken"),
            no(422, "asset_unavailable", asset_id="$gone"),
            no(422, "unsupported", asset_id="$unsupported"),
        ],
    ),
    Route("POST /assets/reindex-all", "assets/reindexAll", {}, "@reindex", [bad("unknown", unknown=1)]),
    Route(
        "POST /assets/{asset_id}/tags",
        "assets/attachTag",
        {"asset_id": "$asset", "tag_id": "SECOND  tag"},
        "@asset detail",
        [
            bad("tag_id", tag_id=" "),
            NO_ASSET,
            no(404, "tag_not_found", tag_id="nothing"),
            no(409, "tag_already_attached", tag_id="$tag"),
        ],
    ),
    Route(
        "DELETE /assets/{asset_id}/tags/{tag_id}",
        "assets/detachTag",
        {"asset_id": "$asset", "tag_id": "$lost_tag"},
        "@asset detail",
        [
            NO_ASSET,
            no(404, "tag_not_found", tag_id="nothing"),
            no(404, "tag_not_attached", tag_id="$tag", asset_id="$other_asset"),
        ],
    ),
    Route(
        "GET /assets",
        "assets/list",
        {"search": " RIV", "status": "indexed", "min_duration": 0},
        "@asset item",
        [
            *PAGING,
            bad("status", status="INDEXED"),
            bad("min_duration", min_duration=-1),
            bad("max_duration", max_duration="long"),
            bad("start_after", start_after="yesterday"),
            bad("min_duration", min_duration=2, max_duration=1),
            bad("start_after", start_after="2024-01-02T00:00:00Z", start_before="2024-01-01T00:00:00Z"),
            bad("min_size_bytes", min_size_bytes=2, max_size_bytes=1),
        ],
        ("-registered_time", "-id"),
    ),
    Route("GET /assets/{asset_id}", "assets/get", {"asset_id": "$asset"}, "@asset detail", [NO_ASSET]),
    Route("GET /tags", "tags/list", {}, "@tag entry", PAGING, ("name", "id")),
    Route(
        "POST /tags",
        "tags/create",
        {"name": " New  Tag "},
        "@tag entry",
        [bad("name", name=" "), bad("unknown", unknown=1), no(409, "tag_already_exists", name="FIRST")],
    ),
    Route(
        "POST /conversions",
        "conversions/create",
        {"asset_ids": ["$asset"]},
        "@conversion detail",
        [
            bad("asset_ids", asset_ids=[]),
            bad("asset_ids[0]", asset_ids=[" "]),
            bad("asset_ids[1]", asset_ids=["$asset", "$asset"]),
            bad("mapping", mapping={}),
            bad("mapping.x", mapping={"x": []}),
            bad("mapping.x[0]", mapping={"x": [" "]}),
            bad("resample.freq_hz", resample={"freq_hz": 0, "method": "downsample"}),
            bad("output.format", output={"compression": "none"}),
            bad("output.compression", output={"format": "tfrecord", "compression": "snappy"}),
            bad("spec", saved_config_id="$config", spec=SPEC),
            bad("mapping", saved_config_id="$config", mapping={"x": ["/imu"]}),
            bad("output", spec=SPEC, output={"format": "parquet"}),
            bad("resample", spec=SPEC, resample={"freq_hz": 1, "method": "downsample"}),
            no(
                422, "invalid_spec", spec=SPEC | {"output": {"format": "parquet", "image_payload_contract": "bytes_v1"}}
            ),
            no(422, "unknown_asset", asset_ids=["nobody"]),
            no(422, "asset_not_indexed", asset_ids=["$pending"]),
            no(422, "unknown_config", saved_config_id="nobody"),
            no(422, "config_invalid", saved_config_id="$broken_config"),
            no(422, "invalid_spec", mapping={"x": ["/nothing"]}),
            no(422, "invalid_spec", spec={"features": 7}),
        ],
    ),
    Route(
        "GET /conversions",
        "conversions/list",
        {},
        "@conversion",
        [*PAGING, bad("legacy_compatible", legacy_compatible="maybe")],
        ("-created_at", "-id"),
    ),
    Route(
        "GET /conversions/{conversion_id}",
        "conversions/get",
        {"conversion_id": "$conversion"},
        "@conversion detail",
        [no(404, "conversion_not_found", conversion_id="nobody")],
    ),
    Route(
        "GET /conversions/capabilities", "conversions/capabilities", {}, "@capabilities", [bad("unknown", unknown=1)]
    ),
    Route("POST /conversions/inspect", "conversions/inspect", {"asset_id": "$asset"}, "@inspected", INSPECTION),
    Route(
        "POST /conversions/draft",
        "conversions/draft",
        {"asset_id": "$asset"},
        "@drafted",
        [
            *INSPECTION,
            bad("draft_request.schema_name", draft_request={"schema_name": ""}),
            bad("draft_request.schema_version", draft_request={"schema_version": 0}),
            bad("draft_request.output_format", draft_request={"output_format": "csv"}),
            bad("draft_request.max_features_per_topic", draft_request={"max_features_per_topic": 0}),
            bad("draft_request.preview_rows", draft_request={"preview_rows": 0}),
            no(422, "invalid_spec", draft_request={"trigger_topic": "/nothing"}),
            no(422, "invalid_spec", draft_request={"selected_topics": ["/nothing"]}),
            bad("draft_request.output_compression", draft_request={"output_compression": "snappy"}),
        ],
    ),
    Route(
        "POST /conversions/preview",
        "conversions/preview",
        {"asset_id": "$asset", "spec": PREVIEWED},
        "@previewed",
        [
            *READING,
            bad("sample_n", sample_n=0),
            bad("topic_type_hints./imu", topic_type_hints={"/imu": 7}),
            no(422, "invalid_spec", spec={"features": SPEC["features"]}),
            no(422, "invalid_spec", spec={"row_strategy": PREVIEWED["row_strategy"]}),
            no(422, "invalid_spec", spec=PREVIEWED | {"validation": {"expected_features": ["absent"]}}),
            no(422, "invalid_spec", spec=PREVIEWED | {"labels": {"primary": "absent"}}),
        ],
    ),
    Route("GET /conversion-configs", "conversionConfigs/list", {}, "@config", PAGING, ("-updated_at", "-id")),
    Route(
        "POST /conversion-configs",
        "conversionConfigs/create",
        {"name": " Fresh ", "spec": SPEC, "metadata": {"by": "us"}},
        "@config detail",
        [
            bad("name", name=" "),
            bad("metadata", metadata=[]),
            bad("unknown", unknown=1),
            no(422, "invalid_spec", spec={"nothing": 1}),
            no(422, "config_name_taken", name="FIRST config"),
        ],
    ),
    Route(
        "GET /conversion-configs/{config_id}",
        "conversionConfigs/get",
        {"config_id": " first  CONFIG "},
        "@config detail",
        [no(404, "config_not_found", config_id="nobody")],
    ),
    Route(
        "PATCH /conversion-configs/{config_id}",
        "conversionConfigs/update",
        {"config_id": "$config", "description": "better"},
        "@config detail",
        [
            bad("", description=None),
            no(404, "config_not_found", config_id="nobody"),
            no(404, "config_revision_not_found", restore_revision=99),
            no(422, "config_name_taken", name="second config"),
            no(422, "config_invalid", config_id="$broken_config", metadata={"a": 1}),
            no(422, "invalid_spec", spec={"nothing": 1}),
        ],
    ),
    Route(
        "POST /conversion-configs/{config_id}/duplicate",
        "conversionConfigs/duplicate",
        {"config_id": "$config"},
        "@config detail",
        [
            no(404, "config_not_found", config_id="nobody"),
            no(422, "config_name_taken", name="second config"),
            no(422, "config_invalid", config_id="$broken_config"),
        ],
    ),
    Route("GET /jobs", "jobs/list", {}, "@job", PAGING, ("-created_at", "-id")),
    Route("GET /jobs/{job_id}", "jobs/get", {"job_id": "$job"}, "@job", [no(404, "job_not_found", job_id="nobody")]),
    Route("GET /outputs", "outputs/list", {}, "@output", PAGING, ("-created_at", "-id")),
    Route(
        "GET /outputs/{output_id}",
        "outputs/get",
        {"output_id": "$output"},
        "@output detail",
        [no(404, "output_not_found", output_id="nobody")],
    ),
    Route(
        "GET /outputs/{output_id}/content",
        "outputs/content",
        {"output_id": "$output"},
        "@content",
        [no(404, "output_not_found", output_id="nobody"), no(404, "output_unavailable", output_id="$lost_output")],
    ),
    Route("GET /dashboard/summary", "dashboard/summary", {}, "@summary", [bad("unknown", unknown=1)]),
    Route(
        "GET /dashboard/trends",
        "dashboard/trends",
        {"days": 3},
        "@trends",
        [bad("days", days=0), bad("days", days=91), bad("days", days="7")],
    ),
    Route("GET /dashboard/blockers", "dashboard/blockers", {}, "@blockers", [bad("unknown", unknown=1)]),
]
