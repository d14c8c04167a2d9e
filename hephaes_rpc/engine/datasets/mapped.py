"""Conversion of whole messages: a column per field of a mapping, one table or one file per field.

Strategy: names are resolved, and each dataset becomes a table over the streams it needs; one pass over the chunks
yields batches of all of them.  With layout ``topics`` at most MAX_OPEN_FILES are written per pass over the log.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import frozen

from hephaes_rpc.engine.datasets.files import Datasets, FilePlan, Opened, all_names, told_by, wanted
from hephaes_rpc.engine.datasets.intake import Intake, decoder_of
from hephaes_rpc.engine.datasets.manifest import Run
from hephaes_rpc.engine.datasets.publish import Publication
from hephaes_rpc.engine.lane import Lane
from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.memory import give_back, keep_freed
from hephaes_rpc.engine.specs.names import check_distinct
from hephaes_rpc.engine.specs.spec import TIMESTAMP
from hephaes_rpc.engine.task import Context, ConvertResult, ConvertTask
from hephaes_rpc.engine.timeline.assembly import Assembly, Source, TableTask
from hephaes_rpc.engine.timeline.hints import require_known
from hephaes_rpc.engine.timeline.plan import auto_mapping, resolve, topic_table, wide_table
from hephaes_rpc.errors import LogError

if TYPE_CHECKING:
    from hephaes_rpc.engine.datasets.outline import Outline

MAX_OPEN_FILES = 256
LARGE_MESSAGE_BYTES = 4 << 10
"""Where messages are as large on average, files by topic need at once again what their last pieces have freed."""
FILE_SLUG_CHARS = 100


@frozen(eq=False)
class MappedField:
    """A column and where its values come from.

    Args:
        requested: Topics the mapping listed, in priority order.
        selector: The one that was taken, as the mapping names it.
    """

    name: str
    type: pa.DataType
    requested: Sequence[str]
    selector: str
    stream: Stream


@frozen(eq=False)
class _Plan:
    """A dataset and its fields."""

    file: FilePlan
    fields: Sequence[MappedField]


class MappedConversion:
    """One attempt at a task without features."""

    def __init__(self, task: ConvertTask, context: Context, log: LogReader) -> None:
        self.task, self.context, self.log = task, context, log
        self.spec = task.spec
        self.intake = Intake(log, task.spec)
        self.warnings = self.intake.warnings

    def run(self) -> ConvertResult:
        """Plan, write and publish."""
        self.context.check()
        self.context.progress("plan", 0, 1, "messages")
        fields = self.fields()
        plans = self.plans(fields)
        datasets_of = {id(file) for file in wanted([plan.file for plan in plans], self.task.only)}
        plans = [plan for plan in plans if id(plan.file) in datasets_of]
        names = [name for plan in plans for name in all_names(self.spec, plan.file)]
        check_distinct(names)
        with Publication(
            Path(self.task.output_dir),
            self.context.temp_tag,
            overwrite=self.task.overwrite,
            check=self.log.require_unchanged,
        ) as publication:
            publication.expect(names)
            if self.keeps_freed():
                keep_freed()
            self.context.progress("plan", 1, 1, "messages")
            datasets = Datasets(self.task, self.context, publication)
            groups = [plans[i : i + MAX_OPEN_FILES] for i in range(0, len(plans), MAX_OPEN_FILES)]
            for k, group in enumerate(groups):
                self.write(group, (k, len(groups)), datasets)
            self.intake.note_losses()
            rows = sum(one.result.rows for one in datasets.written)
            mapped = {
                field.name: (field.requested, field.selector, self.intake.record(field.stream))
                for plan in plans
                for field in plan.fields
            }
            outputs = datasets.publish(Run(self.log.summary, self.intake, rows, mapped, {}), self.warnings)
        return ConvertResult(
            outputs=outputs, counts={"rows": rows, **self.intake.totals()}, warnings=tuple(self.warnings)
        )

    def outline(self) -> "Outline":
        """What ``run`` would write."""
        from hephaes_rpc.engine.datasets.outline import SAMPLE_ROWS, Outline, OutlinedFile, Sizes, columns_of

        plans = self.plans(self.fields())
        check_distinct(name for plan in plans for name in all_names(self.spec, plan.file))
        sources = self.sources(plans)
        tasks = [self.table(plan, sources) for plan in plans]
        first: list[list[pa.RecordBatch]] = [[] for _ in plans]
        read_bytes = 0
        if sources:
            assembly = Assembly(self.log, list(sources.values()), tasks)
            read_bytes = assembly.stored_bytes
            lacking = SAMPLE_ROWS
            taken, told = list(sources.values()), told_by(self.context)
            for number, batch in self.intake.batches(taken, assembly, told, at_once=True):
                first[number].append(batch)
                lacking -= batch.num_rows
                if lacking <= 0:
                    break
        files = []
        for k, (plan, task) in enumerate(zip(plans, tasks, strict=True)):
            sizes = Sizes(self.spec.output, plan.file.schema, {}, first[k])
            files.append(OutlinedFile(plan.file.name, None, task.rows.n_rows, sizes.of(task.rows.n_rows)))
        return Outline(
            files=files,
            columns=columns_of(plan.file.schema for plan in plans),
            rows=sum(file.rows for file in files),
            exact=True,
            read_bytes=read_bytes,
            warnings=self.warnings,
        )

    # Plan -------------------------------------------------------------------------------------------------------------

    def fields(self) -> list[MappedField]:
        """The columns, each with the stream it is taken from."""
        if self.spec.mapping is None:
            streams = self.decodable()
            mapping: Mapping[str, Sequence[str]] = auto_mapping(streams)
            require_known(self.spec.decoding, self.intake.streams)
        else:
            streams, mapping = self.intake.streams, self.spec.mapping
        fields = []
        for name, (selector, stream) in resolve(mapping, streams).items():
            try:
                kind = decoder_of(stream).arrow_type
            except LogError as error:
                reason = stream.undecodable or error.message
                text = f"mapping field {name!r}: topic {selector!r} cannot be decoded: {reason}"
                raise LogError(error.kind, text, field=name, topic=stream.topic) from error
            fields.append(MappedField(name, kind, mapping[name], selector, stream))
        return fields

    def decodable(self) -> list[Stream]:
        """The streams that a decoder can be made for; the others are told of."""
        streams, reasons = [], []
        for stream in self.intake.streams:
            try:
                decoder_of(stream)
            except LogError as error:
                reasons.append(f"topic {stream.topic!r} is left out: {stream.undecodable or error.message}")
            else:
                streams.append(stream)
        if not streams and any(stream.message_count for stream in self.intake.streams):
            path = self.log.summary.path
            raise LogError("unsupported", f"{path}: no topic can be decoded; {reasons[0]}", path=path)
        self.warnings += reasons
        return streams

    def plans(self, fields: Sequence[MappedField]) -> list[_Plan]:
        """The datasets: one, or one per field."""
        extension = self.spec.output.format
        if self.spec.output.layout == "wide" or not fields:
            return [_plan(f"{self.task.stem}.{extension}", fields)]
        stems = _file_stems(self.task.stem, [field.name for field in fields])
        return [_plan(f"{stem}.{extension}", [field]) for stem, field in zip(stems, fields, strict=True)]

    # Write ------------------------------------------------------------------------------------------------------------

    def write(self, plans: Sequence[_Plan], turn: tuple[int, int], datasets: Datasets) -> None:
        """Make the files of these datasets in one pass over the log, the ``turn[0]``-th of ``turn[1]``."""
        sources = self.sources(plans)
        tasks = [self.table(plan, sources) for plan in plans]
        rows = [task.rows.n_rows for task in tasks]
        with datasets.open([plan.file for plan in plans], self.log.summary) as opened:
            if sources:
                self.deal(list(sources.values()), tasks, turn, opened)
            del sources, tasks
            give_back()
            opened.finish(rows, turn)

    def keeps_freed(self) -> bool:
        """Whether memory is to be kept for the pieces to come: elsewhere that costs more than it gains."""
        raw_bytes = int(self.log.chunks.raw_bytes.sum())
        large = raw_bytes >= LARGE_MESSAGE_BYTES * max(self.log.summary.message_count, 1)
        return large and self.spec.output.layout == "topics"

    def deal(
        self, sources: Sequence[Source], tasks: Sequence[TableTask], turn: tuple[int, int], opened: Opened
    ) -> None:
        """Give the rows of tables to their files."""
        assembly = Assembly(self.log, sources, tasks)
        with Lane("writer") as lane:
            for number, batch in self.intake.batches(sources, assembly, told_by(self.context, turn)):
                lane.call(opened.take, number, batch, nbytes=batch.nbytes)
                self.context.check()
            lane.drain()

    def sources(self, plans: Sequence[_Plan]) -> dict[int, Source]:
        """The streams of these datasets, by identity; each occurs once."""
        streams = list({id(field.stream): field.stream for plan in plans for field in plan.fields}.values())
        decoders = [decoder_of(stream) for stream in streams]
        made = self.intake.sources(streams, decoders, self.intake.selected(streams), [None] * len(streams))
        return {id(source.stream): source for source in made}

    def table(self, plan: _Plan, sources: Mapping[int, Source]) -> TableTask:
        """The rows of a dataset."""
        position = {key: k for k, key in enumerate(sources)}
        columns = tuple(position[id(field.stream)] for field in plan.fields)
        times = [source.times for source in sources.values()]
        if self.spec.output.layout == "wide":
            return TableTask(wide_table(times, self.spec.resample), plan.file.schema, columns)
        rows = topic_table(columns[0], times[columns[0]]) if columns else wide_table([], None)
        return TableTask(rows, plan.file.schema, columns, drop_failed=True)


def _plan(name: str, fields: Sequence[MappedField]) -> _Plan:
    schema = pa.schema([(TIMESTAMP, pa.int64()), *((field.name, field.type) for field in fields)])
    told = {field.name: {"topic": field.stream.topic, "type": field.stream.type_name} for field in fields}
    return _Plan(FilePlan(name, schema, {}, {"fields": told}, [field.name for field in fields]), fields)


def _file_stems(stem: str, fields: Sequence[str]) -> list[str]:
    """``<stem>-<field>`` with what is safe in a file name anywhere, no two alike even where case is ignored."""
    used: set[str] = set()
    stems = []
    for field in fields:
        slug = re.sub(r"[^\w.-]+", "_", field)[:FILE_SLUG_CHARS]
        name, k = f"{stem}-{slug}", 1
        while name.casefold() in used:
            k += 1
            name = f"{stem}-{slug}_{k}"
        used.add(name.casefold())
        stems.append(name)
    return stems
