"""What the queue reads and writes in the store.  Everything blocks and runs in a thread; nothing here knows of workers.

Every change of a status goes through ``change``: the table of ``state`` says what an event means, a guarded UPDATE
makes it so, and where the row has changed meanwhile the table is asked again.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs.state import Action, Event, may_retry, resume, step
from hephaes_rpc.jobs.tasks import temp_tag
from hephaes_rpc.model import ACTIVE, AssetMetadata, Episode, Job, JobError, Progress, TopicSummary
from hephaes_rpc.store.jobs import JobFilters
from hephaes_rpc.store.values import ns_to_time
from hephaes_rpc.store.workspace import OpenWorkspace

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Ending:
    """How an attempt ended.

    Args:
        asset: Number of the asset that was at work.
        progress: The last one.
    """

    event: Event
    error: JobError | None = None
    signal: str | None = None
    asset: int = 0
    progress: Progress | None = None


@frozen
class Change:
    """A job after an event; ``actions`` of the table, and the assets that changed with it."""

    job: Job
    actions: tuple[Action, ...] = ()
    asset_ids: tuple[str, ...] = ()


def begin(ws: OpenWorkspace, job: Job) -> dict[str, Any]:
    """What the worker gets for a job just claimed; its assets are being indexed from here on, if that is the job.

    Files an earlier attempt (or, for a retry, an earlier job) has published may be replaced: they are the conversion's
    own, in a folder that is the conversion's own.
    """
    payload = ws.jobs.payload(job.id)
    assets = [{**asset, "path": ws.assets.get(asset["asset_id"]).file_path} for asset in payload["assets"]]
    task = {**payload, "type": job.type, "job_id": job.id, "attempt": job.attempt, "assets": assets}
    if job.type == "index":
        for asset in assets:
            ws.assets.mark_indexing(asset["asset_id"])
    else:
        task["output_dir"] = job.output_path
        task["overwrite"] = payload["overwrite"] or job.attempt > 1
    return task


def save_indexed(ws: OpenWorkspace, event: Mapping[str, Any]) -> str:
    """Store what indexing found; the asset's id."""
    found = event["metadata"]
    topics = [TopicSummary(**topic) for topic in found["topics"]]
    metadata = AssetMetadata(
        **{
            **found,
            "topics": topics,
            "default_episode": Episode(**found["default_episode"]),
            "start_time": ns_to_time(found["start_ns"]),
            "end_time": ns_to_time(found["end_ns"]),
            "indexing_error": None,
        }
    )
    return ws.assets.save_metadata(
        event["asset_id"], metadata, event["file_size"], event["mtime_ns"], event["fingerprint"]
    ).id


def save_published(ws: OpenWorkspace, task: Mapping[str, Any], event: Mapping[str, Any]) -> list[str]:
    """Make the files of one asset visible; the ids of the outputs."""
    return ws.outputs.publish(task["conversion_id"], task["job_id"], [event["asset_id"]], event["outputs"])


def change(ws: OpenWorkspace, job_id: str, ending: Ending, attempt: int | None = None) -> Change | None:
    """Carry an event into the store; None when it cannot happen (any more).

    Args:
        ws: The job's workspace.
        job_id: The job; raises ``job_not_found``.
        ending: The event and what is known about it; an error is kept only by a job that fails.
        attempt: Nothing happens unless the job is still in this attempt.
    """
    while True:
        job = ws.jobs.get(job_id)
        found = step(job.status, ending.event)
        if found is None or attempt not in (None, job.attempt):
            return None
        if found.status == job.status:
            return Change(job, found.actions)
        failed = found.status == "failed"
        asset_ids = _clean(ws, job, ending if failed else None) if Action.CLEAN in found.actions else ()
        changed = ws.jobs.transition(
            job_id,
            expect=(job.status,),
            to=found.status,
            error=ending.error if failed else None,
            signal=ending.signal if failed else None,
            progress=ending.progress and attrs.evolve(ending.progress, status=found.status),
        )
        if changed is not None:
            return Change(changed, found.actions, asset_ids)


