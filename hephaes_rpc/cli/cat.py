"""``hephaes-rpc cat``: decoded messages as JSON lines in order of log time.

Strategy: the index gives the order of all messages before one is read.  They are printed in windows of a few megabytes;
for a window its chunks are read one by one (the last few stay at hand), its messages decoded stream by stream.  Where a
chunk turns out damaged, or other than its index, the log is scanned and the order made anew behind the last message
printed.
"""

import argparse
import difflib
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from attrs import define, field, frozen

from hephaes_rpc.cli.terminal import say
from hephaes_rpc.engine.features.jsontext import json_values
from hephaes_rpc.engine.logs import LogReader, Stream, Walk, open_log
from hephaes_rpc.engine.logs.types import Int32s, Int64s, LogSummary
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.timeline.plan import selectors
from hephaes_rpc.errors import HephaesError, LogError

WINDOW_BYTES = 4 << 20
CACHE_BYTES = 128 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cat``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or a recording's folder")
    parser.add_argument("--topic", action="append", metavar="NAME", help="only this topic; may be repeated")
    parser.add_argument("--limit", type=_limit, metavar="N", help="at most this many messages")


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print the messages."""
    with open_log(arguments.log) as log:
        told: set[str] = set()
        place = _Place()
        try:
            _print(log, arguments, place, told)
        except LogError:
            if place.rescanned:
                raise
            log.rescan()
            place.rescanned = True
            _print(log, arguments, place, told)
    return 0


@define
class _Place:
    """How far printing has come; ``at_last`` counts the messages with the log time and chunk of the last one."""

    time: int = -1
    chunk: int = -1
    at_last: int = 0
    printed: int = 0
    rescanned: bool = False

    def advance(self, time: int, chunk: int) -> None:
        self.at_last = self.at_last + 1 if (time, chunk) == (self.time, self.chunk) else 1
        self.time, self.chunk = time, chunk
        self.printed += 1


def _print(log: LogReader, arguments: argparse.Namespace, place: _Place, told: set[str]) -> None:
    streams = _chosen(log.summary, arguments.topic)
    notes = [f"warning: {warning}" for warning in log.summary.warnings]
    decoders: list[tuple[Stream, StreamDecoder]] = []
    for stream in streams:
        try:
            decoders.append((stream, StreamDecoder(stream.definition, stream.wire)))
        except LogError as error:
            notes.append(f"{stream.topic} ({stream.type_name}) is left out: {stream.undecodable or error.message}")
    for note in notes:
        if note not in told:
            told.add(note)
            say(f"{log.summary.path}: {note}")
    if streams and not decoders:
        raise LogError("unsupported", f"{log.summary.path}: no message can be decoded", path=log.summary.path)
    order = _Order.of(log, [stream for stream, _ in decoders]).after(place)
    if place.rescanned and (missed := place.printed - order.skipped) < 0:
        say(f"{log.summary.path}: {-missed} messages that the index did not list belong before this place")
    if arguments.limit is not None:
        order = order.first(arguments.limit - place.printed)
    window = max(1, min(1024, WINDOW_BYTES * log.summary.message_count // max(int(log.chunks.raw_bytes.sum()), 1)))
    reading = _Reading(log, decoders)
    for start in range(0, len(order.time), window):
        part = order.part(start, start + window)
        lines = reading.lines(part)
        sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
        for time, chunk in zip(part.time.tolist(), part.chunk.tolist(), strict=True):
            place.advance(time, chunk)
    sys.stdout.buffer.flush()


def _chosen(summary: LogSummary, topics: Sequence[str] | None) -> list[Stream]:
    """The streams of these topics, each named as mappings name it, or by a topic that has several types."""
    if topics is None:
        return list(summary.streams)
    named = selectors(summary.streams)
    chosen: list[Stream] = []
    for topic in topics:
        found = [stream for name, stream in named.items() if topic in (name, stream.topic)]
        if not found:
            near = difflib.get_close_matches(topic, named, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else None
            raise HephaesError("bad_input", f"{summary.path} has no topic {topic}", hint=hint)
        chosen += [stream for stream in found if stream not in chosen]
    return chosen


@frozen(eq=False)
class _Order:
    """Messages by log time, then chunk, slot, place in the chunk; ``nth`` counts the slot's messages of the chunk."""

    time: Int64s
    chunk: Int32s
    slot: Int32s
    nth: Int64s
    skipped: int = 0

    @classmethod
    def of(cls, log: LogReader, streams: Sequence[Stream]) -> "_Order":
        index = log.index(log.slots(streams))
        slot = np.repeat(np.arange(len(streams), dtype=np.int32), np.diff(index.bounds))
        place = np.arange(len(slot))
        begins = np.ones(len(slot), np.bool_)
        begins[1:] = (slot[1:] != slot[:-1]) | (index.chunk[1:] != index.chunk[:-1])
        nth = place - np.maximum.accumulate(np.where(begins, place, 0))
        order = np.lexsort((slot, index.chunk, index.time))
        return cls(index.time[order], index.chunk[order], slot[order], nth[order])

    def part(self, start: int, stop: int) -> "_Order":
        cut = slice(start, stop)
        return _Order(self.time[cut], self.chunk[cut], self.slot[cut], self.nth[cut])

    def first(self, n: int) -> "_Order":
        return self.part(0, max(n, 0))

    def after(self, place: _Place) -> "_Order":
        """What comes behind the last message printed."""
        at_time = self.time == place.time
        before = int(((self.time < place.time) | (at_time & (self.chunk < place.chunk))).sum())
        same = int((at_time & (self.chunk == place.chunk)).sum())
        skipped = before + min(place.at_last, same)
        rest = self.part(skipped, len(self.time))
        return _Order(rest.time, rest.chunk, rest.slot, rest.nth, skipped)


