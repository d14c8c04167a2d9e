"""Features over columns against the twin on Python values; policies, sources, what is refused."""

import math
import random
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.features.columns import zero
from hephaes_rpc.engine.features.compiled import FeatureBatch, FeatureSet
from hephaes_rpc.engine.features.lookahead import Lookahead
from hephaes_rpc.engine.features.readers import Rows, SourceRows
from hephaes_rpc.engine.features.sources import Context
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.messages.msgdef import Definition, parse_definition
from hephaes_rpc.engine.specs import document
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.errors import HephaesError, SpecError
from tests.reference import features as twin
from tests.thorough import examples

TEXT = """
std_msgs/Header header
float64[3] v
float32[] r
float64 d
int32[] ns
int64 i
uint64 big
uint8 u
bool flag
bool[] flags
string name
string[] names
uint8[] blob
uint8[4] tag
P[] ps
P[2] pair
P p
time at
duration[] waits
================
MSG: test/P
float64 x
int32[] ns
string s
"""
DEFINITION = parse_definition("test/M", TEXT, 2)
CONTEXT = Context("episode_0001", "log.mcap", "/m")
TOPICS = {"/m": DEFINITION, "/j": DEFINITION}


def spec_of(features: dict[str, Any], labels: Any = None, **join: Any) -> ConversionSpec:
    """A trigger on /m with /j joined."""
    strategy = {"kind": "trigger", "trigger_topic": "/m", "joins": [{"topic": "/j", **join}]}
    text = {"row_strategy": strategy, "features": features, **({"labels": labels} if labels else {})}
    return document.load(text).spec


def path(field_path: str | None, topic: str = "/j") -> dict[str, Any]:
    return {"kind": "path", "topic": topic, "field_path": field_path}


def compiled(spec: ConversionSpec, definition: Definition = DEFINITION) -> FeatureSet:
    return FeatureSet.compile(spec, {"/m": definition, "/j": definition}, CONTEXT)


def only(value: Any, kind: pa.DataType) -> Any:
    """The members of a message that were decoded."""
    if pa.types.is_struct(kind):
        return {member.name: only(value[member.name], member.type) for member in kind}
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return [only(item, kind.value_type) for item in value]
    return value


def rows_of(
    features: FeatureSet, messages: dict[str, list[Any]], definition: Definition = DEFINITION, first_ns: int = 0
) -> Rows:
    """Rows as the pipeline gives them: what features need, decoded."""
    sources = {}
    n = len(next(iter(messages.values())))
    for topic, found in messages.items():
        present = np.array([message is not None for message in found], np.bool_)
        need = features.needs.get(topic)
        stamps = {"log_time_ns": np.arange(n) * 7, "publish_time_ns": np.arange(n) * 9}
        if need is None or need.select == set():
            sources[topic] = SourceRows(present, **stamps)
            continue
        kind = StreamDecoder(definition, "cdr", need.select).arrow_type
        array = pa.array([None if m is None else only(m, kind) for m in found], kind)
        sources[topic] = SourceRows(present, array, **stamps)
    return Rows(np.arange(n, dtype=np.int64) + first_ns, sources)


def evaluate(features: FeatureSet, messages: dict[str, list[Any]], **more: Any) -> FeatureBatch:
    batch = features.evaluation().evaluate(rows_of(features, messages, **more))
    for name, column in batch.columns.items():
        assert column.type == features.schema.field(name).type
        column.validate(full=True)
    return batch


FULL = StreamDecoder(DEFINITION, "cdr").arrow_type
ZERO = zero(FULL)


def message(**members: Any) -> dict[str, Any]:
    return {**ZERO, **members}


# -- against the twin --------------------------------------------------------------------------------------------------

PATHS_TEXT = """
    header.stamp header.frame_id v v[1] v.-1 v[0:2] r r[0] r[-2] r[1:] r[:-1] d ns ns.1 i big u flag flags flags[0]
    name names names[0] names[:2] blob blob[0] blob[1:3] blob[-2:] tag tag[2] tag[0:2] ps[0].x ps[:].x ps[1:].ns
    ps[:].ns[0] ps[-1].ns[1] pair[:].x pair[0:1].ns pair[1].s p.x p.ns at waits waits[0] waits[:].sec p ps[:].s
    """
