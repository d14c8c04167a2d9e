"""Drafts: specs in the making, with every document they had, until they are saved as a config or discarded."""

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, optional

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.authoring.authored import PreviewRequest
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.authoring import (
    LOG_ERRORS,
    DraftParams,
    drafted,
    log_of,
    part_of,
    workspace_id_field,
)
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    filters_of,
    given,
    not_blank,
    page_of,
    trimmed,
)
from hephaes_rpc.methods.conversion_configs import new_name
from hephaes_rpc.methods.previews import previewed, ready
from hephaes_rpc.model.conversions import DraftStatus, DraftSummary
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.serde import unstructure
from hephaes_rpc.store.configs import ConfigDetail
from hephaes_rpc.store.drafts import DraftDetail, DraftFilters

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts
    from hephaes_rpc.engine.specs.document import SpecDocument

Sort = Literal["updated_at", "-updated_at", "created_at", "-created_at"]

_NOT_FOUND = ("draft_not_found", "draft_revision_not_found")


def _revision_number(doc: str) -> Any:
    return field(default=None, validator=optional(ge(1)), metadata={"doc": doc})


@frozen(kw_only=True)
class DraftsCreateParams(DraftParams):
    """Which log, what of it, and what kind of dataset is wanted."""

    label: str | None = field(default=None, converter=given, metadata={"doc": "of the first revision"})


@frozen(kw_only=True)
class DraftsListParams(WorkspacePaging):
    """Which drafts."""

    sort: Sort | None = None
    status: DraftStatus | None = None
    asset_id: str | None = None
    saved_config_id: str | None = None


@frozen(kw_only=True)
class DraftPage:
    """A page of drafts."""

    items: list[DraftSummary]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class DraftIdParams(InWorkspace):
    """One draft."""

    draft_id: str = field(converter=trimmed, validator=not_blank)


@frozen(kw_only=True)
class DraftsGetParams(DraftIdParams):
    """One draft, and which of its revisions."""

    revision_number: int | None = _revision_number("the current one by default")
    include_inspection: bool = field(default=False, metadata={"doc": "what was inspected is long"})


@frozen(kw_only=True)
class DraftsUpdateParams(DraftIdParams):
    """What the draft is to say from now on.

    Args:
        label: A note on the revision, for people.
    """

    spec: dict[str, Any] = field(metadata={"doc": "a spec, or a spec document with metadata"})
    label: str | None = field(default=None, converter=given)


@frozen(kw_only=True)
class DraftsPreviewParams(PreviewRequest):
    """Which rows of which revision."""

    draft_id: str = field(converter=trimmed, validator=not_blank)
    workspace_id: str | None = workspace_id_field()
    revision_number: int | None = _revision_number("the current one by default")
    asset_id: str | None = field(default=None, converter=given, metadata={"doc": "the draft's own log by default"})


@frozen(kw_only=True)
class DraftsConfirmParams(DraftIdParams):
    """Which revision is meant; it must be the current one."""

    revision_number: int | None = _revision_number("the current one by default")


@frozen(kw_only=True)
class DraftsSaveConfigParams(DraftIdParams):
    """What the config is to be called."""

    name: str = new_name()
    description: str | None = field(default=None, converter=given)


@frozen(kw_only=True)
class SavedDraft:
    """A draft and the config that it was saved as."""

    draft: DraftDetail
    config: ConfigDetail


@method(
    "drafts/create",
    params=DraftsCreateParams,
    result=DraftDetail,
    errors=LOG_ERRORS,
    lane=Lane.LONG,
    progress=True,
)
async def drafts_create(ctx: RequestContext, params: DraftsCreateParams) -> DraftDetail:
    """Look at a log, draft a spec for it, preview it; nothing is stored where that fails."""
    detail, _ = await drafted(ctx, params, params.label)
    return detail


