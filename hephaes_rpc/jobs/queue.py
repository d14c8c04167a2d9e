"""The queue of jobs: takes them from the store, has worker processes do them, tells the client how they go.

Strategy: the store holds the truth, and every status it holds was written there first; this module holds only what
runs here and now.  One task per running job follows its worker's events in order.  Everything lives on the server's
loop and everything that blocks goes to its executor; ``submit`` and ``wake`` may be called from any thread.

Workers are started from the loop's thread, which lives as long as the process: the kernel ends a worker with the thread
that started it.  A conversion gets a process of its own; indexing, which runs no code that came with a log, may use one
again.  A spare one waits, so that indexing begins at once, and index jobs have a place of their own beside
``max_workers`` conversions, so that a request that waits for one does not wait for a conversion.

Several sidecars may share a workspace: jobs are claimed by guarded UPDATEs, a cancel written by one is noticed by the
other, and the jobs of one that has died, or has let its lease run out, are taken over by those that live.  A lease is
held by heartbeats; whether one has run out is judged by the clock of who looks: the heartbeat has not changed for so
long.  Whoever comes back after that finds the job in another attempt, and nothing of his is stored.

A worker that does not answer is killed: one that sends nothing (it was stopped), or whose task neither computes nor
asks whether to go on for long (it hangs).  What may pass (a worker that died, a store that is locked) is tried again
after a pause, as the same job in its next attempt.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs import records
from hephaes_rpc.jobs.owner import is_alive, new_owner
from hephaes_rpc.jobs.process import WorkerProcess
from hephaes_rpc.jobs.progress import Meter
from hephaes_rpc.jobs.records import Change, Ending
from hephaes_rpc.jobs.state import Action, Event, pause_s
from hephaes_rpc.logcontext import carried, working_on
from hephaes_rpc.model.jobs import FINAL, Job, JobError, JobType, Progress
from hephaes_rpc.store.joblogs import NewLine
from hephaes_rpc.store.leases import Lease, LeaseLostError
from hephaes_rpc.store.values import now_us

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from hephaes_rpc.config import Config
    from hephaes_rpc.notify import Notifier
    from hephaes_rpc.store.app import AppStore
    from hephaes_rpc.store.workspace import OpenWorkspace

logger = logging.getLogger(__name__)
T = TypeVar("T")
OnProgress = Callable[[Progress], None]

GRACE_S = 0.5
DYING_S = 0.25
"""How long a worker that was killed is waited for: the disk may hold it for as long as it takes to sync a file."""
WATCH_S = 0.2
POLL_S = 2.0
HEARTBEAT_S = 5.0
LEASE_S = 30.0
SILENT_S = 30.0
"""A worker at work tells every second that it lives."""
HANG_S = 300.0
"""Longer than a disk takes to sync what one file may have left to be written."""
PAUSED_S = 3.0
"""A watch so late was stopped itself, with all of its workers perhaps."""
SAID_LINES = 5
LINE_CHARS = 2000
SAVE_PROGRESS_S = 0.5
STORE_RETRY_S = 1.0
LISTENING_S = 2.0
LISTENING_POLL_S = 0.02
DRAIN_S = 1.8


_DOING: dict[JobType, str] = {"index": "indexing", "convert": "converting", "analyze": "analyzing"}


@define(eq=False)
class _Run:
    """A job at work here."""

    ws: "OpenWorkspace"
    job: Job
    meter: Meter
    lease: Lease
    payload: dict[str, Any] = field(factory=dict)
    worker: WorkerProcess | None = None
    stopping: bool = False
    asset: int = 0
    progress: Progress | None = None
    saved_at: float = field(factory=time.monotonic)
    done: bool = False
    silent: str | None = None
    lost: bool = False
    lines: list[NewLine] = field(factory=list)
    flushing: threading.Lock = field(factory=threading.Lock)
    said: deque[str] = field(factory=lambda: deque(maxlen=SAID_LINES))
    task: "asyncio.Task[None] | None" = None

    def note(self, level: str, text: str, source: str = "sidecar") -> None:
        """A line for the job's log."""
        self.lines.append(NewLine(self.job.attempt, now_us(), level, source, text[:LINE_CHARS]))

    def hear(self, line: str) -> None:
        """A line that the worker has said."""
        self.said.append(line[:LINE_CHARS])
        self.note("warning", line, "worker")


