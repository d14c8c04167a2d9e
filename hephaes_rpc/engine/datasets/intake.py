"""A log as a spec reads it: its streams and messages, what becomes of those that cannot be decoded, what was met."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext

import pyarrow as pa
from attrs import define, field

from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.specs.spec import ConversionSpec, FailurePolicy, Input
from hephaes_rpc.engine.timeline.assembly import Assembly, Failure, Source, StreamCounts
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.clocks import Stamps, Wanted, read_stamps
from hephaes_rpc.engine.timeline.digests import DigestLane, StreamDigest, combined
from hephaes_rpc.engine.timeline.hints import hinted
from hephaes_rpc.engine.timeline.plan import Int64s
from hephaes_rpc.engine.timeline.selection import included, select, unmatched
from hephaes_rpc.engine.timeline.window import Bools
from hephaes_rpc.errors import HephaesError, LogError

Told = Callable[[int, int], None]


class UnreadableError(Exception):
    """A chunk could not be read as the index says."""

    def __init__(self, reason: LogError) -> None:
        super().__init__(reason)
        self.reason = reason


@define(eq=False)
class StreamRecord:
    """What was met in one stream.

    Args:
        without_time: Selected messages that have no time on the clock asked for; ``timeless`` are the first ones.
    """

    stream: Stream
    counts: StreamCounts
    without_time: int = 0
    timeless: list[Failure] = field(factory=list)


class Intake:
    """One attempt at reading a log for a spec; streams are known by identity."""

    def __init__(self, log: LogReader, spec: ConversionSpec) -> None:
        self.log, self.spec = log, spec
        self.warnings = [*log.summary.warnings, *unmatched(spec.input, log.summary.streams)]
        self.streams = hinted(spec.decoding, included(spec.input, log.summary.streams))
        self._records: dict[int, StreamRecord] = {}
        self._digests: dict[int, StreamDigest] = {}
        self._indexed: dict[int, tuple[Int64s, ChunkRuns]] = {}

    def policy(self, topic: str) -> FailurePolicy:
        """What becomes of messages of a topic that cannot be decoded."""
        own = self.spec.decoding.topics.get(topic)
        return own.on_failure if own is not None and own.on_failure else self.spec.decoding.on_decode_failure

    def selected(self, streams: Sequence[Stream]) -> list[Bools | None]:
        """Which messages of streams the spec takes; None: all."""
        everything = Input(include_topics=self.spec.input.include_topics, exclude_topics=self.spec.input.exclude_topics)
        if self.spec.input in (everything, Input()):
            return [None] * len(streams)
        return list(select(self.spec.input, self.log, streams))

    def stamps(self, wanted: Sequence[Wanted], told: Told) -> list[Stamps]:
        """Times on clocks, with those that have none counted and judged."""
        try:
            found = read_stamps(self.log, wanted, told)
        except LogError as error:
            raise UnreadableError(error) from error
        for one, stamps in zip(wanted, found, strict=True):
            if stamps.without and self.policy(one.stream.topic) == "fail":
                raise failed(one.stream, stamps.failures[0])
        return found

    def sources(
        self,
        streams: Sequence[Stream],
        decoders: Sequence[StreamDecoder],
        selected: Sequence[Bools | None],
        clocks: Sequence[Stamps | None],
    ) -> list[Source]:
        """Sources of streams; ``clocks`` None is the log time."""
        self._index(streams)
        made = []
        for stream, decoder, chosen, stamps in zip(streams, decoders, selected, clocks, strict=True):
            time, chunks = self._indexed[id(stream)]
            if stamps is None:
                source = Source(stream, decoder, time, chunks, chosen)
                record = StreamRecord(stream, source.counts)
            else:
                source = Source(stream, decoder, stamps.time, chunks, stamps.known)
                record = StreamRecord(stream, source.counts, stamps.without, stamps.failures)
            self._records[id(stream)] = record
            made.append(source)
        return made

    def log_times(self, stream: Stream) -> Int64s:
        """int64 per message in file order, ns; shared with the sources."""
        self._index([stream])
        return self._indexed[id(stream)][0]

    def _index(self, streams: Sequence[Stream]) -> None:
        """Have the times and chunks of streams, one by one: the index then need not copy times."""
        for stream in streams:
            if id(stream) not in self._indexed:
                time, chunk = self.log.index(self.log.slots([stream])).slot(0)
                self._indexed[id(stream)] = time, ChunkRuns.of(chunk)

    def batches(
        self, sources: Sequence[Source], assembly: Assembly, told: Told, *, at_once: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of an assembly over ``sources``, whose messages are fingerprinted, and judged where none may fail."""
        strict = [source for source in sources if self.policy(source.stream.topic) == "fail"]
        with nullcontext() if at_once else DigestLane() as lane:
            for source in sources:
                digest = StreamDigest(source.stream, self.log_times(source.stream), source.chunks, source.used)
                self._digests[id(source.stream)] = digest
                source.digest = digest if lane is None else lane.behind(digest)

            def judged(done: int, total: int) -> None:
                for source in strict:
                    if source.counts.failures:
                        raise failed(source.stream, source.counts.failures[0])
                if lane is not None:
                    lane.go_on()
                told(done, total)

            found = assembly.batches(judged, at_once=at_once)
            while (item := _next(found)) is not None:
                yield item
            if lane is not None:
                lane.drain()
        for source in sources:
            source.finish()

    @property
    def records(self) -> list[StreamRecord]:
        """What was met in the streams that were read, in order of topic."""
        return sorted(self._records.values(), key=lambda record: (record.stream.topic, record.stream.type_name))

    def record(self, stream: Stream) -> StreamRecord:
        """What was met in a stream that was read."""
        return self._records[id(stream)]

    def fingerprint(self, streams: Sequence[Stream] | None = None) -> str:
        """Of the messages that were read of these streams; None: of all."""
        digests = self._digests.values() if streams is None else [self._digests[id(stream)] for stream in streams]
        return combined(digests)

    def fingerprints(self) -> dict[int, str]:
        """By stream."""
        return {key: digest.finish().hex() for key, digest in self._digests.items()}

    def note_losses(self) -> None:
        """Warn of what could not be decoded as it is, as far as the spec wants to know."""
        for record in self.records:
            topic, counts = record.stream.topic, record.counts
            if self.policy(topic) != "skip":
                self._warn(topic, record)
            if counts.replaced_strings:
                self.warnings.append(
                    f"topic {topic!r}: {counts.replaced_strings} strings are not UTF-8; U+FFFD stands for what is not"
                )

    def _warn(self, topic: str, record: StreamRecord) -> None:
        counts = record.counts
        if counts.decode_failures:
            first = counts.failures[0]
            self.warnings.append(
                f"topic {topic!r}: {counts.decode_failures} of {counts.messages} messages could not be decoded, "
                f"the first at {first.log_time_ns} ns: {first.status}"
            )
        if record.without_time:
            first = record.timeless[0]
            self.warnings.append(
                f"topic {topic!r}: {record.without_time} messages have no time on their clock, "
                f"the first at {first.log_time_ns} ns: {first.status}"
            )

    def totals(self) -> dict[str, int]:
        """Sums over all streams read."""
        names = ("messages", "decoded", "decode_failures", "collisions", "out_of_order")
        return {name: sum(getattr(record.counts, name) for record in self.records) for name in names}


def failed(stream: Stream, failure: Failure) -> HephaesError:
    """The error of a message whose topic must decode."""
    text = f"topic {stream.topic!r}: the message at {failure.log_time_ns} ns cannot be decoded: {failure.status}"
    return HephaesError("bad_input", text, topic=stream.topic, log_time_ns=failure.log_time_ns)


def _next(batches: Iterator[tuple[int, pa.RecordBatch]]) -> tuple[int, pa.RecordBatch] | None:
    try:
        return next(batches, None)
    except LogError as error:
        raise UnreadableError(error) from error


def decoder_of(stream: Stream, selection: Iterable[str] | None = None) -> StreamDecoder:
    """A decoder of a stream; LogError where there can be none."""
    return StreamDecoder(stream.definition, stream.wire, None if selection is None else sorted(selection))
