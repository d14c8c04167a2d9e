"""Searching many texts in one pass, beside Python's own search of each."""

import itertools
import random

import numpy as np
import pytest

from hephaes_native import textscan


@pytest.mark.parametrize("needle", [b"a", b"ab", b"ba", b"aa", b"aab", b"abaabb", b"b" * 70 + b"a"])
def test_texts_are_found_by_any_two_of_their_bytes(needle: bytes) -> None:
    draw = random.Random(3)
    texts = [bytes(draw.choices(b"abb", k=draw.randrange(9))) for _ in range(300)]
    for at in draw.sample(range(300), 30):
        texts[at] = draw.choice([b"", b"b" * 90]) + needle[draw.randrange(2) :] + texts[at]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].astype(np.int64)
    rows = np.array(draw.sample(range(300), 300), np.int32)
    text = b"".join(text + b"\0" for text in texts)
    for rarest, second in itertools.product(range(0, len(needle), 1 + len(needle) // 8), repeat=2):
        found = np.zeros(300, np.uint8)
        textscan.find(text, starts.data, rows.data, needle, rarest, second, found.data)
        assert [bool(found[row]) for row in rows] == [needle in text for text in texts]


def test_what_makes_no_sense_is_refused() -> None:
    starts, rows, found = np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.uint8)
    for places in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="rarest"):
            textscan.find(b"a", starts.data, rows.data, b"a", *places, found.data)
    with pytest.raises(ValueError, match="start and a row"):
        textscan.find(b"a", starts.data, rows[:0].data, b"a", 0, 0, found.data)
    textscan.find(b"a", starts.data, (rows + 7).data, b"a", 0, 0, found.data)
    textscan.find(b"a", starts.data, rows.data, b"aa", 0, 1, found.data)
    assert found[0] == 0
