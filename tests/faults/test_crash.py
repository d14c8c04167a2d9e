"""A few rounds of the crash harness; ``make crash`` runs a hundred."""

from pathlib import Path

import pytest

from tests.crash_harness import harness


@pytest.mark.e2e
def test_kills_leave_no_trace(tmp_path: Path) -> None:
    outcomes = harness(tmp_path, kills=6, seed=11, repeats=6)
    assert sum(outcomes.values()) == 6
    assert any("attempt 2" in outcome for outcome in outcomes), outcomes
