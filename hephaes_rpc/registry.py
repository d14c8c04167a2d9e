"""The methods of the server: what each takes, gives and may answer, and where it runs.

A handler is the use case; there is no layer behind it but the store, the queue and the engine.  Example::

    @frozen
    class AssetsGetParams:
        asset_id: str = field(validator=min_len(1), metadata={"doc": "id of the asset"})
        workspace_id: str | None = None

    @method("assets/get", params=AssetsGetParams, result=AssetDetail, errors=("asset_not_found",), lane=Lane.READ)
    def assets_get(ctx: RequestContext, params: AssetsGetParams) -> AssetDetail:
        \"\"\"One asset with its metadata and tags.\"\"\"
        return ctx.workspace(params.workspace_id).assets.get(params.asset_id)

    @method("assets/scanDirectory", params=ScanParams, result=ScanResult, lane=Lane.LONG, progress=True)
    async def assets_scan_directory(ctx: RequestContext, params: ScanParams) -> ScanResult:
        \"\"\"Register every log below a folder.\"\"\"
        for done, path in enumerate(found):
            ctx.check()                                     # raises CancelledByClient
            ctx.progress.report(path.name, 100 * done / len(found))
            await ctx.in_thread(register, path)             # anything that blocks
        ctx.app.notify.changed("assets", workspace.id, ids, "created")

``workspace_id`` belongs to every workspace-bound params class; ``workDoneToken`` to none: methods with
``progress=True`` take it by themselves.  The docstring of a handler is its summary in the OpenRPC document.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import field, frozen

from hephaes_rpc.errors import KINDS, CancelledByClient, HephaesError
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
Handler = TypeVar("Handler", bound=Callable[..., Any])

BEFORE_INITIALIZE = frozenset(("initialize", "initialized", "health", "rpc.discover"))
"""What is answered before ``initialize`` has been."""


class Lane(Enum):
    """Where a handler runs, so that nobody waits behind another."""

    FAST = "fast"
    """``def`` on the event loop, in order of arrival: what needs neither the store nor any other file."""
    READ = "read"
    """``def`` in a thread for reading from the store; never waits behind writes."""
    IO = "io"
    """``def`` in a thread: writes to the store, the file system, anything that may block for a moment."""
    LONG = "long"
    """``async def`` as a task on the loop: waits for workers and threads; cancelled at its next ``await``."""


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

            self._interactive = Interactive(self)
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


@frozen
class Method:
    """One row of the method table."""

    name: str
    handler: Callable[..., Any]
    params: type | None
    result: Any
    errors: tuple[str, ...]
    lane: Lane
    progress: bool
    notification: bool
    summary: str


@frozen
class Notification:
    """A message the server sends of its own accord."""

    name: str
    params: Any
    summary: str
    request: bool = False
    result: Any = None


@frozen(eq=False)
class Registry:
    """Methods and outgoing notifications by name.

    Attributes:
        elsewhere: Names of methods -> the module that registers each, which is imported when it is first asked for.
    """

    methods: dict[str, Method] = field(factory=dict)
    outgoing: dict[str, Notification] = field(factory=dict)
    elsewhere: dict[str, str] = field(factory=dict)

    def find(self, name: str) -> Method | None:
        """The method of that name; None where there is none."""
        if name not in self.methods and name in self.elsewhere:
            import_module(self.elsewhere[name])
        return self.methods.get(name)

    def names(self) -> list[str]:
        """The names of all methods."""
        return list(dict.fromkeys((*self.elsewhere, *self.methods)))

    def method(
        self,
        name: str,
        *,
        params: type | None = None,
        result: Any = None,
        errors: tuple[str, ...] = (),
        lane: Lane = Lane.FAST,
        progress: bool = False,
        notification: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated ``handler(ctx, params)`` (``handler(ctx)`` when ``params`` is None).

        Args:
            name: The method's name on the wire.
            params: attrs class of the params, structured strictly before the handler runs.
            result: Type of the result (attrs class, ``list[...]``, ``None`` ...); documents what the handler returns.
            errors: Kinds the handler may answer with, beyond those every method has.
            lane: Where the handler runs.
            progress: The method takes ``workDoneToken``; begin and end are sent for the handler.
            notification: Nothing is answered.
        """
        if unknown := set(errors) - set(KINDS):
            raise ValueError(f"{name}: unknown error kinds {sorted(unknown)}")

        def register(handler: Handler) -> Handler:
            is_async = inspect.iscoroutinefunction(handler)
            if is_async != (lane is Lane.LONG):
                raise TypeError(f"{name}: lane {lane.name} wants {'def' if is_async else 'async def'}")
            if name in self.methods:
                raise ValueError(f"{name} is registered twice")
            summary = inspect.cleandoc(handler.__doc__ or name)
            self.methods[name] = Method(name, handler, params, result, errors, lane, progress, notification, summary)
            return handler

        return register

    def sends(self, name: str, params: Any, summary: str, *, request: bool = False, result: Any = None) -> None:
        """Declare a notification (or a ``request``, answered with ``result``) that the server sends to its client."""
        if name in self.outgoing:
            raise ValueError(f"{name} is declared twice")
        self.outgoing[name] = Notification(name, params, summary, request, result)


REGISTRY = Registry()
method = REGISTRY.method
sends = REGISTRY.sends