PATHS = st.sampled_from(PATHS_TEXT.split())
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, -2, 4, 0.5, 2.25])
TRANSFORMS = st.one_of(
    st.sampled_from(["bytes", "bool", "int64", "float32", "float64"]).map(lambda d: {"cast": {"dtype": d}}),
    st.sampled_from(
        [{"exact": 2}, {"truncate_to": 1}, {"truncate_to": 2, "min": 1}, {"min": 1, "max": 2}, {"exact": 3}, {"min": 2}]
    ).map(lambda p: {"length": p}),
    st.tuples(st.integers(0, 4), NUMBERS).map(lambda p: {"length": {"pad_to": p[0], "pad_value": p[1]}}),
    st.tuples(NUMBERS, NUMBERS).map(lambda p: {"clamp": {"min": min(p), "max": max(p)}}),
    NUMBERS.map(lambda n: {"clamp": {"min": n}}),
    st.tuples(NUMBERS, NUMBERS).map(lambda p: {"scale": {"scale": p[0], "offset": p[1] or 1}}),
    st.just({"normalize": {"min": 1, "max": 3}}),
    st.just({"normalize": {"mean": 0.5, "std": 2, "scale": 4}}),
    st.integers(1, 5).map(lambda n: {"one_hot": {"depth": n}}),
    st.integers(1, 5).map(lambda n: {"multi_hot": {"depth": n}}),
)
DTYPES = st.sampled_from(["int64", "float32", "float64", "bool", "bytes", "json", "native"])
SHAPES = st.none() | st.lists(st.sampled_from([-1, -1, 1, 2, 3, 4]), max_size=2)


FLOATS = [0.0, -0.0, 1.0, 2.5, -3.0, 0.1, 1e300, 1e-40, math.nan, math.inf, 2.0**63, 255.0, 256.0]
INTEGERS = [0, 1, 2, 3, 4, -1, -2, 255, 256, 2**24 + 1, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
TEXTS = ["", "1", "-3", "2.5", "x", "é", "9999999999999999999999"]


def value_of(kind: pa.DataType, rng: random.Random) -> Any:
    """A value of a type, at its edges often."""
    if pa.types.is_struct(kind):
        found = {member.name: value_of(member.type, rng) for member in kind}
        return found | {"nanosec": rng.randrange(10**9)} if "nanosec" in found else found
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        size = kind.list_size if pa.types.is_fixed_size_list(kind) else rng.randrange(5)
        return [value_of(kind.value_type, rng) for _ in range(size)]
    if pa.types.is_string(kind):
        return rng.choice(TEXTS)
    if pa.types.is_binary(kind):
        return rng.randbytes(rng.randrange(5))
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    if pa.types.is_floating(kind):
        value = rng.choice([*FLOATS, rng.gauss(0, 3)])
        with np.errstate(over="ignore"):
            return float(np.dtype(kind.to_pandas_dtype()).type(value))
    limits = np.iinfo(kind.to_pandas_dtype())
    return rng.choice([n for n in INTEGERS if limits.min <= n <= limits.max])


@cache
def message_of(seed: int) -> dict[str, Any]:
    """A message, always the same one for a seed."""
    rng = random.Random(seed)
    return {**value_of(FULL, rng), "tag": rng.randbytes(4)}


SEEDS = st.integers(0, 150)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, bool | int | float) and isinstance(b, bool | int | float):  # which of them the schema says
        return a == b or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


SOURCES = PATHS.map(path) | st.builds(
    lambda kind, parts, axis: {"kind": kind, "axis": axis, "sources": [path(p, t) for p, t in parts]},
    st.sampled_from(["concat", "stack"]),
    st.lists(st.tuples(PATHS, st.sampled_from(["/m", "/j"])), min_size=1, max_size=3),
    st.sampled_from([0, 0, 1]),
)


