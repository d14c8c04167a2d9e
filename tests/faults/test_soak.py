"""Ten seconds of the soak with a fixed seed, thirty with ``HEPHAES_SLOW=1``; ``make soak`` runs for minutes."""

from pathlib import Path

import pytest

from tests.soak import report, soak
from tests.thorough import THOROUGH

SECONDS = 30 if THOROUGH else 10


@pytest.mark.e2e
def test_random_requests_find_no_bug(tmp_path: Path) -> None:
    found = soak(tmp_path, SECONDS, seed=5)
    assert report(found, SECONDS) == []
    assert sum(found.answers.values()) > 100
    assert found.answers[0] > 30
    assert found.answers[-32602] > 30
