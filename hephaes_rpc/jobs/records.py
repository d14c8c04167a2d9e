"""What the queue reads and writes in the store.  Everything blocks and runs in a thread; nothing here knows of workers.

Every change of a status goes through ``change``: the table of ``state`` says what an event means, a guarded UPDATE
makes it so, and where the row has changed meanwhile the table is asked again.
"""

import logging
import random
from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from hephaes_rpc.engine.quality import quality_from
from hephaes_rpc.jobs.owner import kill_worker
from hephaes_rpc.jobs.state import Action, Event, pause_s, resume, step
from hephaes_rpc.jobs.taskcontext import temp_tag
from hephaes_rpc.model.assets import AssetMetadata, Episode, TopicSummary
from hephaes_rpc.model.jobs import Job, JobError, Progress
from hephaes_rpc.store.joblogs import NewLine
from hephaes_rpc.store.leases import Lease
from hephaes_rpc.store.scripts import EnabledScripts
from hephaes_rpc.store.values import now_us, ns_to_time
from hephaes_rpc.store.workspace import OpenWorkspace

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Ending:
    """How an attempt ended.

    Args:
        asset: Number of the asset that was at work.
        progress: The last one.
        passing: The error may pass: the job is tried again while it has attempts left.
    """

    event: Event
    error: JobError | None = None
    signal: str | None = None
    asset: int = 0
    progress: Progress | None = None
    passing: bool = False


@frozen
class Change:
    """A job after an event; ``actions`` of the table, and the assets that changed with it."""

    job: Job
    actions: tuple[Action, ...] = ()
    asset_ids: tuple[str, ...] = ()


def begin(ws: OpenWorkspace, job: Job, scripts: EnabledScripts) -> dict[str, Any]:
    """What the worker gets for a job just claimed.

    Files an earlier attempt (or, for a retry, an earlier job) has published may be replaced: they are the conversion's
    own, in a folder that is the conversion's own.  What is finished already goes along, so that it need not be redone.
    """
    payload = ws.jobs.payload(job.id)
    assets = [{**asset, "path": ws.assets.get(asset["asset_id"]).file_path} for asset in payload["assets"]]
    task = {**payload, "type": job.type, "job_id": job.id, "attempt": job.attempt, "assets": assets}
    if job.type == "convert":
        task["output_dir"] = job.output_path
        if payload["spec"].get("spec", payload["spec"]).get("computations"):
            enabled = {path: each.sha256 for path, each in scripts.of(ws.id).items()}
            task["scripts"] = {"folder": str(ws.scripts_dir), "enabled": enabled}
        task["overwrite"] = payload["overwrite"] or job.attempt > 1
        for asset in assets:
            asset["finished"] = ws.finished.of(payload["conversion_id"], asset["asset_id"])
            asset["elsewhere"] = (
                ws.finished.of_others(payload["conversion_id"], asset["asset_id"]) if payload.get("reuse") else []
            )
    return task


def save_indexed(ws: OpenWorkspace, event: Mapping[str, Any], lease: Lease) -> str:
    """Store what indexing found; the asset's id.  Raises LeaseLostError."""
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
        event["asset_id"],
        metadata,
        event["file_size"],
        event["mtime_ns"],
        event["fingerprint"],
        lease,
        quality_from(event["quality"]),
    ).id


def save_analyzed(ws: OpenWorkspace, event: Mapping[str, Any], lease: Lease) -> bool:
    """Store what reading a log's messages found, unless it is another log by now.  Raises LeaseLostError."""
    quality = quality_from(event["quality"])
    return ws.assets.save_quality(event["asset_id"], quality, event["file_size"], event["mtime_ns"], lease)


def queue_analyses(ws: OpenWorkspace, job: Job) -> list[Job]:
    """Jobs that read the messages of what an index job has indexed, for those that have not been read as they are."""
    found = (analysis_of(ws, asset_id, "indexed", again=False) for asset_id in job.target_asset_ids_json)
    return [each[0] for each in found if each is not None and each[1]]


def analysis_of(ws: OpenWorkspace, asset_id: str, trigger: str, *, again: bool) -> tuple[Job, bool] | None:
    """The job that analyzes an asset, and whether it is new; None where that has been done and is not done ``again``.

    Raises ``asset_not_found``.
    """
    asset = ws.assets.get(asset_id)
    payload = {"type": "analyze", "assets": [{"asset_id": asset.id, "path": asset.file_path}]}
    return ws.jobs.analyze_once(asset.id, {"execution": "worker", "trigger": trigger}, payload, again=again)


