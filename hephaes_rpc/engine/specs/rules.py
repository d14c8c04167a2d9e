"""The rules between the parts of a spec that need no log: what contradicts itself, and what could have no effect.

Strategy: every rule is a generator over the issues it finds, so that all of them are told at once, each with the place
of the key that is at fault.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs

from hephaes_rpc.engine.specs.gates import GateError, parse_gate
from hephaes_rpc.engine.specs.message_sources import topics_named
from hephaes_rpc.engine.specs.source_rules import OF_A_MESSAGE, no_effect, shown_free, source_issues
from hephaes_rpc.engine.specs.spec import (
    TIMESTAMP,
    ConstantSource,
    ConversionSpec,
    Feature,
    FeatureSource,
    Input,
    Join,
    Labels,
    MetadataSource,
    ParquetOutput,
    PathSource,
    PerMessageRows,
    Placeholder,
    ResampleRows,
    Split,
    TFRecordOutput,
    TriggerRows,
    Validation,
    age_column,
    leaves,
    parse_template,
)
from hephaes_rpc.engine.specs.transform_params import (
    Clamp,
    ImageColorConvert,
    ImageEncode,
    Length,
    Normalize,
    Scale,
    Transform,
)
from hephaes_rpc.engine.specs.values import is_script_path
from hephaes_rpc.errors import SpecError
from hephaes_rpc.serde import Issue, Path, closest, shown

LABEL = "label"
PRESENCE = "__present"
LENGTH_PREFIX = "__sequence_length__"
FRACTIONS = ("train_fraction", "val_fraction", "test_fraction")
FRACTION_TOLERANCE = 1e-6
SPLIT_BY_SEED = ("random", "episode", "group")
SPLIT_BY_ROW = ("time", "random", "group")
SAME_IN_ALL_ROWS = ("source_file", "episode_id")


def check_spec(spec: ConversionSpec) -> None:
    """Raise SpecError with every issue of a spec that contradicts itself, whatever the log."""
    if issues := spec_issues(spec):
        raise spec_error(issues)


def spec_error(issues: Sequence[Issue], **data: Any) -> SpecError:
    """The issues as one error; ``data.errors`` lists them with JSON pointers, beside what else is told."""
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return SpecError(issues[0].message + more, errors=[_told(issue) for issue in issues], **data)


def pointer(path: Path) -> str:
    """The JSON pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _told(issue: Issue) -> dict[str, Any]:
    return {
        "pointer": pointer(issue.path),
        "message": issue.message,
        "expected": issue.expected,
        "got": issue.got,
        "did_you_mean": issue.guess,
    }


def spec_issues(spec: ConversionSpec) -> list[Issue]:
    """Everything that is wrong with a spec, whatever the log."""
    found = [*_shape(spec), *_input(spec), *_output(spec)]
    if spec.mapping is not None:
        found += _mapping(spec.mapping)
    found += _strategy(spec)
    for name, feature in spec.features.items():
        found += _feature(("features", name), name, feature)
    found += _computations(spec)
    if spec.labels is not None:
        found += _labels(spec.labels, spec.features)
    if spec.split is not None:
        found += _split(spec.split, spec.features)
    found += _expected(spec.validation, spec.features)
    found += _judged(spec.validation, spec.features)
    if spec.row_strategy is not None and spec.features:
        found += _topics(spec)
        found += _columns(spec)
        found += _shifts(spec)
    found += _named_topics(spec)
    found += _gates(spec)
    return found


def _gates(spec: ConversionSpec) -> Iterator[Issue]:
    for k, text in enumerate(spec.quality):
        try:
            parse_gate(text)
        except GateError as error:
            yield Issue(("quality", k), str(error), "a gate such as 'camera >= 28 Hz'", shown_free(text), error.guess)


# -- shape -------------------------------------------------------------------------------------------------------------


