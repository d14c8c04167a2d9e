"""From a registered log to a spec: ``conversions/inspect``, ``conversions/draft``, ``conversions/preview``."""

from typing import TYPE_CHECKING, Any, TypeVar, get_args

from attrs import field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.authoring.authored import (
    DraftRequest,
    DraftResult,
    Inspection,
    InspectRequest,
    PreviewRequest,
    PreviewResult,
)
from hephaes_rpc.engine.specs.spec import ParquetCompression, TFRecordCompression, TFRecordOutput
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, given, not_blank, refused, require, trimmed
from hephaes_rpc.methods.conversions import representation_policy
from hephaes_rpc.methods.previews import answer, previewed, ready
from hephaes_rpc.model.jobs import RepresentationPolicy
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.serde import structure, unstructure
from hephaes_rpc.store.drafts import DraftDetail, NewDraft
from hephaes_rpc.store.workspace import OpenWorkspace

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts
    from hephaes_rpc.engine.specs.document import SpecDocument

T = TypeVar("T")

LOG_ERRORS = (
    "asset_not_found",
    "asset_unavailable",
    "bad_input",
    "unsupported",
    "invalid_path",
    "invalid_spec",
    "quality_gate",
    "script_failed",
    "script_not_enabled",
    "script_not_found",
    "source_changed",
    "worker_died",
    *WORKSPACE_ERRORS,
)
"""What anything may answer with that has a worker look at a log."""


def asset_id_field() -> Any:
    """The id of a registered log; it need not be indexed."""
    return field(converter=trimmed, validator=not_blank, metadata={"doc": "id of the asset; it need not be indexed"})


def workspace_id_field() -> Any:
    """As that of ``InWorkspace``, for params that are a request of the engine's too."""
    return field(default=None, converter=given, metadata={"doc": "without it the active workspace is meant"})


@frozen(kw_only=True)
class InspectParams(InspectRequest):
    """Which log, and what of it."""

    asset_id: str = asset_id_field()
    workspace_id: str | None = workspace_id_field()


@frozen(kw_only=True)
class DraftParams(InspectParams):
    """Which log, what of it, and what kind of dataset is wanted.

    Args:
        draft_request: What to draft: template, names, topics, format.
    """

    draft_request: DraftRequest = field(factory=DraftRequest)


@frozen(kw_only=True)
class PreviewParams(PreviewRequest):
    """Which rows of the dataset that a spec makes of a log."""

    asset_id: str = asset_id_field()
    workspace_id: str | None = workspace_id_field()
    spec: dict[str, Any] = field(metadata={"doc": "a spec or a spec document with row_strategy and features"})


@frozen(kw_only=True)
class InspectResult:
    """A log, field by field."""

    asset_id: str
    request: InspectRequest
    inspection: Inspection
    representation_policy: RepresentationPolicy


@frozen(kw_only=True)
class DraftedResult:
    """A drafted spec; ``draft_revision_id`` is the revision that keeps it, ``draft_id`` its draft."""

    asset_id: str
    request: InspectRequest
    inspection: Inspection
    draft: DraftResult
    draft_id: str | None
    draft_revision_id: str | None
    representation_policy: RepresentationPolicy


@frozen(kw_only=True)
class PreviewedResult:
    """Rows as the conversion writes them."""

    asset_id: str
    request: PreviewRequest
    preview: PreviewResult
    representation_policy: RepresentationPolicy


@method(
    "conversions/inspect",
    params=InspectParams,
    result=InspectResult,
    errors=LOG_ERRORS,
    lane=Lane.LONG,
    progress=True,
)
async def conversions_inspect(ctx: RequestContext, params: InspectParams) -> InspectResult:
    """What a log holds: candidates for features from the definitions, facts from a few messages of each topic."""
    request = part_of(params, InspectRequest)
    workspace, path = await log_of(ctx, params.workspace_id, params.asset_id)
    del workspace
    found = await answer(ctx, {"type": "inspect", "path": path, "request": unstructure(request)})
    return InspectResult(
        asset_id=params.asset_id,
        request=request,
        inspection=structure(found["inspection"], Inspection),
        representation_policy=representation_policy(TFRecordOutput()),
    )


