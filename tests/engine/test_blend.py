"""Interpolation of columns against a slow twin, and the rules it must keep."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.engine.timeline.blend import blend, blended_part, slerp
from tests.engine.arrow_values import values
from tests.reference import blend as twin
from tests.thorough import examples

TEXT = """
Inner inner
Inner[2] pair
Inner[] list
float64[3] fixed
float32[] free
float32 f
float64 d
int64 id
bool flag
string name
uint8[] image
uint8[4] tag
time stamp
duration[] waits
string[] names
================
MSG: test/Inner
float64 x
int8 mode
time at
"""
DEFINITION = parse_definition("test/Outer", TEXT, 2)
KIND = StreamDecoder(DEFINITION, "cdr").arrow_type
POSE = parse_definition(
    "test/Pose",
    "geometry_msgs/Quaternion q\n===\nMSG: geometry_msgs/Quaternion\n"
    + "".join(f"float64 {name}\n" for name in "xyzw"),
    2,
)
POSE_KIND = StreamDecoder(POSE, "cdr").arrow_type
WEIGHTS = st.floats(0, 1, exclude_max=True) | st.just(0.0)


def stamps(value: Any) -> Any:
    """The same with nanoseconds below a second."""
    if isinstance(value, dict):
        if set(value) == {"sec", "nanosec"}:
            return {"sec": value["sec"], "nanosec": value["nanosec"] % 10**9}
        return {name: stamps(member) for name, member in value.items()}
    return [stamps(item) for item in value] if isinstance(value, list) else value


MESSAGES = values(KIND).map(stamps)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[pa.Array, pa.Array, np.ndarray]:
    rows = draw(st.lists(st.tuples(st.none() | MESSAGES, st.none() | MESSAGES, WEIGHTS), max_size=5))
    first = draw(st.integers(0, len(rows)))
    lo, hi = (pa.array([row[k] for row in rows], KIND)[first:] for k in (0, 1))
    return lo, hi, np.array([row[2] for row in rows[first:]], np.float64)


@settings(deadline=None, max_examples=examples(200))
@given(pairs())
def test_equals_the_slow_twin(pair: tuple[pa.Array, pa.Array, np.ndarray]) -> None:
    lo, hi, weight = pair
    found = blend(lo, hi, weight, DEFINITION)
    found.validate(full=True)
    assert found.type == lo.type
    assert repr(blend(lo, blended_part(hi), weight, DEFINITION).to_pylist()) == repr(found.to_pylist())
    wanted = [
        twin.blend(a, b, w, DEFINITION) for a, b, w in zip(lo.to_pylist(), hi.to_pylist(), weight.tolist(), strict=True)
    ]
    assert repr(found.to_pylist()) == repr(pa.array(wanted, KIND).to_pylist())


@settings(deadline=None, max_examples=examples(50))
@given(pairs())
def test_weight_zero_is_the_lower_message_bit_for_bit(pair: tuple[pa.Array, pa.Array, np.ndarray]) -> None:
    lo, hi, weight = pair
    found = blend(lo, hi, weight * 0, DEFINITION)
    assert repr(found.to_pylist()) == repr(lo.to_pylist())


def test_nan_bits_hold_at_weight_zero_and_infinities_stay() -> None:
    bits = np.array([0x7FF8000000000123, 0x7FF0000000000000, 0xFFF0000000000000], np.uint64)
    definition = parse_definition("test/F", "float64 x", 2)
    lo = pa.StructArray.from_arrays([pa.array(bits.view(np.float64))], ["x"])
    held = blend(lo, pa.array([{"x": 1.0}] * 3, lo.type), np.zeros(3), definition)
    assert held.field(0).to_numpy().view(np.uint64).tolist() == bits.tolist()
    same = blend(lo, lo, np.full(3, 0.5), definition)
    assert repr(same.field(0).to_pylist()) == "[nan, inf, -inf]"


def unit(*parts: float) -> dict[str, float]:
    norm = math.hypot(*parts)
    return dict(zip("xyzw", (p / norm for p in parts), strict=True))


QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.1).map(lambda q: unit(*q))


@settings(deadline=None, max_examples=examples(200))
@given(QUATERNIONS, QUATERNIONS | st.just({"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.0}), WEIGHTS)
def test_orientations_turn_on_the_sphere(lo: dict[str, float], hi: dict[str, float], weight: float) -> None:
    arrays = [pa.array([{"q": q}], POSE_KIND) for q in (lo, hi)]
    (found,) = blend(*arrays, np.array([weight]), POSE).to_pylist()
    wanted = twin.blend({"q": lo}, {"q": hi}, weight, POSE)
    dot = sum(lo[name] * hi[name] for name in "xyzw")
    if abs(dot) > 1e-6:
        assert found["q"] == pytest.approx(wanted["q"], abs=1e-9)
    if weight and any(hi.values()):
        assert math.hypot(*found["q"].values()) == pytest.approx(1)
    if not weight:
        assert found["q"] == lo


def test_the_short_way_round() -> None:
    a = np.array([[0.0, 0.0, 0.0, 1.0]])
    half = math.sqrt(0.5)
    b = np.array([[0.0, 0.0, -half, -half]])
    turned = slerp(a, b, np.array([0.5]))[0]
    assert turned.tolist() == pytest.approx([0, 0, math.sin(math.pi / 8), math.cos(math.pi / 8)])


@pytest.mark.parametrize("spare", [1e-8, 1e-6, 1e-4])
def test_nearly_equal_orientations_stay_finite_and_between(spare: float) -> None:
    a = np.array([[0.0, 0.0, 0.0, 1.0]])
    b = np.array([[math.sin(spare), 0.0, 0.0, math.cos(spare)]])
    turned = slerp(a, b, np.array([0.25]))[0]
    assert turned[0] == pytest.approx(spare / 4, rel=1e-6)
    assert np.linalg.norm(turned) == pytest.approx(1)


def test_a_struct_that_only_looks_like_a_stamp_is_held() -> None:
    definition = parse_definition("test/S", "Fake s\n===\nMSG: test/Fake\nint32 sec\nuint32 nanosec\n", 2)
    kind = StreamDecoder(definition, "cdr").arrow_type
    lo, hi = (pa.array([{"s": {"sec": k, "nanosec": 0}}], kind) for k in (0, 10))
    assert blend(lo, hi, np.array([0.5]), definition).to_pylist() == lo.to_pylist()


def test_float_overflow_is_infinite_not_an_error() -> None:
    definition = parse_definition("test/F", "float32 x\nfloat64 y", 2)
    kind = StreamDecoder(definition, "cdr").arrow_type
    lo, hi = (pa.array([{"x": x, "y": y}], kind) for x, y in ((-3e38, -1.7e308), (3e38, 1.7e308)))
    (found,) = blend(lo, hi, np.array([0.5]), definition).to_pylist()
    assert found == {"x": 0.0, "y": math.inf}
