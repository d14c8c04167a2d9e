"""Conversion of rows with features: plan rows, decode what features read, evaluate, deal to splits and shards.

Strategy: rows, their messages and their files are known from the index before a payload is read; then one pass over the
chunks yields batches of the leaves that features read, a thread evaluates them, another writes them.  Only where what
is in the messages decides which rows there are, or which part they belong to (features with ``missing`` ``drop``, split
``group``), and there is more than one file, a first pass over the log evaluates just those features and keeps a flag
and a part per row, so that shards are exact; its cost is that of reading the log twice.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from attrs import evolve, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.datasets import partition as parting
from hephaes_rpc.engine.datasets.featurerows import PlannedRows, RowMaker, RowTopic, RowWork
from hephaes_rpc.engine.datasets.files import Datasets, FilePlan, all_names, told_by, wanted
from hephaes_rpc.engine.datasets.intake import Intake, decoder_of
from hephaes_rpc.engine.datasets.manifest import Run, file_name
from hephaes_rpc.engine.datasets.publish import Publication
from hephaes_rpc.engine.datasets.transforms import Transforms
from hephaes_rpc.engine.datasets.writers.base import ColumnRole
from hephaes_rpc.engine.features.compiled import Evaluation, FeatureBatch, FeatureSet
from hephaes_rpc.engine.features.frames import tree_key
from hephaes_rpc.engine.features.lookahead import Lookahead
from hephaes_rpc.engine.features.readers import Rows
from hephaes_rpc.engine.features.sources import Context as FeatureContext
from hephaes_rpc.engine.lane import Lane
from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.specs.names import check_distinct
from hephaes_rpc.engine.specs.names import file_name as file_name_of
from hephaes_rpc.engine.specs.rules import topic_error
from hephaes_rpc.engine.specs.spec import (
    TIMESTAMP,
    TriggerRows,
    age_column,
)
from hephaes_rpc.engine.task import Context, ConvertResult, ConvertTask
from hephaes_rpc.engine.timeline.assembly import Assembly, Source, TableTask
from hephaes_rpc.engine.timeline.clocks import Stamps, Wanted, check_clock
from hephaes_rpc.engine.timeline.plan import Table
from hephaes_rpc.engine.timeline.rows import plan_rows
from hephaes_rpc.engine.timeline.rowtopics import clock_place, main_topic, row_clocks
from hephaes_rpc.errors import LogError
from hephaes_rpc.serde import closest

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.computed import Computations
    from hephaes_rpc.engine.datasets.outline import Outline

Flags = NDArray[np.bool_]
PIECE_BYTES = 16 << 20
FIRST_PIECE_ROWS = 256

Sink = Callable[[int, Rows, FeatureBatch, Evaluation], None]


@frozen(eq=False)
class _Gate:
    """What the first pass found: which rows there are, and their part (position in PARTS)."""

    keep: Flags
    parts: parting.Codes | None


class FeaturedConversion:
    """One attempt at a task with features; ``transform_bytes`` of chunks are read for its poses."""

    def __init__(self, task: ConvertTask, context: Context, log: LogReader) -> None:
        self.task, self.context, self.log = task, context, log
        self.spec = task.spec
        self.intake = Intake(log, task.spec)
        self.warnings = self.intake.warnings
        self.computations = _computations(task, context)
        self.transform_bytes = 0

    def run(self) -> ConvertResult:
        """Plan, write and publish."""
        planned = self.plan()
        gate = self.gate(planned)
        n_rows = planned.rows.table.n_rows if gate is None else int(np.count_nonzero(gate.keep))
        found = self.partition(n_rows, None if gate is None else gate.parts)
        plans = self.files(planned.features, found)
        chosen = wanted(plans, self.task.only)
        check_distinct(name for plan in plans for name in all_names(self.spec, plan))
        work = RowWork(self.spec, planned, found, {id(plan): k for k, plan in enumerate(chosen)}, plans)
        with Publication(
            Path(self.task.output_dir),
            self.context.temp_tag,
            overwrite=self.task.overwrite,
            check=self.log.require_unchanged,
        ) as publication:
            publication.expect([name for plan in chosen for name in all_names(self.spec, plan)])
            self.context.progress("plan", 1, 1, "messages")
            datasets = Datasets(self.task, self.context, publication)
            with datasets.open(chosen, self.log.summary) as opened, Lane("writer") as lane:
                work.deal_to(lane, opened)
                self.evaluate(planned, planned.features, work.take, (1, 2) if gate else (0, 1))
                lane.drain()
                opened.finish([found.files[plans.index(plan)].n_rows for plan in chosen])
            self.intake.note_losses()
            self.warnings += planned.rows.warnings
            self.warnings += work.warnings()
            told = work.told()
            if self.computations is not None:
                told["computations"] = self.computations.told()
            run = Run(self.log.summary, self.intake, work.rows, {}, told)
            outputs = datasets.publish(run, self.warnings)
        rows = sum(one.result.rows for one in datasets.written)
        counts = {"rows": rows, **self.intake.totals(), **work.totals()}
        return ConvertResult(outputs=outputs, counts=counts, warnings=tuple(self.warnings))

    def outline(self) -> "Outline":
        """What ``run`` would write."""
        from hephaes_rpc.engine.datasets.outline import SAMPLE_ROWS, Outline, OutlinedFile, Sizes, columns_of

        planned = self.plan()
        found = self.partition(planned.rows.table.n_rows, None)
        plans = self.files(planned.features, found)
        check_distinct(name for plan in plans for name in all_names(self.spec, plan))
        work = RowWork(self.spec, planned, found, {}, plans)
        first: list[pa.RecordBatch] = []

        def sample(at: int, rows: Rows, batch: FeatureBatch, _: Evaluation) -> None:
            first.append(work.columns(at, rows, batch))

        read_bytes = self.evaluate(planned, planned.features, sample, (0, 1), first_rows=SAMPLE_ROWS)
        schema, roles = plans[0].schema, plans[0].roles
        sizes = Sizes(self.spec.output, schema, roles, first)
        return Outline(
            files=[
                OutlinedFile(plan.name, file.split, file.n_rows, sizes.of(file.n_rows))
                for plan, file in zip(plans, found.files, strict=True)
            ],
            columns=columns_of([schema]),
            rows=planned.rows.table.n_rows,
            exact=not (self.drops() or parting.needs_values(self.spec.split)),
            read_bytes=read_bytes + self.transform_bytes,
            warnings=[*self.warnings, *planned.rows.warnings],
        )

    # Plan -------------------------------------------------------------------------------------------------------------

    def plan(self) -> PlannedRows:
        """The rows, and what is read for their features."""
        self.context.check()
        self.context.progress("plan", 0, 1, "messages")
        clocks = row_clocks(self.spec)
        streams = {topic: self.stream(topic) for topic in clocks}
        for topic, stream in streams.items():
            check_clock(clocks[topic], stream, self.log.summary.storage_format, clock_place(self.spec, topic))
        features = FeatureSet.compile(
            self.spec,
            {topic: stream.definition for topic, stream in streams.items()},
            FeatureContext(
                self.task.episode_id,
                file_name(self.log.summary.path),
                main_topic(self.spec),
                self.log.summary.storage_format == "mcap",
            ),
        )
        transforms = Transforms(features.pose_readers, self.intake) if features.pose_readers else None
        topics = self.topics(streams, clocks, features)
        times = {topic: source.times for topic, source in self.sources(topics, features).items()}
        assert self.spec.row_strategy is not None
        rows = plan_rows(self.spec.row_strategy, times)
        if transforms is not None:
            every = rows.table.times.times(0, rows.table.n_rows)
            self.warnings += transforms.read(self.log, every, self.told_of_clocks)
            self.transform_bytes = transforms.stored_bytes
        return PlannedRows(features, topics, rows)

    def stream(self, topic: str) -> Stream:
        """The stream of a topic that rows are made of."""
        found = [stream for stream in self.intake.streams if stream.topic == topic]
        if not found:
            known = sorted({stream.topic for stream in self.intake.streams})
            near = closest(topic, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise topic_error(self.spec, topic, f"the log has no topic {topic!r}{hint}", known)
        if len(found) > 1:
            types = sorted({stream.type_name for stream in found})
            how = f"say which of {', '.join(types)} by decoding.topics.{topic}.type_hint"
            if len(types) == 1:
                how = f"it has several definitions of {types[0]}, which only a mapping can tell apart"
            raise topic_error(self.spec, topic, f"topic {topic!r} has several types: {how}", (), "a topic of one type")
        if found[0].undecodable is not None:
            raise LogError("unsupported", f"topic {topic!r} cannot be decoded: {found[0].undecodable}", topic=topic)
        return found[0]

    def topics(
        self, streams: Mapping[str, Stream], clocks: Mapping[str, str], features: FeatureSet
    ) -> dict[str, RowTopic]:
        """Which messages of the topics are taken, and their times on other clocks than the log's."""
        names = list(streams)
        selected = self.intake.selected(list(streams.values()))
        wants: list[tuple[str, Wanted]] = []
        for name, chosen in zip(names, selected, strict=True):
            stream = streams[name]
            mask = np.ones(stream.message_count, np.bool_) if chosen is None else chosen
            need = features.needs.get(name)
            if clocks[name] != "log_time":
                wants.append(("clock", Wanted(stream, clocks[name], mask)))
            if need is not None and need.publish_time:
                wants.append(("publish", Wanted(stream, "publish_time", mask)))
        found: dict[tuple[str, int], Stamps] = {}
        if wants:
            stamps = self.intake.stamps([want for _, want in wants], self.told_of_clocks)
            found = {(what, id(want.stream)): one for (what, want), one in zip(wants, stamps, strict=True)}
        made = {}
        for name, chosen in zip(names, selected, strict=True):
            stream = streams[name]
            publish = found.get(("publish", id(stream)))
            made[name] = RowTopic(
                stream, chosen, found.get(("clock", id(stream))), None if publish is None else publish.time
            )
        return made

    def told_of_clocks(self, done: int, total: int) -> None:
        """Progress of reading clocks."""
        self.context.check()
        self.context.progress("plan", done, total, "bytes")

    def sources(self, topics: Mapping[str, RowTopic], features: FeatureSet) -> dict[str, Source]:
        """A fresh source per topic, which decodes what the features read; one that they do not read is never fed."""
        decoders = []
        for name, topic in topics.items():
            need = features.needs.get(name)
            decoders.append(decoder_of(topic.stream, None if need is None else need.select or None))
        made = self.intake.sources(
            [topic.stream for topic in topics.values()],
            decoders,
            [topic.selected for topic in topics.values()],
            [topic.clock for topic in topics.values()],
        )
        return dict(zip(topics, made, strict=True))

    def drops(self) -> bool:
        """Whether what is in messages decides which rows there are."""
        return any(feature.missing == "drop" for feature in self.spec.features.values())

    def partition(self, n_rows: int, parts: parting.Codes | None) -> parting.Partition:
        """The files of the rows."""
        return parting.partition(self.spec.split, self.spec.output.shards, n_rows, self.task.episode_id, parts)

    def files(self, features: FeatureSet, found: parting.Partition) -> list[FilePlan]:
        """The dataset files."""
        output = self.spec.output
        ages = [] if not isinstance(self.spec.row_strategy, TriggerRows) else self.spec.row_strategy.joins
        computed = self.computations.fields if self.computations is not None else []
        schema = pa.schema(
            [
                pa.field(TIMESTAMP, pa.int64()),
                *features.schema,
                *computed,
                *(pa.field(age_column(join.topic), pa.int64()) for join in ages if join.age_column),
            ]
        )
        roles = {
            feature.name: ColumnRole(
                is_image=feature.encoded_image, is_json=feature.dtype == "json", has_presence=feature.presence_flag
            )
            for feature in features.features
        }
        roles |= {column.name: ColumnRole(has_presence=False) for column in computed}
        names = [name for name in schema.names if name != TIMESTAMP]
        return [
            FilePlan(
                file_name_of(output.filename_template, self.task.stem, self.task.episode_id, file, output.format),
                schema,
                roles,
                {"topics": sorted(features.needs)},
                names,
                (file.split, file.shard_index, file.num_shards),
            )
            for file in found.files
        ]

    # Passes -----------------------------------------------------------------------------------------------------------

    def gate(self, planned: PlannedRows) -> _Gate | None:
        """The first pass over the log, where one is needed."""
        by_group = parting.needs_values(self.spec.split)
        n_rows = planned.rows.table.n_rows
        if not by_group and (not self.drops() or len(self.partition(n_rows, None).files) == 1):
            return None
        group_by = self.spec.split.group_by if self.spec.split is not None and by_group else None
        deciding = {
            name: feature
            for name, feature in self.spec.features.items()
            if feature.missing == "drop" or name == group_by
        }
        features = FeatureSet.compile(
            evolve(self.spec, features=deciding, labels=None),
            {name: topic.stream.definition for name, topic in planned.topics.items()},
            FeatureContext(
                self.task.episode_id,
                file_name(self.log.summary.path),
                main_topic(self.spec),
                self.log.summary.storage_format == "mcap",
            ),
            {tree_key(reader.source): reader.tree for reader in planned.features.pose_readers},
        )
        keep = np.ones(n_rows, np.bool_)
        parts = np.zeros(n_rows, np.uint8)

        def note(first: int, rows: Rows, batch: FeatureBatch, _: Evaluation) -> None:
            part = slice(first, first + len(rows))
            keep[part] = batch.keep
            if group_by is not None and self.spec.split is not None:
                parts[part] = parting.group_parts(self.spec.split, batch.columns[group_by])

        self.evaluate(evolve(planned, features=features), features, note, (0, 2), compute=False)
        return _Gate(keep, parts[keep] if group_by is not None else None)

    def evaluate(
        self,
        planned: PlannedRows,
        features: FeatureSet,
        sink: Sink,
        turn: tuple[int, int],
        *,
        first_rows: int | None = None,
        window: tuple[int, int] | None = None,
        compute: bool = True,
    ) -> int:
        """One pass over the log: ``sink`` gets the batches in order, each with the number of its first row.

        Args:
            first_rows: End once there are so many; None takes all.
            window: Only the rows [first, last).
            compute: Have scripts make their columns of the features.

        Returns:
            Stored bytes of the chunks that the pass reads.
        """
        sources = self.sources(planned.topics, features)
        position = {name: k for k, name in enumerate(planned.topics)}
        read = [name for name in planned.topics if _is_read(features, name)]
        picks = planned.rows.table.picks
        table = Table(
            planned.rows.table.times,
            {k: picks[position[name]] for k, name in enumerate(read) if position[name] in picks},
        )
        n_rows = table.n_rows
        begin, end = window or (0, n_rows)
        if window is not None:
            table = table.part(begin, min(n_rows, end + features.reach))
        schema = pa.schema([(TIMESTAMP, pa.int64()), *((name, sources[name].decoder.arrow_type) for name in read)])
        assembly = Assembly(
            self.log, [sources[name] for name in read], [TableTask(table, schema, tuple(range(len(read))))]
        )
        maker = RowMaker(self.intake, planned, features, sources)
        with ExitStack() as stack:
            computing = stack.enter_context(self.computations) if self.computations is not None and compute else None
            lookahead = Lookahead(features.reach, n_rows, end)
            feed = _Feed(maker, lookahead, features.evaluation(), computing, sink)
            lane = stack.enter_context(Lane("features"))
            first = begin
            taken = [sources[name] for name in read]
            told = told_by(self.context, turn)
            for _, batch in self.intake.batches(taken, assembly, told, at_once=first_rows is not None):
                lane.call(feed.take, first, batch, nbytes=batch.nbytes)
                first += batch.num_rows
                self.context.check()
                if first_rows is not None and first >= first_rows:
                    break
            lane.drain()
        return assembly.stored_bytes


