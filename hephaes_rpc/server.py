"""The composition root of the sidecar: configuration, pipes, protocol, store, queue; run; drain; leave.

Strategy: the event loop lives in the main thread and does no waiting of its own.  One thread reads frames, one writes
them, one hears signals, one watches the client's process; each of them can begin the end of the process even while the
loop is busy.  The end is always the same: take no more work, have jobs stop (about 2 s), cancel requests, write what is
queued, leave.  A deadline that starts with the first reason to leave ends the process whatever is still running.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from hephaes_rpc.config import Config, ConfigError, Options, load
from hephaes_rpc.context import AppState
from hephaes_rpc.engine.memory import give_back, stay_small
from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.imports import import_lsp_types, importing
from hephaes_rpc.logsetup import Logs
from hephaes_rpc.methods import register_all
from hephaes_rpc.notify import Notifier
from hephaes_rpc.registry import BEFORE_INITIALIZE, REGISTRY
from hephaes_rpc.stdio import Fault, FrameReader, FrameWriter, Message, Wire
from hephaes_rpc.threads import fill, standing, watch_children_without_threads

if TYPE_CHECKING:
    from hephaes_rpc.protocol import Protocol
    from hephaes_rpc.store.app import AppStore

logger = logging.getLogger(__name__)

DEADLINE_S = 2.6
DRAIN_S = 2.0
ANSWER_S = 0.3
FLUSH_S = 0.15
IO_THREADS = 8
READ_THREADS = 4
WORK_THREADS = 16
UNREAD_BATCHES = 16
SLICE_S = 0.005
PROCESS_POLL_S = 0.5
ARENAS = 2
LARGE_BYTES = 1 << 17
TRIM_S = 30.0

Phase = Literal["new", "starting", "ready", "down"]


def serve(wire: Wire, arguments: Options, environ: Mapping[str, str]) -> int:
    """Serve one client on the claimed pipes until it leaves; returns the exit code."""
    started = time.monotonic()
    stay_small(ARENAS, LARGE_BYTES)
    ending = Ending()
    hear_signals(ending)
    os.umask(0o077)
    try:
        config = load(arguments, Options(), environ)
    except ConfigError as error:
        os.write(2, f"hephaes-rpc serve: {error}\n".encode(errors="backslashreplace"))
        return 2
    logs = Logs(config.log_level)
    loop = asyncio.new_event_loop()
    watch_children_without_threads(loop)
    server = Server(loop, wire, logs, ending, config, lambda options: load(arguments, options, environ), started)
    ending.flush = server.flush
    loop.run_until_complete(server.run())
    _close(loop)
    server.flush()
    if server.threads_left():
        os._exit(ending.code)
    return ending.code


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on the loop and close it."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=0.1))
    loop.close()


class Ending:
    """Why the process ends and with which code, and the promise that it does.

    Attributes:
        code: The exit code, as far as it is known.
        flush: Writes out what is queued, within a moment.
    """

    def __init__(self) -> None:
        self.code = 1
        self.flush: Callable[[], None] = lambda: None
        self._promised = threading.Event()
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._asked = False
        threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def promise(self) -> None:
        """From now on the process ends within the deadline, even if the loop is stuck.  Any thread."""
        self._promised.set()

    def ask(self, code: int) -> None:
        """End the process in order, with that code.  Any thread."""
        self.code = code
        self.promise()
        with self._lock:
            self._asked = True
            stop = self._stop
        if stop is not None:
            stop()

    def on_ask(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called, from any thread, when the process shall end; at once if that has been asked already."""
        with self._lock:
            self._stop = stop
            asked = self._asked
        if asked:
            stop()

    def now(self) -> None:
        """End the process."""
        self.flush()
        os._exit(self.code)

    def _wait(self) -> None:
        self._promised.wait()
        time.sleep(DEADLINE_S)
        logger.critical("something did not stop in time; leaving without it")
        self.now()


def keep_small() -> None:
    """Give back from time to time what large requests and answers have left between what is in use."""
    while True:
        time.sleep(TRIM_S)
        give_back()


def hear_signals(ending: Ending) -> None:
    """SIGTERM, SIGINT, SIGHUP and Ctrl-Break end the process in order with code 0, the second one at once.

    A thread hears them through the wakeup descriptor, which the C handler writes to: a main thread that is busy in
    native code delays nothing.
    """
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)  # no system has them all
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, lambda *_: None)

    def hear() -> None:
        os.read(read_fd, 1)
        ending.ask(0)
        os.read(read_fd, 1)
        ending.now()

    threading.Thread(target=hear, name="signals", daemon=True).start()


