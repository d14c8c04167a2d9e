"""Brute-force twin of the row plans: obvious Python, row by row, message by message."""

from typing import Any

Message = tuple[int, Any]
Row = tuple[int, list[Any]]


def in_time_order(messages: list[Message]) -> list[Message]:
    """Sorted by time; file order breaks ties."""
    return sorted(messages, key=lambda m: m[0])


def topics(messages: list[Message]) -> list[Row]:
    """A row per message."""
    return [(time, [value]) for time, value in in_time_order(messages)]


def union(streams: list[list[Message]]) -> list[Row]:
    """A row per distinct time with the last message of each stream at it."""
    times = sorted({time for messages in streams for time, _ in messages})
    return [(time, [_last([v for t, v in messages if t == time]) for messages in streams]) for time in times]


def downsample(streams: list[list[Message]], step: int) -> list[Row]:
    """A row per bucket with the last message of each stream inside it."""
    rows = []
    for start in _grid(streams, step):
        inside = [[v for t, v in in_time_order(messages) if start <= t < start + step] for messages in streams]
        rows.append((start, [_last(values) for values in inside]))
    return rows


def interpolate(streams: list[list[Message]], step: int) -> list[Row]:
    """A row per grid time with the blend of the neighbours of each stream."""
    return [(time, [_at(in_time_order(messages), time) for messages in streams]) for time in _grid(streams, step)]


def _grid(streams: list[list[Message]], step: int) -> list[int]:
    times = [time for messages in streams for time, _ in messages]
    return list(range(min(times), max(times) + 1, step)) if times else []


def _last(values: list[Any]) -> Any:
    return values[-1] if values else None


def _at(messages: list[Message], time: int) -> Any:
    before = [m for m in messages if m[0] <= time]
    after = [m for m in messages if m[0] > time]
    if before and before[-1][0] == time:
        return before[-1][1]
    if not before or not after:
        return None
    lo, upper = before[-1], after[0][0]
    hi = [m for m in after if m[0] == upper][-1]
    return blend(lo[1], hi[1], (time - lo[0]) / (hi[0] - lo[0]))


def blend(lo: Any, hi: Any, a: float) -> Any:
    """Floats blended, dicts and equally long lists member by member, anything else is ``lo``."""
    if lo is None or hi is None:
        return lo
    if isinstance(lo, float) and isinstance(hi, float):
        return lo if lo == hi else lo + a * (hi - lo)
    if isinstance(lo, dict):
        return {key: blend(lo[key], hi[key], a) for key in lo}
    if isinstance(lo, list) and len(lo) == len(hi):
        return [blend(x, y, a) for x, y in zip(lo, hi, strict=True)]
    return lo
