"""One conversion from a log to published files: index, plan, decode, write, publish.

Strategy: the log is indexed and judged by the gates of the spec, then everything is planned from the index and written
in one pass over the chunks that the rows need: whole messages by ``mapped``, rows with features by ``featured``
(imported when a spec is of its kind), files by ``datasets.files``.  A chunk that turns out damaged or other than
indexed makes the log rebuild its index from what can be read; then everything starts again, once.  A task is plain data
and its datasets are independent of each other: a task with ``only`` makes some of them, the same bytes as one that
makes all.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import attrs

from hephaes_rpc.engine.datasets.intake import UnreadableError
from hephaes_rpc.engine.logs import LogReader, open_log
from hephaes_rpc.engine.memory import give_back
from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.task import Context, ConvertResult, ConvertTask, OutputFile, Phase, Unit

if TYPE_CHECKING:
    from hephaes_rpc.engine.datasets.featured import FeaturedConversion
    from hephaes_rpc.engine.datasets.mapped import MappedConversion
    from hephaes_rpc.engine.datasets.outline import Outline
    from hephaes_rpc.engine.quality.gates import Verdict

    Conversion: TypeAlias = MappedConversion | FeaturedConversion
    Make: TypeAlias = Callable[[LogReader], Conversion]

__all__ = ["Context", "ConvertResult", "ConvertTask", "OutputFile", "Phase", "Unit", "convert", "outline"]

T = TypeVar("T")


def convert(task: ConvertTask, context: Context) -> ConvertResult:
    """Convert one log.  All errors are HephaesErrors; on any of them nothing is left under a final name."""

    def run(log: LogReader, conversion: "Make") -> ConvertResult:
        if task.spec.quality:
            from hephaes_rpc.engine.quality.gates import require_quality
            from hephaes_rpc.engine.timeline.selection import window_of

            require_quality(task.spec.quality, log, window_of(task.spec.input), _told(context, "plan"))
        return conversion(log).run()

    return _attempt(task, context, run)


def outline(task: ConvertTask, context: Context) -> "Outline":
    """What ``convert`` would write, from the index and the first rows; nothing is written.

    Gates of the spec are judged and told; a log that fails one is outlined all the same.
    """

    def judged(log: LogReader, conversion: "Make") -> "Outline":
        gates: list[Verdict] = []
        if task.spec.quality:
            from hephaes_rpc.engine.quality.gates import judge
            from hephaes_rpc.engine.timeline.selection import window_of

            gates = judge(task.spec.quality, log, window_of(task.spec.input), _told(context, "plan"))
        return attrs.evolve(conversion(log).outline(), gates=gates)

    return _attempt(task, context, judged)


def _told(context: Context, phase: Phase) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        context.check()
        context.progress(phase, done, total, "bytes")

    return told


def _attempt(task: ConvertTask, context: Context, action: "Callable[[LogReader, Make], T]") -> T:
    check_spec(task.spec)

    indexed = _told(context, "index")

    def conversion(log: LogReader) -> "Conversion":
        if task.spec.features:
            from hephaes_rpc.engine.datasets.featured import FeaturedConversion

            return FeaturedConversion(task, context, log)
        from hephaes_rpc.engine.datasets.mapped import MappedConversion

        return MappedConversion(task, context, log)

    with open_log(task.log_path, indexed) as log:
        indexed(log.summary.size_bytes, log.summary.size_bytes)
        give_back()
        try:
            return action(log, conversion)
        except UnreadableError:
            log.rescan()
            try:
                return action(log, conversion)
            except UnreadableError as again:
                raise again.reason from None
