"""From ``initialize`` to ``exit``, and what answers at any time: ``health`` and ``rpc.discover``."""

import time
from typing import Any, Literal

from attrs import field, frozen, validators

from hephaes_rpc import __version__
from hephaes_rpc.config import Options
from hephaes_rpc.context import RequestContext
from hephaes_rpc.notify import Trace
from hephaes_rpc.registry import REGISTRY, Lane, method
from hephaes_rpc.serde import Verbatim

LARGEST_PID = 2**31 - 1


@frozen
class ClientInfo:
    """Who the client is; logged, nothing depends on it."""

    name: str
    version: str | None = None


@frozen
class InitializeParams:
    """As in LSP; what only an editor has to say (root, folders, locale) is accepted and means nothing here.

    Args:
        trace: How much ``$/logTrace`` tells.
    """

    process_id: int | None = field(
        default=None,
        validator=validators.optional([validators.ge(1), validators.le(LARGEST_PID)]),
        metadata={"wire": "processId", "doc": "the sidecar ends when this process does; null watches nobody"},
    )
    client_info: ClientInfo | None = field(default=None, metadata={"wire": "clientInfo"})
    capabilities: dict[str, Any] | None = field(
        default=None, metadata={"doc": "`window.openFileDialog: true` announces the file dialog"}
    )
    initialization_options: Options | None = field(
        default=None, metadata={"wire": "initializationOptions", "doc": "these win over the environment"}
    )
    trace: Trace | None = None
    locale: str | None = None
    root_path: str | None = field(default=None, metadata={"wire": "rootPath"})
    root_uri: str | None = field(default=None, metadata={"wire": "rootUri"})
    workspace_folders: list[dict[str, Any]] | None = field(default=None, metadata={"wire": "workspaceFolders"})


@frozen
class ServerInfo:
    """Name and version of this sidecar."""

    name: str
    version: str


@frozen
class Formats:
    """What is read and what is written."""

    logs: list[str]
    outputs: list[str]


@frozen
class Features:
    """What clients may build on."""

    cancellation: bool = True
    work_done_progress: bool = True
    discovery: bool = True
    notifications_without_polling: bool = True


@frozen
class Capabilities:
    """What this sidecar can do; ``notifications`` are those it sends."""

    methods: list[str]
    notifications: list[str]
    formats: Formats
    features: Features


@frozen
class InitializeResult:
    """Answer to ``initialize``."""

    server_info: ServerInfo = field(metadata={"wire": "serverInfo"})
    capabilities: Capabilities


@frozen
class CancelParams:
    """The id of a request in flight.

    Args:
        id: As the client gave it.
    """

    id: str | int | float


@frozen
class SetTraceParams:
    """How much is told through ``$/logTrace``.

    Args:
        value: ``messages``: a line for every answer; ``verbose``: with its id and size.
    """

    value: Trace


@frozen
class JobCounts:
    """Jobs of all ready workspaces."""

    queued: int
    running: int


@frozen
class Health:
    """State of the sidecar; ``jobs`` is null before ``initialize``, and while a database does not answer."""

    status: Literal["ok"]
    app_name: str
    version: str
    uptime_s: float
    jobs: JobCounts | None


@method(
    "initialize",
    params=InitializeParams,
    result=InitializeResult,
    errors=(
        "invalid_path",
        "workspace_conflict",
        "workspace_newer",
        "workspace_corrupt",
        "disk_full",
        "permission",
        "io_error",
    ),
    lane=Lane.LONG,
    progress=True,
)
async def initialize(ctx: RequestContext, params: InitializeParams) -> InitializeResult:
    """Open the store, say what this sidecar can do."""
    await ctx.app.lifecycle.start(params.initialization_options or Options())
    ctx.app.client_capabilities = params.capabilities or {}
    ctx.app.notify.trace = params.trace or "off"
    if params.process_id is not None:
        ctx.app.lifecycle.watch(params.process_id)
    heard = {name for name, known in REGISTRY.methods.items() if known.notification}
    return InitializeResult(
        ServerInfo("hephaes-rpc", __version__),
        Capabilities(
            methods=[name for name in REGISTRY.names() if name not in heard],
            notifications=[name for name, known in REGISTRY.outgoing.items() if not known.request],
            formats=Formats(logs=["bag", "db3", "mcap"], outputs=["parquet", "tfrecord"]),
            features=Features(),
        ),
    )


@method("initialized", notification=True)
def initialized(ctx: RequestContext) -> None:
    """From here on the sidecar may send notifications and requests."""
    ctx.app.lifecycle.open()


@method("shutdown", lane=Lane.LONG)
async def shutdown(ctx: RequestContext) -> None:
    """Take no more work and ask running jobs to stop; they become interrupted."""
    await ctx.app.lifecycle.drain()


@method("exit", notification=True)
def leave(ctx: RequestContext) -> None:
    """End the process: exit code 0 after ``shutdown``, 1 without."""
    ctx.app.lifecycle.exit()


@method("$/cancelRequest", params=CancelParams, notification=True)
def cancel_request(ctx: RequestContext, params: CancelParams) -> None:
    """Have a request end with error -32800 as soon as its work can stop."""
    ctx.app.lifecycle.cancel(params.id)


@method("$/setTrace", params=SetTraceParams, notification=True)
def set_trace(ctx: RequestContext, params: SetTraceParams) -> None:
    """Say how much is told through ``$/logTrace``."""
    ctx.app.notify.trace = params.value


def _health_at_once(ctx: RequestContext) -> Health | None:
    if not ctx.app.lifecycle.ready:
        return _health(ctx, None)
    known = ctx.app.counts.known()
    return None if known is None else _health(ctx, known)


@method("health", result=Health, lane=Lane.LONG, at_once=_health_at_once)
async def health(ctx: RequestContext) -> Health:
    """Whether the sidecar is well; answers at any time."""
    return _health(ctx, await ctx.app.counts.now())


def _health(ctx: RequestContext, counts: tuple[int, int] | None) -> Health:
    uptime_s = round(time.monotonic() - ctx.app.started, 3)
    return Health("ok", ctx.app.config.app_name, __version__, uptime_s, None if counts is None else JobCounts(*counts))


@method("rpc.discover", result=dict[str, Any], lane=Lane.LONG)
async def discover(ctx: RequestContext) -> dict[str, Any]:
    """The OpenRPC document of this very server."""
    from hephaes_rpc.methods import register_all
    from hephaes_rpc.openrpc import document

    await ctx.in_thread(register_all)
    return Verbatim(await ctx.in_thread(document))
