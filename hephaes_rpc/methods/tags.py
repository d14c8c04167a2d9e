"""Tags: which there are, and which asset has which."""

from typing import Literal

from attrs import field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    no_id,
    not_blank,
    page_of,
    trimmed,
)
from hephaes_rpc.model.assets import AssetDetail
from hephaes_rpc.model.workspaces import TagEntry
from hephaes_rpc.registry import Lane, method

Sort = Literal["name", "-name", "created_at", "-created_at", "asset_count", "-asset_count"]


@frozen(kw_only=True)
class TagsListParams(WorkspacePaging):
    """Which page of the tags."""

    sort: Sort | None = None


@frozen(kw_only=True)
class TagPage:
    """A page of tags."""

    items: list[TagEntry]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class TagsCreateParams(InWorkspace):
    """A tag to be.

    Args:
        name: As it is to be shown; names are the same whatever their case and the blanks in them.
    """

    name: str = field(validator=[not_blank, no_id], converter=trimmed)


@frozen(kw_only=True)
class AssetTagParams(InWorkspace):
    """An asset and a tag.

    Args:
        asset_id: Id of a registered log.
    """

    asset_id: str
    tag_id: str = field(validator=not_blank, converter=trimmed, metadata={"doc": "id or name"})


@method(
    "tags/list",
    params=TagsListParams,
    result=TagPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def tags_list(ctx: RequestContext, params: TagsListParams) -> TagPage:
    """Tags by name, capitals first, with the number of assets that carry them."""
    tags = ctx.workspace(params.workspace_id).tags
    return page_of(TagPage, tags.list(params.limit, params.cursor, params.sort))


@method(
    "tags/create",
    params=TagsCreateParams,
    result=TagEntry,
    errors=("tag_already_exists", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def tags_create(ctx: RequestContext, params: TagsCreateParams) -> TagEntry:
    """Make a tag that no asset carries yet."""
    workspace = ctx.workspace(params.workspace_id)
    tag = workspace.tags.create(params.name)
    ctx.app.notify.changed("tags", workspace.id, [tag.id], "created")
    return tag


@method(
    "assets/attachTag",
    params=AssetTagParams,
    result=AssetDetail,
    errors=("asset_not_found", "tag_not_found", "tag_already_attached", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_attach_tag(ctx: RequestContext, params: AssetTagParams) -> AssetDetail:
    """Give an asset a tag."""
    workspace = ctx.workspace(params.workspace_id)
    tag = workspace.tags.attach(params.asset_id, params.tag_id)
    ctx.app.notify.changed("assets", workspace.id, [params.asset_id], "updated")
    ctx.app.notify.changed("tags", workspace.id, [tag.id], "updated")
    return workspace.assets.detail(params.asset_id)


@method(
    "assets/detachTag",
    params=AssetTagParams,
    result=AssetDetail,
    errors=("asset_not_found", "tag_not_found", "tag_not_attached", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_detach_tag(ctx: RequestContext, params: AssetTagParams) -> AssetDetail:
    """Take a tag from an asset; a tag that no other asset carries is gone with it."""
    workspace = ctx.workspace(params.workspace_id)
    tag, is_gone = workspace.tags.detach(params.asset_id, params.tag_id)
    ctx.app.notify.changed("assets", workspace.id, [params.asset_id], "updated")
    ctx.app.notify.changed("tags", workspace.id, [tag.id], "deleted" if is_gone else "updated")
    return workspace.assets.detail(params.asset_id)
