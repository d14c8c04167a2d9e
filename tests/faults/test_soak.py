"""Twenty seconds of the soak with a fixed seed; ``make soak`` runs for minutes."""

from pathlib import Path

import pytest

from tests.soak import report, soak


@pytest.mark.e2e
def test_random_requests_find_no_bug(tmp_path: Path) -> None:
    found = soak(tmp_path, 20, seed=5)
    assert report(found, 20) == []
    assert sum(found.answers.values()) > 100
    assert found.answers[0] > 30
    assert found.answers[-32602] > 30
