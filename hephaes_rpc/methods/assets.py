"""Logs: register them, find them, index them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, optional

from hephaes_rpc.errors import CancelledByClient, HephaesError
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
from hephaes_rpc.methods.indexing import index
from hephaes_rpc.methods.logfiles import folder_of, log_file, logs_below, printable
from hephaes_rpc.model import Asset, AssetDetail, AssetListItem, IndexingStatus, Job, Progress
from hephaes_rpc.registry import Lane, RequestContext, method
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.workspace import OpenWorkspace

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
    """A folder whose logs are to be registered."""

    directory_path: str = field(validator=not_blank, converter=trimmed, metadata={"doc": "~ is expanded"})
    recursive: bool = True


@frozen(kw_only=True)
class RegistrationSkip:
    """A log that was found and not registered; ``detail`` is the sentence that ``assets/register`` answers with."""

    file_path: str
    reason: Literal["duplicate", "invalid_path"]
    detail: str


@frozen(kw_only=True)
class ScanResult:
    """What a scan has found, sorted by path."""

    scanned_directory: str
    recursive: bool
    discovered_file_count: int
    registered_assets: list[Asset]
    skipped: list[RegistrationSkip]


@frozen(kw_only=True)
class AssetParams(InWorkspace):
    """One asset."""

    asset_id: str


@frozen(kw_only=True)
class ReindexResult:
    """Assets in order of registration, by how it went."""

    indexed_assets: list[Asset]
    failed_assets: list[Asset]
    total_requested: int


@frozen(kw_only=True)
class AssetsListParams(WorkspacePaging):
    """Which assets: all conditions hold, bounds are inclusive, blank text counts as not given."""

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
    asset = workspace.assets.register(*log_file(params.file_path))
    ctx.app.notify.changed("assets", workspace.id, [asset.id], "created")
    return asset


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
    workspace = ctx.workspace(params.workspace_id)
    folder = await ctx.in_thread(folder_of, params.directory_path)

    def told(n_found: int) -> None:
        ctx.check()
        ctx.progress.report(f"{n_found} logs found")

    found = await ctx.in_thread(logs_below, folder, params.recursive, told)
    registered: list[Asset] = []
    skipped: list[RegistrationSkip] = []
    for first in range(0, len(found), SCAN_BATCH):
        ctx.progress.report(f"{first} of {len(found)} logs", 100 * first / len(found))
        added, refused = await ctx.in_thread(_register_all, ctx, workspace, found[first : first + SCAN_BATCH])
        registered += added
        skipped += refused
    return ScanResult(
        scanned_directory=printable(folder),
        recursive=params.recursive,
        discovered_file_count=len(found),
        registered_assets=registered,
        skipped=skipped,
    )


def _register_all(
    ctx: RequestContext, workspace: OpenWorkspace, paths: Sequence[Path]
) -> tuple[list[Asset], list[RegistrationSkip]]:
    """Register what can be; all of it or, when the request is cancelled, nothing."""
    refusals: dict[Path, HephaesError] = {}
    usable: dict[Path, Any] = {}
    for path in paths:
        ctx.check()
        try:
            usable[path] = log_file(path)
        except HephaesError as error:
            refusals[path] = error
    added = []
    for path, outcome in zip(usable, workspace.assets.register_many(usable.values()), strict=True):
        if isinstance(outcome, HephaesError):
            refusals[path] = outcome
        else:
            added.append(outcome)
    ctx.app.notify.changed("assets", workspace.id, [asset.id for asset in added], "created")
    return added, [_skip(path, refusals[path]) for path in paths if path in refusals]


def _skip(path: Path, error: HephaesError) -> RegistrationSkip:
    reason: Literal["duplicate", "invalid_path"]
    reason = "duplicate" if error.kind == "asset_already_registered" else "invalid_path"
    return RegistrationSkip(file_path=printable(path), reason=reason, detail=error.message)


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
    workspace = ctx.workspace(params.workspace_id)

    def told(progress: Progress) -> None:
        ctx.progress.report(progress.message, progress.percentage)

    job = await index(ctx.app, workspace, params.asset_id, "index_asset", told)
    if job.status != "succeeded":
        raise _failure(job)
    detail: AssetDetail = await ctx.in_thread(workspace.assets.detail, params.asset_id)
    return detail


def _failure(job: Job) -> HephaesError:
    """Why an index job has no result."""
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
    workspace = ctx.workspace(params.workspace_id)
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


@method("assets/list", params=AssetsListParams, result=AssetPage, errors=("cursor_mismatch", *WORKSPACE_ERRORS))
def assets_list(ctx: RequestContext, params: AssetsListParams) -> AssetPage:
    """Assets with their tags, the latest registration first."""
    require(
        [
            *inverted(params, "min_duration", "max_duration"),
            *inverted(params, "start_after", "start_before"),
            *inverted(params, "min_size_bytes", "max_size_bytes"),
            *inverted(params, "registered_after", "registered_before"),
        ]
    )
    assets = ctx.workspace(params.workspace_id).assets
    return page_of(AssetPage, assets.list(filters_of(AssetFilters, params), params.limit, params.cursor, params.sort))


@method("assets/get", params=AssetParams, result=AssetDetail, errors=("asset_not_found", *WORKSPACE_ERRORS))
def assets_get(ctx: RequestContext, params: AssetParams) -> AssetDetail:
    """An asset with its metadata, its tags and its newest jobs and conversions."""
    return ctx.workspace(params.workspace_id).assets.detail(params.asset_id)
