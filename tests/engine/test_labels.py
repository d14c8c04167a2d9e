"""Labels against a plain lookup, and every value that is no label."""

import numpy as np
import pyarrow as pa
import pytest

from hephaes_rpc.engine.features.labels import LabelColumn
from hephaes_rpc.engine.features.steps import CannotApplyError
from hephaes_rpc.engine.specs.spec import Labels
from hephaes_rpc.errors import HephaesError

TIMES = np.arange(100, 110, dtype=np.int64)


def made(labels: Labels, values: pa.Array) -> pa.Array:
    column = LabelColumn.of(labels, values.type)
    found = column.column(values, TIMES[: len(values)])
    found.validate(full=True)
    assert found.type == column.type
    return found


@pytest.mark.parametrize(
    ("values", "class_map", "expected"),
    [
        (pa.array(["a", "b", None, "a"]), {"a": 3, "b": -1}, [3, -1, None, 3]),
        (pa.array([2, 1, None], pa.uint8()), {"1": 10, "2": 20}, [20, 10, None]),
        (pa.array([True, None, False]), {"true": 1, "false": 0}, [1, None, 0]),
        (pa.array(['"a"', "a"]), {"a": 1}, [1, 1]),
        (pa.array([7, None, -2], pa.int16()), {}, [7, None, -2]),
        (pa.array([True, False]), {}, [1, 0]),
        (pa.array([], pa.string()), {"a": 1}, []),
    ],
)
def test_one_class_per_row(values, class_map, expected):
    assert made(Labels(primary="f", class_map=class_map), values).to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "class_map", "expected"),
    [
        (pa.array([["a", "c"], [], None, ["c", "c"]]), {"a": 0, "c": 2}, [[1, 0, 1], [0, 0, 0], None, [0, 0, 1]]),
        (pa.array([[1, 2], None], pa.list_(pa.int32(), 2)), {"1": 0, "2": 1}, [[1, 1], None]),
        (pa.array([b"\x01\x05", b"", None]), {}, [[1, 5], [], None]),
        (pa.array([[4], [], None], pa.list_(pa.uint16())), {}, [[4], [], None]),
        (pa.array([None, None], pa.list_(pa.string())), {"a": 0}, [None, None]),
    ],
)
def test_several_classes_per_row(values, class_map, expected):
    labels = Labels(primary="f", class_map=class_map, multi_label=True)
    assert made(labels, values).to_pylist() == expected
    assert made(labels, values.slice(1)).to_pylist() == expected[1:]


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (pa.array(["a", "x"]), Labels(primary="f", class_map={"a": 1}), r"no class for 'x' \(row at 101 ns\)"),
        (pa.array([2**63], pa.uint64()), Labels(primary="f", class_map={}), "exceeds 63 bits"),
        (
            pa.array([["a"], ["a", "x"]]),
            Labels(primary="f", class_map={"a": 1}, multi_label=True),
            r"no class for 'x' \(row at 101 ns\)",
        ),
        (pa.array(['"x']), Labels(primary="f", class_map={"x": 1}), "no class for"),
    ],
)
def test_a_value_without_class_is_named(values, labels, message):
    with pytest.raises(HephaesError, match=message):
        made(labels, values)


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        (pa.string(), Labels(source=None, primary="f"), "class_map is missing: feature 'f' has text"),
        (pa.float64(), Labels(primary="f", class_map={"1": 1}), "must be integers, bools or text"),
        (pa.list_(pa.int8()), Labels(primary="f", class_map={"1": 1}), "must be integers, bools or text"),
        (pa.int8(), Labels(primary="f", multi_label=True), "needs a list of classes"),
        (pa.list_(pa.int8()), Labels(primary="f", class_map={"a": 1 << 30}, multi_label=True), "takes at most"),
    ],
)
def test_types_that_are_no_labels_are_refused(kind, labels, message):
    with pytest.raises(CannotApplyError, match=message):
        LabelColumn.of(labels, kind)
