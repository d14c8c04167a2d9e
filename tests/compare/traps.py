"""Specs that the reference gets wrong: what it does, what is done here, and a check of both."""

from collections.abc import Callable

from attrs import frozen

from tests.compare.datasets import Dataset, Topic
from tests.compare.differences import Difference
from tests.compare.specs import (
    COMMAND,
    IMU,
    MS,
    STATUS,
    Spec,
    feature,
    join,
    per_message,
    resample,
    spec,
    trigger,
)

Side = Dataset | str
Topics = dict[str, Topic]


@frozen
class Trap:
    """A spec, the difference it shows, and whether the two sides (a dataset, or an error) do show it."""

    spec: Spec
    difference: Difference
    shown: Callable[[Side, Side, Topics], bool]
    format: str = "parquet"


def _all(side: Side, name: str, value: object = None) -> bool:
    return isinstance(side, Dataset) and len(side.times) > 0 and all(found == value for found in side.fields[name])


def _equal_but_for(theirs: Side, mine: Side, name: str, stand_in: object) -> bool:
    """Whether the fields are equal, ``stand_in`` being where the reference has nothing (somewhere it has)."""
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset) or theirs.times != mine.times:
        return False
    filled = [stand_in if value is None else value for value in theirs.fields[name]]
    return None in theirs.fields[name] and filled == mine.fields[name]


def _refused(theirs: Side, mine: Side) -> bool:
    return isinstance(theirs, Dataset) and isinstance(mine, str)


def _absent_topic(theirs: Side, mine: Side, topics: Topics) -> bool:
    everything = sum(len(topic.times) for topic in topics.values())
    return _refused(theirs, mine) and len(theirs.times) == everything


def _interpolated(theirs: Side, mine: Side, topics: Topics) -> bool:
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset) or theirs.times != mine.times:
        return False
    topic, blended = topics["/imu"], 0
    for time, held, value in zip(mine.times, theirs.fields["ax"], mine.fields["ax"], strict=True):
        at = sum(found <= time for found in topic.times) - 1
        if at < 0 or at + 1 == len(topic.times):
            continue
        lo, hi = (topic.values[at + k]["linear_acceleration"]["x"] for k in (0, 1))
        weight = (time - topic.times[at]) / (topic.times[at + 1] - topic.times[at])
        if held != lo or value != (lo + weight * (hi - lo) if weight else lo):
            return False
        blended += weight > 0
    return blended > 0


def _forward_filled(theirs: Side, mine: Side, _: Topics) -> bool:
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset):
        return False
    last, filled = None, []
    for value in theirs.fields["v"]:
        last = last if value is None else value
        filled.append(last)
    return filled == mine.fields["v"] and None in theirs.fields["v"]


def _dropped(theirs: Side, mine: Side, _: Topics) -> bool:
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset):
        return False
    kept = [time for time, value in zip(theirs.times, theirs.fields["v"], strict=True) if value is not None]
    return mine.times == kept and len(kept) < len(theirs.times)


def _anchored(theirs: Side, mine: Side, topics: Topics) -> bool:
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset):
        return False
    end = topics["/camera"].times[-1]
    return mine.times[0] == theirs.times[0] == topics["/camera"].times[0] and mine.times[-1] <= end < theirs.times[-1]


def _past_only(theirs: Side, mine: Side, _: Topics) -> bool:
    if not isinstance(theirs, Dataset) or not isinstance(mine, Dataset) or theirs.times != mine.times:
        return False
    pairs = list(zip(theirs.fields["gear"], mine.fields["gear"], strict=True))
    return all(a in (None, b) for a, b in pairs) and any(a is None and b is not None for a, b in pairs)


def _first_element(theirs: Side, mine: Side, topics: Topics) -> bool:
    expected = [message["pose"][0] for message in topics["/status"].values]
    return _all(theirs, "x") and isinstance(mine, Dataset) and mine.fields["x"] == expected


def _wrapped(theirs: Side, mine: Side, _: Topics) -> bool:
    return isinstance(theirs, Dataset) and all(value < 0 for value in theirs.fields["ticks"]) and _all(mine, "ticks")


def _limited(theirs: Side, mine: Side, topics: Topics) -> bool:
    both = isinstance(theirs, Dataset) and isinstance(mine, Dataset)
    return both and (len(theirs.times), len(mine.times)) == (len(topics["/status"].times), 7)


def _no_rows(theirs: Side, mine: Side, _: Topics) -> bool:
    return isinstance(theirs, str) and isinstance(mine, Dataset) and not mine.times


def _written(theirs: Side, mine: Side, topics: Topics) -> bool:
    return isinstance(theirs, str) and isinstance(mine, Dataset) and len(mine.times) == len(topics["/status"].times)


STALE = join("/cmd_vel", staleness_ns=30 * MS)


def _with(missing: str) -> Spec:
    """A speed that is often missing."""
    return spec(trigger("/status", STALE), STATUS | {"v": COMMAND["v"] | {"missing": missing}})


