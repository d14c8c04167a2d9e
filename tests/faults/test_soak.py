"""The soak with a fixed seed: twenty seconds, or HEPHAES_SOAK_MINUTES at an easier pace; ``make soak`` runs it."""

import os
from pathlib import Path

import pytest

from tests.soak import report, soak

MINUTES = float(os.environ.get("HEPHAES_SOAK_MINUTES", "0"))
PAUSE_S = 0.6


@pytest.mark.e2e
def test_random_requests_find_no_bug(tmp_path: Path) -> None:
    seconds = MINUTES * 60 or 20
    found = soak(tmp_path, seconds, seed=5, pause_s=PAUSE_S if MINUTES else 0)
    assert report(found, seconds) == []
    assert sum(found.answers.values()) > 5 * seconds
    assert found.answers[0] > 1.5 * seconds
    assert found.answers[-32602] > 1.5 * seconds
