"""The queue of jobs: takes them from the store, has worker processes do them, tells the client how they go.

Strategy: the store holds the truth, and every status it holds was written there first; this module holds only what
runs here and now.  One task per running job follows its worker's events in order.  Everything lives on the server's
loop and everything that blocks goes to its executor; ``submit`` and ``wake`` may be called from any thread.

Workers are started from the loop's thread, which lives as long as the process: the kernel ends a worker with the thread
that started it.  A conversion gets a process of its own; indexing, which runs no code that came with a log, may use one
again.  A spare one waits, so that indexing begins at once, and index jobs have a place of their own beside
``max_workers`` conversions, so that a request that waits for one does not wait for a conversion.

Several sidecars may share a workspace: jobs are claimed by guarded UPDATEs, a cancel written by one is noticed by the
other, and the jobs of one that has died are taken over by those that live.
"""

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs import records
from hephaes_rpc.jobs.owner import is_alive, new_owner
from hephaes_rpc.jobs.process import WorkerProcess
from hephaes_rpc.jobs.progress import Meter
from hephaes_rpc.jobs.records import Change, Ending
from hephaes_rpc.jobs.state import Action, Event
from hephaes_rpc.model import FINAL, Job, JobError, JobType, Progress

if TYPE_CHECKING:
    from hephaes_rpc.registry import AppState
    from hephaes_rpc.store.workspace import OpenWorkspace

logger = logging.getLogger(__name__)
T = TypeVar("T")
OnProgress = Callable[[Progress], None]

GRACE_S = 0.5
WATCH_S = 0.2
POLL_S = 2.0
HEARTBEAT_S = 10.0
SAVE_PROGRESS_S = 0.5
STORE_RETRY_S = 1.0
LISTENING_S = 2.0
LISTENING_POLL_S = 0.02
DRAIN_S = 1.8


@define(eq=False)
class _Run:
    """A job at work here."""

    ws: "OpenWorkspace"
    job: Job
    meter: Meter
    payload: dict[str, Any] = field(factory=dict)
    worker: WorkerProcess | None = None
    stopping: bool = False
    asset: int = 0
    progress: Progress | None = None
    saved_at: float = 0.0
    done: bool = False
    task: "asyncio.Task[None] | None" = None


