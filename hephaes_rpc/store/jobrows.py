"""Jobs as they are read: by id, by asset."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.jobs import Job, JobError, Progress, RepresentationPolicy
from hephaes_rpc.store.db import Row, Session
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import from_json, to_time

COLUMNS = (
    "j.id, j.type, j.status,"
    " (SELECT json_group_array(x.asset_id ORDER BY x.position) FROM job_assets x WHERE x.job_id = j.id),"
    " j.config, j.representation_policy, j.output_path, j.created_at, j.updated_at, j.started_at, j.finished_at,"
    " j.attempt, j.max_attempts, j.retry_of, j.progress, j.error, j.signal"
)
SELECT = f"SELECT {COLUMNS} FROM jobs j"


def get_job(session: Session, places: Places, job_id: str) -> Job:
    """One job; raises ``job_not_found``."""
    row = session.one(f"{SELECT} WHERE j.id = ?", (job_id,))
    if row is None:
        raise job_not_found(job_id)
    return job_of(row, places)


def jobs_of_asset(session: Session, places: Places, asset_id: str, limit: int) -> list[Job]:
    """The newest jobs on an asset."""
    rows = session.all(
        f"{SELECT} WHERE j.id IN (SELECT job_id FROM job_assets WHERE asset_id = ?)"
        " ORDER BY j.created_at DESC, j.id DESC LIMIT ?",
        (asset_id, limit),
    )
    return [job_of(row, places) for row in rows]


def policy_of(text: str | None) -> RepresentationPolicy | None:
    """A stored representation policy."""
    return None if text is None else RepresentationPolicy(**from_json(text))


def job_not_found(job_id: str) -> HephaesError:
    """The error of a job that is not there."""
    return HephaesError("job_not_found", f"no job has the id {job_id}", job_id=job_id)


def job_of(row: Row, places: Places) -> Job:
    """The job of a row of ``COLUMNS``."""
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