def _shape(spec: ConversionSpec) -> Iterator[Issue]:
    """A spec is either of whole messages or of rows with features."""
    rows = [name for name, given in (("row_strategy", spec.row_strategy), ("features", spec.features)) if given]
    for name in ("mapping", "resample"):
        if rows and (value := getattr(spec, name)) is not None:
            yield no_effect((name,), value, f"{name} cannot be given together with {' and '.join(rows)}")
    if rows == ["row_strategy"]:
        yield Issue(("features",), "row_strategy needs features: there is none", "at least one feature", "object")
    if rows == ["features"]:
        yield Issue(("row_strategy",), "features need a row_strategy: there is none", "a row strategy", "null")
    if not rows:
        yield from _of_rows_only(spec)


def _of_rows_only(spec: ConversionSpec) -> Iterator[Issue]:
    why = "has no effect without row_strategy and features"
    for name in ("labels", "split"):
        if (value := getattr(spec, name)) is not None and value != Split():
            yield no_effect((name,), value, f"{name} {why}")
    for part, name, default in (
        *(("validation", each.name, each.default) for each in attrs.fields(Validation)),
        ("output", "shards", 1),
        ("output", "filename_template", None),
    ):
        value = getattr(getattr(spec, part), name)
        if value and value != default:
            yield no_effect((part, name), value, f"{part}.{name} {why}")


# -- input and output --------------------------------------------------------------------------------------------------


def _input(spec: ConversionSpec) -> Iterator[Issue]:
    given = spec.input
    for name in ("paths", "include_topics", "exclude_topics"):
        yield from _blank_items(("input", name), getattr(given, name))
    if given.recursive and not given.paths:
        yield no_effect(("input", "recursive"), True, "input.recursive has no effect without input.paths", "false")
    if given.start_ns is not None and given.end_ns is not None and given.end_ns < given.start_ns:
        yield Issue(
            ("input", "end_ns"),
            f"input.end_ns {given.end_ns} lies before input.start_ns {given.start_ns}",
            f"at least {given.start_ns}",
            str(given.end_ns),
        )
    yield from _decoding(spec)


def _blank_items(path: Path, items: Iterable[str]) -> Iterator[Issue]:
    for k, item in enumerate(items):
        if not item.strip():
            yield Issue((*path, k), f"{'.'.join(map(str, path))}[{k}] is blank", "text that is not blank", shown(item))


def _decoding(spec: ConversionSpec) -> Iterator[Issue]:
    used = _topics_in_use(spec)
    for topic, decoding in spec.decoding.topics.items():
        path = ("decoding", "topics", topic)
        if not topic.strip():
            yield Issue(path, "decoding.topics has a blank topic", "name of a topic", shown(topic))
        elif used is not None and topic not in used:
            yield _unknown(path, f"decoding.topics: the spec does not use the topic {topic!r}", topic, used)
        elif decoding.type_hint is None and decoding.on_failure is None:
            yield no_effect(path, decoding, f"decoding.topics: {topic!r} says nothing", "type_hint or on_failure")


def _unknown(path: Path, message: str, word: str, choices: Iterable[str]) -> Issue:
    known = list(choices)
    guess = closest(word, known)
    hint = f"; did you mean {guess!r}?" if guess else ""
    return Issue(path, message + hint, "one of " + ", ".join(map(repr, known)), shown(word), guess)


def _output(spec: ConversionSpec) -> Iterator[Issue]:
    output = spec.output
    if output.layout == "topics":
        if spec.features or spec.row_strategy is not None:
            yield no_effect(
                ("output", "layout"), "topics", "output.layout 'topics' has whole messages, not features", "wide"
            )
        elif spec.resample is not None:
            yield no_effect(
                ("output", "layout"),
                "topics",
                "output.layout 'topics' keeps every message and cannot be resampled; "
                "leave out resample or use layout 'wide'",
                "wide",
            )
        if isinstance(output, TFRecordOutput) and output.absent_keys == "omit":
            yield no_effect(
                ("output", "absent_keys"),
                "omit",
                "output.absent_keys 'omit' has no effect with layout 'topics', where no key is ever absent",
                "write",
            )
    if output.filename_template is not None:
        yield from _template(output, spec.split)