class _Feed:
    """Evaluates batches in pieces whose features take about PIECE_BYTES, judging by the piece before."""

    def __init__(
        self,
        maker: RowMaker,
        lookahead: Lookahead,
        evaluation: Evaluation,
        computing: "Computations | None",
        sink: Sink,
    ) -> None:
        self._maker, self._lookahead, self._evaluation = maker, lookahead, evaluation
        self._computing, self._sink = computing, sink
        self._step = FIRST_PIECE_ROWS

    def take(self, first: int, batch: pa.RecordBatch) -> None:
        """Evaluate a batch that begins with row ``first``."""
        at = 0
        while at < batch.num_rows:
            rows = self._maker.rows(first + at, batch.slice(at, self._step))
            number, rows, n = self._lookahead.take(first + at, rows)
            at += min(self._step, batch.num_rows - at)
            if not n:
                continue
            found = self._evaluation.evaluate(rows, n)
            rows = rows.part(0, n)
            if self._computing is not None:
                found = self._computing.add_to(rows, found)
            self._sink(number, rows, found, self._evaluation)
            size = sum(column.nbytes for column in found.columns.values()) / n
            self._step = max(1, min(2 * self._step, int(PIECE_BYTES / max(size, 1))))


def _computations(task: ConvertTask, context: Context) -> "Computations | None":
    """The computations of the spec, where it has any; raises ``script_failed``."""
    if not task.spec.computations:
        return None
    from hephaes_rpc.engine.computations.computed import Computations

    return Computations(task.spec, task.scripts, context.check)


def _is_read(features: FeatureSet, topic: str) -> bool:
    """Whether payloads of a topic are decoded."""
    need = features.needs.get(topic)
    return need is not None and (need.select is None or bool(need.select))