@method(
    "conversions/draft",
    params=DraftParams,
    result=DraftedResult,
    errors=LOG_ERRORS,
    lane=Lane.LONG,
    progress=True,
)
async def conversions_draft(ctx: RequestContext, params: DraftParams) -> DraftedResult:
    """A spec for a log that converts as it is; kept as revision 1 of a new draft."""
    request = part_of(params, InspectRequest)
    detail, found = await drafted(ctx, params, label=None)
    return DraftedResult(
        asset_id=params.asset_id,
        request=request,
        inspection=structure(found["inspection"], Inspection),
        draft=structure(found["draft"], DraftResult),
        draft_id=detail.id,
        draft_revision_id=detail.revision.id,
        representation_policy=representation_policy(TFRecordOutput()),
    )


@method(
    "conversions/preview",
    params=PreviewParams,
    result=PreviewedResult,
    errors=LOG_ERRORS,
    lane=Lane.LONG,
    progress=True,
)
async def conversions_preview(ctx: RequestContext, params: PreviewParams) -> PreviewedResult:
    """Rows of the dataset that a spec makes of a log, and what it will come to; nothing is stored."""
    from hephaes_rpc.engine.specs.document import load

    request = part_of(params, PreviewRequest)
    document: SpecDocument = await ctx.in_thread(load, params.spec)
    workspace, path = await log_of(ctx, params.workspace_id, params.asset_id)
    scripts: Scripts | None = await ctx.in_thread(ready, ctx, workspace, document)
    found = await previewed(ctx, path, document, request, scripts)
    return PreviewedResult(
        asset_id=params.asset_id,
        request=request,
        preview=structure(found, PreviewResult),
        representation_policy=representation_policy(document.spec.output),
    )


# -- shared with drafts ------------------------------------------------------------------------------------------------


def part_of(params: Any, cls: type[T]) -> T:
    """The members of params that a request has."""
    return cls(**{attribute.name: getattr(params, attribute.name) for attribute in cls.__attrs_attrs__})  # type: ignore[attr-defined]


async def log_of(ctx: RequestContext, workspace_id: str | None, asset_id: str) -> tuple[OpenWorkspace, str]:
    """The workspace, and the path of a registered log."""

    def find() -> tuple[OpenWorkspace, str]:
        workspace = ctx.workspace(workspace_id)
        return workspace, workspace.assets.get(asset_id).file_path

    found: tuple[OpenWorkspace, str] = await ctx.in_thread(find)
    return found


async def drafted(ctx: RequestContext, params: DraftParams, label: str | None) -> tuple[DraftDetail, dict[str, Any]]:
    """A new draft of a log, and what was inspected and drafted for it, as it travels."""
    from hephaes_rpc.engine.specs.document import SpecDocument, load

    request, wanted = part_of(params, InspectRequest), params.draft_request
    require(_wrong_compression(wanted))
    workspace, path = await log_of(ctx, params.workspace_id, params.asset_id)
    found = await answer(
        ctx,
        {"type": "draft", "path": path, "request": unstructure(request), "draft_request": unstructure(wanted)},
    )
    draft = found["draft"]
    preview = draft["preview"]
    result = {key: value for key, value in draft.items() if key not in ("request", "spec", "preview")}

    def store() -> DraftDetail:
        document = load(draft["spec"])
        new = NewDraft(
            document=SpecDocument(spec=document.spec, metadata={"names": draft["names"]} if draft["names"] else {}),
            label=label,
            inspection_request=unstructure(request),
            inspection=found["inspection"],
            draft_request=unstructure(wanted),
            draft_result=result,
            preview_request=None if preview is None else unstructure(PreviewRequest(sample_n=wanted.preview_rows)),
            preview=preview,
        )
        return workspace.drafts.create(params.asset_id, new)

    detail: DraftDetail = await ctx.in_thread(store)
    ctx.app.notify.changed("drafts", workspace.id, [detail.id], "created")
    return detail, found


def _wrong_compression(wanted: DraftRequest) -> list[dict[str, Any]]:
    known = get_args(ParquetCompression if wanted.output_format == "parquet" else TFRecordCompression)
    if wanted.output_compression in known:
        return []
    message = f"{wanted.output_format} is not compressed by {wanted.output_compression}"
    path = "draft_request.output_compression"
    return [refused(path, message, f"one of {', '.join(known)}", wanted.output_compression)]
