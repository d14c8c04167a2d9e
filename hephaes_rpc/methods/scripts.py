"""Scripts of users: what lies in the workspace's ``scripts`` folder, what may run, and whether it would."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.authoring.authored import PreviewRequest
from hephaes_rpc.engine.computations.scripts import Function, Script, check_function, functions_of, load_script
from hephaes_rpc.engine.specs.document import SpecDocument, load
from hephaes_rpc.engine.specs.values import is_script_path
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.authoring import LOG_ERRORS, log_of
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace, WorkspacePaging, given, refused, require
from hephaes_rpc.methods.previews import DRY_RUN_ROWS, previewed, ready
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.scripts import Enabled
from hephaes_rpc.store.workspace import OpenWorkspace

MAX_FILES = 10_000
ScriptStatus = Literal["enabled", "disabled", "changed", "missing"]


@frozen
class ScriptInfo:
    """A script; ``changed``: it was enabled and is another now, ``missing``: it was enabled and is gone."""

    path: str
    status: ScriptStatus
    size_bytes: int | None
    sha256: str | None
    registered_time: datetime | None


@frozen(kw_only=True)
class ScriptPage:
    """A page of scripts and the folder they lie in."""

    folder: str
    items: list[ScriptInfo]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool = False


@frozen(kw_only=True)
class ScriptsListParams(WorkspacePaging):
    """Which scripts."""

    sort: Literal["path", "-path"] | None = None
    status: ScriptStatus | None = None


@frozen(kw_only=True)
class ScriptsRegisterParams(InWorkspace):
    """Which script may run, or may no longer.

    Args:
        enabled: False: specs may name it no longer.
    """

    path: str = field(metadata={"doc": "below the scripts folder of the workspace, with slashes"})
    enabled: bool = True


@frozen(kw_only=True)
class ScriptsCheckParams(InWorkspace):
    """What is to be looked at."""

    path: str = field(metadata={"doc": "below the scripts folder of the workspace, with slashes"})
    function: str | None = field(default=None, converter=given, metadata={"doc": "must be one that can be called"})
    spec: dict[str, Any] | None = field(
        default=None, metadata={"doc": "with asset_id: run the computations of this spec over its first rows"}
    )
    asset_id: str | None = field(default=None, converter=given)


@frozen(kw_only=True)
class ScriptCheck:
    """What a script is.

    Args:
        functions: Those at its top; ``problem`` is why no computation can call one.
        rows: The first rows of the dataset, where they were asked for.
        problem: Why it fails, with file and line; null where nothing was found.
        line: Where.
    """

    script: ScriptInfo
    functions: list[Function]
    rows: list[dict[str, Any]] | None
    problem: str | None
    line: int | None


@method(
    "scripts/list",
    params=ScriptsListParams,
    result=ScriptPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def scripts_list(ctx: RequestContext, params: ScriptsListParams) -> ScriptPage:
    """Scripts in the workspace's folder, by path, and those that were registered and are gone."""
    workspace = ctx.workspace(params.workspace_id)
    enabled = ctx.app.store.scripts.of(workspace.id)
    names = sorted({*_files(workspace.scripts_dir), *enabled}, reverse=params.sort == "-path")
    infos = [_info(workspace, name, enabled.get(name)) for name in names]
    found = [info for info in infos if params.status in (None, info.status)]
    after = _place(params)
    backwards = params.sort == "-path"
    rest = [info for info in found if after is None or (info.path < after if backwards else info.path > after)]
    items = rest[: params.limit]
    return ScriptPage(
        folder=str(workspace.scripts_dir),
        items=items,
        total=len(found),
        next_cursor=_mark(params) + items[-1].path if len(rest) > len(items) else None,
    )


def _mark(params: ScriptsListParams) -> str:
    """What cursors of a list of that kind begin with."""
    return f"{params.sort or 'path'} {params.status or 'any'} "


