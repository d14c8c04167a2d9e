"""One conversion from a log to published files: index, plan, decode, write, publish.

Strategy: the log is indexed, names are resolved, and each dataset becomes a table over the streams it needs.  One pass
over the chunks (``assembly``) yields batches of all tables; a single writer thread encodes them while the next chunk is
decoded, with at most one batch waiting, so that memory follows the batch size and the open row groups.  Datasets are
made under hidden names, counted again by reading, and published together at the end, manifests last.  With layout
``topics`` at most MAX_OPEN_FILES are written per pass over the log.  A chunk that turns out damaged or other than
indexed makes the log rebuild its index from what can be read; then everything starts again, once.
"""

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias

import pyarrow as pa
from attrs import frozen

from hephaes_rpc.engine.assembly import Assembly, Source, StreamCounts, TableTask
from hephaes_rpc.engine.decode import StreamDecoder
from hephaes_rpc.engine.logs import LogReader, Stream, open_log
from hephaes_rpc.engine.manifest import Dataset, MappedField, encode, file_metadata, manifest
from hephaes_rpc.engine.plan import auto_mapping, resolve, topic_table, wide_table
from hephaes_rpc.engine.publish import Publication, writing_to
from hephaes_rpc.engine.report import report
from hephaes_rpc.engine.rules import check_spec
from hephaes_rpc.engine.spec import TIMESTAMP, ConversionSpec, Decoding, Input, TFRecordOutput
from hephaes_rpc.engine.writers import FEATURES_SUFFIX, Writer, WriterResult, open_writer
from hephaes_rpc.errors import HephaesError, LogError

Phase: TypeAlias = Literal["index", "plan", "decode", "write", "publish"]
Unit: TypeAlias = Literal["bytes", "rows", "messages"]
Role: TypeAlias = Literal["dataset", "manifest", "report", "sidecar"]

MANIFEST_SUFFIX = ".manifest.json"
REPORT_SUFFIX = ".report.md"
MAX_OPEN_FILES = 256
MAX_PENDING_BYTES = 128 << 20
MAX_WAITING_BATCHES = 1
FILE_SLUG_CHARS = 100


@frozen(kw_only=True)
class ConvertTask:
    """A conversion as plain data.

    Args:
        log_path: The log.
        output_dir: Folder of the outputs; made if absent.
        episode_id: Name of the episode in the manifest.
        stem: Outputs are ``<stem>.<ext>``, or ``<stem>-<field>.<ext>`` with layout ``topics``.
        overwrite: Replace files that already have these names; without it they are refused (``output_exists``).
    """

    log_path: str
    spec: ConversionSpec
    output_dir: str
    episode_id: str
    stem: str
    overwrite: bool = False


class Context(Protocol):
    """What a conversion needs of its surroundings; called from the thread that called ``convert``."""

    @property
    def temp_tag(self) -> str:
        """Marks this attempt's temporary files ``.{name}.{temp_tag}.tmp``; safe in a file name."""
        ...

    def progress(self, phase: Phase, done: int, total: int, unit: Unit, message: str = "") -> None:
        """Told a few times per second at least; cheap."""
        ...

    def check(self) -> None:
        """Raises CancelledByClient when the work should stop."""
        ...


@frozen(kw_only=True)
class OutputFile:
    """A published file.

    Args:
        path: Absolute path.
        rows: Rows of a dataset, else 0.
        sha256: Of the whole file, hex.
    """

    path: str
    role: Role
    format: Literal["parquet", "tfrecord", "json", "md"]
    rows: int
    size_bytes: int
    sha256: str


@frozen(kw_only=True)
class ConvertResult:
    """Outputs in the order they were published (datasets, sidecars, reports, manifests) and what was counted.

    Args:
        counts: ``rows``, ``messages`` (of the mapped topics), ``decoded``, ``decode_failures``, ``collisions``,
            ``out_of_order``.
    """

    outputs: tuple[OutputFile, ...]
    counts: Mapping[str, int]
    warnings: tuple[str, ...]


