"""``hephaes-rpc salvage``: what can be read of a log, as a new MCAP file; the log itself is never touched."""

import argparse
import json
import os
import sys
from pathlib import Path

from attrs import asdict

from hephaes_rpc.cli.terminal import amount, display, printable
from hephaes_rpc.engine.logs.opening import open_log
from hephaes_rpc.errors import HephaesError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``salvage``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or a recording's folder")
    parser.add_argument("-o", "--output", metavar="NEW.mcap", required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there, never the log")
    parser.add_argument("--json", action="store_true", help="print what was lost as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, read it back, say what was lost."""
    from hephaes_rpc.engine.datasets.publish import Publication, writing_to
    from hephaes_rpc.engine.logs.salvage import salvage

    target = Path(arguments.output).absolute()
    with display() as shown, open_log(arguments.log, lambda d, t: shown.update("index", "index", d, t, "bytes")) as log:
        if any(_same(target, Path(path)) for path in log.summary.files):
            raise HephaesError("output_exists", f"{target} is the log itself; it is never written", path=str(target))
        with Publication(target.parent, f"salvage-{os.getpid()}", overwrite=arguments.overwrite) as publication:
            path = publication.claim(target.name)
            with writing_to(target.parent):
                done = salvage(log, path, lambda d, t: shown.update(target.name, "write", d, t, "chunks"))
            size_bytes = publication.size(target.name)
            publication.commit()
    summary = done.summary
    if arguments.json:
        document = {
            "path": str(target),
            "size_bytes": size_bytes,
            "messages_written": done.messages,
            "attachments_written": done.attachments,
            "metadata_written": done.metadata,
            "left_out": done.left_out,
            "outcome": summary.outcome,
            "recovered": summary.recovered,
            "reason": summary.reason,
            "lost_ranges": [asdict(lost) for lost in summary.lost_ranges],
            "gaps": summary.gaps,
            "warnings": summary.warnings,
        }
        json.dump(document, sys.stdout, indent=2)
        print()
        return 0
    print(printable(f"{done.messages:,} messages in {target} ({amount(size_bytes, 'bytes')}), read back"))
    if done.attachments or done.metadata:
        print(f"{done.attachments:,} attachments and {done.metadata:,} metadata records beside them")
    for gap in [*summary.gaps, *done.left_out]:
        print(printable(f"lost  {gap}"))
    if not summary.gaps and not done.left_out:
        print("nothing is missing of the log")
    return 0


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