TRAPS = {
    "topic that is not there": Trap(
        spec(per_message("/absent"), {"gear": feature("/absent", "gear", "int64")}),
        Difference(
            "D-01",
            "a topic list in which no topic exists selects every message of the log",
            "refused before a byte is read",
        ),
        _absent_topic,
    ),
    "interpolated rows of a spec": Trap(
        spec(resample("interpolate", "/imu", freq_hz=13.0), IMU),
        Difference(
            "D-02",
            "real messages are not blended: every row holds the earlier message",
            "as in a mapping: floats blended, quaternions by slerp, the rest held",
        ),
        _interpolated,
    ),
    "whole message to TFRecord": Trap(
        spec(per_message("/status"), {"all": feature("/status", None, "json")}),
        Difference("D-03", "the run ends with an error", "JSON text as one bytes value"),
        _written,
        "tfrecord",
    ),
    "missing: zeros": Trap(
        _with("zeros"),
        Difference("D-04", "null", "zero of the declared dtype, with presence 0, counted"),
        lambda theirs, mine, _: _equal_but_for(theirs, mine, "v", 0.0),
    ),
    "missing: forward_fill": Trap(
        _with("forward_fill"),
        Difference("D-04", "null", "the last value in row order, counted"),
        _forward_filled,
    ),
    "missing: drop": Trap(
        _with("drop"),
        Difference("D-04", "null", "the row is left out, counted"),
        _dropped,
    ),
    "missing: error": Trap(
        _with("error"),
        Difference("D-04", "null", "the conversion fails and names feature, row time and cause"),
        lambda theirs, mine, _: _refused(theirs, mine),
    ),
    "default of a join": Trap(
        spec(trigger("/status", STALE | {"default_value": {"linear": {"x": 9.0}}}), STATUS | {"v": COMMAND["v"]}),
        Difference("D-05", "keeps the row, but no feature ever sees it", "used by the features that it covers"),
        lambda theirs, mine, _: _equal_but_for(theirs, mine, "v", 9.0),
    ),
    "topic that no row takes": Trap(
        spec(trigger("/status"), STATUS | COMMAND),
        Difference("D-06", "its features are null in every row", "refused, the topic named"),
        lambda theirs, mine, _: _refused(theirs, mine) and _all(theirs, "v"),
    ),
    "no rows": Trap(
        spec(trigger("/camera", join("/cmd_vel", "exact-within-tolerance", tolerance_ns=0, required=True)), COMMAND),
        Difference("D-09", "no file and no manifest, and success", "a dataset of no rows with its schema"),
        _no_rows,
    ),
    "element of an array": Trap(
        spec(per_message("/status"), {"x": feature("/status", "pose.0", "float64")}),
        Difference("D-15", "null: an index into an array of numbers is not understood", "the element; slices too"),
        _first_element,
    ),
    "shape []": Trap(
        spec(per_message("/status"), {"pose": feature("/status", "pose", "float64", shape=[])}),
        Difference("D-16", "checks nothing", "means a scalar; what cannot be one is refused"),
        lambda theirs, mine, _: _refused(theirs, mine) or _all(mine, "pose"),
    ),
    "anchor": Trap(
        spec(resample("downsample", "/camera", "/imu", anchor_topic="/camera"), IMU),
        Difference(
            "D-21",
            "the grid ends with the last message of any topic; earlier messages fall into the first bucket",
            "the anchor's first and last message bound the grid, and what falls into it",
        ),
        _anchored,
    ),
    "integers of 64 bits": Trap(
        spec(per_message("/status"), {"ticks": feature("/status", "ticks", "int64")}),
        Difference(
            "P-02",
            "uint64 from 2^63 on turns negative in TFRecord",
            "a value that int64 cannot hold is missing, and counted; dtype `native` keeps uint64",
        ),
        _wrapped,
        "tfrecord",
    ),
    "input": Trap(
        spec(per_message("/status"), STATUS, input={"include_topics": ["/status"], "max_messages": 7}),
        Difference("A-01", "read, and ignored", "windows, topics, caps and rates hold for every conversion"),
        _limited,
    ),
    "staleness of nearest": Trap(
        spec(trigger("/camera", join("/status", "nearest", staleness_ns=0)), {"gear": STATUS["gear"]}),
        Difference(
            "A-03", "limits later messages too", "limits the age of earlier ones; `tolerance_ns` holds both ways"
        ),
        _past_only,
    ),
    "unknown transform": Trap(
        spec(per_message("/status"), {"gear": feature("/status", "gear", "int64", "clmp")}),
        Difference("O-09", "accepted; null in every row", "refused, with the nearest name"),
        lambda theirs, mine, _: _refused(theirs, mine) and _all(theirs, "gear"),
    ),
}
DIFFERENCES = {name: trap.difference for name, trap in TRAPS.items()}
