"""A tree of coordinate frames through time, and the pose of one frame in another.

Strategy: a transform (an edge) is the pose of a child in its parent; edges are arrays of stamps and poses.  A chain of
edges leads from each of two frames up to the first that both have above them; each edge is interpolated at all row
times at once and the poses along the chain are composed.  Edges are thinned while they are collected: of many only the
neighbours of row times can ever be used, and once all chains that are asked for are known, only their edges are kept,
so that memory follows the rows and not the log.
Source: tf2 (REP 105, geometry2): a frame has one parent; what is self-referring, without a name, not finite or not of
unit length is ignored; equal stamps: the later message holds; static transforms hold always.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.features.columns import Flags, Int64s, items
from hephaes_rpc.engine.features.columns import numbers as as_numbers
from hephaes_rpc.engine.features.poses import IDENTITY, Poses, between, compose, inverse
from hephaes_rpc.engine.features.readers import Rows, member_of
from hephaes_rpc.engine.features.steps import FLOAT64, Column, Kind, Tally
from hephaes_rpc.engine.messages.msgdef import Definition
from hephaes_rpc.engine.specs.message_sources import TfSource
from hephaes_rpc.engine.timeline.plan import distance, last_of_equal
from hephaes_rpc.serde import closest

THIN_AT = 1 << 16
UNIT_TOLERANCE = 1e-3
NANOSECONDS = 10**9
_PLACES = ("header.stamp", "header.frame_id", "child_frame_id", "transform.translation", "transform.rotation")


class FrameError(Exception):
    """A frame that there is not, or that cannot be reached; ``key`` is the key of the source that names it."""

    def __init__(self, message: str, key: str, guess: str | None = None) -> None:
        super().__init__(message)
        self.key, self.guess = key, guess


def has_transforms(definition: Definition) -> bool:
    """Whether messages are those of tf: ``tf2_msgs/TFMessage``, ``tf/tfMessage`` and what is laid out alike."""
    members = {m.name: m.type for m in definition.types[definition.root].fields}
    if "transforms" not in members or not members["transforms"].array:
        return False
    root = members["transforms"].base

    def base(path: str) -> str | None:
        name = root
        for step in path.split("."):
            inner = {m.name: m.type for m in definition.types[name].fields} if name in definition.types else {}
            if step not in inner or inner[step].array:
                return None
            name = inner[step].base
        return name

    vector = [base(f"transform.translation.{axis}") for axis in "xyz"]
    turn = [base(f"transform.rotation.{axis}") for axis in "xyzw"]
    names = [base("header.frame_id"), base("child_frame_id")]
    return set(vector + turn) == {"float64"} and names == ["string"] * 2 and base("header.stamp") == "time"


@define(eq=False)
class _Edge:
    """Transforms of a child in one parent: arrays in the order of their coming, or sorted by stamp when ``sorted``."""

    stamps: list[Int64s] = field(factory=list)
    poses: list[Poses] = field(factory=list)
    pending: int = 0

    def add(self, stamps: Int64s, poses: Poses) -> None:
        self.stamps.append(stamps)
        self.poses.append(poses)
        self.pending += len(stamps)

    def settled(self) -> tuple[Int64s, Poses]:
        """All, sorted by stamp, one per stamp."""
        if len(self.stamps) > 1 or self.pending:
            stamps, poses = np.concatenate(self.stamps), np.concatenate(self.poses)
            order = np.argsort(stamps, kind="stable")
            order = order[last_of_equal(stamps[order])]
            self.stamps, self.poses, self.pending = [stamps[order]], [poses[order]], 0
        return self.stamps[0], self.poses[0]

    def thin(self, row_times: Int64s) -> None:
        """Keep what may be next to a row time."""
        stamps, poses = self.settled()
        before = np.searchsorted(stamps, row_times, side="right") - 1
        wanted = np.zeros(len(stamps) + 2, np.bool_)
        wanted[before + 1] = wanted[before + 2] = True
        kept = wanted[1:-1]
        self.stamps, self.poses = [stamps[kept]], [poses[kept]]


@frozen
class _Step:
    """An edge of a chain, upwards from ``child``."""

    child: str
    parent: str


TreeKey: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]


def tree_key(source: TfSource) -> TreeKey:
    """Sources with equal keys share a tree."""
    return tuple(source.topics), tuple(source.static_topics)


@define(eq=False)
class FrameTree:
    """The transforms of some topics.

    Args:
        row_times: int64, ascending, ns: when poses will be asked for.
        wanted: Pairs of target and source frame that will be asked for.
        ignored: Transforms that count for nothing, by why.
    """

    row_times: Int64s = field(factory=lambda: np.empty(0, np.int64))
    wanted: set[tuple[str, str]] = field(factory=set)
    ignored: Counter[str] = field(factory=Counter)
    _moving: dict[tuple[str, str], _Edge] = field(factory=dict)
    _static: dict[tuple[str, str], Poses] = field(factory=dict)
    _parents: dict[str, list[str]] = field(factory=dict)
    _kept: set[tuple[str, str]] | None = None

    # Collecting -------------------------------------------------------------------------------------------------------

    def add(self, messages: pa.StructArray, *, static: bool) -> None:
        """Transforms of messages (no nulls), in the order of the log."""
        found = items(member_of(messages, "transforms"))
        if not len(found):
            return
        stamp, parent, child, position, turn = (_at(found, path) for path in _PLACES)
        stamps = as_numbers(member_of(stamp, "sec")).astype(np.int64) * NANOSECONDS
        stamps = stamps + as_numbers(member_of(stamp, "nanosec"))
        values = [as_numbers(member_of(position, axis)) for axis in "xyz"]
        values += [as_numbers(member_of(turn, axis)) for axis in "xyzw"]
        poses = np.stack(values, axis=1).astype(np.float64, copy=False)
        good = self._sound(poses)
        encoded = [array.dictionary_encode() for array in (parent, child)]
        names = [[name.removeprefix("/") for name in array.dictionary.to_pylist()] for array in encoded]
        codes = [as_numbers(array.indices).astype(np.int64) for array in encoded]
        pair = codes[0] * len(names[1]) + codes[1]
        for number in np.unique(pair).tolist():
            edge = names[0][number // len(names[1])], names[1][number % len(names[1])]
            mine = pair == number
            if not all(edge) or edge[0] == edge[1]:
                self.ignored["a frame without a name" if not all(edge) else "a frame in itself"] += int(mine.sum())
                continue
            mine &= good
            if mine.any():
                self._take(edge, stamps[mine], poses[mine], static=static)

    def _sound(self, poses: Poses) -> Flags:
        """Which are finite and of unit length; these are made exactly so, in place."""
        with np.errstate(all="ignore"):
            finite = np.isfinite(poses).all(axis=1)
            norm = np.sqrt(np.sum(poses[:, 3:] ** 2, axis=1))
            unit = np.abs(norm - 1) <= UNIT_TOLERANCE
            poses[:, 3:] /= norm[:, None]
        self.ignored["a value that is not finite"] += int(np.count_nonzero(~finite))
        self.ignored["a quaternion that is not of unit length"] += int(np.count_nonzero(finite & ~unit))
        self.ignored = +self.ignored
        return np.asarray(finite & unit, np.bool_)

    def _take(self, edge: tuple[str, str], stamps: Int64s, poses: Poses, *, static: bool) -> None:
        parents = self._parents.setdefault(edge[1], [])
        self._parents.setdefault(edge[0], [])
        if edge[0] not in parents:
            parents.append(edge[0])
        if static:
            self._static[edge] = poses[-1]
            return
        mine = self._moving.setdefault(edge, _Edge())
        if self._kept is not None and edge not in self._kept:
            return
        mine.add(stamps, poses)
        if mine.pending >= THIN_AT:
            self._drop_others()
            mine.thin(self.row_times)

    def _drop_others(self) -> None:
        """Forget edges on no chain, once all chains are known."""
        try:
            chains = [self._chain(*pair) for pair in sorted(self.wanted)] if self._kept is None else []
        except FrameError:
            return
        if chains:
            self._kept = {(step.parent, step.child) for down, up in chains for step in (*down, *up)}
            for edge, mine in self._moving.items():
                if edge not in self._kept:
                    mine.stamps, mine.poses, mine.pending = [], [], 0

    # Asking -----------------------------------------------------------------------------------------------------------

    def check(self, source: TfSource) -> None:
        """Raise FrameError unless one frame leads to the other."""
        self._chain(source.target_frame, source.source_frame)

    def _chain(self, target: str, source: str) -> tuple[list[_Step], list[_Step]]:
        """The edges upwards from the target and from the source to where they meet."""
        for key, frame in (("target_frame", target), ("source_frame", source)):
            if frame not in self._parents:
                guess = closest(frame, sorted(self._parents))
                hint = f"; did you mean {guess!r}?" if guess else f"; there are {_some(self._parents)}"
                raise FrameError(f"there is no frame {frame!r}{hint}", key, guess)
        down, up = self._upwards(target, "target_frame"), self._upwards(source, "source_frame")
        above = [target, *(step.parent for step in down)]
        for k, frame in enumerate([source, *(step.parent for step in up)]):
            if frame in above:
                return down[: above.index(frame)], up[:k]
        roots = above[-1], up[-1].parent if up else source
        message = f"{source!r} and {target!r} are not connected: {target!r} hangs on {roots[0]!r}"
        raise FrameError(f"{message}, {source!r} on {roots[1]!r}", "source_frame")

    def _upwards(self, frame: str, key: str) -> list[_Step]:
        found: list[_Step] = []
        seen = [frame]
        while parents := self._parents[frame]:
            if len(parents) > 1:
                raise FrameError(f"the frame {frame!r} has several parents: {_some(parents)}", key)
            found.append(_Step(frame, parents[0]))
            frame = parents[0]
            if frame in seen:
                raise FrameError(f"the frames go round in a circle: {' in '.join([*seen, frame])}", key)
            seen.append(frame)
        return found

    def poses(self, source: TfSource, times: Int64s, tally: Tally) -> tuple[Poses, Flags]:
        """float64[n, 7] and which of the row times have one; why not is told to ``tally``."""
        down, up = self._chain(source.target_frame, source.source_frame)
        ends = []
        good = np.ones(len(times), np.bool_)
        for steps in (down, up):
            pose = np.broadcast_to(IDENTITY, (len(times), 7))
            for step in steps:
                found, there = self._at(step, source, times)
                if not there.all():
                    text = f"{step.child!r} in {step.parent!r} is not known around the row time"
                    tally.fail(np.flatnonzero(~there), text)
                    good &= there
                pose = compose(found, pose)
            ends.append(pose)
        return (compose(inverse(ends[0]), ends[1]) if down else ends[1]), good

    def _at(self, step: _Step, source: TfSource, times: Int64s) -> tuple[Poses, Flags]:
        edge = step.parent, step.child
        if edge not in self._moving:
            return np.broadcast_to(self._static[edge], (len(times), 7)), np.ones(len(times), np.bool_)
        stamps, poses = self._moving[edge].settled()
        if not len(stamps):
            return np.broadcast_to(IDENTITY, (len(times), 7)), np.zeros(len(times), np.bool_)
        after = np.searchsorted(stamps, times, side="right")
        lo = np.maximum(after - 1, 0)
        hi = np.minimum(after, len(stamps) - 1)
        exact = stamps[lo] == times
        age, ahead = distance(times, stamps[lo]), distance(stamps[hi], times)
        good = (after > 0) & _within(age, source.tolerance_ns)
        if source.no_future:
            return poses[lo], good
        good &= exact | ((after < len(stamps)) & _within(ahead, source.tolerance_ns))
        step_ns = distance(stamps[hi], stamps[lo]).astype(np.float64)
        with np.errstate(all="ignore"):
            weight = np.where(exact | ~good, 0.0, age.astype(np.float64) / step_ns)
        return between(poses[lo], poses[hi], weight), good


def _within(distances: NDArray[np.uint64], limit_ns: int | None) -> Flags:
    if limit_ns is None or limit_ns >= 2**64:
        return np.ones(len(distances), np.bool_)
    return distances <= np.uint64(limit_ns)


def _at(values: pa.StructArray, path: str) -> pa.Array:
    for name in path.split("."):
        values = member_of(values, name)
    return values


def _some(names: Sequence[str] | dict[str, list[str]]) -> str:
    shown = sorted(names)[:20]
    return ", ".join(map(repr, shown)) + (" and others" if len(names) > len(shown) else "") if shown else "none"


@frozen(eq=False)
class PoseReader:
    """A reader of poses.

    Args:
        tree: Filled once the row times are known.
        at: Place of the source in the spec.
        what: Whose source it is.
    """

    source: TfSource
    tree: FrameTree
    at: tuple[str | int, ...]
    what: str
    kind: Kind = field(factory=lambda: Kind(pa.list_(FLOAT64, len(IDENTITY))))
    topics: tuple[str, ...] = ()

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        poses, good = self.tree.poses(self.source, rows.timestamp_ns, tally)
        there = np.flatnonzero(good)
        values = pa.FixedSizeListArray.from_arrays(pa.array(poses[there].ravel()), len(IDENTITY))
        return Column(there, values, np.zeros(len(there), np.bool_))
