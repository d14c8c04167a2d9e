"""Logs: register them, find them, index them."""

import asyncio
from datetime import datetime
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, le, optional

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.logs.recording import SUFFIXES
from hephaes_rpc.errors import CancelledByClient, HephaesError, ParamsError
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    filters_of,
    given,
    inverted,
    not_blank,
    page_of,
    require,
    trimmed,
)
from hephaes_rpc.methods.indexing import analyze, index
from hephaes_rpc.methods.logfiles import folder_of, log_file, logs_below, printable
from hephaes_rpc.methods.registration import RegistrationSkip, register, register_all
from hephaes_rpc.model.assets import Asset, AssetDetail, AssetListItem, IndexingStatus
from hephaes_rpc.model.jobs import Job, Progress
from hephaes_rpc.model.quality import FindingKind, Severity
from hephaes_rpc.registry import Lane, method, sends
from hephaes_rpc.serde import structure
from hephaes_rpc.store.assets import AssetFilters

SCAN_BATCH = 200
"""Files registered in one transaction of a scan."""

Sort = Literal[
    "registered_time",
    "-registered_time",
    "last_indexed_time",
    "-last_indexed_time",
    "file_name",
    "-file_name",
    "file_size",
    "-file_size",
]
INDEX_ERRORS = ("bad_input", "unsupported", "asset_unavailable", "source_changed", "worker_died")


@frozen(kw_only=True)
class AssetsRegisterParams(InWorkspace):
    """A log to be registered; it stays where it is."""

    file_path: str = field(validator=not_blank, converter=trimmed, metadata={"doc": "~ is expanded, links resolved"})


@frozen(kw_only=True)
class AssetsScanDirectoryParams(InWorkspace):
    """A folder whose logs are to be registered.

    Args:
        recursive: With all folders below it, hidden ones too.
    """

    directory_path: str = field(validator=not_blank, converter=trimmed, metadata={"doc": "~ is expanded"})
    recursive: bool = True


@frozen(kw_only=True)
class ScanResult:
    """What a scan has found, sorted by path."""

    scanned_directory: str
    recursive: bool
    discovered_file_count: int
    registered_assets: list[Asset]
    skipped: list[RegistrationSkip]


@frozen(kw_only=True)
class DialogResult:
    """What became of the logs that were chosen; ``canceled`` when none were."""

    canceled: bool
    registered_assets: list[Asset]
    skipped: list[RegistrationSkip]


@frozen(kw_only=True)
class DialogFilter:
    """A kind of files, by extensions without dots."""

    name: str
    extensions: list[str]


@frozen(kw_only=True)
class OpenFileDialog:
    """What the dialog shall look like.

    Args:
        title: What to show at the top.
        filters: Which files to offer.
        multiple: More than one file may be chosen.
    """

    title: str
    filters: list[DialogFilter]
    multiple: bool = True


@frozen(kw_only=True)
class OpenFileDialogResult:
    """The chosen files by their absolute paths; none means that the dialog was cancelled."""

    file_paths: list[str]


OPEN_FILE_DIALOG = "window/openFileDialog"
_EXTENSIONS = [suffix.removeprefix(".") for suffix in SUFFIXES]

sends(
    OPEN_FILE_DIALOG,
    OpenFileDialog,
    "Let the user choose files; answer with {file_paths}, which is empty when the dialog was cancelled.",
    request=True,
    result=OpenFileDialogResult,
)


@frozen(kw_only=True)
class AssetParams(InWorkspace):
    """One asset.

    Args:
        asset_id: Id of a registered log.
    """

    asset_id: str


@frozen(kw_only=True)
class ReindexResult:
    """Assets in order of registration, by how it went."""

    indexed_assets: list[Asset]
    failed_assets: list[Asset]
    total_requested: int


