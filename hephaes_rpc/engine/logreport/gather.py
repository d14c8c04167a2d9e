"""The facts of a report: times from the index, fields and pictures from one pass over the log.

Strategy: each chunk is read once, of every message only the fields that are drawn are decoded, and points are thinned
as they come; memory is bounded by a chunk and the columns of the plots.  Of a log that holds more than MAX_READ bytes
chunks are taken evenly, and the facts say how many messages that were.
"""

import numpy as np
import pyarrow as pa
from attrs import evolve

from hephaes_rpc.engine.authoring.authored import InspectRequest
from hephaes_rpc.engine.authoring.inspection import Looked, inspect
from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.encodings import COLORS, ImageError
from hephaes_rpc.engine.features.leaves import HEADER, Leaf, leaves_of
from hephaes_rpc.engine.features.thumbnails import picture_of, smaller
from hephaes_rpc.engine.logreport.facts import LogFacts, Shot, TopicFacts
from hephaes_rpc.engine.logreport.fields import FieldPlot, parted, plots_of, selection
from hephaes_rpc.engine.logreport.thinning import Columns, Points, Thinner
from hephaes_rpc.engine.logreport.timing import timing_of
from hephaes_rpc.engine.logs import LogReader, Stream, Walk
from hephaes_rpc.engine.logs.base import Payload
from hephaes_rpc.engine.logs.describe import NS_PER_S, describe
from hephaes_rpc.engine.logs.types import Int32s, Int64s
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.quality.analysis import quality_by_messages
from hephaes_rpc.engine.quality.indexed import quality_by_index
from hephaes_rpc.engine.task import Context
from hephaes_rpc.model.quality import Basis, Quality

MAX_READ = 1 << 30
MAX_ROWS = 20_000
"""Messages of one topic that a library decodes one by one."""
MAX_SERIES = 360
MAX_POINTS = 150_000
MIN_COLUMNS, MAX_COLUMNS = 100, 800
MAX_SHOTS, SHOTS_PER_TOPIC, MIN_SHOTS = 96, 12, 2
SHOT_SIDE, SHOT_QUALITY = 256, 78


