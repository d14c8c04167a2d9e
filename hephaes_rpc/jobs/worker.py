"""The worker process: tasks in, events out, one JSON object per line on private descriptors.

In: ``{"op": "run", "task": {...}}``, ``{"op": "cancel"}`` for the task at work.  Out: the events of ``tasks``, then
``{"event": "done"}`` or ``{"event": "failed", "asset": n, "error": {kind, message, hint, data}}``; only after ``done``
another task may follow, after anything else the process ends.  ``{"event": "pulse", "idle_s": s}`` comes every second
while a task is at work.

No worker outlives its parent: the kernel kills it when the parent dies (Linux), and a thread ends it when its input
ends.  What is printed goes to stderr, which the parent reads into its log; so does the traceback of a bug.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
import uuid
from typing import Any

from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.imports import importing
from hephaes_rpc.jobs import limits
from hephaes_rpc.jobs.taskcontext import Context
from hephaes_rpc.jobs.tasks import perform
from hephaes_rpc.processes import die_with_parent
from hephaes_rpc.stdio import Wire

PULSE_S = 1.0
WATCH_S = 0.1
IDLE_CPU_S = 0.005
"""Of a second: what is less is no work."""


def run(wire: Wire) -> int:
    """Work until there is nothing more to do; returns the exit code."""
    die_with_parent()
    inbox = Inbox(wire.read_fd)
    inbox.start()
    outbox = Outbox(wire.write_fd)
    pulse = Pulse(inbox, outbox)
    pulse.start()
    warm_up()
    while _perform(inbox.next_task(), inbox, outbox, pulse):
        pass
    sys.stderr.flush()
    return 1


def warm_up() -> None:
    """Import what most tasks need, above all indexing, while there is none."""
    with importing():
        import hephaes_rpc.engine.identity
        import hephaes_rpc.engine.logs.describe
        import hephaes_rpc.engine.logs.mcap
        import hephaes_rpc.engine.logs.opening
        import hephaes_rpc.engine.quality.indexed  # noqa: F401


class Inbox(threading.Thread):
    """Reads what the parent says; ends the process when the parent is gone.

    Attributes:
        checks: How often the task at work has asked whether to go on.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(name="inbox", daemon=True)
        self._fd = fd
        self._tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self.checks = 0

    def next_task(self) -> dict[str, Any]:
        """The next task; waits for it."""
        return self._tasks.get()

    def check(self) -> None:
        """Raise CancelledByClient once the task at work has been cancelled."""
        self.checks += 1
        if self._cancelled.is_set():
            raise CancelledByClient()

    def run(self) -> None:
        """Read until the end of input."""
        try:
            with os.fdopen(self._fd, "rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if message["op"] == "cancel":
                        self._cancelled.set()
                    else:
                        self._cancelled.clear()
                        self._tasks.put(message["task"])
        finally:
            os._exit(0)


class Outbox:
    """Writes events, one at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Send one event; ends the process when nobody reads."""
        data = memoryview(json.dumps(event).encode() + b"\n")
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            os._exit(1)


class Pulse(threading.Thread):
    """Tells the parent every second that the process lives and how long its task has been idle; holds it to its memory.

    A task that takes more memory than it may is told of as failed, and the process ends.
    """

    def __init__(self, inbox: Inbox, outbox: Outbox) -> None:
        super().__init__(name="pulse", daemon=True)
        self._inbox, self._outbox = inbox, outbox
        self._at_work = threading.Event()
        self._context: Context | None = None

    def begin(self, context: Context) -> None:
        """A task is at work from now on."""
        limits.restrict(context.task.get("memory_bytes"))
        self._context = context
        self._at_work.set()

    def end(self) -> None:
        """No task is at work any more."""
        self._at_work.clear()
        self._context = None

    def run(self) -> None:
        """Watch for ever."""
        while True:
            self._at_work.wait()
            beaten = moved = time.monotonic()
            seen = self._activity()
            while self._at_work.is_set():
                time.sleep(WATCH_S)
                now = time.monotonic()
                context = self._context
                if context is not None:
                    self._hold_to_memory(context)
                if now - beaten >= PULSE_S:
                    beaten, last, seen = now, seen, self._activity()
                    if seen[0] != last[0] or seen[1] - last[1] > IDLE_CPU_S:
                        moved = now
                    self._outbox({"event": "pulse", "idle_s": now - moved})

    def _activity(self) -> tuple[int, float]:
        return self._inbox.checks, time.process_time() - time.thread_time()

    def _hold_to_memory(self, context: Context) -> None:
        limit = context.task.get("memory_bytes")
        used = limits.private_bytes()
        if limit is not None and used is not None and used > limit:
            self._outbox({"event": "failed", "asset": context.asset, "error": _told(limits.out_of_memory(limit))})
            os._exit(1)


def _perform(task: dict[str, Any], inbox: Inbox, outbox: Outbox, pulse: Pulse) -> bool:
    """Do one task and tell how it ended; whether another one may follow."""
    context = Context(task, outbox, inbox.check)
    pulse.begin(context)
    try:
        perform(context)
    except BaseException as error:
        sys.stdout.flush()
        outbox({"event": "failed", "asset": context.asset, "error": _described(error, task)})
        return False
    finally:
        pulse.end()
    outbox({"event": "done"})
    return True


def _described(error: BaseException, task: dict[str, Any]) -> dict[str, Any]:
    """The error as it is stored and shown; the traceback of a bug goes to stderr."""
    if limits.is_out_of_memory(error):
        found = limits.out_of_memory(task.get("memory_bytes"))
    elif isinstance(error, HephaesError) and error.kind != "bug":
        found = error
    else:
        incident = uuid.uuid4().hex[:12]
        print(f"incident {incident} in job {task.get('job_id')}", file=sys.stderr)
        traceback.print_exception(error)
        found = HephaesError(
            "bug", f"a bug of the worker; the log has more under incident {incident}", incident=incident
        )
    sys.stderr.flush()
    return _told(found)


def _told(found: HephaesError) -> dict[str, Any]:
    return {"kind": found.kind, "message": found.message, "hint": found.hint, "data": found.data}