@frozen(kw_only=True)
class AssetsListParams(WorkspacePaging):
    """Which assets: all conditions hold, bounds are inclusive, blank text counts as not given.

    Args:
        status: Of indexing.
        start_after: Bound of the time of the first message; assets without one are left out.
        start_before: Likewise.
        min_size_bytes: Bound of the size of the file.
        max_size_bytes: Likewise.
        registered_after: Bound of the time of registration.
        registered_before: Likewise.
        min_score: Bound of the score of quality; assets without one are left out.
        max_score: Likewise.
        finding: At least one finding is of this kind.
        severity: At least one finding is as severe as this, or more.
    """

    sort: Sort | None = None
    search: str | None = field(default=None, converter=given, metadata={"doc": "part of name, type or path"})
    tag: str | None = field(default=None, converter=given, metadata={"doc": "id or name; an unknown one finds nothing"})
    type: str | None = field(default=None, converter=given, metadata={"doc": "file type, whatever the case"})
    status: IndexingStatus | None = None
    min_duration: float | None = field(default=None, validator=optional(ge(0)), metadata={"doc": "seconds"})
    max_duration: float | None = field(default=None, validator=optional(ge(0)), metadata={"doc": "seconds"})
    start_after: datetime | None = None
    start_before: datetime | None = None
    min_size_bytes: int | None = field(default=None, validator=optional(ge(0)))
    max_size_bytes: int | None = field(default=None, validator=optional(ge(0)))
    registered_after: datetime | None = None
    registered_before: datetime | None = None
    min_score: int | None = field(default=None, validator=optional([ge(0), le(100)]))
    max_score: int | None = field(default=None, validator=optional([ge(0), le(100)]))
    finding: FindingKind | None = None
    severity: Severity | None = None


