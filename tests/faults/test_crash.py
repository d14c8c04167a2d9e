"""Two rounds of the crash harness, six with ``HEPHAES_SLOW=1``; ``make crash`` runs a hundred."""

from pathlib import Path

import pytest

from tests.crash_harness import harness
from tests.thorough import THOROUGH

KILLS = 6 if THOROUGH else 2
SEED = 54
"""Kills a worker and then a sidecar, each in the middle of its conversion."""


@pytest.mark.e2e
def test_kills_leave_no_trace(tmp_path: Path) -> None:
    outcomes = harness(tmp_path, kills=KILLS, seed=SEED, repeats=4)
    assert sum(outcomes.values()) == KILLS
    assert any("attempt 2" in outcome for outcome in outcomes), outcomes