def convert(task: ConvertTask, context: Context) -> ConvertResult:
    """Convert one log.  All errors are HephaesErrors; on any of them nothing is left under a final name."""
    check_spec(task.spec)
    _check_supported(task.spec)

    def indexed(done: int, total: int) -> None:
        context.check()
        context.progress("index", done, total, "bytes")

    with open_log(task.log_path, indexed) as log:
        indexed(log.summary.size_bytes, log.summary.size_bytes)
        try:
            return _Conversion(task, context, log).run()
        except _UnreadableError:
            log.rescan()
            try:
                return _Conversion(task, context, log).run()
            except _UnreadableError as again:
                raise again.reason from None


def _check_supported(spec: ConversionSpec) -> None:
    """Raise HephaesError for the parts of the language that are not built yet."""
    for name, asked in (
        ("row_strategy", spec.row_strategy is not None),
        ("input", spec.input != Input()),
        ("decoding", spec.decoding != Decoding()),
    ):
        if asked:
            raise HephaesError("unsupported", f"this version does not convert a spec with {name}")


class _UnreadableError(Exception):
    """A chunk could not be read as the index says."""

    def __init__(self, reason: LogError) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen(eq=False)
class _Plan:
    """A dataset to be made."""

    name: str
    fields: tuple[MappedField, ...]

    @property
    def stem(self) -> str:
        """Its name without what names the format."""
        return self.name.rpartition(".")[0]

    @property
    def schema(self) -> pa.Schema:
        """Row time, then its fields."""
        return pa.schema([(TIMESTAMP, pa.int64()), *((field.name, field.type) for field in self.fields)])


@frozen(eq=False)
class _Written:
    """A dataset whose file is complete, under its hidden name."""

    plan: _Plan
    result: WriterResult
    sha256: str