def _is_plain_without_types(source: Any, transforms: Any, dtype: str) -> bool:
    """Whether Python values alone tell what comes out: an empty list does not say what it is a list of."""
    pads = any("pad_to" in step.get("length", {}) for step in transforms)
    if source["kind"] != "path":
        clamps = any("clamp" in step for step in transforms)
        known = ["int64", "float32", "float64"] + ["bytes"] * (source["kind"] == "concat")
        rounds = {"cast": {"dtype": "int64"}} in transforms  # what a common float type has rounded before
        return dtype in known and not pads and not clamps and not rounds
    to_bytes = {"cast": {"dtype": "bytes"}} in transforms
    return not (to_bytes and source["field_path"] in ("names", "names[:2]", "ps[:].s")) and not (
        pads and dtype == "json"
    )


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    SOURCES,
    st.lists(TRANSFORMS, max_size=2),
    DTYPES,
    SHAPES,
    st.sampled_from(["default", "zeros", "forward_fill", "drop", "error"]),
    st.booleans(),
    st.lists(st.tuples(SEEDS, st.none() | SEEDS), max_size=5),
    st.integers(0, 5),
)
def test_columns_equal_the_twin(
    source: Any, transforms: Any, dtype: str, shape: Any, missing: str, required: bool, rows: Any, cut: int
) -> None:
    """Any feature that is accepted, over any messages, in one batch or two."""
    assume(_is_plain_without_types(source, transforms, dtype))
    entry = {"source": source, "transforms": transforms, "dtype": dtype, "shape": shape, "missing": missing}
    try:
        spec = spec_of({"f": {**entry, "required": required and missing in ("default", "forward_fill")}})
        features = compiled(spec)
    except (SpecError, HephaesError):
        assume(False)
        return
    feature = spec.features["f"]
    rows = [(message_of(m), None if j is None else message_of(j)) for m, j in rows]
    first, second = [m for m, _ in rows], [j for _, j in rows]
    own_zero = features.features[0].zero
    nothing = None if own_zero is None else own_zero.to_pylist()[0]
    try:
        expected = twin.evaluate(feature, [{"/m": m, "/j": j} for m, j in rows], zero=nothing)
    except twin.AbsentError:
        with pytest.raises(HephaesError, match="feature 'f' has no value at row time"):
            evaluate(features, {"/m": first, "/j": second})
        return
    run = features.evaluation()
    cut = min(cut, len(rows))
    batches = [
        run.evaluate(rows_of(features, {"/m": first[part], "/j": second[part]}))
        for part in (slice(0, cut), slice(cut, None))
    ]
    found = [value for batch in batches for value in batch.columns["f"].to_pylist()]
    assert same(found, expected[0]), (found, expected[0])
    assert np.concatenate([batch.present["f"] for batch in batches]).tolist() == expected[1]
    assert (~np.concatenate([batch.keep for batch in batches])).tolist() == expected[2]
    assert np.concatenate([batch.bad for batch in batches]).tolist() == expected[3]
    counts = run.counts["f"]
    assert counts.rows == len(rows)
    assert counts.present == sum(expected[1])
    assert counts.dropped == sum(expected[2])
    assert counts.bad == sum(expected[3])
    assert counts.present + counts.absent + counts.dropped + counts.filled["zeros"] == len(rows)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.sampled_from(["default", "zeros", "forward_fill", "drop"]),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([{}, {"missing": "zeros", "required": False}]),
    st.lists(st.tuples(SEEDS, st.none() | SEEDS), max_size=9),
    st.lists(st.integers(0, 4), max_size=6),
)
def test_shifted_columns_equal_the_twin_however_rows_come(
    missing: str, presence_flag: bool, shift: int, join: Any, found: Any, sizes: list[int]
) -> None:
    """A shifted feature beside one that is not, over batches of any sizes."""
    entry = {"source": path("ns[0]"), "dtype": "int64", "shape": [], "missing": missing, "presence_flag": presence_flag}
    spec = spec_of({"f": {**entry, "shift": shift}, "plain": {**entry, "missing": "default"}}, **join)
    features = compiled(spec)
    rows = [{"/m": message_of(m), "/j": None if j is None else message_of(j)} for m, j in found]
    zeros = frozenset({"/j"} if join else ())
    expected = {name: twin.evaluate(f, rows, zero_topics=zeros) for name, f in spec.features.items()}
    run, lookahead = features.evaluation(), Lookahead(features.reach, len(rows), len(rows))
    batches, at = [], 0
    for size in [*sizes, len(rows)]:
        some = rows[at : at + size]
        messages = {topic: [row[topic] for row in some] for topic in ("/m", "/j")}
        first, waiting, n = lookahead.take(at, rows_of(features, messages, first_ns=at))
        assert first == sum(map(len, (batch.keep for batch in batches)))
        assert waiting.timestamp_ns.tolist() == list(range(first, at + len(some)))
        batches.append(run.evaluate(waiting, n))
        at += len(some)
    for name, (values, present, dropped, _) in expected.items():
        nothing = None if presence_flag else 0
        seen = [value for batch in batches for value in batch.columns[name].to_pylist()]
        kept = [k for k, gone in enumerate(dropped) if not gone]
        assert [seen[k] for k in kept] == [nothing if values[k] is None else values[k] for k in kept]
        assert np.concatenate([batch.present[name] for batch in batches]).tolist() == present
        assert run.counts[name].rows == len(rows)
    assert np.concatenate([batch.keep for batch in batches]).tolist() == [not gone for gone in expected["f"][2]]


