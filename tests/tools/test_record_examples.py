"""The examples of the document are what a sidecar says today."""

from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.methods import register_all
from hephaes_rpc.openrpc import recorded
from hephaes_rpc.registry import REGISTRY
from hephaes_rpc.serde import structure
from tools.record_examples import UNRECORDED, Normaliser, record, shape

register_all()


@pytest.mark.e2e
def test_recording_again_gives_the_same_shapes(tmp_path: Path) -> None:
    again = record(tmp_path)
    assert list(again) == list(recorded()), "say `make docs`"
    for method, calls in recorded().items():
        assert [call["name"] for call in again[method]] == [call["name"] for call in calls], "say `make docs`"
        for now, then in zip(again[method], calls, strict=True):
            assert shape(now) == shape(then), f"{method}, {now['name']}: say `make docs`"


def test_every_method_and_notification_has_an_example() -> None:
    nouns = {name.partition("/")[0] for name in REGISTRY.methods}
    heard = {name for name in REGISTRY.outgoing if name.partition("/")[0] in nouns | {"$", "window"}}
    wanted = {*REGISTRY.methods, *heard} - UNRECORDED
    missing = wanted - recorded().keys()
    assert not missing, f"call them in tools/record_examples.py, then `make docs`: {sorted(missing)}"
    assert recorded().keys() <= wanted


def test_every_method_has_an_example_that_succeeds() -> None:
    for name, method in REGISTRY.methods.items():
        if name not in UNRECORDED and not method.notification:
            assert any("result" in call for call in recorded()[name]), name


def test_results_are_of_the_type_that_the_handler_declares() -> None:
    for name, calls in recorded().items():
        for call in calls:
            if "result" in call and name in REGISTRY.methods:
                structure(call["result"], REGISTRY.methods[name].result)


def test_what_differs_each_time_is_replaced_the_same_by_the_same() -> None:
    one, other = "0b9af7f2-6f0e-4c4d-9d80-c5bb5bd1a1b5", "11111111-2222-3333-4444-555555555555"
    call = {
        "name": "x",
        "params": {"asset_id": one, "path": f"/tmp/a/home/{other}.bag", "cursor": "abc"},
        "result": {"ids": [other, one], "at": "2031-01-01T00:00:00.5Z", "start": "2023-11-14T22:13:20Z", "rate": None},
    }
    first, second = (f"00000000-0000-4000-8000-{number:012d}" for number in (1, 2))
    found: Any = Normaliser("/tmp/a/home").calls({"m": [call]})["m"][0]
    assert found["params"]["asset_id"] == first
    assert found["params"]["path"] == f"/home/robot/{second}.bag"
    assert found["params"]["cursor"] != "abc"
    assert found["result"]["ids"] == [second, first]
    assert found["result"]["at"] == "2026-01-15T09:30:00Z"
    assert found["result"]["start"] == "2023-11-14T22:13:20Z"
    assert found["result"]["rate"] is not None


def test_shapes_tell_names_and_types_not_values() -> None:
    assert shape({"a": [1, 2.5, 3], "b": None}) == shape({"b": None, "a": [7]})
    assert shape({"a": "x"}) != shape({"a": 1})
    assert shape({"a": [True]}) != shape({"a": [1]})
    assert shape({"a": 1}) != shape({"b": 1})
