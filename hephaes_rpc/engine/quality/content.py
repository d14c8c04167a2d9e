"""The messages of one stream, read once: what is measured of them chunk by chunk, in bounded memory.

Strategy: only numbers are decoded, into columns; images, clouds and texts are not.  Of each message its log time, stamp
and number are kept (24 bytes), of each field a few figures, of each stream of frames the last frame.  Messages are
looked at in the order of the file.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs import Stream
from hephaes_rpc.engine.logs.describe import classify
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.quality import thresholds as at

HEADER = "std_msgs/msg/Header"
BATCH_BYTES = 8 << 20
_TIME_NAMES = {"sec", "nanosec"}
_XCDR2 = 6
"""Encapsulation kinds from here on put more before a header than XCDR1 does."""

Array = NDArray[np.generic]


@frozen
class Leaf:
    """A numeric field: its names, whether it is a float, whether there are many in a message."""

    names: tuple[str, ...]
    is_float: bool
    is_listed: bool

    @property
    def path(self) -> str:
        """Dotted."""
        return ".".join(self.names)


def numeric_leaves(kind: pa.DataType, names: tuple[str, ...] = (), *, listed: bool = False) -> Iterator[Leaf]:
    """The numeric fields of a message; times, bools, texts and bytes are none."""
    if pa.types.is_struct(kind):
        members = [kind.field(k) for k in range(kind.num_fields)]
        if {member.name for member in members} != _TIME_NAMES:
            for member in members:
                yield from numeric_leaves(member.type, (*names, member.name), listed=listed)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from numeric_leaves(kind.value_type, names, listed=True)
    elif pa.types.is_floating(kind) or (pa.types.is_integer(kind) and not listed):
        yield Leaf(names, pa.types.is_floating(kind), listed)


@define
class FieldRecord:
    """What was seen of a field.

    Args:
        nans, infs: Messages with such a value; ``first_ns``, ``last_ns`` log times of the first and the last of either.
        seen: Messages that have it; ``changes`` of its value from one to the next.
        first: The bits of its first value; ``is_constant`` while there was no other one.
        run: Length, first and last log time of the longest run of one value.
    """

    leaf: Leaf
    nans: int = 0
    infs: int = 0
    bad: int = 0
    first_ns: int = 0
    last_ns: int = 0
    seen: int = 0
    changes: int = 0
    first: int | None = None
    is_constant: bool = True
    is_zero: bool = False
    value: float = 0.0
    run: tuple[int, int, int] = (0, 0, 0)
    run_value: float = 0.0
    _open: tuple[int, int, int] = (0, 0, 0)
    _last: int | None = None

    def take(self, values: Array, times: Int64s) -> None:
        """Values of a field that each message has once, with the messages' log times."""
        if not len(values):
            return
        bits = _bits(values)
        if self.first is None:
            self.first, self.value = int(bits[0]), float(values[0])
            self.is_zero = self.value == 0
        self.is_constant = self.is_constant and bool((bits == self.first).all())
        begins = np.flatnonzero(np.concatenate(([bits[0] != self._last], bits[1:] != bits[:-1])))
        self.changes += len(begins) - (self._last is None)
        self._extend(begins, times, values)
        self._last = int(bits[-1])
        self.seen += len(values)

    def _extend(self, begins: Int64s, times: Int64s, values: Array) -> None:
        n = len(times)
        lead = int(begins[0]) if len(begins) else n
        if lead:
            self._open = (self._open[0] + lead, self._open[1], int(times[lead - 1]))
            self._keep(float(values[0]))
        if not len(begins):
            return
        lengths = np.diff(np.append(begins, n))
        longest = int(np.argmax(lengths))
        start, size = int(begins[longest]), int(lengths[longest])
        self._open = (size, int(times[start]), int(times[start + size - 1]))
        self._keep(float(values[start]))
        start, size = int(begins[-1]), int(lengths[-1])
        self._open = (size, int(times[start]), int(times[-1]))
        self._keep(float(values[start]))

    def _keep(self, value: float) -> None:
        if self._open[0] > self.run[0]:
            self.run, self.run_value = self._open, value

    def take_nonfinite(self, values: Array, rows: Int64s, times: Int64s) -> None:
        """Floats that are not all finite, with the message of each."""
        is_nan, is_inf = np.isnan(values), np.isinf(values)
        self.nans += len(np.unique(rows[is_nan]))
        self.infs += len(np.unique(rows[is_inf]))
        bad = np.unique(rows[is_nan | is_inf])
        moments = times[bad]
        if not self.bad:
            self.first_ns = int(moments.min())
        self.first_ns, self.last_ns = min(self.first_ns, int(moments.min())), max(self.last_ns, int(moments.max()))
        self.bad += len(bad)


