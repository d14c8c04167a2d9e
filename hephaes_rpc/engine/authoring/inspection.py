"""What a log holds, field by field: candidates for features from message definitions, facts about them from samples.

Strategy: every leaf of every definition is a candidate, whether the topic has messages or not.  Times (rate, jitter,
gaps, activity) come from the index, all else from a few messages of each topic that ``sampling`` takes from as few
chunks as give them.  A topic with several types is inspected in the one that is hinted at, else in the one with the
most messages.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import define
from numpy.typing import NDArray

from hephaes_rpc.engine.authoring.authored import (
    FieldCandidate,
    Gap,
    ImageFacts,
    Inspection,
    InspectRequest,
    Kind,
    PointFacts,
    SampledMessage,
    Spread,
    Statistics,
    TopicInspection,
)
from hephaes_rpc.engine.authoring.excerpts import EXAMPLE, Limits, excerpt, summary
from hephaes_rpc.engine.authoring.sampling import Samples, take_samples
from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.clouds import DATATYPE_NAMES, clouds, is_cloud
from hephaes_rpc.engine.features.columns import is_list, items, lengths
from hephaes_rpc.engine.features.columns import leaves as flat_leaves
from hephaes_rpc.engine.features.columns import numbers as as_numbers
from hephaes_rpc.engine.features.encodings import ImageError, codec_of, parse_encoding
from hephaes_rpc.engine.features.fieldpath import compile_path
from hephaes_rpc.engine.features.leaves import HEADER, Leaf, leaves_of
from hephaes_rpc.engine.features.thumbnails import file_size, picture_of, thumbnail
from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.messages.msgdef import FLOATS
from hephaes_rpc.engine.specs.spec import Decoding, TopicDecoding
from hephaes_rpc.engine.timeline.hints import hinted
from hephaes_rpc.errors import HephaesError

MAX_EXAMPLES = 3
MAX_DISTINCT = 1 << 16
MAX_FRAME_IDS = 16
MAX_GAPS = 5
GAP_FACTOR = 5
BINS = 48
_CONFIDENCE_UNSEEN = 0.5
_CONFIDENCE_VARYING = 0.85


@define(eq=False)
class Looked:
    """A topic that can be decoded, as ``drafting`` sees it.

    Args:
        clear: Whether its name and type tell it apart from every other stream; only then features can take it.
    """

    stream: Stream
    samples: Samples
    facts: TopicInspection
    clear: bool
    several_types: bool


@define(eq=False)
class Look:
    """An inspection with what it was made from."""

    result: Inspection
    topics: dict[str, Looked]


def inspect(log: LogReader, request: InspectRequest, check: Callable[[], None]) -> Look:
    """Look at a log.

    Raises:
        HephaesError: ``bad_input`` for a message that cannot be decoded, where ``on_failure`` is ``fail``;
            ``invalid_spec`` for a type hint that fits none of a topic's types.
        LogError: A chunk is damaged or (StaleIndexError) does not hold what the index says.
    """
    summary_ = log.summary
    decoding = Decoding(topics={t: TopicDecoding(type_hint=hint) for t, hint in request.topic_type_hints.items()})
    streams = hinted(decoding, summary_.streams)
    names = list(dict.fromkeys(request.topics)) or sorted({stream.topic for stream in streams})
    chosen: dict[str, Stream] = {}
    rivals: dict[str, list[Stream]] = {}
    for stream in streams:
        rivals.setdefault(stream.topic, []).append(stream)
    for name in names:
        if found := rivals.get(name):
            chosen[name] = max(found, key=lambda s: (s.undecodable is None, s.message_count))
    readable = [stream for stream in chosen.values() if stream.undecodable is None]
    samples = {one.stream.topic: one for one in take_samples(log, readable, request.sample_n, check)}
    closed = [name for name in chosen if name not in samples]
    index = log.index(log.slots([chosen[name] for name in closed]))
    topics: dict[str, TopicInspection] = {}
    looked: dict[str, Looked] = {}
    span = (summary_.start_ns, summary_.end_ns)
    for name in names:
        check()
        if name not in chosen:
            topics[name] = TopicInspection(
                topic=name,
                message_type=None,
                top_level_summary={"kind": "unknown", "keys": []},
                warnings=["the log has no such topic"],
            )
            continue
        stream = chosen[name]
        times = samples[name].index if name in samples else index.slot(closed.index(name))[0]
        topics[name] = _Topic(stream, times, samples.get(name), rivals[name], request, span).inspect()
        if name in samples:
            same = [s for s in rivals[name] if s.type_name == stream.type_name]
            looked[name] = Looked(stream, samples[name], topics[name], len(same) == 1, len(rivals[name]) > 1)
    result = Inspection(
        bag_path=summary_.path,
        ros_version=summary_.ros_version,
        sample_n=request.sample_n,
        start_ns=summary_.start_ns,
        end_ns=summary_.end_ns,
        message_count=summary_.message_count,
        topics=topics,
        warnings=[
            *summary_.warnings,
            *(
                f"topic {name!r} has no field candidates: {(one.warnings or ['its messages are empty'])[0]}"
                for name, one in topics.items()
                if not one.field_candidates
            ),
        ],
    )
    return Look(result, looked)


class _Topic:
    """One topic of the log being inspected."""

    def __init__(
        self,
        stream: Stream,
        times: Int64s,
        samples: Samples | None,
        rivals: Sequence[Stream],
        request: InspectRequest,
        span: tuple[int | None, int | None],
    ) -> None:
        self.stream, self.times, self.samples, self.request = stream, times, samples, request
        self.rivals, self.span = rivals, span
        self.limits = Limits(request.max_sequence_items, EXAMPLE.characters, EXAMPLE.bytes)
        self.warnings: list[str] = []

    def inspect(self) -> TopicInspection:
        """All about it."""
        others = sorted({s.type_name for s in self.rivals} - {self.stream.type_name})
        if others:
            self.warnings.append(f"the topic also has messages of type {', '.join(others)}, which are not looked at")
        samples = self.samples
        if samples is None:
            self.warnings.append(f"its messages cannot be decoded: {self.stream.undecodable}")
            return TopicInspection(
                topic=self.stream.topic,
                message_type=self.stream.type_name,
                undecodable=self.stream.undecodable,
                top_level_summary={"kind": "unknown", "keys": []},
                warnings=self.warnings,
                **self.timing(),
            )
        if samples.failures:
            why = ", ".join(f"{reason} ({n})" for reason, n in samples.failures.items())
            if self.request.on_failure == "fail":
                text = f"topic {self.stream.topic!r}: {samples.failed} sampled messages cannot be decoded: {why}"
                raise HephaesError("bad_input", text, topic=self.stream.topic)
            if self.request.on_failure == "warn":
                self.warnings.append(f"{samples.failed} sampled messages cannot be decoded: {why}")
        if self.request.max_depth == 0:
            self.warnings.append("max_depth 0 lists no field")
        candidates = self.candidates(samples)
        shown = self.shown(samples)
        return TopicInspection(
            topic=self.stream.topic,
            message_type=self.stream.type_name,
            decode_failures=samples.failures,
            sampled_message_count=len(shown),
            measured_message_count=len(samples.log_time),
            measured_times_ns=samples.log_time.tolist(),
            sample_timestamps=[one.timestamp for one in shown],
            sample_timestamps_str=[one.timestamp_str for one in shown],
            sample_payloads=shown,
            top_level_summary=(
                {"kind": "sample", "preview": shown[0].payload} if shown else {"kind": "unknown", "keys": []}
            ),
            field_candidates=dict(sorted(candidates.items())),
            warnings=[*self.warnings, *sorted({text for one in candidates.values() for text in one.warnings})],
            **self.timing(),
            **self.header(samples),
        )

    # Times ------------------------------------------------------------------------------------------------------------

    def timing(self) -> dict[str, Any]:
        """What the index says."""
        times = self.times
        disorder = 0
        if np.any(times[1:] < times[:-1]):
            disorder = int(np.count_nonzero(times < np.maximum.accumulate(times)))
            times = np.sort(times)
        found: dict[str, Any] = {"message_count": len(times), "activity": self.activity(times)}
        if not len(times):
            return found
        found |= {"out_of_order": disorder, "first_ns": int(times[0]), "last_ns": int(times[-1])}
        steps = np.diff(times)
        if not len(steps):
            return found
        span = int(times[-1]) - int(times[0])
        usual = float(np.median(steps))
        long = np.flatnonzero(steps > GAP_FACTOR * usual) if usual else np.empty(0, np.int64)
        longest = long[np.argsort(-steps[long], kind="stable")][:MAX_GAPS]
        return found | {
            "rate_hz": len(steps) * NS_PER_S / span if span else 0.0,
            "interval_s": usual / NS_PER_S,
            "jitter_s": float(steps.std()) / NS_PER_S,
            "max_gap_s": int(steps.max()) / NS_PER_S,
            "gaps": [
                Gap(start_ns=int(times[k]), duration_s=int(steps[k]) / NS_PER_S) for k in sorted(longest.tolist())
            ],
        }

    def activity(self, times: Int64s) -> list[int]:
        """Messages per part of the log, by sorted times."""
        start, end = self.span
        if start is None or end is None:
            return []
        width = max(1, -(-(end - start + 1) // BINS))
        edges = np.array([min(start + k * width, np.iinfo(np.int64).max) for k in range(BINS)])
        counts: list[int] = np.diff(np.searchsorted(times, edges), append=len(times)).tolist()
        return counts

    def header(self, samples: Samples) -> dict[str, Any]:
        """What headers say."""
        definition = self.stream.definition
        member = next((m for m in definition.types[definition.root].fields if m.name == "header"), None)
        if member is None or member.type.array or member.type.base != HEADER or not len(samples.messages):
            return {}
        header = samples.messages.field(samples.messages.type.get_field_index("header"))
        stamp = _nanoseconds(header.field(header.type.get_field_index("stamp")))
        offset = np.sort(samples.log_time - stamp)
        frames = pc.unique(header.field(header.type.get_field_index("frame_id"))).to_pylist()[:MAX_FRAME_IDS]
        least, middle, most = (int(offset[k]) / NS_PER_S for k in (0, len(offset) // 2, -1))
        return {"header_offset": Spread(min_s=least, median_s=middle, max_s=most), "frame_ids": frames}

    # Samples ----------------------------------------------------------------------------------------------------------

    def shown(self, samples: Samples) -> list[SampledMessage]:
        """Some messages in short."""
        n = len(samples.log_time)
        chosen = np.unique(np.linspace(0, n - 1, min(n, self.request.sample_n)).astype(np.int64)).tolist() if n else []
        return [
            SampledMessage(
                timestamp=int(samples.log_time[k]),
                timestamp_str=str(samples.log_time[k]),
                payload=summary(excerpt(samples.messages, k, self.limits)),
            )
            for k in chosen
        ]

    def candidates(self, samples: Samples) -> dict[str, FieldCandidate]:
        """Every leaf of the definition."""
        found: dict[str, FieldCandidate] = {}
        for leaf in leaves_of(self.stream.definition, self.request.max_depth):
            path = compile_path(leaf.path, self.stream.definition)
            values, kept = path.extract(samples.messages) if len(samples.messages) else (None, None)
            nullable = bool(samples.failures) or (kept is not None and not kept.all())
            found[leaf.path] = self.candidate(leaf, values, samples, nullable)
        return found

    def candidate(self, leaf: Leaf, values: pa.Array | None, samples: Samples, nullable: bool) -> FieldCandidate:
        """One of them."""
        warnings: list[str] = []
        shape = list(leaf.shape)
        statistics = None
        examples: list[Any] = []
        if values is not None and len(values):
            examples = [excerpt(values, k, self.limits) for k in _some(len(values), MAX_EXAMPLES)]
        if values is not None and len(values) and not leaf.is_cut:
            shape = _seen_shape(values, shape)
            statistics = _statistics(leaf, values)
        if leaf.is_cut:
            warnings.append("what lies deeper than max_depth is one candidate")
        if -1 in shape and statistics is not None:
            warnings.append("its length varies between the samples")
        image = _image_facts(leaf, samples, self.request) if leaf.is_image else None
        is_points = leaf.path == "data" and is_cloud(self.stream.definition)
        varying = -1 in shape or leaf.is_cut
        return FieldCandidate(
            path=leaf.path,
            type=_declared(leaf),
            kind=_kind(leaf),
            examples=examples,
            nullable=nullable,
            candidate_dtypes=dtypes_of(leaf),
            shape_hint=shape if leaf.shape else None,
            variable_length=-1 in shape,
            image_like=leaf.is_image,
            confidence=_CONFIDENCE_UNSEEN if statistics is None else _CONFIDENCE_VARYING if varying else 1.0,
            is_header=leaf.in_header,
            warnings=warnings,
            statistics=statistics,
            image=image,
            points=_point_facts(samples) if is_points else None,
        )


def dtypes_of(leaf: Leaf) -> list[str]:
    """The dtypes that a feature of this field can have, the one that keeps most of it first."""
    base = leaf.type.base
    if leaf.is_cut:
        return ["json", "native"]
    if leaf.is_bytes:
        return ["bytes", "int64"]
    if base in FLOATS:
        return ["float64", "float32"] if base == "float64" else ["float32", "float64"]
    if base == "bool":
        return ["bool"]
    if leaf.is_text:
        return ["native", "json"]
    if leaf.is_time:
        return ["int64", "native"]
    return ["native", "int64"] if base == "uint64" else ["int64", "native"]


def _kind(leaf: Leaf) -> Kind:
    if leaf.is_cut:
        return "struct"
    if leaf.is_image:
        return "image"
    if leaf.shape:
        return "sequence"
    return "bytes" if leaf.is_bytes else "scalar"


def _declared(leaf: Leaf) -> str:
    """The type of a field as a definition writes it."""
    kind = leaf.type
    bound = "" if kind.string_bound is None else f"<={kind.string_bound}"
    size = {"": "", "fixed": f"[{kind.size}]", "bounded": f"[<={kind.size}]", "unbounded": "[]"}[kind.array]
    return f"{kind.base}{bound}{size}"


def _some(n: int, most: int) -> list[int]:
    chosen: list[int] = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)).tolist()
    return chosen


def _seen_shape(values: pa.Array, declared: Sequence[int]) -> list[int]:
    """The declared shape with the lengths that all samples agree on in the place of those that are open."""
    shape: list[int] = []
    for size in declared:
        found = np.unique(lengths(values))
        shape.append(size if size >= 0 or len(found) != 1 else int(found[0]))
        values = items(values)
    return shape


def _statistics(leaf: Leaf, values: pa.Array) -> Statistics:
    if leaf.is_bytes or leaf.is_text:
        inner = flat_leaves(values)
        size = pc.binary_length(inner).to_numpy(zero_copy_only=False)
        distinct = len(pc.unique(inner)) if leaf.is_text and len(inner) <= MAX_DISTINCT else None
        least, most = (int(size.min()), int(size.max())) if len(size) else (None, None)
        return Statistics(count=len(inner), distinct=distinct, length_min=least, length_max=most)
    count_per = lengths(values) if is_list(values.type) else None
    flat = flat_leaves(values)
    data: NDArray[Any] = _nanoseconds(flat) if leaf.is_time else as_numbers(flat)
    return _of_numbers(data, count_per, scalar=not leaf.shape)


def _of_numbers(data: NDArray[Any], count_per: Int64s | None, *, scalar: bool) -> Statistics:
    length: dict[str, int] = {}
    if count_per is not None:
        length = {"length_min": int(count_per.min()), "length_max": int(count_per.max())}
    finite = data
    nan = infinite = 0
    if data.dtype.kind == "f":
        is_finite = np.isfinite(data)
        nan = int(np.count_nonzero(np.isnan(data)))
        infinite = int(len(data) - np.count_nonzero(is_finite)) - nan
        finite = data[is_finite]
    distinct = len(np.unique(data)) if len(data) <= MAX_DISTINCT else None
    found: dict[str, Any] = {}
    if len(finite):
        with np.errstate(over="ignore"):
            mean = float(finite.mean(dtype=np.float64))
        found = {"min": finite.min().item(), "max": finite.max().item(), "mean": mean if np.isfinite(mean) else None}
    return Statistics(
        count=len(data),
        nan_count=nan,
        infinite_count=infinite,
        distinct=distinct,
        series=data.tolist() if scalar else None,
        **length,
        **found,
    )


def _nanoseconds(values: pa.Array) -> Int64s:
    """Times or durations as int64, ns."""
    sec, nanosec = (
        np.asarray(values.field(values.type.get_field_index(name)).to_numpy(zero_copy_only=False), np.int64)
        for name in ("sec", "nanosec")
    )
    return sec * NS_PER_S + nanosec


# -- points ------------------------------------------------------------------------------------------------------------


def _point_facts(samples: Samples) -> PointFacts | None:
    """What clouds say about their points."""
    found = clouds(samples.messages) if len(samples.messages) else []
    if not found:
        return None
    shapes = [cloud.shape for cloud in found if cloud.shape[0]]
    known = [
        {each["name"]: _point_type(each) for each in cloud.fields if each["datatype"] in DATATYPE_NAMES}
        for cloud in found
        if cloud.shape[0] or len(found) == 1
    ]
    common = {name: kind for name, kind in (known or [{}])[0].items() if all(one.get(name) == kind for one in known)}
    return PointFacts(
        fields=common,
        height=shapes[0][0] if shapes else None,
        width=shapes[0][1] if shapes else None,
        varies=len({cloud.shape for cloud in found}) > 1,
    )


def _point_type(field: Mapping[str, Any]) -> str:
    count = max(int(field["count"]), 1)
    return DATATYPE_NAMES[field["datatype"]] + (f"[{count}]" if count > 1 else "")


# -- images ------------------------------------------------------------------------------------------------------------


def _image_facts(leaf: Leaf, samples: Samples, request: InspectRequest) -> ImageFacts | None:
    """What the messages around the data of an image say."""
    if leaf.spans or not len(samples.messages):
        return None
    messages = samples.messages
    for name in leaf.path.split(".")[:-1]:
        messages = messages.field(messages.type.get_field_index(name))
    said = _said(messages)
    if not said:
        return None
    width, height, encoding = Counter(said).most_common(1)[0][0]
    first = said.index((width, height, encoding))
    can_encode = False
    file_format: str | None = None
    small = None
    try:
        picture = picture_of(messages.slice(first, 1))
        file_format = picture.file_format
        can_encode = file_format is not None or _has_png(encoding)
        if request.thumbnails:
            small = thumbnail(picture)
        if width is None and file_format is not None:
            width, height = file_size(picture)
    except ImageError:
        can_encode = False
    if file_format is None and (codec := codec_of(encoding)) is not None:
        file_format, can_encode = codec, False
    return ImageFacts(
        width=width,
        height=height,
        encoding=encoding,
        file_format=file_format,
        varies=len(set(said)) > 1,
        can_encode=can_encode,
        thumbnail_png=small,
    )


def _said(messages: pa.StructArray) -> list[tuple[int | None, int | None, str]]:
    """Width, height and encoding of each image."""
    names: Mapping[str, int] = {member.name: k for k, member in enumerate(messages.type)}

    def member(*choices: str) -> list[Any]:
        name = next((name for name in choices if name in names), None)
        return [None] * len(messages) if name is None else messages.field(names[name]).to_pylist()

    text = member("encoding", "format")
    return [(w, h, e or "") for w, h, e in zip(member("width"), member("height"), text, strict=True)]


def _has_png(encoding: str) -> bool:
    """Whether pixels of this encoding are written as PNG without being changed."""
    try:
        kind = parse_encoding(encoding)
    except ImageError:
        return False
    if kind.dtype == "u1":
        return kind.pixel_channels in images.PLAIN
    return kind.dtype == "u2" and kind.pixel_channels == 1
