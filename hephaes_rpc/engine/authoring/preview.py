"""Rows of a dataset before it is made, anywhere in the log: what is shown is what the conversion writes, row for row.

Strategy: rows are planned from the index as for a conversion; then the same pass is made over a window of them, so that
only the chunks of its rows are read.  A window grows where what is in the messages decides: forwards until enough rows
are kept (features with ``missing`` ``drop``), backwards until every feature that fills forward has a value.  The rows
are then written by the chosen writer into a scratch file; what that and the pass cost stands for the whole.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from attrs import define, evolve

from hephaes_rpc.engine.authoring.authored import Encoding, Estimate, PreviewRequest, PreviewResult, PreviewRow
from hephaes_rpc.engine.authoring.excerpts import CELL, excerpt
from hephaes_rpc.engine.datasets.featured import FeaturedConversion
from hephaes_rpc.engine.datasets.featurerows import PlannedRows, RowWork
from hephaes_rpc.engine.datasets.files import FilePlan, all_names
from hephaes_rpc.engine.datasets.partition import needs_values
from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.features.compiled import Evaluation, FeatureBatch
from hephaes_rpc.engine.features.readers import Rows
from hephaes_rpc.engine.logs import LogReader
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.specs.names import check_distinct
from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.specs.spec import ConversionSpec, Output, TopicDecoding
from hephaes_rpc.engine.task import Context, ConvertTask
from hephaes_rpc.errors import HephaesError, SpecError

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts

LEAD_ROWS = 64
MAX_WINDOW_ROWS = 1 << 20

Clock = Callable[[], float]


@define(eq=False)
class Preview:
    """A preview and its rows as they are written."""

    result: PreviewResult
    table: pa.Table


def preview(
    log: LogReader,
    spec: ConversionSpec,
    request: PreviewRequest,
    context: Context,
    clock: Clock,
    scripts: "Scripts | None" = None,
) -> Preview:
    """Rows of the dataset that a spec makes of a log.

    Args:
        clock: Seconds, from any start.
        scripts: Those that computations of the spec may run.

    Raises:
        SpecError: The spec contradicts itself or the log, or has no rows with features.
        HephaesError: ``quality_gate``: more bad records than the spec bears.
        UnreadableError: A chunk could not be read as the index says.
    """
    spec = _with_hints(spec, request.topic_type_hints)
    if spec.row_strategy is None or not spec.features:
        raise SpecError("only a spec with row_strategy and features can be previewed")
    check_spec(spec)
    if sum(given is not None for given in (request.start_row, request.offset_s, request.start_ns)) > 1:
        raise SpecError("a preview starts at start_row, at offset_s or at start_ns, not at several of them")
    return _Previewing(log, spec, request, context, clock, scripts).preview()


def _with_hints(spec: ConversionSpec, hints: dict[str, str]) -> ConversionSpec:
    topics = dict(spec.decoding.topics)
    for topic, hint in hints.items():
        topics[topic] = evolve(topics.get(topic, TopicDecoding()), type_hint=hint)
    return evolve(spec, decoding=evolve(spec.decoding, topics=topics)) if hints else spec


@define(eq=False)
class _Part:
    """A batch of the window."""

    first: int
    rows: Rows
    batch: FeatureBatch

    def cut(self, first: int, stop: int) -> "_Part":
        """Its rows from number ``first`` to ``stop``."""
        lo, hi = max(0, first - self.first), max(0, min(len(self.rows), stop - self.first))
        which = slice(lo, hi)
        batch = self.batch
        cut = FeatureBatch(
            {name: column[which] for name, column in batch.columns.items()},
            {name: present[which] for name, present in batch.present.items()},
            batch.keep[which],
            batch.bad[which],
        )
        return _Part(self.first + lo, self.rows.part(lo, hi), cut)


class _Previewing:
    """One preview."""

    def __init__(
        self,
        log: LogReader,
        spec: ConversionSpec,
        request: PreviewRequest,
        context: Context,
        clock: Clock,
        scripts: "Scripts | None",
    ) -> None:
        self.log, self.spec, self.request, self.context, self.clock = log, spec, request, context, clock
        task = ConvertTask(
            log_path=log.summary.path,
            spec=spec,
            output_dir="",
            episode_id="episode_0001",
            stem="episode_0001",
            scripts=scripts,
        )
        self.conversion = FeaturedConversion(task, context, log)
        self.pass_s = 0.0
        self.read_bytes = 0

    def preview(self) -> Preview:
        """See ``preview``."""
        conversion = self.conversion
        planned = conversion.plan()
        plans = self.plans(planned)
        first = self.first_row(planned)
        parts, evaluation = self.parts(planned, first)
        checked = evolve(self.spec, validation=evolve(self.spec.validation, sample_n=None, preview=False))
        n_rows = planned.rows.table.n_rows
        work = RowWork(checked, planned, conversion.partition(n_rows, None), {}, plans)
        batches = []
        shown: list[PreviewRow] = []
        for part in parts:
            found = work.columns(part.first, part.rows, part.batch)
            batches.append(found)
            shown += _shown(found, part.batch)
            work.take(part.first, part.rows, part.batch, evaluation)
        dropped = sum(int(np.count_nonzero(~part.batch.keep)) for part in parts)
        conversion.intake.note_losses()
        table = pa.Table.from_batches(batches, plans[0].schema)
        encoding, estimate = self.costs(planned, plans, table)
        preflight = work.preflight()
        warnings = [*conversion.warnings, *planned.rows.warnings, *work.warnings(), *_silent(planned)]
        if encoding.error is not None:
            warnings.append(f"the writer refuses these rows: {encoding.error}")
        if n_rows and first >= n_rows:
            warnings.append(f"there is no row so late: the dataset has {n_rows} rows")
        result = PreviewResult(
            columns={member.name: str(member.type) for member in plans[0].schema},
            first_row=first,
            rows=shown,
            dropped_count=planned.rows.dropped + dropped,
            checked_records=preflight["checked_records"],
            bad_records=preflight["bad_records"],
            missing_feature_counts=_some(preflight["missing_feature_counts"]),
            missing_feature_rates=_some(preflight["missing_feature_rates"]),
            missing_topic_counts=_some(preflight["missing_topic_counts"]),
            missing_topic_rates=_some(preflight["missing_topic_rates"]),
            label_summary=preflight.get("label_summary"),
            encoding=encoding,
            estimate=estimate,
            warnings=warnings,
            preflight_ok=not preflight["bad_records"] and encoding.error is None,
        )
        return Preview(result, table)

    def plans(self, planned: PlannedRows) -> list[FilePlan]:
        """The files of the whole dataset, whose names must not clash."""
        conversion = self.conversion
        plans = conversion.files(planned.features, conversion.partition(planned.rows.table.n_rows, None))
        check_distinct(name for plan in plans for name in all_names(self.spec, plan))
        return plans

    # Rows -------------------------------------------------------------------------------------------------------------

    def first_row(self, planned: PlannedRows) -> int:
        """Number of the row that the preview starts with."""
        request, times, n_rows = self.request, planned.rows.table.times, planned.rows.table.n_rows
        if request.start_row is not None:
            return min(request.start_row, n_rows)
        start = request.start_ns
        if request.offset_s is not None and n_rows:
            start = int(times.times(0, 1)[0]) + round(min(request.offset_s * NS_PER_S, 2.0**62))  # later than any row
        if start is None:
            return 0
        low, high = 0, n_rows
        while low < high:
            middle = (low + high) // 2
            if int(times.times(middle, middle + 1)[0]) < start:
                low = middle + 1
            else:
                high = middle
        return low

    def parts(self, planned: PlannedRows, first: int) -> tuple[list[_Part], Evaluation]:
        """Batches of the rows to be shown."""
        wanted, n_rows = self.request.sample_n, planned.rows.table.n_rows
        lead, last = first, min(n_rows, first + wanted)
        while True:
            found, evaluation = self.window(planned, lead, last)
            if lead and self.lacks_lead(found, first):
                lead = max(0, first - max(LEAD_ROWS, 2 * (first - lead)))
                continue
            parts = [part.cut(first, last) for part in found if part.first + len(part.rows) > first]
            kept = sum(int(np.count_nonzero(part.batch.keep)) for part in parts)
            if kept >= wanted or last == n_rows or last - first >= MAX_WINDOW_ROWS:
                return self.enough(parts, wanted), evaluation
            last = min(n_rows, first + 2 * (last - first))

    def window(self, planned: PlannedRows, first: int, last: int) -> tuple[list[_Part], Evaluation]:
        """All rows of a window, evaluated."""
        parts: list[_Part] = []
        evaluations: list[Evaluation] = []

        def sink(at: int, rows: Rows, batch: FeatureBatch, evaluation: Evaluation) -> None:
            parts.append(_Part(at, rows, batch))
            evaluations.append(evaluation)

        began = self.clock()
        self.read_bytes = self.conversion.evaluate(planned, planned.features, sink, (0, 1), window=(first, last))
        self.pass_s = self.clock() - began
        return parts, evaluations[0] if evaluations else planned.features.evaluation()

    def lacks_lead(self, parts: Sequence[_Part], first: int) -> bool:
        """Whether a feature that fills forward has no value in row ``first``, but may have one before."""
        names = [name for name, feature in self.spec.features.items() if feature.missing == "forward_fill"]
        for part in parts:
            if part.first <= first < part.first + len(part.rows):
                return any(not part.batch.present[name][first - part.first] for name in names)
        return False

    def enough(self, parts: Sequence[_Part], wanted: int) -> list[_Part]:
        """The beginning of batches that has so many rows kept."""
        taken: list[_Part] = []
        for part in parts:
            kept = np.flatnonzero(part.batch.keep)
            if wanted <= 0:
                break
            stop = len(part.rows) if len(kept) < wanted else int(kept[wanted - 1]) + 1
            taken.append(part.cut(part.first, part.first + stop))
            wanted -= len(kept)
        return taken

    # Costs ------------------------------------------------------------------------------------------------------------

    def costs(self, planned: PlannedRows, plans: Sequence[FilePlan], table: pa.Table) -> tuple[Encoding, Estimate]:
        """What the writer makes of the rows, and what all rows will cost."""
        n_rows, output, error = planned.rows.table.n_rows, self.spec.output, None
        empty_bytes, empty_s, counts = self.encoded(plans[0], table.slice(0, 0))
        size, encode_s = empty_bytes, empty_s
        try:
            size, encode_s, counts = self.encoded(plans[0], table)
        except (HephaesError, pa.ArrowException, OverflowError, ValueError) as refusal:
            error = refusal.message if isinstance(refusal, HephaesError) else str(refusal)
        shown = table.num_rows
        read_bytes = self.total_bytes(planned)
        seconds = None
        if shown and self.read_bytes:
            seconds = self.pass_s * read_bytes / self.read_bytes + max(0.0, encode_s - empty_s) * n_rows / shown
        per_row = (size - empty_bytes) / shown if shown else 0.0
        estimate = Estimate(
            rows=n_rows,
            rows_exact=not (self.conversion.drops() or needs_values(self.spec.split)),
            size_bytes=len(plans) * empty_bytes + round(per_row * n_rows),
            read_bytes=read_bytes + self.conversion.transform_bytes,
            seconds=None if seconds is None else round(seconds, 3),
        )
        return Encoding(format=output.format, size_bytes=size, counts=counts, error=error), estimate

    def encoded(self, plan: FilePlan, table: pa.Table) -> tuple[int, float, dict[str, dict[str, int]]]:
        """Bytes and seconds of a file of these rows, and what its writer changed."""
        output: Output = self.spec.output
        began = self.clock()
        with tempfile.TemporaryDirectory(prefix="hephaes-") as folder:
            path = Path(folder) / "rows"
            writer = open_writer(output, plan.schema, path, {}, plan.roles)
            try:
                for batch in table.to_batches():
                    writer.write(batch)
                done = writer.finish()
                counts = {name: dict(found) for name, found in done.counts.items()}
            finally:
                writer.abandon()
            return path.stat().st_size, self.clock() - began, counts

    def total_bytes(self, planned: PlannedRows) -> int:
        """Stored bytes of the chunks that hold a message of a topic that is read."""
        needs = planned.features.needs
        read = [
            topic.stream
            for name, topic in planned.topics.items()
            if name in needs and (needs[name].select is None or needs[name].select)
        ]
        chunks = np.unique(self.log.index(self.log.slots(read)).chunk) if read else np.empty(0, np.int64)
        return int(self.log.chunks.stored_bytes[chunks].sum())


def _silent(planned: PlannedRows) -> list[str]:
    """Topics of the rows without a message."""
    return [
        f"topic {name!r} has no messages" for name, topic in planned.topics.items() if not topic.stream.message_count
    ]


def _some(counts: dict[str, Any]) -> dict[str, Any]:
    """What is not zero."""
    return {name: count for name, count in counts.items() if count}


def _shown(found: pa.RecordBatch, batch: FeatureBatch) -> list[PreviewRow]:
    """Rows as they are shown."""
    kept = np.flatnonzero(batch.keep).tolist()
    names = found.schema.names[1:]
    rows = []
    for k, at in enumerate(kept):
        data = {name: excerpt(found.column(j), k, CELL) for j, name in enumerate(names, 1)}
        presence = {
            name: int(batch.present[name][at]) if name in batch.present else int(data[name] is not None)
            for name in names
        }
        rows.append(PreviewRow(timestamp_ns=found.column(0)[k].as_py(), field_data=data, presence_data=presence))
    return rows
