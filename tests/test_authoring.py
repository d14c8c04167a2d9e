"""Logs of the project: drafted with each template that applies, previewed and converted without one edit."""

import pytest

from tests.authoring_check import check_log
from tests.conftest import DATA

LOGS = sorted(path.name for path in DATA.iterdir() if path.suffix in (".bag", ".mcap", ".db3"))
NOTHING = {"no-messages.bag", "unchunked.mcap"}
"""Without topics; of an encoding that nobody knows."""
TEMPLATES = {"turtlesim-bz2.bag": "imitation-learning parquet", "poses.bag": "time-series tfrecord"}


@pytest.mark.parametrize("name", LOGS)
def test_a_draft_converts_as_it_is_and_its_preview_is_what_is_written(name: str) -> None:
    done, problems = check_log(DATA / name)
    assert not problems
    assert bool(done) is (name not in NOTHING)
    assert name not in TEMPLATES or TEMPLATES[name] in done