class _Lane:
    """Calls made one after the other in a thread of their own, at most MAX_WAITING_BATCHES waiting."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "hephaes-writer")
        self._pending: deque[Future[None]] = deque()

    def call(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have it called later; raises what an earlier call raised."""
        while len(self._pending) > MAX_WAITING_BATCHES:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(work, *arguments))

    def drain(self) -> None:
        """Wait for all calls."""
        while self._pending:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Conversion:
    """One attempt at a task."""

    def __init__(self, task: ConvertTask, context: Context, log: LogReader) -> None:
        self.task, self.context, self.log = task, context, log
        self.spec = task.spec
        self.folder = Path(task.output_dir)
        self.warnings = list(log.summary.warnings)
        self.counts: dict[int, StreamCounts] = {}

    def run(self) -> ConvertResult:
        """Plan, write and publish."""
        self.context.check()
        self.context.progress("plan", 0, 1, "messages")
        plans = self.plans(self.fields())
        with Publication(self.folder, self.context.temp_tag, overwrite=self.task.overwrite) as publication:
            publication.expect([name for plan in plans for name in self.names(plan)])
            self.context.progress("plan", 1, 1, "messages")
            groups = [plans[i : i + MAX_OPEN_FILES] for i in range(0, len(plans), MAX_OPEN_FILES)]
            written: list[_Written] = []
            for k, group in enumerate(groups):
                written += self.write(group, (k, len(groups)), publication)
            self.note_losses()
            return self.publish(written, publication)

    # Plan -------------------------------------------------------------------------------------------------------------

    def fields(self) -> list[MappedField]:
        """The columns, each with the stream it is taken from."""
        if self.spec.mapping is None:
            streams = self.decodable()
            mapping: Mapping[str, Sequence[str]] = auto_mapping(streams)
        else:
            streams, mapping = list(self.log.summary.streams), self.spec.mapping
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
        for stream in self.log.summary.streams:
            try:
                decoder_of(stream)
            except LogError as error:
                reasons.append(f"topic {stream.topic!r} is left out: {stream.undecodable or error.message}")
            else:
                streams.append(stream)
        if not streams and any(stream.message_count for stream in self.log.summary.streams):
            path = self.log.summary.path
            raise LogError("unsupported", f"{path}: no topic can be decoded; {reasons[0]}", path=path)
        self.warnings += reasons
        return streams

    def plans(self, fields: Sequence[MappedField]) -> list[_Plan]:
        """The datasets: one, or one per field."""
        extension = self.spec.output.format
        if self.spec.output.layout == "wide" or not fields:
            return [_Plan(f"{self.task.stem}.{extension}", tuple(fields))]
        stems = _file_stems(self.task.stem, [field.name for field in fields])
        return [_Plan(f"{stem}.{extension}", (field,)) for stem, field in zip(stems, fields, strict=True)]

    def names(self, plan: _Plan) -> Iterator[str]:
        """The files that will belong to a dataset, itself first."""
        yield plan.name
        if isinstance(self.spec.output, TFRecordOutput):
            yield plan.stem + FEATURES_SUFFIX
        if self.spec.has_manifest:
            yield plan.name + REPORT_SUFFIX
            yield plan.name + MANIFEST_SUFFIX

    # Write ------------------------------------------------------------------------------------------------------------

    def write(self, plans: Sequence[_Plan], turn: tuple[int, int], publication: Publication) -> list[_Written]:
        """Make the files of these datasets in one pass over the log, the ``turn[0]``-th of ``turn[1]``."""
        sources = self.sources(plans)
        tasks = [self.table(plan, sources) for plan in plans]
        writers: list[Writer] = []
        try:
            with writing_to(self.folder):
                for plan in plans:
                    metadata = file_metadata(self.spec, self.log.summary, plan.fields)
                    writers.append(open_writer(self.spec.output, plan.schema, publication.claim(plan.name), metadata))
            if sources:
                self.decode(Assembly(self.log, list(sources.values()), tasks), writers, turn)
            self.counts |= {key: source.finish() for key, source in sources.items()}
            return self.finish(plans, writers, [task.rows.n_rows for task in tasks], turn)
        finally:
            for writer in writers:
                writer.abandon()

    def sources(self, plans: Sequence[_Plan]) -> dict[int, Source]:
        """The streams of these datasets, by identity; each occurs once."""
        streams = {id(field.stream): field.stream for plan in plans for field in plan.fields}
        index = self.log.index(self.log.slots(list(streams.values())))
        return {
            key: Source(stream, decoder_of(stream), *index.slot(k)) for k, (key, stream) in enumerate(streams.items())
        }

    def table(self, plan: _Plan, sources: Mapping[int, Source]) -> TableTask:
        """The rows of a dataset."""
        position = {key: k for k, key in enumerate(sources)}
        columns = tuple(position[id(field.stream)] for field in plan.fields)
        times = [source.times for source in sources.values()]
        if self.spec.output.layout == "wide":
            return TableTask(wide_table(times, self.spec.resample), plan.schema, columns)
        rows = topic_table(columns[0], times[columns[0]]) if columns else wide_table([], None)
        return TableTask(rows, plan.schema, columns, drop_failed=True)

    def decode(self, assembly: Assembly, writers: Sequence[Writer], turn: tuple[int, int]) -> None:
        """Pump all batches into their writers."""

        def told(done: int, total: int) -> None:
            self.context.check()
            self.context.progress("decode", turn[0] * total + done, turn[1] * total, "bytes")

        with _Lane() as lane:
            batches = assembly.batches(told)
            while (item := _next(batches)) is not None:
                lane.call(self.take, writers, *item)
                self.context.check()
            lane.drain()

    def take(self, writers: Sequence[Writer], number: int, batch: pa.RecordBatch) -> None:
        """Give a batch to its writer; large holders write when all together hold too much."""
        with writing_to(self.folder):
            writers[number].write(batch)
            held = sum(writer.pending_bytes for writer in writers)
            if held > MAX_PENDING_BYTES:
                for writer in sorted(writers, key=lambda writer: -writer.pending_bytes):
                    held -= writer.pending_bytes
                    writer.flush()
                    held += writer.pending_bytes
                    if held <= MAX_PENDING_BYTES // 2:
                        break

    def finish(
        self, plans: Sequence[_Plan], writers: Sequence[Writer], rows: Sequence[int], turn: tuple[int, int]
    ) -> list[_Written]:
        """Complete the files of at most ``rows`` rows and count their rows again."""
        written = []
        done, total = turn[0] * sum(rows), turn[1] * sum(rows)

        def told(_: int) -> None:
            self.context.check()
            self.context.progress("write", done, total, "rows", plan.name)

        for plan, writer, most in zip(plans, writers, rows, strict=True):
            with writing_to(self.folder):
                result = writer.finish()
                found = writer.read_back(told)
            if found.rows != result.rows:
                text = f"{self.folder / plan.name}: {result.rows} rows were written and {found.rows} can be read"
                raise HephaesError("io_error", text)
            written.append(_Written(plan, result, found.sha256))
            done += most
            self.context.progress("write", done, total, "rows", plan.name)
        return written

    def note_losses(self) -> None:
        """Warn of what could not be decoded as it is."""
        streams = {id(stream): stream for stream in self.log.summary.streams}
        for key, counts in self.counts.items():
            topic = streams[key].topic
            if counts.decode_failures:
                first = counts.failures[0]
                self.warnings.append(
                    f"topic {topic!r}: {counts.decode_failures} of {counts.messages} messages could not be decoded, "
                    f"the first at {first.log_time_ns} ns: {first.status}"
                )
            if counts.replaced_strings:
                self.warnings.append(
                    f"topic {topic!r}: {counts.replaced_strings} strings are not UTF-8; U+FFFD stands for what is not"
                )

    # Publish ----------------------------------------------------------------------------------------------------------

    def publish(self, written: Sequence[_Written], publication: Publication) -> ConvertResult:
        """Put what describes the datasets beside them and give all files their names."""
        outputs: list[OutputFile] = []
        folder = self.folder.absolute()

        def put(name: str, content: bytes, role: Role, kind: Literal["json", "md"]) -> None:
            publication.put(name, content)
            digest = hashlib.sha256(content).hexdigest()
            outputs.append(
                OutputFile(
                    path=str(folder / name), role=role, format=kind, rows=0, size_bytes=len(content), sha256=digest
                )
            )

        datasets = []
        done, total = 0, sum(publication.size(one.plan.name) for one in written)
        for one in written:
            self.context.check()
            self.context.progress("publish", done, total, "bytes", one.plan.name)
            dataset = self.dataset(one, publication)
            done += dataset.size_bytes
            datasets.append(dataset)
            outputs.append(
                OutputFile(
                    path=str(folder / dataset.name),
                    role="dataset",
                    format=self.spec.output.format,
                    rows=dataset.rows,
                    size_bytes=dataset.size_bytes,
                    sha256=dataset.sha256,
                )
            )
        for one in written:
            for suffix, content in one.result.sidecars.items():
                put(one.plan.stem + suffix, content, "sidecar", "json")
        if self.spec.has_manifest:
            manifests = [manifest(self.task.episode_id, self.spec, self.log.summary, d) for d in datasets]
            for made in manifests:
                put(made["dataset"]["path"] + REPORT_SUFFIX, report(made, self.warnings), "report", "md")
            for made in manifests:
                put(made["dataset"]["path"] + MANIFEST_SUFFIX, encode(made), "manifest", "json")
        self.context.check()
        publication.commit()
        self.context.progress("publish", done, total, "bytes")
        return ConvertResult(outputs=tuple(outputs), counts=self.totals(written), warnings=tuple(self.warnings))

    def dataset(self, one: _Written, publication: Publication) -> Dataset:
        """A finished file as its manifest tells it."""
        return Dataset(
            name=one.plan.name,
            schema=one.plan.schema,
            rows=one.result.rows,
            size_bytes=publication.size(one.plan.name),
            sha256=one.sha256,
            fields=one.plan.fields,
            topics=[self.counts[id(field.stream)] for field in one.plan.fields],
            counts=one.result.counts,
            sidecars=[one.plan.stem + suffix for suffix in one.result.sidecars],
        )

    def totals(self, written: Sequence[_Written]) -> dict[str, int]:
        """The counts of the result."""
        names = ("messages", "decoded", "decode_failures", "collisions", "out_of_order")
        sums = {name: sum(getattr(counts, name) for counts in self.counts.values()) for name in names}
        return {"rows": sum(one.result.rows for one in written), **sums}


def decoder_of(stream: Stream) -> StreamDecoder:
    """A decoder of a stream; LogError where there can be none."""
    return StreamDecoder(stream.definition, stream.wire)


def _next(batches: Iterator[tuple[int, pa.RecordBatch]]) -> tuple[int, pa.RecordBatch] | None:
    try:
        return next(batches, None)
    except LogError as error:
        raise _UnreadableError(error) from error


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
