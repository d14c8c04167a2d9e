"""Searching many texts in one pass, beside Python's own search of each."""

import random

import numpy as np
import pytest

from hephaes_native import textscan


@pytest.mark.parametrize("needle", [b"a", b"ab", b"ba", b"aa", b"aab", b"abaabb"])
def test_texts_are_found_by_any_of_their_bytes(needle: bytes) -> None:
    draw = random.Random(3)
    texts = [bytes(draw.choices(b"ab", k=draw.randrange(9))) for _ in range(300)]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].astype(np.int64)
    rows = np.array(draw.sample(range(300), 300), np.int32)
    for rarest in range(len(needle)):
        found = np.zeros(300, np.uint8)
        textscan.find(b"".join(text + b"\0" for text in texts), starts.data, rows.data, needle, rarest, found.data)
        assert [bool(found[row]) for row in rows] == [needle in text for text in texts]


def test_what_makes_no_sense_is_refused() -> None:
    starts, rows, found = np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match="rarest"):
        textscan.find(b"a", starts.data, rows.data, b"a", 1, found.data)
    with pytest.raises(ValueError, match="start and a row"):
        textscan.find(b"a", starts.data, rows[:0].data, b"a", 0, found.data)
    textscan.find(b"a", starts.data, (rows + 7).data, b"a", 0, found.data)
    assert found[0] == 0