@method(
    "drafts/list",
    params=DraftsListParams,
    result=DraftPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def drafts_list(ctx: RequestContext, params: DraftsListParams) -> DraftPage:
    """Drafts, the last changed first."""
    drafts = ctx.workspace(params.workspace_id).drafts
    filters = filters_of(DraftFilters, params)
    return page_of(DraftPage, drafts.list(filters, params.limit, params.cursor, params.sort))


@method(
    "drafts/get",
    params=DraftsGetParams,
    result=DraftDetail,
    errors=(*_NOT_FOUND, *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def drafts_get(ctx: RequestContext, params: DraftsGetParams) -> DraftDetail:
    """One draft with a revision, and what each revision changed."""
    drafts = ctx.workspace(params.workspace_id).drafts
    return drafts.get(params.draft_id, params.revision_number, inspection=params.include_inspection)


@method(
    "drafts/update",
    params=DraftsUpdateParams,
    result=DraftDetail,
    errors=("draft_not_found", "draft_state", "invalid_spec", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def drafts_update(ctx: RequestContext, params: DraftsUpdateParams) -> DraftDetail:
    """Add a revision, which becomes the current one; what was confirmed no longer is."""
    from hephaes_rpc.engine.specs.document import SpecDocument, load

    workspace = ctx.workspace(params.workspace_id)
    document = load(params.spec)
    if "spec" not in params.spec:
        _, before, _ = workspace.drafts.document(params.draft_id)
        document = SpecDocument(spec=document.spec, metadata=before.metadata)
    detail = workspace.drafts.update(params.draft_id, document, params.label)
    ctx.app.notify.changed("drafts", workspace.id, [detail.id], "updated")
    return detail


@method(
    "drafts/preview",
    params=DraftsPreviewParams,
    result=DraftDetail,
    errors=(*_NOT_FOUND, "draft_state", *LOG_ERRORS),
    lane=Lane.LONG,
    progress=True,
)
async def drafts_preview(ctx: RequestContext, params: DraftsPreviewParams) -> DraftDetail:
    """Preview a revision and keep that with it; a bad preview of a confirmed revision takes the confirmation away."""
    request = part_of(params, PreviewRequest)

    def find() -> "tuple[str | None, SpecDocument, int]":
        drafts = ctx.workspace(params.workspace_id).drafts
        drafts.require_open(params.draft_id)
        summary, document, number = drafts.document(params.draft_id, params.revision_number)
        return params.asset_id or summary.source_asset_id, document, number

    asset_id, document, number = await ctx.in_thread(find)
    if asset_id is None:
        message = f"the log of the draft {params.draft_id} is no longer registered"
        raise HephaesError("asset_not_found", message, hint="say asset_id", asset_id="")
    workspace, path = await log_of(ctx, params.workspace_id, asset_id)
    scripts: Scripts | None = await ctx.in_thread(ready, ctx, workspace, document)
    preview = await previewed(ctx, path, document, request, scripts)
    saved = {**unstructure(request), "asset_id": asset_id}
    detail: DraftDetail = await ctx.in_thread(workspace.drafts.save_preview, params.draft_id, number, saved, preview)
    ctx.app.notify.changed("drafts", workspace.id, [detail.id], "updated")
    return detail


@method(
    "drafts/confirm",
    params=DraftsConfirmParams,
    result=DraftDetail,
    errors=(*_NOT_FOUND, "draft_state", "draft_not_previewed", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def drafts_confirm(ctx: RequestContext, params: DraftsConfirmParams) -> DraftDetail:
    """Say that the current revision is what is wanted; it needs a good preview."""
    workspace = ctx.workspace(params.workspace_id)
    detail = workspace.drafts.confirm(params.draft_id, params.revision_number)
    ctx.app.notify.changed("drafts", workspace.id, [detail.id], "updated")
    return detail


@method(
    "drafts/discard",
    params=DraftIdParams,
    result=DraftDetail,
    errors=("draft_not_found", "draft_state", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def drafts_discard(ctx: RequestContext, params: DraftIdParams) -> DraftDetail:
    """Give a draft up; it can still be read."""
    workspace = ctx.workspace(params.workspace_id)
    detail = workspace.drafts.discard(params.draft_id)
    ctx.app.notify.changed("drafts", workspace.id, [detail.id], "updated")
    return detail


@method(
    "drafts/saveConfig",
    params=DraftsSaveConfigParams,
    result=SavedDraft,
    errors=("draft_not_found", "draft_state", "config_name_taken", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def drafts_save_config(ctx: RequestContext, params: DraftsSaveConfigParams) -> SavedDraft:
    """Save the confirmed revision as a config."""
    workspace = ctx.workspace(params.workspace_id)
    config_id = workspace.drafts.save_config(params.draft_id, params.name, params.description)
    ctx.app.notify.changed("drafts", workspace.id, [params.draft_id], "updated")
    ctx.app.notify.changed("conversionConfigs", workspace.id, [config_id], "created")
    return SavedDraft(draft=workspace.drafts.get(params.draft_id), config=workspace.configs.get(config_id))
