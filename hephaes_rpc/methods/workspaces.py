"""The registry of workspaces, and which of them is active."""

from typing import Literal

from attrs import field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.common import Paging, given, not_blank, page_of, trimmed
from hephaes_rpc.model.workspaces import Workspace
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.backups import Backup, back_up

Sort = Literal["last_opened_at", "-last_opened_at", "created_at", "-created_at", "name", "-name"]


@frozen(kw_only=True)
class WorkspacesListParams(Paging):
    """Which page of the registry."""

    sort: Sort | None = None


@frozen(kw_only=True)
class WorkspacePage:
    """A page of the registry; ``active_workspace_id`` is null when none is ready."""

    items: list[Workspace]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool
    active_workspace_id: str | None


@frozen(kw_only=True)
class WorkspacesCreateParams:
    """A folder, which need not exist, and what its workspace is called.

    Args:
        activate: Take it for the workspace of requests that name none.
    """

    root_path: str = field(validator=not_blank, converter=trimmed, metadata={"doc": "~ is expanded"})
    name: str | None = field(default=None, converter=given, metadata={"doc": "without it the name of the folder"})
    activate: bool = True


@frozen(kw_only=True)
class WorkspaceParams:
    """One workspace."""

    workspace_id: str


@frozen(kw_only=True)
class WorkspacesDeleteParams:
    """One workspace, and whether an older program's database beside ours goes with it.

    Args:
        force: The older database goes too; without it, one that is there forbids the deletion.
    """

    workspace_id: str
    force: bool = False


@method(
    "workspaces/list",
    params=WorkspacesListParams,
    result=WorkspacePage,
    errors=("cursor_mismatch", "workspace_newer", "workspace_corrupt", "io_error"),
    lane=Lane.READ,
)
def workspaces_list(ctx: RequestContext, params: WorkspacesListParams) -> WorkspacePage:
    """The registered workspaces, the one opened last first."""
    page = ctx.app.store.workspaces(params.limit, params.cursor, params.sort)
    return page_of(WorkspacePage, page, active_workspace_id=ctx.app.store.active_workspace_id)


@method(
    "workspaces/create",
    params=WorkspacesCreateParams,
    result=Workspace,
    errors=(
        "invalid_path",
        "workspace_conflict",
        "workspace_newer",
        "workspace_corrupt",
        "permission",
        "disk_full",
        "io_error",
    ),
    lane=Lane.IO,
)
def workspaces_create(ctx: RequestContext, params: WorkspacesCreateParams) -> Workspace:
    """Make a workspace in a folder, or register the one that is there."""
    workspace = ctx.app.store.create_workspace(params.root_path, params.name, params.activate)
    ctx.app.notify.changed("workspaces", None, [workspace.id], "created")
    return workspace


@method(
    "workspaces/activate",
    params=WorkspaceParams,
    result=Workspace,
    errors=("workspace_not_found", "workspace_not_ready", "permission", "disk_full", "io_error"),
    lane=Lane.IO,
)
def workspaces_activate(ctx: RequestContext, params: WorkspaceParams) -> Workspace:
    """Make a workspace the active one, here and for processes to come."""
    workspace = ctx.app.store.activate(params.workspace_id)
    ctx.app.notify.changed("workspaces", None, [workspace.id], "updated")
    return workspace


@method(
    "workspaces/delete",
    params=WorkspacesDeleteParams,
    errors=("workspace_not_found", "workspace_busy", "workspace_conflict", "permission", "disk_full", "io_error"),
    lane=Lane.LONG,
)
async def workspaces_delete(ctx: RequestContext, params: WorkspacesDeleteParams) -> None:
    """Remove a workspace with all that it holds; the folder around it and the logs stay."""
    await ctx.app.jobs.stop_background(params.workspace_id)
    await ctx.in_thread(ctx.app.store.delete_workspace, params.workspace_id, params.force)
    ctx.app.notify.changed("workspaces", None, [params.workspace_id], "deleted")


MAX_TOLD = 100


@frozen(kw_only=True)
class WorkspacesRestoreParams:
    """One workspace, and which of its backups."""

    workspace_id: str
    file_name: str | None = field(
        default=None, converter=given, metadata={"doc": "of a backup, as workspaces/check lists them; null: the newest"}
    )


@frozen(kw_only=True)
class RestoredWorkspace:
    """The workspace as it is now; ``replaced_path`` is where the database that was there lies."""

    workspace: Workspace
    replaced_path: str | None


@frozen(kw_only=True)
class WorkspaceCheck:
    """What is wrong with a workspace.

    ``ok`` is about the database; ``problems`` says what it lacks to be. Files of logs and outputs that are not there
    are counted, the first hundred named.
    """

    workspace_id: str
    ok: bool
    problems: list[str]
    n_files: int
    n_missing_files: int
    missing_files: list[str]
    backups: list[Backup]


@method(
    "workspaces/backup",
    params=WorkspaceParams,
    result=Backup,
    errors=("workspace_not_found", "workspace_not_ready", "workspace_corrupt", "permission", "disk_full", "io_error"),
    lane=Lane.IO,
)
def workspaces_backup(ctx: RequestContext, params: WorkspaceParams) -> Backup:
    """Copy the database of a workspace into its folder of backups, while it is used."""
    workspace = ctx.workspace(params.workspace_id)
    return back_up(workspace.db, workspace.backups_dir, "asked")


@method(
    "workspaces/restore",
    params=WorkspacesRestoreParams,
    result=RestoredWorkspace,
    errors=(
        "workspace_not_found",
        "workspace_busy",
        "backup_not_found",
        "workspace_newer",
        "workspace_corrupt",
        "permission",
        "disk_full",
        "io_error",
    ),
    lane=Lane.LONG,
)
async def workspaces_restore(ctx: RequestContext, params: WorkspacesRestoreParams) -> RestoredWorkspace:
    """Put a backup in the place of a workspace's database, which is kept under another name."""
    await ctx.app.jobs.stop_background(params.workspace_id)
    workspace, replaced = await ctx.in_thread(ctx.app.store.restore_workspace, params.workspace_id, params.file_name)
    ctx.app.notify.changed("workspaces", None, [workspace.id], "refreshed")
    return RestoredWorkspace(workspace=workspace, replaced_path=replaced)


@method(
    "workspaces/check",
    params=WorkspaceParams,
    result=WorkspaceCheck,
    errors=("workspace_not_found", "permission", "disk_full", "io_error"),
    lane=Lane.IO,
)
def workspaces_check(ctx: RequestContext, params: WorkspaceParams) -> WorkspaceCheck:
    """Look at all of a workspace: its database in full, the files it tells of, its backups."""
    found = ctx.app.store.backups(params.workspace_id)
    n_files, missing, problems = 0, list[str](), list[str]()
    try:
        workspace = ctx.workspace(params.workspace_id)
        problems = workspace.db.problems()
        n_files, missing = workspace.missing_files(ctx.check)
    except HephaesError as error:
        if error.kind not in ("workspace_not_ready", "workspace_corrupt"):
            raise
        problems = [error.message]
    return WorkspaceCheck(
        workspace_id=params.workspace_id,
        ok=not problems,
        problems=problems,
        n_files=n_files,
        n_missing_files=len(missing),
        missing_files=missing[:MAX_TOLD],
        backups=found,
    )
