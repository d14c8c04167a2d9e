"""How steadily a stream comes, from its log times alone.

Strategy: the period is the median of the steps between messages, the jitter their median distance from it, so that what
is to be found (gaps, losses, bursts) moves neither.  A step that is too long is a loss only where no shorter steps
beside it make up for it: late is not lost.  What remains is told by its size: from a gap on each on its own, the rest
added up.  Of a stream that does not come steadily nothing of this is said.
"""

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.quality import thresholds as at

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@frozen
class Silence:
    """A time without a message; ``missing`` messages should have come in it."""

    start_ns: int
    end_ns: int
    missing: int


@frozen
class Stretch:
    """A time in which a stream has another period."""

    start_ns: int
    end_ns: int
    period_ns: int


@define(eq=False)
class Cadence:
    """What the log times of one stream say.

    Args:
        times: int64[n], ascending, ns.
        period_ns, jitter_ns, max_gap_ns: None below two messages; the last is the longest step.
        is_steady: Whether gaps, losses and changes of its rate mean something.
        out_of_order: Messages that lie in the file behind one with a later time; ``fallback_ns`` the farthest.
        disordered: First and last time of such.
        duplicates: Messages with the time of the one before.
        gaps: In order of time.
        losses: Shorter silences, in order of time.
        stretches: With another rate, in order of time.
    """

    times: Int64s
    period_ns: int | None = None
    jitter_ns: int | None = None
    max_gap_ns: int | None = None
    is_steady: bool = False
    out_of_order: int = 0
    fallback_ns: int = 0
    disordered: tuple[int, int] | None = None
    duplicates: int = 0
    gaps: list[Silence] = field(factory=list)
    losses: list[Silence] = field(factory=list)
    stretches: list[Stretch] = field(factory=list)

    @property
    def rate_hz(self) -> float | None:
        """(messages - 1) / span."""
        span = int(self.times[-1]) - int(self.times[0]) if len(self.times) > 1 else 0
        return (len(self.times) - 1) * at.NS_PER_S / span if span else None

    @property
    def missing(self) -> int:
        """Messages missing in losses, gaps not counted."""
        return sum(loss.missing for loss in self.losses)

    @classmethod
    def of(cls, times: Int64s, tick_ns: int = 1, *, may_be_steady: bool = True) -> "Cadence":
        """From log times in file order; ``tick_ns`` is the resolution of the log's clock."""
        found = cls(times)
        found._order()
        steps = np.diff(found.times)
        if len(steps):
            found.max_gap_ns = int(steps.max())
            found.duplicates = int(np.count_nonzero(steps == 0))
            found._measure(steps, tick_ns, may_be_steady)
        return found

    def _order(self) -> None:
        times = self.times
        if not np.any(times[1:] < times[:-1]):
            return
        latest = np.maximum.accumulate(times)
        behind = times < latest
        self.out_of_order = int(np.count_nonzero(behind))
        self.fallback_ns = int((latest - times).max())
        self.disordered = (int(times[behind].min()), int(times[behind].max()))
        self.times = np.sort(times)

    def _measure(self, steps: Int64s, tick_ns: int, may_be_steady: bool) -> None:
        period = _median(steps)
        if period <= 0:
            rising = steps[steps > 0]
            if len(rising) * 2 >= len(steps):
                period = _median(rising)
        apart = steps - period
        jitter = _median(np.abs(apart, out=apart))
        self.period_ns, self.jitter_ns = round(period), round(jitter)
        if not may_be_steady or len(self.times) < at.MIN_MESSAGES or self.times[-1] - self.times[0] < at.MIN_SPAN_NS:
            return
        if period <= 0 or self.jitter_ns > at.MAX_SPREAD * period:
            return
        gaps = steps > max(at.GAP_PERIODS * period, at.MIN_GAP_NS)
        if np.count_nonzero(gaps) > max(1.0, at.MAX_GAPS * len(steps)):
            return
        self.stretches, elsewhere = _stretches(self.times, steps, gaps, period)
        usual = ~gaps & ~elsewhere
        lost = _lost_periods(steps, period, gaps, usual)
        losses = np.flatnonzero(usual & (lost >= at.LOST))
        if self.duplicates and tick_ns >= at.COARSE * period:
            # Ticks put messages off by whole periods, for as long as it takes: only what lacks in the end is lost.
            lacking = max(0, round(float(np.sum(steps[usual] / period - 1.0))))
            losses = np.sort(losses[np.argsort(-lost[losses], kind="stable")[:lacking]])
        beats = steps
        if not usual.all():
            beats = steps[usual]
            jitter = _median(np.abs(beats - period)) if len(beats) else 0.0
        if not self._is_beat(beats, period, jitter, lost[losses]):
            self.stretches = []
            return
        self.is_steady = True
        self.gaps = [self._silence(k, max(0, round(float(lost[k])))) for k in np.flatnonzero(gaps).tolist()]
        self.losses = [self._silence(k, max(1, round(float(lost[k])))) for k in losses.tolist()]

    def _silence(self, step: int, missing: int) -> Silence:
        return Silence(int(self.times[step]), int(self.times[step + 1]), missing)

    @staticmethod
    def _is_beat(steps: Int64s, period: float, jitter: float, lost: Floats) -> bool:
        """Whether steps keep to a beat: what is lost are whole periods, and jitter does not add up."""
        if len(steps) < at.MIN_MESSAGES // 2:
            return False
        if len(lost) >= at.FEW_LOSSES:
            near = np.abs(lost - np.round(lost)) <= at.ON_BEAT
            if np.count_nonzero(near) < at.MIN_ON_BEAT * len(lost):
                return False
        if jitter <= at.TIGHT * period or len(steps) < 2 * at.LOCKED_OVER:
            return True
        sums = np.convolve(steps - period, np.ones(at.LOCKED_OVER), "valid")
        together = _median(np.abs(sums - _median(sums)))
        return bool(together <= at.LOCKED * jitter * at.LOCKED_OVER**0.5)


