"""A spec for a log that nobody has described: what its topics measure, as the columns of a dataset.

Strategy: ``measures`` says what a topic has to give, best first; a template says what rows and columns are wanted.
Whatever is drafted is checked by the rules that hold for every spec, so a draft converts as it is.

Without a template: a row per message of the trigger (a topic with images before others, then the better measure, then
more messages), the other topics joined by what was last known, so that no row knows its future.
``imitation-learning``: rows at the images, or at the states where there is no camera; ``observation.images.*``,
``observation.state`` and what else is measured as ``observation.*``; ``action`` from a topic that is named or looks
like one of commands, else the state of the next row, which the last row lacks and is left out for.
``time-series``: every number on a regular grid at the rate of the fastest topic, floats interpolated.
``detection``: rows at the images; boxes, classes and scores of the nearest detections.
Topics that tell of the software (logging, parameters, the clock of a simulation) are left out unless asked for.
"""

import glob
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, frozen

from hephaes_rpc.engine.authoring.authored import TEMPLATES, DraftRequest, Template
from hephaes_rpc.engine.authoring.inspection import Look, Looked
from hephaes_rpc.engine.authoring.measures import LARGE_ARRAY, Measure, measures_of
from hephaes_rpc.engine.features.encodings import CODECS
from hephaes_rpc.engine.features.video import video_members
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.specs.feature_rules import LABEL
from hephaes_rpc.engine.specs.message_sources import KeyframeSource, PointDType, PointsSource
from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.specs.spec import (
    TIMESTAMP,
    ConversionSpec,
    Decoding,
    DraftOrigin,
    DType,
    Feature,
    FeatureSource,
    Input,
    Join,
    Labels,
    Output,
    ParquetOutput,
    PathSource,
    ResampleRows,
    RowStrategy,
    Schema,
    StackSource,
    TFRecordOutput,
    TopicDecoding,
    TriggerRows,
    Validation,
)
from hephaes_rpc.engine.specs.transform_params import ImageCrop, ImageEncode, Transform
from hephaes_rpc.engine.timeline.plan import TOPIC_SLUG_CHARS
from hephaes_rpc.errors import HephaesError, LogError, SpecError
from hephaes_rpc.serde import closest, structure

STATE, ACTION = "observation.state", "action"
LEAST_SCORE = 25
VALIDATED_ROWS = 32
RATES_HZ = tuple(step * 10.0**power for power in range(-4, 4) for step in (1, 2, 5))
MAX_GRID_RATE_HZ = 200.0
MAX_DRAFTED_ROWS = 10_000_000
DETECTION_TOLERANCE_NS = 100_000_000

