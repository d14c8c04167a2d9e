"""What hephaes 0.3.0 drafts and what is drafted here, over the same logs: docs/draft-differences.md.

    python -m tests.compare.drafts [--write]

Fails where a draft lacks what its message type is there to measure (``MEASURED``), where a type name or a part of a
header is drafted of a message that has more, and where the document is not what the drafts are.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from hephaes_rpc.engine.authoring.authored import DraftRequest, InspectRequest
from hephaes_rpc.engine.authoring.workbench import draft_log
from hephaes_rpc.engine.specs.document import load
from hephaes_rpc.engine.specs.message_sources import PointsSource, ScanSource
from hephaes_rpc.engine.specs.spec import PathSource, leaves
from hephaes_rpc.errors import HephaesError
from tests.compare import environment
from tests.compare.cases import real_logs
from tests.corpus import Context

DOCUMENT = environment.ROOT / "docs" / "draft-differences.md"
BEGIN, END = "<!-- drafts -->", "<!-- end of drafts -->"
MSGTYPE = "__msgtype__"
MAX_BYTES = 50_000_000
MEASURED: Mapping[str, tuple[str, ...]] = {
    "sensor_msgs/msg/Imu": ("angular_velocity.x", "angular_velocity.y", "angular_velocity.z"),
    "sensor_msgs/msg/JointState": ("position",),
    "nav_msgs/msg/Odometry": ("pose.pose.position.x", "pose.pose.orientation.w"),
    "geometry_msgs/msg/PoseStamped": ("pose.position.x", "pose.orientation.w"),
    "geometry_msgs/msg/TwistStamped": ("twist.linear.x", "twist.angular.z"),
    "geometry_msgs/msg/Twist": ("linear.x", "angular.z"),
    "geometry_msgs/msg/Pose": ("position.x", "orientation.w"),
    "sensor_msgs/msg/NavSatFix": ("latitude", "longitude", "altitude"),
    "sensor_msgs/msg/LaserScan": ("ranges",),
    "sensor_msgs/msg/Image": ("data",),
    "sensor_msgs/msg/CompressedImage": ("data",),
    "sensor_msgs/msg/Temperature": ("temperature",),
    "sensor_msgs/msg/Range": ("range",),
}
"""Fields that a draft must have of a type."""

Fields = tuple[str, ...]
Drafts = dict[str, list[str]]


@define
class Tally:
    """What is drafted of one message type: fields of one topic by how many topics."""

    reference: Counter[Fields] = field(factory=Counter)
    ours: Counter[Fields] = field(factory=Counter)


@define
class Found:
    """The drafts of all logs."""

    logs: int = 0
    both: int = 0
    failed: Counter[str] = field(factory=Counter)
    refused: int = 0
    types: dict[str, Tally] = field(factory=lambda: defaultdict(Tally))
    features: int = 0
    names: int = 0


def reference_drafts(logs: Sequence[Path]) -> Iterator[tuple[Path, list[list[str]], str | None]]:
    """Log, fields and error of each draft of the reference."""
    script = Path(__file__).with_name("reference_drafts.py")
    done = subprocess.run(
        [environment.python(), script],
        input=json.dumps([str(log) for log in logs]),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"log"')]
    if len(answers) != len(logs):
        raise RuntimeError(f"the reference answered {len(answers)} of {len(logs)} logs: {done.stderr[-500:]}")
    for log, answer in zip(logs, answers, strict=True):
        yield log, answer["fields"], answer["error"]


def our_draft(log: Path) -> list[list[str]] | None:
    """Type, field path and dtype of every part of every feature; None where nothing can be drafted."""
    try:
        request = DraftRequest(include_preview=False)
        inspection, drafted = draft_log(str(log), InspectRequest(), request, Context(), time.perf_counter)
    except HephaesError:
        return None
    found = []
    for feature in load(drafted.spec).spec.features.values():
        for _, leaf in leaves(feature.source):
            if isinstance(leaf, PathSource | PointsSource | ScanSource):
                kind = inspection.topics[leaf.topic].message_type
                if isinstance(leaf, PathSource):
                    path, dtype = leaf.field_path or "(the whole message)", feature.dtype
                else:
                    path, dtype = f"({', '.join(leaf.fields)})", leaf.dtype if leaf.kind == "points" else "float32"
                found.append([kind or "", path, dtype])
    return found


def compared(logs: Sequence[Path]) -> Found:
    """Both drafts of every log."""
    found = Found()
    for log, fields, error in reference_drafts(logs):
        found.logs += 1
        ours = our_draft(log)
        found.refused += ours is None
        if error is not None:
            found.failed[error] += 1
        found.both += ours is not None and error is None
        found.features += len(fields)
        found.names += sum(MSGTYPE in (path or "") for _, path, _ in fields)
        for kind, paths in _by_type(fields).items():
            found.types[kind].reference[paths] += 1
        for kind, paths in _by_type(ours or []).items():
            found.types[kind].ours[paths] += 1
    return found


def _by_type(fields: Sequence[Sequence[str | None]]) -> dict[str, Fields]:
    """The distinct fields drafted of each type in a log, dtypes with them."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for kind, path, dtype in fields:
        found[_plain(kind or "")][f"{path or '(the whole message)'} {dtype}"] = None
    return {kind: tuple(paths) for kind, paths in found.items()}


