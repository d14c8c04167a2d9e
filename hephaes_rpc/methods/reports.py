"""A log as a page to look at: ``assets/report``."""

import uuid
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.authoring import asset_id_field, log_of
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace, given
from hephaes_rpc.methods.previews import answer
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.workspace import OpenWorkspace, private_folder


@frozen(kw_only=True)
class ReportParams(InWorkspace):
    """Of which log, and where the page is to lie."""

    asset_id: str = asset_id_field()
    output_path: str | None = field(
        default=None,
        converter=given,
        metadata={"doc": "absolute path of the page; without it the page of the asset in the workspace's own folder"},
    )
    overwrite: bool = field(
        default=False, metadata={"doc": "whether a file at output_path is replaced; the workspace's own page always is"}
    )


@frozen(kw_only=True)
class ReportResult:
    """A page that is written: one HTML file that loads nothing, to be opened in a browser or a web view.

    ``sha256`` is of the whole file, in hex: the same log gives the same bytes.
    """

    asset_id: str
    file_path: str
    media_type: str
    size_bytes: int
    sha256: str


def _analyzed(workspace: OpenWorkspace, asset_id: str) -> dict[str, Any] | None:
    """What the messages of a log have told of its quality, where they have been read."""
    quality = workspace.assets.quality(asset_id)
    return None if quality is None or quality.basis == "index" else attrs.asdict(quality)


@method(
    "assets/report",
    params=ReportParams,
    result=ReportResult,
    errors=(
        *("asset_not_found", "asset_unavailable", "bad_input", "unsupported", "invalid_path", "output_exists"),
        *("source_changed", "worker_died", *WORKSPACE_ERRORS),
    ),
    lane=Lane.LONG,
    progress=True,
)
async def assets_report(ctx: RequestContext, params: ReportParams) -> ReportResult:
    """Draw a log as an HTML page: timeline, rates, latencies, fields, pictures, findings; it need not be indexed."""
    workspace, path = await log_of(ctx, params.workspace_id, params.asset_id)
    if params.output_path is None:
        target = workspace.dir / "reports" / f"{params.asset_id}.html"
        await ctx.in_thread(private_folder, target.parent)
    else:
        target = Path(params.output_path)
        if not target.is_absolute():
            raise HephaesError("invalid_path", f"output_path must be absolute, not {target}", path=str(target))
    task = {
        "type": "report",
        "job_id": uuid.uuid4().hex,
        "path": path,
        "target": str(target),
        "overwrite": params.overwrite or params.output_path is None,
        "quality": await ctx.in_thread(_analyzed, workspace, params.asset_id),
    }
    found = await answer(ctx, task)
    return ReportResult(asset_id=params.asset_id, file_path=found.pop("path"), media_type="text/html", **found)