def _median(values: Int64s | Floats) -> float:
    """Of at least one finite number."""
    return float(_medians(values))


def _medians(values: Int64s | Floats) -> Floats:
    """As ``np.median`` of finite numbers along the last axis, in a quarter of its time: it looks for one place only."""
    half = values.shape[-1] // 2
    parted = np.partition(values, half)
    upper = parted[..., half]
    lower = upper if values.shape[-1] % 2 else parted[..., :half].max(axis=-1)
    return np.asarray(lower / 2 + upper / 2, np.float64)


def _lost_periods(steps: Int64s, period: float, gaps: Bools, usual: Bools) -> Floats:
    """By how many periods each step is too long after what its neighbours make up for, float64[n]; right from LOST on.

    Steps that are clearly shorter than the period give what they are short of to a longer one near them, each of it
    once: those behind it first, since what was held up comes in a hurry.
    """
    if not np.any(steps >= (1.0 + at.LOST) * period):
        return np.zeros(len(steps))
    excess = steps / period - 1.0
    lost = np.where(excess > 0, excess, 0.0)
    credit = np.where(usual & (excess < -at.HURRY), -excess, 0.0)
    for k in np.flatnonzero((gaps | usual) & (excess >= at.LOST)).tolist():
        reach = 2 + int(min(excess[k], 64.0)) * 2
        for neighbours in (range(k + 1, min(len(steps), k + 1 + reach)), range(k - 1, max(-1, k - 3), -1)):
            for j in neighbours:
                if lost[k] <= 0 or excess[j] >= at.LOST:
                    break
                taken = min(credit[j], lost[k])
                credit[j] -= taken
                lost[k] -= taken
    return lost


def _stretches(times: Int64s, steps: Int64s, gaps: Bools, period: float) -> tuple[list[Stretch], Bools]:
    """Where the stream keeps another period, and which steps lie there."""
    inside = np.zeros(len(steps), np.bool_)
    size = max(at.MIN_STRETCH_MESSAGES // 2, int(at.MIN_STRETCH_NS / 2 / period))
    slow, fast = period * at.RATE_CHANGE, period / at.RATE_CHANGE
    outside = np.flatnonzero(((steps > slow) | (steps < fast)) & ~gaps)
    if 2 * len(outside) < size:
        return [], inside
    usable = np.flatnonzero(~gaps)
    n_blocks = len(usable) // size
    if n_blocks < 3:
        return [], inside
    blocks = usable[: n_blocks * size].reshape(n_blocks, size)
    often = np.bincount(np.searchsorted(usable, outside) // size, minlength=n_blocks)[:n_blocks]
    differs = 2 * often >= size
    medians = _medians(steps[blocks[differs]])
    differs[differs] = (medians > slow) | (medians < fast)
    found = []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], differs.astype(np.int8), [0]))))
    for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        own = _median(steps[blocks[first:stop].ravel()])
        low, high = _grown(steps, gaps, int(blocks[first, 0]), int(blocks[stop - 1, -1]), period, own)
        start_ns, end_ns = int(times[low]), int(times[high + 1])
        if end_ns - start_ns >= at.MIN_STRETCH_NS and high - low >= at.MIN_STRETCH_MESSAGES:
            found.append(Stretch(start_ns, end_ns, round(own)))
            inside[low : high + 1] = True
    return found, inside


def _grown(steps: Int64s, gaps: Bools, low: int, high: int, period: float, own: float) -> tuple[int, int]:
    """A stretch of whole blocks grown (or cut) at its ends to the steps that are nearer to its own period."""

    def mine(k: int) -> bool:
        return bool(not gaps[k] and abs(steps[k] - own) < abs(steps[k] - period))

    while low < high and not mine(low):
        low += 1
    while low > 0 and mine(low - 1):
        low -= 1
    while high > low and not mine(high):
        high -= 1
    while high + 1 < len(steps) and mine(high + 1):
        high += 1
    return low, high