class _Leases:
    """Which owners have let their lease run out, judged by how long their heartbeat has not changed."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def look(self, workspace_id: str, heartbeats: dict[str, int], now: float) -> set[str]:
        """The owners whose heartbeat has been the same for LEASE_S."""
        for owner, beat in heartbeats.items():
            known = self._seen.get((workspace_id, owner))
            if known is None or known[0] != beat:
                self._seen[workspace_id, owner] = (beat, now)
        for key in [key for key in self._seen if key[0] == workspace_id and key[1] not in heartbeats]:
            del self._seen[key]
        return {owner for owner in heartbeats if now - self._seen[workspace_id, owner][1] >= LEASE_S}


class JobQueue:
    """The jobs of all open workspaces; made on the loop that it lives on."""

    def __init__(self, config: "Config", store: "AppStore", notify: "Notifier", executor: "Executor") -> None:
        self._config, self._store, self._notify, self._executor = config, store, notify, executor
        self._loop = asyncio.get_running_loop()
        self._owner = new_owner()
        self._runs: dict[str, _Run] = {}
        self._idle: list[WorkerProcess] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._endings: dict[str, asyncio.Future[Job]] = {}
        self._listening: defaultdict[str, list[OnProgress]] = defaultdict(list)
        self._woken = asyncio.Event()
        self._leases = _Leases()
        self._draining = False
        self._dispatcher: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    # --- what others call

    async def start(self) -> None:
        """Take over the jobs of sidecars that have died, then work until ``drain``."""
        if not self._draining:
            # Not on behalf of the request that started the sidecar: lines that are logged there bear no id of it.
            self._dispatcher = self._loop.create_task(self._dispatch(), context=Context())
            self._watcher = self._loop.create_task(self._watch(), context=Context())

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
            self._notify.job_changed(job)
        self._woken.set()

    async def run_to_end(
        self, ws: "OpenWorkspace", job_id: str, on_progress: OnProgress | None = None, *, is_new: bool = False
    ) -> Job:
        """The job once it has ended (or was interrupted by ``drain``); cancelling the awaiting task cancels the job.

        ``is_new``: it has just been submitted and cannot have ended, so that need not be looked up.
        """
        if on_progress is not None:
            self._listening[job_id].append(on_progress)
        try:
            return await self._final(ws, job_id, is_new=is_new)
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

    async def stop_background(self, workspace_id: str) -> None:
        """Cancel what nobody waits for in a workspace, where there is nothing else to do in it."""
        for ws in await self._in_thread(self._store.open_workspaces):
            if ws.id != workspace_id:
                continue
            with suppress(HephaesError):  # a database that is broken has no jobs; whoever asks is told of it
                for job in await self._in_thread(ws.jobs.in_background) or ():
                    with suppress(HephaesError):  # it has ended
                        await self.cancel(ws, job.id)

    async def retry(self, ws: "OpenWorkspace", job_id: str) -> Job:
        """A new job in the place of a failed or cancelled one; raises ``job_not_found``, ``job_not_finished``."""
        job = await self._in_thread(ws.jobs.retry, job_id)
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
        if self._ending:
            await asyncio.wait(self._ending, timeout=max(0.0, until - time.monotonic()))

    # --- taking jobs

    async def _dispatch(self) -> None:
        polled = -POLL_S
        while not self._draining:
            self._woken.clear()
            try:
                if time.monotonic() - polled >= POLL_S:
                    polled = time.monotonic()
                    await self._take_over()
                if not await self._take_job():
                    await self._fail_held_back()
                    await self._keep_spare()
            except Exception:
                logger.exception("jobs could not be taken from the store")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()

    async def _take_job(self) -> bool:
        """Take a job, if there is one and room for it.

        The next one is looked for once this one has been given to a worker that waits, or else at once: workers start
        side by side.
        """
        if not (types := self._room()) or (claimed := await self._in_thread(self._claim, types)) is None:
            return False
        if not self._idle:
            self._woken.set()
        self._begin(*claimed)
        return True

    def _room(self) -> tuple[JobType, ...]:
        """The types of jobs there is room for: what nobody asked for, one at a time, takes no place from others."""
        every = [run.job.type for run in self._runs.values()]
        at_work = [each for each in every if each != "analyze"]
        if len(at_work) >= self._config.max_workers:
            return () if "index" in at_work else ("index",)
        return ("index", "convert") if len(at_work) < len(every) else ("index", "convert", "analyze")

    def _claim(self, types: tuple[JobType, ...]) -> "tuple[OpenWorkspace, Job] | None":
        for ws in self._store.open_workspaces():
            if (job := ws.jobs.claim(self._owner, types)) is not None:
                return ws, job
        return None

    def _begin(self, ws: "OpenWorkspace", job: Job) -> None:
        lease = Lease(job.id, self._owner, job.attempt)
        run = _Run(ws, job, Meter(job.id, job.type, len(job.target_asset_ids_json)), lease)
        self._runs[job.id] = run
        if self._draining:
            self._stop(run)
        run.task = self._loop.create_task(self._follow(run))

    # --- one job

    async def _follow(self, run: _Run) -> None:
        """Do one job to its end."""
        job = run.job
        with working_on(job=job.id):
            await self._follow_to_end(run, job)

    async def _follow_to_end(self, run: _Run, job: Job) -> None:
        logger.info("job %s (%s), attempt %d: running", job.id, job.type, job.attempt)
        run.note("info", f"attempt {job.attempt} of {job.max_attempts} begins")
        self._notify.job_changed(job)
        if job.type == "index":
            self._notify.changed("assets", run.ws.id, job.target_asset_ids_json, "updated")
        try:
            ending = await self._work(run)
        except LeaseLostError:
            run.lost = True
            ending = None
        except HephaesError as error:
            told = JobError(error.kind, error.message, error.hint, error.data)
            ending = _failed(run, told, passing=error.kind == "io_error")
        except OSError as error:
            message = f"no worker process could be started: {error.strerror or error}"
            ending = _failed(run, JobError("io_error", message), passing=True)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            logger.exception("incident %s in job %s", incident, job.id, extra={"incident": incident})
            message = f"a bug of the sidecar; the log has more under incident {incident}"
            ending = _failed(run, JobError("bug", message, data={"incident": incident}))
        try:
            if ending is None or run.lost:
                logger.warning("job %s, attempt %d: another sidecar has it now", job.id, job.attempt)
            else:
                await self._settle(run, ending)
        finally:
            del self._runs[job.id]
            self._woken.set()

    async def _work(self, run: _Run) -> Ending | None:
        """Have a worker do the job; how it ended, None when it is no longer ours."""
        run.payload = await self._in_thread(records.begin, run.ws, run.job, self._store.scripts)
        run.worker = worker = await self._worker_for(run.job.type)
        worker.on_line, worker.job_id = run.hear, run.job.id
        try:
            if run.stopping:
                return self._stopped(run)
            worker.run({**run.payload, "memory_bytes": self._config.worker_memory_bytes})
            self._woken.set()
            await self._in_thread(run.ws.jobs.set_worker, run.job.id, self._owner, worker.pid)
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
            await self._in_thread(records.save_indexed, run.ws, event, run.lease)
            self._notify.changed("assets", run.ws.id, [event["asset_id"]], "updated")
        elif kind == "analyzed":
            if await self._in_thread(records.save_analyzed, run.ws, event, run.lease):
                self._notify.changed("assets", run.ws.id, [event["asset_id"]], "updated")
            else:
                run.note("warning", "the log is no longer the one that was indexed: nothing was stored")
        elif kind == "published":
            ids = await self._in_thread(records.save_published, run.ws, run.payload, event, run.lease)
            self._notify.changed("outputs", run.ws.id, ids, "created")
            for text in (event["kept"], *event["warnings"]):
                if text is not None:
                    logger.info("job %s: %s", run.job.id, text)
                    run.note("info", text)
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
        """Ask the run's worker to stop; it is killed after the grace time, and then not waited for much longer.

        One that analyzes is killed and not waited for at all: it writes no files, and as nice as it is, it may take
        seconds to hear, or to die, where others are at work.
        """
        if run.stopping:
            return
        run.stopping = True
        if run.worker is not None and run.job.type == "analyze":
            run.worker.abandon()
        elif run.worker is not None:
            run.worker.ask_to_stop()
            self._loop.call_later(GRACE_S, run.worker.kill)
            self._loop.call_later(GRACE_S + DYING_S, run.worker.abandon)

    def _stopped(self, run: _Run) -> Ending:
        """The ending of a run that was asked to stop; if it was cancelled, the store knows."""
        event = Event.STOP if self._draining else Event.FAIL
        error = JobError("cancelled", "the job was cancelled")
        return Ending(event=event, error=error, asset=run.asset, progress=run.progress)

    async def _settle(self, run: _Run, ending: Ending) -> None:
        """Write down how the job has ended, as soon as that can be written."""
        _note_ending(run, ending)
        while True:
            try:
                changed = await self._in_thread(_store_ending, run, ending)
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
        if job.status == "interrupted" and not self._draining:
            self._loop.call_later(1.3 * pause_s(job.attempt), self._woken.set)
        logger.info("job %s: %s%s", job.id, job.status, f": {job.error_message}" if job.error_message else "")
        self._announce(run.ws, changed)
        if job.type == "index" and job.status == "succeeded" and self._config.analyzes and not self._draining:
            await self._queue_analyses(run.ws, job)

    async def _queue_analyses(self, ws: "OpenWorkspace", job: Job) -> None:
        try:
            for analysis in await self._in_thread(records.queue_analyses, ws, job):
                self.submit(ws, analysis)
        except HephaesError as error:  # assets/analyze is there to ask for it
            logger.warning("what job %s has indexed will not be analyzed: %s", job.id, error)

    # --- telling

    def _announce(self, ws: "OpenWorkspace", changed: Change) -> None:
        """Tell of a change that has been stored."""
        job = changed.job
        self._notify.changed("assets", ws.id, changed.asset_ids, "updated")
        if Action.PROGRESS_100 in changed.actions and job.progress is not None:
            self._tell(job.progress)
        self._notify.job_changed(job)
        ended = self._endings.pop(job.id, None) if job.status in (*FINAL, "interrupted") else None
        if ended is not None:
            ended.set_result(job)
        if job.status in FINAL and job.type == "index":
            self._woken.set()  # others may have waited for it

    def _tell(self, progress: Progress) -> None:
        self._notify.job_progress(progress)
        for listen in self._listening.get(progress.job_id, ()):
            listen(progress)

    async def _final(self, ws: "OpenWorkspace", job_id: str, *, is_new: bool = False) -> Job:
        """The job once it has ended, here or in another sidecar."""
        while True:
            ended = self._endings.setdefault(job_id, self._loop.create_future())
            job = None if is_new else await self._in_thread(ws.jobs.get, job_id)
            if job is None or not self._has_ended(job):
                await asyncio.wait({ended}, timeout=WATCH_S)
                job = ended.result() if ended.done() else job
            if job is not None and self._has_ended(job):
                self._endings.pop(job_id, None)
                return job
            is_new = False

    def _has_ended(self, job: Job) -> bool:
        return job.status in FINAL or (self._draining and job.status == "interrupted")

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
        try:
            await self._part_with(run, worker)
        finally:
            worker.on_line = worker.job_id = None

    async def _part_with(self, run: _Run, worker: WorkerProcess) -> None:
        reusable = not worker.tasks or (run.job.type == "index" and run.done and not run.stopping)
        if reusable and worker.alive:
            self._idle.append(worker)
        else:
            ending = self._loop.create_task(worker.end(0.0 if run.done or worker.abandoned else GRACE_S))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            if not worker.abandoned:
                await asyncio.wait({ending}, timeout=GRACE_S + DYING_S if run.stopping else None)

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
        """Notice what other sidecars did to our jobs, and workers that do not answer."""
        beaten = looked = time.monotonic()
        while True:
            now = time.monotonic()
            self._end_silent(now, was_stopped=now - looked > PAUSED_S)
            looked = now
            try:
                await self._in_thread(self._look_at_jobs)
                if now - beaten >= HEARTBEAT_S:
                    beaten = now
                    await self._in_thread(self._heartbeat)
            except HephaesError as error:
                logger.warning("the store cannot be watched: %s", error)
            except Exception:
                logger.exception("the store cannot be watched")
            await asyncio.sleep(WATCH_S)

    def _end_silent(self, now: float, *, was_stopped: bool) -> None:
        """Kill workers that do not answer; nobody is blamed for the time in which this process was stopped itself."""
        for run in self._runs.values():
            worker = run.worker
            if worker is None or not worker.alive or run.silent is not None:
                continue
            if was_stopped:
                worker.heard_at = now
            if now - worker.heard_at > SILENT_S:
                run.silent = f"did not answer for {SILENT_S:.0f} s"
            elif worker.idle_s > HANG_S:
                run.silent = f"did nothing for {HANG_S:.0f} s"
            if run.silent is not None:
                logger.warning("job %s: its worker %d %s and is killed", run.job.id, worker.pid, run.silent)
                worker.kill()

    def _look_at_jobs(self) -> None:
        """Stop the runs whose jobs are to be cancelled, end those that are ours no more, store what was said."""
        for run in list(self._runs.values()):
            with suppress(HephaesError):  # gone, or for another time
                held = run.ws.jobs.held(run.job.id)
                if held is not None and held[:2] != (run.lease.owner, run.lease.attempt):
                    run.lost = True
                    self._loop.call_soon_threadsafe(_end, run)
                elif held is not None and held[2] == "cancelling":
                    self._loop.call_soon_threadsafe(self._stop, run)
                _flush_lines(run)

    def _heartbeat(self) -> None:
        for ws in {run.ws.id: run.ws for run in list(self._runs.values())}.values():
            ws.jobs.heartbeat(self._owner)

    async def _fail_held_back(self) -> None:
        """Give up jobs that wait for one that has not succeeded."""
        for ws, changed in await self._in_thread(self._in_all, records.fail_held_back):
            self._announce(ws, changed)

    async def _take_over(self) -> None:
        """Tell of the jobs that sidecars have left unfinished, then take them up again."""
        orphans = await self._in_thread(self._in_all, self._orphans)
        if orphans:
            until = time.monotonic() + LISTENING_S
            while not (self._notify.opened.is_set() or self._draining or time.monotonic() > until):
                await asyncio.sleep(LISTENING_POLL_S)
        for ws, changed in orphans:
            self._announce(ws, changed)
        for ws, changed in await self._in_thread(self._in_all, records.resume_interrupted):
            self._announce(ws, changed)

    def _orphans(self, ws: "OpenWorkspace") -> list[Change]:
        late = self._leases.look(ws.id, ws.jobs.heartbeats(), time.monotonic()) - {self._owner}
        return records.mark_orphans(ws, lambda owner: owner not in late and is_alive(owner))

    def _in_all(self, function: "Callable[[OpenWorkspace], list[Change]]") -> "list[tuple[OpenWorkspace, Change]]":
        return [(ws, changed) for ws in self._store.open_workspaces() for changed in function(ws)]

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._executor, carried(function), *args)


def _end(run: _Run) -> None:
    """Have nothing more come of a run."""
    if run.worker is not None:
        run.worker.kill()


def _flush_lines(run: _Run) -> None:
    """Store what has been said since the last time."""
    with run.flushing:
        count = len(run.lines)
        if count:
            run.ws.job_logs.add(run.job.id, run.lines[:count])
            del run.lines[:count]


def _store_ending(run: _Run, ending: Ending) -> Change | None:
    """Store what is left of what has been said, and how the job has ended; None when that cannot happen any more."""
    _flush_lines(run)
    return records.change(run.ws, run.job.id, ending, run.lease)


def _note_ending(run: _Run, ending: Ending) -> None:
    """What the job's log says at the end of an attempt."""
    if ending.event is Event.SUCCEED:
        run.note("info", "all is done")
    elif run.stopping:
        run.note("info", "stopped")
    elif ending.error is not None:
        again = ending.passing and run.job.attempt < run.job.max_attempts
        run.note("error", f"{ending.error.message}{'; it will be tried again' if again else ''}")


