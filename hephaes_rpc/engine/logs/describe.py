"""What a log is like, from its index alone: rates, gaps, sensor families.  Nothing is rounded here."""

from typing import Literal, TypeAlias

import numpy as np
from attrs import frozen

from hephaes_rpc.engine.logs.base import LogReader
from hephaes_rpc.engine.logs.types import Stream

Modality: TypeAlias = Literal["image", "points", "scalar_series", "other"]
Family: TypeAlias = Literal["camera", "lidar", "imu", "telemetry", "other"]

_TELEMETRY = (
    *("odometry", "twist", "pose", "jointstate", "joint_state", "navsatfix", "gps"),
    *("temperature", "battery", "magneticfield", "fluidpressure"),
)
# The first row of which a word occurs in the lower-case type name counts.
_KINDS: tuple[tuple[tuple[str, ...], Modality, Family], ...] = (
    (("image",), "image", "camera"),
    (("pointcloud", "point_cloud", "laser", "scan"), "points", "lidar"),
    (("imu",), "scalar_series", "imu"),
    (_TELEMETRY, "scalar_series", "telemetry"),
)
NS_PER_S = 1_000_000_000


@frozen
class StreamInfo:
    """One stream as its index shows it.

    Args:
        start_ns, end_ns: Log time of the first and last message; None without messages.
        rate_hz: (messages - 1) / (end - start); 0 below two messages or where all have one time.
        max_gap_ns: Longest time between two messages that follow each other in time; None below two messages.
        out_of_order: Messages that lie in the file behind one with a later log time.
        undecodable: Why its messages cannot be decoded, or None.
    """

    topic: str
    type_name: str
    encoding: str
    schema_encoding: str
    connection_count: int
    message_count: int
    start_ns: int | None
    end_ns: int | None
    rate_hz: float
    max_gap_ns: int | None
    out_of_order: int
    modality: Modality
    sensor_family: Family
    undecodable: str | None


@frozen
class LogInfo:
    """Streams in the order of the summary, and what they come to; families other than ``other``, in stream order."""

    streams: tuple[StreamInfo, ...]
    duration_s: float
    sensor_types: tuple[Family, ...]


def classify(type_name: str) -> tuple[Modality, Family]:
    """Modality and sensor family of a type, by its name."""
    name = type_name.strip().lower()
    for words, modality, family in _KINDS:
        if any(word in name for word in words):
            return modality, family
    return "other", "other"


def describe(log: LogReader) -> LogInfo:
    """Describe an open log; no payload is read."""
    summary = log.summary
    times = log.times(log.slots(summary.streams))
    streams = tuple(_describe(stream, time) for stream, time in zip(summary.streams, times, strict=True))
    duration_ns = 0
    if summary.start_ns is not None and summary.end_ns is not None:
        duration_ns = summary.end_ns - summary.start_ns
    families = dict.fromkeys(s.sensor_family for s in streams if s.sensor_family != "other")
    return LogInfo(streams, duration_ns / NS_PER_S, tuple(families))


def _describe(stream: Stream, time: np.ndarray[tuple[int], np.dtype[np.int64]]) -> StreamInfo:
    steps = np.diff(time)
    out_of_order = 0
    if len(steps) and steps.min() < 0:
        out_of_order = int((time < np.maximum.accumulate(time)).sum())
        time = np.sort(time)
        steps = np.diff(time)
    start_ns, end_ns = (int(time[0]), int(time[-1])) if len(time) else (None, None)
    span_ns = end_ns - start_ns if start_ns is not None and end_ns is not None else 0
    modality, family = classify(stream.type_name)
    first = stream.connections[0]
    return StreamInfo(
        topic=stream.topic,
        type_name=stream.type_name,
        encoding=first.encoding,
        schema_encoding=first.schema_encoding,
        connection_count=len(stream.connections),
        message_count=len(time),
        start_ns=start_ns,
        end_ns=end_ns,
        rate_hz=len(steps) * NS_PER_S / span_ns if span_ns else 0.0,
        max_gap_ns=int(steps.max()) if len(steps) else None,
        out_of_order=out_of_order,
        modality=modality,
        sensor_family=family,
        undecodable=stream.undecodable,
    )
