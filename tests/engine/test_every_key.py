"""Every key of the JSON Schema of spec documents does something.

Strategy: the schema is walked (``schema_keys``: every property of every definition, every value of every enumeration,
every kind of part at every place that takes one).  A case changes one place of a document that converts and gives the
values that are tried there; what each value leads to must differ from what all others and the document as it was lead
to.  A value under ``refused`` must be refused by an error whose pointer leads to the place.  Which keys a case speaks
of is found by walking the schema along its pointer, so that no list of keys has to be kept.

What a conversion leads to is what is in its files, their names, and what it tells: not the echo of the spec in file
metadata and manifests.  Only the keys of ``TOLD`` count by their echo, for that is all they are for.
"""

import copy
import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from attrs import frozen
from PIL import Image

from hephaes_rpc.cli.logpaths import logs_of
from hephaes_rpc.cli.schema import document_schema
from hephaes_rpc.engine.computations.scripts import Scripts
from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, convert
from hephaes_rpc.engine.specs import document
from hephaes_rpc.errors import HephaesError, SpecError
from tests import factories
from tests.corpus import Context
from tests.engine.test_feature_pipeline import two_types
from tests.factories import START_NS, Sample, samples, store, write_mcap

SCHEMA = document_schema()
ROOT = "SpecDocument"
DEFINITIONS: dict[str, Any] = {ROOT: SCHEMA, **SCHEMA["$defs"]}
TAGS = ("kind", "format")
ENVELOPE = ("/spec_version", "/spec", "/metadata")
MS = 1_000_000

# Keys that change no dataset: who made it and what it is called.  Where the manifest tells them:
TOLD = {
    "SpecDocument.metadata": "document_metadata",
    "Schema.name": "schema.name",
    "Schema.version": "schema.version",
    "Feature.description": "features.x.description",
    "ComputedColumn.description": "computations.0.outputs.c.description",
    "ConstantSource.description": "spec.features.x.source.description",
    "DraftOrigin.kind": "draft_origin.kind",
    "DraftOrigin.source_topics": "draft_origin.source_topics",
    "DraftOrigin.provenance": "draft_origin.provenance",
    "DraftOrigin.assumptions": "draft_origin.assumptions",
    "DraftOrigin.warnings": "draft_origin.warnings",
}

# -- the keys ----------------------------------------------------------------------------------------------------------

_KNOWN_WORDS = {
    *("type", "description", "properties", "required", "additionalProperties", "default", "minimum", "maximum"),
    *("items", "anyOf", "allOf", "enum", "$ref", "exclusiveMinimum"),
}


def schema_keys() -> set[str]:
    """``Join.clock``, ``Join.missing=drop``, ``Feature.source -> PathSource``."""
    found = set()
    for name, definition in DEFINITIONS.items():
        for key, node in definition["properties"].items():
            found |= {f"{name}.{key}"}
            found |= {f"{name}.{key}={value}" for value in _values(node)}
            found |= {f"{name}.{key} -> {part}" for part in _parts(_below(node))}
    return found


