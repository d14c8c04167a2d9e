"""What of a log a spec's ``input`` leaves: which streams, and which of their messages.

Strategy: everything is decided on log times from the index, before a payload is read.  The window comes first; of what
lies in it ``max_messages`` keeps the first ones of all streams together, and ``sample_rate_hz`` one per stream and
bucket.  Messages of one time follow each other as in the file, across streams too.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np

from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.specs.rules import excluded_by
from hephaes_rpc.engine.specs.spec import Input
from hephaes_rpc.engine.timeline.plan import Int64s, Named, distance
from hephaes_rpc.engine.timeline.window import Bools, Window

N = TypeVar("N", bound=Named)


def included(wanted: Input, streams: Iterable[N]) -> list[N]:
    """The streams whose topics ``input`` takes, in their order."""
    return [stream for stream in streams if excluded_by(wanted, stream.topic) is None]


def unmatched(wanted: Input, streams: Sequence[Named]) -> list[str]:
    """A warning for each pattern of ``input`` that no topic of a log matches."""
    topics = {stream.topic for stream in streams}
    return [
        f"input.{key}: no topic of the log matches {pattern!r}"
        for key, patterns in (("include_topics", wanted.include_topics), ("exclude_topics", wanted.exclude_topics))
        for pattern in patterns
        if not any(fnmatchcase(topic, pattern) for topic in topics)
    ]


def window_of(wanted: Input) -> Window:
    """The log times that ``input`` takes."""
    return Window(wanted.start_ns, wanted.end_ns)


def select(wanted: Input, log: LogReader, streams: Sequence[Stream]) -> list[Bools]:
    """Which messages of ``streams`` are taken, per stream a bool per message in file order.

    ``max_messages`` counts the messages of all streams of the log that ``input`` includes, be they in ``streams`` or
    not.
    """
    times = log.times(log.slots(streams))
    chosen = [window_of(wanted).holds(each) for each in times]
    if wanted.max_messages is not None:
        _keep_first(wanted, log, streams, chosen)
    if wanted.sample_rate_hz is not None:
        start = wanted.start_ns if wanted.start_ns is not None else log.summary.start_ns or 0
        step = round(1e9 / wanted.sample_rate_hz)
        for k, keep in enumerate(chosen):
            _sample(times[k], keep, start, step)
    return chosen


def _keep_first(wanted: Input, log: LogReader, streams: Sequence[Stream], chosen: Sequence[Bools]) -> None:
    """Leave of the messages chosen only those among the first ``max_messages`` of all included streams."""
    every = included(wanted, log.summary.streams)
    slots = log.slots(every)
    index = log.index(slots)
    places = np.flatnonzero(window_of(wanted).holds(index.time))
    limit = wanted.max_messages
    if limit is None or limit >= len(places):
        return
    time = index.time[places]
    last = int(np.partition(time, limit - 1)[limit - 1])
    keep = index.time < last
    ties = places[time == last]
    order = np.lexsort((log.offsets(slots)[ties], index.chunk[ties]))
    keep[ties[order[: limit - int(np.count_nonzero(time < last))]]] = True
    of_stream = {id(stream): k for k, stream in enumerate(every)}
    for stream, mine in zip(streams, chosen, strict=True):
        k = of_stream[id(stream)]
        mine &= keep[index.bounds[k] : index.bounds[k + 1]]


def _sample(time: Int64s, keep: Bools, start: int, step: int) -> None:
    """Leave of the messages kept only the first of each bucket ``[start + k * step, start + (k + 1) * step)``."""
    places = np.flatnonzero(keep)
    places = places[np.argsort(time[places], kind="stable")]
    bucket = distance(time[places], start) // np.uint64(step)
    keep[places[1:][bucket[1:] == bucket[:-1]]] = False
