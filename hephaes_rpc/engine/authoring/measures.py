"""What a topic measures: fields of its messages grouped into the features people would make of them, best first.

Strategy: a walk over the definition makes groups.  A message of nothing but numbers of one type (a vector, a
quaternion, a pose of both, a twist) is one vector with the names of its parts; arrays are one vector each; an array of
such messages is a matrix.  What was sampled settles lengths and takes out what is always empty.

The score of a group, the higher the better: image 100; array of numbers with names beside it (joints) 90, vector 88,
latitude/longitude/altitude 88, lone quaternion 84; matrix of vectors 82; float 81; array of floats 80; points of clouds
85; vector of integers 72, array of integers 70; point data and other bytes 64; integer 60; bool 56; text 40, where the
message has nothing but text 60; time 30. From that: 60 for covariances and for what only describes the message (sizes,
formats, layouts, limits, sequence numbers, frame ids), 1 per level, 80 for arrays that were empty in every sample.
Headers are never measured, unless a topic has nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import pyarrow.compute as pc
from attrs import frozen

from hephaes_rpc.engine.authoring.authored import FieldCandidate, PointFacts
from hephaes_rpc.engine.authoring.inspection import Looked
from hephaes_rpc.engine.features.fieldpath import compile_path
from hephaes_rpc.engine.features.leaves import Leaf, leaves_of
from hephaes_rpc.engine.messages.msgdef import FLOATS, INTEGERS, Definition, MessageType

Sort: TypeAlias = Literal["image", "points", "number", "bytes", "bool", "text", "time"]

MAX_VECTOR = 16
MAX_NAMES = 256
LARGE_ARRAY = 1024

_QUATERNION = ("x", "y", "z", "w")
_GLOBE = ("latitude", "longitude", "altitude")
_NAMES_BESIDE = ("name", "names", "joint_names", "labels")
_DESCRIBING = re.compile(
    r"covariance|^seq$|^sequence|frame_id$|^stamp$|^encoding$|^format$|^step$|_step$|^is_bigendian$|^is_dense$|^layout\.|"
    r"^fields\[|^(height|width)$|_type$|^binning|^distortion_model$|^roi\.|^(angle|range)_(min|max|increment)$|"
    r"^info\.|variance$|^field_of_view$|^(min|max)_range$|^scan_time$|^time_increment$|\.roi\.",
)
_DESCRIBES, _EMPTY, _LEVEL = 60, 80, 1
_PACKED = ("rgb", "rgba")
_NOT_FLOAT32 = {"float64", "int32", "uint32"}


@frozen(kw_only=True)
class Measure:
    """Fields that make one feature.

    Args:
        base: What it is called, without its topic; empty where the topic says it all.
        paths: Field paths, in the order of the elements; one path is taken as it is.
        dtype: Declared base type of the elements.
        shape: As it was sampled or declared; empty for a single value.
        names: Of the elements of the last dimension, as far as known.
        axis: Where the elements of several paths are put beside each other.
        is_fixed: Whether the definition itself fixes the shape.
    """

    base: str
    paths: tuple[str, ...]
    sort: Sort
    dtype: str
    shape: tuple[int, ...]
    score: float
    names: tuple[str, ...] = ()
    axis: int = 0
    is_fixed: bool = False


def measures_of(looked: Looked) -> list[Measure]:
    """What a topic measures, the best first; of equal ones the first in the definition."""
    found = list(_Walk(looked).measures())
    return sorted(found, key=lambda measure: -measure.score)


class _Walk:
    def __init__(self, looked: Looked) -> None:
        self.looked = looked
        self.definition: Definition = looked.stream.definition
        self.leaves = {leaf.path: leaf for leaf in leaves_of(self.definition)}
        self.has_numbers = any(
            leaf.type.base in FLOATS | INTEGERS | {"bool"} and not leaf.in_header for leaf in self.leaves.values()
        )

    def measures(self) -> Iterator[Measure]:
        """All groups."""
        done: set[str] = set()
        for prefix, message in self.nodes("", self.definition.types[self.definition.root]):
            for paths, names, bonus in self.vectors(prefix, message):
                fresh = [path for path in paths if path not in done]
                if len(fresh) == len(paths):
                    done.update(paths)
                    yield self.vector(prefix, paths, names, bonus)
        only_header = all(leaf.in_header for leaf in self.leaves.values())
        for leaf in self.leaves.values():
            if leaf.path not in done and (only_header or not leaf.in_header):
                yield self.single(leaf)

    # Vectors ----------------------------------------------------------------------------------------------------------

    def nodes(self, prefix: str, message: MessageType) -> Iterator[tuple[str, MessageType]]:
        """Messages from the outermost inwards, each with its path; those inside two arrays are left out."""
        yield prefix, message
        for member in message.fields:
            inner = self.definition.types.get(member.type.base)
            if inner is not None and prefix.count("[:]") + bool(member.type.array) <= 1:
                mark = "[:]" if member.type.array else ""
                yield from self.nodes(f"{prefix}.{member.name}{mark}" if prefix else f"{member.name}{mark}", inner)

    def vectors(self, prefix: str, message: MessageType) -> Iterator[tuple[list[str], list[str], float]]:
        """Groups of numbers of a message that belong together: paths, names, and what that adds to the score."""
        below = [leaf for path, leaf in self.leaves.items() if not prefix or path.startswith(f"{prefix}.")]
        own = prefix.count("[:]")
        is_plain = all(
            leaf.spans == own and not leaf.type.array and leaf.type.base in FLOATS | INTEGERS for leaf in below
        )
        same = len({leaf.type.base for leaf in below}) == 1
        if below and is_plain and same and 2 <= len(below) <= MAX_VECTOR and not below[0].in_header:
            names = [leaf.path.removeprefix(prefix).lstrip(".") for leaf in below]
            lone = tuple(names) == _QUATERNION and prefix.rpartition(".")[2] in ("orientation", "rotation")
            is_whole = below[0].type.base in INTEGERS
            yield [leaf.path for leaf in below], names, -4 if lone else -16 if is_whole else 0
            return
        kinds = {member.name: member.type for member in message.fields}
        if all(name in kinds and kinds[name].base == "float64" and not kinds[name].array for name in _GLOBE):
            dot = f"{prefix}." if prefix else ""
            yield [dot + name for name in _GLOBE], list(_GLOBE), 0

    def vector(self, prefix: str, paths: Sequence[str], names: Sequence[str], bonus: float) -> Measure:
        first = self.leaves[paths[0]]
        spans = first.spans
        base = _base_of(prefix) or ("position" if tuple(names) == _GLOBE else "")
        seen = [self.candidate(path) for path in paths]
        outer = () if not spans else (_common([c.shape_hint for c in seen if c is not None]),)
        score = (82 if spans else 88) + bonus - _LEVEL * prefix.count(".")
        if _DESCRIBING.search(prefix):
            score -= _DESCRIBES
        if outer == (0,):
            score, outer = score - _EMPTY, (-1,)
        return Measure(
            base=base,
            paths=tuple(paths),
            sort="number",
            dtype=first.type.base,
            shape=(*outer, len(paths)),
            score=score,
            names=tuple(names),
            axis=1 if spans else 0,
            is_fixed=not spans,
        )

    # Single fields ----------------------------------------------------------------------------------------------------

    def single(self, leaf: Leaf) -> Measure:
        """One field as it is, but for the bytes of clouds, which are points."""
        candidate = self.candidate(leaf.path)
        if candidate is not None and candidate.points is not None and (names := point_names(candidate.points)):
            kinds = {candidate.points.fields[name] for name in names}
            dtype = "float64" if kinds & _NOT_FLOAT32 else "float32"
            return Measure(
                base="points",
                paths=(leaf.path,),
                sort="points",
                dtype=dtype,
                shape=(-1, len(names)),
                score=85,
                names=names,
            )
        shape = tuple(leaf.shape)
        if candidate is not None and candidate.shape_hint is not None:
            shape = tuple(candidate.shape_hint)
        base = "image" if leaf.is_image else _base_of(leaf.path)
        sort, score = self.sort(leaf)
        names = self.names(leaf, shape) if sort == "number" and len(shape) == 1 else ()
        score += 10 if names and leaf.type.base in FLOATS else 0
        score -= _LEVEL * (leaf.depth - 1)
        if not leaf.is_image and (_DESCRIBING.search(leaf.path) or _DESCRIBING.search(leaf.name)):
            score -= _DESCRIBES
        if leaf.is_image and leaf.path == "data":
            score += 1
        if 0 in shape:
            score -= _EMPTY
            shape = tuple(-1 if size == 0 else size for size in shape)
        return Measure(
            base=base,
            paths=(leaf.path,),
            sort=sort,
            dtype=leaf.type.base,
            shape=shape,
            score=score,
            names=names,
            is_fixed=-1 not in leaf.shape,
        )

    def sort(self, leaf: Leaf) -> tuple[Sort, float]:
        """What it is, and the score of that."""
        if leaf.is_image:
            return "image", 100
        if leaf.is_bytes:
            return "bytes", 64
        if leaf.type.base in FLOATS:
            return "number", 80 if leaf.shape else 81
        if leaf.type.base in INTEGERS:
            return "number", 70 if leaf.shape else 60
        if leaf.type.base == "bool":
            return "bool", 56
        if leaf.is_text:
            return "text", 40 if self.has_numbers else 60
        return "time", 30

    def names(self, leaf: Leaf, shape: Sequence[int]) -> tuple[str, ...]:
        """Names of the elements of an array: the texts of an array beside it that were the same in every sample."""
        messages = self.looked.samples.messages
        prefix = leaf.path.rpartition(".")[0]
        for name in _NAMES_BESIDE:
            beside = self.leaves.get(f"{prefix}.{name}" if prefix else name)
            if beside is None or not beside.is_text or not beside.type.array or not len(messages) or not shape[0]:
                continue
            values, kept = compile_path(beside.path, self.definition).extract(messages)
            if kept is not None or not len(values) or pc.list_value_length(values)[0].as_py() > MAX_NAMES:
                continue
            first = values[0].as_py()
            if len(first) == shape[0] and all(value.as_py() == first for value in values):
                return tuple(first)
        return ()

    def candidate(self, path: str) -> FieldCandidate | None:
        return self.looked.facts.field_candidates.get(path)


def point_names(points: PointFacts) -> tuple[str, ...]:
    """The fields of points that make a feature: single numbers, without colours packed into one."""
    named = [name for name, kind in points.fields.items() if "[" not in name + kind and name not in _PACKED and name]
    return tuple(named[:MAX_VECTOR])


def _common(shapes: Sequence[Sequence[int] | None]) -> int:
    """Length of the outer dimension, where all agree."""
    found = {shape[0] for shape in shapes if shape}
    return found.pop() if len(found) == 1 else -1


def _base_of(path: str) -> str:
    """A name for a path: its last word that says something."""
    words = [word for word in re.sub(r"\[:\]", "", path).split(".") if word]
    while words and words[-1] in ("data", "value", "values"):
        words.pop()
    if len(words) > 1 and words[-2] in (words[-1], f"{words[-1]}s"):
        words.pop()
    return "_".join(words[-2:])
