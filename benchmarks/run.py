"""``make bench``: run groups of cases side by side and write RESULTS.md.

Results of a group stay in $BENCH_WORK/results until the group is run again; RESULTS.md shows all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from cases import GROUPS, GROWTH_FACTORS
from goals import GOALS, QUIET_S, growth
from harness import COMPARE, RESULTS, STANDARD, Row, run_cases

REPORT = Path(__file__).with_name("RESULTS.md")
SIDECAR = "\n## sidecar\n"
"""What follows is by ``sidecar_load.py`` and stays as it is."""
ABOUT = {
    "machine": "Steps on the numeric log (397,500 messages), each alone, without any engine.",
    "numeric-parquet-small": "Numeric log, mcap (zstd), 39,750 messages. hephaes writes base64 unless it interpolates.",
    "numeric-parquet": "Numeric log, mcap (zstd), 397,500 messages. hephaes writes base64 unless it interpolates.",
    "numeric-tfrecord-small": "Numeric log, 39,750 messages, to TFRecord; every key in every record.",
    "numeric-tfrecord": "Numeric log, 397,500 messages, to TFRecord. hephaes takes ten times its small figures.",
    "numeric-spec-small": "Numeric log, 39,750 messages: 16 features on the times of /odom, with joins, or on a grid.",
    "numeric-spec": "The same on 397,500 messages; the reference, quadratic here, is left out.",
    "sensor-parquet-small": "Sensor log (images, points), 3,330 messages, 40 MB.",
    "sensor-parquet": "Sensor log, 33,300 messages, 401 MB.",
    "sensor-tfrecord-small": "Sensor log, 3,330 messages, to TFRecord; hephaes fails to interpolate it.",
    "sensor-tfrecord": "Sensor log, 33,300 messages, 401 MB, to TFRecord.",
    "sensor-spec-small": "Sensor log, 3,330 messages: the same features and the JPEG images, by image or on a grid.",
    "containers": "Numeric log, 397,500 messages, to Parquet, a file per topic, from every container.",
    "describe": "What is in this file?  Whole process; the peers' `work` leaves out start and imports.",
    "serving": "The sidecar alone: its start, bare calls, index and preview; convert until it opens its log.",
    "kernels": "The native parts alone, one thread, every check on.",
    "writers": "TFRecord writers, rows of 40 float32 features.",
    "growth-numeric": "Logs of 1x, 4x, 10x and 16x (39,750 to 636,000 messages).",
    "growth-sensor": "Logs of 1x, 4x, 10x and 16x (3,330 to 53,280 messages, 40 to 642 MB).",
}


def machine_line() -> str:
    """The machine, by what matters of it."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t:")
    gib = int(memory[1]) / (1 << 20) if memory else 0
    release = ".".join(platform.release().split(".")[:2])
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "numpy"))
    return (
        f"{cpu[1] if cpu else platform.machine()}, {cores} cores, {gib:.0f} GiB, Linux {release}, "
        f"Python {platform.python_version()}, {libraries}."
    )


def report(results: Sequence[Row]) -> str:
    """RESULTS.md."""
    lines = [
        "# Measured",
        "",
        "Made by `make bench` ([how](README.md)). Each section is one run: all its commands in turn, A B C A B C,",
        "whole processes; medians. CPU counts all threads, peak memory is by `wait4`, MB are of the uncompressed log.",
        "Ratios say how many times as much the other takes in the same run, wall / CPU: above 1 we are faster.",
        "`calibration` is a fixed piece of work that shows how busy the machine was (0.3 s where it is idle).",
        "",
        machine_line(),
        "",
        *_goal_lines(results),
    ]
    for result in results:
        lines += ["", f"## {result['group']}", "", ABOUT[result["group"]], "", *_section(result)]
    return "\n".join(lines) + "\n"