class Server:
    """One sidecar; the ``Lifecycle`` of its methods."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        logs: Logs,
        ending: Ending,
        config: Config,
        configure: Callable[[Options], Config],
        started: float,
    ) -> None:
        self._loop = loop
        self._logs = logs
        self._ending = ending
        self._configure = configure
        self._phase: Phase = "new"
        self._opened = False
        self._lost = False
        self._draining: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._batches: deque[deque[Message | Fault] | None] = deque()
        self._room = threading.Semaphore(UNREAD_BATCHES)
        self._writer = FrameWriter(wire.write_fd, self._client_gone)
        self._reader = FrameReader(wire.read_fd, self._deliver, self._input_ended)
        self._executor = standing(WORK_THREADS, "work")
        self._readers = standing(READ_THREADS, "read")
        self._counting = standing(1, "count")
        self._app = AppState(config, Notifier(loop, self._writer.send), self._executor, self, started)
        self._protocol = self._make_protocol()
        ending.on_ask(lambda: self._soon(self._stopped.set))

    def _make_protocol(self) -> "Protocol":
        with importing():
            import_lsp_types()
            from cattrs import Converter
            from pygls.server import JsonRPCServer

            from hephaes_rpc.protocol import Protocol

            REGISTRY.find("initialize")  # while the client is still to speak
        server = JsonRPCServer(Protocol, Converter, max_workers=IO_THREADS)
        protocol = server.protocol
        assert isinstance(protocol, Protocol)
        protocol.connect(self._app, REGISTRY, self._admit, self._writer.send, self._readers)
        self._app.request_client = protocol.request
        self._io_threads = server.thread_pool
        fill(self._io_threads, IO_THREADS)
        return protocol

    async def run(self) -> None:
        """Serve until the end is asked for, then drain."""
        self._writer.start()
        self._reader.start()
        threading.Thread(target=keep_small, name="memory", daemon=True).start()
        await self._stopped.wait()
        self._ending.promise()
        await self.drain()
        if hasattr(self._app, "store"):
            self._app.store.close()

    def flush(self) -> None:
        """Give queued frames and log lines a moment to be written."""
        self._writer.flush(FLUSH_S)
        self._logs.flush(FLUSH_S)

    def threads_left(self) -> bool:
        """Whether a handler is still running in a thread, after a moment."""
        for pool in (self._executor, self._io_threads, self._readers, self._counting):
            pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + ANSWER_S
        ours = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        for thread in ours:
            thread.join(max(0.0, until - time.monotonic()))
        return any(thread.is_alive() for thread in ours)

    # --- in

    def _deliver(self, found: list[Message | Fault]) -> None:
        """In the reader's thread: hand over what came, waiting while the loop is behind."""
        self._room.acquire()
        self._batches.append(deque(found))
        self._soon(self._pump)

    def _input_ended(self, lost: bool) -> None:
        """In the reader's thread: nothing more will come."""
        self._lost = lost
        if lost:
            logger.error("the framing of the input is lost")
        self._ending.promise()
        self._batches.append(None)
        self._soon(self._pump)

    def _soon(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)

    def _pump(self) -> None:
        """Handle what has come, a slice at a time so that nothing else on the loop waits for a flood."""
        try:
            self._handle(time.monotonic() + SLICE_S)
        finally:
            self._writer.let_go()

    def _handle(self, until: float) -> None:
        while self._batches and not self._stopped.is_set():
            batch = self._batches[0]
            if batch is None:
                self._batches.popleft()
                self._end_of_input()
                continue
            if len(batch) > 1:
                self._writer.hold()
            while batch:
                self._protocol.handle_message(batch.popleft())
                if time.monotonic() > until:
                    self._loop.call_soon(self._pump)
                    return
            self._batches.popleft()
            self._room.release()

    def _end_of_input(self) -> None:
        if self._lost:
            self._ending.ask(1)
        else:
            self.exit()

    def _client_gone(self) -> None:
        logger.warning("the client has not read for too long and is taken for gone")
        self._soon(self.exit)

    # --- the lifecycle

    def _admit(self, name: str) -> HephaesError | None:
        """Why a method may not be called now; after ``shutdown`` none may."""
        if name in ("exit", "$/cancelRequest"):
            return None
        if self._phase == "down":
            return HephaesError("invalid_request", f"{name}: the sidecar is shutting down, only exit is left")
        if name == "initialize" and self._phase != "new":
            return HephaesError("invalid_request", "initialize has been sent already")
        if self._phase != "ready" and name not in BEFORE_INITIALIZE:
            return HephaesError("not_initialized", f"{name}: initialize has not been answered yet")
        if name == "shutdown":
            self._phase = "down"  # now, not when its task begins: exit may be on its heels
            self._ending.code = 0
        return None

    @property
    def ready(self) -> bool:
        """Whether the store is open."""
        return self._phase == "ready"

    async def start(self, options: Options) -> None:
        """Read the configuration again with the client's options, open the store and the queue."""
        self._phase = "starting"
        try:
            config = self._config(options)
            self._logs.set_level(config.log_level)
            self._logs.open_file(config.log_dir)
            opening = self._loop.run_in_executor(self._executor, _open_store, config)
            try:
                store = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_late)
                raise
            with importing():
                from hephaes_rpc.changes import ForeignChanges
                from hephaes_rpc.jobs.counter import JobCounter
                from hephaes_rpc.jobs.queue import JobQueue

            self._app.config, self._app.store = config, store
            self._app.jobs = JobQueue(config, store, self._app.notify, self._executor)
            changes = ForeignChanges(store, self._app.jobs, self._app.notify)
            self._app.counts = JobCounter(
                store.job_counts, lambda: (store.jobs_revision(), changes.n_jobs), self._counting
            )
        except BaseException:
            self._phase = "new"
            raise
        self._app.on_drain(self._app.jobs.drain)
        changes.start()
        self._app.on_drain(changes.stop)
        self._phase = "ready"
        self._starting = self._loop.create_task(self._start_jobs())
        if self._opened:
            self.open()
        logger.info("ready: data in %s", config.data_dir)

    def _config(self, options: Options) -> Config:
        try:
            return self._configure(options)
        except ConfigError as error:
            refused = {"path": "initializationOptions", "message": str(error), "expected": "", "got": ""}
            raise ParamsError([refused]) from None

    async def _start_jobs(self) -> None:
        try:
            await self._app.jobs.start()
        except Exception:
            logger.exception("the queue of jobs did not start")

    def open(self) -> None:
        """Let notifications go out, once ``initialize`` is answered."""
        self._opened = True
        if self._phase == "ready" and not self._app.notify.opened.is_set():
            self._app.notify.open()
            self._logs.tell(self._app.notify)
            self._executor.submit(register_all)

    def cancel(self, request_id: str | int | float) -> None:
        """Have a request in flight stop."""
        self._protocol.cancel(request_id)

    def watch(self, process_id: int) -> None:
        """End as on end of input when that process ends."""

        def wait() -> None:
            wait_for_end(process_id)
            logger.info("the client's process %d has ended", process_id)
            self._ending.promise()
            self._soon(self.exit)

        threading.Thread(target=wait, name="client", daemon=True).start()

    def exit(self) -> None:
        """End the process: code 0 after ``shutdown``, 1 without."""
        self._ending.ask(0 if self._phase == "down" else 1)

    async def drain(self) -> None:
        """Have jobs and requests stop; the second call waits for the first."""
        if self._draining is None:
            self._phase = "down"
            self._draining = self._loop.create_task(self._drain())
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        hooks = self._app.drain_hooks
        try:
            async with asyncio.timeout(DRAIN_S):
                while hooks:
                    await self._run_hook(hooks.pop())
        except TimeoutError:
            logger.warning("jobs did not stop within %s s", DRAIN_S)
        await self._protocol.stop("shutdown", ANSWER_S)
        self._app.notify.flush()

    async def _run_hook(self, hook: "Callable[[], object]") -> None:
        try:
            await hook()  # type: ignore[misc]
        except Exception:
            logger.exception("stopping went wrong")


def _open_store(config: Config) -> "AppStore":
    with importing():
        from hephaes_rpc.store.app import AppStore

    return AppStore(config)


def _close_late(opening: "asyncio.Future[AppStore]") -> None:
    if opening.exception() is None:
        opening.result().close()


def wait_for_end(process_id: int) -> None:
    """Return when the process has ended; at once if there is none."""
    try:
        process = os.pidfd_open(process_id)
    except AttributeError:  # not Linux
        while _alive(process_id):
            time.sleep(PROCESS_POLL_S)
    except OSError:
        return
    else:
        import select

        select.select([process], [], [])
        os.close(process)


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