_COMMANDS = re.compile(r"(^|[^a-z])(cmd|command|commands|action|target|goal|setpoint|desired|reference|teleop|control)")
_SOFTWARE = frozenset(
    (
        "rosgraph_msgs/msg/Log",
        "rosgraph_msgs/msg/Clock",
        "rosgraph_msgs/msg/TopicStatistics",
        "rcl_interfaces/msg/Log",
        "rcl_interfaces/msg/ParameterEvent",
        "dynamic_reconfigure/msg/Config",
        "dynamic_reconfigure/msg/ConfigDescription",
        "bond/msg/Status",
    )
)
_BOXES = (
    ("center.position.x", "center.position.y", "size_x", "size_y"),
    ("center.x", "center.y", "size_x", "size_y"),
    ("x_offset", "y_offset", "width", "height"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
)
_CLASSES = ("class_id", "class", "label", "id", "category", "class_name", "classname", "name")
_SCORES = ("score", "probability", "confidence")


@frozen(kw_only=True)
class Draft:
    """A drafted spec and what was thought about it.

    Args:
        names: Names of the elements of vector features, by feature.
        unresolved_fields: What somebody should look at.
    """

    request: DraftRequest
    spec: ConversionSpec
    selected_topics: list[str]
    trigger_topic: str | None
    join_topics: list[str]
    warnings: list[str]
    assumptions: list[str]
    unresolved_fields: list[str]
    names: dict[str, list[str]]


def draft(look: Look, request: DraftRequest) -> Draft:
    """A spec for the log that was looked at.

    Raises:
        HephaesError: ``unsupported``: no topic can be decoded, or the template asks for what the log does not have.
        SpecError: A topic of the request is not in the log, or the compression does not fit the format.
    """
    return _Drafter(look, request).draft()


def templates_for(look: Look) -> list[Template]:
    """The templates that can be drafted for a log."""
    found: list[Template] = []
    for template in TEMPLATES:
        try:
            draft(look, DraftRequest(template=template))
        except (HephaesError, LogError):
            continue
        found.append(template)
    return found


@define(eq=False)
class _Topic:
    """A topic that can be drafted, with what it measures."""

    name: str
    looked: Looked
    measures: list[Measure]

    @property
    def messages(self) -> int:
        return self.looked.facts.message_count

    @property
    def slug(self) -> str:
        return slug_of(self.name)

    def best(self, most: int) -> list[Measure]:
        """What is drafted of it; at least one where it has anything at all."""
        good = [measure for measure in self.measures if measure.score >= LEAST_SCORE]
        return (good or self.measures)[:most]

    def images(self) -> list[Measure]:
        return [measure for measure in self.measures if measure.sort == "image"]

    def numbers(self) -> list[Measure]:
        return [m for m in self.measures if m.sort in ("number", "bool") and m.score >= LEAST_SCORE]


@frozen(eq=False)
class _Wanted:
    """A feature to be made, and the name it should have."""

    topic: _Topic
    measure: Measure
    name: str


def slug_of(topic: str) -> str:
    """A topic as part of a column's name."""
    return re.sub(r"[^0-9a-z]+", "_", topic.lower()).strip("_")[:TOPIC_SLUG_CHARS] or "topic"


class _Drafter:
    """One draft in the making."""

    def __init__(self, look: Look, request: DraftRequest) -> None:
        self.look, self.request = look, request
        self.warnings: list[str] = []
        self.assumptions: list[str] = []
        self.unresolved: list[str] = []
        self.names: dict[str, list[str]] = {}
        self.features: dict[str, Feature] = {}
        self._check_request()
        self.topics = self._select()

    def _check_request(self) -> None:
        """What is asked of one template has no effect with another."""
        request = self.request
        for name in ("action_topic", "next_state"):
            if getattr(request, name) and request.template != "imitation-learning":
                raise SpecError(f"the draft's {name} has no effect without the template imitation-learning")
        if request.next_state and request.action_topic is not None:
            raise SpecError("the draft's action comes from action_topic or from next_state, not from both")

    # Topics -----------------------------------------------------------------------------------------------------------

    def _select(self) -> dict[str, _Topic]:
        """The topics that can be drafted, of those that are asked for."""
        known, request = self.look.result.topics, self.request
        for name in filter(None, (request.trigger_topic, request.action_topic)):
            if name not in known or known[name].message_type is None:
                near = closest(name, sorted(known))
                hint = f"; did you mean {near!r}?" if near else ""
                raise SpecError(f"the draft's topic {name!r} was not inspected{hint}", topic=name)
        wanted = [name for name in dict.fromkeys(request.selected_topics) if name in known] or list(known)
        if request.selected_topics and not any(name in known for name in request.selected_topics):
            raise SpecError("none of selected_topics was inspected")
        more = [request.trigger_topic, request.action_topic, *request.join_topics]
        if not request.selected_topics:
            wanted = self._without_software(wanted)
        wanted += [name for name in dict.fromkeys(more) if name is not None and name in known and name not in wanted]
        found: dict[str, _Topic] = {}
        for name in wanted:
            looked = self.look.topics.get(name)
            facts = known[name]
            if looked is None:
                if facts.message_type is not None:
                    self.warnings.append(f"topic {name!r} is left out: {facts.undecodable}")
                continue
            if not looked.clear:
                text = f"topic {name!r} is left out: it has several definitions of {facts.message_type}"
                self.warnings.append(f"{text}, which features cannot tell apart")
                continue
            found[name] = _Topic(name, looked, measures_of(looked))
        if not found:
            reasons = "; ".join(self.warnings) or "it has no topics"
            raise HephaesError("unsupported", f"no topic of the log can become features: {reasons}")
        return found

    def _without_software(self, names: Sequence[str]) -> list[str]:
        """The topics that tell of the robot, if there are any."""
        types = {name: self.look.result.topics[name].message_type for name in names}
        left = [name for name in names if types[name] in _SOFTWARE]
        kept = [name for name in names if name not in left]
        if not any(name in self.look.topics for name in kept):
            return list(names)
        if left:
            self.assumptions.append(f"topics that tell of the software are left out: {', '.join(left)}")
        return kept

    # Templates --------------------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        """See ``draft``."""
        make: dict[str | None, Callable[[], RowStrategy]] = {
            None: self._general,
            "imitation-learning": self._imitation,
            "time-series": self._time_series,
            "detection": self._detection,
        }
        rows = make[self.request.template]()
        used = _topics_of(rows)
        spec = self._spec(rows, used)
        check_spec(spec)
        return Draft(
            request=self.request,
            spec=spec,
            selected_topics=used,
            trigger_topic=rows.trigger_topic if isinstance(rows, TriggerRows) else None,
            join_topics=[join.topic for join in rows.joins] if isinstance(rows, TriggerRows) else [],
            warnings=self.warnings,
            assumptions=self.assumptions,
            unresolved_fields=self.unresolved,
            names=self.names,
        )

    def _general(self) -> RowStrategy:
        trigger = self._trigger(list(self.topics.values()))
        joined = self._joined(trigger)
        found = [(topic, measure) for topic in (trigger, *joined) for measure in self._best(topic)]
        self._add([_Wanted(topic, measure, _plain_name(topic, measure)) for topic, measure in found], trigger)
        for topic in (trigger, *joined):
            if not topic.measures:
                self._add_whole(topic, required=topic is trigger)
        return TriggerRows(
            trigger_topic=trigger.name,
            joins=[Join(topic=topic.name, sync_policy="last-known-before", required=False) for topic in joined],
        )

    def _imitation(self) -> RowStrategy:
        topics = list(self.topics.values())
        action_topic, action = self._action(topics) or (None, None)
        cameras = [t for t in topics if t.images() and t is not action_topic]
        states = [t for t in topics if t.numbers() and (t is not action_topic or len(t.numbers()) > 1)]
        if not cameras and not states:
            raise self._unfit("a topic with images or measured states")
        state = max(states, key=lambda t: (t.messages > 0, _state_score(t, action))) if states else None
        at = self._trigger(cameras or [state or topics[0]])
        most = self.request.max_features_per_topic
        rows = [_Wanted(t, t.images()[0], f"observation.images.{t.slug}") for t in cameras]
        if state is not None:
            own = [m for m in state.numbers() if m is not action][:most]
            rows.append(_Wanted(state, own[0], STATE))
            rows += [_Wanted(state, measure, _observation(state, measure)) for measure in own[1:]]
        for topic in topics:
            if topic is not state and topic is not action_topic and topic not in cameras:
                rows += [_Wanted(topic, measure, _observation(topic, measure)) for measure in topic.numbers()[:most]]
        if action_topic is not None and action is not None:
            rows.append(_Wanted(action_topic, action, ACTION))
        self._add(rows, at)
        used = {one.topic.name for one in rows} - {at.name}
        joins = []
        for name in [t.name for t in topics if t.name in used]:
            policy: Any = "nearest" if self.topics[name] is action_topic else "last-known-before"
            joins.append(Join(topic=name, sync_policy=policy, required=self._overlaps(name, at)))
        self.assumptions.append("a row is left out where a topic that has messages has none yet")
        if action_topic is None:
            self._add_next_state()
            return TriggerRows(trigger_topic=at.name, joins=joins)
        self.assumptions.append("observations are what was last known at the row; the action is the nearest one")
        return TriggerRows(trigger_topic=at.name, joins=joins)

    def _add_next_state(self) -> None:
        """The action: the state of the next row."""
        state = self.features[STATE]
        self.features[ACTION] = evolve(
            state, shift=1, missing="drop", required=False, description=f"{STATE} of the next row: {state.description}"
        )
        if STATE in self.names:
            self.names[ACTION] = self.names[STATE]
        self.assumptions.append(f"the action is {STATE} of the next row; the last row has none and is left out")

    def _time_series(self) -> RowStrategy:
        topics = [topic for topic in self.topics.values() if topic.numbers()]
        if self.request.trigger_topic is not None:
            topics = [t for t in topics if t.name == self.request.trigger_topic or t in self._joined(t)] or topics
        if not topics:
            raise self._unfit("a topic with numbers")
        named = self.topics.get(self.request.trigger_topic or "")
        anchor = named if named in topics and named is not None else max(topics, key=lambda t: t.messages)
        freq = self._grid_rate(anchor)
        most = self.request.max_features_per_topic
        self._add([_Wanted(t, m, _plain_name(t, m)) for t in topics for m in t.numbers()[:most]], None)
        self.assumptions.append(f"rows every {1 / freq:g} s from the first to the last message of {anchor.name!r}")
        self.assumptions.append("floats are interpolated, everything else holds its last value")
        left = [t.name for t in self.topics.values() if t not in topics]
        if left:
            self.assumptions.append(f"topics without numbers are left out: {', '.join(left)}")
        return ResampleRows(
            freq_hz=freq, method="interpolate", topics=[t.name for t in topics], anchor_topic=anchor.name
        )

    def _detection(self) -> RowStrategy:
        topics = list(self.topics.values())
        cameras = [topic for topic in topics if topic.images()]
        detections = [(topic, parts) for topic in topics if (parts := _detections(topic)) is not None]
        if not cameras or not detections:
            raise self._unfit("a topic with images and a topic with lists of boxes")
        at = self._trigger(cameras)
        if at not in cameras:
            raise self._unfit(f"images in the trigger topic {at.name!r}")
        topic, parts = max(detections, key=lambda found: found[0].messages)
        rows = [_Wanted(at, at.images()[0], "image"), *(_Wanted(topic, part, part.base) for part in parts)]
        self._add(rows, at)
        self.assumptions.append(
            f"detections belong to the image nearest to them, within {DETECTION_TOLERANCE_NS / 1e6:g} ms"
        )
        join = Join(topic=topic.name, sync_policy="nearest", tolerance_ns=DETECTION_TOLERANCE_NS, required=False)
        return TriggerRows(trigger_topic=at.name, joins=[join])

    def _unfit(self, lacking: str) -> HephaesError:
        text = f"the template {self.request.template} needs {lacking}, which the log does not have"
        return HephaesError("unsupported", text, template=self.request.template)

    # Choices ----------------------------------------------------------------------------------------------------------

    def _trigger(self, topics: Sequence[_Topic]) -> _Topic:
        """Whose messages make the rows."""
        if self.request.trigger_topic is not None and self.request.trigger_topic in self.topics:
            return self.topics[self.request.trigger_topic]
        if self.request.trigger_topic is not None:
            raise SpecError(f"the draft's trigger_topic {self.request.trigger_topic!r} cannot be decoded")

        def rank(topic: _Topic) -> tuple[bool, bool, float, int]:
            best = topic.measures[0].score if topic.measures else 0
            return topic.messages > 0, bool(topic.images()), best, topic.messages

        chosen = max(topics, key=rank)
        self.assumptions.append(f"a row per message of {chosen.name!r}, which was chosen for what it measures")
        return chosen

    def _joined(self, trigger: _Topic) -> list[_Topic]:
        """The topics beside the trigger."""
        asked = [name for name in self.request.join_topics if name in self.topics]
        names = asked or list(self.topics)
        found = [self.topics[name] for name in dict.fromkeys(names) if name != trigger.name]
        if found:
            self.assumptions.append(f"{len(found)} topics are joined by their last message before each row")
        return found

    def _best(self, topic: _Topic) -> list[Measure]:
        most = self.request.max_features_per_topic
        best = topic.best(most)
        left = [m for m in topic.measures if m.score >= LEAST_SCORE and m not in best]
        if left:
            names = ", ".join(measure.base or topic.slug for measure in left[:8])
            self.assumptions.append(f"{topic.name}: {len(left)} more could be features: {names}")
        return best

    def _action(self, topics: Sequence[_Topic]) -> tuple[_Topic, Measure] | None:
        """Where actions come from; None: they are the next states."""
        if self.request.action_topic is not None:
            named = self.topics.get(self.request.action_topic)
            if named is None or not named.numbers():
                raise self._unfit(f"numbers in the action topic {self.request.action_topic!r}")
            return named, named.numbers()[0]
        commands = [t for t in topics if t.numbers() and _COMMANDS.search(t.name.lower())]
        if commands and not self.request.next_state:
            chosen = max(commands, key=lambda t: (t.messages > 0, t.numbers()[0].score, t.messages))
            self.assumptions.append(f"actions are the messages of {chosen.name!r}, for its name")
            return chosen, chosen.numbers()[0]
        if not any(t.numbers() for t in topics):
            raise self._unfit("a topic with commands or measured states")
        if not self.request.next_state:
            self.unresolved.append(f"{ACTION}: no topic of commands was found")
        return None

    def _overlaps(self, name: str, at: _Topic) -> bool:
        """Whether a topic has a message at or before some row."""
        first, last = self.topics[name].looked.facts.first_ns, at.looked.facts.last_ns
        return first is not None and last is not None and first <= last

    def _grid_rate(self, anchor: _Topic) -> float:
        """A round rate at or below that of the anchor."""
        facts = anchor.looked.facts
        rate = min(facts.rate_hz or 1.0, MAX_GRID_RATE_HZ)
        if facts.first_ns is not None and facts.last_ns is not None and facts.last_ns > facts.first_ns:
            rate = min(rate, MAX_DRAFTED_ROWS * NS_PER_S / (facts.last_ns - facts.first_ns))
        fitting = [step for step in RATES_HZ if step <= rate * 1.02]
        return fitting[-1] if fitting else rate

    # Features ---------------------------------------------------------------------------------------------------------

    def _add(self, wanted: Sequence[_Wanted], trigger: _Topic | None) -> None:
        """Make features, each under a name of its own: with the topic in it where several topics have one of that."""
        owners = Counter(name for name, _ in {(one.name, one.topic.name) for one in wanted})
        for one in wanted:
            free = f"{one.topic.slug}_{one.name}" if owners[one.name] > 1 else one.name
            name = _unused(free, {TIMESTAMP, LABEL, *self.features})
            self.features[name] = self._feature(name, one.topic, one.measure, required=one.topic is trigger)
            if self._is_video(one.topic, one.measure):
                keyframe = _unused(f"{name}_keyframe", {TIMESTAMP, LABEL, *self.features})
                told = f"whether decoding can begin with {name}"
                source = KeyframeSource(topic=one.topic.name)
                self.features[keyframe] = Feature(source=source, dtype="bool", shape=[], description=told)
        for topic in {one.topic.name: one.topic for one in wanted}.values():
            if not topic.messages:
                self.unresolved.append(f"{topic.name}: it has no messages, so its features are empty")

    def _add_whole(self, topic: _Topic, *, required: bool) -> None:
        """A topic whose messages have no fields, as JSON."""
        name = _unused(topic.slug, {TIMESTAMP, LABEL, *self.features})
        self.features[name] = Feature(source=PathSource(topic=topic.name), dtype="json", required=required)
        self.unresolved.append(f"{name}: the messages of {topic.name} have no fields")

    def _feature(self, name: str, topic: _Topic, measure: Measure, *, required: bool) -> Feature:
        if measure.names:
            self.names[name] = list(measure.names)
        dtype, shape, transforms = self._form(name, topic, measure)
        parts = [PathSource(topic=topic.name, field_path=path) for path in measure.paths]
        source: FeatureSource = parts[0] if len(parts) == 1 else StackSource(sources=list(parts), axis=measure.axis)
        if measure.sort == "points":
            width: PointDType = "float64" if measure.dtype == "float64" else "float32"
            source = PointsSource(topic=topic.name, fields=list(measure.names), dtype=width)
        if shape and -1 not in shape and not measure.is_fixed:
            n = topic.looked.facts.measured_message_count
            self.assumptions.append(f"{name}: shape {shape}, as in all {n} messages sampled")
        kind = topic.looked.stream.type_name
        said = f": {', '.join(measure.names)}" if measure.names else ""
        return Feature(
            source=source,
            dtype=dtype,
            shape=shape,
            required=required,
            transforms=transforms,
            description=f"{measure.base.replace('_', ' ') or 'value'} of {topic.name} ({kind}){said}",
        )

    def _form(self, name: str, topic: _Topic, measure: Measure) -> tuple[DType, list[int] | None, list[Transform]]:
        """The dtype, shape and transforms that keep what a measure is."""
        shape = list(measure.shape)
        match measure.sort:
            case "image":
                return self._image(name, topic, measure)
            case "points":
                return "native", None, []
            case "bytes":
                return "bytes", None, []
            case "text":
                return "native", None, []
            case "time":
                return ("native", None, []) if shape else ("int64", [], [])
            case "bool":
                return "bool", shape, []
        if measure.dtype in ("float32", "float64"):
            return ("float32" if measure.dtype == "float32" else "float64"), shape, []
        candidate = topic.looked.facts.field_candidates.get(measure.paths[0])
        longest = (
            candidate.statistics.length_max if candidate is not None and candidate.statistics is not None else None
        )
        is_large = longest is not None and longest > LARGE_ARRAY
        return ("native" if measure.dtype == "uint64" or is_large else "int64"), shape, []

    def _image(self, name: str, topic: _Topic, measure: Measure) -> tuple[DType, list[int] | None, list[Transform]]:
        """Images as files: those that are, as they are, pixels as PNG."""
        candidate = topic.looked.facts.field_candidates.get(measure.paths[0])
        facts = None if candidate is None else candidate.image
        is_file = topic.looked.stream.type_name.endswith("CompressedImage")
        if is_file or self._is_video(topic, measure):
            return "bytes", None, []
        if facts is None:
            self.unresolved.append(f"{name}: no image was sampled; its pixels are assumed to fit PNG")
            return "bytes", None, [ImageEncode(format="png")]
        if facts.can_encode:
            return "bytes", None, [ImageEncode(format="png")]
        if facts.encoding == "32FC1" and facts.width and facts.height and not facts.varies:
            self.assumptions.append(f"{name}: 32FC1 does not fit PNG, so it is a matrix of floats")
            whole = ImageCrop(width=facts.width, height=facts.height)
            return "float32", [facts.height, facts.width], [whole]
        self.unresolved.append(f"{name}: pixels of encoding {facts.encoding!r} do not fit PNG and stay raw bytes")
        return "bytes", None, []

    def _is_video(self, topic: _Topic, measure: Measure) -> bool:
        """Whether a measure is the data of encoded video."""
        stream = topic.looked.stream
        if measure.paths != ("data",) or video_members(stream.definition) is None:
            return False
        candidate = topic.looked.facts.field_candidates.get("data")
        facts = None if candidate is None else candidate.image
        told = facts is not None and facts.file_format in CODECS.values()
        return told or stream.type_name.endswith("CompressedVideo")

    # Spec -------------------------------------------------------------------------------------------------------------

    def _spec(self, rows: RowStrategy, used: Sequence[str]) -> ConversionSpec:
        request = self.request
        hints = {name: TopicDecoding(type_hint=self.topics[name].looked.stream.type_name) for name in used}
        self.assumptions.append(f"{len(used)} topics are used; fields were chosen by what they look like")
        return ConversionSpec(
            schema=Schema(name=request.schema_name, version=request.schema_version),
            input=Input(include_topics=[glob.escape(name) for name in used]),
            decoding=Decoding(topics=hints),
            row_strategy=rows,
            features=self.features,
            labels=self._labels(),
            validation=Validation(sample_n=VALIDATED_ROWS, expected_features=list(self.features)),
            draft_origin=DraftOrigin(
                kind="inspection" if request.template is None else "template",
                source_topics=list(used),
                provenance={
                    "trigger_topic": rows.trigger_topic if isinstance(rows, TriggerRows) else None,
                    "join_topics": [join.topic for join in rows.joins] if isinstance(rows, TriggerRows) else [],
                    "selected_topics": list(used),
                    "max_features_per_topic": request.max_features_per_topic,
                    "template": request.template,
                    "names": self.names,
                },
                assumptions=self.assumptions,
                warnings=self.warnings,
            ),
            output=self._output(),
        )

    def _labels(self) -> Labels | None:
        wanted = self.request.label_feature
        if wanted is None and self.request.template == "detection" and "classes" in self.features:
            return Labels(primary="classes")
        if wanted is None:
            return None
        if wanted not in self.features:
            near = closest(wanted, list(self.features))
            hint = f"; did you mean {near!r}?" if near else ""
            self.warnings.append(f"label_feature {wanted!r} is no feature of the draft{hint}")
            self.unresolved.append(f"labels: there is no feature {wanted!r}")
            return None
        return Labels(primary=wanted)

    def _output(self) -> Output:
        given = {"format": self.request.output_format, "compression": self.request.output_compression}
        if self.request.output_format == "parquet":
            return structure(given, ParquetOutput, "draft_request.output")
        return structure(given, TFRecordOutput, "draft_request.output")


def _topics_of(rows: RowStrategy) -> list[str]:
    if isinstance(rows, TriggerRows):
        return [rows.trigger_topic, *(join.topic for join in rows.joins)]
    return list(rows.topics) if isinstance(rows, ResampleRows) else [rows.topic]


def _plain_name(topic: _Topic, measure: Measure) -> str:
    return slug_of(measure.base) if measure.base else topic.slug


def _observation(topic: _Topic, measure: Measure) -> str:
    return f"observation.{topic.slug}" + (f"_{slug_of(measure.base)}" if measure.base else "")


def _state_score(topic: _Topic, action: Measure | None) -> float:
    own = [measure for measure in topic.numbers() if measure is not action]
    return max((measure.score for measure in own), default=0)


def _unused(name: str, taken: set[str] | Mapping[str, object]) -> str:
    free, k = name, 1
    while free in taken:
        k += 1
        free = f"{name}_{k}"
    return free


def _detections(topic: _Topic) -> list[Measure] | None:
    """Boxes, classes and scores of a topic that has lists of them."""
    leaves = {m.paths[0]: m for m in topic.measures if len(m.paths) == 1 and m.paths[0].count("[:]") == 1}
    every = {path: m for m in topic.measures for path in m.paths if path.count("[:]") == 1}
    for names in _BOXES:
        for path in every:
            prefix = path.removesuffix(names[0])
            boxes = [prefix + name for name in names]
            if prefix == path or not prefix.endswith(".") or not all(box in every for box in boxes):
                continue
            element = prefix[: prefix.index("[:]") + 4]
            first = every[path]
            box = Measure(
                base="boxes",
                paths=tuple(boxes),
                sort="number",
                dtype=first.dtype,
                shape=(-1, len(boxes)),
                score=100,
                names=names,
                axis=1,
            )
            found = [box]
            for base, words in (("classes", _CLASSES), ("scores", _SCORES)):
                field_ = next((m for word in words for p, m in leaves.items() if _is_word(p, element, word)), None)
                if field_ is not None:
                    found.append(evolve(field_, base=base, shape=(-1,), names=()))
            return found
    return None


def _is_word(path: str, element: str, word: str) -> bool:
    return path.startswith(element) and path.rpartition(".")[2].lower() == word