def _template(output: ParquetOutput | TFRecordOutput, split: Split | None) -> Iterator[Issue]:
    """A template must tell the files of one log apart."""
    template = output.filename_template or ""
    names = {part.name for part in parse_template(template) if isinstance(part, Placeholder)}
    path = ("output", "filename_template")
    if output.shards > 1 and not names & {"shard", "shard_index"}:
        message = f"output.filename_template gives {output.shards} shards one name"
        yield Issue(path, message, "{shard} or {shard_index} in it", shown(template))
    if split is not None and split.strategy in ("time", "random", "group") and "split" not in names:
        parts = sum(bool(getattr(split, name)) for name in FRACTIONS)
        if parts > 1:
            yield Issue(
                path, "output.filename_template gives the parts of the split one name", "{split} in it", shown(template)
            )


# -- mapping -----------------------------------------------------------------------------------------------------------


def _mapping(mapping: Mapping[str, Sequence[str]]) -> Iterator[Issue]:
    if not mapping:
        yield Issue(("mapping",), "mapping names no field", "at least one field", "object")
    for name, topics in mapping.items():
        path = ("mapping", name)
        if (why := _wrong_name(name)) is not None:
            yield Issue(path, f"mapping {why}", "another name", shown(name))
        if not topics:
            yield Issue(path, f"mapping field {name!r} must list at least one topic", "topics", "list of 0")
        for k, topic in enumerate(topics):
            if not topic.strip():
                message = f"mapping field {name!r} must list at least one topic, and no empty one"
                yield Issue((*path, k), message, "name of a topic", shown(topic))


def _wrong_name(name: str) -> str | None:
    """What is wrong with the name of a column."""
    if not name.strip():
        return "has a field without a name"
    if name == TIMESTAMP:
        return f"field {name!r} has the name of the row time; choose another name"
    if "\0" in name:
        return f"field {name!r} contains a NUL character"
    return None


# -- rows --------------------------------------------------------------------------------------------------------------


def _strategy(spec: ConversionSpec) -> Iterator[Issue]:
    strategy = spec.row_strategy
    if isinstance(strategy, TriggerRows):
        seen = {strategy.trigger_topic: "the trigger topic"}
        for k, join in enumerate(strategy.joins):
            path = ("row_strategy", "joins", k)
            if join.topic in seen:
                message = f"joins[{k}]: {join.topic!r} is already {seen[join.topic]}"
                yield Issue((*path, "topic"), message, "a topic that is not joined yet", shown(join.topic))
            seen.setdefault(join.topic, "joined")
            yield from _join(path, f"join of {join.topic!r}", join)
    if isinstance(strategy, ResampleRows):
        yield from _blank_items(("row_strategy", "topics"), strategy.topics)
        anchor = strategy.anchor_topic
        if strategy.topics and anchor is not None and anchor not in strategy.topics:
            message = f"row_strategy.anchor_topic {anchor!r} is not among row_strategy.topics"
            yield _unknown(("row_strategy", "anchor_topic"), message, anchor, strategy.topics)


def _join(path: Path, what: str, join: Join) -> Iterator[Issue]:
    if join.sync_policy == "last-known-before":
        if join.tolerance_ns is not None:
            yield no_effect(
                (*path, "tolerance_ns"),
                join.tolerance_ns,
                f"{what}: tolerance_ns has no effect with last-known-before; staleness_ns limits the age",
            )
        if join.no_future:
            yield no_effect(
                (*path, "no_future"),
                True,
                f"{what}: no_future has no effect with last-known-before, which never looks ahead",
                "false",
            )
    if join.sync_policy == "exact-within-tolerance" and not join.tolerance_ns:
        for name in ("staleness_ns", "no_future"):
            if value := getattr(join, name):
                yield no_effect(
                    (*path, name), value, f"{what}: {name} has no effect where times must be equal (no tolerance_ns)"
                )
    if join.default_value is not None and join.missing != "default":
        yield no_effect(
            (*path, "default_value"),
            join.default_value,
            f"{what}: default_value has no effect with missing {join.missing!r}",
        )
    if not join.required and join.missing in _DECISIVE:
        message = f"{what}: required false has no effect with missing {join.missing!r}, which {_DECISIVE[join.missing]}"
        yield no_effect((*path, "required"), False, message, "true")


