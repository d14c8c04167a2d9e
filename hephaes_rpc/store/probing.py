"""Looks at files that may lie on a file system that hangs, and waits for none of them for long.

Strategy: a thread does the looking; who asks waits LIMIT_S.  A look that has not come back by then is left to its
thread, another thread takes its place, and until it does come back everybody who asks for that file is refused at once.
"""

import threading
from pathlib import Path
from queue import SimpleQueue

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import workspace as place

LIMIT_S = 1.0


class _Look:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = threading.Event()
        self.found: place.Identity | None = None


class Prober:
    """Tells which file a database is; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hanging: dict[Path, _Look] = {}
        self._wanted = self._start()

    def identify(self, path: Path) -> place.Identity | None:
        """As ``workspace.identify``; raises ``io_error`` when the file system does not answer."""
        with self._lock:
            if path in self._hanging:
                raise _hangs(path)
            wanted = self._wanted
            look = _Look(path)
            wanted.put(look)
        if look.done.wait(LIMIT_S):
            return look.found
        with self._lock:
            if not look.done.is_set():
                self._hanging[path] = look
            if self._wanted is wanted:
                wanted.put(None)
                self._wanted = self._start()
        raise _hangs(path)

    def close(self) -> None:
        """End the thread, unless it hangs."""
        self._wanted.put(None)

    def _start(self) -> "SimpleQueue[_Look | None]":
        wanted: SimpleQueue[_Look | None] = SimpleQueue()
        threading.Thread(target=self._work, args=(wanted,), name="prober", daemon=True).start()
        return wanted

    def _work(self, wanted: "SimpleQueue[_Look | None]") -> None:
        while (look := wanted.get()) is not None:
            look.found = place.identify(look.path)
            with self._lock:
                look.done.set()
                if self._hanging.get(look.path) is look:
                    del self._hanging[look.path]


def _hangs(path: Path) -> HephaesError:
    return HephaesError("io_error", f"{path} does not answer: its file system hangs", path=str(path))
