"""What the project promises of its speed and memory, and whether the measured rows keep it.

Bounds that are seconds or rates were set on a machine on which the calibration takes QUIET_S.  What another machine, or
a busy one, measures is brought to that one's clock by the calibration of the same run, and judged as such; both are
shown.  Ratios and memory are judged as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cases import GROWTH_FACTORS
from harness import Row

Rows = Mapping[str, Row]
RERUN, PROBE = "rerun mcap convert (rrd)", "probe topics, no dictionary, zstd"
PEAK_GROWTH, TIME_GROWTH, BYTES_PER_MESSAGE = 1.2, 1.15, 24
QUIET_S = 0.30
NOISE_S = 0.03  # CPU seconds that two runs of one short command differ by


@dataclass(frozen=True)
class Goal:
    """One promise: ``value`` of the rows of ``group`` against a bound.

    Args:
        power: What a clock half as fast does to the value: 1 doubles it (a time), -1 halves it (a rate), 0 nothing.
    """

    group: str
    text: str
    value: Callable[[Rows], float]
    least: float | None = None
    most: float | None = None
    power: int = 0

    def judge(self, rows: Rows) -> tuple[str, str, bool] | None:
        """The value as measured, at the clock of the bounds, and whether that is good enough; None: not measured."""
        try:
            value = self.value(rows)
            told = value / (rows["calibration"]["work_s"] / QUIET_S) ** self.power
        except (KeyError, StopIteration, ZeroDivisionError):
            return None
        good = told >= self.least if self.least is not None else told <= (self.most or 0)
        return _figure(value), _figure(told) if self.power else "", good


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _faster(case: str, peer: str, key: str = "wall_s") -> Callable[[Rows], float]:
    """How many times as long the peer takes."""
    return lambda rows: rows[peer][key] / rows[case][key]


def _share(case: str, peer: str, key: str = "cpu_s") -> Callable[[Rows], float]:
    """Part of what the peer takes."""
    return lambda rows: rows[case][key] / rows[peer][key]


def _of(case: str, key: str) -> Callable[[Rows], float]:
    return lambda rows: rows[case][key]


def _rate(case: str, per: str) -> Callable[[Rows], float]:
    return lambda rows: rows[case]["log_mb"] / rows[case][per]


def _anywhere(key: str) -> Callable[[Rows], float]:
    """A figure of whatever case tells it."""
    return lambda rows: next(row for row in rows.values() if key in row)[key]


def _goals() -> Iterator[Goal]:
    full, small = "numeric-parquet", "numeric-parquet-small"
    topics = "engine topics, zstd"
    yield Goal(
        full, "layout topics, wall against hephaes (which decodes nothing)", _faster(topics, "hephaes none"), 2.9
    )
    yield Goal(full, "layout topics, CPU as part of the probe's", _share(topics, PROBE), most=1.25)
    yield Goal(full, "layout topics, wall as part of rerun's", _share(topics, RERUN, "wall_s"), most=1)
    yield Goal(full, "layout topics, peak MiB", _of(topics, "peak_mib"), most=250)
    yield Goal(full, "layout wide, wall against hephaes", _faster("engine wide", "hephaes none"), 1.1)
    for mode, least in (("interpolate", 50), ("downsample", 3.5)):
        yield Goal(full, f"{mode}, wall against hephaes", _faster(f"engine {mode}", f"hephaes {mode}"), least)
        yield Goal(full, f"{mode}, CPU as part of the probe's", _share(f"engine {mode}", f"probe {mode}"), most=1.3)
        yield Goal(full, f"{mode}, peak MiB", _of(f"engine {mode}", "peak_mib"), most=200)
    yield Goal(
        small, "interpolate, CPU against hephaes", _faster("engine interpolate", "hephaes interpolate", "cpu_s"), 25
    )
    for fmt in ("parquet", "tfrecord"):
        text = f"trigger with joins to {fmt}, wall against hephaes"
        yield Goal("numeric-spec-small", text, _faster(f"engine trigger {fmt}", f"hephaes trigger {fmt}"), 40)
        yield Goal(
            "numeric-spec", f"trigger with joins to {fmt}, s", _of(f"engine trigger {fmt}", "wall_s"), most=1.2, power=1
        )
    tfrecord = "numeric-tfrecord-small"
    yield Goal(tfrecord, "layout topics, wall against hephaes", _faster("engine topics", "hephaes none"), 40)
    yield Goal(tfrecord, "layout wide, wall against hephaes", _faster("engine wide", "hephaes none"), 20)
    yield Goal("numeric-tfrecord", "layout topics, MB/s of messages", _rate("engine topics", "wall_s"), 70, power=-1)
    yield Goal("writers", "rows/s of 40 floats", _of("engine 200k rows", "rows_per_s"), 400_000, power=-1)
    sensor = "sensor-parquet-small"
    yield Goal(
        sensor, "interpolate, CPU against hephaes", _faster("engine interpolate", "hephaes interpolate", "cpu_s"), 40
    )
    yield Goal(sensor, "interpolate, peak MiB", _of("engine interpolate", "peak_mib"), most=300)
    yield Goal("sensor-parquet", "layout topics with zstd, CPU as part of rerun's", _share(topics, RERUN), most=0.8)
    text = "layout topics, uncompressed as rerun's file, CPU as part of rerun's"
    yield Goal("sensor-parquet", text, _share("engine topics", RERUN), most=0.8)
    yield Goal("sensor-parquet", "layout topics, peak MiB", _of(topics, "peak_mib"), most=300)
    text = "layout topics, CPU against hephaes"
    yield Goal("sensor-tfrecord-small", text, _faster("engine topics", "hephaes none", "cpu_s"), 40)
    yield Goal("sensor-tfrecord", "layout topics, MB per CPU second", _rate("engine topics", "cpu_s"), 150, power=-1)
    for name in ("none", "lz4"):
        text = f"bag ({name}), CPU as part of the same content's as mcap"
        bag, mcap = f"engine numeric-{name}.bag", f"engine numeric-{name}.mcap"
        yield Goal("containers", text, _share(bag, mcap), most=1.2)
    yield Goal(
        "kernels",
        "decode of all types of the numeric log, ns per message",
        _of("decode, numeric", "ns per message"),
        most=450,
        power=1,
    )
    yield Goal("kernels", "CRC-32C, GB/s", _of("CRC-32C", "GB/s"), 5, power=-1)
    inspect = _of("engine inspect numeric-zstd.mcap", "wall_s")
    yield Goal("describe", "cold inspect of an mcap, s", inspect, most=0.2, power=1)
    for text, key, most in (
        ("start to the first answer, s", "first answer s", 0.37),
        ("round trip of health, median, us", "round trip p50 us", 60),
        ("index of an mcap in a warm sidecar, ms", "index ms numeric-zstd.mcap", 10),
        ("index of a bag in a warm sidecar, ms", "index ms numeric-lz4.bag", 50),
        ("preview of five rows, numeric log, s", "preview s numeric-zstd.mcap", 0.5),
        ("preview of five rows, sensor log, s", "preview s sensor-zstd.mcap", 0.5),
        ("convert, until the log is opened, s", "log opened s", 0.3),
    ):
        yield Goal("serving", text, _anywhere(key), most=most, power=1)
    yield Goal("serving", "pipelined calls of health per second", _anywhere("pipelined per s"), 30_000, power=-1)


GOALS: Sequence[Goal] = list(_goals())


def growth(rows: Rows) -> Iterator[list[str]]:
    """A table row for each conversion whose log was made longer: peak and time per message, and the verdicts."""
    for name in dict.fromkeys(re.sub(r" \d+x$", "", name) for name in rows if name.endswith("x")):
        found = {factor: rows[f"{name} {factor}x"] for factor in (0, *GROWTH_FACTORS)}
        if any("error" in row for row in found.values()):
            yield [name.removeprefix("engine "), *["failed"] * (2 * len(GROWTH_FACTORS) + 2)]
            continue
        peaks = [found[factor]["peak_mib"] for factor in GROWTH_FACTORS]
        spent = [found[factor]["cpu_s"] - found[0]["cpu_s"] for factor in GROWTH_FACTORS]
        micros = [s / found[factor]["messages"] * 1e6 for s, factor in zip(spent, GROWTH_FACTORS, strict=True)]
        yield [
            name.removeprefix("engine "),
            *(f"{peak:.0f}" for peak in peaks),
            "yes" if _flat(found) else "**no**",
            *(f"{value:.2f}" for value in micros),
            "yes" if _linear(spent) else "**no**",
        ]


def _flat(found: Mapping[int, Row]) -> bool:
    """Ten times the log: at most 1.2 times the peak and 24 bytes per message."""
    base, long = found[1], found[10]
    return bool(long["peak_mib"] <= PEAK_GROWTH * base["peak_mib"] + BYTES_PER_MESSAGE * long["messages"] / (1 << 20))


def _linear(spent: Sequence[float]) -> bool:
    """Every step takes at most 1.15 times what its factor says."""
    steps = zip(zip(GROWTH_FACTORS, spent, strict=True), zip(GROWTH_FACTORS[1:], spent[1:], strict=True), strict=False)
    return all(after <= TIME_GROWTH * n / m * before + NOISE_S * n / m for (m, before), (n, after) in steps)
