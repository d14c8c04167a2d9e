"""Published files: what there is, whether it is still there, and its bytes."""

import asyncio
import base64
import os
import stat
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, le

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace, WorkspacePaging, filters_of, given, page_of
from hephaes_rpc.model.conversions import OutputDetail, OutputSummary
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.outputs import OutputFilters
from hephaes_rpc.store.workspace import OpenWorkspace

MAX_LENGTH = 8 << 20
REFRESH_WAIT_S = 0.02
"""A list waits this long for a look at the files; a longer one ends in the background and is told by a notification."""

Sort = Literal["created_at", "-created_at", "file_name", "-file_name", "size_bytes", "-size_bytes"]


@frozen(kw_only=True)
class OutputsListParams(WorkspacePaging):
    """Which outputs: all conditions hold, blank text counts as not given.

    Args:
        format: Such as parquet, tfrecord, json or md, whatever the case.
        role: dataset, manifest, report or sidecar, whatever the case.
        availability: ready, missing or invalid, whatever the case.
        asset_id: Id of an asset that they were made from.
        conversion_id: Id of the conversion that wrote them.
    """

    sort: Sort | None = None
    search: str | None = field(
        default=None, converter=given, metadata={"doc": "part of name, path, format, role or conversion id"}
    )
    format: str | None = field(default=None, converter=given)
    role: str | None = field(default=None, converter=given)
    availability: str | None = field(default=None, converter=given)
    asset_id: str | None = field(default=None, converter=given)
    conversion_id: str | None = field(default=None, converter=given)


@frozen(kw_only=True)
class OutputPage:
    """A page of outputs."""

    items: list[OutputSummary]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class OutputParams(InWorkspace):
    """One output.

    Args:
        output_id: Id of a published file.
    """

    output_id: str


@frozen(kw_only=True)
class OutputsContentParams(InWorkspace):
    """Part of a file.

    Args:
        output_id: Id of a published file.
    """

    output_id: str
    offset: int = field(default=0, validator=ge(0), metadata={"doc": "bytes; beyond the end nothing is left"})
    length: int = field(default=MAX_LENGTH, validator=[ge(0), le(MAX_LENGTH)], metadata={"doc": "bytes at most"})


@frozen(kw_only=True)
class OutputContent:
    """Part of a file; ``eof`` when it reaches the end."""

    file_path: str
    media_type: str | None
    size_bytes: int
    offset: int
    data_base64: str
    eof: bool


@method(
    "outputs/list",
    params=OutputsListParams,
    result=OutputPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
)
async def outputs_list(ctx: RequestContext, params: OutputsListParams) -> OutputPage:
    """Published files, the newest first."""
    workspace = await ctx.opened(params.workspace_id)
    await refresh(ctx, workspace)
    filters = filters_of(OutputFilters, params)
    page = await ctx.in_thread(workspace.outputs.list, filters, params.limit, params.cursor, params.sort)
    return page_of(OutputPage, page)


_refreshing: dict[OpenWorkspace, asyncio.Future[None]] = {}


async def refresh(ctx: RequestContext, workspace: OpenWorkspace) -> None:
    """Note which files are gone or back, for a moment at most; one look at a time."""

    def look() -> None:
        ctx.app.notify.changed("outputs", workspace.id, workspace.outputs.refresh(), "refreshed")

    looking = _refreshing.get(workspace)
    if looking is None:
        looking = asyncio.get_running_loop().run_in_executor(ctx.app.executor, look)
        _refreshing[workspace] = looking
        looking.add_done_callback(lambda _: _refreshing.pop(workspace))
    await asyncio.wait([looking], timeout=REFRESH_WAIT_S)
    if looking.done():
        looking.result()


@method(
    "outputs/get",
    params=OutputParams,
    result=OutputDetail,
    errors=("output_not_found", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def outputs_get(ctx: RequestContext, params: OutputParams) -> OutputDetail:
    """One published file."""
    workspace = ctx.workspace(params.workspace_id)
    output = workspace.outputs.get(params.output_id)
    changed = workspace.outputs.refresh(output.conversion_id)
    ctx.app.notify.changed("outputs", workspace.id, changed, "refreshed")
    return workspace.outputs.get(params.output_id) if output.id in changed else output


@method(
    "outputs/content",
    params=OutputsContentParams,
    result=OutputContent,
    errors=("output_not_found", "output_unavailable", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def outputs_content(ctx: RequestContext, params: OutputsContentParams) -> OutputContent:
    """Bytes of a published file."""
    output = ctx.workspace(params.workspace_id).outputs.get(params.output_id)
    gone = HephaesError("output_unavailable", f"the content of output {output.id} is unavailable", output_id=output.id)
    if output.file_path is None:
        raise gone
    try:
        file = os.open(output.file_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise gone from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise gone
        data = _read(file, params.offset, params.length)
    finally:
        os.close(file)
    return OutputContent(
        file_path=output.file_path,
        media_type=output.media_type,
        size_bytes=found.st_size,
        offset=params.offset,
        data_base64=base64.b64encode(data).decode("ascii"),
        eof=params.offset + len(data) >= found.st_size,
    )


def _read(file: int, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset``, fewer where the file ends."""
    parts = []
    while length and (part := os.pread(file, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)
