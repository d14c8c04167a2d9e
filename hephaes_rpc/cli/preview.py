"""``hephaes-rpc preview``: rows of the dataset that a spec makes of a log, without making it."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from hephaes_rpc.cli.convert import RunContext, Stop, stopping
from hephaes_rpc.cli.terminal import amount, display, printable, say, seconds
from hephaes_rpc.engine.authoring.authored import PreviewRequest, PreviewResult
from hephaes_rpc.errors import CancelledByClient

MAX_CELL = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``preview``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or the folder of a recording")
    parser.add_argument("--spec", metavar="FILE", required=True, help="a conversion spec, JSON or YAML; - is stdin")
    parser.add_argument("-n", "--rows", type=_count, metavar="N", default=5, help="how many rows (default: 5)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--row", type=_number, metavar="K", help="start with row K, counted from 0")
    start.add_argument("--offset", type=_seconds, metavar="S", help="start S seconds after the first row")
    start.add_argument("--at", type=int, metavar="NS", help="start with the first row at or after this time, ns")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def _count(text: str) -> int:
    if not _number(text):
        raise argparse.ArgumentTypeError("there must be one row at least")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Print the rows; exit code 1 where a record is bad or the writer refuses them."""
    from hephaes_rpc.engine.specs.document import load

    request = PreviewRequest(
        sample_n=arguments.rows, start_row=arguments.row, offset_s=arguments.offset, start_ns=arguments.at
    )
    document = load(sys.stdin.read() if arguments.spec == "-" else Path(arguments.spec))
    stop = Stop()
    with stopping(stop), display() as shown:
        from hephaes_rpc.engine.authoring.workbench import preview_log

        context = RunContext(Path(arguments.log).name, shown, stop)
        try:
            found = preview_log(arguments.log, document.spec, request, context, time.perf_counter).result
        except CancelledByClient:
            return 128 + stop.signal
    if arguments.json:
        from hephaes_rpc.serde import encode, unstructure

        print(encode(unstructure(found)).decode())
    else:
        print(_text(found))
        for warning in found.warnings:
            say(f"{arguments.log}: warning: {warning}")
    return 0 if found.preflight_ok else 1


def _text(found: PreviewResult) -> str:
    """The rows for people."""
    lines = [costs(found)]
    if found.dropped_count:
        lines.append(f"{found.dropped_count:,} rows are dropped")
    if found.label_summary is not None:
        label = found.label_summary
        lines.append(f"label {label['primary'] or 'label'}: {label['present_count']} of {found.checked_records} rows")
    width = max((len(name) for name in found.columns), default=0)
    for k, row in enumerate(found.rows, found.first_row):
        lines += ["", f"row {k} at {row.timestamp_ns} ns"]
        lines += [f"  {name:<{width}}  {cell(value)}" for name, value in row.field_data.items()]
    return "\n".join(printable(line) for line in lines)


def costs(found: PreviewResult) -> str:
    """What the whole conversion will come to, as a line."""
    estimate = found.estimate
    most = "" if estimate.rows_exact else "at most "
    took = "" if estimate.seconds is None else f", about {seconds(estimate.seconds)}"
    size = f"about {amount(estimate.size_bytes, 'bytes')} of {found.encoding.format}"
    return f"{most}{estimate.rows:,} rows, {size}, {amount(estimate.read_bytes, 'bytes')} to be read{took}"


def cell(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict) and set(value) == {"bytes", "sha256"}:
        return f"{value['bytes']:,} bytes"
    text = "-" if value is None else f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."
