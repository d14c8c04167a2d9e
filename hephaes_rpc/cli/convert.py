"""``hephaes-rpc convert``: the pipeline of the sidecar's workers, run in this process with a progress bar."""

import argparse
import gc
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, get_args

from attrs import frozen

from hephaes_rpc.cli.terminal import Display, display, seconds
from hephaes_rpc.engine.rules import check_spec
from hephaes_rpc.engine.spec import (
    ConversionSpec,
    Layout,
    ParquetCompression,
    ResampleMethod,
    TFRecordCompression,
)
from hephaes_rpc.errors import CancelledByClient, ParamsError, SpecError

_OUTPUT_OPTIONS = ("compression", "layout", "row_group_rows", "payload_encoding")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``convert``."""
    compressions = dict.fromkeys((*get_args(ParquetCompression), *get_args(TFRecordCompression)))
    parser.add_argument("logs", metavar="LOG", nargs="+", help=".bag or .mcap files")
    parser.add_argument("-o", "--output-dir", metavar="DIR", required=True, help="where the files go; made if absent")
    parser.add_argument("--format", choices=("parquet", "tfrecord"), default="parquet")
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
    parser.add_argument("--overwrite", action="store_true", help="replace files that have the names of outputs")


def run(arguments: argparse.Namespace) -> int:
    """Convert the logs one after the other; prints the path of every file."""
    spec = _spec(arguments)
    stop = _Stop()
    folder = Path(arguments.output_dir)
    with _stopping(stop), _no_empty_folder(folder), display() as shown:
        from hephaes_rpc.engine.pipeline import ConvertTask, convert

        gc.freeze()
        for number, (log, stem) in enumerate(zip(arguments.logs, _stems(arguments.logs), strict=True), 1):
            task = ConvertTask(
                log_path=log,
                spec=spec,
                output_dir=str(folder),
                episode_id=f"episode_{number:04}",
                stem=stem,
                overwrite=arguments.overwrite,
            )
            began = time.monotonic()
            try:
                result = convert(task, _Context(Path(log).name, shown, stop))
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


def _spec(arguments: argparse.Namespace) -> ConversionSpec:
    """The spec that the options ask for."""
    from hephaes_rpc.serde import structure

    output: dict[str, Any] = {"format": arguments.format}
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
    from hephaes_rpc.engine.plan import auto_mapping

    return auto_mapping([_Topic(topic) for topic in dict.fromkeys(topics)])


def _stems(logs: list[str]) -> list[str]:
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


class _Stop:
    """Set by the first SIGINT or SIGTERM; the second one interrupts at once."""

    signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def _stopping(stop: _Stop) -> Iterator[None]:
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


class _Context(NamedTuple):
    """What the pipeline sees of the command line."""

    name: str
    display: Display
    stop: _Stop

    @property
    def temp_tag(self) -> str:
        return f"cli-{os.getpid()}"

    def progress(self, phase: str, done: int, total: int, unit: str, message: str = "") -> None:
        del message
        self.display.update(self.name, phase, done, total, unit)

    def check(self) -> None:
        if self.stop.signal:
            raise CancelledByClient()