def _main_topic(spec: ConversionSpec) -> str | None:
    match spec.row_strategy:
        case TriggerRows(trigger_topic=topic) | PerMessageRows(topic=topic):
            return topic
    return None


def _sources(spec: ConversionSpec) -> Iterator[tuple[Path, str, FeatureSource]]:
    for name, feature in spec.features.items():
        yield ("features", name, "source"), f"feature {name!r}", feature.source
    if spec.labels is not None and spec.labels.source is not None:
        yield ("labels", "source"), "labels.source", spec.labels.source


def _topics(spec: ConversionSpec) -> Iterator[Issue]:
    """Features and labels take only topics that the rows have; joins that nothing depends on are refused."""
    known = _row_topics(spec)
    used: set[str] = set()
    lists_topics = False
    for path, what, source in _sources(spec):
        for at, leaf in leaves(source, path):
            if isinstance(leaf, MetadataSource):
                lists_topics |= leaf.key == "present_topics"
                if leaf.key in OF_A_MESSAGE and leaf.topic is None and _main_topic(spec) is None:
                    message = f"{what}: metadata {leaf.key} needs a topic, resampled rows have no message of their own"
                    yield Issue((*at, "topic"), message, "name of a topic", "null")
            topic = getattr(leaf, "topic", None)
            if topic is None:
                continue
            used.add(topic)
            if known is not None and topic not in known:
                message = f"{what}: the rows have no topic {topic!r}; join it, or add it to the topics of row_strategy"
                yield _unknown((*at, "topic"), message, topic, known)
    if isinstance(spec.row_strategy, TriggerRows) and not lists_topics:
        yield from _idle_joins(spec.row_strategy.joins, used)


def _idle_joins(joins: Iterable[Join], used: set[str]) -> Iterator[Issue]:
    for k, join in enumerate(joins):
        if join.topic not in used and not join.required and not join.age_column and join.missing not in _DECISIVE:
            yield no_effect(
                ("row_strategy", "joins", k),
                join,
                f"join of {join.topic!r} has no effect: no feature takes the topic and no row depends on it",
            )


_DECISIVE = {"drop": "leaves the row out", "error": "ends the conversion"}
_SETTLED = {"zeros": "leaves no row without a value", **_DECISIVE}


def _row_topics(spec: ConversionSpec) -> list[str] | None:
    """The topics that features may take; None: any."""
    match spec.row_strategy:
        case TriggerRows(trigger_topic=topic, joins=joins):
            return [topic, *(join.topic for join in joins)]
        case PerMessageRows(topic=topic):
            return [topic]
        case ResampleRows(topics=topics) if topics:
            return topics
    return None


def _topics_in_use(spec: ConversionSpec) -> list[str] | None:
    """Every topic that the spec names; None: which ones only a log can tell."""
    named = [topic for _, _, topic in _naming(spec)]
    if spec.mapping is None and spec.row_strategy is None:
        return None
    return list(dict.fromkeys(topic.partition("@")[0] if spec.mapping is not None else topic for topic in named))


def _naming(spec: ConversionSpec) -> Iterator[tuple[Path, str, str]]:
    """Place, owner and topic, wherever the spec names a topic that it reads."""
    for name, topics in (spec.mapping or {}).items():
        for k, topic in enumerate(topics):
            yield ("mapping", name, k), f"mapping field {name!r}", topic
    match spec.row_strategy:
        case TriggerRows(trigger_topic=topic, joins=joins):
            yield ("row_strategy", "trigger_topic"), "row_strategy.trigger_topic", topic
            for k, join in enumerate(joins):
                yield ("row_strategy", "joins", k, "topic"), f"joins[{k}]", join.topic
        case PerMessageRows(topic=topic):
            yield ("row_strategy", "topic"), "row_strategy.topic", topic
        case ResampleRows(topics=topics, anchor_topic=anchor):
            for k, topic in enumerate(topics):
                yield ("row_strategy", "topics", k), "row_strategy.topics", topic
            if anchor is not None:
                yield ("row_strategy", "anchor_topic"), "row_strategy.anchor_topic", anchor
    for path, what, source in _sources(spec):
        for at, leaf in leaves(source, path):
            for place, named in topics_named(leaf):
                yield (*at, *place), what, named