def _bits(values: Array) -> Int64s:
    if values.dtype.kind == "f":
        return values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    return values.astype(np.int64)


@define
class Run:
    """Frames that are equal: how many, log times of the first and of the last."""

    frames: int
    start_ns: int
    end_ns: int


@define(eq=False)
class FrameRecord:
    """Runs of equal frames, header left out; ``may_repeat`` tells that even two equal ones in a row are a defect."""

    starts_with_header: bool
    is_cdr: bool
    may_repeat: bool
    seen: int = 0
    runs: list[Run] = field(factory=list)
    _last: bytes | None = None
    _since: int = 0
    _run: Run | None = None

    def take(self, data: memoryview, times: Int64s, offset: Int64s, length: Int64s) -> None:
        """The frames of a chunk in the order of the file."""
        self.seen += len(times)
        for time, start, size in zip(times.tolist(), offset.tolist(), length.tolist(), strict=True):
            self._take(time, data[start : start + size])

    def _take(self, time: int, payload: memoryview) -> None:
        body = bytes(payload[self._behind_header(payload) :])
        if body != self._last or len(body) < at.MIN_FRAME_BYTES:
            self._last, self._run = body, None
        elif self._run is None:
            self._run = Run(2, self._since, time)
            self.runs.append(self._run)
        else:
            self._run.frames += 1
            self._run.end_ns = time
        if self._run is None:
            self._since = time

    def _behind_header(self, payload: memoryview) -> int:
        """Where the rest of a message begins: behind its header (seq or encapsulation, stamp, length, name) or time."""
        if len(payload) < 16 or (self.is_cdr and payload[1] >= _XCDR2):
            return 0
        if not self.starts_with_header:
            return 12 if self.is_cdr else 8
        big = self.is_cdr and payload[1] == 0
        return min(16 + int.from_bytes(payload[12:16], "big" if big else "little"), len(payload))


@define(eq=False)
class Stamped:
    """Log times, stamps and numbers of the well-formed messages in the order of the file, int64."""

    log_time: list[Int64s] = field(factory=list)
    stamp: list[Int64s] = field(factory=list)
    seq: list[Int64s] = field(factory=list)

    def joined(self) -> tuple[Int64s, Int64s, Int64s | None]:
        """Each in one array, in the order of log times."""
        empty = [np.empty(0, np.int64)]
        time, stamp = np.concatenate(self.log_time or empty), np.concatenate(self.stamp or empty)
        seq = np.concatenate(self.seq) if self.seq else None
        if np.any(time[1:] < time[:-1]):
            order = np.argsort(time, kind="stable")
            time, stamp, seq = time[order], stamp[order], None if seq is None else seq[order]
        return time, stamp, seq


