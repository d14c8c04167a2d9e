"""``hephaes-rpc convert``: the pipeline of the sidecar's workers, run in this process with a progress bar."""

import argparse
import importlib
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from attrs import evolve, frozen

from hephaes_rpc.cli.terminal import Display, display, seconds
from hephaes_rpc.engine.specs.names import check_logs
from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.specs.spec import (
    ConversionSpec,
    Layout,
    ParquetCompression,
    ResampleMethod,
    TFRecordCompression,
)
from hephaes_rpc.errors import CancelledByClient, ParamsError, SpecError
from hephaes_rpc.imports import importing

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts
    from hephaes_rpc.engine.task import ConvertTask

_OUTPUT_OPTIONS = ("compression", "layout", "row_group_rows", "payload_encoding")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``convert``."""
    parser.add_argument("-o", "--output-dir", metavar="DIR", required=True, help="where the files go; made if absent")
    parser.add_argument("--overwrite", action="store_true", help="replace files that have the names of outputs")
    add_spec_arguments(parser)


def add_spec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says which logs become what."""
    compressions = dict.fromkeys((*get_args(ParquetCompression), *get_args(TFRecordCompression)))
    parser.add_argument(
        "logs",
        metavar="LOG",
        nargs="*",
        help=".bag, .mcap and .db3 files, folders of recordings (default: input.paths of the spec)",
    )
    parser.add_argument("--spec", metavar="FILE", help="a conversion spec, JSON or YAML, instead of the options below")
    parser.add_argument("--scripts", metavar="DIR", help="run the computations of the spec from scripts in this folder")
    parser.add_argument("--format", choices=("parquet", "tfrecord"), help="default: parquet")
    parser.add_argument("--compression", choices=tuple(compressions), help="default: none")
    parser.add_argument(
        "--layout", choices=get_args(Layout), help="wide: one table (default); topics: one file per topic"
    )
    parser.add_argument("--resample-hz", type=float, metavar="HZ", help="rows on a regular grid")
    parser.add_argument("--method", choices=get_args(ResampleMethod), help="of resampling (default: downsample)")
    parser.add_argument("--topic", action="append", metavar="NAME", help="only this topic; may be repeated")
    parser.add_argument("--row-group-rows", type=int, metavar="N", help="rows per Parquet row group")
    parser.add_argument(
        "--payload-encoding", choices=("typed", "json"), help="Parquet: typed columns (default), or JSON text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert the logs one after the other; prints the path of every file."""
    return convert_all(asked_for(arguments), Path(arguments.output_dir), overwrite=arguments.overwrite)


def convert_all(conversion: "Asked", folder: Path, *, overwrite: bool) -> int:
    """Convert logs into a folder, with progress; the exit code."""
    stop = Stop()
    with stopping(stop), _no_empty_folder(folder), ready_display() as shown:
        from hephaes_rpc.engine.pipeline import convert

        for log, task in conversion.tasks(folder, overwrite=overwrite):
            began = time.monotonic()
            try:
                result = convert(task, RunContext(Path(log).name, shown, stop))
            except CancelledByClient:
                shown.line(f"{log}: stopped, nothing of it was written")
                return 128 + stop.signal
            for warning in result.warnings:
                shown.line(f"{log}: warning: {warning}")
            took = seconds(time.monotonic() - began)
            shown.line(f"{log}: {result.counts['rows']:,} rows of {result.counts['messages']:,} messages in {took}")
            for output in result.outputs:
                print(output.path, flush=True)
    return 0


def ready_display() -> AbstractContextManager[Display]:
    """A display that counts time from when the engine is loaded."""
    with importing():
        importlib.import_module("hephaes_rpc.engine.pipeline")
    return display()


@frozen
class Asked:
    """Logs and what is to become of them."""

    logs: Sequence[str]
    spec: ConversionSpec
    metadata: Mapping[str, Any]
    scripts: "Scripts | None" = None

    def tasks(self, folder: Path, *, overwrite: bool) -> Iterator[tuple[str, "ConvertTask"]]:
        """A task per log."""
        from hephaes_rpc.engine.pipeline import ConvertTask

        for number, (log, stem) in enumerate(zip(self.logs, _stems(self.logs), strict=True), 1):
            yield (
                log,
                ConvertTask(
                    log_path=log,
                    spec=self.spec,
                    output_dir=str(folder),
                    episode_id=f"episode_{number:04}",
                    stem=stem,
                    overwrite=overwrite,
                    metadata=self.metadata,
                    scripts=self.scripts,
                ),
            )


def asked_for(arguments: argparse.Namespace) -> Asked:
    """What the command line asks for; raises SpecError, and HephaesError for paths."""
    if arguments.spec is None:
        if arguments.scripts is not None:
            raise SpecError("--scripts needs --spec: only computations of a spec run scripts")
        if not arguments.logs:
            raise SpecError("no LOG is given, and no --spec whose input.paths names some")
        return Asked(arguments.logs, _spec(arguments), {})
    for name in ("format", *_OUTPUT_OPTIONS, "resample_hz", "method", "topic"):
        if getattr(arguments, name) is not None:
            raise SpecError(f"--{name.replace('_', '-')} cannot be given together with --spec; say it in the spec")
    from hephaes_rpc.engine.specs.document import load

    document = load(Path(arguments.spec))
    spec, logs = document.spec, arguments.logs
    if logs and spec.input.paths:
        raise SpecError("input.paths has no effect: the command line names the logs")
    if not logs and not spec.input.paths:
        raise SpecError("no LOG is given, and the spec has no input.paths")
    if spec.input.paths:
        from hephaes_rpc.cli.logpaths import logs_of

        logs = logs_of(spec.input)
        spec = evolve(spec, input=evolve(spec.input, paths=[], recursive=False))
    check_logs(spec, len(logs))
    return Asked(logs, spec, document.metadata, _scripts(spec, arguments.scripts))


def _scripts(spec: ConversionSpec, folder: str | None) -> "Scripts | None":
    """The folder whose scripts may run; raises SpecError where the spec needs one, or none."""
    if not spec.computations:
        if folder is not None:
            raise SpecError("--scripts has no effect: the spec has no computations")
        return None
    if folder is None:
        raise SpecError("the spec has computations: say by --scripts DIR that scripts of that folder may run")
    from hephaes_rpc.engine.computations.scripts import Scripts

    return Scripts(str(Path(folder).absolute()))


def _spec(arguments: argparse.Namespace) -> ConversionSpec:
    """The spec that the options ask for."""
    from hephaes_rpc.serde import structure

    output: dict[str, Any] = {"format": arguments.format or "parquet"}
    for name in _OUTPUT_OPTIONS:
        if (value := getattr(arguments, name)) is not None:
            output[name] = value
    raw: dict[str, Any] = {"output": output}
    if arguments.resample_hz is not None:
        raw["resample"] = {"freq_hz": arguments.resample_hz, "method": arguments.method or "downsample"}
    elif arguments.method is not None:
        raise SpecError("--method needs --resample-hz")
    if arguments.topic:
        raw["mapping"] = _mapping(arguments.topic)
    try:
        spec = structure(raw, ConversionSpec)
    except ParamsError as error:
        first = error.errors[0]
        raise SpecError(f"{_option(first['path'])}: {first['message']}") from None
    check_spec(spec)
    return spec


def _option(path: str) -> str:
    """The option that a path of the spec comes from."""
    name = path.rpartition(".")[2]
    return "--resample-hz" if name == "freq_hz" else f"--{name.replace('_', '-')}"


@frozen
class _Topic:
    topic: str
    type_name: str = ""


def _mapping(topics: list[str]) -> dict[str, list[str]]:
    from hephaes_rpc.engine.timeline.plan import auto_mapping

    return auto_mapping([_Topic(topic) for topic in dict.fromkeys(topics)])


def _stems(logs: Sequence[str]) -> list[str]:
    """Names of the outputs: those of the logs, numbered from 2 where several logs share one."""
    stems: list[str] = []
    for log in logs:
        stem = name = re.sub(r"\.(bag|mcap)$", "", Path(log).name, flags=re.IGNORECASE) or "log"
        k = 1
        while name in stems:
            k += 1
            name = f"{stem}-{k}"
        stems.append(name)
    return stems


class Stop:
    """Set by the first SIGINT or SIGTERM; the second one interrupts at once."""

    signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Have the signals that stop a program set ``stop`` instead."""
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Remove ``folder`` afterwards if it was made meanwhile and holds nothing."""
    missing = not folder.exists()
    try:
        yield
    finally:
        if missing:
            with suppress(OSError):
                folder.rmdir()


class RunContext(NamedTuple):
    """What the pipeline sees of the command line."""

    name: str
    display: Display
    stop: Stop

    @property
    def temp_tag(self) -> str:
        return f"cli-{os.getpid()}"

    def progress(self, phase: str, done: int, total: int, unit: str, message: str = "") -> None:
        del message
        self.display.update(self.name, phase, done, total, unit)

    def check(self) -> None:
        if self.stop.signal:
            raise CancelledByClient()