def _plain(kind: str) -> str:
    """``pkg/msg/Type`` of either generation's name."""
    package, _, name = kind.rpartition("/")
    return f"{package.removesuffix('/msg')}/msg/{name}" if package else kind


def problems(found: Found) -> Iterator[str]:
    """Drafts of ours without what their type measures, or with names of types and parts of headers."""
    for kind, tally in found.types.items():
        for fields in tally.ours:
            paths = [text.rpartition(" ")[0] for text in fields]
            for wanted in MEASURED.get(kind, ()):
                if wanted not in paths:
                    yield f"{kind}: {wanted} is not drafted, but {', '.join(fields)}"
            if any(MSGTYPE in path for path in paths):
                yield f"{kind}: the name of a type is drafted"
            if kind in MEASURED and any(path.startswith("header.") for path in paths):
                yield f"{kind}: a part of the header is drafted"


# -- the document ------------------------------------------------------------------------------------------------------


def rendered(found: Found) -> str:
    """What stands between the marks of the document."""
    failed = ", ".join(f"{count} with {error}" for error, count in sorted(found.failed.items()))
    lines = [
        f"Of {found.logs} logs {found.both} are drafted by both. hephaes 0.3.0 ends without a draft for "
        f"{found.failed.total()}" + (f" ({failed})" if failed else "") + f", this version for {found.refused}.",
        f"Of the {found.features} features that hephaes 0.3.0 drafts {found.names} are names of message types.",
        "",
        "| type of topic | hephaes 0.3.0 | here |",
        "| --- | --- | --- |",
    ]
    for kind, tally in sorted(found.types.items()):
        if tally.reference and tally.ours:
            lines.append(f"| `{kind}` | {_usual(tally.reference)} | {_usual(tally.ours)} |")
    return "\n".join(lines)


def _usual(counter: Counter[Fields]) -> str:
    """What is drafted most often."""
    fields = min(counter, key=lambda each: (-counter[each], each))
    shown = [f"`{text}`" for text in _grouped(fields)]
    return ", ".join(shown)


def _grouped(fields: Fields) -> list[str]:
    """Members of one vector together: ``pose.position.{x, y, z} float64``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for text in fields:
        path, _, dtype = text.rpartition(" ")
        prefix, dot, name = path.rpartition(".")
        groups.setdefault((prefix + dot, dtype), []).append(name)
    return [
        f"{prefix}{names[0]} {dtype}" if len(names) == 1 else f"{prefix}{{{', '.join(names)}}} {dtype}"
        for (prefix, dtype), names in groups.items()
    ]


def main() -> int:
    """Draft, compare, check or write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the document")
    arguments = parser.parse_args()
    from tests.compare.__main__ import SHARED

    found = compared(real_logs(SHARED, MAX_BYTES))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    fresh = f"{before}{BEGIN}\n{rendered(found)}\n{END}{rest.partition(END)[2]}"
    if arguments.write:
        DOCUMENT.write_text(fresh, encoding="utf-8")
    told = list(problems(found))
    if fresh != text and not arguments.write:
        told.append(f"{DOCUMENT.name} is not what the drafts are; make compare-drafts WRITE=1")
    print(rendered(found))
    for problem in told:
        print(problem, file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