@frozen(kw_only=True)
class AssetPage:
    """A page of assets."""

    items: list[AssetListItem]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@method(
    "assets/register",
    params=AssetsRegisterParams,
    result=Asset,
    errors=("invalid_path", "asset_already_registered", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_register(ctx: RequestContext, params: AssetsRegisterParams) -> Asset:
    """Register a log; its content is not looked at."""
    workspace = ctx.workspace(params.workspace_id)
    return register(ctx, workspace, log_file(params.file_path))


@method(
    "assets/scanDirectory",
    params=AssetsScanDirectoryParams,
    result=ScanResult,
    errors=("invalid_path", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
    progress=True,
)
async def assets_scan_directory(ctx: RequestContext, params: AssetsScanDirectoryParams) -> ScanResult:
    """Register every log in a folder; what was registered before a cancellation stays."""
    workspace = await ctx.opened(params.workspace_id)
    folder = await ctx.in_thread(folder_of, params.directory_path)

    def told(n_found: int) -> None:
        ctx.check()
        ctx.progress.report(f"{n_found} logs found")

    found = await ctx.in_thread(logs_below, folder, params.recursive, told)
    registered: list[Asset] = []
    skipped: list[RegistrationSkip] = []
    for first in range(0, len(found), SCAN_BATCH):
        ctx.progress.report(f"{first} of {len(found)} logs", 100 * first / len(found))
        added, refused = await ctx.in_thread(register_all, ctx, workspace, found[first : first + SCAN_BATCH])
        registered += added
        skipped += refused
    return ScanResult(
        scanned_directory=printable(folder),
        recursive=params.recursive,
        discovered_file_count=len(found),
        registered_assets=registered,
        skipped=skipped,
    )


@method(
    "assets/registerDialog",
    params=InWorkspace,
    result=DialogResult,
    errors=("dialog_unavailable", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
)
async def assets_register_dialog(ctx: RequestContext, params: InWorkspace) -> DialogResult:
    """Have the client let its user choose logs, and register them."""
    workspace = await ctx.opened(params.workspace_id)
    chosen = await _chosen(ctx)
    registered, skipped = await ctx.in_thread(register_all, ctx, workspace, chosen)
    return DialogResult(canceled=not chosen, registered_assets=registered, skipped=skipped)


async def _chosen(ctx: RequestContext) -> list[str]:
    """The paths that the client's user has chosen, none if the dialog was cancelled."""
    window = ctx.app.client_capabilities.get("window")
    if not (isinstance(window, dict) and window.get("openFileDialog") is True) or not ctx.app.notify.opened.is_set():
        message = "the client has not announced a file dialog (capabilities.window.openFileDialog)"
        raise HephaesError("dialog_unavailable", message, hint="assets/register takes paths")
    asked = OpenFileDialog(title="Register logs", filters=[DialogFilter(name="Robot logs", extensions=_EXTENSIONS)])
    try:
        answer = structure(await ctx.app.request_client(OPEN_FILE_DIALOG, asked), OpenFileDialogResult, "result")
    except ParamsError as error:
        message = f"the client's answer to {OPEN_FILE_DIALOG} cannot be used: {error.message}"
        raise HephaesError("dialog_unavailable", message) from error
    except HephaesError as error:
        raise HephaesError("dialog_unavailable", error.message) from error
    return answer.file_paths


@method(
    "assets/index",
    params=AssetParams,
    result=AssetDetail,
    errors=("asset_not_found", *INDEX_ERRORS, *WORKSPACE_ERRORS),
    lane=Lane.LONG,
    progress=True,
)
async def assets_index(ctx: RequestContext, params: AssetParams) -> AssetDetail:
    """Read the index of a log; answers when that is done."""
    workspace = await ctx.opened(params.workspace_id)

    def told(progress: Progress) -> None:
        ctx.progress.report(progress.message, progress.percentage)

    job = await index(ctx.app, workspace, params.asset_id, "index_asset", told)
    if job.status != "succeeded":
        raise _failure(job)
    detail: AssetDetail = await ctx.in_thread(workspace.assets.detail, params.asset_id)
    return detail


@method(
    "assets/analyze",
    params=AssetParams,
    result=AssetDetail,
    errors=("asset_not_found", "asset_not_indexed", *INDEX_ERRORS, *WORKSPACE_ERRORS),
    lane=Lane.LONG,
    progress=True,
)
async def assets_analyze(ctx: RequestContext, params: AssetParams) -> AssetDetail:
    """Read all messages of an indexed log for what is wrong with it; answers when that is done."""
    workspace = await ctx.opened(params.workspace_id)
    asset: Asset = await ctx.in_thread(workspace.assets.get, params.asset_id)
    if asset.indexing_status != "indexed":
        message = f"the asset {asset.file_name} must be indexed first"
        raise HephaesError("asset_not_indexed", message, hint="assets/index", asset_ids=[asset.id])

    def told(progress: Progress) -> None:
        ctx.progress.report(progress.message, progress.percentage)

    job = await analyze(ctx.app, workspace, params.asset_id, told)
    if job.status != "succeeded":
        raise _failure(job)
    detail: AssetDetail = await ctx.in_thread(workspace.assets.detail, params.asset_id)
    return detail


def _failure(job: Job) -> HephaesError:
    """Why a job on an asset has no result."""
    error = job.error
    if error is None:
        return CancelledByClient(f"the job {job.id} was {job.status}")
    return HephaesError(error.kind, error.message, hint=error.hint, **error.data | {"job_id": job.id})


@method(
    "assets/reindexAll",
    params=InWorkspace,
    result=ReindexResult,
    errors=WORKSPACE_ERRORS,
    lane=Lane.LONG,
    progress=True,
)
async def assets_reindex_all(ctx: RequestContext, params: InWorkspace) -> ReindexResult:
    """Index what is pending, has failed or never was indexed; failures are listed, finished assets stay."""
    workspace = await ctx.opened(params.workspace_id)
    assets: list[Asset] = await ctx.in_thread(workspace.assets.to_index)
    shares = dict.fromkeys((asset.id for asset in assets), 0)
    succeeded: set[str] = set()
    waiting = iter(assets)

    async def work() -> None:
        for asset in waiting:

            def told(progress: Progress, asset: Asset = asset) -> None:
                shares[asset.id] = progress.percentage
                ctx.progress.report(asset.file_name, sum(shares.values()) / len(shares))

            job = await index(ctx.app, workspace, asset.id, "reindex_all", told)
            shares[asset.id] = 100
            if job.status == "succeeded":
                succeeded.add(asset.id)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(assets), ctx.app.config.max_workers + 1)):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    ended: list[Asset] = await ctx.in_thread(lambda: [workspace.assets.get(asset.id) for asset in assets])
    return ReindexResult(
        indexed_assets=[asset for asset in ended if asset.id in succeeded],
        failed_assets=[asset for asset in ended if asset.id not in succeeded],
        total_requested=len(ended),
    )


@method(
    "assets/list",
    params=AssetsListParams,
    result=AssetPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def assets_list(ctx: RequestContext, params: AssetsListParams) -> AssetPage:
    """Assets with their tags, the latest registration first."""
    require(
        [
            *inverted(params, "min_duration", "max_duration"),
            *inverted(params, "start_after", "start_before"),
            *inverted(params, "min_size_bytes", "max_size_bytes"),
            *inverted(params, "registered_after", "registered_before"),
            *inverted(params, "min_score", "max_score"),
        ]
    )
    assets = ctx.workspace(params.workspace_id).assets
    return page_of(AssetPage, assets.list(filters_of(AssetFilters, params), params.limit, params.cursor, params.sort))


@method(
    "assets/get",
    params=AssetParams,
    result=AssetDetail,
    errors=("asset_not_found", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def assets_get(ctx: RequestContext, params: AssetParams) -> AssetDetail:
    """An asset with its metadata, its tags and its newest jobs and conversions."""
    return ctx.workspace(params.workspace_id).assets.detail(params.asset_id)