def gather(log: LogReader, name: str, context: Context, quality: Quality | Basis = "index") -> LogFacts:
    """The facts of an open log.

    Args:
        name: What the log is called on the page.
        quality: What is known of its quality, or from what that is to be told.

    Raises:
        LogError: A chunk is damaged or (StaleIndexError) does not hold what the index says.
    """
    summary, info = log.summary, describe(log)
    looked = {(one.stream.topic, one.stream.type_name): one for one in _look(log, context).values()}
    plans = {key: plots_of(one) for key, one in looked.items()}
    _limit(plans)
    index = log.index(log.slots(summary.streams))
    n_series = sum(len(plot.lines) for plots, _ in plans.values() for plot in plots) + 2 * len(summary.streams)
    n_columns = int(np.clip(MAX_POINTS // (2 * max(n_series, 1)), MIN_COLUMNS, MAX_COLUMNS))
    start_ns, end_ns = summary.start_ns or 0, summary.end_ns or 0
    columns = Columns.over(start_ns, end_ns, n_columns)
    cameras = sum(_image_leaf(one) is not None for one in looked.values())
    shots = int(np.clip(MAX_SHOTS // max(cameras, 1), MIN_SHOTS, SHOTS_PER_TOPIC))
    readings: dict[int, _Reading] = {}
    for k, stream in enumerate(summary.streams):
        one = looked.get((stream.topic, stream.type_name))
        times, chunk = index.slot(k)
        if one is not None and one.stream is stream and len(times):
            readings[k] = _Reading(one, times, chunk, plans[stream.topic, stream.type_name], columns, shots)
    _read(log, list(readings.values()), context)
    topics: list[TopicFacts] = []
    for k, stream_info in enumerate(info.streams):
        times = index.slot(k)[0]
        timing = timing_of(times, start_ns, end_ns, n_columns, 2 * n_columns) if len(times) else None
        reading = readings.get(k)
        note = "" if reading is not None or timing is None else _why_not(summary.streams[k])
        facts = TopicFacts(stream_info, timing, note=note)
        topics.append(facts if reading is None else reading.facts(facts))
    found = _quality(log, quality, context)
    return LogFacts(name, summary, info, tuple(topics), tuple(found.findings), found.score)


def _quality(log: LogReader, wanted: Quality | Basis, context: Context) -> Quality:
    if isinstance(wanted, Quality):
        return wanted
    if wanted == "index":
        return quality_by_index(log)

    def told(done: int, total: int) -> None:
        context.check()
        context.progress("decode", done, total, "bytes", "quality")

    return quality_by_messages(log, told)


def _look(log: LogReader, context: Context) -> dict[str, Looked]:
    return inspect(log, InspectRequest(on_failure="skip"), context.check).topics


def _why_not(stream: Stream) -> str:
    return stream.undecodable or "the topic has another type with more messages, whose fields are drawn"


def _limit(plans: dict[tuple[str, str], tuple[list[FieldPlot], int]]) -> None:
    """Take the last plots of the topics that have the most, until there are few enough series."""
    total = sum(len(plot.lines) for plots, _ in plans.values() for plot in plots)
    while total > MAX_SERIES:
        key = max(plans, key=lambda key: len(plans[key][0]))
        plots, left_out = plans[key]
        total -= len(plots[-1].lines)
        plans[key] = plots[:-1], left_out + 1


def _image_leaf(looked: Looked) -> Leaf | None:
    return next((leaf for leaf in leaves_of(looked.stream.definition) if leaf.is_image and not leaf.spans), None)


def _has_stamp(stream: Stream) -> bool:
    fields = stream.definition.types[stream.definition.root].fields
    return any(m.name == "header" and m.type.base == HEADER and not m.type.array for m in fields)


class _Reading:
    """What is read of one stream."""

    def __init__(
        self,
        looked: Looked,
        times: Int64s,
        chunk: Int32s,
        plan: tuple[list[FieldPlot], int],
        columns: Columns,
        shots: int,
    ) -> None:
        self.stream, self.chunk = looked.stream, chunk
        self._times = times
        self._plots, self._left_out = plan
        self._thinners = [
            [Thinner(columns, 0 if line.is_range else 2 * columns.n) for line in plot.lines] for plot in self._plots
        ]
        self._stamped = _has_stamp(self.stream)
        self._latency = Thinner(columns, 2 * columns.n)
        names = {*selection(self._plots), *(("header.stamp",) if self._stamped else ())}
        self._numbers = StreamDecoder(self.stream.definition, self.stream.wire, sorted(names)) if names else None
        self._wanted: Int64s | None = None
        if self.stream.wire in ("json", "protobuf") and len(times) > MAX_ROWS:
            self._wanted = _evenly(len(times), MAX_ROWS)
        leaf = _image_leaf(looked)
        self._image_at = None if leaf is None else leaf.path.split(".")[:-1]
        self._shots_at = _evenly(len(times), shots) if leaf is not None else np.empty(0, np.int64)
        self._pictures = StreamDecoder(self.stream.definition, self.stream.wire) if leaf is not None else None
        self._shots: list[Shot] = []
        self._read = self._failed = 0

    @property
    def numeric_chunks(self) -> Int64s:
        """Chunks with messages whose fields are drawn."""
        return np.unique(self.chunk).astype(np.int64) if self._numbers is not None else np.empty(0, np.int64)

    @property
    def picture_chunks(self) -> Int64s:
        """Chunks with messages whose pictures are shown."""
        return np.unique(self.chunk[self._shots_at]).astype(np.int64)

    def feed(self, data: Payload, walk: Walk, slot: int, i: int, *, numbers: bool) -> None:
        """Take what is wanted of a chunk."""
        _, offset, length = walk.slot(slot)
        if not len(offset):
            return
        first = int(np.searchsorted(self.chunk, np.int32(i)))
        times = self._times[first : first + len(offset)]
        if numbers and self._numbers is not None:
            inside = np.arange(len(offset)) if self._wanted is None else _inside(self._wanted, first, len(offset))
            self._take(self._numbers, data, offset[inside], length[inside], times[inside])
        if self._pictures is not None:
            for k in _inside(self._shots_at, first, len(offset)).tolist():
                status = self._pictures.feed(data, offset[k : k + 1], length[k : k + 1])
                messages = self._pictures.take()
                failure = "" if not status[0] else "the message cannot be decoded"
                self._shots.append(_shot(int(times[k]), failure, messages, self._image_at or []))

    def _take(self, decoder: StreamDecoder, data: Payload, offset: Int64s, length: Int64s, times: Int64s) -> None:
        status = decoder.feed(data, offset, length)
        messages = decoder.take()
        self._read += len(status)
        self._failed += int(np.count_nonzero(status))
        times = times[status == 0]
        if not len(times):
            return
        if self._stamped:
            stamps = _stamps(messages)
            is_set = stamps != 0
            self._latency.add(times[is_set], (times - stamps)[is_set] / NS_PER_S)
        for plot, thinners in zip(self._plots, self._thinners, strict=True):
            for line, thinner in zip(plot.lines, thinners, strict=True):
                thinner.add(*line.values(messages, times))

    def facts(self, plain: TopicFacts) -> TopicFacts:
        """What was found, on top of what the index told."""
        plots = [
            evolve(plot, points=tuple(thinner.points() for thinner in thinners))
            for plot, thinners in zip(self._plots, self._thinners, strict=True)
        ]
        latency: Points | None = self._latency.points()
        return evolve(
            plain,
            latency=latency if latency is not None and latency.count else None,
            plots=tuple(part for plot in plots for part in parted(plot)),
            plots_left_out=self._left_out,
            read=self._read,
            failed=self._failed,
            shots=tuple(sorted(self._shots, key=lambda shot: shot.time_ns)),
        )


def _read(log: LogReader, readings: list[_Reading], context: Context) -> None:
    """Have the readings take what they want from as many chunks as may be read."""
    if not readings:
        return
    slots = log.slots([reading.stream for reading in readings])
    wanted = np.unique(np.concatenate([reading.numeric_chunks for reading in readings]))
    shown = np.unique(np.concatenate([reading.picture_chunks for reading in readings]))
    raw = log.chunks.raw_bytes
    total = int(raw[wanted].sum())
    if total > MAX_READ:
        wanted = wanted[_evenly(len(wanted), max(1, len(wanted) * MAX_READ // total))]
    chunks = np.union1d(wanted, shown)
    numbers = np.isin(chunks, wanted)
    goal, done = int(raw[chunks].sum()), 0
    for i, with_numbers in zip(chunks.tolist(), numbers.tolist(), strict=True):
        context.check()
        context.progress("decode", done, goal, "bytes")
        data, walk = log.messages(i, slots)
        for k, reading in enumerate(readings):
            reading.feed(data, walk, k, i, numbers=with_numbers)
        done += int(raw[i])


def _evenly(n: int, most: int) -> Int64s:
    """At most ``most`` of the numbers below ``n``, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _inside(places: Int64s, first: int, n: int) -> Int64s:
    """Those of the ascending places that are among ``n`` from ``first``, counted from there."""
    start, stop = np.searchsorted(places, (first, first + n))
    return places[start:stop] - first


def _stamps(messages: pa.StructArray) -> Int64s:
    """``header.stamp`` of messages, ns."""
    header = messages.field(messages.type.get_field_index("header"))
    stamp = header.field(header.type.get_field_index("stamp"))
    sec, nanosec = (
        np.asarray(stamp.field(stamp.type.get_field_index(name)).to_numpy(zero_copy_only=False), np.int64)
        for name in ("sec", "nanosec")
    )
    return sec * NS_PER_S + nanosec


def _shot(time_ns: int, failure: str, messages: pa.StructArray, path: list[str]) -> Shot:
    """The picture of an array of one message (of none where that is malformed)."""
    if failure:
        return Shot(time_ns, b"", failure)
    for name in path:
        messages = messages.field(messages.type.get_field_index(name))
    try:
        picture = smaller(picture_of(messages), SHOT_SIDE)
        if len(COLORS.get(picture.color, "")) == 4 or (picture.pixels is not None and picture.pixels.shape[2] == 4):
            picture = images.convert_color(picture, "rgb")
        return Shot(time_ns, images.encode(picture, "jpeg", SHOT_QUALITY))
    except ImageError as error:
        return Shot(time_ns, b"", str(error))
