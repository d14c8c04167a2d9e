"""The rules between the parts of a spec that need no log: what contradicts itself, and what could have no effect.

Strategy: every rule is a generator over the issues it finds, so that all of them are told at once, each with the place
of the key that is at fault.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import attrs

from hephaes_rpc.engine.specs.feature_rules import (
    DECISIVE,
    FRACTIONS,
    column_issues,
    computation_issues,
    expectation_issues,
    feature_issues,
    judging_issues,
    label_issues,
    shift_issues,
    split_issues,
    wrong_name,
)
from hephaes_rpc.engine.specs.gates import GateError, parse_gate
from hephaes_rpc.engine.specs.issues import no_effect, shown_free, spec_error, told, unknown
from hephaes_rpc.engine.specs.message_sources import topics_named
from hephaes_rpc.engine.specs.source_rules import OF_A_MESSAGE
from hephaes_rpc.engine.specs.spec import (
    ConversionSpec,
    FeatureSource,
    Input,
    Join,
    MetadataSource,
    ParquetOutput,
    PerMessageRows,
    Placeholder,
    ResampleRows,
    Split,
    TFRecordOutput,
    TriggerRows,
    Validation,
    leaves,
    parse_template,
)
from hephaes_rpc.errors import SpecError
from hephaes_rpc.serde import Issue, Path, closest, shown


def check_spec(spec: ConversionSpec) -> None:
    """Raise SpecError with every issue of a spec that contradicts itself, whatever the log."""
    if issues := spec_issues(spec):
        raise spec_error(issues)


def spec_issues(spec: ConversionSpec) -> list[Issue]:
    """Everything that is wrong with a spec, whatever the log."""
    found = [*_shape(spec), *_input(spec), *_output(spec)]
    if spec.mapping is not None:
        found += _mapping(spec.mapping)
    found += _strategy(spec)
    for name, feature in spec.features.items():
        found += feature_issues(("features", name), name, feature)
    found += computation_issues(spec)
    if spec.labels is not None:
        found += label_issues(spec.labels, spec.features)
    if spec.split is not None:
        found += split_issues(spec.split, spec.features)
    found += expectation_issues(spec.validation, spec.features)
    found += judging_issues(spec.validation, spec.features)
    if spec.row_strategy is not None and spec.features:
        found += _topics(spec)
        found += column_issues(spec)
        found += shift_issues(spec)
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
            yield unknown(path, f"decoding.topics: the spec does not use the topic {topic!r}", topic, used)
        elif decoding.type_hint is None and decoding.on_failure is None:
            yield no_effect(path, decoding, f"decoding.topics: {topic!r} says nothing", "type_hint or on_failure")


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
        if (why := wrong_name(name)) is not None:
            yield Issue(path, f"mapping {why}", "another name", shown(name))
        if not topics:
            yield Issue(path, f"mapping field {name!r} must list at least one topic", "topics", "list of 0")
        for k, topic in enumerate(topics):
            if not topic.strip():
                message = f"mapping field {name!r} must list at least one topic, and no empty one"
                yield Issue((*path, k), message, "name of a topic", shown(topic))


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
            yield unknown(("row_strategy", "anchor_topic"), message, anchor, strategy.topics)


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
    if not join.required and join.missing in DECISIVE:
        message = f"{what}: required false has no effect with missing {join.missing!r}, which {DECISIVE[join.missing]}"
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
                yield unknown((*at, "topic"), message, topic, known)
    if isinstance(spec.row_strategy, TriggerRows) and not lists_topics:
        yield from _idle_joins(spec.row_strategy.joins, used)


def _idle_joins(joins: Iterable[Join], used: set[str]) -> Iterator[Issue]:
    for k, join in enumerate(joins):
        if join.topic not in used and not join.required and not join.age_column and join.missing not in DECISIVE:
            yield no_effect(
                ("row_strategy", "joins", k),
                join,
                f"join of {join.topic!r} has no effect: no feature takes the topic and no row depends on it",
            )


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
    errors = [told(Issue(path, message, expected, shown(topic), guess)) for path in places]
    return SpecError(message, errors=errors, topic=topic)


def excluded_by(wanted: Input, topic: str) -> str | None:
    """Why ``input`` leaves a topic out, as a sentence's end (``is left out by ...``), or None."""
    for pattern in wanted.exclude_topics:
        if fnmatchcase(topic, pattern):
            return f"is left out by input.exclude_topics {pattern!r}"
    if wanted.include_topics and not any(fnmatchcase(topic, pattern) for pattern in wanted.include_topics):
        return "is not among input.include_topics"
    return None