class StreamContent:
    """What the messages of one decodable stream say.

    Args:
        fields: Of numeric fields; ``stamped`` is None without a header.
        failures: Messages that are malformed; the reason and the log time of the first, the time of the last.
        messages: Messages read.
    """

    def __init__(self, stream: Stream) -> None:
        whole = StreamDecoder(stream.definition, stream.wire)
        members = stream.definition.types[stream.definition.root].fields
        exempt = at.NONFINITE_IS_MEANT.get(stream.type_name, ())
        self.measured = at.MEASURED.get(stream.type_name, ())
        leaves = [leaf for leaf in numeric_leaves(whole.arrow_type) if leaf.names[0] != "header"]
        self.fields = [FieldRecord(leaf) for leaf in leaves if not leaf.is_listed or not _is_below(leaf.path, exempt)]
        self._exempt = exempt
        has_header = any(m.name == "header" and m.type.base == HEADER and not m.type.array for m in members)
        self.stamped = Stamped() if has_header else None
        paths = [record.leaf.path for record in self.fields] + ["header"] * has_header
        if not paths:
            paths = [str(whole.arrow_type.field(0).name)]
        self._decoder = StreamDecoder(stream.definition, stream.wire, paths)
        self._times: list[Int64s] = []
        self.frames: FrameRecord | None = None
        modality = classify(stream.type_name)[0]
        if members and stream.wire in ("cdr", "ros1") and modality in ("image", "points"):
            first = members[0].type
            if not first.array and first.base in (HEADER, "time"):
                self.frames = FrameRecord(first.base == HEADER, stream.wire == "cdr", modality == "image")
        self.failures = 0
        self.failure: tuple[str, int, int] | None = None
        self.messages = 0
        self._failed: list[Int64s] = []

    def feed(self, data: bytes | memoryview, times: Int64s, offset: Int64s, length: Int64s) -> None:
        """Take the stream's messages of one chunk."""
        self.messages += len(times)
        status = self._decoder.feed(data, offset, length)
        failed = np.flatnonzero(status)
        if len(failed):
            self.failures += len(failed)
            self._failed.append(times[failed])
            first = int(times[failed[0]]) if self.failure is None else self.failure[1]
            reason = STATUS_NAMES[status[failed[0]]] if self.failure is None else self.failure[0]
            self.failure = (reason, first, int(times[failed[-1]]))
        self._times.append(times[status == 0])
        if self.frames is not None:
            self.frames.take(memoryview(data), times, offset, length)
        if self._decoder.nbytes >= BATCH_BYTES:
            self.flush()

    def failed_times(self) -> Int64s:
        """Log times of the malformed messages, ascending."""
        return np.sort(np.concatenate(self._failed)) if self._failed else np.empty(0, np.int64)

    def flush(self) -> None:
        """Look at what was decoded since the last time."""
        messages = self._decoder.take()
        times = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        self._times = []
        if not len(times):
            return
        for record in self.fields:
            self._take_field(record, messages, times)
        if self.stamped is not None:
            header = messages.field("header")
            sec, nanosec = (_plain(header.field("stamp").field(name)).astype(np.int64) for name in ("sec", "nanosec"))
            self.stamped.log_time.append(times)
            self.stamped.stamp.append(sec * at.NS_PER_S + nanosec)
            if header.type.get_field_index("seq") >= 0:
                self.stamped.seq.append(_plain(header.field("seq")).astype(np.int64))

    def _take_field(self, record: FieldRecord, messages: pa.StructArray, times: Int64s) -> None:
        values, rows = _values(messages, record.leaf.names)
        if record.leaf.is_float and not _is_below(record.leaf.path, self._exempt) and not np.isfinite(values).all():
            if rows is None:
                values, rows = _values(messages, record.leaf.names, np.arange(len(times)))
            if rows is not None:
                record.take_nonfinite(values, rows, times)
        if not record.leaf.is_listed and len(values):
            record.take(values, times if len(values) == len(times) or rows is None else times[rows])


def _is_below(path: str, prefixes: Sequence[str]) -> bool:
    return any(not prefix or path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


def _values(array: pa.Array, names: Sequence[str], rows: Int64s | None = None) -> tuple[Array, Int64s | None]:
    """The values of a field in all messages, and the message of each where ``rows`` numbers them or some are absent."""
    todo = list(names)
    while True:
        if array.null_count:
            there = np.asarray(array.is_valid())
            rows = np.flatnonzero(there) if rows is None else rows[there]
            array = array.filter(pa.array(there))
        if pa.types.is_struct(array.type):
            array = array.field(todo.pop(0))
        elif pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
            if rows is not None:
                rows = np.repeat(rows, np.asarray(pc.list_value_length(array)))
            array = array.flatten()
        else:
            return _plain(array), rows


def _plain(array: pa.Array) -> Array:
    return np.asarray(array.to_numpy(zero_copy_only=False))
