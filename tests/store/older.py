"""A workspace as the older program keeps it: its tables, written out by hand from its description."""

import json
from pathlib import Path

import apsw

TABLES = """
CREATE TABLE workspace_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE assets (id TEXT PRIMARY KEY, file_path TEXT NOT NULL UNIQUE, file_name TEXT NOT NULL,
    file_type TEXT NOT NULL, file_size INTEGER NOT NULL, indexing_status TEXT NOT NULL DEFAULT 'pending',
    last_indexed_at TEXT, registered_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE asset_metadata (asset_id TEXT PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE, duration REAL,
    start_time TEXT, end_time TEXT, topic_count INTEGER NOT NULL DEFAULT 0, message_count INTEGER NOT NULL DEFAULT 0,
    sensor_types_json TEXT NOT NULL DEFAULT '[]', topics_json TEXT NOT NULL DEFAULT '[]', default_episode_json TEXT,
    visualization_summary_json TEXT, raw_metadata_json TEXT NOT NULL DEFAULT '{}', indexing_error TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE tags (id TEXT PRIMARY KEY, name TEXT NOT NULL, normalized_name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE asset_tags (asset_id TEXT NOT NULL, tag_id TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (asset_id, tag_id));
CREATE TABLE conversion_configs (id TEXT PRIMARY KEY, name TEXT NOT NULL, normalized_name TEXT NOT NULL UNIQUE,
    description TEXT, metadata_json TEXT NOT NULL DEFAULT '{}', spec_document_path TEXT NOT NULL,
    spec_document_version INTEGER NOT NULL, invalid_reason TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    last_opened_at TEXT);
CREATE TABLE conversion_config_revisions (id TEXT PRIMARY KEY, config_id TEXT NOT NULL,
    revision_number INTEGER NOT NULL, description TEXT, metadata_json TEXT NOT NULL DEFAULT '{}',
    spec_document_path TEXT NOT NULL,
    spec_document_version INTEGER NOT NULL, invalid_reason TEXT, created_at TEXT NOT NULL);
CREATE TABLE jobs (id TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT NOT NULL,
    target_asset_ids_json TEXT NOT NULL DEFAULT '[]', config_json TEXT NOT NULL DEFAULT '{}', conversion_run_id TEXT,
    error_message TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, started_at TEXT, completed_at TEXT);
CREATE TABLE conversion_runs (id TEXT PRIMARY KEY, job_id TEXT, status TEXT NOT NULL,
    source_asset_ids_json TEXT NOT NULL DEFAULT '[]', source_asset_paths_json TEXT NOT NULL DEFAULT '[]',
    saved_config_id TEXT, saved_config_revision_id TEXT, config_json TEXT NOT NULL DEFAULT '{}',
    output_dir TEXT NOT NULL, output_paths_json TEXT NOT NULL DEFAULT '[]', error_message TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, started_at TEXT, completed_at TEXT);
CREATE TABLE output_artifacts (id TEXT PRIMARY KEY, conversion_run_id TEXT, source_asset_id TEXT,
    source_asset_path TEXT, saved_config_id TEXT, output_path TEXT NOT NULL UNIQUE, relative_path TEXT NOT NULL,
    file_name TEXT NOT NULL, format TEXT NOT NULL, role TEXT NOT NULL, media_type TEXT,
    size_bytes INTEGER NOT NULL DEFAULT 0, availability_status TEXT NOT NULL DEFAULT 'ready',
    manifest_available INTEGER NOT NULL DEFAULT 0, report_available INTEGER NOT NULL DEFAULT 0,
    metadata_json TEXT NOT NULL DEFAULT '{}', created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
"""
AT = "2024-05-01T10:00:00+00:00"
LATER = "2024-05-02T10:00:00.250000+00:00"
CONFIG = "11111111-1111-4111-8111-111111111111"


