"""What handlers work with: the state that all requests share, and the one request at hand."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.logcontext import carried

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from hephaes_rpc.config import Config, Options
    from hephaes_rpc.jobs.counter import JobCounter
    from hephaes_rpc.jobs.interactive import Interactive
    from hephaes_rpc.jobs.queue import JobQueue
    from hephaes_rpc.notify import Notifier, WorkDone
    from hephaes_rpc.store.app import AppStore
    from hephaes_rpc.store.workspace import OpenWorkspace

T = TypeVar("T")
CANCEL_POLL_S = 0.05


class Lifecycle(Protocol):
    """What the methods of the lifecycle ask of the server."""

    @property
    def ready(self) -> bool:
        """Whether the store is open: between the answer to ``initialize`` and the end."""
        ...

    async def start(self, options: "Options") -> None:
        """Read the configuration again with the client's options, open the store and the queue."""
        ...

    def open(self) -> None:
        """Let notifications go out."""
        ...

    def cancel(self, request_id: str | int | float) -> None:
        """Have a request in flight stop."""
        ...

    def watch(self, process_id: int) -> None:
        """End when that process ends."""
        ...

    async def drain(self) -> None:
        """Take no more work, have what runs stop; done when it has."""
        ...

    def exit(self) -> None:
        """End the process."""
        ...


class AppState:
    """What handlers share; built by the server.

    ``store``, ``jobs`` and ``counts`` are there once ``initialize`` has answered, the rest always is.
    """

    store: "AppStore"
    jobs: "JobQueue"
    counts: "JobCounter"

    def __init__(
        self, config: "Config", notify: "Notifier", executor: "Executor", lifecycle: Lifecycle, started: float
    ) -> None:
        self.config = config
        self.notify = notify
        self.executor = executor
        self.lifecycle = lifecycle
        self.started = started
        self.client_capabilities: Mapping[str, Any] = {}
        self._interactive: Interactive | None = None
        self.drain_hooks: list[Callable[[], Awaitable[None]]] = []
        self.request_client: Callable[[str, Any], Awaitable[Any]] = _no_client

    @property
    def interactive(self) -> "Interactive":
        """The workers that answer requests; asked for on the loop."""
        if self._interactive is None:
            from hephaes_rpc.jobs.interactive import Interactive

            self._interactive = Interactive(self.jobs, self.config.worker_memory_bytes)
            self.on_drain(self._interactive.close)
        return self._interactive

    def on_drain(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Have ``hook`` awaited once when the server stops (about 2 s are left to it), last registered first."""
        self.drain_hooks.append(hook)


async def _made_there(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """A coroutine that is made on the loop, too."""
    return await make()


async def _no_client(method: str, params: Any) -> Any:
    raise HephaesError("io_error", f"no client is connected that could answer {method}", params=params)


class RequestContext:
    """One request as its handler sees it.

    Attributes:
        request_id: The id the client gave, ``None`` for a notification.
        progress: Work-done reporter; silent unless the request carried ``workDoneToken``.
    """

    def __init__(self, app: AppState, request_id: str | float | None, progress: "WorkDone") -> None:
        self.app = app
        self.request_id = request_id
        self.progress = progress
        self.cancelled = False

    def check(self) -> None:
        """Raise ``CancelledByClient`` once the client has cancelled the request; callable from any thread."""
        if self.cancelled:
            raise CancelledByClient()

    def workspace(self, workspace_id: str | None) -> "OpenWorkspace":
        """The named workspace, or the active one; raises the ``workspace_*`` errors."""
        return self.app.store.workspace(workspace_id)

    def on_loop(self, waiting: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a coroutine gives that runs on the server's loop, while a thread waits; cancelled with the request."""
        asked = asyncio.run_coroutine_threadsafe(_made_there(waiting), self.app.notify.loop)
        try:
            while True:
                try:
                    return asked.result(CANCEL_POLL_S)
                except TimeoutError:
                    self.check()
        finally:
            asked.cancel()

    async def opened(self, workspace_id: str | None) -> "OpenWorkspace":
        """As ``workspace``, for a coroutine: opening one reads files."""
        found: OpenWorkspace = await self.in_thread(self.workspace, workspace_id)
        return found

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of a blocking call made in the server's executor."""
        return await asyncio.get_running_loop().run_in_executor(self.app.executor, carried(function), *args)
