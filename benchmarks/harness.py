"""Run commands in turn (A B C ... A B C ...) and tell wall, CPU and peak memory of each.

Rounds are interleaved so that a drift of the machine's speed hits every command alike; a fixed piece of work runs in
every round and shows that drift.  A command may print one JSON line, whose numbers are kept.  Only the standard library
is imported here: a child's peak memory cannot be told lower than that of the process which started it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
WORK = Path(os.environ.get("BENCH_WORK", PROJECT / "bench-work")).resolve()
SHARED = Path(os.environ.get("HEPHAES_SHARED", PROJECT.parent / "shared")).resolve() / "bench"
COMPARE = SHARED / "compare"
OUT, RESULTS, LOGS = WORK / "out", WORK / "results", WORK / "logs"
STANDARD = ("wall_s", "wall_min", "wall_max", "cpu_s", "peak_mib", "out_mb", "messages", "log_mb")

Row = dict[str, Any]


@dataclass
class Case:
    """One command.

    Args:
        fresh: Paths that are deleted before every run; what lies there afterwards is the output.
        log: Gives messages and megabytes for rates.
        rounds: Run in the first rounds only.
        over: Label -> name of the case that this one is compared with.
    """

    name: str
    argv: Sequence[str]
    log: Path | None = None
    fresh: Sequence[Path] = ()
    rounds: int | None = None
    over: Mapping[str, str] = field(default_factory=dict)
    runs: list[Row] = field(default_factory=list)


def peer(environment: str, script: str, *arguments: object) -> list[str]:
    """A script of the shared benchmark in one of the peers' environments."""
    return [str(WORK / environment / "bin/python"), str(COMPARE / script), *map(str, arguments)]


def own(script: str, *arguments: object) -> list[str]:
    """A script of this folder in the environment that runs the benchmark."""
    return [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]


def measure(argv: Sequence[str]) -> Row:
    """Run one command; wall and CPU seconds, peak memory (wait4) and the JSON line it printed."""
    environ = {**os.environ, "BENCH_WORK": str(WORK), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if argv[0].startswith(str(WORK)) or argv[1].startswith(str(COMPARE)):  # the shared folder is only read
        environ |= {"PYTHONPATH": str(COMPARE), "PYTHONDONTWRITEBYTECODE": "1"}
    OUT.mkdir(parents=True, exist_ok=True)
    printed, errors = OUT / "stdout.txt", OUT / "stderr.txt"
    with printed.open("wb") as out, errors.open("wb") as err:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(argv, stdout=out, stderr=err, env=environ)
        except OSError as error:
            return {"error": str(error)}
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    run: Row = {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}
    if process.returncode:
        run["error"] = (errors.read_text(errors="replace").strip().splitlines() or ["no message"])[-1][-300:]
    for line in printed.read_text(errors="replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            run |= json.loads(line)
    return run


def run_cases(group: str, cases: Sequence[Case], rounds: int) -> Row:
    """Run every case ``rounds`` times in turn; what RESULTS.md is made of."""
    everything = [Case("calibration", [sys.executable, str(COMPARE / "calibrate.py")]), *cases]
    load = os.getloadavg()[0]
    for number in range(rounds):
        for case in everything:
            if case.rounds is not None and number >= case.rounds:
                continue
            _clean(case.fresh)
            os.sync()  # no writeback of an earlier case's output during this one
            run = measure(case.argv)
            run["out_mb"] = _size(case.fresh) / 1e6
            case.runs.append(run)
            end = f"failed: {run['error']}" if "error" in run else f"{run['wall_s']:.2f} s"
            print(f"  {group}, round {number + 1} of {rounds}, {case.name}: {end}", file=sys.stderr, flush=True)
    for case in everything:
        _clean(case.fresh)
    rows = [_summary(case) for case in everything]
    return {"group": group, "rounds": rounds, "load": load, "when": time.strftime("%Y-%m-%d"), "cases": rows}


def _summary(case: Case) -> Row:
    """Medians of a case's runs."""
    good = [run for run in case.runs if "error" not in run]
    row: Row = {"name": case.name, "n": len(good), "over": dict(case.over)}
    if not good:
        return row | {"error": case.runs[-1]["error"]}
    for key in {key: None for run in good for key, value in run.items() if isinstance(value, int | float)}:
        row[key] = statistics.median(run[key] for run in good if key in run)
    row["wall_min"], row["wall_max"] = (pick(run["wall_s"] for run in good) for pick in (min, max))
    if case.log is not None:
        listed = json.loads((case.log.parent / "manifest.json").read_text())
        row["messages"] = listed[case.log.name]["messages"]
        plain = listed.get(f"{case.log.name.partition('-')[0]}-none{case.log.suffix}")
        if plain is not None:
            row["log_mb"] = plain["file_bytes"] / 1e6
    return row


def _size(paths: Sequence[Path]) -> int:
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def _clean(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