def _here(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and its alternatives."""
    yield node
    for word in ("anyOf", "allOf"):
        for part in node.get(word, []):
            yield from _here(part)


def _inner(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas of items and members."""
    for part in _here(node):
        for word in ("items", "additionalProperties"):
            if isinstance(part.get(word), dict):
                yield part[word]


def _below(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema with all that is in it."""
    yield from _here(node)
    for part in _inner(node):
        yield from _below(part)


def _values(node: Mapping[str, Any]) -> list[Any]:
    return [value for part in _below(node) for value in part.get("enum", [])]


def _parts(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    return [node["$ref"].rpartition("/")[2] for node in nodes if "$ref" in node]


def _part_of(node: Mapping[str, Any], value: Any) -> str | None:
    """Which of the definitions that stand at a place describes ``value``."""
    parts = _parts(_here(node))
    if not isinstance(value, dict) or not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    for name in parts:
        tag = next(key for key in TAGS if key in DEFINITIONS[name]["properties"])
        if value.get(tag) in DEFINITIONS[name]["properties"][tag]["enum"]:
            return name
    return None


class Place(NamedTuple):
    """A place of a document: the keys passed on the way to it, its own, its schema, and what stands there."""

    passed: set[str]
    key: str
    node: Mapping[str, Any]
    value: Any


def place_of(whole: Any, path: Iterable[str | int]) -> Place:
    """Where a path leads by the schema."""
    passed: set[str] = set()
    name, node, key = ROOT, SCHEMA, ""
    for step in path:
        if (part := _part_of(node, whole)) is not None:
            passed.add(f"{key} -> {part}")
            name, node = part, DEFINITIONS[part]
        whole = whole.get(step) if isinstance(whole, dict) else whole[step] if whole is not None else None
        if "properties" in node:
            key, node = f"{name}.{step}", node["properties"][step]
            passed.add(key)
        else:
            node = next(_inner(node))
        if whole is None and len(parts := _parts(_here(node))) == 1:
            passed.add(f"{key} -> {parts[0]}")
            name, node = parts[0], DEFINITIONS[parts[0]]
    return Place(passed, key, node, whole)


def keys_of(whole: Any, path: Iterable[str | int], value: Any) -> set[str]:
    """The keys that are changed by putting ``value`` at ``path`` of a document."""
    place = place_of(whole, path)
    values = _values(place.node)
    found = {f"{place.key}={each}" for each in (value, place.value) if each in values}
    if place.value is None and place.node.get("default") in values:
        found.add(f"{place.key}={place.node['default']}")
    placed = (_placed(place.key, place.node, each) for each in (value, place.value))
    return place.passed.union(found, *placed)


def _placed(key: str, node: Mapping[str, Any], value: Any) -> set[str]:
    """The kinds of parts that a value brings."""
    if (part := _part_of(node, value)) is not None and isinstance(value, dict):
        found = {f"{key} -> {part}"}
        for tag in TAGS:
            values = DEFINITIONS[part]["properties"].get(tag, {}).get("enum", [])
            if len(values) == 1:
                found |= {f"{part}.{tag}", f"{part}.{tag}={values[0]}"}
        return found
    items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
    return {found for inner in _inner(node) for item in items for found in _placed(key, inner, item)}


def test_the_walk_knows_every_word_of_the_schema() -> None:
    for definition in DEFINITIONS.values():
        for node in definition["properties"].values():
            for part in _below(node):
                assert set(part) <= _KNOWN_WORDS


# -- the scripts -------------------------------------------------------------------------------------------------------

SCRIPTS = {
    "a.py": """
import time
import numpy as np
import pyarrow.compute as pc

def compute(batch):
    return batch.column(0)

def twice(batch):
    return {"c": pc.multiply(batch.column(0), 2)}

def pairs(batch):
    return {"c": [[1, 2]] * len(batch)}

def slow(batch):
    time.sleep(0.4)
    return batch.column(0)

def big(batch):
    return batch.column(0) if np.ones(1 << 25).all() else None
""",
    "b.py": "def compute(batch):\n    return [7] * len(batch)\n",
}


# -- the log -----------------------------------------------------------------------------------------------------------

MORE_TOPICS = {
    "/camera": "sensor_msgs/msg/Image",
    "/files": "sensor_msgs/msg/CompressedImage",
    "/level": "std_msgs/msg/Int32",
    "/classes": "std_msgs/msg/Int32MultiArray",
    "/lidar": "sensor_msgs/msg/PointCloud2",
    "/rear": "sensor_msgs/msg/PointCloud2",
    "/scan": "sensor_msgs/msg/LaserScan",
    "/scan_rear": "sensor_msgs/msg/LaserScan",
    "/video": "sensor_msgs/msg/CompressedImage",
    "/film": "sensor_msgs/msg/CompressedImage",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/moved": "tf2_msgs/msg/TFMessage",
}


def more_samples(random_: random.Random) -> Iterator[Sample]:
    """Images, numbers, lists of classes and points."""
    types = store(2).types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=1_700_000_000, nanosec=5), frame_id="c"
    )
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    for k in range(60):
        pixels = np.frombuffer(random_.randbytes(4 * 20), np.uint8)
        file = io.BytesIO()
        Image.frombytes("RGB", (6, 4), random_.randbytes(72)).save(file, "PNG")
        made = {
            "/camera": types[MORE_TOPICS["/camera"]](
                header=header, height=4, width=6, encoding="rgb8", is_bigendian=0, step=20, data=pixels
            ),
            "/files": types[MORE_TOPICS["/files"]](
                header=header, format="png", data=np.frombuffer(file.getvalue(), np.uint8)
            ),
            "/level": types[MORE_TOPICS["/level"]](data=random_.randrange(4)),
            "/classes": types[MORE_TOPICS["/classes"]](
                layout=layout, data=np.array([random_.randrange(4) for _ in range(random_.randrange(1, 4))], np.int32)
            ),
        }
        if k % 6 == 0:
            made |= {name: _cloud(types, header, random_) for name in ("/lidar", "/rear")}
        made["/tf"] = _transforms(types, START_NS + k * 20 * MS, {("map", "base"): k, ("base", "arm"): k * k})
        for topic, period in (("/video", 5), ("/film", 3)):
            unit = np.frombuffer(b"\0\0\1" + (b"\x41" if k % period else b"\x65"), np.uint8)
            made[topic] = types[MORE_TOPICS[topic]](header=header, format="h264", data=unit)
        if k % 10 == 0:
            for topic, nearest in (("/scan", 1.0), ("/scan_rear", 2.0)):
                ranges = np.array([nearest + k, 0.1, np.inf, np.nan, 2.0], np.float32)
                about = {
                    "angle_min": 0.5,
                    "angle_max": 1.0,
                    "angle_increment": 0.1,
                    "range_min": 1.0,
                    "range_max": 99.0,
                }
                times = {"time_increment": 0.0, "scan_time": 0.1}
                made[topic] = types[MORE_TOPICS[topic]](
                    header=header, ranges=ranges, intensities=ranges * 2, **about, **times
                )
        if k % 20 == 0:
            made["/tf_static"] = _transforms(types, START_NS, {("arm", "tool"): 1.0 + k})
            made["/moved"] = _transforms(types, START_NS + k * 20 * MS, {("map", "base"): -k, ("base", "arm"): k})
        for n, (topic, message) in enumerate(made.items()):
            if topic != "/level" or k % 4:
                payload = bytes(store(2).serialize_cdr(message, MORE_TOPICS[topic]))
                yield Sample(topic, START_NS + k * 20 * MS + n * 3 * MS, payload)


def _transforms(types: Any, stamp_ns: int, edges: Mapping[tuple[str, str], float]) -> Any:
    """Children beside their parents by so many metres."""
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    turn = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    found = []
    for (parent, child), x in edges.items():
        position = types["geometry_msgs/msg/Vector3"](x=float(x), y=0.0, z=0.0)
        found.append(
            types["geometry_msgs/msg/TransformStamped"](
                header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=parent),
                child_frame_id=child,
                transform=types["geometry_msgs/msg/Transform"](translation=position, rotation=turn),
            )
        )
    return types["tf2_msgs/msg/TFMessage"](transforms=found)


def _cloud(types: Any, header: Any, random_: random.Random) -> Any:
    """Two rows of three points of floats and whole numbers, some NaN."""
    kind = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("t", "<f8"), ("ring", "<u2"), ("code", "<u2", 2)])
    points = np.array([(random_.random(), 2, 3, random_.random(), k, (k, 2)) for k in range(6)], kind)
    points["x"][2] = np.nan
    datatypes = {"f4": 7, "f8": 8, "u2": 4}
    fields = [
        types["sensor_msgs/msg/PointField"](
            name=name, offset=offset, datatype=datatypes[field_.base.str[1:]], count=max(1, *field_.shape, 1)
        )
        for name, (field_, offset, *_) in (kind.fields or {}).items()
    ]
    return types["sensor_msgs/msg/PointCloud2"](
        header=header,
        height=2,
        width=3,
        fields=fields,
        is_bigendian=False,
        point_step=kind.itemsize,
        row_step=3 * kind.itemsize,
        data=points.view(np.uint8),
        is_dense=False,
    )


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Converter"]:
    with pytest.MonkeyPatch.context() as patch:
        for topic, type_name in MORE_TOPICS.items():
            patch.setitem(factories.TOPICS, topic, type_name)
        yield Converter(tmp_path_factory.mktemp("keys"))


# -- what a document leads to ------------------------------------------------------------------------------------------

_ECHO = (
    "computations",
    *("spec", "output", "payload_representation", "row_strategy", "resample", "schema", "labels", "draft_origin"),
    *("split", "validation", "document_metadata", "mapping_requested"),
)
_FEATURE_ECHO = ("dtype", "required", "missing", "presence_flag", "description")


@frozen
class Outcome:
    """What is observed, as text; of a conversion that ended, the reason; of a refusal, where the errors point."""

    seen: str
    manifest: Mapping[str, Any] | None = None
    pointers: tuple[str, ...] = ()
    is_refused: bool = False


class Converter:
    """Converts documents, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        messages = sorted([*samples(240), *more_samples(random.Random(7))], key=lambda m: m.time)
        broken = [
            m._replace(payload=b"\0\1\0\0\xff\0\0\0x") if m.topic == "/chatter" and k % 3 == 0 else m
            for k, m in enumerate(messages)
        ]
        (folder / "logs" / "deep").mkdir(parents=True)
        self.logs = {
            "whole": write_mcap(folder / "whole.mcap", messages),
            "broken": write_mcap(folder / "broken.mcap", broken),
            "types": two_types(folder / "types.mcap"),
        }
        for place in ("logs", "logs/deep"):
            write_mcap(folder / place / f"{Path(place).name}.mcap", samples(20, topics=("/imu", "/chatter")))
        (folder / "scripts").mkdir()
        for name, script in SCRIPTS.items():
            (folder / "scripts" / name).write_text(script)
        self._done: dict[str, Outcome] = {}

    def outcome(self, base: "Base", value: Any) -> Outcome:
        """What a document leads to."""
        key = f"{base.log} {json.dumps(value)}"
        if key not in self._done:
            self._done[key] = self._outcome(base, value, self.folder / str(len(self._done)))
        return self._done[key]

    def _outcome(self, base: "Base", value: Any, out: Path) -> Outcome:
        value = json.loads(json.dumps(value).replace("LOGS", str(self.folder / "logs")))
        try:
            loaded = document.load(value)
            if loaded.spec.input.paths:
                return Outcome(repr(logs_of(loaded.spec.input)))
            log = str(self.logs[base.log])
            task = ConvertTask(
                log_path=log,
                spec=loaded.spec,
                output_dir=str(out),
                episode_id="ep",
                stem="run",
                metadata=loaded.metadata,
                scripts=Scripts(str(self.folder / "scripts")),
            )
            return observed(convert(task, Context()))
        except SpecError as error:
            found = tuple(each["pointer"] for each in error.data.get("errors", []))
            of_rows = "which its join makes an error" in error.message  # what the key asks for, found while converting
            return Outcome(error.message, None, found, is_refused=bool(found) and not of_rows)
        except HephaesError as error:
            return Outcome(f"{error.kind}: {error.message}")


def observed(result: ConvertResult) -> Outcome:
    """Everything that a conversion made, without what only repeats the spec."""
    seen: list[Any] = [dict(result.counts), list(result.warnings)]
    whole: Mapping[str, Any] | None = None
    for output in result.outputs:
        path = Path(output.path)
        seen.append(path.name)
        if output.format == "parquet":
            seen.append(_parquet(path))
        elif output.role == "dataset":
            seen.append(path.read_bytes())
        elif output.role == "sidecar" and output.format == "json":
            told = json.loads(path.read_bytes())
            seen.append({key: item for key, item in told.items() if not key.startswith("hephaes")})
        elif output.role == "manifest":
            whole = whole or json.loads(path.read_bytes())["conversion"]
            seen.append(_without_echo(json.loads(path.read_bytes())))
    return Outcome(repr(seen), whole)


def _parquet(path: Path) -> list[Any]:
    table, about = pq.read_table(path), pq.read_metadata(path)
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    metadata = {key: item for key, item in (table.schema.metadata or {}).items() if not key.startswith(b"hephaes")}
    return [
        table.schema.remove_metadata().to_string(),
        [field.nullable for field in table.schema],
        metadata,
        table.to_pylist(),
        [(group.num_rows, [group.column(k).compression for k in range(group.num_columns)]) for group in groups],
    ]


def _without_echo(manifest: dict[str, Any]) -> dict[str, Any]:
    told = {key: item for key, item in manifest["conversion"].items() if key not in _ECHO}
    told["features"] = {
        name: {key: item for key, item in feature.items() if key not in _FEATURE_ECHO}
        for name, feature in told.get("features", {}).items()
    }
    return told


# -- the cases ---------------------------------------------------------------------------------------------------------


@frozen
class Base:
    """A document that converts, and the log that it converts."""

    document: Mapping[str, Any]
    log: str = "whole"


@frozen
class Case:
    """One place of a document, and what is tried there."""

    base: Base
    pointer: str
    values: tuple[Any, ...]
    refused: tuple[Any, ...]
    also: tuple[str, ...]

    @property
    def path(self) -> tuple[str | int, ...]:
        """The place in the whole document."""
        steps = [step.replace("~1", "/").replace("~0", "~") for step in self.pointer.split("/")[1:]]
        return tuple(int(step) if step.isdigit() else step for step in steps)

    def changed(self, value: Any) -> dict[str, Any]:
        """The document with ``value`` at the place."""
        found: Any = copy.deepcopy(dict(self.base.document))
        at = found
        *parents, last = self.path
        for step in parents:
            at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
        at[last] = value
        return found

    def keys(self) -> set[str]:
        """The keys that the case speaks of."""
        found = set(self.also)
        for value in self.values:
            found |= keys_of(self.base.document, self.path, value)
        place = place_of(self.base.document, self.path)
        if not self.values and len(values := _values(place.node)) == 1:
            found |= {place.key, f"{place.key}={values[0]}"}
        return found


CASES: list[Case] = []


def case(base: Base, pointer: str, *values: Any, refused: Iterable[Any] = (), also: Iterable[str] = ()) -> None:
    """Add a case; pointers begin in the spec but for those of the envelope.

    Args:
        also: Keys that the case speaks of but that no single one of its values changes alone.
    """
    if not pointer.startswith(ENVELOPE):
        pointer = f"/spec{pointer}"
    CASES.append(Case(base, pointer, values, tuple(refused), tuple(also)))


def base(spec: Mapping[str, Any], log: str = "whole", **envelope: Any) -> Base:
    """A document around a spec; Parquet unless it says otherwise."""
    return Base({"spec_version": 2, "spec": {"output": {"format": "parquet"}} | dict(spec), **envelope}, log)


def at(topic: str, field: str | None = None) -> dict[str, Any]:
    """A source."""
    return {"kind": "path", "topic": topic} | ({} if field is None else {"field_path": field})


def of(topic: str, field: str | None = None, dtype: str = "native", **more: Any) -> dict[str, Any]:
    """A feature."""
    return {"source": at(topic, field), "dtype": dtype, **more}


def rows(topic: str, **spec: Any) -> dict[str, Any]:
    """A row per message; ``x`` is the only feature."""
    x = spec.pop("x", None)
    return {"row_strategy": {"kind": "per-message", "topic": topic}} | ({"features": {"x": x}} if x else {}) | spec


def joined(join: Mapping[str, Any], topic: str = "/imu", **spec: Any) -> dict[str, Any]:
    """Rows of a topic with another one joined; ``x`` is a feature of it."""
    return {
        "row_strategy": {"kind": "trigger", "trigger_topic": topic, "joins": [{"topic": "/level", **join}]},
        "features": {"x": spec.pop("x", of("/level", "data"))},
        **spec,
    }


def resampled(**strategy: Any) -> dict[str, Any]:
    """Rows on a grid."""
    return {
        "row_strategy": {"kind": "resample", "freq_hz": 50, "method": "downsample", **strategy},
        "features": {"x": of("/imu", "angular_velocity.x"), "y": of("/level", "data")},
    }


def transformed(x: Mapping[str, Any], *transforms: Any) -> Base:
    """A feature with transforms."""
    return base(rows(x["source"].get("topic", "/level"), x={**x, "transforms": list(transforms)}))


WORD = of("/chatter", "data")
TURN = of("/imu", "angular_velocity.x")
FIRST = of("/joints", "position[0]", "float64")
LEVEL = of("/level", "data")
CLASSES = of("/classes", "data")
PIXELS = of("/camera", "data", "bytes")
NAMES = of("/joints", "name")
THIRDS = {"train_fraction": 0.5, "val_fraction": 0.3, "test_fraction": 0.2}
PER_WORD = base(rows("/chatter", x=WORD))
PER_TURN = base(rows("/imu", x=TURN))
PER_JOINT = base(rows("/joints", x=FIRST))
MAPPED = base({"mapping": {"word": ["/chatter"], "joint": ["/joints"]}})
TF_WORD = base(rows("/chatter", x=WORD, output={"format": "tfrecord"}))
ORIGIN = base(rows("/chatter", x=WORD, draft_origin={"kind": "manual"}))
START, END = START_NS + 300 * MS, START_NS + 900 * MS
X = "/features/x"
T0 = "/features/x/transforms/0"

SOURCES = (
    at("/imu", "angular_velocity.x"),
    {"kind": "constant", "value": 0.25},
    {"kind": "metadata", "key": "log_time_ns"},
    {"kind": "concat", "sources": [at("/imu", "orientation_covariance"), at("/imu", "orientation_covariance[0:2]")]},
    {"kind": "stack", "sources": [at("/imu", "angular_velocity.x"), {"kind": "constant", "value": 1.0}]},
)
POINTS = {"kind": "points", "topic": "/lidar", "fields": ["t"]}
POSE = {"kind": "tf", "target_frame": "map", "source_frame": "tool"}
CAST = {"kind": "cast", "dtype": "int64"}
ENCODE = {"kind": "image_encode"}

# the envelope and what it is called
case(base(rows("/camera", x=PIXELS, output={"format": "tfrecord"})), "/spec_version", 1, refused=[0, 3, "2"])
case(PER_WORD, "/metadata", {"author": "me"}, {"author": "you"}, refused=[[]])
case(PER_WORD, "/schema/name", "talk", "walk", refused=["", " "])
case(PER_WORD, "/schema/version", 2, 3, refused=[0])
case(ORIGIN, "/draft_origin/kind", "inspection", "template", "legacy", refused=["other"])
case(ORIGIN, "/draft_origin/source_topics", ["/imu"], ["/chatter"])
case(ORIGIN, "/draft_origin/provenance", {"tool": "t"}, {"tool": "u"})
case(ORIGIN, "/draft_origin/assumptions", ["a"], ["b"])
case(ORIGIN, "/draft_origin/warnings", ["a"], ["b"])
case(PER_WORD, f"{X}/description", "what was said", "other words")
case(
    base(rows("/chatter", x={"source": {"kind": "constant", "value": 1}, "dtype": "int64"})),
    f"{X}/source/description",
    "one",
    "uno",
)

# input
ANYWHERE = base(rows("/imu", x=TURN, input={"paths": ["LOGS"]}))
case(ANYWHERE, "/input/paths", ["LOGS/logs.mcap", "LOGS/deep"], ["LOGS/deep/*.mcap"], refused=[[""]])
case(ANYWHERE, "/input/recursive", True)
case(PER_WORD, "/input/recursive", refused=[True])
EVERYTHING = base({})
case(EVERYTHING, "/input/include_topics", ["/c*"], ["/imu", "/level"], refused=[[""]])
case(EVERYTHING, "/input/exclude_topics", ["/c*"], ["/imu", "/level"], refused=[[" "]])
for one in (PER_TURN, MAPPED):
    case(one, "/input/start_ns", START, END, refused=[-1])
    case(one, "/input/end_ns", START, END, refused=[-1])
    case(one, "/input/max_messages", 3, 9, refused=[0])
    case(one, "/input/sample_rate_hz", 5, 10.5, refused=[0, -1])
case(base(rows("/imu", x=TURN, input={"start_ns": END})), "/input/end_ns", refused=[START])

# decoding
for one in (base(rows("/chatter", x=WORD), "broken"), base({"mapping": {"w": ["/chatter"]}}, "broken")):
    case(one, "/decoding/on_decode_failure", "skip", "fail", refused=["ignore"])
    case(one, "/decoding/topics/~1chatter/on_failure", "skip", "fail", refused=["ignore"])
    case(one, "/decoding/topics", {"/chatter": {"on_failure": "fail"}}, refused=[{"/imu": {"on_failure": "fail"}}])
    warned = {**one.document["spec"], "decoding": {"on_decode_failure": "skip"}}
    case(base(warned, "broken"), "/decoding/topics/~1chatter/on_failure", "warn")
TYPED = base(rows("/x", x=of("/x", "data"), decoding={"topics": {"/x": {"type_hint": "a/A"}}}), "types")
case(TYPED, "/decoding/topics/~1x/type_hint", "a/B", refused=["a/C"])

# rows
case(
    PER_TURN,
    "/row_strategy",
    {"kind": "trigger", "trigger_topic": "/camera", "joins": [{"topic": "/imu", "missing": "forward_fill"}]},
    {"kind": "resample", "freq_hz": 20, "method": "downsample"},
    refused=[{"kind": "every"}],
)
PRESENT = {"source": {"kind": "metadata", "key": "present_topics"}, "dtype": "native"}
STRETCHED = base(
    {"row_strategy": {"kind": "trigger", "trigger_topic": "/imu", "joins": []}, "features": {"x": PRESENT}}
)
case(STRETCHED, "/row_strategy/trigger_topic", "/camera", "/joints", refused=[" ", "/cam"])
case(STRETCHED, "/row_strategy/joins", [{"topic": "/level"}], [{"topic": "/level", "required": False}])
case(STRETCHED, "/row_strategy/clock", "header_stamp", "publish_time", refused=["stamp", "field:", "field:a..b"])
case(STRETCHED, "/row_strategy/clock", "field:header.stamp")
case(base(rows("/imu", x=PRESENT)), "/row_strategy/topic", "/camera", "/joints", refused=["", "/cam"])
case(base(rows("/imu", x=PRESENT)), "/row_strategy/clock", "header_stamp", "publish_time", refused=["now"])
JOIN = "/row_strategy/joins/0"
case(base(joined({}, x=PRESENT)), f"{JOIN}/topic", "/camera", "/joints", refused=["", "/imu", "/cam"])
case(base(joined({})), f"{JOIN}/sync_policy", "nearest", "exact-within-tolerance", refused=["next"])
case(base(joined({"sync_policy": "nearest"})), f"{JOIN}/tolerance_ns", MS, 5 * MS, refused=[-1])
case(base(joined({"sync_policy": "exact-within-tolerance"})), f"{JOIN}/tolerance_ns", MS, 5 * MS)
case(base(joined({})), f"{JOIN}/tolerance_ns", refused=[5])
case(base(joined({})), f"{JOIN}/staleness_ns", 5 * MS, 20 * MS, refused=[-1])
case(base(joined({})), f"{JOIN}/required", False)
LOOSE = {"required": False, "staleness_ns": 10 * MS}
case(base(joined(LOOSE)), f"{JOIN}/missing", "zeros", "forward_fill", refused=["null"])
for missing in ("drop", "error"):
    case(base(joined({"missing": missing})), f"{JOIN}/required", refused=[False])
TIGHT = {"staleness_ns": 10 * MS, "missing": "forward_fill"}
case(base(joined(TIGHT)), f"{JOIN}/missing", "zeros", "drop", "error")
case(base(joined(LOOSE)), f"{JOIN}/default_value", {"data": 5}, {"data": 7}, refused=[{"dta": 5}, {"data": "x"}])
case(base(joined({"missing": "zeros"})), f"{JOIN}/default_value", refused=[{"data": 1}])
AGED = base(joined({"topic": "/joints", "age_column": True, "required": False}, x=NAMES))
case(AGED, f"{JOIN}/clock", "header_stamp", "publish_time", refused=["stamp"])
case(AGED, f"{JOIN}/clock", "field:header.stamp")
case(base(joined({"sync_policy": "nearest"})), f"{JOIN}/no_future", True)
case(base(joined({})), f"{JOIN}/no_future", refused=[True])
case(base(joined({})), f"{JOIN}/age_column", True)
GRID = base(resampled())
case(GRID, "/row_strategy/freq_hz", 20, 33.5, refused=[0, -1])
case(GRID, "/row_strategy/method", "interpolate", refused=["mean"])
case(GRID, "/row_strategy/topics", ["/imu", "/level", "/camera"], ["/level", "/imu", "/joints"], refused=[[""]])
case(GRID, "/row_strategy/anchor_topic", "/imu", "/level", "/camera", refused=["/cam"])
case(base(resampled(topics=["/imu", "/level"])), "/row_strategy/anchor_topic", refused=["/camera"])
case(base(resampled(freq_hz=500)), "/row_strategy/skip_empty", True)
STAMPED = {**resampled(freq_hz=2), "features": {"x": TURN, "y": NAMES}}
case(base(STAMPED), "/row_strategy/clock", "header_stamp", refused=["stamp"])

# whole messages
case(MAPPED, "/mapping", {"word": ["/chatter"]}, {"other": ["/chatter"]}, None, refused=[{}, {"word": []}])
case(MAPPED, "/mapping/word", ["/none", "/imu"], ["/level"], refused=[[]])
GRIDDED = base({"mapping": {"imu": ["/imu"], "level": ["/level"]}, "resample": {"freq_hz": 50, "method": "downsample"}})
case(GRIDDED, "/resample", None, {"freq_hz": 5, "method": "downsample"})
case(GRIDDED, "/resample/freq_hz", 20, 33.5, refused=[0])
case(GRIDDED, "/resample/method", "interpolate", refused=["mean"])
case(PER_WORD, "/mapping", refused=[{"word": ["/chatter"]}])
case(PER_WORD, "/resample", refused=[{"freq_hz": 5, "method": "downsample"}])

# features
case(PER_TURN, "/features", {"y": TURN}, {"x": TURN, "y": TURN}, refused=[{}])
case(PER_TURN, f"{X}/source", *SOURCES[1:], refused=[{"kind": "other"}])
WIDE = of("/blob", "data", "json")
case(base(rows("/blob", x=WIDE)), f"{X}/dtype", "bytes", "int64", "float32", "float64", refused=["bool", "int8"])
case(base(rows("/level", x=LEVEL)), f"{X}/dtype", "json", "int64", refused=["bool"])
case(transformed(of("/level", "data", "json"), {"kind": "cast", "dtype": "bool"}), f"{X}/dtype", "bool")
case(base(rows("/classes", x=CLASSES)), f"{X}/shape", [2], [3], refused=[[], [2, 2], [-2]])
case(PER_JOINT, f"{X}/required", True)
for missing in ("zeros", "drop", "error"):
    case(
        base(rows("/joints", x={**FIRST, "missing": missing, "presence_flag": False})), f"{X}/required", refused=[True]
    )
case(PER_JOINT, f"{X}/missing", "zeros", "forward_fill", "drop", "error", refused=["null"])
case(PER_JOINT, f"{X}/presence_flag", False)
case(base({**PER_JOINT.document["spec"], "output": {"format": "tfrecord"}}), f"{X}/presence_flag", False)
case(PER_JOINT, f"{X}/shift", 1, 2, 3, refused=[-1, 1.5, 10**6])
for strategy in ("time", "random"):
    case(base({**PER_JOINT.document["spec"], "split": {"strategy": strategy, **THIRDS}}), f"{X}/shift", refused=[1])
FIXED = base(rows("/joints", x={"source": {"kind": "constant", "value": 1}, "dtype": "int64"}))
case(FIXED, f"{X}/shift", refused=[1])
case(FIXED, f"{X}/source/value", 2, 3)
case(FIXED, f"{X}/required", refused=[True])
case(FIXED, f"{X}/missing", refused=["zeros", "forward_fill", "drop", "error"])

# sources
CAUSE = base(joined({"topic": "/joints"}, x=of("/imu", "header.stamp", "int64")))
case(CAUSE, f"{X}/source/topic", "/joints", refused=["", "/joint"])
case(PER_TURN, f"{X}/source/field_path", "angular_velocity.z", "header", refused=["angular_velocity.a", "a..b"])
TOLD_STAMP = {"source": {"kind": "metadata", "key": "log_time_ns", "topic": "/joints"}, "dtype": "native"}
KNOWN = base(joined({"topic": "/joints", "required": False, "age_column": True}, x=TOLD_STAMP))
case(KNOWN, f"{X}/source/key", "publish_time_ns", "header_stamp_ns", "topic", refused=["time"])
case(KNOWN, f"{X}/source/topic", "/imu", refused=["/joint"])
case(KNOWN, f"{X}/source/default_value", -1, -2, refused=["x"])
TIMED = base(rows("/imu", x={"source": {"kind": "metadata", "key": "timestamp_ns"}, "dtype": "native"}))
case(TIMED, f"{X}/source/key", "source_file", "episode_id", "present_topics", "publish_time_ns")
case(TIMED, f"{X}/source/topic", refused=["/imu"])
case(TIMED, f"{X}/source/default_value", refused=[1])
COVARIANCE = "orientation_covariance"
SQUARE = {"kind": "stack", "sources": [at("/imu", f"{COVARIANCE}[0:2]"), at("/imu", f"{COVARIANCE}[2:4]")]}
for kind in ("concat", "stack"):
    together = {"kind": kind, "sources": [SQUARE, SQUARE | {"axis": 1}]}
    case(base(rows("/imu", x={"source": together, "dtype": "native"})), f"{X}/source/axis", 1, refused=[5])
    parts = [at("/imu", COVARIANCE), at("/imu", f"{COVARIANCE}[0:9]")]
    several = {"source": {"kind": kind, "sources": parts}, "dtype": "native"}
    length = 9
    case(
        base(rows("/imu", x=several)),
        f"{X}/source/sources",
        [parts[0], {"kind": "constant", "value": [0.5] * 9}],
        [parts[0], {"kind": "concat", "sources": [at("/imu", f"{COVARIANCE}[0:4]"), at("/imu", f"{COVARIANCE}[0:5]")]}],
        [{"kind": "stack", "sources": [at("/imu", f"{COVARIANCE}[{k}]") for k in range(8, -1, -1)]}],
        refused=[[]],
    )
    words = {"source": {"kind": kind, "sources": [PRESENT["source"], {"kind": "constant", "value": ["a"]}]}}
    times = [{"kind": "metadata", "key": "timestamp_ns"}, {"kind": "constant", "value": 5}]
    sources = [PRESENT["source"], PRESENT["source"]] if kind == "concat" else times
    case(base(rows("/imu", x=several)), f"{X}/source/sources", sources)

CLOUD = base(rows("/lidar", x={"source": POINTS, "dtype": "native"}))
SEEN_BEFORE = base(rows("/lidar", x=of("/lidar", "point_step")))
case(SEEN_BEFORE, f"{X}/source", POINTS)
case(CLOUD, f"{X}/source/topic", refused=["/imu", "", "/lida"])
BOTH = joined({"topic": "/rear", "age_column": True}, "/lidar", x={"source": POINTS, "dtype": "native"})
case(base(BOTH), f"{X}/source/topic", "/rear")
NO_FIELDS: list[Any] = [[], ["x", "x"], ["x[1:1]"]]
case(CLOUD, f"{X}/source/fields", ["x"], ["x", "t"], ["ring", "code[1]"], ["code[0:2]", "nothing"], refused=NO_FIELDS)
case(CLOUD, f"{X}/source/dtype", "float64", "int64", refused=["float16"])
case(CLOUD, f"{X}/source/organized", True)
WITH_NAN = base(rows("/lidar", x={"source": POINTS | {"fields": ["x", "y"]}, "dtype": "native"}))
case(WITH_NAN, f"{X}/source/skip_nans", True)
for more in ({"dtype": "int64"}, {"organized": True}):
    case(base(rows("/lidar", x={"source": POINTS | more, "dtype": "native"})), f"{X}/source/skip_nans", refused=[True])
KEY = {"kind": "keyframe", "topic": "/video"}
FILMED = joined({"topic": "/film", "age_column": True}, "/video", x={"source": KEY, "dtype": "native"})
case(base(FILMED), f"{X}/source", at("/video", "format"))
case(base(FILMED), f"{X}/source/topic", "/film", refused=["/vid", ""])
case(base(rows("/level", x=LEVEL)), f"{X}/source/topic", refused=[KEY])
BEAMS = {"kind": "scan", "topic": "/scan"}
SCANNED = base(rows("/scan", x={"source": BEAMS, "dtype": "native"}))
case(base(rows("/scan", x=of("/scan", "ranges"))), f"{X}/source", BEAMS)
BOTH_SCANS = joined({"topic": "/scan_rear", "age_column": True}, "/scan", x={"source": BEAMS, "dtype": "native"})
case(base(BOTH_SCANS), f"{X}/source/topic", "/scan_rear", refused=["/sca", ""])
ODD_FIELDS: list[Any] = [[], ["range", "range"], ["r"]]
BEAM_FIELDS = [["angle"], ["intensity"], ["x"], ["y"], ["x", "range"]]
OF_BEAMS = [f"ScanSource.fields={name}" for name in ("range", "angle", "intensity", "x", "y")]
case(SCANNED, f"{X}/source/fields", *BEAM_FIELDS, refused=ODD_FIELDS, also=OF_BEAMS)
case(SCANNED, f"{X}/source/out_of_range", "nan", "clamp", "skip", refused=["drop"])
LIT = base(rows("/scan", x={"source": BEAMS | {"fields": ["intensity"]}, "dtype": "native"}))
case(LIT, f"{X}/source/out_of_range", "skip", refused=["nan", "clamp"])
SEEN_FROM = base(rows("/level", x={"source": POSE, "dtype": "native"}))
case(base(rows("/level", x=LEVEL)), f"{X}/source", POSE)
case(SEEN_FROM, f"{X}/source/target_frame", "base", "arm", refused=["tool", "mapp", " "])
case(SEEN_FROM, f"{X}/source/source_frame", "base", "arm", refused=["map", "too", ""])
case(SEEN_FROM, f"{X}/source/topics", ["/moved"], ["/tf", "/moved"], refused=[["/tff"], ["/imu"], [""]])
MOVING = base(rows("/level", x={"source": POSE | {"source_frame": "base"}, "dtype": "native"}))
case(MOVING, f"{X}/source/static_topics", ["/moved", "/tf_static"], refused=[["/tf"], ["/level"]])
FIXED_POSE = {"source": POSE | {"topics": [], "static_topics": ["/moved", "/tf_static"]}, "dtype": "native"}
case(base(rows("/level", x=FIXED_POSE)), f"{X}/source/static_topics", ["/tf", "/tf_static"], refused=[[]])
SPARSE = base(rows("/level", x={"source": POSE | {"topics": ["/moved"]}, "dtype": "native"}))
case(SPARSE, f"{X}/source/tolerance_ns", 250 * MS, 350 * MS, refused=[-1])
case(SEEN_FROM, f"{X}/source/no_future", True)
for kind in ("concat", "stack"):
    parted = {"source": {"kind": kind, "sources": [POINTS]}, "dtype": "native"}
    case(base(rows("/lidar", x=parted)), f"{X}/source/sources", [POINTS, POINTS])
    if kind == "stack":
        keyed = base(rows("/video", x={"source": {"kind": kind, "sources": [KEY]}, "dtype": "native"}))
        case(keyed, f"{X}/source/sources", [KEY, KEY])
    else:  # which takes lists
        both = ["ConcatSource.sources -> KeyframeSource"]
        parts = [{"kind": "stack", "sources": [KEY]}]
        case(
            base(rows("/video", x={"source": {"kind": kind, "sources": parts}, "dtype": "native"})),
            f"{X}/source/sources",
            [*parts, *parts],
            refused=[[KEY]],
            also=both,
        )
    scanned = {"source": {"kind": kind, "sources": [BEAMS]}, "dtype": "native"}
    case(base(rows("/scan", x=scanned)), f"{X}/source/sources", [BEAMS, BEAMS])
    posed = {"source": {"kind": kind, "sources": [POSE]}, "dtype": "native"}
    case(base(rows("/level", x=posed)), f"{X}/source/sources", [POSE, POSE])

# transforms
for transform in (
    {"kind": "cast", "dtype": "float64"},
    {"kind": "clamp", "min": 1},
    {"kind": "scale", "scale": 2},
    {"kind": "normalize", "mean": 0.5},
    {"kind": "one_hot", "depth": 4},
):
    case(base(rows("/level", x=LEVEL)), f"{X}/transforms", [transform], refused=[[{"kind": "other"}]])
for transform in ({"kind": "length", "pad_to": 3}, {"kind": "multi_hot", "depth": 4}):
    case(base(rows("/classes", x=CLASSES)), f"{X}/transforms", [transform])
for transform in (
    {"kind": "image_color_convert", "to": "gray"},
    {"kind": "image_resize", "width": 3, "height": 3},
    {"kind": "image_crop", "width": 3, "height": 3},
    {"kind": "image_decode"},
    ENCODE,
):
    case(base(rows("/camera", x=PIXELS)), f"{X}/transforms", [transform])
LISTS = transformed(CLASSES, {"kind": "cast", "dtype": "int64"})
case(LISTS, f"{T0}/dtype", "bytes", "bool", "float32", "float64", "json", refused=["int8"])
case(transformed(CLASSES, {"kind": "length", "exact": 1}), f"{T0}/exact", 2, 3, refused=[-1])
case(transformed(CLASSES, {"kind": "length", "pad_to": 3}), f"{T0}/pad_to", 2, 4, refused=[-1])
case(transformed(CLASSES, {"kind": "length", "pad_to": 3}), f"{T0}/pad_value", 5, 7, refused=[0.5, "x"])
case(transformed(CLASSES, {"kind": "length", "exact": 3}), f"{T0}/pad_value", refused=[5])
case(transformed(CLASSES, {"kind": "length", "min": 1}), f"{T0}/truncate_to", 1, 2, refused=[-1])
case(transformed(CLASSES, {"kind": "length", "min": 1}), f"{T0}/min", 2, 3, refused=[-1])
case(transformed(CLASSES, {"kind": "length", "min": 1}), f"{T0}/max", 1, 2, refused=[0])
case(transformed(CLASSES, {"kind": "length", "pad_to": 3}), f"{T0}/max", refused=[2])
case(transformed(LEVEL, {"kind": "clamp", "min": 1}), f"{T0}/min", 2, 1.5)
case(transformed(LEVEL, {"kind": "clamp", "min": 1}), f"{T0}/max", 2, 1.5, refused=[0])
case(transformed(LEVEL, {"kind": "scale", "scale": 2}), f"{T0}/scale", 3, -1, refused=[1])
case(transformed(LEVEL, {"kind": "scale", "scale": 2}), f"{T0}/offset", 3, -1)
case(transformed(LEVEL, {"kind": "normalize", "min": 0, "max": 4}), f"{T0}/min", 1, -1, refused=[None])
case(transformed(LEVEL, {"kind": "normalize", "min": 0, "max": 4}), f"{T0}/max", 3, 5, refused=[0])
case(transformed(LEVEL, {"kind": "normalize", "mean": 1}), f"{T0}/mean", 2, 3)
case(transformed(LEVEL, {"kind": "normalize", "mean": 1}), f"{T0}/std", 2, 3, refused=[0])
case(transformed(LEVEL, {"kind": "normalize", "mean": 1}), f"{T0}/scale", 2, 3, refused=[0])
case(transformed(LEVEL, {"kind": "one_hot", "depth": 4}), f"{T0}/depth", 3, 5, refused=[0])
case(transformed(CLASSES, {"kind": "multi_hot", "depth": 4}), f"{T0}/depth", 3, 5, refused=[0])
RAW = {
    "source": {
        "kind": "constant",
        "value": {"__bytes__": True, "encoding": "base64", "value": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"},
    }
}
RAW_SIZE = {"kind": "image_color_convert", "from": "gray", "to": "rgba", "height": 2, "width": 3}
UNTOLD = base(rows("/level", x={**RAW, "dtype": "bytes", "transforms": [RAW_SIZE]}))
case(UNTOLD, f"{T0}/from", "rgb", "bgr", "bgra", refused=["cmyk"])
case(transformed({**RAW, "dtype": "bytes"}, RAW_SIZE | {"to": "rgb"}), f"{T0}/from", "rgba")
case(UNTOLD, f"{T0}/height", 1, 3, refused=[0, None])
case(UNTOLD, f"{T0}/width", 1, 4, refused=[0, None])
TO_GRAY = transformed(PIXELS, {"kind": "image_color_convert", "to": "gray"})
case(TO_GRAY, f"{T0}/to", "rgb", "bgr", "rgba", "bgra", refused=["cmyk"])
case(TO_GRAY, f"{T0}/channels", 1, 4, refused=[0])
case(transformed(PIXELS, {"kind": "image_color_convert", "from": "rgb", "to": "gray"}), f"{T0}/channels", refused=[4])
SMALL = transformed(PIXELS, {"kind": "image_resize", "width": 4, "height": 3})
case(SMALL, f"{T0}/width", 5, 3, refused=[0])
case(SMALL, f"{T0}/height", 5, 2, refused=[0])
case(SMALL, f"{T0}/filter", "nearest", "box", "bilinear", "hamming", "lanczos", refused=["best"])
PART = transformed(PIXELS, {"kind": "image_crop", "width": 3, "height": 2})
for key in ("left", "top"):
    case(PART, f"{T0}/{key}", 1, 2, refused=[-1])
for key in ("width", "height"):
    case(PART, f"{T0}/{key}", 1, 4, refused=[0])
case(transformed(PIXELS, ENCODE), f"{T0}/format", "jpeg", refused=["gif"])
case(transformed(PIXELS, ENCODE), f"{T0}/quality", refused=[50])
case(transformed(PIXELS, {**ENCODE, "format": "jpeg"}), f"{T0}/quality", 10, 90, refused=[-1, 0, 101])

# labels
LABELLED = base(
    {**rows("/level"), "features": {"x": LEVEL, "y": of("/level", "data", "float64")}, "labels": {"primary": "x"}}
)
case(LABELLED, "/labels", {"primary": "x", "class_map": {str(k): 9 - k for k in range(4)}}, refused=[{}])
case(LABELLED, "/labels/primary", "y", refused=["z"])
case(LABELLED, "/labels/class_map", {str(k): 9 - k for k in range(4)}, {"0": 1})
case(LABELLED, "/labels/source", refused=[at("/level", "data")])
case(LABELLED, "/labels/transforms", refused=[[CAST]])
case(base(rows("/classes", x=CLASSES, labels={"primary": "x"})), "/labels/multi_label", True)
OWN = base(rows("/level", x=LEVEL, labels={"source": at("/level", "data")}))
case(OWN, "/labels/source", {"kind": "constant", "value": 3}, {"kind": "metadata", "key": "log_time_ns"})
case(OWN, "/labels/source", refused=[POINTS], also=["Labels.source -> PointsSource"])
case(OWN, "/labels/source", refused=[POSE], also=["Labels.source -> TfSource"])
case(OWN, "/labels/source", refused=[BEAMS], also=["Labels.source -> ScanSource"])
case(
    base(rows("/video", x=of("/video", "format"), labels={"source": {"kind": "constant", "value": 1}})),
    "/labels/source",
    KEY,
)
MANY = base(rows("/classes", x=CLASSES, labels={"source": at("/classes", "data"), "multi_label": True}))
case(
    MANY,
    "/labels/source",
    {"kind": "concat", "sources": [at("/classes", "data"), {"kind": "constant", "value": [7]}]},
    {"kind": "stack", "sources": [at("/classes", "data[0]"), {"kind": "constant", "value": 7}]},
)
LABEL_MOVES: dict[str, tuple[Base, list[Any]]] = {
    "cast": (OWN, [{"kind": "cast", "dtype": "bool"}]),
    "clamp": (OWN, [{"kind": "clamp", "min": 1}]),
    "scale": (OWN, [{"kind": "scale", "scale": 2}, CAST]),
    "normalize": (OWN, [{"kind": "normalize", "mean": 1}, CAST]),
    "length": (MANY, [{"kind": "length", "pad_to": 3}]),
    "one_hot": (
        base(
            rows(
                "/level",
                x=LEVEL,
                labels={
                    "source": at("/level", "data"),
                    "multi_label": True,
                    "transforms": [{"kind": "multi_hot", "depth": 4}],
                },
            )
        ),
        [{"kind": "one_hot", "depth": 5}],
    ),
    "multi_hot": (MANY, [{"kind": "multi_hot", "depth": 4}]),
}
SEEN = base(rows("/camera", x=PIXELS, labels={"source": at("/camera", "data"), "multi_label": True}))
for labelled, moves in LABEL_MOVES.values():
    case(labelled, "/labels/transforms", moves)
for more in (
    {"width": 3, "height": 2, "kind": "image_crop"},
    {"width": 3, "height": 2, "kind": "image_resize"},
    {"kind": "image_color_convert", "to": "gray"},
    {"kind": "image_decode"},
    ENCODE,
):
    case(SEEN, "/labels/transforms", [more, {**ENCODE, "format": "jpeg"}] if more is not ENCODE else [more])

# split
SPLIT = base(
    {
        **rows("/level"),
        "features": {"x": LEVEL, "y": of("/level", "data", "json", transforms=[{"kind": "clamp", "max": 1}])},
    }
    | {"split": {"strategy": "random", **THIRDS}}
)
GROUPED = {"strategy": "group", "group_by": "x", **THIRDS}
case(
    SPLIT,
    "/split",
    {"strategy": "none"},
    GROUPED,
    {"strategy": "random", "train_fraction": 0.3, "val_fraction": 0.5, "test_fraction": 0.2},
    {"strategy": "random", "train_fraction": 0.5, "val_fraction": 0.2, "test_fraction": 0.3},
    {"strategy": "random", "train_fraction": 0.2, "val_fraction": 0.3, "test_fraction": 0.5},
    also=["Split.strategy=none", "Split.strategy=group"]
    + [f"Split.{part}_fraction" for part in ("train", "val", "test")],
)
case(SPLIT, "/split/strategy", "time", "episode", refused=["every"])
for part in ("train", "val", "test"):
    case(SPLIT, f"/split/{part}_fraction", refused=[0.9, 2, None])
case(SPLIT, "/split/seed", 1, 2)
GROUPS = base({**SPLIT.document["spec"], "split": GROUPED})
case(GROUPS, "/split/group_by", "y", refused=["z", None])
case(SPLIT, "/split/group_by", refused=["x"])

# computations
COMPUTED = rows("/level", features={"x": LEVEL, "y": of("/level", "data", "float64")})


def computed(function: str, **more: Any) -> Base:
    """Rows with a computed column."""
    one = {"file": "a.py", "function": function, "inputs": ["x"], "outputs": {"c": {"dtype": "int64"}}, **more}
    return base({**COMPUTED, "computations": [one]})


C0 = "/computations/0"
ONCE = computed("compute")
case(base(COMPUTED), "/computations", ONCE.document["spec"]["computations"])
case(MAPPED, "/computations", refused=[ONCE.document["spec"]["computations"]])
case(ONCE, f"{C0}/file", "b.py", refused=["../a.py", "a.txt", ""])
case(ONCE, f"{C0}/function", "twice", refused=["a b", ""])
case(ONCE, f"{C0}/inputs", ["y"], refused=[[], ["z"], ["x", "x"]])
case(ONCE, f"{C0}/outputs", {"d": {"dtype": "int64"}}, refused=[{}, {"x": {"dtype": "int64"}}])
case(ONCE, f"{C0}/outputs/c/dtype", "float32", "float64", "bool", "bytes", refused=["json"])
case(ONCE, f"{C0}/outputs/c/description", "what it is")
PAIRS = computed("pairs", outputs={"c": {"dtype": "int64", "shape": [2]}})
case(PAIRS, f"{C0}/outputs/c/shape", [-1], [3], refused=[[-2]])
case(computed("slow"), f"{C0}/time_limit_s", 0.1, refused=[0, -1, 4000])
case(computed("big"), f"{C0}/memory_limit_mb", 16, refused=[0])

# quality
case(PER_TURN, "/quality", ["/imu >= 9999 Hz"], ["/level >= 9999 Hz"], refused=[["/imu >= fast"], [""]])

# validation
CHECKED = base(rows("/joints", x={**FIRST, "required": True}))
case(CHECKED, "/validation/sample_n", 3, 30, refused=[0])
case(CHECKED, "/validation/fail_fast", True)
case(CHECKED, "/validation/bad_record_budget", 0, 3, refused=[-1])
case(CHECKED, "/validation/expected_features", refused=[["z"], [""]], also=["Validation.expected_features"])
case(CHECKED, "/validation/preview", True)
case(MAPPED, "/validation/preview", refused=[True])

# output
case(PER_TURN, "/output", {"format": "tfrecord"}, refused=[{"format": "csv"}])
case(PER_TURN, "/write_manifest", False)
for format_ in ("parquet", "tfrecord"):
    mapped = base({**MAPPED.document["spec"], "output": {"format": format_}})
    featured = base({**PER_TURN.document["spec"], "output": {"format": format_}})
    case(mapped, "/output/layout", "topics", refused=["long"])
    case(featured, "/output/layout", refused=["topics"])
    case(featured, "/output/shards", 2, 3, refused=[0])
    case(mapped, "/output/shards", refused=[2])
    case(featured, "/output/filename_template", "{episode_id}.{extension}", "a", refused=["{x}", "a/b", ""])
    case(featured, "/output/write_manifest", False)
    case(mapped, "/output/write_manifest", False)
case(PER_TURN, "/output/compression", "snappy", "gzip", "brotli", "lz4", "zstd", refused=["lzo"])
case(PER_TURN, "/output/row_group_rows", 10, 20, refused=[0])
case(MAPPED, "/output/payload_encoding", "json", refused=["text"])
TF_TURN = base({**PER_TURN.document["spec"], "output": {"format": "tfrecord"}})
case(TF_TURN, "/output/compression", "gzip", refused=["zstd"])
case(TF_TURN, "/output/payload_encoding", refused=["json"])
case(TF_TURN, "/output/null_encoding", refused=["nan"])
case(TF_TURN, "/output/float64", "bytes", refused=["float64"])
case(
    base({**PER_JOINT.document["spec"], "output": {"format": "tfrecord"}}),
    "/output/absent_keys",
    "omit",
    refused=["no"],
)
TF_CAMERA = base(rows("/camera", x=PIXELS, output={"format": "tfrecord"}))
case(TF_CAMERA, "/output/image_payload_contract", "legacy_list_v1", refused=["bytes_v1"])


def _name(one: Case) -> str:
    return f"{one.pointer.removeprefix('/spec')}={json.dumps([*one.values, *one.refused])[:60]}"


@pytest.mark.parametrize("one", CASES, ids=_name)
def test_the_key_does_something(converter: Converter, one: Case) -> None:
    before = converter.outcome(one.base, one.base.document)
    assert not before.is_refused, before.seen
    outcomes = {"as it is": before} | {
        json.dumps(value): converter.outcome(one.base, one.changed(value)) for value in one.values
    }
    assert not {value: outcome.seen for value, outcome in outcomes.items() if outcome.is_refused}
    key = place_of(one.base.document, one.path).key
    places = [TOLD[key]] if key in TOLD else []
    seen = {value: _told(outcome, places) for value, outcome in outcomes.items()}
    alike: dict[str, list[str]] = {}
    for value, text in seen.items():
        alike.setdefault(text, []).append(value)
    assert [values for values in alike.values() if len(values) > 1] == [], "these lead to the same"
    for value in one.refused:
        outcome = converter.outcome(one.base, one.changed(value))
        assert outcome.is_refused, f"{value!r} is accepted: {outcome.seen[:300]}"
        assert any(_leads_to(pointer, one.pointer) for pointer in outcome.pointers), (value, outcome)


def test_every_key_has_a_case_and_every_case_a_key() -> None:
    keys, covered = schema_keys(), set[str]().union(*(one.keys() for one in CASES))
    assert keys - covered == set(), "keys without a case"
    assert covered - keys == set(), "cases of keys that are gone"
    assert set(TOLD) <= keys


def _leads_to(pointer: str, place: str) -> bool:
    """Whether an error points at a place, below it, or at what holds it; errors found with a log lack the envelope."""
    pointer = pointer if pointer.startswith(ENVELOPE) else f"/spec{pointer}"
    return pointer == place or pointer.startswith(f"{place}/") or pointer == place.rpartition("/")[0]


def _told(outcome: Outcome, places: Iterable[str]) -> str:
    """What is observed, and what the manifest tells at ``places``."""
    found = []
    for place in places:
        at: Any = outcome.manifest
        for step in place.split("."):
            at = at[int(step)] if step.isdigit() else at[step]
        found.append(at)
    return f"{outcome.seen} {found}"