def write(root: Path, version: str = "11") -> Path:
    """``<root>/.hephaes/workspace.sqlite3`` with assets, tags, a config, jobs of all kinds, runs and outputs."""
    folder = root / ".hephaes"
    (folder / "specs" / "revisions").mkdir(parents=True)
    (folder / "outputs" / "run").mkdir(parents=True)
    old = {"spec_version": 1, "spec": {"schema": {"name": "old", "version": 1}}, "metadata": {}}
    (folder / "specs" / f"{CONFIG}.json").write_text(json.dumps(old))
    (folder / "specs" / "revisions" / "r1.json").write_text(json.dumps(old))
    dataset = folder / "outputs" / "run" / "episode_0001.parquet"
    dataset.write_bytes(b"PAR1")
    path = folder / "workspace.sqlite3"
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute(TABLES).fetchall()

    def put(table: str, **values: object) -> None:
        marks = ", ".join(f":{name}" for name in values)
        db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", values).fetchall()

    put("workspace_meta", key="schema_version", value=version)
    for number, (name, status, indexed) in enumerate((("a.bag", "indexed", LATER), ("b.mcap", "indexing", None))):
        put(
            "assets",
            id=f"asset-{number}",
            file_path=str(root / "logs" / name),
            file_name=name,
            file_type=name.rpartition(".")[2],
            file_size=100 + number,
            indexing_status=status,
            last_indexed_at=indexed,
            registered_at=AT,
            updated_at=AT,
        )
    topic = {"name": "/imu", "message_type": "sensor_msgs/msg/Imu", "message_count": 3, "rate_hz": 1.5}
    put(
        "asset_metadata",
        asset_id="asset-0",
        duration=2.5,
        start_time="2024-04-30T08:00:00.500000+00:00",
        end_time="2024-04-30T08:00:03+00:00",
        topic_count=1,
        message_count=3,
        sensor_types_json='["imu"]',
        topics_json=json.dumps([{**topic, "modality": "scalar_series"}]),
        default_episode_json='{"episode_id": "asset-0:default", "label": "Episode 1", "duration": 2.5}',
        raw_metadata_json='{"ros_version": "ROS1"}',
        created_at=AT,
        updated_at=AT,
    )
    put("tags", id="tag-0", name="Night  Drive", normalized_name="night drive", created_at=AT, updated_at=AT)
    put("asset_tags", asset_id="asset-0", tag_id="tag-0", created_at=AT)
    put("asset_tags", asset_id="gone", tag_id="tag-0", created_at=AT)
    config = {"name": "Old Config", "normalized_name": "old config", "description": "of old"}
    put(
        "conversion_configs",
        id=CONFIG,
        spec_document_path=f"{CONFIG}.json",
        spec_document_version=1,
        created_at=AT,
        updated_at=LATER,
        **config,
    )
    put(
        "conversion_config_revisions",
        id="revision-1",
        config_id=CONFIG,
        revision_number=1,
        description="of old",
        spec_document_path="revisions/r1.json",
        spec_document_version=1,
        created_at=AT,
    )
    times = {"created_at": AT, "updated_at": LATER, "started_at": AT}
    put("jobs", id="job-i", kind="index_asset", status="failed", error_message="no luck", completed_at=LATER,
        target_asset_ids_json='["asset-1"]', **times)  # fmt: skip
    put("jobs", id="job-c", kind="conversion", status="succeeded", completed_at=LATER,
        target_asset_ids_json='["asset-0"]', conversion_run_id="run-0", **times)  # fmt: skip
    put("jobs", id="job-q", kind="conversion", status="pending", target_asset_ids_json='["asset-0"]', **times)
    put("jobs", id="job-x", kind="prepare_visualization", status="succeeded", **times)
    policy = {"policy_version": 1, "output_format": "tfrecord", "effective_image_payload_contract": "legacy_list_v1"}
    put("conversion_runs", id="run-0", job_id="job-c", status="succeeded", source_asset_ids_json='["asset-0"]',
        saved_config_id=CONFIG, saved_config_revision_id="revision-1", output_dir=str(dataset.parent),
        config_json=json.dumps({"mapping_mode": "auto", "representation_policy": policy}), **times)  # fmt: skip
    put("conversion_runs", id="run-1", job_id=None, status="failed", error_message="lost its job",
        source_asset_ids_json='["asset-0", "asset-1"]', output_dir=str(folder / "none"), **times)  # fmt: skip
    manifest = {"manifest": {"manifest_version": 1, "dataset": {"rows_written": 7}}}
    for number, (run, name) in enumerate((("run-0", dataset), ("run-0", dataset.with_name("gone.json")), (None, "/x"))):
        put(
            "output_artifacts",
            id=f"output-{number}",
            conversion_run_id=run,
            source_asset_id="asset-0",
            output_path=str(name),
            relative_path="x",
            file_name=Path(name).name,
            format="parquet",
            role="dataset",
            size_bytes=4,
            metadata_json=json.dumps(manifest if not number else {}),
            created_at=AT,
            updated_at=AT,
        )
    db.close()
    return path
