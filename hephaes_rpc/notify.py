"""What the server tells its client unasked.

Strategy: every call may come from any thread and never blocks; frames go straight to the writer's queue.  Changes of
the same noun, workspace and reason within 50 ms become one notification; progress of a job is sent at most ten times a
second, the latest state wins and the last one is never lost.  Nothing is sent before the client's ``initialized``.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import frozen

from hephaes_rpc.model.jobs import Job, Progress
from hephaes_rpc.registry import sends
from hephaes_rpc.serde import encode, unstructure

Noun = Literal["assets", "outputs", "conversionConfigs", "tags", "workspaces", "drafts"]
Reason = Literal["created", "updated", "deleted", "refreshed"]
Trace = Literal["off", "messages", "verbose"]
SendFrame = Callable[[bytes, str | None], None]

COALESCE_S = 0.05
PROGRESS_INTERVAL_S = 0.1
TOLD_FOR = timedelta(seconds=60)
"""What has been told of a job is known for so long: whoever watches the database has long seen it by then."""
MAX_JOBS_TOLD = 10_000


@frozen
class Change:
    """Params of every ``*/didChange`` of a list.

    Args:
        reason: What was done.
    """

    workspace_id: str | None
    ids: list[str] | None
    reason: Reason


@frozen
class JobChange:
    """Params of ``jobs/didChange``."""

    job: Job


@frozen
class WorkDoneBegin:
    """First value of a work-done token."""

    title: str
    kind: Literal["begin"] = "begin"
    cancellable: bool = True
    percentage: int = 0


@frozen
class WorkDoneReport:
    """How far the work is."""

    message: str | None
    percentage: int | None
    kind: Literal["report"] = "report"


@frozen
class WorkDoneEnd:
    """Last value of a work-done token."""

    message: str | None
    kind: Literal["end"] = "end"


@frozen
class WorkDoneProgress:
    """Params of ``$/progress``.

    Args:
        token: The ``workDoneToken`` of the request.
        value: ``begin`` first, then any number of ``report``, then ``end``.
    """

    token: str | int
    value: WorkDoneBegin | WorkDoneReport | WorkDoneEnd


@frozen
class LogMessage:
    """Params of ``window/logMessage``; ``type`` is 1 for errors, 2 for warnings, 3 for information.

    Args:
        type: How grave it is.
        message: A line of the log.
    """

    type: Literal[1, 2, 3]
    message: str


@frozen
class LogTrace:
    """Params of ``$/logTrace``.

    Args:
        message: Which method was answered, and how long it took.
        verbose: The id of the request and the size of its answer, for ``verbose``.
    """

    message: str
    verbose: str | None


for _noun in ("assets", "outputs", "conversionConfigs", "drafts", "tags", "workspaces"):
    sends(f"{_noun}/didChange", Change, f"Something in the list of {_noun} has changed; ids null means reload all.")
sends("jobs/didChange", JobChange, "The status of a job has changed.")
sends("jobs/progress", Progress, "How far a job is: at most ten a second, always one at 100 %.")
sends("$/progress", WorkDoneProgress, "Progress of a request that carried workDoneToken.")
sends("window/logMessage", LogMessage, "A warning or an error that went to the log.")
sends("$/logTrace", LogTrace, "A request has been answered; sent while $/setTrace asks for it.")

_tokens = itertools.count()


class Notifier:
    """Sends notifications; see the module's strategy.

    Args:
        loop: Where held-back notifications are timed.
        send: Queues one encoded message; one with the same key that still waits is replaced.

    Attributes:
        loop: Likewise.
        trace: How much ``log_trace`` tells.
        opened: Set once the client listens; until then nothing is sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: SendFrame) -> None:
        self.loop = loop
        self._send = send
        self._lock = threading.RLock()  # held while sending too: what is newer is also sent later
        self.trace: Trace = "off"
        self.opened = asyncio.Event()
        self._changes: dict[tuple[Noun, str | None, Reason], dict[str, None] | None] = {}
        self._progress: dict[str, Progress] = {}
        self._progress_at: dict[str, float] = {}
        self._jobs_told: OrderedDict[str, datetime] = OrderedDict()

    def open(self) -> None:
        """The client has said ``initialized``."""
        self.opened.set()

    def notify(self, method: str, params: Any, key: str | None = None) -> None:
        """Send ``params`` (an attrs object or JSON values) at once."""
        if self.opened.is_set():
            self._send(encode({"jsonrpc": "2.0", "method": method, "params": unstructure(params)}), key)

    def changed(self, noun: Noun, workspace_id: str | None, ids: Iterable[str] | None, reason: Reason) -> None:
        """``<noun>/didChange`` after a commit, coalesced; ``ids=None`` means reload all, no ids mean nothing."""
        change = (noun, workspace_id, reason)
        added = None if ids is None else dict.fromkeys(ids)
        if added is not None and not added:
            return
        with self._lock:
            first = not self._changes
            known = self._changes.get(change, {})
            self._changes[change] = None if known is None or added is None else known | added
        if first:
            self._later(COALESCE_S, self._flush_changes)

    def _flush_changes(self) -> None:
        with self._lock:
            changes, self._changes = self._changes, {}
            for (noun, workspace_id, reason), ids in changes.items():
                listed = None if ids is None else list(ids)
                self.notify(f"{noun}/didChange", Change(workspace_id, listed, reason))

    def job_changed(self, job: Job) -> None:
        """``jobs/didChange`` with the job object, at once, after the progress of that job that is still held back."""
        with self._lock:
            self._flush_progress(job.id)
            self._jobs_told[job.id] = job.updated_at
            self._jobs_told.move_to_end(job.id)
            self.notify("jobs/didChange", JobChange(job))
            oldest = next(iter(self._jobs_told.values()))
            while oldest < job.updated_at - TOLD_FOR or len(self._jobs_told) > MAX_JOBS_TOLD:
                self._jobs_told.popitem(last=False)
                oldest = next(iter(self._jobs_told.values()))

    def has_told(self, job: Job) -> bool:
        """Whether this state of a job, or a later one, has been told."""
        with self._lock:
            told = self._jobs_told.get(job.id)
        return told is not None and told >= job.updated_at

    def job_progress(self, progress: Progress) -> None:
        """``jobs/progress``; 100 % is always sent, at once."""
        job_id = progress.job_id
        with self._lock:
            held = job_id in self._progress
            self._progress[job_id] = progress
            sent_at = self._progress_at.get(job_id, 0.0)
            wait_s = sent_at + PROGRESS_INTERVAL_S - time.monotonic()
            if wait_s <= 0 or progress.percentage == 100:
                self._flush_progress(job_id)
            elif not held:
                self._later(wait_s, self._flush_held, job_id, sent_at)

    def _flush_held(self, job_id: str, sent_at: float) -> None:
        with self._lock:  # what was held back when this was timed may have been sent: what is held since has its own
            if self._progress_at.get(job_id, 0.0) <= sent_at:
                self._flush_progress(job_id)

    def _flush_progress(self, job_id: str) -> None:
        with self._lock:
            progress = self._progress.pop(job_id, None)
            if progress is None:
                return
            now = time.monotonic()
            if len(self._progress_at) > 1000:
                self._progress_at = {job: at for job, at in self._progress_at.items() if now - at < 1}
            self._progress_at[job_id] = now
            key = f"jobs/progress {job_id}" if progress.percentage != 100 else None
            self.notify("jobs/progress", progress, key)

    def log_trace(self, tell: Callable[[], tuple[str, str]]) -> None:
        """``$/logTrace`` with a message and what is told to who wants it verbose, if the client has asked for it."""
        if self.trace != "off":
            message, verbose = tell()
            self.notify("$/logTrace", LogTrace(message, verbose if self.trace == "verbose" else None))

    def flush(self) -> None:
        """Send what is held back."""
        self._flush_changes()
        for job_id in list(self._progress):
            self._flush_progress(job_id)

    def _later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, call, *args)


