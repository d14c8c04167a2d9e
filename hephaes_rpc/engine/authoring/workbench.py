"""From a log that nobody has seen to a spec that converts: look at it, draft, preview; each over one open log.

A chunk that turns out damaged or other than indexed makes the log rebuild its index from what can be read, once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from hephaes_rpc.engine.authoring.authored import (
    DraftRequest,
    DraftResult,
    Inspection,
    InspectRequest,
    PreviewRequest,
    PreviewResult,
)
from hephaes_rpc.engine.authoring.drafting import Draft, draft, templates_for
from hephaes_rpc.engine.authoring.inspection import Look, inspect
from hephaes_rpc.engine.authoring.preview import Clock, Preview, preview
from hephaes_rpc.engine.datasets.intake import UnreadableError
from hephaes_rpc.engine.logs import LogReader, open_log
from hephaes_rpc.engine.logs.base import Progress
from hephaes_rpc.engine.specs.document import SpecDocument, to_dict
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.engine.task import Context
from hephaes_rpc.errors import HephaesError, LogError

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts

T = TypeVar("T")
Opener = Callable[[str, Progress], AbstractContextManager[LogReader]]


def inspect_log(path: str, request: InspectRequest, context: Context, opener: Opener = open_log) -> Inspection:
    """What a log holds; raises what ``open_log`` and ``inspect`` raise."""
    return _over(path, context, opener, lambda log: inspect(log, request, context.check).result)


def draft_log(
    path: str,
    request: InspectRequest,
    wanted: DraftRequest,
    context: Context,
    clock: Clock,
    opener: Opener = open_log,
) -> tuple[Inspection, DraftResult]:
    """What a log holds and a spec for it; a preview that fails is a warning."""

    def work(log: LogReader) -> tuple[Inspection, DraftResult]:
        look = inspect(log, request, context.check)
        drafted = draft(look, wanted)
        rows, warnings = None, list(drafted.warnings)
        if wanted.include_preview:
            try:
                rows = preview(log, drafted.spec, PreviewRequest(sample_n=wanted.preview_rows), context, clock).result
            except HephaesError as error:
                if error.kind == "cancelled":
                    raise
                warnings.append(f"the draft could not be previewed: {error.message}")
        return look.result, _result(drafted, look, rows, warnings)

    return _over(path, context, opener, work)


def _result(drafted: Draft, look: Look, rows: PreviewResult | None, warnings: list[str]) -> DraftResult:
    return DraftResult(
        request=drafted.request,
        spec=to_dict(SpecDocument(spec=drafted.spec))["spec"],
        selected_topics=drafted.selected_topics,
        trigger_topic=drafted.trigger_topic,
        join_topics=drafted.join_topics,
        warnings=warnings,
        assumptions=drafted.assumptions,
        unresolved_fields=drafted.unresolved_fields,
        names=drafted.names,
        templates=templates_for(look),
        preview=rows,
        preview_ready=rows is not None and bool(rows.rows),
    )


def preview_log(
    path: str,
    spec: ConversionSpec,
    request: PreviewRequest,
    context: Context,
    clock: Clock,
    scripts: "Scripts | None" = None,
    opener: Opener = open_log,
) -> Preview:
    """Rows of the dataset that a spec makes of a log; raises what ``open_log`` and ``preview`` raise."""
    return _over(path, context, opener, lambda log: preview(log, spec, request, context, clock, scripts))


def _over(path: str, context: Context, opener: Opener, work: Callable[[LogReader], T]) -> T:
    """Do ``work`` over an open log, once more after the index was rebuilt."""

    def indexed(done: int, total: int) -> None:
        context.check()
        context.progress("index", done, total, "bytes")

    with opener(path, indexed) as log:
        try:
            return work(log)
        except (UnreadableError, LogError) as error:
            if isinstance(error, LogError) and error.kind == "unsupported":
                raise
            log.rescan()
            try:
                return work(log)
            except UnreadableError as again:
                raise again.reason from None
