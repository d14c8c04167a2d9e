"""Brute-force twin of the row strategies: obvious Python, row by row, message by message.

A message is (time, value); a stream is a list of messages in file order.  A row is (time, what each topic gives).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.reference.rows import Message, blend, in_time_order


class Given(NamedTuple):
    """What a topic gives to a row; ``value`` None: nothing."""

    value: Any = None
    age: int | None = None
    filled: bool = False


class MissingError(Exception):
    """A join with ``missing`` ``error`` found nothing."""


Row = tuple[int, dict[str, Given]]


def trigger(streams: Mapping[str, list[Message]], topic: str, joins: list[Any]) -> tuple[list[Row], dict[str, int]]:
    """The rows, and how many each join dropped."""
    rows: list[Row] = []
    dropped = {join.topic: 0 for join in joins}
    for time, value in in_time_order(streams[topic]):
        row = {topic: Given(value)}
        culprits = []
        for join in joins:
            messages = in_time_order(streams.get(join.topic, []))
            found, filled = candidate(messages, time, join), False
            if found is None and join.missing == "error":
                raise MissingError
            if found is None and join.missing == "forward_fill":
                earlier = [m for m in messages if m[0] <= time]
                found, filled = (earlier[-1] if earlier else None), bool(earlier)
            if found is None:
                row[join.topic] = Given()
                stands_in = join.missing == "zeros" or (join.missing == "default" and join.default_value is not None)
                if join.missing == "drop" or (join.required and not stands_in):
                    culprits.append(join.topic)
            else:
                row[join.topic] = Given(found[1], time - found[0], filled)
        if culprits:
            dropped[culprits[0]] += 1
        else:
            rows.append((time, row))
    return rows, dropped


def candidate(messages: list[Message], time: int, join: Any) -> Message | None:
    """The message a sync policy chooses; ``messages`` in time order."""
    best: Message | None = None
    for message in messages:
        distance = abs(message[0] - time)
        past = message[0] <= time
        if past and join.staleness_ns is not None and distance > join.staleness_ns:
            continue
        if not past and (join.no_future or join.sync_policy == "last-known-before"):
            continue
        if join.sync_policy != "last-known-before":
            exact = join.sync_policy == "exact-within-tolerance"
            tolerance = 0 if exact and join.tolerance_ns is None else join.tolerance_ns
            if tolerance is not None and distance > tolerance:
                continue
        if best is None or distance < abs(best[0] - time) or message[0] == best[0]:
            best = message
    return best


def per_message(messages: list[Message]) -> list[Row]:
    """A row per message."""
    return [(time, {"": Given(value)}) for time, value in in_time_order(messages)]


def resample(
    streams: Mapping[str, list[Message]], step: int, method: str, anchor: str | None, *, skip_empty: bool
) -> list[Row]:
    """Grid rows from the anchor's first message to its last (of all topics without anchor, or where it has none)."""
    bounds = [time for time, _ in streams[anchor]] if anchor is not None else []
    bounds = bounds or [time for messages in streams.values() for time, _ in messages]
    if not bounds:
        return []
    start = min(bounds)
    n_rows = (max(bounds) - start) // step + 1
    rows = []
    for time in range(start, start + n_rows * step, step):
        row = {}
        for topic, messages in streams.items():
            known = in_time_order(messages)
            if method == "downsample":
                inside = [value for t, value in known if time <= t < time + step]
                row[topic] = Given(inside[-1] if inside else None)
            else:
                row[topic] = Given(_between(known, time))
        if not skip_empty or any(given.value is not None for given in row.values()):
            rows.append((time, row))
    return rows


def _between(messages: list[Message], time: int) -> Any:
    before = [m for m in messages if m[0] <= time]
    after = [m for m in messages if m[0] > time]
    if before and before[-1][0] == time:
        return before[-1][1]
    if not before or not after:
        return None
    upper = [m for m in after if m[0] == after[0][0]][-1]
    return blend(before[-1][1], upper[1], (time - before[-1][0]) / (upper[0] - before[-1][0]))


def select(messages: list[tuple[str, int]], wanted: Any, included: set[str]) -> list[bool]:
    """Which (topic, log time) messages of a log, in file order, an input takes."""
    ranked = sorted(enumerate(messages), key=lambda m: m[1][1])
    base = wanted.start_ns if wanted.start_ns is not None else min((time for _, time in messages), default=0)
    taken: set[int] = set()
    seen: set[tuple[str, int]] = set()
    counted = 0
    for place, (topic, time) in ranked:
        if topic not in included:
            continue
        if wanted.start_ns is not None and time < wanted.start_ns:
            continue
        if wanted.end_ns is not None and time >= wanted.end_ns:
            continue
        counted += 1
        if wanted.max_messages is not None and counted > wanted.max_messages:
            continue
        if wanted.sample_rate_hz is not None:
            bucket = (topic, (time - base) // round(1e9 / wanted.sample_rate_hz))
            if bucket in seen:
                continue
            seen.add(bucket)
        taken.add(place)
    return [place in taken for place in range(len(messages))]
