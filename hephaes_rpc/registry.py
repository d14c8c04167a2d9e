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

import inspect
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any, TypeVar

from attrs import field, frozen

from hephaes_rpc.errors import KINDS

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
    at_once: Callable[..., Any] | None
    summary: str
    title: str


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
        at_once: Callable[..., Any] | None = None,
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
            at_once: Of a ``LONG`` method, what is called first, on the event loop and as the handler is: it gives the
                result if nothing has to be waited for, and None otherwise.
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
            title = summary.partition("\n")[0].rstrip(".")
            self.methods[name] = Method(
                name, handler, params, result, errors, lane, progress, notification, at_once, summary, title
            )
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
