"""When the messages of a stream came: runs and pauses, rate, time between messages; from the index alone."""

import numpy as np
from attrs import frozen

from hephaes_rpc.engine.logreport.thinning import Columns, Float64s, Points, Thinner
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.logs.types import Int64s

PAUSE_FACTOR = 5
STEADY_FACTOR = 2
MAX_RUNS = 300
MAX_WINDOWS = 240
MESSAGES_PER_WINDOW = 8
MIN_BARS, MAX_BARS, MESSAGES_PER_BAR = 32, 80, 4


@frozen(eq=False)
class Timing:
    """A stream in time.

    Args:
        starts, ends: int64[n], first and last log time of each run of messages without a pause, ns.
        counts: int64[n], messages per run.
        pause_ns: From how long on nothing is a pause.
        usual_s: Median time between messages; 0 below two.
        is_steady: Whether most messages come after about the usual time.
        rate_edges, rate_hz: int64[n + 1], ns, and messages per second between them; empty for few messages.
        between: Time from each message to the next, s, at the later one.
        activity: Messages per part of the log, the parts equally long.
    """

    starts: Int64s
    ends: Int64s
    counts: Int64s
    pause_ns: int
    usual_s: float
    is_steady: bool
    rate_edges: Int64s
    rate_hz: Float64s
    between: Points
    activity: list[int]


def timing_of(times: Int64s, start_ns: int, end_ns: int, columns: int, keep_all: int) -> Timing:
    """The timing of messages at ``times`` (int64[n], any order, at least one) in a log from start to end."""
    times = np.sort(times)
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    often = float(np.quantile(steps, 0.95)) if len(steps) else 0.0
    pause_ns = max(int(PAUSE_FACTOR * usual), int(STEADY_FACTOR * often), (end_ns - start_ns) // 2000, 1)
    breaks = np.flatnonzero(steps > pause_ns)
    if len(breaks) > MAX_RUNS:
        breaks = np.sort(breaks[np.argsort(-steps[breaks], kind="stable")[:MAX_RUNS]])
    first, last = np.concatenate([[0], breaks + 1]), np.append(breaks, len(times) - 1)
    between = Thinner(Columns.over(start_ns, end_ns, columns), keep_all)
    between.add(times[1:], steps / NS_PER_S)
    rate_edges, rate_hz = _rate(times)
    bars = Columns.over(start_ns, end_ns, int(np.clip(len(times) // MESSAGES_PER_BAR, MIN_BARS, MAX_BARS)))
    return Timing(
        starts=times[first],
        ends=times[last],
        counts=last - first + 1,
        pause_ns=pause_ns,
        usual_s=usual / NS_PER_S,
        is_steady=bool(usual) and float(np.quantile(steps, 0.9)) <= STEADY_FACTOR * usual,
        rate_edges=rate_edges,
        rate_hz=rate_hz,
        between=between.points(),
        activity=np.bincount(bars.of(times), minlength=bars.n).tolist(),
    )


def _rate(times: Int64s) -> tuple[Int64s, Float64s]:
    """Edges of windows of equally many messages, and messages per second from edge to edge."""
    every = max(MESSAGES_PER_WINDOW, -(-(len(times) - 1) // MAX_WINDOWS))
    places = np.arange(0, len(times) - 1, every)
    if len(places) > 1 and len(times) - 1 - places[-1] < every / 2:
        places = places[:-1]
    edges = times[np.append(places, len(times) - 1)]
    edges = edges[np.append(True, np.diff(edges) > 0)]
    if len(edges) < 3:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    passed = np.diff(np.searchsorted(times, edges))
    return edges, passed * NS_PER_S / np.diff(edges)
