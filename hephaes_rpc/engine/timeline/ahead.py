"""Messages of chunks read in a thread of their own, a chunk or two ahead of those who use them."""

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hephaes_rpc.engine.logs import LogReader
from hephaes_rpc.engine.logs.base import Payload
from hephaes_rpc.engine.logs.types import Int32s, Walk

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

AHEAD = 2


class ReadAhead:
    """The messages of chunks ``order`` of a log whose connections have a slot, read before their turn.

    At most AHEAD chunks are there that nobody took; what reading one raised is raised when it is taken.  An empty order
    needs no thread.
    """

    def __init__(self, log: LogReader, order: Sequence[int], slots: Int32s) -> None:
        self._log, self._order, self._slots = log, iter(order), slots
        self._pool: Executor | None = None
        self._coming: deque[Future[tuple[Payload, Walk]] | None] = deque()
        if len(order):
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, "hephaes-reader")
            for _ in range(AHEAD):
                self._begin()

    def take(self) -> tuple[Payload, Walk] | None:
        """Those of the next chunk, as ``LogReader.messages`` gives them; None where it is not to be read ahead."""
        coming = self._coming.popleft() if self._coming else None
        messages = None if coming is None else coming.result()
        self._begin()
        return messages

    def _begin(self) -> None:
        chunk = next(self._order, None)
        if chunk is not None and self._pool is not None:
            ahead = self._log.is_read_ahead(chunk)
            self._coming.append(self._pool.submit(self._log.messages, chunk, self._slots) if ahead else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
