"""The groups of benchmark cases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import engine
from harness import LOGS, OUT, SHARED, WORK, Case, own, peer

FULL, SMALL = LOGS / "full", LOGS / "small"
PROBES = {
    "topics": ("topics, no dictionary, zstd", ["--no-dictionary", "--compression", "zstd"]),
    "none": ("wide", ["--layout", "wide"]),
    "downsample": ("downsample", ["--layout", "down10"]),
    "interpolate": ("interpolate", ["--layout", "lerp10"]),
}
GROWTH_FACTORS = (1, 4, 10, 16)
GROWTH_SCALE = 0.1
_STARTUP_SCALE = 0.0005


def _hephaes(log: Path, fmt: str, mode: str, *, once: bool = False) -> Case:
    out = OUT / "hephaes"
    argv = peer("venv", "hephaes_convert.py", log, out, "--format", fmt, "--mode", mode)
    return Case(f"hephaes {mode}", argv, log, [out], rounds=1 if once else None)


def _probe(log: Path, mode: str) -> Case:
    out = OUT / "probe"
    name, options = PROBES[mode]
    return Case(f"probe {name}", peer("venv-new", "probe_convert.py", log, out, *options), log, [out])


def _rerun(log: Path) -> Case:
    out = OUT / "peer.rrd"
    argv = [str(WORK / "venv-peers/bin/rerun"), "mcap", "convert", str(log), "-o", str(out)]
    return Case("rerun mcap convert (rrd)", argv, log, [out])


def _engine(log: Path, fmt: str, mode: str, *options: str, name: str = "", **over: str) -> Case:
    out = OUT / "engine"
    argv = engine.convert(log, out, fmt, mode, *options)
    return Case(f"engine {name or mode}", argv, log, [out], over=over)


def _parquet(log: Path, *, slow: bool) -> list[Case]:
    """A row per message by topic or in one table, and rows on a grid of 10 Hz."""
    sensor = "sensor" in log.name
    rerun, none = "rerun mcap convert (rrd)", "hephaes none"
    cases = [
        _hephaes(log, "parquet", "none"),
        _rerun(log),
        _probe(log, "topics"),
        _engine(log, "parquet", "topics", hephaes=none, rerun=rerun),
        _engine(
            log, "parquet", "topics", "--compression", "zstd", name="topics, zstd",
            hephaes=none, rerun=rerun, probe="probe topics, no dictionary, zstd",
        ),
        _probe(log, "none"),
        _engine(log, "parquet", "none", name="wide", hephaes=none, rerun=rerun, probe="probe wide"),
    ]  # fmt: skip
    for mode in ("downsample", "interpolate"):
        probed = not (sensor and mode == "interpolate")
        once = mode == "interpolate" and (slow or sensor)
        if not (slow and sensor):
            cases.append(_hephaes(log, "parquet", mode, once=once))
        if probed:
            cases.append(_probe(log, mode))
        over = {"probe": f"probe {mode}"} if probed else {}
        if not (slow and sensor):
            over["hephaes"] = f"hephaes {mode}"
        cases.append(_engine(log, "parquet", mode, **over))
    return cases


def _tfrecord(log: Path, *, engine_only: bool = False) -> list[Case]:
    modes = ("none", "downsample", "interpolate")
    if "sensor" in log.name:  # the reference cannot interpolate images into TFRecord
        modes = ("none", "downsample")
    cases = [] if engine_only else [_hephaes(log, "tfrecord", mode, once=True) for mode in modes]
    over = {} if engine_only else {"hephaes": "hephaes none"}
    cases += [
        _engine(log, "tfrecord", "topics", **over),
        _engine(log, "tfrecord", "none", name="wide", **over),
    ]
    for mode in ("downsample", "interpolate"):
        against = {"hephaes": f"hephaes {mode}"} if not engine_only and mode in modes else {}
        cases.append(_engine(log, "tfrecord", mode, **against))
    return cases


def _spec(log: Path, *, engine_only: bool = False) -> list[Case]:
    """The two specs of the shared benchmark in both formats."""
    cases = []
    for fmt in ("parquet", "tfrecord"):
        for mode in engine.SPEC_MODES:
            over = {}
            if not engine_only:
                reference = _hephaes(log, fmt, mode, once=mode == "trigger")
                reference.name += f" {fmt}"
                cases.append(reference)
                over["hephaes"] = reference.name
            cases.append(_engine(log, fmt, mode, name=f"{mode} {fmt}", **over))
    return cases


def _containers() -> list[Case]:
    """The same content in every container and compression, a file per topic."""
    cases = []
    for name in ("numeric-zstd.mcap", "numeric-none.mcap", "numeric-lz4.mcap", "numeric-none.bag", "numeric-lz4.bag"):
        log = FULL / name
        over = {"probe": f"probe {name}"}
        if name in ("numeric-zstd.mcap", "numeric-lz4.bag"):
            reference = _hephaes(log, "parquet", "none")
            reference.name = over["hephaes"] = f"hephaes {name}"
            cases.append(reference)
        if name.endswith(".bag"):
            over["same as mcap"] = f"engine {name[:-3]}mcap"
        probe = _probe(log, "topics")
        probe.name = f"probe {name}"
        cases += [probe, _engine(log, "parquet", "topics", "--compression", "zstd", name=name, **over)]
    return cases


def _describe() -> list[Case]:
    """What is in this file?  Whole processes, from nothing."""
    cases = []
    for name in ("numeric-zstd.mcap", "sensor-none.mcap", "numeric-lz4.bag"):
        log = FULL / name
        hephaes, rosbags = f"hephaes {name}", f"rosbags {name}"
        over = {"hephaes": hephaes, "rosbags": rosbags}
        cases += [
            Case(hephaes, peer("venv", "profile_log.py", "hephaes", log), log),
            Case(rosbags, peer("venv-new", "profile_log.py", "rosbags", log), log),
        ]
        if log.suffix == ".mcap":
            over |= {"mcap": f"mcap {name}", "rerun": f"rerun mcap info {name}"}
            cases += [
                Case(over["mcap"], peer("venv-new", "profile_log.py", "mcap", log), log),
                Case(over["rerun"], [str(WORK / "venv-peers/bin/rerun"), "mcap", "info", str(log)], log),
            ]
        cases.append(Case(f"engine inspect {name}", engine.inspect(log), log, over=over))
    return cases


def _serving() -> list[Case]:
    """The sidecar alone, and how long a conversion takes to begin."""
    logs = (FULL / "numeric-zstd.mcap", FULL / "numeric-lz4.bag", FULL / "sensor-zstd.mcap")
    return [
        Case("start", own("serving.py", "start")),
        Case("calls", own("serving.py", "calls")),
        Case("logs", own("serving.py", "logs", *logs)),
        Case("opening", own("serving.py", "opening", SMALL / "numeric-zstd.mcap")),
    ]


def _kernels() -> list[Case]:
    """The native parts alone, in one process each."""
    return [
        Case("decode, numeric", own("kernels.py", "decode", FULL / "numeric-none.mcap")),
        Case("decode, sensor", own("kernels.py", "decode", FULL / "sensor-none.mcap")),
        Case("decode, numeric bag", own("kernels.py", "decode", FULL / "numeric-none.bag")),
        Case("CRC-32C", own("kernels.py", "crc")),
    ]


def _writers() -> list[Case]:
    """TFRecord writers on rows of 40 float32 features; rows per second are those of the writing alone."""
    out = OUT / "rows"

    def written(name: str, argv: list[str], **over: str) -> Case:
        return Case(name, [*argv, str(out), "--rows", "20000" if "20k" in name else "200000"], fresh=[out], over=over)

    return [
        written("hephaes 20k rows", peer("venv", "tfrecord_write.py", "hephaes")),
        written("TensorFlow 20k rows", [sys.executable, *peer("venv", "tfrecord_write.py", "tf")[1:]]),
        written("probe 200k rows", peer("venv-new", "tfrecord_write.py", "native")),
        written("probe with presence 200k rows", peer("venv-new", "tfrecord_write.py", "native-presence")),
        written("engine 200k rows", own("kernels.py", "tfrecord")),
    ]


def _machine() -> list[Case]:
    """What the machine does with the numeric log, step by step."""
    argv = [*peer("venv-new", "")[:1], str(Path(__file__).with_name("machine.py")), str(FULL / "numeric-zstd.mcap")]
    return [Case("steps", argv)]


def growth_log(variant: str, factor: int) -> Path:
    """A log that is ``factor`` times as long as the shortest one (0: next to nothing), made if absent."""
    scale = GROWTH_SCALE * factor or _STARTUP_SCALE
    log = LOGS / f"x{factor}" / f"{variant}-zstd.mcap"
    if not log.exists():
        maker = [*peer("venv-new", "")[:1], str(SHARED / "make_logs.py"), str(log.parent), "--scale", str(scale)]
        subprocess.run([*maker, "--variant", variant, "--only", "mcap:zstd"], check=True, stdout=sys.stderr)
    return log


def _growth(variant: str) -> list[Case]:
    """The same conversion of longer and longer logs; factor 0 is what starting costs."""
    cases = []
    for fmt in ("parquet", "tfrecord"):
        for mode in ("none", "topics", "downsample", "interpolate", *engine.SPEC_MODES):
            for factor in (0, *GROWTH_FACTORS):
                log = growth_log(variant, factor)
                cases.append(_engine(log, fmt, mode, name=f"{fmt} {mode} {factor}x"))
    return cases


GROUPS: dict[str, Callable[[], list[Case]]] = {
    "machine": _machine,
    "numeric-parquet-small": lambda: _parquet(SMALL / "numeric-zstd.mcap", slow=False),
    "numeric-parquet": lambda: _parquet(FULL / "numeric-zstd.mcap", slow=True),
    "numeric-tfrecord-small": lambda: _tfrecord(SMALL / "numeric-zstd.mcap"),
    "numeric-tfrecord": lambda: _tfrecord(FULL / "numeric-zstd.mcap", engine_only=True),
    "numeric-spec-small": lambda: _spec(SMALL / "numeric-zstd.mcap"),
    "numeric-spec": lambda: _spec(FULL / "numeric-zstd.mcap", engine_only=True),
    "sensor-parquet-small": lambda: _parquet(SMALL / "sensor-zstd.mcap", slow=False),
    "sensor-parquet": lambda: _parquet(FULL / "sensor-zstd.mcap", slow=True),
    "sensor-tfrecord-small": lambda: _tfrecord(SMALL / "sensor-zstd.mcap"),
    "sensor-tfrecord": lambda: _tfrecord(FULL / "sensor-zstd.mcap", engine_only=True),
    "sensor-spec-small": lambda: _spec(SMALL / "sensor-zstd.mcap"),
    "containers": _containers,
    "describe": _describe,
    "serving": _serving,
    "kernels": _kernels,
    "writers": _writers,
    "growth-numeric": lambda: _growth("numeric"),
    "growth-sensor": lambda: _growth("sensor"),
}
