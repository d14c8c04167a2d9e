"""What is run through both engines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen
from rosbags.highlevel import AnyReaderError

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.timeline.plan import auto_mapping
from hephaes_rpc.errors import LogError
from tests.compare import logs, specs
from tests.compare.datasets import topics_of
from tests.compare.traps import TRAPS

DATA = Path(__file__).parents[1] / "data"
MAX_BYTES = 120_000
RATES = {"downsample": 10.0, "interpolate": 13.0}


@frozen
class Case:
    """A log and what is made of it: rows of a mapping, perhaps resampled, or what a spec says.

    Args:
        mapping: Empty with a ``spec``.
    """

    name: str
    log: Path
    format: str
    mapping: dict[str, list[str]] = field(factory=dict)
    resample: dict[str, Any] | None = None
    spec: dict[str, Any] | None = None

    @property
    def interpolated(self) -> bool:
        """Whether rows lie between messages."""
        return self.resample is not None and self.resample["method"] == "interpolate"

    def task(self, out: Path) -> dict[str, Any]:
        """For ``reference.py``."""
        common = {"log": str(self.log), "out": str(out), "format": self.format}
        if self.spec is not None:
            return {**common, "spec": {**self.spec, "output": {"format": self.format}}}
        return {**common, "mapping": self.mapping, "resample": self.resample}


def made_logs(folder: Path) -> list[Path]:
    """The robot of ``logs`` in both containers."""
    folder.mkdir(parents=True, exist_ok=True)
    return [logs.write_bag(folder / "robot.bag"), logs.write_mcap(folder / "robot.mcap")]


def real_logs(shared: Path, most_bytes: int = MAX_BYTES) -> list[Path]:
    """Small logs of the project and, where it is there, of the corpus; equal files once."""
    found = [*sorted(DATA.glob("*.*")), *sorted((shared / "corpus").rglob("*.*"))]
    chosen: dict[bytes, Path] = {}
    for path in found:
        if path.suffix in (".bag", ".mcap") and path.is_file() and path.stat().st_size <= most_bytes:
            chosen.setdefault(path.read_bytes(), path)
    return list(chosen.values())


def mapping_cases(log: Path, name: str) -> Iterator[Case]:
    """Every mode of a mapping in both formats; none where no topic can be decoded."""
    mapping = _mapping(log)
    for fmt in ("parquet", "tfrecord") if mapping else ():
        for mode in ("none", "downsample", "interpolate"):
            resample = None if mode == "none" else {"freq_hz": RATES[mode], "method": mode}
            yield Case(f"{name} {fmt} {mode}", log, fmt, mapping, resample)


def spec_cases(log: Path, name: str) -> Iterator[Case]:
    """Specs on the robot, in both formats."""
    for fmt in ("parquet", "tfrecord"):
        chosen = specs.EQUAL | (specs.PARQUET_ONLY if fmt == "parquet" else {})
        for title, spec in chosen.items():
            yield Case(f"{name} {fmt} spec {title}", log, fmt, spec=spec)


def trap_cases(log: Path, name: str) -> Iterator[tuple[Case, str]]:
    """Specs that the reference gets wrong, each with the name of its trap."""
    for title, trap in TRAPS.items():
        yield Case(f"{name} {trap.format} trap {title}", log, trap.format, spec=trap.spec), title


def _mapping(log: Path) -> dict[str, list[str]]:
    """A field for every topic that has one type and that rosbags, by which the reference reads, can decode."""
    try:
        with open_log(log) as reader:
            streams = [stream for stream in reader.summary.streams if stream.undecodable is None]
    except LogError:
        return {}
    topics = [stream.topic for stream in streams]
    try:
        chosen = topics_of(log).keys() & set(topics)
    except AnyReaderError:
        chosen = set(topics)  # the reference will say what it says
    return auto_mapping([stream for stream in streams if stream.topic in chosen and topics.count(stream.topic) == 1])
