"""Nothing is coerced, everything that is wrong is said, what goes out is JSON that any client can read."""

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen, validators
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.errors import ParamsError
from hephaes_rpc.serde import Verbatim, encode, iso, structure, unstructure
from hephaes_rpc.stdio import decode
from tests.thorough import examples


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Circle:
    radius: float = field(validator=validators.gt(0))
    kind: Literal["circle"] = "circle"


@frozen
class Box:
    sides: list[float]
    kind: Literal["box"] = "box"


@frozen
class Drawing:
    name: str
    shapes: list[Circle | Box] = field(factory=list)
    colour: Colour = Colour.RED
    start_ns: int | None = None
    stamps_ns: list[int] = field(factory=list)
    extra: dict[str, Any] = field(factory=dict)
    scale: float | None = None
    file_size: int = 0
    camel_case: int = field(default=0, metadata={"wire": "camelCase"})


REFUSED: list[tuple[Any, Any]] = [
    ("12", int),
    (1.9, int),
    (1.0, int),
    (True, int),
    (2**63, int),
    (None, int),
    (5, str),
    (None, str),
    ("false", bool),
    (0, bool),
    (1, bool),
    ("1.5", float),
    (True, float),
    (None, float),
    (10**400, float),
    ("abc", list[str]),
    ({"a": 1}, list[str]),
    ([1], list[str]),
    ((1, 2), list[int]),
    ([1], dict[str, int]),
    ({"a": "1"}, dict[str, int]),
    ("c", Literal["a", "b"]),
    (True, Literal[1, 2]),
    ("RED", Colour),
    ("x", int | None),
    (1.5, int | str),
    ("yesterday", datetime),
    (1700000000, datetime),
    ("2024-13-01T00:00:00Z", datetime),
    ([], Drawing),
    ("{}", Drawing),
    (0, type(None)),
]


@pytest.mark.parametrize(("value", "tp"), REFUSED)
def test_nothing_is_coerced(value: Any, tp: Any) -> None:
    with pytest.raises(ParamsError) as caught:
        structure(value, tp)
    (error,) = caught.value.errors
    assert set(error) == {"path", "message", "expected", "got"}
    assert all(error[name] for name in ("message", "expected", "got"))


TAKEN: list[tuple[Any, Any, Any]] = [
    (5, float, 5.0),
    (-(2**63), int, -(2**63)),
    ("x", int | str, "x"),
    (None, int | None, None),
    ([1, 2], tuple[int, ...], (1, 2)),
    ("red", Colour, Colour.RED),
    ({"a": [1, {"jsonrpc": 2}]}, dict[str, Any], {"a": [1, {"jsonrpc": 2}]}),
    ("2024-05-01T10:00:00Z", datetime, datetime(2024, 5, 1, 10, tzinfo=UTC)),
    ("2024-05-01T10:00:00", datetime, datetime(2024, 5, 1, 10, tzinfo=UTC)),
    ("2024-05-01T12:00:00+02:00", datetime, datetime(2024, 5, 1, 10, tzinfo=UTC)),
]


@pytest.mark.parametrize(("value", "tp", "expected"), TAKEN)
def test_what_fits_is_taken(value: Any, tp: Any, expected: Any) -> None:
    taken = structure(value, tp)
    assert taken == expected
    assert type(taken) is type(expected)


def test_every_error_is_told_with_its_path() -> None:
    value = {
        "shapes": [
            {"kind": "circle", "radius": 0},
            {"kind": "bx"},
            {"radius": 1},
            {"kind": "box", "sides": [1, "2", None]},
        ],
        "colour": "green",
        "start_ns": "now",
        "scal": 2,
        "camel_case": 1,
    }
    with pytest.raises(ParamsError) as caught:
        structure(value, Drawing)
    assert {error["path"] for error in caught.value.errors} == {
        "name",
        "shapes[0].radius",
        "shapes[1].kind",
        "shapes[2].kind",
        "shapes[3].sides[1]",
        "shapes[3].sides[2]",
        "colour",
        "start_ns",
        "scal",
        "camel_case",
    }
    told = {error["path"]: error["message"] for error in caught.value.errors}
    assert "did you mean scale?" in told["scal"]
    assert 'did you mean "box"?' in told["shapes[1].kind"]
    assert "(and 9 more)" in caught.value.message


