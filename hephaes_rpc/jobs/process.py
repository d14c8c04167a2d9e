"""The parent's end of a worker process.

Strategy: everything happens on the event loop.  Events are parsed as their bytes arrive and wait in a queue; the end of
the process comes after the last of them.  A worker leads a process group, and whatever it has started dies with it.
What it says on stderr goes to the log, the first part of it and the last: a flood is read, but not kept.
"""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from hephaes_rpc.logcontext import working_on
from hephaes_rpc.processes import command

# Not below our own name: what a worker prints is for the log, not for the client.
logger = logging.getLogger("worker")

KEPT_BYTES = 64 * 1024
TAIL_BYTES = 4 * 1024
STDERR_WAIT_S = 0.5
"""How long a process that has left the group may keep stderr open."""


class WorkerProcess(asyncio.SubprocessProtocol):
    """A running worker.

    Attributes:
        tasks: Tasks it has been given.
        heard_at: When it last sent anything (s, monotonic).
        idle_s: How long its task has neither used the processor nor asked whether to go on, as it told last.
        job_id: The job it is at work on, for the log.
        abandoned: Whether it was killed and is waited for no more.
        on_line: Called with every line it says on stderr that is kept.
    """

    def __init__(self) -> None:
        self.tasks = 0
        self.heard_at = time.monotonic()
        self.idle_s = 0.0
        self.abandoned = False
        self.on_line: Callable[[str], None] | None = None
        self.job_id: str | None = None
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._open = {1, 2}
        self._exited = False
        self._line = b""
        self._said = b""
        self._left = KEPT_BYTES
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(cls) -> Self:
        """A new worker; call it in the thread whose end shall be the worker's end.  Raises OSError."""
        _, worker = await asyncio.get_running_loop().subprocess_exec(cls, *command("worker"), process_group=0)
        return worker

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._transport.get_pid()

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._exited

    def run(self, task: dict[str, Any]) -> None:
        """Give it a task."""
        self.tasks += 1
        self.heard_at, self.idle_s = time.monotonic(), 0.0
        self._left = KEPT_BYTES
        self._send({"op": "run", "task": task})

    def ask_to_stop(self) -> None:
        """Cancel the task at work."""
        self._send({"op": "cancel"})

    def kill(self) -> None:
        """End it and all it has started."""
        if not self._exited:
            self._kill_group()

    def abandon(self) -> None:
        """Kill it and wait for no more from it: after the events that are there comes the end."""
        self.kill()
        self.abandoned = True
        self._events.put_nowait(None)

    async def event(self) -> dict[str, Any] | None:
        """The next event; None once it has ended or was abandoned."""
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)
        return event

    async def end(self, grace_s: float = 0.0) -> None:
        """Wait for its end, that long before it is killed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
        self.kill()
        await self._ended.wait()

    @property
    def signal(self) -> str | None:
        """Name of the signal that ended it."""
        code = self.exit_code
        if code is None or code >= 0:
            return None
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: a signal); None while it runs."""
        return self._transport.get_returncode()

    def _send(self, message: dict[str, Any]) -> None:
        stdin = self._transport.get_pipe_transport(0)
        if isinstance(stdin, asyncio.WriteTransport) and not stdin.is_closing():
            stdin.write(json.dumps(message).encode() + b"\n")

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has been started."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has said something."""
        if fd == 2:
            self._hear(data)
            return
        self.heard_at = time.monotonic()
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "pulse":
                self.idle_s = event["idle_s"]
            else:
                self._events.put_nowait(event)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of its pipes has been closed."""
        del exc
        self._open.discard(fd)
        self._settle()

    def process_exited(self) -> None:
        """It has ended; what it started ends now."""
        self._exited = True
        self._kill_group()
        self._settle()
        asyncio.get_running_loop().call_later(STDERR_WAIT_S, self.pipe_connection_lost, 2, None)

    def _settle(self) -> None:
        if self._exited and not self._open and not self._ended.is_set():
            self._log(self._said)
            self._transport.close()
            self._events.put_nowait(None)
            self._ended.set()

    def _hear(self, data: bytes) -> None:
        self._said += data
        if self._left > 0:
            whole, newline, self._said = self._said.rpartition(b"\n")
            self._left -= len(whole + newline)
            self._log(whole)
        elif len(self._said) > TAIL_BYTES:
            self._said = self._said[-TAIL_BYTES:]

    def _log(self, text: bytes) -> None:
        for line in text.splitlines():
            said = line[:TAIL_BYTES].decode(errors="replace")
            with working_on(job=self.job_id):
                logger.warning("%d: %s", self.pid, said)
            if self.on_line is not None:
                self.on_line(said)