@define(eq=False)
class _Reading:
    """Decodes messages; keeps the chunks used last."""

    log: LogReader
    decoders: Sequence[tuple[Stream, StreamDecoder]]
    _slots: Int32s = field(init=False)
    _chunks: "OrderedDict[int, tuple[bytes | memoryview, Walk]]" = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = self.log.slots([stream for stream, _ in self.decoders])

    def lines(self, part: _Order) -> list[bytes]:
        """One JSON line per message of ``part``."""
        lines: list[bytes] = [b""] * len(part.time)
        for chunk in np.unique(part.chunk).tolist():
            data, walk = self._chunk(chunk)
            here = part.chunk == chunk
            for slot in np.unique(part.slot[here]).tolist():
                places = np.flatnonzero(here & (part.slot == slot))
                rows = int(walk.bounds[slot]) + part.nth[places]
                for place, line in zip(places.tolist(), self._decode(data, walk, slot, rows), strict=True):
                    lines[place] = line
        return lines

    def _chunk(self, i: int) -> tuple[bytes | memoryview, Walk]:
        if i not in self._chunks:
            self._chunks[i] = self.log.messages(i, self._slots)
        self._chunks.move_to_end(i)
        while len(self._chunks) > 1 and sum(len(data) for data, _ in self._chunks.values()) > CACHE_BYTES:
            self._chunks.popitem(last=False)
        return self._chunks[i]

    def _decode(self, data: bytes | memoryview, walk: Walk, slot: int, rows: Int64s) -> Iterator[bytes]:
        stream, decoder = self.decoders[slot]
        status = decoder.feed(data, walk.offset[rows], walk.length[rows]).tolist()
        values = iter(json_values(decoder.take()))
        log_times, publish_times = walk.log_time[rows].tolist(), walk.publish_time[rows].tolist()
        for code, log_time, publish_time in zip(status, log_times, publish_times, strict=True):
            line: dict[str, Any] = {
                "topic": stream.topic,
                "type": stream.type_name,
                "log_time_ns": log_time,
                "publish_time_ns": publish_time,
            }
            if code:
                line["error"] = f"malformed: {STATUS_NAMES[code]}"
            else:
                line["message"] = next(values)
            yield orjson.dumps(line)