def _clean(ws: OpenWorkspace, job: Job, failure: Ending | None) -> tuple[str, ...]:
    """Remove what an attempt left behind; the ids of the assets that are no longer being indexed."""
    if job.type != "index":
        sweep(job)
        return ()
    changed = []
    for number, asset_id in enumerate(job.target_asset_ids_json):
        if failure is not None and failure.error is not None and number == failure.asset:
            with suppress(HephaesError):  # the asset may be gone
                changed.append(ws.assets.save_failure(asset_id, failure.error.message).id)
        elif ws.assets.restore_status(asset_id) is not None:
            changed.append(asset_id)
    return tuple(changed)


def sweep(job: Job) -> None:
    """Remove the temporary files of the job's last attempt."""
    if job.output_path is None:
        return
    for path in Path(job.output_path).glob(f".*.{escape(temp_tag(job.id, job.attempt))}.tmp"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s is left over and cannot be removed: %s", path, error.strerror)


def mark_orphans(ws: OpenWorkspace, is_alive: Callable[[str], bool]) -> list[Change]:
    """Jobs whose sidecar is gone are interrupted (or cancelled, if that was asked for)."""
    found = (change(ws, job.id, Ending(event=Event.ORPHAN), job.attempt) for job in ws.jobs.orphans(is_alive))
    return [each for each in found if each is not None]


def resume_interrupted(ws: OpenWorkspace) -> list[Change]:
    """Interrupted jobs are queued again, or fail when they have had all their attempts."""
    changes = []
    for job in ws.jobs.list(JobFilters(status="interrupted"), limit=500, sort="created_at").items:
        error = JobError(
            "worker_died", f"the sidecar ended {job.attempt} times while the job was at work", data={"job_id": job.id}
        )
        ending = Ending(event=resume(job.attempt, job.max_attempts), error=error)
        if (changed := change(ws, job.id, ending, job.attempt)) is not None:
            changes.append(changed)
    return changes


def retry(ws: OpenWorkspace, job_id: str) -> Job:
    """A new job in the place of one that failed or was cancelled.

    Raises:
        HephaesError: ``job_not_found``; ``job_not_finished`` when it did not end so, or when another retry is at work;
            ``unsupported`` for a conversion that was imported.
    """
    job = ws.jobs.get(job_id)
    if not may_retry(job.status):
        raise HephaesError(
            "job_not_finished",
            f"the job {job_id} is {job.status}: only a failed or cancelled job can be retried",
            job_id=job_id,
            status=job.status,
        )
    conversion_id = ws.conversions.of_job(job_id)
    payload = ws.jobs.payload(job_id)
    if not payload["assets"]:
        message = f"the job {job_id} was imported from an older program, which has not kept what is to be done"
        raise HephaesError("unsupported", message, hint="conversions/create", job_id=job_id)
    if conversion_id is not None:
        latest = ws.conversions.get(conversion_id).job
        if latest.status in ACTIVE or latest.status == "interrupted":
            message = f"the job {job_id} is being retried already, as {latest.id}"
            raise HephaesError("job_not_finished", message, job_id=latest.id, status=latest.status)
        payload["overwrite"] = True
    new = ws.jobs.create(
        job.type,
        job.target_asset_ids_json,
        job.config_json,
        payload,
        output_path=job.output_path,
        policy=job.representation_policy,
        max_attempts=job.max_attempts,
        retry_of=job.id,
    )
    if conversion_id is not None:
        ws.conversions.move_to_job(conversion_id, new.id)
    return new


def claim(ws: OpenWorkspace, owner: str, index_only: bool) -> Job | None:
    """Take a queued job; writes nothing when there is none."""
    if ws.jobs.counts()["queued"] == 0:
        return None
    if not index_only:
        return ws.jobs.claim(owner)
    for job in ws.jobs.list(JobFilters(status="queued", type="index"), limit=8, sort="created_at").items:
        if (claimed := ws.jobs.claim_job(job.id, owner)) is not None:
            return claimed
    return None
