"""Calls made one after the other in a thread of their own."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

MAX_HELD_BYTES = 16 << 20


class Lane:
    """A thread for calls; those that wait, and the one at work, hold no more than ``most_bytes`` together."""

    def __init__(self, name: str, most_bytes: int = MAX_HELD_BYTES) -> None:
        self._pool = ThreadPoolExecutor(1, f"hephaes-{name}")
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._most_bytes, self._held = most_bytes, 0

    def call(self, work: Callable[..., None], *arguments: Any, nbytes: int) -> None:
        """Have it called soon, with arguments of ``nbytes``; raises what an earlier call raised."""
        self._pending.append((self._pool.submit(work, *arguments), nbytes))
        self._held += nbytes
        while self._held > self._most_bytes or self._pending[0][0].done():
            self._settle()
            if not self._pending:
                return

    def drain(self) -> None:
        """Wait for all calls."""
        while self._pending:
            self._settle()

    def _settle(self) -> None:
        call, nbytes = self._pending.popleft()
        self._held -= nbytes
        call.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
