"""Dataset files in the making: a writer thread, hidden names, counted again by reading, published together.

Strategy: batches go to a thread that encodes and writes them while the next ones are decoded, with few waiting, so that
memory follows the batch size and the open row groups.  Files are made under hidden names, completed two at a time,
their rows counted and hashed by reading them back, and given their names together, manifests last.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from attrs import frozen

from hephaes_rpc.engine.datasets.manifest import Dataset, Run, encode, file_metadata, manifest
from hephaes_rpc.engine.datasets.publish import Publication, writing_to
from hephaes_rpc.engine.datasets.report import report
from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.datasets.writers.base import FEATURES_SUFFIX, SNIPPET_SUFFIX, ColumnRole, Writer, WriterResult
from hephaes_rpc.engine.logs import LogSummary
from hephaes_rpc.engine.specs.spec import ConversionSpec, TFRecordOutput
from hephaes_rpc.engine.task import Context, ConvertTask, Format, OutputFile, Role
from hephaes_rpc.errors import HephaesError

MANIFEST_SUFFIX = ".manifest.json"
REPORT_SUFFIX = ".report.md"
MAX_PENDING_BYTES = 40 << 20
WRITERS = 2
TELL_S = 0.1
_FORMATS: dict[str, Format] = {".json": "json", ".py": "py", ".md": "md"}


@frozen(eq=False)
class FilePlan:
    """A dataset file to be made.

    Args:
        roles: By column.
        source: Told inside the file: where its columns come from.
        place: Its split part, shard and number of shards; None for a file of whole messages.
    """

    name: str
    schema: pa.Schema
    roles: Mapping[str, ColumnRole]
    source: Mapping[str, Any]
    columns: Sequence[str]
    place: tuple[str, int, int] | None = None

    @property
    def stem(self) -> str:
        """Its name without what names the format."""
        stem, dot, _ = self.name.rpartition(".")
        return stem if dot else self.name


@frozen(eq=False)
class Written:
    """A dataset whose file is complete, under its hidden name."""

    plan: FilePlan
    result: WriterResult
    sha256: str


def all_names(spec: ConversionSpec, plan: FilePlan) -> Iterator[str]:
    """The files that will belong to a dataset, itself first."""
    yield plan.name
    if isinstance(spec.output, TFRecordOutput):
        yield plan.stem + FEATURES_SUFFIX
        yield plan.stem + SNIPPET_SUFFIX
    if spec.has_manifest:
        yield plan.name + REPORT_SUFFIX
        yield plan.name + MANIFEST_SUFFIX


class Datasets:
    """The dataset files of one conversion."""

    def __init__(self, task: ConvertTask, context: Context, publication: Publication) -> None:
        self.task, self.context, self._publication = task, context, publication
        self.spec = task.spec
        self.folder = Path(task.output_dir)
        self.written: list[Written] = []

    def completed(self, plan: FilePlan) -> None:
        """A file is as it will be; any thread."""
        self._publication.sync_soon(plan.name)

    @contextmanager
    def open(self, plans: Sequence[FilePlan], summary: LogSummary) -> Iterator["Opened"]:
        """Writers of files; those that are not finished at the end are abandoned."""
        writers: list[Writer] = []
        pool = ThreadPoolExecutor(WRITERS, "hephaes-files")
        try:
            with writing_to(self.folder):
                for plan in plans:
                    path = self._publication.claim(plan.name)
                    metadata = file_metadata(self.spec, summary, plan.source)
                    writers.append(open_writer(self.spec.output, plan.schema, path, metadata, plan.roles))
            yield Opened(self, plans, writers, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for writer in writers:
                writer.abandon()

    def publish(self, run: Run, warnings: Sequence[str]) -> tuple[OutputFile, ...]:
        """Put what describes the datasets beside them and give all files their names."""
        outputs: list[OutputFile] = []
        datasets = []
        done, total = 0, sum(self._publication.size(one.plan.name) for one in self.written)
        for one in self.written:
            self.context.check()
            self.context.progress("publish", done, total, "bytes", one.plan.name)
            dataset = self._dataset(one)
            done += dataset.size_bytes
            datasets.append(dataset)
            outputs.append(
                self._output(
                    dataset.name, "dataset", self.spec.output.format, dataset.rows, dataset.size_bytes, dataset.sha256
                )
            )
        described: list[tuple[str, bytes, Role]] = [
            (one.plan.stem + suffix, content, "sidecar")
            for one in self.written
            for suffix, content in one.result.sidecars.items()
        ]
        if self.spec.has_manifest:
            manifests = [manifest(self.task, run, dataset) for dataset in datasets]
            described += [(m["dataset"]["path"] + REPORT_SUFFIX, report(m, warnings), "report") for m in manifests]
            described += [(m["dataset"]["path"] + MANIFEST_SUFFIX, encode(m), "manifest") for m in manifests]
        for name, content, role in described:
            self._publication.put(name, content)
            format_ = _FORMATS[Path(name).suffix]
            digest = hashlib.sha256(content).hexdigest()
            outputs.append(self._output(name, role, format_, 0, len(content), digest))
        self.context.check()
        self._publication.commit()
        self.context.progress("publish", done, total, "bytes")
        return tuple(outputs)

    def _output(self, name: str, role: Role, format_: Format, rows: int, size: int, sha256: str) -> OutputFile:
        path = str(self.folder.absolute() / name)
        return OutputFile(path=path, role=role, format=format_, rows=rows, size_bytes=size, sha256=sha256)

    def _dataset(self, one: Written) -> Dataset:
        """A finished file as its manifest tells it."""
        return Dataset(
            name=one.plan.name,
            schema=one.plan.schema,
            columns=one.plan.columns,
            rows=one.result.rows,
            size_bytes=self._publication.size(one.plan.name),
            sha256=one.sha256,
            counts=one.result.counts,
            sidecars=[one.plan.stem + suffix for suffix in one.result.sidecars],
            place=one.plan.place,
        )


class Opened:
    """Files that take batches."""

    def __init__(
        self, datasets: Datasets, plans: Sequence[FilePlan], writers: Sequence[Writer], pool: ThreadPoolExecutor
    ) -> None:
        self._datasets, self._plans, self._writers, self._pool = datasets, plans, writers, pool
        self._given_up = False

    def take(self, number: int, batch: pa.RecordBatch) -> None:
        """Give a batch to its writer; large holders write, side by side, when all together hold too much."""
        with writing_to(self._datasets.folder):
            self._writers[number].write(batch)
            held = sum(writer.pending_bytes for writer in self._writers)
            if held <= MAX_PENDING_BYTES:
                return
            chosen: list[Writer] = []
            for writer in sorted(self._writers, key=lambda writer: -writer.pending_bytes):
                if held <= MAX_PENDING_BYTES // 2:
                    break
                held -= writer.pending_bytes
                chosen.append(writer)
            for flushed in [self._pool.submit(writer.flush) for writer in chosen]:
                flushed.result()

    def finish(self, rows: Sequence[int], turn: tuple[int, int] = (0, 1)) -> None:
        """Complete the files, of at most ``rows`` rows, and count these again; turn ``turn[0]`` of ``turn[1]``."""
        context = self._datasets.context
        done, total = turn[0] * sum(rows), turn[1] * sum(rows)
        try:
            largest = sorted(zip(self._plans, self._writers, strict=True), key=lambda file: -file[1].pending_bytes)
            ending = {id(plan): self._pool.submit(self._completed, plan, writer) for plan, writer in largest}
            for plan, most in zip(self._plans, rows, strict=True):
                end = ending[id(plan)]
                while not wait([end], TELL_S).done:
                    context.check()
                    context.progress("write", done, total, "rows", plan.name)
                self._datasets.written.append(end.result())
                context.check()
                done += most
                context.progress("write", done, total, "rows", plan.name)
        except BaseException:
            self._given_up = True
            raise

    def _completed(self, plan: FilePlan, writer: Writer) -> Written:
        """Complete one file and count its rows; in a thread, which does not ask whether to go on, but is told."""

        def told(_: int) -> None:
            if self._given_up:
                raise CancelledError

        folder = self._datasets.folder
        with writing_to(folder):
            result = writer.finish()
            found = writer.read_back(told)
        if found.rows != result.rows:
            text = f"{folder / plan.name}: {result.rows} rows were written and {found.rows} can be read"
            raise HephaesError("io_error", text)
        self._datasets.completed(plan)
        return Written(plan, result, found.sha256)


def told_by(context: Context, turn: tuple[int, int] = (0, 1)) -> Callable[[int, int], None]:
    """Tells the progress of the ``turn[0]``-th of ``turn[1]`` passes over the log, and checks."""

    def told(done: int, total: int) -> None:
        context.check()
        context.progress("decode", turn[0] * total + done, turn[1] * total, "bytes")

    return told


def wanted(plans: Iterable[FilePlan], only: Sequence[str] | None) -> list[FilePlan]:
    """The files that a task asks for; HephaesError for a name that no file has."""
    found = list(plans)
    if only is None:
        return found
    names = [plan.name for plan in found]
    for name in only:
        if name not in names:
            raise HephaesError("invalid_spec", f"the spec makes no file {name!r} of this log; it makes {names}")
    return [plan for plan in found if plan.name in only]
