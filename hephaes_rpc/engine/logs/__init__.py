"""Robot logs behind one interface: index without payloads, chunks checked and bounded, messages walked natively.

    with open_log(path) as log:
        streams = [s for s in log.summary.streams if s.undecodable is None]
        slots = log.slots(streams)                   # slot k is streams[k]
        index = log.index(slots)                     # TimeIndex: log times and chunk numbers by slot
        for i in np.unique(index.chunk):
            data, walk = log.messages(i, slots)      # Walk: times, offsets and lengths by slot, same order as the index

The container's records are the truth and its summary is a hint: whatever disagrees is told in ``summary.warnings``.
Where only the content of a chunk shows that its index lied, ``messages`` raises StaleIndexError: call ``rescan`` and
start again.

Nothing is imported here before it is used: whoever asks for the name of a log need not load numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hephaes_rpc.engine.logs.base import LogReader, StaleIndexError
    from hephaes_rpc.engine.logs.opening import open_log
    from hephaes_rpc.engine.logs.types import (
        ChunkTable,
        CompressionUse,
        Connection,
        LogSummary,
        Stream,
        TimeIndex,
        Walk,
    )

__all__ = [
    "ChunkTable",
    "CompressionUse",
    "Connection",
    "LogReader",
    "LogSummary",
    "StaleIndexError",
    "Stream",
    "TimeIndex",
    "Walk",
    "open_log",
]

_HOMES = {"LogReader": "base", "StaleIndexError": "base", "open_log": "opening"}


def __getattr__(name: str) -> Any:
    """The class or function of that name, from the module it lives in."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)
