"""``hephaes-rpc report``: a log as one HTML page that opens without network."""

import argparse
from pathlib import Path

from hephaes_rpc.cli.convert import RunContext, Stop, stopping
from hephaes_rpc.cli.terminal import amount, display, printable
from hephaes_rpc.errors import CancelledByClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``report``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or the folder of a recording")
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True, help="the page to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the page if it is there, never the log")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every message for what is wrong with it, as check does (default); else from the index alone",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    stop = Stop()
    with stopping(stop), display() as shown:
        from hephaes_rpc.engine.logreport.report import write_report

        context = RunContext(Path(arguments.log).name, shown, stop)
        try:
            made = write_report(
                arguments.log,
                Path(arguments.output),
                context,
                overwrite=arguments.overwrite,
                quality="messages" if arguments.check else "index",
            )
        except CancelledByClient:
            return 128 + stop.signal
    print(printable(f"{made.path} ({amount(made.size_bytes, 'bytes')})"))
    return 0
