"""Tells the client what other processes have changed in the workspaces that are open here.

Strategy: a thread asks every open database four times a second whether anything has been committed, which costs next to
nothing, and only then which nouns others have changed more often than before: every transaction counts the nouns that
it may change, and knows which counts are its own process's.  Lists are told as a whole; of jobs, each that has changed,
by the time of its last change, so that none is told twice.
"""

import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, get_args

from attrs import define, field

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.jobs import FINAL, Job, Progress
from hephaes_rpc.notify import Noun
from hephaes_rpc.store.values import EPOCH, now_us, to_time

if TYPE_CHECKING:
    from hephaes_rpc.jobs.queue import JobQueue
    from hephaes_rpc.notify import Notifier
    from hephaes_rpc.store.app import AppStore
    from hephaes_rpc.store.db import Database
    from hephaes_rpc.store.workspace import OpenWorkspace

logger = logging.getLogger(__name__)

POLL_S = 0.25
LATE = timedelta(seconds=15)
"""A change of a job may become visible that long after the time it bears: its transaction waited for another."""


@define
class _Seen:
    """What has been told of one database."""

    data_version: int
    others: dict[str, int]
    jobs_at: datetime = EPOCH
    jobs: dict[str, datetime] = field(factory=dict)
    progress: dict[str, Progress] = field(factory=dict)

    def reach(self, changed_at: datetime) -> None:
        """Jobs are known up to that time; a clock that has been set back since is believed."""
        self.jobs_at = min(max(self.jobs_at, changed_at), to_time(now_us()))


class ForeignChanges:
    """The watch over all open databases; ``start`` it once the store is open.

    Attributes:
        n_jobs: Grows whenever jobs have been seen to be changed by others.
    """

    def __init__(self, store: "AppStore", jobs: "JobQueue", notify: "Notifier") -> None:
        self._store, self._jobs, self._notify = store, jobs, notify
        self._seen: dict[Database, _Seen] = {}
        self.n_jobs = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    async def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            databases = self._store.databases()
            self._seen = {db: seen for db, seen in self._seen.items() if any(db is each for _, each in databases)}
            for workspace, db in databases:
                try:
                    self._look(workspace, db)
                except HephaesError as error:  # closed meanwhile, or damaged: whoever asks for it is told
                    logger.debug("%s is not watched: %s", db.path, error)
                except Exception:
                    logger.exception("%s could not be watched", db.path)

    def _look(self, workspace: "OpenWorkspace | None", db: "Database") -> None:
        version = db.data_version()
        seen = self._seen.get(db)
        if seen is None:
            self._seen[db] = seen = _Seen(version, db.others())
            if workspace is not None:
                seen.reach(workspace.jobs.changed_at())
                seen.jobs.update((job.id, job.updated_at) for job in workspace.jobs.changed_since(seen.jobs_at - LATE))
            return
        if version == seen.data_version:
            return
        seen.data_version = version
        changed_at = workspace.jobs.changed_at() if workspace is not None else EPOCH
        others = db.others()
        grown = [noun for noun, n in others.items() if n > seen.others.get(noun, 0)]
        seen.others = {noun: max(n, seen.others.get(noun, 0)) for noun, n in others.items()}
        for noun in get_args(Noun):
            if noun in grown:
                self._notify.changed(noun, workspace.id if workspace else None, None, "refreshed")
        if workspace is not None and "progress" in grown:
            self._tell_progress(workspace, seen)
        if workspace is not None and "jobs" in grown:
            self.n_jobs += 1
            self._tell_jobs(workspace, seen)
        else:  # what has changed so far is our own
            seen.reach(changed_at)

    def _tell_jobs(self, workspace: "OpenWorkspace", seen: _Seen) -> None:
        since = seen.jobs_at - LATE
        seen.jobs = {job_id: at for job_id, at in seen.jobs.items() if at >= since}
        for job in workspace.jobs.changed_since(since):
            seen.reach(job.updated_at)
            if seen.jobs.get(job.id) == job.updated_at or self._is_ours(job):
                continue
            seen.jobs[job.id] = job.updated_at
            if job.status in FINAL:
                seen.progress.pop(job.id, None)
                if job.progress is not None and job.progress.percentage == 100:
                    self._notify.job_progress(job.progress)
            self._notify.job_changed(job)

    def _tell_progress(self, workspace: "OpenWorkspace", seen: _Seen) -> None:
        for job in workspace.jobs.at_work():
            if job.progress is not None and job.progress != seen.progress.get(job.id) and not self._is_ours(job):
                seen.progress[job.id] = job.progress
                self._notify.job_progress(job.progress)

    def _is_ours(self, job: Job) -> bool:
        return self._jobs.is_at_work(job.id) or self._notify.has_told(job)
