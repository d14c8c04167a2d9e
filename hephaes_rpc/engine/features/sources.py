"""Sources of features compiled against the definitions of topics: what is wrong is told, what is needed is noted."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from attrs import define, evolve, field, frozen

from hephaes_rpc.engine.features.clouds import MEMBERS as CLOUD_MEMBERS
from hephaes_rpc.engine.features.clouds import Points, is_cloud
from hephaes_rpc.engine.features.columns import BINARY, Int64s, Part
from hephaes_rpc.engine.features.fieldpath import FieldPath, compile_path, compile_steps
from hephaes_rpc.engine.features.frames import FrameTree, PoseReader, TreeKey, tree_key
from hephaes_rpc.engine.features.freevalues import constant_array, covered, is_zero, typed
from hephaes_rpc.engine.features.joining import concat_reader, stack_reader
from hephaes_rpc.engine.features.readers import (
    Constant,
    OfTopic,
    Pictures,
    PresentTopics,
    Reader,
    RowTime,
    SourceRows,
    extractor,
    stamps_of,
)
from hephaes_rpc.engine.features.scans import Scans, is_scan, scan_members
from hephaes_rpc.engine.features.steps import INT64, CannotApplyError, Column, Kind, Tally
from hephaes_rpc.engine.features.transforms import nanoseconds
from hephaes_rpc.engine.features.video import Keyframes, video_members
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.messages.msgdef import INTEGERS, TIMES, Definition, MessageType
from hephaes_rpc.engine.specs.message_sources import KeyframeSource, PointsSource, ScanSource, TfSource
from hephaes_rpc.engine.specs.spec import ConcatSource, ConstantSource, FeatureSource, MetadataSource, PathSource
from hephaes_rpc.serde import Issue, closest, shown, unstructure

Path: TypeAlias = tuple[str | int, ...]

COMPRESSED = "CompressedImage"
COMPRESSED_VIDEO = "CompressedVideo"
COMPRESSED_DEPTH = "/compressedDepth"
HEADER_STAMP = "header.stamp"
_STAMP_KEYS = ("log_time_ns", "publish_time_ns", "header_stamp_ns")


@frozen
class Context:
    """What is known about a log beside its messages.

    Args:
        main_topic: Of the trigger or of per-message rows; None for resampled rows.
        has_publish_time: Only MCAP has them.
    """

    episode_id: str
    source_file: str
    main_topic: str | None = None
    has_publish_time: bool = True


@define
class Need:
    """What features read of a topic.

    Args:
        select: Paths for the decoder; None is the whole message, an empty set nothing.
    """

    select: set[str] | None = field(factory=set)
    log_time: bool = False
    publish_time: bool = False

    def add(self, selection: str | None) -> None:
        """Read this path too; None is the whole message."""
        if selection is None:
            self.select = None
        elif self.select is not None:
            self.select.add(selection)


def image_members(message: MessageType) -> tuple[str, ...] | None:
    """The members of an image message that tell its pixels; None for a message that is no image."""
    kinds = {member.name: member.type for member in message.fields}
    data = kinds.get("data")
    if data is None or data.base != "uint8" or not data.array:
        return None
    scalars = {name: kind.base for name, kind in kinds.items() if not kind.array}
    if scalars.get("height") in INTEGERS and scalars.get("width") in INTEGERS:
        wanted = {"encoding": {"string"}, "step": INTEGERS, "is_bigendian": INTEGERS | {"bool"}}
        used = {"data", "height", "width", *(name for name, bases in wanted.items() if scalars.get(name) in bases)}
        return tuple(name for name in kinds if name in used)
    return tuple(name for name in kinds if name in ("data", "format")) if scalars.get("format") == "string" else None


@define
class Compiler:
    """Compiles sources; collects needs and issues.

    Args:
        definitions: Of the topics that rows have.
        defaults: Topic -> place and default value of its join.
        own_zeros: The feature at hand has zeros of its own: a default of zeros, which a document may have been given
            for its sake (``document``), is not for it.
        video_topics: Whose data are video, not image files.
        trees: Of the transforms that sources ask for; those that are there already are taken.
        pose_readers: All that read them.
    """

    definitions: Mapping[str, Definition]
    context: Context
    defaults: Mapping[str, tuple[Path, Any]] = field(factory=dict)
    needs: dict[str, Need] = field(factory=dict)
    needs_all_topics: bool = False
    issues: list[Issue] = field(factory=list)
    own_zeros: bool = False
    video_topics: frozenset[str] = frozenset()
    trees: dict[TreeKey, FrameTree] = field(factory=dict)
    pose_readers: list[PoseReader] = field(factory=list)

    def need(self, topic: str) -> Need:
        """What is needed of a topic, to be added to."""
        return self.needs.setdefault(topic, Need())

    def refuse(self, at: Path, message: str, expected: str, got: Any, guess: str | None = None) -> None:
        """One more issue."""
        self.issues.append(Issue(at, message, expected, shown(unstructure(got)), guess))

    def check_defaults(self) -> None:
        """Refuse default values of joins that name fields which do not exist."""
        for topic, (at, value) in self.defaults.items():
            if topic in self.definitions:
                definition = self.definitions[topic]
                self._check_members(value, definition.root, definition, at)

    def _check_members(self, value: Any, base: str, definition: Definition, at: Path) -> None:
        if isinstance(value, list):
            for k, item in enumerate(value):
                self._check_members(item, base, definition, (*at, k))
        if not isinstance(value, dict) or base not in definition.types:
            return
        members = {member.name: member.type.base for member in definition.types[base].fields}
        for name, member in value.items():
            if name in members:
                self._check_members(member, members[name], definition, (*at, name))
                continue
            guess = closest(name, list(members))
            hint = f"; did you mean {guess!r}?" if guess else ""
            message = f"default_value: {base} has no field {name!r}{hint}"
            self.refuse((*at, name), message, "one of " + ", ".join(members), member, guess)

    def source(
        self, source: FeatureSource, at: Path, what: str, *, as_image: bool, as_bytes: bool, as_json: bool
    ) -> Reader | None:
        """The reader of a source; None after an issue.

        Args:
            as_image: Something changes images next, so that an image message is a picture.
            as_bytes: An image message is its data.
            as_json: The default of a join is written as it is, and needs no type.
        """
        match source:
            case PathSource():
                return self._path(source, at, what, as_image=as_image, as_bytes=as_bytes, as_json=as_json)
            case ConstantSource():
                return self._constant(source.value, (*at, "value"), what)
            case MetadataSource():
                return self._metadata(source, at, what)
            case TfSource():
                return self._pose(source, at, what)
            case PointsSource() | ScanSource() | KeyframeSource():
                return self._of_messages(source, at, what)
        parts = [
            self.source(part, (*at, "sources", k), what, as_image=False, as_bytes=True, as_json=False)
            for k, part in enumerate(source.sources)
        ]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        try:
            return concat_reader(found, source) if isinstance(source, ConcatSource) else stack_reader(found, source)
        except CannotApplyError as error:
            self.refuse(at, f"{what}: {error}", "sources that fit together", source.kind)
            return None

    def definition(self, topic: str, at: Path, what: str) -> Definition | None:
        """The definition of a topic; None after an issue."""
        if topic in self.definitions:
            return self.definitions[topic]
        guess = closest(topic, list(self.definitions))
        hint = f"; did you mean {guess!r}?" if guess else ""
        expected = "one of " + ", ".join(map(repr, self.definitions))
        self.refuse((*at, "topic"), f"{what}: the log has no topic {topic!r}{hint}", expected, topic, guess)
        return None

    def _path(
        self, source: PathSource, at: Path, what: str, *, as_image: bool, as_bytes: bool, as_json: bool
    ) -> Reader | None:
        definition = self.definition(source.topic, at, what)
        if definition is None:
            return None
        try:
            path = compile_path(source.field_path, definition)
        except ValueError as error:
            guess = str(error).partition("did you mean '")[2].rstrip("?'") or None
            message = f"{what}: {source.topic}: {error}"
            self.refuse((*at, "field_path"), message, f"a field of {definition.root}", source.field_path, guess)
            return None
        image = carrier(path, definition)
        if image is not None and as_image and image.end.base.endswith(COMPRESSED_VIDEO):
            message = f"{what}: {source.topic} is video, which is passed on as it is and not decoded"
            self.refuse(at, message, "no image transform", source.topic)
            return None
        if image is not None and as_image:
            return self._picture(source.topic, image, definition)
        if image == path and as_bytes:
            path = compile_steps((*path.steps, "data"), definition)
        reader = self._field(source.topic, path, definition, has_default=not as_json)
        carries_file = image is not None and image.end.base.endswith(COMPRESSED)
        is_other = source.topic.endswith(COMPRESSED_DEPTH) or source.topic in self.video_topics
        if reader.kind.type == BINARY and carries_file and not is_other:
            return evolve(reader, kind=evolve(reader.kind, encoded=True))
        return reader

    def _field(self, topic: str, path: FieldPath, definition: Definition, *, has_default: bool) -> OfTopic:
        self.need(topic).add(path.selection)
        type_ = field_type(path, definition)
        end = path.end
        size = end.size if end.base == "uint8" and end.array == "fixed" and not path.in_spans else None
        kind = Kind(type_, size, is_time=end.base in TIMES)
        cause = f"{path.text} is out of range"
        default = self._default(topic, path, type_) if has_default else None
        return OfTopic(kind, topic, extractor(path), cause, default)

    def _pose(self, source: TfSource, at: Path, what: str) -> Reader:
        reader = PoseReader(source, self.trees.setdefault(tree_key(source), FrameTree()), at, what)
        reader.tree.wanted.add((source.target_frame, source.source_frame))
        self.pose_readers.append(reader)
        return reader

    def _of_messages(self, source: PointsSource | ScanSource | KeyframeSource, at: Path, what: str) -> Reader | None:
        """What messages of a kind mean."""
        definition = self.definition(source.topic, at, what)
        if definition is None:
            return None
        members: tuple[str, ...] | None
        match source:
            case PointsSource():
                kind, members = "clouds of points", CLOUD_MEMBERS if is_cloud(definition) else None
            case ScanSource():
                kind, members = "laser scans", scan_members(source) if is_scan(definition) else None
            case KeyframeSource():
                kind, members = "video", video_members(definition)
        if members is None:
            message = f"{what}: messages of {source.topic} are no {kind}, but {definition.root}"
            self.refuse((*at, "topic"), message, f"a topic of {kind}", source.topic)
            return None
        messages = self._messages(source.topic, compile_steps((), definition), definition, members)
        match source:
            case PointsSource():
                return Points.of(messages, source)
            case ScanSource():
                return Scans(messages, source)
        return Keyframes(messages, members)

    def _picture(self, topic: str, message: FieldPath, definition: Definition) -> Reader:
        members = image_members(definition.types[message.end.base]) or ()
        return Pictures(self._messages(topic, message, definition, members), "format" in members)

    def _messages(self, topic: str, message: FieldPath, definition: Definition, members: Sequence[str]) -> OfTopic:
        """Some members of messages, of the topic's or inside them."""
        prefix = f"{message.selection}." if message.selection else ""
        for name in members:
            self.need(topic).add(prefix + name)
        type_ = field_type(message, definition, [prefix + name for name in members])
        cause = f"{message.text} is out of range"
        default = self._default(topic, message, type_, members)
        return OfTopic(Kind(type_), topic, extractor(message, members), cause, default)

    def _default(self, topic: str, path: FieldPath, type_: pa.DataType, only: Sequence[str] = ()) -> pa.Array | None:
        """What stands for the field (of a message: for these members) where the topic has no message."""
        at, value = self.defaults.get(topic, ((), None))
        value = covered(value, path.steps)
        if value is None or (self.own_zeros and is_zero(value)):
            return None
        if only and isinstance(value, dict):
            value = {name: value[name] for name in only if name in value}
        try:
            return pa.array([typed(value, type_)], type_)
        except ValueError as error:
            if is_zero(value):
                return None
            place = f" for {path.text}" if path.text else ""
            self.refuse(at, f"default_value of {topic}{place}: {error}", str(type_), value)
            return None

    def _constant(self, value: Any, at: Path, what: str) -> Reader | None:
        try:
            array = constant_array(value)
        except CannotApplyError as error:
            self.refuse(at, f"{what}: {error}", "a value of one type", value)
            return None
        return Constant(Kind(array.type, len(value) if isinstance(value, bytes) else None), array)

    def _metadata(self, source: MetadataSource, at: Path, what: str) -> Reader | None:
        if source.key == "timestamp_ns":
            return RowTime()
        if source.key == "present_topics":
            self.needs_all_topics = True
            return PresentTopics()
        topic = source.topic or self.context.main_topic
        if source.key in _STAMP_KEYS:
            return None if topic is None else self._stamp(source, topic, at, what)
        texts = {"topic": topic, "source_file": self.context.source_file, "episode_id": self.context.episode_id}
        if source.key == "topic" and (topic is None or self.definition(topic, at, what) is None):
            return None
        if source.default_value is not None:
            message = f"{what}: metadata topic is never absent, its default_value has no effect"
            self.refuse((*at, "default_value"), message, "nothing", source.default_value)
        return Constant(Kind(pa.string()), pa.array([texts[source.key]], pa.string()))

    def _stamp(self, source: MetadataSource, topic: str, at: Path, what: str) -> Reader | None:
        definition = self.definition(topic, at, what)
        if definition is None:
            return None
        default = None
        if source.default_value is not None:
            if type(source.default_value) is not int or not -(2**63) <= source.default_value < 2**63:
                message = f"{what}: the default of {source.key} must be an integer of 64 bits"
                self.refuse((*at, "default_value"), message, "integer", source.default_value)
                return None
            default = pa.array([source.default_value], INT64)
        if source.key == "header_stamp_ns":
            return self._header_stamp(topic, definition, default, (*at, "key"), what)
        need = self.need(topic)
        if source.key == "publish_time_ns":
            if not self.context.has_publish_time:
                self.refuse((*at, "key"), f"{what}: only MCAP has publish times", '"log_time_ns"', source.key)
            need.publish_time = True
        else:
            need.log_time = True
        return OfTopic(Kind(INT64), topic, stamps_of(source.key), default=default)

    def _header_stamp(
        self, topic: str, definition: Definition, default: pa.Array | None, at: Path, what: str
    ) -> Reader | None:
        try:
            path = compile_path(HEADER_STAMP, definition)
            if path.end.base != "time" or path.end.array:
                raise ValueError(f"{HEADER_STAMP} is no time")
        except ValueError as error:
            self.refuse(at, f"{what}: {topic} has no header stamp: {error}", "another key", "header_stamp_ns")
            return None
        reader = self._field(topic, path, definition, has_default=False)
        step = nanoseconds(reader.kind)
        extract = reader.extract

        def as_integer(source: SourceRows, there: Int64s) -> Part:
            values, kept = extract(source, there)
            column = step.apply(Column(there, values, np.zeros(len(values), np.bool_)), Tally(0))
            return column.values, kept

        return OfTopic(Kind(INT64), topic, as_integer, default=default)


def carrier(path: FieldPath, definition: Definition) -> FieldPath | None:
    """The path to the image message that the path ends at, or whose ``data`` it ends at."""
    if path.in_spans:
        return None
    if path.end.base in definition.types and not path.end.array:
        return path if image_members(definition.types[path.end.base]) else None
    if not path.steps or path.steps[-1] != "data":
        return None
    message = compile_steps(path.steps[:-1], definition)
    return message if image_members(definition.types[message.end.base]) else None


def field_type(path: FieldPath, definition: Definition, select: Sequence[str] | None = None) -> pa.DataType:
    """Arrow type of what a path leads to; ``select`` limits what lies below."""
    wanted = select or (None if path.selection is None else [path.selection])
    messages = StreamDecoder(definition, "cdr", wanted).arrow_type
    return path.extract(pa.array([], messages))[0].type
