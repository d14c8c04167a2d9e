"""A recording of several files as one log with one timeline.

Strategy: connections are numbered anew over all parts, chunks follow each other part by part; every question is put to
the parts with slots translated, and their answers are put behind each other.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs.asides import Aside, LeftOut
from hephaes_rpc.engine.logs.base import (
    LogReader,
    Payload,
    Progress,
    base_name,
    grouped,
    kept_apart,
    require_topics,
    sample,
)
from hephaes_rpc.engine.logs.recording import Recording, recording_in
from hephaes_rpc.engine.logs.types import (
    ChunkTable,
    CompressionUse,
    Connection,
    Int32s,
    Int64s,
    LogSummary,
    LostRange,
    Stream,
    TimeIndex,
    Walk,
)
from hephaes_rpc.errors import HephaesError, LogError

MAX_FILES = 800
MAX_NOTES = 1000

Open = Callable[[Path, Progress], LogReader]


@frozen(eq=False)
class _Part:
    """One file of the recording; ``ids`` maps the ids of its connections (position) to those of the recording."""

    log: LogReader
    ids: Int64s
    first_chunk: int

    def slots(self, slots: Int32s) -> Int32s:
        """Slots of the recording as those of the part."""
        return np.where(self.ids >= 0, slots[self.ids], np.int32(-1)).astype(np.int32)


class CompositeReader(LogReader):
    """One recording."""

    def __init__(self, recording: Recording, open_part: Open, progress: Progress) -> None:
        """Open and index all parts; one that cannot be read costs that part, unless no other can."""
        if len(recording.parts) > MAX_FILES:
            text = f"{recording.path} has {len(recording.parts)} files; the limit is {MAX_FILES}"
            raise LogError("unsupported", text, path=str(recording.path))
        self._recording = recording
        self._logs: list[LogReader] = []
        self._lost: list[tuple[str, str, int]] = []
        sizes = [path.stat().st_size for path in recording.files]
        errors: list[LogError] = []
        try:
            for k, path in enumerate(recording.files):
                try:
                    self._logs.append(open_part(path, _share(progress, sum(sizes[:k]), sum(sizes))))
                except LogError as error:
                    errors.append(error)
                    self._lost.append((path.name, error.message, sizes[k]))
            if not self._logs:
                raise errors[0]
            self._join()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all files; may be called twice."""
        for log in self._logs:
            log.close()

    def require_unchanged(self, *, may_grow: bool = False) -> None:
        """Raise ``source_changed`` unless all parts on the disk are those that were opened, as they were then."""
        for log in self._logs:
            log.require_unchanged(may_grow=may_grow)
        path = self._recording.path
        try:
            now = recording_in(path)
        except HephaesError as error:
            raise HephaesError("source_changed", f"{path} changed while it was read: {error.message}") from error
        parts = now.parts if now is not None else ()
        if parts[: len(self._recording.parts)] != self._recording.parts or (
            len(parts) > len(self._recording.parts) and not may_grow
        ):
            text = f"it had {len(self._recording.parts)} files and has {len(parts)} now, or others"
            raise HephaesError("source_changed", f"{path} changed while it was read: {text}", path=str(path))

    def rescan(self) -> None:
        """Rebuild everything from the content of every chunk of every part."""
        for log in self._logs:
            log.rescan()
        self._join()

    def slots(self, streams: Sequence[Stream]) -> Int32s:
        """int32[number of connections]: connections of ``streams[k]`` have slot k, others -1."""
        slots = np.full(max(self._n_connections, 1), -1, np.int32)
        for k, stream in enumerate(streams):
            for connection in stream.connections:
                slots[connection.id] = k
        return slots

    def index(self, slots: Int32s) -> TimeIndex:
        """Log times of the selected messages, by slot, part by part inside a slot."""
        found = [part.log.index(part.slots(slots)) for part in self._parts]
        order, bounds = _merged([index.bounds for index in found], int(slots.max(initial=-1)) + 1)
        time = np.concatenate([index.time for index in found])
        chunk = np.concatenate(
            [index.chunk + np.int32(part.first_chunk) for part, index in zip(self._parts, found, strict=True)]
        )
        return TimeIndex(time[order], chunk[order], bounds)

    def offsets(self, slots: Int32s) -> Int32s:
        """Numbers that rise, inside a chunk, with the place of each message of ``index(slots)``; int32[n]."""
        found = [(part.log, part.slots(slots)) for part in self._parts]
        bounds = [log.index(theirs).bounds for log, theirs in found]
        order, _ = _merged(bounds, int(slots.max(initial=-1)) + 1)
        return np.concatenate([log.offsets(theirs) for log, theirs in found])[order]

    def is_read_ahead(self, i: int) -> bool:
        """Whether its part says so of a chunk."""
        part = self._part_of(i)
        return part.log.is_read_ahead(i - part.first_chunk)

    def messages(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        """Bytes and messages of a chunk that ``index`` names; StaleIndexError where its content differs."""
        part = self._part_of(i)
        data, walk = part.log.messages(i - part.first_chunk, part.slots(slots))
        return data, evolve(walk, bounds=_padded(walk.bounds, int(slots.max(initial=-1)) + 1))

    def stored(self, i: int, slots: Int32s) -> tuple[Payload, Walk, Int64s]:
        """As ``messages``, payloads as they are stored, with their sequence numbers."""
        part = self._part_of(i)
        data, walk, sequences = part.log.stored(i - part.first_chunk, part.slots(slots))
        return data, evolve(walk, bounds=_padded(walk.bounds, int(slots.max(initial=-1)) + 1)), sequences

    def asides(self) -> Iterator[Aside]:
        """Those of all parts; what several parts repeat counts once."""
        seen: list[Aside] = []
        for log in self._logs:
            for aside in log.asides():
                if isinstance(aside, LeftOut):
                    yield LeftOut(f"{base_name(log.summary.path)}: {aside.reason}")
                elif aside not in seen:
                    seen.append(aside)
                    yield aside

    def _part_of(self, i: int) -> _Part:
        return self._parts[int(np.searchsorted([p.first_chunk for p in self._parts], i, side="right")) - 1]

    # Joining ----------------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        self._parts: list[_Part] = []
        self._n_connections = first_chunk = 0
        joined: list[tuple[Connection, Stream]] = []
        for log in self._logs:
            streams = log.summary.streams
            ids = np.full(max((c.id for s in streams for c in s.connections), default=-1) + 1, -1, np.int64)
            for stream in streams:
                for connection in stream.connections:
                    ids[connection.id] = self._n_connections
                    joined.append((evolve(connection, id=self._n_connections), stream))
                    self._n_connections += 1
            self._parts.append(_Part(log, ids, first_chunk))
            first_chunk += len(log.chunks)
        self.chunks = _joined_chunks([log.chunks for log in self._logs])
        self.summary = self._joined_summary(joined)

    def _joined_summary(self, joined: Sequence[tuple[Connection, Stream]]) -> LogSummary:
        summaries = [log.summary for log in self._logs]
        require_topics((connection for connection, _ in joined), str(self._recording.path))
        streams = grouped((c, s.ros, s.unsupported) for c, s in joined)
        looking = {id(s) for _, s in joined if s.sample is not None}
        first = {c.id: s for c, s in joined}
        warnings = [*self._recording.notes]
        gaps = [f"{name} of the recording is missing" for name in self._recording.missing]
        gaps += [f"{name} cannot be read: {reason}" for name, reason, _ in self._lost]
        warnings += gaps
        for summary in summaries:
            name = base_name(summary.path)
            told = set(kept_apart(summary.streams))
            warnings += [f"{name}: {text}" for text in summary.warnings if text not in told]
            gaps += [f"{name}: {text}" for text in summary.gaps]
        warnings += kept_apart(streams)
        if len({summary.storage_format for summary in summaries}) > 1:
            warnings.append("the files of the recording have different formats")
        starts = [s.start_ns for s in summaries if s.start_ns is not None]
        ends = [s.end_ns for s in summaries if s.end_ns is not None]
        return LogSummary(
            path=str(self._recording.path),
            size_bytes=sum(s.size_bytes for s in summaries) + sum(size for _, _, size in self._lost),
            storage_format=summaries[0].storage_format,
            ros_version=summaries[0].ros_version,
            profile=summaries[0].profile,
            library=summaries[0].library,
            streams=tuple(
                evolve(s, sample=self._sampler(s)) if id(first[s.connections[0].id]) in looking else s for s in streams
            ),
            start_ns=min(starts, default=None),
            end_ns=max(ends, default=None),
            message_count=sum(s.message_count for s in summaries),
            compression=_joined_use(summaries),
            outcome="part" if gaps else "whole",
            gaps=gaps[:MAX_NOTES],
            warnings=warnings[:MAX_NOTES],
            lost_ranges=self._lost_ranges(summaries),
            files=tuple(str(path) for path in self._recording.files),
        )

    def _sampler(self, stream: Stream) -> Callable[[], Sequence[bytes]]:
        return lambda: sample(self, stream)

    def _lost_ranges(self, summaries: Sequence[LogSummary]) -> list[LostRange]:
        found = [evolve(lost, file=base_name(s.path)) for s in summaries for lost in s.lost_ranges]
        return [*found, *(LostRange(name, 0, size, reason) for name, reason, size in self._lost if size)]


def _share(progress: Progress, before: int, total: int) -> Progress:
    """Progress of one part as that of the whole."""

    def told(done: int, of: int) -> None:
        progress(min(before + done, total), total)
        del of

    return told


def _padded(bounds: Int64s, n_slots: int) -> Int64s:
    """Bounds of fewer slots as those of ``n_slots``."""
    return np.pad(bounds, (0, n_slots + 1 - len(bounds)), mode="edge") if len(bounds) <= n_slots else bounds


def _merged(bounds: Sequence[Int64s], n_slots: int) -> tuple[NDArray[np.int64], Int64s]:
    """Order that brings the parts' messages, put behind each other, together by slot; and the bounds then."""
    counts = np.array([np.diff(_padded(b, n_slots)) for b in bounds], np.int64).reshape(len(bounds), n_slots)
    slot = np.repeat(np.tile(np.arange(n_slots), len(bounds)), counts.ravel())
    return np.argsort(slot, kind="stable"), np.concatenate(([0], np.cumsum(counts.sum(axis=0))))


def _joined_chunks(tables: Sequence[ChunkTable]) -> ChunkTable:
    names = tuple(dict.fromkeys(name for table in tables for name in table.compressions))
    compression = [
        np.array([names.index(name) for name in table.compressions], np.int8)[table.compression]
        if len(table)
        else table.compression
        for table in tables
    ]
    return ChunkTable(
        **{
            name: np.concatenate([getattr(table, name) for table in tables])
            for name in ("position", "stored_bytes", "raw_bytes", "chunked", "start_ns", "end_ns")
        },
        compression=np.concatenate(compression),
        compressions=names,
    )


def _joined_use(summaries: Sequence[LogSummary]) -> dict[str, CompressionUse]:
    use: dict[str, CompressionUse] = {}
    for summary in summaries:
        for name, more in summary.compression.items():
            so_far = use.get(name, CompressionUse(0, 0, 0))
            use[name] = CompressionUse(
                so_far.chunks + more.chunks,
                so_far.stored_bytes + more.stored_bytes,
                so_far.raw_bytes + more.raw_bytes,
            )
    return use