# -- dtype x missing x required ----------------------------------------------------------------------------------------

FIELDS = {"int64": "ns[0]", "float32": "r[0]", "float64": "ps[0].x", "bool": "flags[0]", "bytes": "blob", "native": "p"}
OWN = {
    "int64": message(ns=[5]),
    "float32": message(r=[0.5]),
    "float64": message(ps=[{"x": 2.5, "ns": [], "s": ""}]),
    "bool": message(flags=[True]),
    "bytes": message(blob=b"ab"),
    "json": message(p={"x": 1.5, "ns": [2], "s": "t"}),
    "native": message(p={"x": 1.5, "ns": [2], "s": "t"}),
}
VALUES = {
    "int64": 5,
    "float32": 0.5,
    "float64": 2.5,
    "bool": True,
    "bytes": b"ab",
    "json": '{"x":1.5,"ns":[2],"s":"t"}',
    "native": {"x": 1.5, "ns": [2], "s": "t"},
}
ZEROS = {
    "int64": 0,
    "float32": 0.0,
    "float64": 0.0,
    "bool": False,
    "bytes": b"",
    "native": {"x": 0.0, "ns": [], "s": ""},
}


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("missing", ["default", "zeros", "forward_fill", "drop", "error"])
@pytest.mark.parametrize("dtype", list(VALUES))
def test_policies(dtype: str, missing: str, required: bool) -> None:
    """The written table: rows absent, present, absent."""
    entry = {"source": path(FIELDS.get(dtype, "p")), "dtype": dtype, "missing": missing, "required": required}
    if dtype == "json" and missing == "zeros":
        with pytest.raises(SpecError, match="zero"):
            spec_of({"f": entry})
        return
    if required and missing not in ("default", "forward_fill"):
        with pytest.raises(SpecError, match="required has no effect"):
            spec_of({"f": entry})
        return
    features = compiled(spec_of({"f": entry}))
    given_ = {"/m": [message()] * 3, "/j": [None, OWN[dtype], None]}
    if missing == "error":
        with pytest.raises(HephaesError, match="topic /j has no message") as caught:
            evaluate(features, given_, first_ns=50)
        assert caught.value.data == {"feature": "f", "timestamp_ns": 50}
        return
    batch = evaluate(features, given_)
    value, nothing = VALUES[dtype], ZEROS.get(dtype)
    expected = {
        "default": ([None, value, None], [0, 1, 0], [1, 1, 1], [1, 0, 1]),
        "zeros": ([nothing, value, nothing], [0, 1, 0], [1, 1, 1], [0, 0, 0]),
        "forward_fill": ([None, value, value], [0, 1, 1], [1, 1, 1], [1, 0, 0]),
        "drop": ([None, value, None], [0, 1, 0], [0, 1, 0], [0, 0, 0]),
    }[missing]
    assert batch.columns["f"].to_pylist() == expected[0]
    assert batch.present["f"].astype(int).tolist() == expected[1]
    assert batch.keep.astype(int).tolist() == expected[2]
    assert batch.bad.astype(int).tolist() == (expected[3] if required else [0, 0, 0])


