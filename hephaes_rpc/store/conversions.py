"""Conversions: what was asked for; how it goes is the business of the job that each has."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Sequence
from typing import Any

import attrs
from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.conversions import ConversionDetail, ConversionSummary
from hephaes_rpc.model.jobs import RepresentationPolicy
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.jobrows import get_job, policy_of
from hephaes_rpc.store.jobs import MAX_ATTEMPTS, insert_job
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import from_json, new_id, now_us, to_json, to_time

_COLUMNS = (
    "c.id, c.job_id, j.status,"
    " (SELECT json_group_array(x.asset_id ORDER BY x.position) FROM conversion_assets x WHERE x.conversion_id = c.id),"
    " c.config, c.output_path, j.error ->> '$.message', c.representation_policy, c.created_at,"
    " max(c.updated_at, j.updated_at)"
)
_SOURCE = "conversions c JOIN jobs j ON j.id = c.job_id"

LISTING = Listing(
    name="conversions",
    columns=_COLUMNS,
    source=_SOURCE,
    id="c.id",
    sorts={"created_at": ("c.created_at",)},
    default="-created_at",
)


@frozen(kw_only=True)
class ConversionFilters:
    """Which conversions; those without a representation policy pass no filter."""

    image_payload_contract: str | None = None
    legacy_compatible: bool | None = None


class Conversions:
    """The conversions of one workspace."""

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places

    def create(
        self,
        asset_ids: Sequence[str],
        config: dict[str, Any],
        payload: dict[str, Any],
        *,
        output_path: str,
        policy: RepresentationPolicy | None = None,
        conversion_id: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        saved_config_id: str | None = None,
        saved_config_revision_id: str | None = None,
        job_config: dict[str, Any] | None = None,
        needs: Sequence[str] = (),
    ) -> ConversionDetail:
        """A conversion with its queued job, in one transaction; raises ``asset_not_found``.

        Args:
            asset_ids: In the order of the request, none twice.
            config: Snapshot of what is to be done.
            payload: What the job's worker gets.
            output_path: Folder of the outputs, absolute.
            policy: How images and nulls are represented.
            conversion_id: A fresh id, where the caller needed one for ``output_path`` and ``payload``.
            max_attempts: Of the job.
            saved_config_id: The config it was made from.
            saved_config_revision_id: The revision of that config.
            job_config: ``config_json`` of the job; without it ``config`` and the output path.
            needs: Jobs that must have succeeded before its job starts.
        """
        conversion_id, now = conversion_id or new_id(), now_us()
        with self._db.write("jobs") as session:
            job_id = insert_job(
                session,
                self._places,
                "convert",
                asset_ids,
                job_config or {"output_path": output_path, **config},
                payload,
                output_path=output_path,
                policy=policy,
                max_attempts=max_attempts,
                retry_of=None,
                conversion_id=conversion_id,
                needs=needs,
            )
            session.run(
                "INSERT INTO conversions (id, job_id, config, representation_policy, output_path, saved_config_id,"
                " saved_config_revision_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversion_id,
                    job_id,
                    to_json(config),
                    to_json(policy),
                    self._places.stored(output_path),
                    saved_config_id,
                    saved_config_revision_id,
                    now,
                    now,
                ),
            )
            session.many(
                "INSERT INTO conversion_assets (conversion_id, position, asset_id) VALUES (?, ?, ?)",
                [(conversion_id, position, asset_id) for position, asset_id in enumerate(asset_ids)],
            )
            return self._detail(session, conversion_id)

    def get(self, conversion_id: str) -> ConversionDetail:
        """One conversion with its job and files; raises ``conversion_not_found``."""
        with self._db.read() as session:
            return self._detail(session, conversion_id)

    def of_job(self, job_id: str) -> str | None:
        """The id of the conversion that a job is, or was, made for."""
        with self._db.read() as session:
            found: str | None = session.value("SELECT conversion_id FROM jobs WHERE id = ?", (job_id,))
        return found

    def move_to_job(self, conversion_id: str, new_job_id: str) -> ConversionDetail:
        """A retry: the conversion goes on under another job; raises ``conversion_not_found``."""
        with self._db.write("jobs") as session:
            moved = session.run(
                "UPDATE conversions SET job_id = ?, updated_at = ? WHERE id = ?", (new_job_id, now_us(), conversion_id)
            )
            if moved:
                session.run("UPDATE jobs SET conversion_id = ? WHERE id = ?", (conversion_id, new_job_id))
            return self._detail(session, conversion_id)

    def _detail(self, session: Session, conversion_id: str) -> ConversionDetail:
        row = session.one(f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE c.id = ?", (conversion_id,))
        if row is None:
            message = f"no conversion has the id {conversion_id}"
            raise HephaesError("conversion_not_found", message, conversion_id=conversion_id)
        summary = _summary(row, self._places)
        files = session.all("SELECT path FROM outputs WHERE conversion_id = ?", (conversion_id,))
        return ConversionDetail(
            **attrs.asdict(summary, recurse=False),
            output_files=sorted(self._places.absolute(path) for (path,) in files),
            job=get_job(session, self._places, summary.job_id),
        )

    def list(
        self,
        filters: ConversionFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[ConversionSummary]:
        """A page of conversions, the newest first unless sorted otherwise."""
        filters = filters or ConversionFilters()
        where = Where()
        where.add("c.image_payload_contract = ?", filters.image_payload_contract)
        where.add("c.legacy_compatible = ?", filters.legacy_compatible)
        with self._db.read() as session:
            return LISTING.page(
                session,
                filters,
                where,
                lambda rows: [_summary(row, self._places) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
            )


def conversions_of_asset(session: Session, places: Places, asset_id: str, limit: int) -> list[ConversionSummary]:
    """The newest conversions of an asset."""
    rows = session.all(
        f"SELECT {_COLUMNS} FROM {_SOURCE}"
        " WHERE c.id IN (SELECT conversion_id FROM conversion_assets WHERE asset_id = ?)"
        " ORDER BY c.created_at DESC, c.id DESC LIMIT ?",
        (asset_id, limit),
    )
    return [_summary(row, places) for row in rows]


def _summary(row: Row, places: Places) -> ConversionSummary:
    conversion_id, job_id, status, asset_ids, config, output_path, error, policy, created_at, updated_at = row
    return ConversionSummary(
        id=conversion_id,
        job_id=job_id,
        status=status,
        asset_ids=from_json(asset_ids),
        config=from_json(config),
        output_path=places.absolute(output_path),
        error_message=error,
        representation_policy=policy_of(policy),
        created_at=to_time(created_at),
        updated_at=to_time(updated_at),
    )
