"""Every log of the corpus: opened with the messages its manifest counts, or refused for the reason it gives.

What rosbags reads whole is converted in both formats and layouts, and compared value by value.

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
from hephaes_rpc.errors import HephaesError
from tests.corpus import check_log, read_with_rosbags
from tests.tensorflow_client import TensorFlow, installed

_ROW = re.compile(
    r"\| (?P<path>\S+) \| \S+ \| \d+ \| (?P<sha256>[0-9a-f]{16}) \| (?P<format>[^|]*) \| [^|]* \| (?P<content>[^|]*) \|"
    r" (?P<readers>.*) \|"
)
_SUFFIXES = (".bag", ".mcap", ".db3", ".zstd")
_REFUSALS = {"not a log": "is empty", "git-lfs pointer": "Git LFS pointer"}


@frozen
class Log:
    """A log of the corpus.

    Args:
        count: Messages that the manifest counts in it.
        refused: What the refusal must say, or None.
        whole: Whether rosbags reads all of them, and from which path.
    """

    path: Path
    count: int
    refused: str | None
    whole: Path | None


def logs_of(corpus: Path) -> list[Log]:
    """All files that the manifest lists."""
    by_hash: dict[str, Path] = {}
    for path in sorted(corpus.rglob("*")):
        if path.suffix in _SUFFIXES and path.is_file():
            by_hash.setdefault(hashlib.sha256(path.read_bytes()).hexdigest()[:16], path)
    found = (_ROW.match(line) for line in (corpus / "MANIFEST.md").read_text(encoding="utf-8").splitlines())
    return [_log(by_hash[row["sha256"]], row) for row in found if row]


def _log(path: Path, row: re.Match[str]) -> Log:
    counted = re.search(r"(\d+) msgs", row["content"])
    count = int(counted[1]) if counted else 0
    refused = _REFUSALS.get(row["format"].strip())
    if "dummy.bag" in row["path"]:
        refused = "nothing that can be read"
    whole = None
    if count and f"rosbags all {count};" in f"{row['readers']};":
        whole = path
    elif count and f"rosbags(dir) all {count};" in f"{row['readers']};":
        whole = path.parent
    return Log(path, count, refused, whole)


def check(log: Log, tf: TensorFlow | None) -> list[str]:
    """What is wrong with our reading of a log."""
    try:
        with open_log(log.path) as opened:
            indexed = opened.summary.message_count
    except HephaesError as error:
        right = log.refused is not None and log.refused in error.message
        return [] if right else [f"refused: {error.message}"]
    if log.refused is not None:
        return [f"opened with {indexed} messages, though {log.refused}"]
    if indexed != log.count:
        return [f"{indexed} messages indexed, {log.count} in the manifest"]
    if log.whole is None:
        return []
    messages = read_with_rosbags(log.whole)
    counted = sum(len(m.values) for m in messages.values())
    if counted != log.count:
        return [f"{counted} messages read by rosbags, {log.count} in the manifest"]
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
        log for log in logs_of(corpus) if not arguments.names or any(name in str(log.path) for name in arguments.names)
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
    print(f"{len(logs) - bad} of {len(logs)} logs as they should be ({messages} messages; read back with {read})")
    return 1 if bad or not logs else 0


if __name__ == "__main__":
    sys.exit(main())
