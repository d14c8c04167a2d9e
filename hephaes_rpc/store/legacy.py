"""Takes over, once, what an older program has kept beside our database: assets, tags, configs, conversions, outputs.

Strategy: the old database is read from a copy, so that nothing about it changes, and everything it holds is written in
one transaction together with the note that this has been done.  Only the one layout that was ever released is read.
What ours cannot say is left out and told to the log: jobs of unknown kinds, rows that refer to rows that are gone,
names that differ in case only.  Jobs that the older program never finished have failed.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

import logging
import math
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.jobs import JobError
from hephaes_rpc.store.assets import file_type_of, search_text_of
from hephaes_rpc.store.blobs import store_blob
from hephaes_rpc.store.db import Database, Session
from hephaes_rpc.store.outputs import classify
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import folded, from_json, new_id, normalized, now_us, to_json, to_us

logger = logging.getLogger(__name__)

VERSION = "11"
MAX_DOCUMENT_BYTES = 64 << 20
MILESTONE = "legacy_import"

Record = Mapping[str, Any]

_ORDERS = {
    "workspace_meta": "key",
    "assets": "registered_at, id",
    "asset_metadata": "asset_id",
    "tags": "created_at, id",
    "asset_tags": "asset_id, tag_id",
    "conversion_configs": "created_at, id",
    "conversion_config_revisions": "config_id, revision_number",
    "jobs": "created_at, id",
    "conversion_runs": "created_at, id",
    "output_artifacts": "created_at, id",
}
_STATUSES = {"succeeded": "succeeded", "failed": "failed"}
_TYPES = {"index_asset": "index", "conversion": "convert"}
_UNFINISHED = JobError("worker_died", "the program that made this job never finished it")
_MARKERS = {"legacy_list_v1": ["legacy_list_image_payload"]}


def import_once(db: Database, places: Places, old: Path) -> bool:
    """Import the database ``old`` unless that has been done; whether anything was imported.

    Raises:
        HephaesError: ``workspace_corrupt`` for a database that cannot be read; nothing has been imported then.
    """
    with db.read() as session:
        if session.value("SELECT count(*) FROM milestones WHERE key = ?", (MILESTONE,)):
            return False
    tables = _read(old)
    with db.write("assets", "tags", "jobs", "outputs", "conversionConfigs") as session:
        if session.value("SELECT count(*) FROM milestones WHERE key = ?", (MILESTONE,)):
            return False
        _Import(tables, session, places, old.parent).run()
        session.run("INSERT INTO milestones (key, reached_at) VALUES (?, ?)", (MILESTONE, now_us()))
    logger.info("%s has been imported", old)
    return True


def _read(old: Path) -> dict[str, list[Record]]:
    """The rows of the old database, in the order in which they were made, from a copy of it and its log."""
    with tempfile.TemporaryDirectory(prefix=".import-", dir=old.parent) as folder:
        copy = Path(folder) / old.name
        for suffix in ("", "-wal"):
            source = old.with_name(old.name + suffix)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        try:
            with closing(apsw.Connection(str(copy))) as connection:
                connection.row_trace = _as_record
                tables: dict[str, list[Any]] = {
                    name: connection.execute(f"SELECT * FROM {name} ORDER BY {order}").fetchall()
                    for name, order in _ORDERS.items()
                }
        except apsw.Error as error:
            raise HephaesError("workspace_corrupt", f"{old} cannot be read: {error}") from error
    version = next((row["value"] for row in tables["workspace_meta"] if row["key"] == "schema_version"), None)
    if version != VERSION:
        raise HephaesError("workspace_corrupt", f"{old} has the version {version}, not {VERSION}")
    return tables


def _as_record(cursor: apsw.Cursor, row: tuple[Any, ...]) -> Record:
    return dict(zip((name for name, *_ in cursor.description), row, strict=True))


class _Import:
    """One import, in the order in which rows refer to each other."""

    def __init__(self, tables: Mapping[str, list[Record]], session: Session, places: Places, folder: Path) -> None:
        self._tables = tables
        self._session = session
        self._places = places
        self._specs = folder / "specs"
        self._now = now_us()

    def run(self) -> None:
        """Import everything."""
        self._assets()
        self._tags()
        self._configs()
        self._jobs()
        self._conversions()
        self._outputs()

    def _knows(self, table: str, key: Any) -> bool:
        return self._session.value(f"SELECT 1 FROM {table} WHERE id = ?", (key,)) is not None

    def _insert(self, table: str, **values: Any) -> bool:
        """Whether a row has been added; one that is there already stays as it is."""
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        return self._session.run(f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", values) > 0

    def _us(self, text: str | None) -> int:
        found = _when(text)
        return self._now if found is None else to_us(found)

    def _assets(self) -> None:
        found = {row["asset_id"]: row for row in self._tables["asset_metadata"]}
        for row in self._tables["assets"]:
            metadata = found.get(row["id"])
            path = Path(row["file_path"])
            stored = self._places.stored(path)
            status = row["indexing_status"]
            indexed_at = self._us(row["last_indexed_at"]) if row["last_indexed_at"] else None
            if status == "indexing":
                status = "indexed" if indexed_at else "pending"
            if not self._insert(
                "assets",
                registered_at=self._free_number(self._us(row["registered_at"])),
                id=row["id"],
                file_path=stored,
                file_name=path.name,
                file_type=file_type_of(path),
                file_size=max(0, row["file_size"]),
                mtime_ns=_mtime_ns(path),
                indexing_status=status,
                last_indexed_at=indexed_at,
                duration=metadata and metadata["duration"],
                start_ns=metadata and _ns(metadata["start_time"]),
                search_text=search_text_of(path, stored),
            ):
                logger.warning("%s is registered already and is not imported again", path)
            elif metadata is not None:
                self._metadata(metadata)

    def _free_number(self, number: int) -> int:
        """The first time of registration from ``number`` on that no asset has."""
        while self._session.value("SELECT 1 FROM assets WHERE registered_at = ?", (number,)):
            number += 1
        return number

    def _metadata(self, row: Record) -> None:
        episode = _loaded(row["default_episode_json"], None)
        topics = [_topic(topic) for topic in _loaded(row["topics_json"], []) if isinstance(topic, dict)]
        self._insert(
            "asset_metadata",
            asset_id=row["asset_id"],
            end_ns=_ns(row["end_time"]),
            message_count=row["message_count"],
            topic_count=row["topic_count"],
            sensor_types=to_json(_loaded(row["sensor_types_json"], [])),
            topics=to_json(topics),
            default_episode=to_json(_episode(episode)),
            raw_metadata=to_json(_loaded(row["raw_metadata_json"], {})),
            indexing_error=row["indexing_error"],
            created_at=self._now,
            updated_at=self._now,
        )

    def _tags(self) -> None:
        for row in self._tables["tags"]:
            name = normalized(row["name"])
            self._insert(
                "tags", id=row["id"], name=row["name"], normalized_name=name, created_at=self._us(row["created_at"])
            )
            known = self._session.value("SELECT id FROM tags WHERE normalized_name = ?", (name,))
            for link in (link for link in self._tables["asset_tags"] if link["tag_id"] == row["id"]):
                number = self._session.value("SELECT registered_at FROM assets WHERE id = ?", (link["asset_id"],))
                if number is not None:
                    self._insert("asset_tags", tag_id=known, asset=number, created_at=self._us(link["created_at"]))

    def _configs(self) -> None:
        for row in self._tables["conversion_configs"]:
            revisions = [each for each in self._tables["conversion_config_revisions"] if each["config_id"] == row["id"]]
            if not self._insert(
                "conversion_configs",
                id=row["id"],
                name=row["name"],
                normalized_name=normalized(row["name"]),
                description=row["description"],
                metadata=to_json(_loaded(row["metadata_json"], {})),
                created_at=self._us(row["created_at"]),
                updated_at=self._us(row["updated_at"]),
                last_opened_at=self._us(row["last_opened_at"]) if row["last_opened_at"] else None,
            ):
                logger.warning("a config with the name %s is there already; the older one is not imported", row["name"])
                continue
            current = self._document(row["spec_document_path"])
            for number, revision in enumerate(revisions, 1):
                is_last = number == len(revisions)
                data = current if is_last and current else self._document(revision["spec_document_path"])
                self._revision(row["id"], number, revision, data)
            if not revisions:
                self._revision(row["id"], 1, {**row, "id": new_id()}, current)

    def _revision(self, config_id: str, number: int, row: Record, data: bytes) -> None:
        self._insert(
            "config_revisions",
            id=row["id"],
            config_id=config_id,
            revision_number=number,
            change_kind="import",
            change_summary=row["description"],
            document_sha256=store_blob(self._session, data, self._now),
            document_version=max(1, row["spec_document_version"]),
            created_at=self._us(row["created_at"]),
        )

    def _document(self, name: str) -> bytes:
        """A spec document as it is; nothing, which is invalid and can be repaired, where it cannot be read."""
        try:
            path = (self._specs / name).resolve()
            if path.is_relative_to(self._specs.resolve()) and path.stat().st_size <= MAX_DOCUMENT_BYTES:
                return path.read_bytes()
        except (OSError, ValueError):
            pass
        logger.warning("the document %s of a config cannot be read", name)
        return b""

    def _jobs(self) -> None:
        for row in self._tables["jobs"]:
            if row["kind"] not in _TYPES:
                logger.warning("the job %s has the unknown kind %s and is not imported", row["id"], row["kind"])
                continue
            asset_ids = _loaded(row["target_asset_ids_json"], [])
            self._job(row, _TYPES[row["kind"]], asset_ids, _loaded(row["config_json"], {}))

    def _job(self, row: Record, job_type: str, asset_ids: list[Any], config: dict[str, Any]) -> None:
        status = _STATUSES.get(row["status"], "failed")
        failure = JobError("bad_input", row["error_message"] or "failed") if row["status"] == "failed" else _UNFINISHED
        changed_at = self._us(row["updated_at"])
        assets = [{"asset_id": asset_id, "path": ""} for asset_id in asset_ids] if job_type == "index" else []
        if self._insert(
            "jobs",
            id=row["id"],
            type=job_type,
            status=status,
            config=to_json(config),
            payload=to_json({"type": job_type, "assets": assets}),
            output_path=self._stored(config.get("output_path")),
            attempt=1,
            max_attempts=1,
            error=to_json(failure) if status == "failed" else None,
            created_at=self._us(row["created_at"]),
            updated_at=changed_at,
            started_at=self._us(row["started_at"]) if row["started_at"] else None,
            finished_at=self._us(row["completed_at"]) if row["completed_at"] else changed_at,
        ):
            self._link("job_assets", "job_id", row["id"], asset_ids)

    def _link(self, table: str, column: str, key: str, asset_ids: list[Any]) -> None:
        known = [asset_id for asset_id in dict.fromkeys(map(str, asset_ids)) if self._knows("assets", asset_id)]
        for position, asset_id in enumerate(known):
            self._insert(table, **{column: key, "position": position, "asset_id": asset_id})

    def _conversions(self) -> None:
        for row in self._tables["conversion_runs"]:
            asset_ids = _loaded(row["source_asset_ids_json"], [])
            config = _loaded(row["config_json"], {})
            job_id = row["job_id"]
            taken = self._session.value("SELECT 1 FROM conversions WHERE job_id = ?", (job_id,)) is not None
            if job_id is None or taken or not self._knows("jobs", job_id):
                job_id = new_id()
                self._job({**row, "id": job_id}, "convert", asset_ids, {**config, "output_path": row["output_dir"]})
            policy = _policy(config)
            self._session.run("UPDATE jobs SET conversion_id = ? WHERE id = ?", (row["id"], job_id))
            self._insert(
                "conversions",
                id=row["id"],
                job_id=job_id,
                config=to_json(config),
                representation_policy=to_json(policy),
                output_path=self._places.stored(row["output_dir"]),
                saved_config_id=self._known("conversion_configs", row["saved_config_id"]),
                saved_config_revision_id=self._known("config_revisions", row["saved_config_revision_id"]),
                created_at=self._us(row["created_at"]),
                updated_at=self._us(row["updated_at"]),
            )
            self._link("conversion_assets", "conversion_id", row["id"], asset_ids)

    def _known(self, table: str, key: str | None) -> str | None:
        return key if self._knows(table, key) else None

    def _outputs(self) -> None:
        for row in self._tables["output_artifacts"]:
            owner = self._session.one("SELECT id, job_id FROM conversions WHERE id = ?", (row["conversion_run_id"],))
            if owner is None:
                logger.warning("the output %s belongs to no conversion and is not imported", row["output_path"])
                continue
            path = Path(row["output_path"])
            file_format, role, media_type = classify(path.name)
            manifest = _loaded(row["metadata_json"], {}).get("manifest")
            is_kept = role in ("dataset", "manifest") and isinstance(manifest, dict)
            if self._insert(
                "outputs",
                id=row["id"],
                conversion_id=owner[0],
                job_id=owner[1],
                path=self._places.stored(path),
                relative_path=path.name,
                file_name=path.name,
                format=file_format,
                role=role,
                media_type=media_type,
                size_bytes=max(0, row["size_bytes"]),
                availability_status="missing" if row["availability_status"] == "missing" else "ready",
                manifest_sha256=store_blob(self._session, to_json(manifest).encode(), self._now) if is_kept else None,
                search_text=folded(f"{path.name} {path.name} {file_format} {role} {owner[0]}"),
                created_at=self._us(row["created_at"]),
                updated_at=self._us(row["updated_at"]),
            ):
                source = row["source_asset_id"]
                self._session.run(
                    "INSERT INTO output_assets (output_id, position, asset_id)"
                    " SELECT ?1, row_number() OVER (ORDER BY position) - 1, asset_id FROM conversion_assets"
                    " WHERE conversion_id = ?2 AND (?3 IS NULL OR asset_id = ?3)",
                    (row["id"], owner[0], source),
                )

    def _stored(self, path: Any) -> str | None:
        return self._places.stored(path) if isinstance(path, str) and path else None


def _when(text: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat(text or "")
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _ns(text: str | None) -> int | None:
    when = _when(text)
    return None if when is None else max(-(2**63), min(2**63 - 1, to_us(when) * 1000))


def _mtime_ns(path: Path) -> int:
    """When the file was written last, 0 when it is gone: it counts as changed then once it is back."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _loaded(text: Any, default: Any) -> Any:
    """The value of a JSON text; ``default`` for anything that is not one of its type."""
    try:
        value = from_json(text)
    except (ValueError, TypeError):
        return default
    return value if default is None or isinstance(value, type(default)) else default


