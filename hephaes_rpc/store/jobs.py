"""The durable queue: jobs, the attempts at them, and who works on them."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model import Job, JobError, JobStatus, JobType, Progress, RepresentationPolicy
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.pages import DEFAULT_LIMIT, FEW, Listing, Page, Route, Way, Where, count
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import from_json, new_id, now_us, to_json, to_time, to_us

MAX_ATTEMPTS = 3

_COLUMNS = (
    "j.id, j.type, j.status,"
    " (SELECT json_group_array(x.asset_id ORDER BY x.position) FROM job_assets x WHERE x.job_id = j.id),"
    " j.config, j.representation_policy, j.output_path, j.created_at, j.updated_at, j.started_at, j.finished_at,"
    " j.attempt, j.max_attempts, j.retry_of, j.progress, j.error, j.signal"
)
_SELECT = f"SELECT {_COLUMNS} FROM jobs j"

LISTING = Listing(
    name="jobs",
    columns=_COLUMNS,
    source="jobs j",
    id="j.id",
    sorts={"created_at": ("j.created_at",), "updated_at": ("j.updated_at",)},
    default="-created_at",
)


@frozen(kw_only=True)
class JobFilters:
    """Which jobs; all conditions must hold, bounds are inclusive."""

    type: JobType | None = None
    status: JobStatus | None = None
    asset_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Jobs:
    """The jobs of one workspace.  Every change of a status is one guarded UPDATE."""

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places

    def create(
        self,
        type: JobType,
        asset_ids: Sequence[str],
        config: dict[str, Any],
        payload: dict[str, Any],
        *,
        output_path: str | None = None,
        policy: RepresentationPolicy | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        retry_of: str | None = None,
        priority: int = 0,
    ) -> Job:
        """A queued job; ``payload`` is what its worker gets.  Raises ``asset_not_found``.

        A retry of a conversion's job takes the conversion over.
        """
        with self._db.write("jobs") as session:
            conversion_id = session.value("SELECT id FROM conversions WHERE job_id = ?", (retry_of,))
            job_id = insert_job(
                session,
                self._places,
                type,
                asset_ids,
                config,
                payload,
                output_path=output_path,
                policy=policy,
                max_attempts=max_attempts,
                retry_of=retry_of,
                priority=priority,
                conversion_id=conversion_id,
            )
            session.run("UPDATE conversions SET job_id = ? WHERE id = ?", (job_id, conversion_id))
            return get_job(session, self._places, job_id)

    def get(self, job_id: str) -> Job:
        """One job; raises ``job_not_found``."""
        with self._db.read() as session:
            return get_job(session, self._places, job_id)

    def payload(self, job_id: str) -> dict[str, Any]:
        """What the job's worker gets; raises ``job_not_found``."""
        with self._db.read() as session:
            text = session.value("SELECT payload FROM jobs WHERE id = ?", (job_id,))
        if text is None:
            raise _job_not_found(job_id)
        payload: dict[str, Any] = from_json(text)
        return payload

    def counts(self) -> dict[str, int]:
        """How many jobs wait (``queued``) and how many are at work (``running``, those being cancelled included)."""
        with self._db.read() as session:
            return job_counts(session)

    def claim(self, owner: str) -> Job | None:
        """Take the most urgent and then oldest queued job for ``owner``: it runs, its attempt is counted."""
        return self._claim(
            "id = (SELECT id FROM jobs WHERE status = 'queued' ORDER BY -priority, created_at, rowid LIMIT 1)",
            (),
            owner,
        )

    def claim_job(self, job_id: str, owner: str) -> Job | None:
        """Take that job for ``owner``; None when it is not queued."""
        return self._claim("id = ? AND status = 'queued'", (job_id,), owner)

    def _claim(self, condition: str, values: tuple[str, ...], owner: str) -> Job | None:
        now = now_us()
        with self._db.write("jobs") as session:
            row = session.one(
                "UPDATE jobs SET status = 'running', attempt = attempt + 1, owner = ?, worker_pid = NULL,"
                " heartbeat_at = ?, started_at = coalesce(started_at, ?), updated_at = ?, progress = NULL,"
                f" error = NULL, signal = NULL WHERE {condition} RETURNING id, attempt",
                (owner, now, now, now, *values),
            )
            if row is None:
                return None
            session.run(
                "INSERT INTO job_attempts (job_id, attempt, owner, started_at) VALUES (?, ?, ?, ?)",
                (*row, owner, now),
            )
            return get_job(session, self._places, row[0])

    def set_worker(self, job_id: str, owner: str, pid: int) -> None:
        """The job is at work in process ``pid``; nothing when it is no longer ``owner``'s."""
        with self._db.write() as session:
            if session.run(
                "UPDATE jobs SET worker_pid = ?, heartbeat_at = ?"
                " WHERE id = ? AND owner = ? AND status IN ('running', 'cancelling')",
                (pid, now_us(), job_id, owner),
            ):
                session.run(
                    "UPDATE job_attempts SET worker_pid = ?"
                    " WHERE job_id = ? AND attempt = (SELECT attempt FROM jobs WHERE id = ?)",
                    (pid, job_id, job_id),
                )

    def heartbeat(self, owner: str) -> None:
        """``owner`` still works on its jobs."""
        with self._db.write() as session:
            session.run(
                "UPDATE jobs SET heartbeat_at = ? WHERE owner = ? AND status IN ('running', 'cancelling')",
                (now_us(), owner),
            )

    def transition(
        self,
        job_id: str,
        *,
        expect: tuple[JobStatus, ...],
        to: JobStatus,
        error: JobError | None = None,
        signal: str | None = None,
        progress: Progress | None = None,
    ) -> Job | None:
        """Change the status of a job that is in one of ``expect``; None when it is not (or does not exist).

        Args:
            job_id: The job.
            expect: The statuses it may leave.
            to: The new one; a job is made ``running`` by ``claim`` alone.
            error: Why it failed; an earlier error is forgotten.
            signal: Name of the signal that ended its worker.
            progress: Replaces the last one, unless None.
        """
        if to == "running":
            raise ValueError("a job starts by claim()")
        now = now_us()
        final = to in ("succeeded", "failed", "cancelled")
        with self._db.write("jobs") as session:
            row = session.one(
                "UPDATE jobs SET status = :to, error = :error, signal = :signal,"
                " progress = coalesce(:progress, progress), updated_at = :now, finished_at = iif(:final, :now, NULL),"
                " owner = iif(:to = 'cancelling', owner, NULL),"
                " worker_pid = iif(:to = 'cancelling', worker_pid, NULL)"
                " WHERE id = :id AND status IN (SELECT value FROM json_each(:expect)) RETURNING attempt",
                {
                    "to": to,
                    "error": to_json(error),
                    "signal": signal,
                    "progress": to_json(progress),
                    "now": now,
                    "final": final,
                    "id": job_id,
                    "expect": to_json(expect),
                },
            )
            if row is None:
                return None
            if to != "cancelling":
                session.run(
                    "UPDATE job_attempts SET finished_at = ?, outcome = ?, error = ?, signal = ?"
                    " WHERE job_id = ? AND attempt = ? AND finished_at IS NULL",
                    (now, to, to_json(error), signal, job_id, row[0]),
                )
            return get_job(session, self._places, job_id)

    def save_progress(self, job_id: str, progress: Progress) -> None:
        """How far a job at work is; nothing when it is no longer at work."""
        with self._db.write("progress") as session:
            session.run(
                "UPDATE jobs SET progress = ? WHERE id = ? AND status IN ('running', 'cancelling')",
                (to_json(progress), job_id),
            )

    def active_for_asset(self, asset_id: str, type: JobType) -> Job | None:
        """The oldest job of that type on an asset that waits or is at work."""
        with self._db.read() as session:
            row = session.one(
                f"{_SELECT} WHERE j.id IN (SELECT job_id FROM job_assets WHERE asset_id = ?) AND j.type = ?"
                " AND j.status IN ('queued', 'running', 'cancelling') ORDER BY j.created_at, j.id LIMIT 1",
                (asset_id, type),
            )
        return _job(row, self._places) if row else None

    def orphans(self, is_alive: Callable[[str], bool]) -> list[Job]:
        """Jobs at work whose owner is not alive, the oldest first."""
        with self._db.read() as session:
            owners = session.all("SELECT DISTINCT owner FROM jobs WHERE status IN ('running', 'cancelling')")
            dead = [owner for (owner,) in owners if not is_alive(owner)]
            rows = session.all(
                f"{_SELECT} WHERE j.status IN ('running', 'cancelling')"
                " AND j.owner IN (SELECT value FROM json_each(?)) ORDER BY j.created_at, j.id",
                (to_json(dead),),
            )
        return [_job(row, self._places) for row in rows]

    def changed_at(self) -> datetime:
        """When a job was changed last."""
        with self._db.read() as session:
            at_us: int = session.value("SELECT coalesce(max(updated_at), 0) FROM jobs")
        return to_time(at_us)

    def changed_since(self, when: datetime) -> list[Job]:
        """Jobs in the order of their last change, from that time on."""
        with self._db.read() as session:
            rows = session.all(f"{_SELECT} WHERE j.updated_at >= ? ORDER BY j.updated_at, j.id", (to_us(when),))
        return [_job(row, self._places) for row in rows]

    def at_work(self) -> list[Job]:
        """Jobs that run or are being cancelled, whoever has them."""
        with self._db.read() as session:
            rows = session.all(f"{_SELECT} WHERE j.status IN ('running', 'cancelling') ORDER BY j.created_at, j.id")
        return [_job(row, self._places) for row in rows]

    def list(
        self,
        filters: JobFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[Job]:
        """A page of jobs, the newest first unless sorted otherwise."""
        filters = filters or JobFilters()
        where = Where()
        where.add("j.type = ?", filters.type)
        where.add("j.status = ?", filters.status)
        where.add("j.id IN (SELECT job_id FROM job_assets WHERE asset_id = ?)", filters.asset_id)
        where.add("j.created_at >= ?", None if filters.created_after is None else to_us(filters.created_after))
        where.add("j.created_at <= ?", None if filters.created_before is None else to_us(filters.created_before))
        with self._db.read() as session:

            def route(order: str) -> Route | None:
                """By the time of the last change, dense rows are walked in that order, not sorted."""
                plain = Way("jobs j", tuple(where.conditions), "")
                if order != "updated_at" or not where.conditions:
                    return None
                is_bounded = filters.created_after is not None or filters.created_before is not None
                few = 5 * FEW if is_bounded else FEW  # those of one time were changed at one time, too
                if filters.asset_id is not None or count(session, plain, where.bindings, few + 1) <= few:
                    return None
                return Route(Way("jobs j INDEXED BY jobs_by_update", plain.conditions, ""), plain)

            return LISTING.page(
                session,
                filters,
                where,
                lambda rows: [_job(row, self._places) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
                route=route,
            )


def insert_job(
    session: Session,
    places: Places,
    type: JobType,
    asset_ids: Sequence[str],
    config: dict[str, Any],
    payload: dict[str, Any],
    *,
    output_path: str | None,
    policy: RepresentationPolicy | None,
    max_attempts: int,
    retry_of: str | None,
    priority: int = 0,
    conversion_id: str | None = None,
) -> str:
    """Insert a queued job and give its id; raises ``asset_not_found``."""
    job_id, now = new_id(), now_us()
    require_assets(session, asset_ids)
    session.run(
        "INSERT INTO jobs (id, type, priority, config, payload, representation_policy, output_path, conversion_id,"
        " max_attempts, retry_of, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            type,
            priority,
            to_json(config),
            to_json(payload),
            to_json(policy),
            None if output_path is None else places.stored(output_path),
            conversion_id,
            max_attempts,
            retry_of,
            now,
            now,
        ),
    )
    session.many(
        "INSERT INTO job_assets (job_id, position, asset_id) VALUES (?, ?, ?)",
        [(job_id, position, asset_id) for position, asset_id in enumerate(asset_ids)],
    )
    return job_id


def require_assets(session: Session, asset_ids: Sequence[str]) -> None:
    """Raise ``asset_not_found`` for the first id that no asset has."""
    unknown = session.value(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM assets WHERE id = value) ORDER BY key LIMIT 1",
        (to_json(list(asset_ids)),),
    )
    if unknown is not None:
        raise HephaesError("asset_not_found", f"no asset has the id {unknown}", asset_id=unknown)


