"""What a worker process answers somebody who waits: what is in a log, drafts, previews, pages, rows of datasets.

One event leaves it beside progress: ``answer`` with the result as JSON values, or with the error that the engine told.
Such an error is an answer like any other, so that the worker stays warm.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs.taskcontext import Context, registered_file

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts
    from hephaes_rpc.engine.logs.kept import KeptLog


def answer(context: Context) -> None:
    """Do the task and tell the answer; raises what is no HephaesError, and bugs."""
    try:
        if context.task["type"] not in _ON_DATASETS:
            registered_file(context.task["path"])
        found = ACTIONS[context.task["type"]](context)
    except HephaesError as error:
        if error.kind in ("bug", "cancelled"):
            raise
        told = {"kind": error.kind, "message": error.message, "hint": error.hint, "data": error.data}
        context.emit({"event": "answer", "value": None, "error": told})
        return
    context.emit({"event": "answer", "value": found, "error": None})


@functools.cache
def _kept() -> "KeptLog":
    """The log that this process was asked about last."""
    from hephaes_rpc.engine.logs.kept import KeptLog

    return KeptLog()


def _inspect(context: Context) -> dict[str, Any]:
    from hephaes_rpc.engine.authoring.authored import InspectRequest
    from hephaes_rpc.engine.authoring.workbench import inspect_log
    from hephaes_rpc.serde import structure, unstructure

    task = context.task
    inspection = inspect_log(task["path"], structure(task["request"], InspectRequest), context, _kept().open)
    return {"inspection": unstructure(inspection)}


def _draft(context: Context) -> dict[str, Any]:
    from hephaes_rpc.engine.authoring.authored import DraftRequest, InspectRequest
    from hephaes_rpc.engine.authoring.workbench import draft_log
    from hephaes_rpc.serde import structure, unstructure

    task = context.task
    request, wanted = structure(task["request"], InspectRequest), structure(task["draft_request"], DraftRequest)
    inspection, draft = draft_log(task["path"], request, wanted, context, time.perf_counter, _kept().open)
    return {"inspection": unstructure(inspection), "draft": unstructure(draft)}


def _preview(context: Context) -> dict[str, Any]:
    from hephaes_rpc.engine.authoring.authored import PreviewRequest
    from hephaes_rpc.engine.authoring.workbench import preview_log
    from hephaes_rpc.engine.specs.document import load
    from hephaes_rpc.serde import structure, unstructure

    task = context.task
    spec = load(task["spec"]).spec
    request = structure(task["request"], PreviewRequest)
    found = preview_log(task["path"], spec, request, context, time.perf_counter, scripts_of(task), _kept().open)
    return {"preview": unstructure(found.result)}


def _dataset(context: Context) -> dict[str, Any]:
    from hephaes_rpc.engine.datasets.rowpages import Place, Wanted, read_rows, read_schema
    from hephaes_rpc.serde import unstructure

    task = context.task
    wanted = Wanted(path=task["path"], **{**task["wanted"], "place": Place(**task["wanted"]["place"])})
    found: dict[str, Any] = unstructure(read_rows(wanted) if task["type"] == "rows" else read_schema(wanted))
    return found


def _report(context: Context) -> dict[str, Any]:
    from hephaes_rpc.engine.logreport.report import write_report
    from hephaes_rpc.engine.quality import quality_from
    from hephaes_rpc.serde import unstructure

    task = context.task
    known = task["quality"]
    made: dict[str, Any] = unstructure(
        write_report(
            task["path"],
            Path(task["target"]),
            context,
            overwrite=task["overwrite"],
            quality="index" if known is None else quality_from(known),
        )
    )
    return made


def scripts_of(task: dict[str, Any]) -> "Scripts | None":
    """The scripts that a task lets run."""
    given = task.get("scripts")
    if given is None:
        return None
    from hephaes_rpc.engine.computations.scripts import Scripts

    return Scripts(**given)


_ON_DATASETS = ("rows", "schema")
ACTIONS: dict[str, Callable[["Context"], dict[str, Any]]] = {
    "inspect": _inspect,
    "draft": _draft,
    "preview": _preview,
    "report": _report,
    **dict.fromkeys(_ON_DATASETS, _dataset),
}