def _place(params: ScriptsListParams) -> str | None:
    """The path behind which a page begins; raises ``cursor_mismatch``."""
    if params.cursor is None:
        return None
    if not params.cursor.startswith(_mark(params)):
        raise HephaesError("cursor_mismatch", "the cursor belongs to other filters or another sort")
    return params.cursor.removeprefix(_mark(params))


@method(
    "scripts/register",
    params=ScriptsRegisterParams,
    result=ScriptInfo,
    errors=("script_not_found", "script_failed", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def scripts_register(ctx: RequestContext, params: ScriptsRegisterParams) -> ScriptInfo:
    """Let a script run, as it is now, with all that its user may do; or let it run no more."""
    workspace = ctx.workspace(params.workspace_id)
    known = ctx.app.store.scripts
    if params.enabled:
        script = load_script(str(workspace.scripts_dir), params.path)
        functions_of(script)
        known.enable(workspace.id, params.path, script.sha256)
    elif params.path in known.of(workspace.id):
        known.disable(workspace.id, params.path)
    else:
        load_script(str(workspace.scripts_dir), params.path)
    return _info(workspace, params.path, known.of(workspace.id).get(params.path))


@method(
    "scripts/check",
    params=ScriptsCheckParams,
    result=ScriptCheck,
    errors=("script_not_found", "script_not_enabled", *LOG_ERRORS),
    lane=Lane.LONG,
    progress=True,
)
async def scripts_check(ctx: RequestContext, params: ScriptsCheckParams) -> ScriptCheck:
    """Look at a script without running it; with a spec and an asset, run the spec's computations over a few rows."""
    if (params.spec is None) != (params.asset_id is None):
        name = "asset_id" if params.asset_id is None else "spec"
        require([refused(name, "spec and asset_id belong together", "both or none", None)])
    workspace = await ctx.opened(params.workspace_id)
    script: Script | None = None
    functions: list[Function] = []
    rows: list[dict[str, Any]] | None = None
    problem: HephaesError | None = None
    try:
        script = await ctx.in_thread(load_script, str(workspace.scripts_dir), params.path)
        functions = functions_of(script)
        if params.function is not None:
            check_function(script, params.function)
        if params.spec is not None and params.asset_id is not None:
            document: SpecDocument = await ctx.in_thread(load, params.spec)
            scripts = await ctx.in_thread(ready, ctx, workspace, document)
            _, path = await log_of(ctx, workspace.id, params.asset_id)
            found = await previewed(ctx, path, document, PreviewRequest(sample_n=DRY_RUN_ROWS), scripts)
            rows = found["rows"]
    except HephaesError as error:
        if error.kind != "script_failed":
            raise
        problem = error
    enabled = await ctx.in_thread(ctx.app.store.scripts.of, workspace.id)
    return ScriptCheck(
        script=await ctx.in_thread(_info, workspace, params.path, enabled.get(params.path)),
        functions=functions,
        rows=rows,
        problem=problem.message if problem else None,
        line=problem.data.get("line") if problem else None,
    )


# -- files -------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> Iterator[str]:
    """Paths of scripts below a folder; links to folders are not followed."""
    count = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            count += 1
            if count > MAX_FILES:
                return
            path = Path(root, name).relative_to(folder).as_posix()
            if is_script_path(path):
                yield path


def _info(workspace: OpenWorkspace, path: str, enabled: Enabled | None) -> ScriptInfo:
    script = None
    size_bytes = None
    with suppress(HephaesError):
        script = load_script(str(workspace.scripts_dir), path)
        size_bytes = len(script.source.encode())
    status: ScriptStatus = "disabled"
    if enabled is not None:
        status = "missing" if script is None else "enabled" if script.sha256 == enabled.sha256 else "changed"
    return ScriptInfo(
        path=path,
        status=status,
        size_bytes=size_bytes,
        sha256=script.sha256 if script else None,
        registered_time=enabled.registered_time if enabled else None,
    )
