"""Chunks read in a thread of their own, one ahead of those who use them."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hephaes_rpc.engine.logs import LogReader
from hephaes_rpc.engine.logs.base import Payload

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future


class ReadAhead:
    """What can be read of the chunks ``order`` of a log before their turn.

    At most one chunk is there that nobody took; what reading it raised is raised when it is taken.  An empty order
    needs no thread.
    """

    def __init__(self, log: LogReader, order: Sequence[int]) -> None:
        self._log, self._order = log, iter(order)
        self._pool: Executor | None = None
        self._coming: Future[Payload | None] | None = None
        if len(order):
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, "hephaes-reader")
            self._begin()

    def take(self) -> Payload | None:
        """Of the next chunk, as ``LogReader.content`` gives it; None behind the last one."""
        coming, self._coming = self._coming, None
        if coming is None:
            return None
        content = coming.result()
        self._begin()
        return content

    def _begin(self) -> None:
        chunk = next(self._order, None)
        if chunk is not None and self._pool is not None:
            self._coming = self._pool.submit(self._log.content, chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
