"""What methods share that have a worker make rows of a spec: the task, and the scripts that may run for it."""

from typing import Any

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.authoring.authored import PreviewRequest
from hephaes_rpc.engine.computations.scripts import Scripts, check_function, read_script
from hephaes_rpc.engine.specs.document import SpecDocument, to_dict
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import unstructure
from hephaes_rpc.store.workspace import OpenWorkspace

DRY_RUN_ROWS = 20


async def answer(ctx: RequestContext, task: dict[str, Any]) -> dict[str, Any]:
    """What a worker answers, its progress told."""
    return await ctx.app.interactive.ask(task, lambda phase, percentage: ctx.progress.report(phase, percentage))


async def previewed(
    ctx: RequestContext, path: str, document: SpecDocument, request: PreviewRequest, scripts: Scripts | None
) -> dict[str, Any]:
    """Rows of a document's dataset, as they travel; ``scripts`` are those that its computations may run."""
    task = {"type": "preview", "path": path, "spec": to_dict(document), "request": unstructure(request)}
    if scripts is not None:
        task["scripts"] = unstructure(scripts)
    preview: dict[str, Any] = (await answer(ctx, task))["preview"]
    return preview


def ready(ctx: RequestContext, workspace: OpenWorkspace, document: SpecDocument) -> Scripts | None:
    """The scripts that a spec may run, each looked at; None where it has no computations.

    Raises:
        HephaesError: ``script_not_found``, ``script_not_enabled``, ``script_failed``.
    """
    if not document.spec.computations:
        return None
    enabled = ctx.app.store.scripts.of(workspace.id)
    scripts = Scripts(str(workspace.scripts_dir), {path: each.sha256 for path, each in enabled.items()})
    for each in document.spec.computations:
        check_function(read_script(scripts, each.file), each.function)
    return scripts


def dry_run(ctx: RequestContext, path: str, document: SpecDocument, scripts: Scripts) -> None:
    """Run the computations of a spec over the first rows of a log; raises ``script_failed``."""
    request = PreviewRequest(sample_n=DRY_RUN_ROWS)
    try:
        ctx.on_loop(lambda: previewed(ctx, path, document, request, scripts))
    except HephaesError as error:
        if error.kind == "script_failed":
            raise  # what else is wrong with the log or the spec is for the job to tell
