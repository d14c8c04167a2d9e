"""The durable queue: jobs, the attempts at them, and who works on them."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.jobs import RETRIABLE, Job, JobError, JobStatus, JobType, Progress, RepresentationPolicy
from hephaes_rpc.store.db import Database, Session
from hephaes_rpc.store.findings import basis_of
from hephaes_rpc.store.joblists import JobFilters, list_jobs
from hephaes_rpc.store.jobrows import SELECT, get_job, job_not_found, job_of
from hephaes_rpc.store.leases import Lease
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Page
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import from_json, new_id, now_us, to_json, to_time, to_us

MAX_ATTEMPTS = 3
PRIORITIES: dict[JobType, int] = {"index": 10, "convert": 0, "analyze": -10}
"""What somebody waits for comes first; what nobody asked for waits for all others."""
ASKED_FOR = -5
"""Of an ``analyze`` job that somebody does ask for: before those that follow an index by themselves."""
MAX_WAIT_US = 60_000_000
"""A time further off than this was written by a clock that has been set back since."""
_IS_DUE = "coalesce(j.not_before NOT BETWEEN :now + 1 AND :now + :most, 1)"
_NEEDS_NOTHING = (
    "NOT EXISTS (SELECT 1 FROM job_needs n JOIN jobs d ON d.id = n.needs_job_id"
    " WHERE n.job_id = j.id AND d.status <> 'succeeded')"
)


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
        priority: int | None = None,
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

    def index_once(self, asset_id: str, config: dict[str, Any], payload: dict[str, Any]) -> tuple[Job, bool]:
        """The index job of an asset that waits or is at work, else a new one; whether it is new."""
        with self._db.write("jobs") as session:
            return self._once(session, "index", asset_id, config, payload, PRIORITIES["index"])

    def analyze_once(
        self, asset_id: str, config: dict[str, Any], payload: dict[str, Any], *, again: bool
    ) -> tuple[Job, bool] | None:
        """The ``analyze`` job of an asset that waits or is at work, else a new one; whether it is new.

        Args:
            again: Somebody asks for it: it goes before others of its type, even of an asset that has been analyzed as
                it is.  Otherwise there is none for such.
        """
        with self._db.write("jobs") as session:
            if not again and basis_of(session, asset_id) == "messages":
                return None
            priority = ASKED_FOR if again else PRIORITIES["analyze"]
            return self._once(session, "analyze", asset_id, config, payload, priority)

    def _once(
        self,
        session: Session,
        type_: JobType,
        asset_id: str,
        config: dict[str, Any],
        payload: dict[str, Any],
        priority: int,
    ) -> tuple[Job, bool]:
        active = _active(session, type_, asset_id)
        if active is not None:
            session.run("UPDATE jobs SET priority = ?1 WHERE id = ?2 AND priority < ?1", (priority, active))
        job_id = active or insert_job(
            session,
            self._places,
            type_,
            [asset_id],
            config,
            payload,
            output_path=None,
            policy=None,
            max_attempts=MAX_ATTEMPTS,
            retry_of=None,
            priority=priority,
        )
        return get_job(session, self._places, job_id), active is None

    def in_background(self) -> list[Job] | None:
        """Jobs that nobody waits for, those that wait and those at work; None when there are others too."""
        with self._db.read() as session:
            rows = session.all(f"{SELECT} WHERE j.status IN ('queued', 'running', 'cancelling', 'interrupted')")
            found = [job_of(row, self._places) for row in rows]
        return found if all(job.type == "analyze" for job in found) else None

    def get(self, job_id: str) -> Job:
        """One job; raises ``job_not_found``."""
        with self._db.read() as session:
            return get_job(session, self._places, job_id)

    def payload(self, job_id: str) -> dict[str, Any]:
        """What the job's worker gets; raises ``job_not_found``."""
        with self._db.read() as session:
            text = session.value("SELECT payload FROM jobs WHERE id = ?", (job_id,))
        if text is None:
            raise job_not_found(job_id)
        payload: dict[str, Any] = from_json(text)
        return payload

    def counts(self) -> dict[str, int]:
        """How many jobs wait (``queued``) and how many are at work (``running``, those being cancelled included)."""
        with self._db.read() as session:
            return job_counts(session)

    def claim(self, owner: str, types: Sequence[JobType] = tuple(PRIORITIES)) -> Job | None:
        """Take the most urgent and then oldest job of those types that waits for nothing but its turn.

        It runs for ``owner``, its attempt is counted; with an index job its assets are being indexed from then on.
        """
        while True:
            with self._db.read() as session:
                row = session.one(
                    "SELECT j.id, j.type FROM jobs j INDEXED BY jobs_queue"
                    f" WHERE j.status = 'queued' AND {_NEEDS_NOTHING}"
                    " AND j.type IN (SELECT value FROM json_each(?))"
                    " ORDER BY -j.priority, j.created_at, j.rowid LIMIT 1",
                    (to_json(list(types)),),
                )
            if row is None:
                return None
            if (job := self._claim(row[0], row[1], owner)) is not None:
                return job

    def claim_job(self, job_id: str, owner: str) -> Job | None:
        """Take that job for ``owner``, as ``claim`` does; None when it is not queued, or waits for another."""
        with self._db.read() as session:
            job_type = session.value("SELECT type FROM jobs WHERE id = ?", (job_id,))
        return self._claim(job_id, job_type, owner)

    def _claim(self, job_id: str, job_type: JobType | None, owner: str) -> Job | None:
        now = now_us()
        with self._db.write("jobs", *(["assets"] if job_type == "index" else ())) as session:
            row = session.one(
                "UPDATE jobs AS j SET status = 'running', attempt = attempt + 1, owner = ?, worker_pid = NULL,"
                " heartbeat_at = ?, started_at = coalesce(started_at, ?), updated_at = ?, progress = NULL,"
                " error = NULL, signal = NULL, not_before = NULL"
                f" WHERE id = ? AND status = 'queued' AND {_NEEDS_NOTHING} RETURNING attempt",
                (owner, now, now, now, job_id),
            )
            if row is None:
                return None
            session.run(
                "INSERT INTO job_attempts (job_id, attempt, owner, started_at) VALUES (?, ?, ?, ?)",
                (job_id, row[0], owner, now),
            )
            if job_type == "index":
                session.run(
                    "UPDATE assets SET indexing_status = 'indexing'"
                    " WHERE id IN (SELECT asset_id FROM job_assets WHERE job_id = ?)",
                    (job_id,),
                )
            return get_job(session, self._places, job_id)

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
        """``owner`` still works on its jobs; what is stored only grows, whatever the clock does."""
        with self._db.write() as session:
            session.run(
                "UPDATE jobs SET heartbeat_at = max(?, coalesce(heartbeat_at, 0) + 1)"
                " WHERE owner = ? AND status IN ('running', 'cancelling')",
                (now_us(), owner),
            )

    def heartbeats(self) -> dict[str, int]:
        """By owner of jobs at work, the last heartbeat."""
        with self._db.read() as session:
            rows = session.all(
                "SELECT owner, max(coalesce(heartbeat_at, 0)) FROM jobs WHERE status IN ('running', 'cancelling')"
                " GROUP BY owner"
            )
        return dict(rows)

    def worker_pid(self, job_id: str) -> int | None:
        """The process a job was last at work in."""
        with self._db.read() as session:
            found: int | None = session.value("SELECT worker_pid FROM jobs WHERE id = ?", (job_id,))
        return found

    def held(self, job_id: str) -> tuple[str, int, JobStatus] | None:
        """Owner, attempt and status of a job at work; None when it is not at work."""
        with self._db.read() as session:
            row = session.one(
                "SELECT owner, attempt, status FROM jobs WHERE id = ? AND status IN ('running', 'cancelling')",
                (job_id,),
            )
        return None if row is None else (row[0], row[1], row[2])

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
        """``settle`` without what concerns assets and owners; the job, or None."""
        found = self.settle(job_id, expect=expect, to=to, error=error, signal=signal, progress=progress)
        return None if found is None else found[0]

    def settle(
        self,
        job_id: str,
        *,
        expect: tuple[JobStatus, ...],
        to: JobStatus,
        error: JobError | None = None,
        signal: str | None = None,
        progress: Progress | None = None,
        lease: Lease | None = None,
        wait_us: int | None = None,
        failed_asset_id: str | None = None,
    ) -> tuple[Job, list[str]] | None:
        """Change the status of a job that is in one of ``expect``; None when it is not (or does not exist).

        The assets of an index job that stops without a result are no longer being indexed, in the same transaction.

        Args:
            job_id: The job.
            expect: The statuses it may leave.
            to: The new one; a job is made ``running`` by ``claim`` alone.
            error: Why it failed, or stopped; an earlier error is forgotten.
            signal: Name of the signal that ended its worker.
            progress: Replaces the last one, unless None.
            lease: Nothing happens unless the job is still its owner's, in its attempt.
            wait_us: How long an interrupted job is left alone.
            failed_asset_id: The asset that could not be indexed.

        Returns:
            The job and the ids of the assets that changed with it.
        """
        if to == "running":
            raise ValueError("a job starts by claim()")
        now = now_us()
        final = to in ("succeeded", "failed", "cancelled")
        stops = to in ("failed", "cancelled", "interrupted") and self._is_index(job_id)
        with self._db.write("jobs", *(["assets"] if stops else ())) as session:
            row = session.one(
                "UPDATE jobs SET status = :to, error = :error, signal = :signal,"
                " progress = coalesce(:progress, progress), updated_at = :now, finished_at = iif(:final, :now, NULL),"
                " owner = iif(:to = 'cancelling', owner, NULL), not_before = :now + :wait,"
                " worker_pid = iif(:to = 'cancelling', worker_pid, NULL)"
                " WHERE id = :id AND status IN (SELECT value FROM json_each(:expect))"
                " AND (:owner IS NULL OR owner = :owner AND attempt = :attempt) RETURNING attempt",
                {
                    "to": to,
                    "error": to_json(error),
                    "signal": signal,
                    "progress": to_json(progress),
                    "now": now,
                    "wait": wait_us,
                    "final": final,
                    "id": job_id,
                    "expect": to_json(expect),
                    "owner": None if lease is None else lease.owner,
                    "attempt": None if lease is None else lease.attempt,
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
            changed: list[str] = []
            if stops:
                message = None if error is None else error.message
                changed = stop_indexing(session, job_id, failed_asset_id, message or "", now)
            return get_job(session, self._places, job_id), changed

    def _is_index(self, job_id: str) -> bool:
        with self._db.read() as session:
            return bool(session.value("SELECT type = 'index' FROM jobs WHERE id = ?", (job_id,)))

    def retry(self, job_id: str) -> Job:
        """A new job in the place of one that failed or was cancelled, in one transaction.

        It takes the conversion over; index jobs that it needs and that have not succeeded are made again.

        Raises:
            HephaesError: ``job_not_found``; ``job_not_finished`` when it did not end so, or when what it is for is at
                work already; ``unsupported`` for a conversion that was imported.
        """
        with self._db.write("jobs") as session:
            job = get_job(session, self._places, job_id)
            if job.status not in RETRIABLE:
                raise HephaesError(
                    "job_not_finished",
                    f"the job {job_id} is {job.status}: only a failed or cancelled job can be retried",
                    job_id=job_id,
                    status=job.status,
                )
            payload_text, priority, conversion_id = session.all(
                "SELECT payload, priority, conversion_id FROM jobs WHERE id = ?", (job_id,)
            )[0]
            payload = from_json(payload_text)
            if not payload.get("assets"):
                message = f"the job {job_id} was imported from an older program, which has not kept what is to be done"
                raise HephaesError("unsupported", message, hint="conversions/create", job_id=job_id)
            _refuse_second_retry(session, job, conversion_id)
            if conversion_id is not None:
                payload["overwrite"] = True
            new_id = insert_job(
                session,
                self._places,
                job.type,
                job.target_asset_ids_json,
                job.config_json,
                payload,
                output_path=job.output_path,
                policy=job.representation_policy,
                max_attempts=job.max_attempts,
                retry_of=job.id,
                priority=priority,
                conversion_id=conversion_id,
                needs=self._again(session, job.id),
            )
            session.run(
                "UPDATE conversions SET job_id = ?, updated_at = ? WHERE id = ?", (new_id, now_us(), conversion_id)
            )
            return get_job(session, self._places, new_id)

    def _again(self, session: Session, job_id: str) -> list[str]:
        """The index jobs to wait for in the place of those that a job needed and that have not succeeded."""
        rows = session.all(
            "SELECT d.id, d.status, d.config, d.payload, d.max_attempts, a.asset_id"
            " FROM job_needs n JOIN jobs d ON d.id = n.needs_job_id JOIN job_assets a ON a.job_id = d.id"
            " WHERE n.job_id = ? AND d.status <> 'succeeded'",
            (job_id,),
        )
        found = []
        for needed_id, status, config, payload, max_attempts, asset_id in rows:
            again = needed_id if status not in RETRIABLE else _active(session, "index", asset_id)
            found.append(
                again
                or insert_job(
                    session,
                    self._places,
                    "index",
                    [asset_id],
                    from_json(config),
                    from_json(payload),
                    output_path=None,
                    policy=None,
                    max_attempts=max_attempts,
                    retry_of=needed_id,
                )
            )
        return found

    def held_back(self) -> list[tuple[str, str, JobStatus, JobError | None]]:
        """Queued jobs that wait for one that has failed or was cancelled: both ids, and how that one ended."""
        with self._db.read() as session:
            rows = session.all(
                "SELECT j.id, d.id, d.status, d.error FROM jobs j"
                " CROSS JOIN job_needs n ON n.job_id = j.id CROSS JOIN jobs d ON d.id = n.needs_job_id"
                " WHERE j.status = 'queued' AND d.status IN ('failed', 'cancelled') ORDER BY j.created_at, j.id"
            )
        return [
            (job_id, needed_id, status, None if error is None else JobError(**from_json(error)))
            for job_id, needed_id, status, error in rows
        ]

    def due(self, limit: int = 500) -> list[Job]:
        """Interrupted jobs that may be taken up again, the oldest first."""
        with self._db.read() as session:
            rows = session.all(
                f"{SELECT} WHERE j.status = 'interrupted' AND {_IS_DUE} ORDER BY j.created_at, j.id LIMIT :limit",
                {"now": now_us(), "most": MAX_WAIT_US, "limit": limit},
            )
        return [job_of(row, self._places) for row in rows]

    def save_progress(self, job_id: str, progress: Progress) -> None:
        """How far a job at work is; nothing when it is no longer at work."""
        with self._db.write("progress") as session:
            session.run(
                "UPDATE jobs SET progress = ? WHERE id = ? AND status IN ('running', 'cancelling')",
                (to_json(progress), job_id),
            )

    def orphans(self, is_alive: Callable[[str], bool]) -> list[Job]:
        """Jobs at work whose owner is not alive, the oldest first."""
        with self._db.read() as session:
            owners = session.all("SELECT DISTINCT owner FROM jobs WHERE status IN ('running', 'cancelling')")
            dead = [owner for (owner,) in owners if not is_alive(owner)]
            rows = session.all(
                f"{SELECT} WHERE j.status IN ('running', 'cancelling')"
                " AND j.owner IN (SELECT value FROM json_each(?)) ORDER BY j.created_at, j.id",
                (to_json(dead),),
            )
        return [job_of(row, self._places) for row in rows]

    def changed_at(self) -> datetime:
        """When a job was changed last."""
        with self._db.read() as session:
            at_us: int = session.value("SELECT coalesce(max(updated_at), 0) FROM jobs")
        return to_time(at_us)

    def changed_since(self, when: datetime) -> list[Job]:
        """Jobs in the order of their last change, from that time on."""
        with self._db.read() as session:
            rows = session.all(f"{SELECT} WHERE j.updated_at >= ? ORDER BY j.updated_at, j.id", (to_us(when),))
        return [job_of(row, self._places) for row in rows]

    def at_work(self) -> list[Job]:
        """Jobs that run or are being cancelled, whoever has them."""
        with self._db.read() as session:
            rows = session.all(f"{SELECT} WHERE j.status IN ('running', 'cancelling') ORDER BY j.created_at, j.id")
        return [job_of(row, self._places) for row in rows]

    def list(
        self,
        filters: JobFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[Job]:
        """A page of jobs, the newest first unless sorted otherwise."""
        with self._db.read() as session:
            return list_jobs(session, self._places, filters or JobFilters(), limit=limit, cursor=cursor, sort=sort)


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
    priority: int | None = None,
    conversion_id: str | None = None,
    needs: Sequence[str] = (),
) -> str:
    """Insert a queued job and give its id; raises ``asset_not_found``.

    Args:
        session: A transaction that is open.
        places: Of the workspace.
        priority: None takes that of the type.
        needs: Jobs that must have succeeded before this one starts.
    """
    job_id, now = new_id(), now_us()
    require_assets(session, asset_ids)
    session.run(
        "INSERT INTO jobs (id, type, priority, config, payload, representation_policy, output_path, conversion_id,"
        " max_attempts, retry_of, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            type,
            PRIORITIES[type] if priority is None else priority,
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
    session.many("INSERT INTO job_needs (job_id, needs_job_id) VALUES (?, ?)", [(job_id, each) for each in needs])
    return job_id


def stop_indexing(session: Session, job_id: str, failed_asset_id: str | None, message: str, now: int) -> list[str]:
    """The assets of an index job are no longer being indexed, one of them has failed; the ids of those that changed."""
    changed = []
    if failed_asset_id is not None and session.run(
        "UPDATE assets SET indexing_status = 'failed' WHERE id = ?", (failed_asset_id,)
    ):
        session.run(
            "INSERT INTO asset_metadata (asset_id, indexing_error, created_at, updated_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (asset_id) DO UPDATE"
            " SET indexing_error = excluded.indexing_error, updated_at = excluded.updated_at",
            (failed_asset_id, message, now, now),
        )
        changed.append(failed_asset_id)
    rows = session.all(
        "UPDATE assets SET indexing_status = iif(last_indexed_at IS NULL OR is_stale, 'pending', 'indexed')"
        " WHERE indexing_status = 'indexing' AND id IN (SELECT asset_id FROM job_assets WHERE job_id = ?)"
        " RETURNING id",
        (job_id,),
    )
    return [*changed, *(asset_id for (asset_id,) in rows)]


def _active(session: Session, type_: JobType, asset_id: str) -> str | None:
    """The job of that type on an asset that waits or is at work."""
    found: str | None = session.value(
        "SELECT id FROM jobs WHERE type = ? AND status NOT IN ('succeeded', 'failed', 'cancelled')"
        " AND id IN (SELECT job_id FROM job_assets WHERE asset_id = ?) LIMIT 1",
        (type_, asset_id),
    )
    return found


def _refuse_second_retry(session: Session, job: Job, conversion_id: str | None) -> None:
    """Raise ``job_not_finished`` when a job is at work already for what that one was for."""
    row = session.one(
        "SELECT id, status FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"
        " AND (conversion_id = ?1 OR retry_of = ?2 OR (type = 'index' AND ?3 = 'index'"
        " AND id IN (SELECT job_id FROM job_assets WHERE asset_id IN (SELECT value FROM json_each(?4))))) LIMIT 1",
        (conversion_id, job.id, job.type, to_json(job.target_asset_ids_json)),
    )
    if row is not None:
        message = f"the job {job.id} is being retried already, as {row[0]}"
        raise HephaesError("job_not_finished", message, job_id=row[0], status=row[1])


def require_assets(session: Session, asset_ids: Sequence[str]) -> None:
    """Raise ``asset_not_found`` for the first id that no asset has."""
    unknown = session.value(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM assets WHERE id = value) ORDER BY key LIMIT 1",
        (to_json(list(asset_ids)),),
    )
    if unknown is not None:
        raise HephaesError("asset_not_found", f"no asset has the id {unknown}", asset_id=unknown)


def job_counts(session: Session) -> dict[str, int]:
    """``Jobs.counts`` in a transaction that is already open."""
    rows = session.all(
        "SELECT iif(status = 'queued', 'queued', 'running'), count(*) FROM jobs"
        " WHERE status IN ('queued', 'running', 'cancelling') GROUP BY 1"
    )
    return {"queued": 0, "running": 0} | dict(rows)
