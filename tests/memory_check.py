"""Peak memory of conversions of a log and of one that is ten times as long: every strategy, both formats.

    python -m tests.memory_check LOG LONGER_LOG [--spec FILE ...] [--only TEXT ...]

The longer log may take 1.2 times the peak and 24 bytes per message of the topics in use.  One line per conversion:
peaks and limit (MiB), CPU seconds, verdict; exit code 1 where one is over its limit.  A spec is one more case, whose
output says its format; ``--only`` chooses the cases whose name contains one of the texts.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

GROWTH, BYTES_PER_MESSAGE = 1.2, 24
STRATEGIES = {
    "wide": (),
    "topics": ("--layout", "topics"),
    "downsample": ("--resample-hz", "10", "--method", "downsample"),
    "interpolate": ("--resample-hz", "10", "--method", "interpolate"),
}
_MESSAGES = re.compile(r" of ([\d,]+) messages in ")


class Run(NamedTuple):
    """What one conversion took."""

    peak_mib: float
    cpu_s: float
    messages: int


def measure(log: Path, options: tuple[str, ...]) -> Run:
    """Convert in a process of its own; SystemExit where that fails.

    This process stays small: a child's peak cannot be told lower than that of the process which started it.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as told:
        argv = [sys.executable, "-m", "hephaes_rpc", "convert", str(log), "-o", folder, *options]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        text = told.read()
        if process.returncode or (found := _MESSAGES.search(text)) is None:
            raise SystemExit(f"{' '.join(argv)} failed: {text}")
        return Run(usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, int(found[1].replace(",", "")))


def cases(specs: list[Path]) -> dict[str, tuple[str, ...]]:
    """Options by name."""
    named = {
        f"{form} {name}": ("--format", form, *options)
        for form in ("parquet", "tfrecord")
        for name, options in STRATEGIES.items()
    }
    return named | {f"spec {spec.stem}": ("--spec", str(spec)) for spec in specs}


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("longer", type=Path)
    parser.add_argument("--spec", type=Path, action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    arguments = parser.parse_args()
    over = 0
    print(f"{'case':32}{'peak':>7}{'longer':>8}{'limit':>7}{'CPU s':>8}{'longer':>8}")
    for name, options in cases(arguments.spec).items():
        if arguments.only and not any(text in name for text in arguments.only):
            continue
        short, long = measure(arguments.log, options), measure(arguments.longer, options)
        limit = GROWTH * short.peak_mib + BYTES_PER_MESSAGE * long.messages / 2**20
        good = long.peak_mib <= limit
        over += not good
        peaks = f"{short.peak_mib:7.0f}{long.peak_mib:8.0f}{limit:7.0f}"
        print(f"{name:32}{peaks}{short.cpu_s:8.2f}{long.cpu_s:8.2f}  {'holds' if good else 'OVER'}", flush=True)
    return int(over > 0)


if __name__ == "__main__":
    raise SystemExit(main())