def _named_topics(spec: ConversionSpec) -> Iterator[Issue]:
    """No part of a spec names a topic that its input leaves out."""
    for path, what, topic in _naming(spec):
        bare = topic.partition("@")[0] if path[0] == "mapping" else topic
        if bare.strip() and (why := excluded_by(spec.input, bare)) is not None:
            yield Issue(path, f"{what}: the topic {bare!r} {why}", "a topic that input lets pass", shown(topic))


def topic_error(
    spec: ConversionSpec, topic: str, message: str, known: Iterable[str], expected: str | None = None
) -> SpecError:
    """What is wrong with a topic, told of every place that names it; ``known`` are the topics it may have meant."""
    choices = list(known)
    guess = closest(topic, choices)
    expected = expected or "one of " + ", ".join(map(repr, choices))
    places = [path for path, _, named in _naming(spec) if named == topic]
    errors = [_told(Issue(path, message, expected, shown(topic), guess)) for path in places]
    return SpecError(message, errors=errors, topic=topic)


def excluded_by(wanted: Input, topic: str) -> str | None:
    """Why ``input`` leaves a topic out, as a sentence's end (``is left out by ...``), or None."""
    for pattern in wanted.exclude_topics:
        if fnmatchcase(topic, pattern):
            return f"is left out by input.exclude_topics {pattern!r}"
    if wanted.include_topics and not any(fnmatchcase(topic, pattern) for pattern in wanted.include_topics):
        return "is not among input.include_topics"
    return None


# -- features ----------------------------------------------------------------------------------------------------------


def _feature(path: Path, name: str, feature: Feature) -> Iterator[Issue]:
    what = f"feature {name!r}"
    if (why := _wrong_name(name)) is not None:
        yield Issue(path, f"features: {why}", "another name", shown(name))
    source = feature.source
    whole = isinstance(source, PathSource) and source.field_path is None and not feature.transforms
    if whole and feature.dtype not in ("json", "native", "bytes"):
        message = f"{what}: a whole message is no {feature.dtype}; name a field by source.field_path"
        yield Issue((*path, "dtype"), message, '"json" or "native"', shown(feature.dtype))
    yield from source_issues((*path, "source"), what, source)
    for k, length in enumerate(feature.shape or []):
        if length < -1:
            yield Issue((*path, "shape", k), f"{what}: no dimension has length {length}", "-1 or more", str(length))
    if feature.missing == "zeros" and feature.dtype == "json":
        message = f"{what}: missing 'zeros' has no effect with dtype json, which has no zero"
        yield no_effect((*path, "missing"), "zeros", message)
    if feature.required and feature.missing in _SETTLED:
        message = f"{what}: required has no effect with missing {feature.missing!r}, which {_SETTLED[feature.missing]}"
        yield no_effect((*path, "required"), True, message, "false")
    for k, transform in enumerate(feature.transforms):
        yield from _transform((*path, "transforms", k), f"{what}, {transform.kind}", transform)