def _goal_lines(results: Sequence[Row]) -> Iterator[str]:
    yield from (
        "## Goals",
        "",
        f"Bounds in seconds, and rates, are those of a machine whose calibration takes {QUIET_S:.2f} s: what was",
        "measured is brought to that clock by the calibration of its group, and so judged.",
        "",
        "| group | what | bound | measured | at that clock | met |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    rows = {result["group"]: {row["name"]: row for row in result["cases"]} for result in results}
    for goal in GOALS:
        if goal.group in rows:
            bound = f">= {goal.least:,}" if goal.least is not None else f"<= {goal.most:,}"
            judged = goal.judge(rows[goal.group])
            value, told, good = judged or ("not measured", "", None)
            met = "" if good is None else "yes" if good else "**no**"
            yield f"| {goal.group} | {goal.text} | {bound} | {value} | {told} | {met} |"


def _section(result: Row) -> Iterator[str]:
    yield f"`make bench GROUPS={result['group']}`, {result['rounds']} rounds, {result['when']}; load at the start"
    yield f"{result['load']:.1f}."
    yield ""
    if result["group"].startswith("growth"):
        yield from _growth(result)
        return
    yield "| case | wall s (min–max) | CPU s | peak MiB | MB/s | out MB | other takes (wall / CPU) | figures |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    rows = {row["name"]: row for row in result["cases"]}
    for name, row in rows.items():
        if "error" in row:
            yield f"| {name} | failed: {row['error'].replace('|', '/')} | | | | | | |"
            continue
        rate = _short(row["log_mb"] / row["wall_s"]) if "log_mb" in row else ""
        out = _short(row["out_mb"]) if row["out_mb"] else ""
        walls = f"{row['wall_s']:.2f} ({row['wall_min']:.2f}–{row['wall_max']:.2f})"
        ratios, figures = ", ".join(_ratios(row, rows)), "; ".join(_figures(row))
        start = f"| {name} | {walls} | {row['cpu_s']:.2f} | {row['peak_mib']:.0f}"
        yield f"{start} | {rate} | {out} | {ratios} | {figures} |"


def _ratios(row: Row, rows: dict[str, Row]) -> Iterator[str]:
    for label, name in row["over"].items():
        peer = rows.get(name, {"error": ""})
        if "error" not in peer:
            wall, cpu = (_short(peer[key] / row[key]) for key in ("wall_s", "cpu_s"))
            yield f"{label} {wall}x / {cpu}x"


def _figures(row: Row) -> Iterator[str]:
    for key, value in row.items():
        if key == "work_s":
            yield f"work {_short(value)} s"
        elif key == "rows_per_s":
            yield f"{value:,.0f} rows/s"
        elif isinstance(value, float) and key not in (*STANDARD, "file_mb", "decode_s", "tables_s", "write_s"):
            yield f"{key} {_short(value)}"


def _growth(result: Row) -> Iterator[str]:
    names = [f"{factor}x" for factor in GROWTH_FACTORS]
    yield "Peak MiB; flat: 10x needs at most 1.2 times that of 1x, and 24 bytes per message. CPU µs per message"
    yield "without start-up (that of a log of next to nothing); linear: no step takes over 1.15 times its factor."
    yield ""
    yield f"| case | {' | '.join(names)} | flat | {' | '.join(f'µs {name}' for name in names)} | linear |"
    yield "| --- " * (2 * len(names) + 3) + "|"
    for cells in growth({row["name"]: row for row in result["cases"]}):
        yield f"| {' | '.join(cells)} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only the cases whose name contains this; nothing is stored")
    parser.add_argument("--dry", action="store_true", help="print the tables; store nothing")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md from what is stored")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.groups if name not in GROUPS]:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if not COMPARE.is_dir():
        parser.error("the shared benchmark is absent (set HEPHAES_SHARED)")
    for name in [] if arguments.report else arguments.groups or GROUPS:
        cases = [case for case in GROUPS[name]() if arguments.only in case.name]
        result = run_cases(name, cases, arguments.rounds)
        if arguments.dry or arguments.only:
            print("\n".join(_section(result)))
            continue
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1))
    if not (arguments.dry or arguments.only):
        stored = [RESULTS / f"{name}.json" for name in GROUPS]
        kept = "".join(REPORT.read_text().partition(SIDECAR)[1:]) if REPORT.exists() else ""
        REPORT.write_text(report([json.loads(path.read_text()) for path in stored if path.exists()]) + kept)
        print(f"written: {REPORT.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