def _topic(topic: Record) -> dict[str, Any]:
    """A topic with what the older program did not look at left open."""
    rate = topic.get("rate_hz")
    return {
        "name": str(topic.get("name", "")),
        "message_type": str(topic.get("message_type", "")),
        "message_count": int(topic.get("message_count") or 0),
        "rate_hz": float(rate) if isinstance(rate, int | float) and math.isfinite(rate) else 0.0,
        "modality": str(topic.get("modality", "other")),
        "encoding": "",
        "schema_encoding": "",
        "start_ns": None,
        "end_ns": None,
        "max_gap_ns": None,
        "out_of_order": 0,
        "undecodable": None,
    }


def _episode(episode: Any) -> dict[str, Any] | None:
    if not isinstance(episode, dict) or {"episode_id", "label", "duration"} - episode.keys():
        return None
    return {name: episode[name] for name in ("episode_id", "label", "duration")}


def _policy(config: Record) -> dict[str, Any] | None:
    """The policy of a snapshot in the shape of ours."""
    found = config.get("representation_policy")
    if not isinstance(found, dict) or found.get("output_format") not in ("parquet", "tfrecord"):
        return None
    contract = found.get("image_payload_contract") or found.get("effective_image_payload_contract")
    return {
        "policy_version": found.get("policy_version") or 1,
        "output_format": found["output_format"],
        "requested_image_payload_contract": found.get("requested_image_payload_contract"),
        "image_payload_contract": contract,
        "payload_encoding": found.get("payload_encoding"),
        "null_encoding": found.get("null_encoding"),
        "compatibility_markers": found.get("compatibility_markers") or _MARKERS.get(contract or "", []),
        "warnings": found.get("warnings") or [],
    }
