"""``hephaes-rpc plan``: what a conversion would write, from the index and the first rows of each log."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from hephaes_rpc.cli.convert import RunContext, Stop, add_spec_arguments, asked_for, ready_display, stopping
from hephaes_rpc.errors import CancelledByClient

if TYPE_CHECKING:
    from hephaes_rpc.engine.datasets.outline import Outline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``plan``."""
    parser.add_argument("--json", action="store_true", help="print JSON, a line per log")
    add_spec_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan of each log."""
    conversion = asked_for(arguments)
    stop = Stop()
    with stopping(stop), ready_display() as shown:
        from hephaes_rpc.engine.pipeline import outline

        for log, task in conversion.tasks(Path(), overwrite=False):
            try:
                found = outline(task, RunContext(Path(log).name, shown, stop))
            except CancelledByClient:
                shown.line(f"{log}: stopped")
                return 128 + stop.signal
            print(_json(log, found) if arguments.json else _text(log, found), flush=True)
    return 0


def _json(log: str, found: "Outline") -> str:
    import orjson

    return orjson.dumps({"log": log, "size_bytes": found.size_bytes, **attrs.asdict(found)}).decode()


def _text(log: str, found: "Outline") -> str:
    """The plan for people."""
    at_most = "" if found.exact else "at most "
    lines = [
        f"{log}: {at_most}{found.rows:,} rows, about {found.size_bytes:,} bytes in {len(found.files)} files; "
        f"{found.read_bytes:,} bytes of the log are read",
        *(f"  {file.name}: {file.rows:,} rows, about {file.size_bytes:,} bytes" for file in found.files),
        *(f"  {column.name}: {column.type}" for column in found.columns),
        *(f"  gate {'passed' if gate.passed else 'FAILED'}: {gate.message}" for gate in found.gates),
        *(f"  warning: {warning}" for warning in found.warnings),
    ]
    return "\n".join(lines)
