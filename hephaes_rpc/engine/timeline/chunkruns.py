"""In which chunk each message of a stream lies, held as one entry per chunk."""

from typing import Self

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.timeline.plan import Int64s


@frozen(eq=False)
class ChunkRuns:
    """The messages of a stream in file order, chunk by chunk.

    Args:
        number: int32[m], ascending: the chunks that hold a message.
        start: int64[m], the first message in each.
        n: Messages in all.
    """

    number: NDArray[np.int32]
    start: Int64s
    n: int

    @classmethod
    def of(cls, chunk: NDArray[np.int32]) -> Self:
        """From the chunk of each message (int32[n], ascending)."""
        start = np.flatnonzero(np.append(True, chunk[1:] != chunk[:-1])[: len(chunk)])
        return cls(chunk[start], start, len(chunk))

    def first(self, chunk: int) -> int:
        """The first message in a chunk that holds one."""
        return int(self.start[self.number.searchsorted(np.int32(chunk))])

    def holding(self, messages: Int64s) -> NDArray[np.int32]:
        """The chunk of each of these messages, int32."""
        return self.number[np.searchsorted(self.start, messages, side="right") - 1]

    def counts(self, chosen: NDArray[np.bool_]) -> Int64s:
        """How many messages of each chunk are chosen, int64[m]; ``chosen`` is bool[n]."""
        return np.add.reduceat(chosen, self.start, dtype=np.int64) if self.n else np.empty(0, np.int64)