@pytest.mark.parametrize(
    ("field_path", "dtype", "shape", "nothing"),
    [
        ("v", "float32", None, [0.0, 0.0, 0.0]),
        ("r", "float64", [2], [0.0, 0.0]),
        ("r", "native", [0], []),
        ("ps[:].ns", "int64", [2, 1], [[0], [0]]),
        ("tag", "bytes", None, bytes(4)),
        ("blob", "bytes", [2], bytes(2)),
        ("blob", "bytes", None, b""),
        ("blob", "int64", [2], [0, 0]),
        ("at", "int64", [], 0),
        ("at", "native", None, {"sec": 0, "nanosec": 0}),
        ("names", "native", [2], ["", ""]),
    ],
)
def test_zeros_have_the_shape(field_path: str, dtype: str, shape: Any, nothing: Any) -> None:
    features = compiled(
        spec_of({"f": {"source": path(field_path), "dtype": dtype, "shape": shape, "missing": "zeros"}})
    )
    assert evaluate(features, {"/m": [message()], "/j": [None]}).columns["f"].to_pylist() == [nothing]


def test_causes_and_changes_are_counted() -> None:
    entries = {
        "index": {"source": path("ns[1]"), "dtype": "int64"},
        "cast": {"source": path("name"), "dtype": "int64", "transforms": [{"cast": {"dtype": "int64"}}]},
        "narrow": {"source": path("v"), "dtype": "float32"},
        "clamp": {"source": path("v"), "dtype": "float64", "transforms": [{"clamp": {"max": 1}}]},
        "big": {"source": path("big"), "dtype": "int64"},
        "shape": {"source": path("ns"), "dtype": "int64", "shape": [2]},
        "pad": {"source": path("ns"), "dtype": "int64", "transforms": [{"length": {"pad_to": 2}}]},
        "wide": {"source": path("d"), "dtype": "float32"},
    }
    features = compiled(spec_of(entries))
    run = features.evaluation()
    found = [
        message(ns=[1, 2], name="4", v=[0.1, 0.5, 3.0], big=2**63),
        message(ns=[1], name="x", v=[math.nan, math.inf, 1.0], big=3, d=1e300),
        None,
    ]
    run.evaluate(rows_of(features, {"/m": [message()] * 3, "/j": found}))
    absent = {"topic /j has no message": 1}
    causes = {name: dict(counts.causes) for name, counts in run.counts.items()}
    assert causes == {
        "index": {"ns[1] is out of range": 1, **absent},
        "cast": {"a value is no int64": 1, **absent},
        "narrow": absent,
        "clamp": absent,
        "big": {"an integer does not fit int64": 1, **absent},
        "shape": {"the shape is not [2]": 1, **absent},
        "pad": absent,
        "wide": {"a number does not fit float32": 1, **absent},
    }
    changes = {name: dict(counts.changes) for name, counts in run.counts.items() if counts.changes}
    assert changes == {"narrow": {"narrowed": 1}, "clamp": {"clamped": 2}, "pad": {"padded": 1}}


def test_large_integers_are_counted_where_a_float_cannot_hold_them() -> None:
    features = compiled(
        spec_of({"f": {"source": path("i"), "dtype": "float64"}, "g": {"source": path("i"), "dtype": "float32"}})
    )
    values = [2**53, 2**53 + 1, -(2**63), 2**63 - 1, 3 << 60, 2**24 + 1, -(2**24), 0]
    run = features.evaluation()
    run.evaluate(rows_of(features, {"/m": [message()] * len(values), "/j": [message(i=v) for v in values]}))
    exact = {name: sum(int(dtype(v)) != v for v in values) for name, dtype in (("f", np.float64), ("g", np.float32))}
    assert {name: counts.changes["narrowed"] for name, counts in run.counts.items()} == exact


