"""The interactive lane: worker processes that answer what somebody waits for, so that a hostile log hurts only them.

Strategy: a worker takes one task at a time and stays warm for the next; the first one is borrowed from the queue of
jobs, whose spare has its imports behind it.  A worker that crashes, or whose request is cancelled, is killed; the next
request gets another.  At most MAX_AT_ONCE requests are at work, the others wait in order; one idle worker is kept.
Everything happens on the event loop.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.jobs.process import WorkerProcess

if TYPE_CHECKING:
    from hephaes_rpc.jobs.queue import JobQueue

MAX_AT_ONCE = 2
SILENT_S = 30.0
Told = Callable[[str, float], None]


class Interactive:
    """The interactive workers of a sidecar; made on the loop that it lives on."""

    def __init__(self, jobs: "JobQueue", memory_bytes: int) -> None:
        """Workers of at most ``memory_bytes`` each; those of ``jobs`` are borrowed while they are idle."""
        self._jobs, self._memory_bytes = jobs, memory_bytes
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        self._idle: list[WorkerProcess] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._busy: set[WorkerProcess] = set()
        self._closed = False

    async def ask(self, task: dict[str, Any], told: Told) -> dict[str, Any]:
        """The answer of a worker; cancelling the awaiting task kills the worker.

        Args:
            task: ``type`` and what that takes.
            told: Called with the phase and its percentage.

        Raises:
            HephaesError: What the worker told, or ``worker_died``.
        """
        async with self._room:
            if self._closed:
                raise CancelledByClient("the sidecar is shutting down")
            worker = await self._worker()
            self._busy.add(worker)
            answer: dict[str, Any] | None = None
            done = False
            try:
                worker.run({"job_id": "interactive", "attempt": 0, "memory_bytes": self._memory_bytes, **task})
                while not done and (event := await self._event(worker)) is not None:
                    match event["event"]:
                        case "progress":
                            told(event["phase"], 100 * event["done"] / max(event["total"], 1))
                        case "answer":
                            answer = event
                        case "done":
                            done = True
                        case "failed":
                            raise _error(event["error"])
                if answer is None or not done:
                    raise _died(worker, task)
            finally:
                self._busy.discard(worker)
                self._release(worker, warm=done)
            if answer["error"] is not None:
                raise _error(answer["error"])
            value: dict[str, Any] = answer["value"]
            return value

    async def _event(self, worker: WorkerProcess) -> dict[str, Any] | None:
        """The next event; a worker that does not answer for SILENT_S is killed."""
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    return await worker.event()
            except TimeoutError:
                if time.monotonic() - worker.heard_at >= SILENT_S:
                    worker.kill()

    async def close(self) -> None:
        """End all workers; who waits for one gets an error."""
        self._closed = True
        for worker in (*self._busy, *self._idle):
            worker.kill()
        for worker in self._idle:
            await worker.end()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _worker(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
        lent = self._jobs.lend()
        try:
            return lent or await WorkerProcess.start()
        except OSError as error:
            raise HephaesError("io_error", f"no worker process could be started: {error.strerror or error}") from None

    def _release(self, worker: WorkerProcess, *, warm: bool) -> None:
        """Keep a worker that is well, end any other."""
        if warm and worker.alive and not self._idle and not self._closed:
            self._idle.append(worker)
            return
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _error(told: dict[str, Any]) -> HephaesError:
    return HephaesError(told["kind"], told["message"], hint=told["hint"], **told["data"])


def _died(worker: WorkerProcess, task: dict[str, Any]) -> HephaesError:
    how = f"was killed by {worker.signal}" if worker.signal else f"ended with code {worker.exit_code}"
    return HephaesError(
        "worker_died", f"the worker process {how} while it was looking at {task['path']}", path=task["path"]
    )