def get_job(session: Session, places: Places, job_id: str) -> Job:
    """One job; raises ``job_not_found``."""
    row = session.one(f"{_SELECT} WHERE j.id = ?", (job_id,))
    if row is None:
        raise _job_not_found(job_id)
    return _job(row, places)


def jobs_of_asset(session: Session, places: Places, asset_id: str, limit: int) -> list[Job]:
    """The newest jobs on an asset."""
    rows = session.all(
        f"{_SELECT} WHERE j.id IN (SELECT job_id FROM job_assets WHERE asset_id = ?)"
        " ORDER BY j.created_at DESC, j.id DESC LIMIT ?",
        (asset_id, limit),
    )
    return [_job(row, places) for row in rows]


def job_counts(session: Session) -> dict[str, int]:
    """``Jobs.counts`` in a transaction that is already open."""
    rows = session.all(
        "SELECT iif(status = 'queued', 'queued', 'running'), count(*) FROM jobs"
        " WHERE status IN ('queued', 'running', 'cancelling') GROUP BY 1"
    )
    return {"queued": 0, "running": 0} | dict(rows)


def policy_of(text: str | None) -> RepresentationPolicy | None:
    """A stored representation policy."""
    return None if text is None else RepresentationPolicy(**from_json(text))


def _job_not_found(job_id: str) -> HephaesError:
    return HephaesError("job_not_found", f"no job has the id {job_id}", job_id=job_id)


def _job(row: Row, places: Places) -> Job:
    (job_id, job_type, status, asset_ids, config, policy, output_path, created_at, updated_at, *rest) = row
    started_at, finished_at, attempt, max_attempts, retry_of, progress, error, signal = rest
    failure = None if error is None else JobError(**from_json(error))
    return Job(
        id=job_id,
        type=job_type,
        status=status,
        target_asset_ids_json=from_json(asset_ids),
        config_json=from_json(config),
        representation_policy=policy_of(policy),
        output_path=None if output_path is None else places.absolute(output_path),
        error_message=None if failure is None else failure.message,
        created_at=to_time(created_at),
        updated_at=to_time(updated_at),
        started_at=to_time(started_at),
        finished_at=to_time(finished_at),
        attempt=attempt,
        max_attempts=max_attempts,
        retry_of=retry_of,
        progress=None if progress is None else Progress(**from_json(progress)),
        error=failure,
        signal=signal,
    )