def test_integers_of_nanoseconds_come_as_numbers_or_as_text() -> None:
    stamp = 2**63 - 1
    for given_ in ({"start_ns": stamp}, {"start_ns_str": str(stamp)}, {"start_ns": stamp, "start_ns_str": str(stamp)}):
        assert structure({"name": "x", **given_}, Drawing).start_ns == stamp
    assert structure({"name": "x", "stamps_ns_str": ["1", "-2"]}, Drawing).stamps_ns == [1, -2]
    assert structure({"name": "x", "start_ns_str": None}, Drawing).start_ns is None
    for wrong in ("1.0", "1_000", " 1", "0x1", "", 1, True, str(2**63), "9" * 5000):
        with pytest.raises(ParamsError):
            structure({"name": "x", "start_ns_str": wrong}, Drawing)
    with pytest.raises(ParamsError, match="the same value as start_ns"):
        structure({"name": "x", "start_ns": 1, "start_ns_str": "2"}, Drawing)


def test_everything_goes_out_under_its_name() -> None:
    drawing = Drawing(
        "x", [Circle(1), Box([2])], Colour.BLUE, 2**60, [1, 2**60], {"big": 2**60, "nan": float("nan")}, camel_case=3
    )
    assert unstructure(drawing) == {
        "name": "x",
        "shapes": [{"radius": 1, "kind": "circle"}, {"sides": [2], "kind": "box"}],
        "colour": "blue",
        "start_ns": 2**60,
        "start_ns_str": str(2**60),
        "stamps_ns": [1, 2**60],
        "stamps_ns_str": ["1", str(2**60)],
        "extra": {"big": {"__int64__": str(2**60)}, "nan": {"__float__": "nan"}},
        "scale": None,
        "file_size": 0,
        "camelCase": 3,
    }
    assert structure(unstructure(Drawing("y", start_ns=5)), Drawing) == Drawing("y", start_ns=5)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_declared_number_is_a_number(number: float) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        unstructure(Drawing("x", scale=number))
    with pytest.raises(ValueError, match="no JSON number"):
        unstructure(number, float)
    assert unstructure([number]) == [{"__float__": str(number)}]


@pytest.mark.parametrize("value", [{1}, object(), {1: 2}, 1 + 2j, Drawing])
def test_what_json_cannot_say_is_no_result(value: Any) -> None:
    with pytest.raises(TypeError):
        unstructure(value)


def test_scalars_that_are_no_json() -> None:
    east = timezone(timedelta(hours=2))
    assert unstructure([Path("/a/b"), b"\x00\xff", datetime(2024, 5, 1, 12, 0, 0, 5, east)]) == [
        "/a/b",
        {"__bytes__": True, "encoding": "base64", "value": "AP8="},
        "2024-05-01T10:00:00.000005Z",
    ]
    assert iso(datetime(2024, 5, 1)) == "2024-05-01T00:00:00Z"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=examples(150), deadline=None)
@given(JSON)
def test_plain_json_goes_through_unchanged(value: Any) -> None:
    assert structure(value, Any) == value
    assert decode(encode(unstructure(value))) == value


def test_encoding_holds_what_orjson_does_not() -> None:
    assert decode(encode([2**70])) == [2**70]
    assert encode("\ud800") == b'"\\ud800"'


def test_a_verbatim_object_is_not_tagged() -> None:
    assert unstructure(Verbatim(n=2**60, inner={"x": 2**60})) == {"n": 2**60, "inner": {"x": 2**60}}