def _shifts(spec: ConversionSpec) -> Iterator[Issue]:
    """Shifted features look ahead, by their purpose; what says that nothing may look there contradicts them."""
    joins = spec.row_strategy.joins if isinstance(spec.row_strategy, TriggerRows) else []
    guarded = {join.topic for join in joins if join.no_future}
    strategy = "none" if spec.split is None else spec.split.strategy
    for name, feature in spec.features.items():
        if not feature.shift:
            continue
        path, what = ("features", name, "shift"), f"feature {name!r}"
        found = [leaf for _, leaf in leaves(feature.source)]
        if all(isinstance(leaf, ConstantSource) or getattr(leaf, "key", None) in SAME_IN_ALL_ROWS for leaf in found):
            message = f"{what}: shift has no effect on a value that is the same in every row"
            yield no_effect(path, feature.shift, message, "0")
        if feature.missing == "error":
            message = f"{what}: missing 'error' ends every conversion with shift, for the last rows have no value"
            yield Issue(("features", name, "missing"), message, '"drop", "forward_fill" or another', '"error"')
        for topic in dict.fromkeys(getattr(leaf, "topic", None) for leaf in found):
            if topic in guarded:
                message = f"{what}: shift takes later messages of {topic!r}, which no_future of its join forbids"
                yield Issue(path, message, "0, or a join without no_future", str(feature.shift))
        if strategy in SPLIT_BY_ROW:
            message = f"{what}: with split {strategy!r} shift takes values of one part into another; split by episode"
            yield Issue(path, message, '0, or split.strategy "episode"', str(feature.shift))


def _columns(spec: ConversionSpec) -> Iterator[Issue]:
    """No two columns, and no two keys of a record, have one name."""
    taken: dict[str, str] = {TIMESTAMP: "the row time"}
    if isinstance(spec.row_strategy, TriggerRows):
        for k, join in enumerate(spec.row_strategy.joins):
            if join.age_column:
                name, what = age_column(join.topic), f"the age of {join.topic!r}"
                if name in taken:
                    message = f"{what} and {taken[name]} would both be the column {name!r}"
                    yield Issue(("row_strategy", "joins", k, "age_column"), message, "false", "true")
                taken[name] = what
    if spec.labels is not None and has_label_column(spec.labels):
        taken.setdefault(LABEL, "the label")
    if isinstance(spec.output, TFRecordOutput):
        for name, feature in spec.features.items():
            taken[LENGTH_PREFIX + name] = f"the length of {name!r}"
            if feature.presence_flag:
                taken[name + PRESENCE] = f"the presence of {name!r}"
        for computation in spec.computations:
            taken |= {LENGTH_PREFIX + name: f"the length of {name!r}" for name in computation.outputs}
    for name in spec.features:
        if name in taken and name != TIMESTAMP:
            message = f"feature {name!r} has the name of {taken[name]}"
            yield Issue(("features", name), message, "another name", shown(name))
    taken |= {name: f"the feature {name!r}" for name in spec.features}
    for k, computation in enumerate(spec.computations):
        for name in computation.outputs:
            if name in taken:
                message = f"the output {name!r} of {computation.file} has the name of {taken[name]}"
                yield Issue(("computations", k, "outputs", name), message, "another name", shown(name))
            taken[name] = f"an output of {computation.file}"


def _computations(spec: ConversionSpec) -> Iterator[Issue]:
    """Scripts have names that lead nowhere else, read columns that there are, and owe columns of some shape."""
    known = [TIMESTAMP, *spec.features]
    for k, each in enumerate(spec.computations):
        path: Path = ("computations", k)
        what = f"computation {each.file}"
        if not spec.features:
            yield no_effect(path, each, f"{what}: computations have no effect without features")
            continue
        if not is_script_path(each.file):
            message = f"{what}: a script is named by its path below the folder of scripts, and ends in .py"
            yield Issue((*path, "file"), message, "a relative path with slashes", shown(each.file))
        if not each.function.isidentifier():
            yield Issue((*path, "function"), f"{what}: {each.function!r} is no name", "a name", shown(each.function))
        if not each.inputs:
            yield Issue((*path, "inputs"), f"{what}: it reads no column", "at least one column", "[]")
        for n, name in enumerate(each.inputs):
            if name not in known:
                near = closest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                message = f"{what}: there is no column {name!r} before it{hint}"
                yield Issue((*path, "inputs", n), message, "one of " + ", ".join(known), shown(name), near)
            elif name in each.inputs[:n]:
                yield Issue((*path, "inputs", n), f"{what}: {name!r} is read twice", "each column once", shown(name))
        if not each.outputs:
            yield Issue((*path, "outputs"), f"{what}: it makes no column", "at least one column", "{}")
        for name, column in each.outputs.items():
            if (why := _wrong_name(name)) is not None:
                yield Issue((*path, "outputs", name), f"{what}: {why}", "another name", shown(name))
            for n, length in enumerate(column.shape):
                if length < -1:
                    message = f"{what}: no dimension of {name!r} has length {length}"
                    yield Issue((*path, "outputs", name, "shape", n), message, "-1 or more", str(length))
        known += each.outputs


