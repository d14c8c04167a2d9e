"""Decoding a message takes no more machine instructions than it did."""

import json

import pytest

from tests.native import instructions

MOST = 1.05


def test_decoding_takes_no_more_instructions_than_is_recorded() -> None:
    recorded = json.loads(instructions.RECORDED.read_text())
    here = instructions.made_by()
    if not here:
        pytest.skip("needs valgrind")
    other = [f"{what} {here[what]} ({known})" for what, known in recorded["made_by"].items() if here[what] != known]
    if other:
        pytest.skip(f"recorded with other tools: {', '.join(other)}")
    found = instructions.per_message()
    assert found.keys() == recorded["per_message"].keys()
    known = recorded["per_message"]
    assert {what: count for what, count in found.items() if count > MOST * known[what]} == {}