def save_published(ws: OpenWorkspace, task: Mapping[str, Any], event: Mapping[str, Any], lease: Lease) -> list[str]:
    """Make the files of one asset visible; the ids of the outputs.  Raises LeaseLostError."""
    return ws.outputs.publish(
        task["conversion_id"],
        task["job_id"],
        [event["asset_id"]],
        event["outputs"],
        lease=lease,
        key=event["key"],
    )


def change(ws: OpenWorkspace, job_id: str, ending: Ending, lease: Lease | None = None) -> Change | None:
    """Carry an event into the store; None when it cannot happen (any more).

    Args:
        ws: The job's workspace.
        job_id: The job; raises ``job_not_found``.
        ending: The event and what is known about it; an error is kept by a job that fails, or is to be tried again.
        lease: Nothing happens unless it is still held.
    """
    while True:
        job = ws.jobs.get(job_id)
        event = ending.event
        if event is Event.FAIL and ending.passing and job.attempt < job.max_attempts:
            event = Event.RETRY
        found = step(job.status, event)
        if found is None or (lease is not None and lease.attempt != job.attempt):
            return None
        if found.status == job.status:
            return Change(job, found.actions)
        failed = found.status == "failed"
        told = failed or event is Event.RETRY
        if Action.CLEAN in found.actions:
            sweep(job)
        settled = ws.jobs.settle(
            job_id,
            expect=(job.status,),
            to=found.status,
            error=ending.error if told else None,
            signal=ending.signal if told else None,
            progress=ending.progress and attrs.evolve(ending.progress, status=found.status),
            lease=lease,
            wait_us=_pause_us(job.attempt) if event is Event.RETRY else None,
            failed_asset_id=_failed_asset(job, ending) if failed and Action.CLEAN in found.actions else None,
        )
        if settled is not None:
            changed, asset_ids = settled
            return Change(changed, found.actions, tuple(asset_ids))


def _pause_us(attempt: int) -> int:
    """Until the next attempt, with a share of chance so that jobs that failed together do not come back together."""
    return int(1e6 * pause_s(attempt) * random.uniform(0.8, 1.2))  # noqa: S311


def _failed_asset(job: Job, ending: Ending) -> str | None:
    """The asset that an index job failed on."""
    ids = job.target_asset_ids_json
    return ids[ending.asset] if job.type == "index" and ending.error is not None and ending.asset < len(ids) else None


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
    """Jobs whose sidecar is gone, or no longer answers, are interrupted (or cancelled, if that was asked for)."""
    changes = []
    for job in ws.jobs.orphans(is_alive):
        held = ws.jobs.held(job.id)
        if held is None or is_alive(held[0]):
            continue
        owner, attempt, _ = held
        pid = ws.jobs.worker_pid(job.id)
        if pid is not None and kill_worker(owner, pid):
            logger.warning("job %s: its sidecar does not answer; its worker %d has been ended", job.id, pid)
        if (changed := change(ws, job.id, Ending(event=Event.ORPHAN), Lease(job.id, owner, attempt))) is not None:
            note(ws, changed.job, "warning", f"attempt {attempt}: its sidecar is gone or does not answer")
            changes.append(changed)
    return changes


def resume_interrupted(ws: OpenWorkspace) -> list[Change]:
    """Interrupted jobs whose time has come are queued again, or fail when they have had all their attempts."""
    changes = []
    for job in ws.jobs.due():
        error = JobError(
            "worker_died", f"the sidecar ended {job.attempt} times while the job was at work", data={"job_id": job.id}
        )
        ending = Ending(event=resume(job.attempt, job.max_attempts), error=error)
        if (changed := change(ws, job.id, ending)) is not None:
            changes.append(changed)
    return changes


def fail_held_back(ws: OpenWorkspace) -> list[Change]:
    """Queued jobs that need one which did not succeed fail with its reason."""
    changes = []
    for job_id, needed_id, status, why in ws.jobs.held_back():
        kind = "cancelled" if why is None else why.kind
        reason = f"it was {status}" if why is None else why.message
        error = JobError(
            kind,
            f"the log could not be indexed first: {reason}",
            None if why is None else why.hint,
            {**({} if why is None else why.data), "needs_job_id": needed_id},
        )
        if (changed := change(ws, job_id, Ending(event=Event.FAIL, error=error))) is not None:
            note(ws, changed.job, "error", error.message)
            changes.append(changed)
    return changes


def note(ws: OpenWorkspace, job: Job, level: str, text: str) -> None:
    """Add what the sidecar has to say to a job's log."""
    ws.job_logs.add(job.id, [NewLine(job.attempt, now_us(), level, "sidecar", text)])
