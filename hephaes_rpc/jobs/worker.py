"""The worker process: tasks in, events out, one JSON object per line on private descriptors.

In: ``{"op": "run", "task": {...}}``, ``{"op": "cancel"}`` for the task at work.  Out: the events of ``tasks``, then
``{"event": "done"}`` or ``{"event": "failed", "asset": n, "error": {kind, message, hint, data}}``; only after ``done``
another task may follow, after anything else the process ends.

No worker outlives its parent: the kernel kills it when the parent dies (Linux), and a thread ends it when its input
ends.  What is printed goes to stderr, which the parent reads into its log; so does the traceback of a bug.
"""

import json
import os
import queue
import sys
import threading
import traceback
import uuid
from typing import Any

from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.jobs.tasks import Context, perform
from hephaes_rpc.stdio import Wire

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def run(wire: Wire) -> int:
    """Work until there is nothing more to do; returns the exit code."""
    die_with_parent()
    inbox = Inbox(wire.read_fd)
    inbox.start()
    outbox = Outbox(wire.write_fd)
    warm_up()
    while _perform(inbox.next_task(), inbox, outbox):
        pass
    sys.stderr.flush()
    return 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; nothing where it cannot."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def warm_up() -> None:
    """Import what every task needs, while there is none."""
    import hephaes_rpc.engine.logs
    import hephaes_rpc.engine.logs.describe  # noqa: F401


class Inbox(threading.Thread):
    """Reads what the parent says; ends the process when the parent is gone."""

    def __init__(self, fd: int) -> None:
        super().__init__(name="inbox", daemon=True)
        self._fd = fd
        self._tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled = threading.Event()

    def next_task(self) -> dict[str, Any]:
        """The next task; waits for it."""
        return self._tasks.get()

    def check(self) -> None:
        """Raise CancelledByClient once the task at work has been cancelled."""
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
    """Writes events; from one thread only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, event: dict[str, Any]) -> None:
        """Send one event; ends the process when nobody reads."""
        data = memoryview(json.dumps(event).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            os._exit(1)


def _perform(task: dict[str, Any], inbox: Inbox, outbox: Outbox) -> bool:
    """Do one task and tell how it ended; whether another one may follow."""
    context = Context(task, outbox, inbox.check)
    try:
        perform(context)
    except BaseException as error:
        sys.stdout.flush()
        outbox({"event": "failed", "asset": context.asset, "error": _described(error, task)})
        return False
    outbox({"event": "done"})
    return True


def _described(error: BaseException, task: dict[str, Any]) -> dict[str, Any]:
    """The error as it is stored and shown; the traceback of a bug goes to stderr."""
    if isinstance(error, MemoryError):
        found = HephaesError(
            "worker_died",
            "the worker ran out of memory",
            hint="convert fewer topics at a time, or choose fewer rows per row group",
        )
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
    return {"kind": found.kind, "message": found.message, "hint": found.hint, "data": found.data}