class WorkDone:
    """``$/progress`` begin, report and end for one request; silent when ``token`` is None."""

    def __init__(self, notifier: Notifier, token: str | int | None) -> None:
        self._notifier = notifier
        self._token = token
        self._key = "" if token is None else f"$/progress {next(_tokens)}"
        self._reported_at = 0.0

    def begin(self, title: str) -> None:
        """The work starts; sent for the handler."""
        if self._token is not None:
            self._value(self._token, WorkDoneBegin(title))

    def report(self, message: str | None = None, percentage: float | None = None) -> None:
        """Say how far the work is; at most ten a second are sent.  Callable from any thread."""
        now = time.monotonic()
        if self._token is None or now - self._reported_at < PROGRESS_INTERVAL_S:
            return
        self._reported_at = now
        whole = None if percentage is None else max(0, min(100, int(percentage)))
        self._value(self._token, WorkDoneReport(message, whole), self._key)

    def end(self, message: str | None = None) -> None:
        """The work has ended, however; sent for the handler."""
        if self._token is not None:
            self._value(self._token, WorkDoneEnd(message))

    def _value(
        self, token: str | int, value: WorkDoneBegin | WorkDoneReport | WorkDoneEnd, key: str | None = None
    ) -> None:
        self._notifier.notify("$/progress", WorkDoneProgress(token, value), key)