def _already_finished(job: Job) -> HephaesError:
    message = f"the job {job.id} has already ended: {job.status}"
    return HephaesError("job_already_finished", message, job_id=job.id, status=job.status)


def _failed(run: _Run, error: JobError, signal: str | None = None, *, passing: bool = False) -> Ending:
    ids = run.job.target_asset_ids_json
    if run.asset < len(ids):
        error.data.setdefault("asset_id", ids[run.asset])
    return Ending(event=Event.FAIL, error=error, signal=signal, asset=run.asset, progress=run.progress, passing=passing)


def _died(run: _Run, worker: WorkerProcess) -> Ending:
    """The ending of a run whose worker has ended without an answer; that may pass."""
    signal = worker.signal
    how = f"was killed by {signal}" if signal else f"ended with code {worker.exit_code}"
    how = f"{run.silent} and was killed" if run.silent else how
    log = run.payload["assets"][run.asset]["path"]
    hint = "the system may have run out of memory" if signal == "SIGKILL" and not run.silent else None
    data: dict[str, Any] = {"signal": signal} if signal else {"exit_code": worker.exit_code}
    if run.said:
        data["log"] = list(run.said)
    error = JobError("worker_died", f"the worker process {how} while it was {_DOING[run.job.type]} {log}", hint, data)
    return _failed(run, error, signal, passing=True)