def has_label_column(labels: Labels) -> bool:
    """Whether labels become a column of their own."""
    return labels.source is not None or bool(labels.class_map) or labels.multi_label


# -- transforms --------------------------------------------------------------------------------------------------------


def _transform(path: Path, what: str, transform: Transform) -> Iterator[Issue]:
    match transform:
        case Length():
            yield from _length(path, what, transform)
        case Clamp(min=None, max=None):
            yield Issue(path, f"{what}: neither min nor max is given", "min or max", "object")
        case Clamp(min=low, max=high) if low is not None and high is not None and low > high:
            yield Issue((*path, "max"), f"{what}: max {high} is less than min {low}", f"at least {low}", str(high))
        case Scale(scale=1, offset=0):
            yield Issue(path, f"{what}: it changes nothing", "scale or offset", "object")
        case Normalize():
            yield from _normalize(path, what, transform)
        case ImageColorConvert():
            if transform.from_ == transform.to:
                yield no_effect((*path, "to"), transform.to, f"{what}: from and to are the same", "another colour")
            if (transform.height is None) is not (transform.width is None):
                lacking = "height" if transform.height is None else "width"
                yield Issue((*path, lacking), f"{what}: height and width go together", "integer", "null")
            channels = _CHANNELS[transform.from_] if transform.from_ is not None else None
            if channels is not None and transform.channels not in (None, channels):
                message = f"{what}: {transform.from_} has {channels} channels, not {transform.channels}"
                yield Issue((*path, "channels"), message, str(channels), str(transform.channels))
        case ImageEncode(format="png", quality=quality) if quality is not None:
            yield no_effect((*path, "quality"), quality, f"{what}: quality has no effect with png")


_CHANNELS = {"gray": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}


def _length(path: Path, what: str, length: Length) -> Iterator[Issue]:
    given = [n for n in ("exact", "pad_to", "truncate_to", "min", "max") if getattr(length, n) is not None]
    if not given:
        yield Issue(path, f"{what}: no length is given", "exact, pad_to, truncate_to, min or max", "object")
    for fixing in ("exact", "pad_to"):
        if fixing in given:
            for name in given:
                if name != fixing:
                    message = f"{what}: {name} has no effect beside {fixing}"
                    yield no_effect((*path, name), getattr(length, name), message)
            break
    else:
        if length.min is not None and length.max is not None and length.min > length.max:
            message = f"{what}: max {length.max} is less than min {length.min}"
            yield Issue((*path, "max"), message, f"at least {length.min}", str(length.max))
        if length.truncate_to is not None and length.min is not None and length.min > length.truncate_to:
            message = f"{what}: min {length.min} is more than truncate_to {length.truncate_to} leaves"
            yield Issue((*path, "min"), message, f"at most {length.truncate_to}", str(length.min))
        if length.truncate_to is not None and length.max is not None and length.max >= length.truncate_to:
            yield no_effect((*path, "max"), length.max, f"{what}: max has no effect beside truncate_to")
    if length.pad_value and (length.pad_to is None or length.exact is not None):
        yield no_effect((*path, "pad_value"), length.pad_value, f"{what}: pad_value has no effect without pad_to")


def _normalize(path: Path, what: str, normalize: Normalize) -> Iterator[Issue]:
    bounds = [name for name in ("min", "max") if getattr(normalize, name) is not None]
    moments = [name for name in ("mean", "std", "scale") if getattr(normalize, name) is not None]
    if not bounds and not moments:
        yield Issue(path, f"{what}: nothing is given", "min and max, or mean, std or scale", "object")
    if len(bounds) == 1:
        lacking = "max" if bounds == ["min"] else "min"
        yield Issue((*path, lacking), f"{what}: min and max go together", "number", "null")
    if len(bounds) == 2 and normalize.min == normalize.max:
        yield Issue((*path, "max"), f"{what}: min and max are equal", "another number", shown(normalize.max))
    for name in moments if bounds else ():
        yield no_effect((*path, name), getattr(normalize, name), f"{what}: {name} has no effect beside min and max")