# -- joins -------------------------------------------------------------------------------------------------------------


def test_zeros_of_a_join_stand_for_every_feature_of_the_topic() -> None:
    entries = {
        "a": {"source": path("v"), "dtype": "float32"},
        "b": {"source": path("ns"), "dtype": "int64", "shape": [2], "missing": "drop"},
        "c": {"source": {"kind": "stack", "sources": [path("i", "/m"), path("i")]}, "dtype": "int64"},
    }
    features = compiled(spec_of(entries, missing="zeros"))
    run = features.evaluation()
    batch = run.evaluate(
        rows_of(features, {"/m": [message(i=3)] * 3, "/j": [None, message(ns=[1]), message(ns=[1, 2])]})
    )
    assert batch.columns["a"].to_pylist()[0] == [0.0, 0.0, 0.0]
    assert batch.columns["b"].to_pylist() == [[0, 0], None, [1, 2]]
    assert batch.columns["c"].to_pylist() == [[0, 0], [3, 0], [3, 0]]
    assert batch.keep.tolist() == [True, False, True]
    assert [batch.present[name].tolist() for name in "abc"] == [
        [False, True, True],
        [False, False, True],
        [False, True, True],
    ]
    assert run.counts["b"].filled == {"zeros": 1}
    with pytest.raises(SpecError, match="fixed lengths"):
        compiled(spec_of({"r": {"source": path("r"), "dtype": "float32"}}, missing="zeros"))
    with pytest.raises(SpecError, match="json"):
        compiled(spec_of({"r": {"source": path("r")}}, missing="zeros"))


def test_default_of_a_join_stands_where_it_covers_a_path() -> None:
    default = {"ns": [7, 8], "p": {"x": 2}, "blob": [1, 2], "name": "n"}
    entries = {
        "a": {"source": path("ns"), "dtype": "float32", "transforms": [{"scale": {"scale": 2}}]},
        "b": {"source": path("ns[-1]"), "dtype": "int64", "missing": "forward_fill"},
        "c": {"source": path("p"), "dtype": "native"},
        "d": {"source": path("p")},
        "e": {"source": path("blob"), "dtype": "bytes"},
        "f": {"source": path("i"), "dtype": "int64", "missing": "forward_fill"},
        "g": {"source": {"kind": "concat", "sources": [path("ns", "/m"), path("ns")]}, "dtype": "int64"},
    }
    features = compiled(spec_of(entries, default_value=default))
    run = features.evaluation()
    batch = run.evaluate(rows_of(features, {"/m": [message(ns=[1])] * 2, "/j": [message(ns=[5], i=4), None]}))
    second = {name: column.to_pylist()[1] for name, column in batch.columns.items()}
    assert second == {
        "a": [14.0, 16.0],
        "b": 8,
        "c": {"x": 2.0, "ns": [], "s": ""},
        "d": '{"x":2}',
        "e": b"\x01\x02",
        "f": 4,
        "g": [1, 7, 8],
    }
    assert {name: bool(flags[1]) for name, flags in batch.present.items()} == dict.fromkeys("abcdeg", False) | {
        "f": True
    }
    assert run.counts["a"].filled == {"default": 1}
    assert run.counts["f"].filled == {"forward_fill": 1}


