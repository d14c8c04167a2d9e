"""Rows held back until the later rows that their features read are there, whatever batches they come in."""

from hephaes_rpc.engine.features.readers import Rows


class Lookahead:
    """Batches of rows in order, cut anew: each row comes with the ``reach`` rows behind it, as far as there are."""

    def __init__(self, reach: int, n_rows: int, last: int) -> None:
        """``n_rows`` is how many rows there are; those from number ``last`` on are only read by others."""
        self._reach, self._n_rows, self._last = reach, n_rows, last
        self._waiting: Rows | None = None

    def take(self, first: int, rows: Rows) -> tuple[int, Rows, int]:
        """Rows from number ``first`` on have come: the number of the first that waits, all that wait, how many go."""
        if self._waiting is not None:
            first, rows = first - len(self._waiting), self._waiting.then(rows)
        stop = first + len(rows)
        go = stop if stop == self._n_rows else max(first, stop - self._reach)
        n = max(0, min(go, self._last) - first)
        self._waiting = rows.part(n) if n < len(rows) else None
        return first, rows, n