# -- labels, split, validation -----------------------------------------------------------------------------------------


def _labels(labels: Labels, features: Mapping[str, Feature]) -> Iterator[Issue]:
    if labels.primary is not None and labels.source is not None:
        message = "labels.primary and labels.source cannot be given together"
        yield no_effect(("labels", "source"), labels.source, message)
    elif labels.primary is None and labels.source is None:
        yield Issue(("labels",), "labels name neither primary nor source", "primary or source", "object")
    if labels.primary is not None:
        yield from _known_feature(("labels", "primary"), labels.primary, features)
        if labels.transforms:
            message = "labels.transforms are those of labels.source; a primary feature has its own"
            yield no_effect(("labels", "transforms"), labels.transforms, message)
    if labels.source is not None:
        yield from source_issues(("labels", "source"), "labels.source", labels.source)
    for k, transform in enumerate(labels.transforms):
        yield from _transform(("labels", "transforms", k), f"labels, {transform.kind}", transform)
    if labels.multi_label:
        for name, number in labels.class_map.items():
            if number < 0:
                message = f"labels.class_map: {name!r} has the class {number}, but multi_label needs 0 or more"
                yield Issue(("labels", "class_map", name), message, "0 or more", str(number))


def _known_feature(path: Path, name: str, features: Mapping[str, Feature]) -> Iterator[Issue]:
    if name not in features:
        yield _unknown(path, f"{'.'.join(map(str, path))}: there is no feature {name!r}", name, features)


def _split(split: Split, features: Mapping[str, Feature]) -> Iterator[Issue]:
    fractions = {name: getattr(split, name) for name in FRACTIONS}
    given = {name: value for name, value in fractions.items() if value is not None}
    if split.strategy == "none":
        for name, value in given.items():
            yield no_effect(("split", name), value, f"split.{name} has no effect with strategy 'none'")
    elif len(given) < len(fractions):
        for name in FRACTIONS:
            if name not in given:
                yield Issue(("split", name), f"split.{name} is missing", "number between 0 and 1", "null")
    elif not math.isclose(total := sum(given.values()), 1, rel_tol=0, abs_tol=FRACTION_TOLERANCE):
        yield Issue(("split",), f"the fractions of split add up to {total:g}, not to 1", "a sum of 1", f"{total:g}")
    if split.seed is not None and split.strategy not in SPLIT_BY_SEED:
        yield no_effect(("split", "seed"), split.seed, f"split.seed has no effect with strategy {split.strategy!r}")
    if split.strategy == "group" and split.group_by is None:
        yield Issue(("split", "group_by"), "split.group_by is missing", "name of a feature", "null")
    elif split.group_by is not None and split.strategy != "group":
        message = f"split.group_by has no effect with strategy {split.strategy!r}"
        yield no_effect(("split", "group_by"), split.group_by, message)
    elif split.group_by is not None:
        yield from _known_feature(("split", "group_by"), split.group_by, features)


def _judged(validation: Validation, features: Mapping[str, Feature]) -> Iterator[Issue]:
    """Only a required feature makes a record bad."""
    if not features or any(feature.required for feature in features.values()):
        return
    for name in ("fail_fast", "bad_record_budget"):
        value = getattr(validation, name)
        if value is not None and value is not False:
            message = f"validation.{name} has no effect: no feature is required, so that no record is bad"
            yield no_effect(("validation", name), value, message, "a required feature")


def _expected(validation: Validation, features: Mapping[str, Feature]) -> Iterator[Issue]:
    for k, name in enumerate(validation.expected_features if features else ()):
        if name not in features:
            message = f"validation.expected_features: there is no feature {name!r}"
            yield _unknown(("validation", "expected_features", k), message, name, features)