@pytest.mark.parametrize(
    ("default", "pointer", "guess"),
    [
        ({"nss": [1]}, "/row_strategy/joins/0/default_value/nss", "ns"),
        ({"ns": [1.5]}, "/row_strategy/joins/0/default_value", None),
        ({"ps": [{"y": 1}], "ns": [1]}, "/row_strategy/joins/0/default_value/ps/0/y", None),
    ],
)
def test_defaults_that_do_not_fit_are_refused(default: Any, pointer: str, guess: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(spec_of({"a": {"source": path("ns"), "dtype": "int64"}}, default_value=default))
    assert [(e["pointer"], e["did_you_mean"]) for e in caught.value.data["errors"]] == [(pointer, guess)]


# -- other sources -----------------------------------------------------------------------------------------------------


def test_metadata_and_constants() -> None:
    def meta(key: str, **more: Any) -> dict[str, Any]:
        return {"kind": "metadata", "key": key, **more}

    entries = {
        "t": {"source": meta("timestamp_ns"), "dtype": "int64"},
        "log": {"source": meta("log_time_ns", topic="/j"), "dtype": "int64"},
        "pub": {"source": meta("publish_time_ns", topic="/j", default_value=-1), "dtype": "int64"},
        "head": {"source": meta("header_stamp_ns"), "dtype": "int64"},
        "topic": {"source": meta("topic"), "dtype": "native"},
        "file": {"source": meta("source_file")},
        "episode": {"source": meta("episode_id"), "dtype": "bytes", "transforms": [{"cast": {"dtype": "bytes"}}]},
        "topics": {"source": meta("present_topics"), "dtype": "native"},
        "one": {"source": {"kind": "constant", "value": [[1, 2], [3, 4]]}, "dtype": "float64", "shape": [2, 2]},
        "any": {"source": {"kind": "constant", "value": {"a": [1, "x", None, math.inf]}}},
        "raw": {"source": {"kind": "constant", "value": b"\x00\xff"}, "dtype": "bytes"},
    }
    features = compiled(spec_of(entries))
    assert features.needs["/j"].select == set()
    assert features.needs["/m"].select == {"header.stamp"}
    stamped = message()
    stamped["header"] = {"stamp": {"sec": -2, "nanosec": 5}, "frame_id": ""}
    batch = evaluate(features, {"/m": [stamped] * 2, "/j": [None, message()]}, first_ns=10)
    found = {name: column.to_pylist() for name, column in batch.columns.items()}
    assert found == {
        "t": [10, 11],
        "log": [None, 7],
        "pub": [-1, 9],
        "head": [-1999999995] * 2,
        "topic": ["/m"] * 2,
        "file": ['"log.mcap"'] * 2,
        "episode": [b"episode_0001"] * 2,
        "topics": [["/m"], ["/j", "/m"]],
        "one": [[[1.0, 2.0], [3.0, 4.0]]] * 2,
        "any": ['{"a":[1,"x",null,{"__float__":"inf"}]}'] * 2,
        "raw": [b"\x00\xff"] * 2,
    }
    assert batch.present["pub"].tolist() == [False, True]


def test_without_a_presence_flag_nothing_is_null() -> None:
    entries = {
        "a": {"source": path("ns"), "dtype": "int64", "presence_flag": False},
        "b": {"source": path("p"), "presence_flag": False},
        "c": {"source": path("p"), "dtype": "native", "presence_flag": False},
        "d": {"source": path("v"), "dtype": "float32", "presence_flag": False, "required": True},
    }
    features = compiled(spec_of(entries))
    assert not any(field.nullable for field in features.schema)
    batch = evaluate(features, {"/m": [message()], "/j": [None]})
    found = {name: column.to_pylist() for name, column in batch.columns.items()}
    assert found == {"a": [[]], "b": ["null"], "c": [{"x": 0.0, "ns": [], "s": ""}], "d": [[0.0, 0.0, 0.0]]}
    assert batch.bad.tolist() == [True]


def test_labels() -> None:
    entries = {"f": {"source": path("i", "/m"), "dtype": "int64"}}
    labels = {"source": path("name", "/m"), "class_map": {"walk": 3, "run": 4}}
    features = compiled(spec_of(entries, labels))
    batch = evaluate(features, {"/m": [message(name="run"), message(name="walk")], "/j": [None, None]})
    assert batch.columns["label"].to_pylist() == [4, 3]
    assert features.schema.field("label").type == pa.int64()
    with pytest.raises(HephaesError, match="stand"):
        evaluate(features, {"/m": [message(name="stand")], "/j": [None]})
    with pytest.raises(SpecError) as caught:
        compiled(spec_of(entries, {**labels, "source": path("v", "/m")}))
    assert caught.value.data["errors"][0]["pointer"] == "/labels/source"


# -- what is read, and what is refused ---------------------------------------------------------------------------------


def test_only_the_leaves_in_use_are_selected() -> None:
    features = compiled(
        spec_of(
            {"a": {"source": path("ps[:].x")}, "b": {"source": path("header.stamp.sec")}, "c": {"source": path("v[0]")}}
        )
    )
    assert features.needs["/j"].select == {"ps.x", "header.stamp", "v"}
    assert "/m" not in features.needs


def test_everything_wrong_is_told_at_once() -> None:
    entries = {
        "a": {"source": path("p.y")},
        "b": {"source": path("nam")},
        "c": {"source": path("name"), "dtype": "float64"},
        "d": {"source": path("v"), "dtype": "float64", "shape": [4]},
        "e": {"source": path("v"), "transforms": [{"one_hot": {"depth": 3}}]},
        "f": {"source": path("r"), "dtype": "float32", "missing": "zeros"},
        "g": {"source": path("v[3]")},
        "h": {"source": path("ps.x")},
        "i": {"source": {"kind": "concat", "sources": [path("i"), path("i")]}},
        "j": {"source": {"kind": "stack", "sources": [path("v"), path("pair[:].x")]}},
        "k": {"source": path("flag"), "dtype": "int64"},
        "l": {"source": path("d"), "dtype": "int64"},
        "m": {"source": path("ns"), "dtype": "bytes"},
        "n": {"source": path("d"), "dtype": "float64", "shape": [1]},
        "o": {"source": {"kind": "constant", "value": 3}, "dtype": "int64", "missing": "drop"},
        "p": {"source": {"kind": "constant", "value": [1, "x"]}, "dtype": "int64"},
        "q": {"source": {"kind": "metadata", "key": "topic", "default_value": "x"}},
        "r": {"source": path("name"), "transforms": [{"image_encode": {}}]},
        "s": {"source": path("ns"), "dtype": "bool"},
        "t": {"source": path("u"), "transforms": [{"clamp": {"min": 300}}]},
        "u": {"source": path("v"), "transforms": [{"length": {"exact": 2}}]},
        "v": {"source": path("d[0]")},
    }
    with pytest.raises(SpecError) as caught:
        compiled(spec_of(entries))
    found = {e["pointer"]: e for e in caught.value.data["errors"]}
    assert list(found) == [
        "/features/a/source/field_path",
        "/features/b/source/field_path",
        "/features/c/dtype",
        "/features/d/shape",
        "/features/e/transforms/0",
        "/features/f/missing",
        "/features/g/source/field_path",
        "/features/h/source/field_path",
        "/features/i/source",
        "/features/j/source",
        "/features/k/dtype",
        "/features/l/dtype",
        "/features/m/dtype",
        "/features/n/shape",
        "/features/o/missing",
        "/features/p/source/value",
        "/features/q/source/default_value",
        "/features/r/transforms/0",
        "/features/s/dtype",
        "/features/t/transforms/0",
        "/features/u/transforms/0",
        "/features/v/source/field_path",
    ]
    assert found["/features/b/source/field_path"]["did_you_mean"] == "name"


def test_unknown_topics_and_clocks() -> None:
    spec = spec_of({"a": {"source": path("i")}, "b": {"source": {"kind": "metadata", "key": "publish_time_ns"}}})
    with pytest.raises(SpecError) as caught:
        FeatureSet.compile(
            spec, {"/m": DEFINITION, "/jj": DEFINITION}, Context("e", "f.bag", "/m", has_publish_time=False)
        )
    assert [(e["pointer"], e["did_you_mean"]) for e in caught.value.data["errors"]] == [
        ("/features/a/source/topic", "/jj"),
        ("/features/b/source/key", None),
    ]
