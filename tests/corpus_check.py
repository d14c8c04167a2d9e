"""Every log that rosbags reads whole: indexed, converted in both formats and layouts, compared value by value.

    python -m tests.corpus_check [--shared DIR] [NAME ...]

One line per log (NAMEs choose those whose path contains one of them), a summary, exit code 1 on any difference.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
import traceback
from contextlib import nullcontext
from pathlib import Path

from attrs import frozen

from hephaes_rpc.engine.logs import open_log
from tests.corpus import check_log, read_with_rosbags
from tests.tensorflow_client import TensorFlow, installed

_ROW = re.compile(
    r"\| (?P<path>\S+\.(?:bag|mcap)) \| \S+ \| \d+ \| (?P<sha256>[0-9a-f]{16}) \|.*\brosbags all (?P<count>\d+)"
)


@frozen
class Log:
    """A log of the corpus and the messages that rosbags counts in it."""

    path: Path
    count: int


def whole_logs(corpus: Path) -> list[Log]:
    """The .bag and .mcap files of which the manifest says that rosbags reads everything."""
    by_hash: dict[str, Path] = {}
    for path in sorted(corpus.rglob("*")):
        if path.suffix in (".bag", ".mcap") and path.is_file():
            by_hash.setdefault(hashlib.sha256(path.read_bytes()).hexdigest()[:16], path)
    found = (_ROW.match(line) for line in (corpus / "MANIFEST.md").read_text(encoding="utf-8").splitlines())
    return [Log(by_hash[row["sha256"]], int(row["count"])) for row in found if row]


def check(log: Log, tf: TensorFlow | None) -> list[str]:
    """What is wrong with our reading of a log."""
    messages = read_with_rosbags(log.path)
    with open_log(log.path) as opened:
        indexed = opened.summary.message_count
    counted = sum(len(m.values) for m in messages.values())
    if not indexed == counted == log.count:
        return [f"{indexed} messages indexed, {counted} read by rosbags, {log.count} in the manifest"]
    with tempfile.TemporaryDirectory() as folder:
        return check_log(log.path, messages, Path(folder), tf)


def main() -> int:
    """Check all logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("HEPHAES_SHARED", Path(__file__).parents[2] / "shared")
    parser.add_argument("--shared", type=Path, default=Path(default), help="folder that holds corpus/")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    corpus: Path = arguments.shared / "corpus"
    logs = [
        log
        for log in whole_logs(corpus)
        if not arguments.names or any(name in str(log.path) for name in arguments.names)
    ]
    bad = messages = 0
    with TensorFlow() if installed() else nullcontext() as tf:
        for log in logs:
            try:
                problems = check(log, tf)
            except Exception:
                problems = [traceback.format_exc()]
            bad += bool(problems)
            messages += log.count
            verdict = "ok  " if not problems else "FAIL"
            print(f"{verdict} {log.count:>6} {log.path.relative_to(corpus)}", *problems[:5], sep="\n    ", flush=True)
    read = "TensorFlow and pyarrow" if installed() else "pyarrow only: tensorflow is not installed"
    print(f"{len(logs) - bad} of {len(logs)} logs equal ({messages} messages; read back with {read})")
    return 1 if bad or not logs else 0


if __name__ == "__main__":
    sys.exit(main())
