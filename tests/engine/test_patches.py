import copy
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.specs.patches import difference
from hephaes_rpc.serde import unstructure
from tests.thorough import examples

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5, "", "a", "a/b", "~0"])
KEYS = st.sampled_from(["", "a", "b", "a/b", "~", "0", "-"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def told(old: Any, new: Any) -> list[dict[str, Any]]:
    patch: list[dict[str, Any]] = unstructure(difference(old, new))
    return patch


@settings(max_examples=examples(300), deadline=None)
@given(VALUES, VALUES)
def test_an_independent_reader_of_patches_gets_there(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    patch = told(old, new)
    made = jsonpatch.apply_patch(copy.deepcopy(old), patch)
    assert json.dumps(made, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert (patch == []) == (json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))
    assert json.dumps(old) == json.dumps(before)


@settings(max_examples=examples(100), deadline=None)
@given(VALUES)
def test_a_value_is_no_different_from_itself(value: Any) -> None:
    assert told(value, copy.deepcopy(value)) == []


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"b": 2}, [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/b", "value": 2}]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": True}}, [{"op": "replace", "path": "/a~1b/~0", "value": True}]),
        ({"x": 1}, {"x": 1.0}, [{"op": "replace", "path": "/x", "value": 1.0}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ([1, 2, 3], [1, 9, 2, 3], [{"op": "add", "path": "/1", "value": 9}]),
        ([1, 2, 3, 4], [1, 4], [{"op": "remove", "path": "/1"}, {"op": "remove", "path": "/1"}]),
        ([{"k": 1, "v": 1}, 5], [{"k": 1, "v": 2}, 5], [{"op": "replace", "path": "/0/v", "value": 2}]),
        ([], [[], {}], [{"op": "add", "path": "/0", "value": []}, {"op": "add", "path": "/1", "value": {}}]),
        ({}, [], [{"op": "replace", "path": "", "value": []}]),
        (None, {"a": None}, [{"op": "replace", "path": "", "value": {"a": None}}]),
    ],
)
def test_patches(old: Any, new: Any, patch: list[dict[str, Any]]) -> None:
    assert told(old, new) == patch
