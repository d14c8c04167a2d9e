"""What tests of row plans share."""

from collections.abc import Iterator

import numpy as np
import pytest

from hephaes_rpc.engine.timeline import plan
from hephaes_rpc.engine.timeline.plan import Int64s, Picks


def all_uses(picks: Picks) -> tuple[Int64s, Int64s]:
    """The pieces of ``uses``, put together."""
    pieces = [(np.empty(0, np.int64), np.empty(0, np.int64)), *picks.uses()]
    messages, rows = (np.concatenate([piece[k] for piece in pieces]) for k in range(2))
    return messages, rows


def in_small_pieces() -> Iterator[None]:
    """Have plans work in pieces so small that short streams have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PIECE_SAMPLES", 5)
        yield