class JobQueue:
    """The jobs of all open workspaces; made on the loop that it lives on."""

    def __init__(self, app: "AppState") -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._owner = new_owner()
        self._runs: dict[str, _Run] = {}
        self._idle: list[WorkerProcess] = []
        self._endings: dict[str, asyncio.Event] = {}
        self._listening: defaultdict[str, list[OnProgress]] = defaultdict(list)
        self._woken = asyncio.Event()
        self._retrying = asyncio.Lock()
        self._draining = False
        self._dispatcher: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    # --- what others call

    async def start(self) -> None:
        """Take over the jobs of sidecars that have died, then work until ``drain``."""
        if not self._draining:
            self._dispatcher = self._loop.create_task(self._dispatch())
            self._watcher = self._loop.create_task(self._watch())

    def is_at_work(self, job_id: str) -> bool:
        """Whether a job runs in a worker of this process.  Any thread."""
        return job_id in self._runs

    def wake(self) -> None:
        """Look for queued jobs now.  Any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._woken.set)

    def submit(self, ws: "OpenWorkspace", job: Job) -> None:
        """Tell of a job just created and have it done.  Any thread."""
        del ws
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._submitted, job)

    def _submitted(self, job: Job) -> None:
        if job.id not in self._runs:  # else more than that has been told
            self._app.notify.job_changed(job)
        self._woken.set()

    async def run_to_end(self, ws: "OpenWorkspace", job_id: str, on_progress: OnProgress | None = None) -> Job:
        """The job once it has ended (or was interrupted by ``drain``); cancelling the awaiting task cancels the job."""
        if on_progress is not None:
            self._listening[job_id].append(on_progress)
        self.wake()
        try:
            return await self._final(ws, job_id)
        except asyncio.CancelledError:
            with suppress(HephaesError):  # it has ended
                await asyncio.shield(self._loop.create_task(self.cancel(ws, job_id)))
            raise
        finally:
            if on_progress is not None:
                self._listening[job_id].remove(on_progress)
                if not self._listening[job_id]:
                    del self._listening[job_id]

    async def cancel(self, ws: "OpenWorkspace", job_id: str) -> Job:
        """The job once it has stopped; raises ``job_not_found``, ``job_already_finished``."""
        changed = await self._in_thread(records.change, ws, job_id, Ending(event=Event.CANCEL))
        if changed is None:
            raise _already_finished(await self._in_thread(ws.jobs.get, job_id))
        self._announce(ws, changed)
        if Action.ASK not in changed.actions:
            return changed.job
        run = self._runs.get(job_id)
        if run is not None:
            self._stop(run)
        job = await self._final(ws, job_id)
        if job.status != "cancelled":
            raise _already_finished(job)
        return job

    async def retry(self, ws: "OpenWorkspace", job_id: str) -> Job:
        """A new job in the place of a failed or cancelled one; raises ``job_not_found``, ``job_not_finished``."""
        async with self._retrying:
            job = await self._in_thread(records.retry, ws, job_id)
        self.submit(ws, job)
        return job

    def lend(self) -> WorkerProcess | None:
        """A spare worker that has done nothing yet, if there is one; it is the caller's to end.  The loop's thread."""
        worker = next((worker for worker in self._idle if worker.alive and not worker.tasks), None)
        if worker is not None:
            self._idle.remove(worker)
            self._woken.set()
        return worker

    async def drain(self) -> None:
        """Take no more jobs, have those at work stop; they are interrupted.  Takes less than two seconds."""
        self._draining = True
        self._woken.set()
        if self._watcher is not None:
            self._watcher.cancel()
        until = time.monotonic() + DRAIN_S
        for run in self._runs.values():
            self._stop(run)
        if self._dispatcher is not None:
            await asyncio.wait({self._dispatcher}, timeout=DRAIN_S)
        for worker in self._idle:
            worker.kill()
        if runs := [run.task for run in self._runs.values() if run.task is not None]:
            await asyncio.wait(runs, timeout=max(0.0, until - time.monotonic()))
        for run in self._runs.values():
            if run.worker is not None:
                run.worker.kill()
        for worker in self._idle:
            await worker.end()

    # --- taking jobs

    async def _dispatch(self) -> None:
        polled = -POLL_S
        while not self._draining:
            self._woken.clear()
            try:
                if time.monotonic() - polled >= POLL_S:
                    polled = time.monotonic()
                    await self._take_over()
                await self._take_jobs()
                await self._keep_spare()
            except Exception:
                logger.exception("jobs could not be taken from the store")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()

    async def _take_jobs(self) -> None:
        while not self._draining and (lane := self._lane()):
            claimed = await self._in_thread(self._claim, lane == "index")
            if claimed is None:
                return
            self._begin(*claimed)

    def _lane(self) -> str | None:
        """Which jobs there is room for: ``any``, ``index`` or none."""
        if len(self._runs) < self._app.config.max_workers:
            return "any"
        return None if any(run.job.type == "index" for run in self._runs.values()) else "index"

    def _claim(self, index_only: bool) -> "tuple[OpenWorkspace, Job] | None":
        for ws in self._app.store.open_workspaces():
            if (job := records.claim(ws, self._owner, index_only)) is not None:
                return ws, job
        return None

    def _begin(self, ws: "OpenWorkspace", job: Job) -> None:
        run = _Run(ws, job, Meter(job.id, job.type, len(job.target_asset_ids_json)))
        self._runs[job.id] = run
        if self._draining:
            self._stop(run)
        run.task = self._loop.create_task(self._follow(run))

    # --- one job

    async def _follow(self, run: _Run) -> None:
        """Do one job to its end."""
        job = run.job
        logger.info("job %s (%s), attempt %d: running", job.id, job.type, job.attempt)
        self._app.notify.job_changed(job)
        try:
            ending = await self._work(run)
        except HephaesError as error:
            ending = _failed(run, JobError(error.kind, error.message, error.hint, error.data))
        except OSError as error:
            message = f"no worker process could be started: {error.strerror or error}"
            ending = _failed(run, JobError("io_error", message))
        except Exception:
            incident = uuid.uuid4().hex[:12]
            logger.exception("incident %s in job %s", incident, job.id)
            message = f"a bug of the sidecar; the log has more under incident {incident}"
            ending = _failed(run, JobError("bug", message, data={"incident": incident}))
        try:
            await self._settle(run, ending)
        finally:
            del self._runs[job.id]
            self._woken.set()

    async def _work(self, run: _Run) -> Ending:
        run.payload = await self._in_thread(records.begin, run.ws, run.job)
        if run.job.type == "index":
            self._app.notify.changed("assets", run.ws.id, run.job.target_asset_ids_json, "updated")
        run.worker = worker = await self._worker_for(run.job.type)
        try:
            await self._in_thread(run.ws.jobs.set_worker, run.job.id, self._owner, worker.pid)
            if run.stopping:
                return self._stopped(run)
            worker.run(run.payload)
            while (event := await worker.event()) is not None:
                if (ending := await self._take_event(run, event)) is not None:
                    return ending
            return self._stopped(run) if run.stopping else _died(run, worker)
        finally:
            await self._release(run, worker)

    async def _take_event(self, run: _Run, event: dict[str, Any]) -> Ending | None:
        """Carry out what the worker tells; how the job has ended, if that is what it tells."""
        kind = event["event"]
        if kind == "progress":
            await self._take_progress(run, event)
        elif kind == "indexed":
            await self._in_thread(records.save_indexed, run.ws, event)
            self._app.notify.changed("assets", run.ws.id, [event["asset_id"]], "updated")
        elif kind == "published":
            ids = await self._in_thread(records.save_published, run.ws, run.payload, event)
            self._app.notify.changed("outputs", run.ws.id, ids, "created")
            for warning in event["warnings"]:
                logger.info("job %s: %s", run.job.id, warning)
        elif kind == "done":
            run.done = True
            return Ending(event=Event.SUCCEED, progress=run.meter.finish())
        else:
            run.asset = event["asset"]
            return self._stopped(run) if run.stopping else _failed(run, JobError(**event["error"]))
        return None

    async def _take_progress(self, run: _Run, event: dict[str, Any]) -> None:
        now = time.monotonic()
        run.asset = event["asset"]
        status = "cancelling" if run.stopping and not self._draining else "running"
        run.progress = run.meter.update(event, status, now)  # type: ignore[arg-type]
        self._tell(run.progress)
        if now - run.saved_at >= SAVE_PROGRESS_S:
            run.saved_at = now
            await self._in_thread(run.ws.jobs.save_progress, run.job.id, run.progress)

    def _stop(self, run: _Run) -> None:
        """Ask the run's worker to stop; it is killed after the grace time."""
        if run.stopping:
            return
        run.stopping = True
        if run.worker is not None:
            run.worker.ask_to_stop()
            self._loop.call_later(GRACE_S, run.worker.kill)

    def _stopped(self, run: _Run) -> Ending:
        """The ending of a run that was asked to stop; if it was cancelled, the store knows."""
        event = Event.STOP if self._draining else Event.FAIL
        error = JobError("cancelled", "the job was cancelled")
        return Ending(event=event, error=error, asset=run.asset, progress=run.progress)

    async def _settle(self, run: _Run, ending: Ending) -> None:
        """Write down how the job has ended, as soon as that can be written."""
        while True:
            try:
                changed = await self._in_thread(records.change, run.ws, run.job.id, ending, run.job.attempt)
                break
            except HephaesError as error:
                logger.error("the end of job %s cannot be stored: %s", run.job.id, error)
                if error.kind == "job_not_found" or self._draining:
                    return
                await asyncio.sleep(STORE_RETRY_S)
            except Exception:
                logger.exception("the end of job %s cannot be stored", run.job.id)
                return
        if changed is None:
            logger.warning("job %s is no longer ours", run.job.id)
            return
        job = changed.job
        logger.info("job %s: %s%s", job.id, job.status, f": {job.error_message}" if job.error_message else "")
        self._announce(run.ws, changed)

    # --- telling

    def _announce(self, ws: "OpenWorkspace", changed: Change) -> None:
        """Tell of a change that has been stored."""
        job = changed.job
        self._app.notify.changed("assets", ws.id, changed.asset_ids, "updated")
        if Action.PROGRESS_100 in changed.actions and job.progress is not None:
            self._tell(job.progress)
        self._app.notify.job_changed(job)
        ended = self._endings.pop(job.id, None) if job.status in (*FINAL, "interrupted") else None
        if ended is not None:
            ended.set()

    def _tell(self, progress: Progress) -> None:
        self._app.notify.job_progress(progress)
        for listen in self._listening.get(progress.job_id, ()):
            listen(progress)

    async def _final(self, ws: "OpenWorkspace", job_id: str) -> Job:
        """The job once it has ended, here or in another sidecar."""
        while True:
            ended = self._endings.setdefault(job_id, asyncio.Event())
            job = await self._in_thread(ws.jobs.get, job_id)
            if job.status in FINAL or (self._draining and job.status == "interrupted"):
                self._endings.pop(job_id, None)
                return job
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await ended.wait()

    # --- workers

    async def _worker_for(self, job_type: JobType) -> WorkerProcess:
        """A worker for one job: a spare one, for indexing also one that has indexed before."""
        for worker in list(self._idle):
            if not worker.alive:
                self._idle.remove(worker)
            elif job_type == "index" or not worker.tasks:
                self._idle.remove(worker)
                return worker
        return await WorkerProcess.start()

    async def _release(self, run: _Run, worker: WorkerProcess) -> None:
        """Keep the worker for another job, or end it; one that has failed says why on stderr before it ends."""
        reusable = not worker.tasks or (run.job.type == "index" and run.done)
        if reusable and worker.alive and not run.stopping:
            self._idle.append(worker)
        else:
            await worker.end(0.0 if run.done else GRACE_S)

    async def _keep_spare(self) -> None:
        """Have one worker wait, and no more than one when nothing runs; without one things are slower, not wrong."""
        while not self._runs and len(self._idle) > 1:
            await self._idle.pop(0).end()
        self._idle = [worker for worker in self._idle if worker.alive]
        if self._draining or self._idle or any(run.job.type == "index" for run in self._runs.values()):
            return
        try:
            worker = await WorkerProcess.start()
        except OSError as error:
            logger.warning("no spare worker: %s", error)
            return
        if self._draining:
            await worker.end()
        else:
            self._idle.append(worker)

    # --- other sidecars

    async def _watch(self) -> None:
        """Notice what other sidecars did to our jobs."""
        beaten = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                for run in await self._in_thread(_cancelled, list(self._runs.values())):
                    self._stop(run)
                if now - beaten >= HEARTBEAT_S:
                    beaten = now
                    await self._in_thread(self._heartbeat)
            except HephaesError as error:
                logger.warning("the store cannot be watched: %s", error)
            except Exception:
                logger.exception("the store cannot be watched")
            await asyncio.sleep(WATCH_S)

    def _heartbeat(self) -> None:
        for ws in {run.ws.id: run.ws for run in list(self._runs.values())}.values():
            ws.jobs.heartbeat(self._owner)

    async def _take_over(self) -> None:
        """Tell of the jobs that sidecars have left unfinished, then take them up again."""
        orphans = await self._in_thread(self._in_all, lambda ws: records.mark_orphans(ws, is_alive))
        if orphans:
            until = time.monotonic() + LISTENING_S
            while not (self._app.notify.opened.is_set() or self._draining or time.monotonic() > until):
                await asyncio.sleep(LISTENING_POLL_S)
        for ws, changed in orphans:
            self._announce(ws, changed)
        for ws, changed in await self._in_thread(self._in_all, records.resume_interrupted):
            self._announce(ws, changed)

    def _in_all(self, function: "Callable[[OpenWorkspace], list[Change]]") -> "list[tuple[OpenWorkspace, Change]]":
        return [(ws, changed) for ws in self._app.store.open_workspaces() for changed in function(ws)]

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._app.executor, function, *args)


def _cancelled(runs: list[_Run]) -> list[_Run]:
    """Those of the runs whose job is to be cancelled."""
    found = []
    for run in runs:
        with suppress(HephaesError):  # gone, or for another time
            if run.ws.jobs.get(run.job.id).status == "cancelling":
                found.append(run)
    return found


def _already_finished(job: Job) -> HephaesError:
    message = f"the job {job.id} has already ended: {job.status}"
    return HephaesError("job_already_finished", message, job_id=job.id, status=job.status)


def _failed(run: _Run, error: JobError, signal: str | None = None) -> Ending:
    ids = run.job.target_asset_ids_json
    if run.asset < len(ids):
        error.data.setdefault("asset_id", ids[run.asset])
    return Ending(event=Event.FAIL, error=error, signal=signal, asset=run.asset, progress=run.progress)


def _died(run: _Run, worker: WorkerProcess) -> Ending:
    """The ending of a run whose worker has ended without an answer."""
    signal = worker.signal
    how = f"was killed by {signal}" if signal else f"ended with code {worker.exit_code}"
    doing = "indexing" if run.job.type == "index" else "converting"
    log = run.payload["assets"][run.asset]["path"]
    hint = "the system may have run out of memory" if signal == "SIGKILL" else None
    data = {"signal": signal} if signal else {"exit_code": worker.exit_code}
    error = JobError("worker_died", f"the worker process {how} while it was {doing} {log}", hint, data)
    return _failed(run, error, signal)
