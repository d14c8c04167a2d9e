"""The conversion spec: what a dataset is made of, as the caller says it.

Single values are checked here by type and validator; combinations by ``rules.check_spec``; names against a log when a
conversion is planned.  ``document`` reads and writes specs as text and accepts the shorter written forms.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, gt, le, optional

from hephaes_rpc.engine.specs.checks import (
    all_trimmed,
    distinct,
    no_topic,
    not_blank,
    topic_name,
    trimmed,
    trimmed_or_none,
)
from hephaes_rpc.engine.specs.message_sources import KeyframeSource, PointsSource, ScanSource, TfSource
from hephaes_rpc.engine.specs.transform_params import Transform
from hephaes_rpc.engine.specs.values import plain, untagged

TIMESTAMP = "timestamp_ns"
MAX_SHIFT = 4096

Layout: TypeAlias = Literal["wide", "topics"]
ParquetCompression: TypeAlias = Literal["none", "snappy", "gzip", "brotli", "lz4", "zstd"]
TFRecordCompression: TypeAlias = Literal["none", "gzip"]
ResampleMethod: TypeAlias = Literal["downsample", "interpolate"]
FailurePolicy: TypeAlias = Literal["skip", "warn", "fail"]
SyncPolicy: TypeAlias = Literal["nearest", "last-known-before", "exact-within-tolerance"]
Missing: TypeAlias = Literal["default", "zeros", "forward_fill", "drop", "error"]
DType: TypeAlias = Literal["bytes", "int64", "float32", "float64", "bool", "json", "native"]
ComputedDType: TypeAlias = Literal["bytes", "int64", "float32", "float64", "bool"]
MetadataKey: TypeAlias = Literal[
    "timestamp_ns",
    "log_time_ns",
    "publish_time_ns",
    "header_stamp_ns",
    "topic",
    "source_file",
    "episode_id",
    "present_topics",
]
SplitStrategy: TypeAlias = Literal["none", "time", "random", "episode", "group"]

CLOCKS = ("log_time", "publish_time", "header_stamp")
FIELD_CLOCK = "field:"
TEMPLATE_NAMES = ("episode_id", "split", "shard", "shard_index", "num_shards", "extension")
_TEMPLATE_NUMBERS = ("shard", "shard_index", "num_shards")


class Span(NamedTuple):
    """A slice ``[start:stop]`` of a field path, as Python slices."""

    start: int | None
    stop: int | None


Step: TypeAlias = str | int | Span

_STEP = re.compile(
    r"\.?\[(?P<index>-?[0-9]{1,18})\]|\.?\[(?P<start>-?[0-9]{1,18})?:(?P<stop>-?[0-9]{1,18})?\]"
    r"|\.?(?P<number>-?[0-9]{1,18})(?![0-9A-Za-z_])|\.?(?P<name>[A-Za-z_][0-9A-Za-z_]*)"
)


def parse_path(text: str) -> tuple[Step, ...]:
    """``pose.covariance[0:3]`` or ``data.-1`` as member names, indices and spans; raises ValueError."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (text[at] == ".") is not (bool(steps) and text[at] != "["):
            raise ValueError(f"field path {text!r} makes no sense from {text[at:]!r} on")
        if (name := match["name"]) is not None:
            steps.append(name)
        elif (index := match["index"] or match["number"]) is not None:
            steps.append(int(index))
        else:
            steps.append(Span(*(None if end is None else int(end) for end in match.group("start", "stop"))))
        at = match.end()
    if not steps:
        raise ValueError("field path is empty")
    return tuple(steps)


class Placeholder(NamedTuple):
    """``{name}`` of a file name template; numbers are padded with zeros to ``width`` digits."""

    name: str
    width: int


_PLACEHOLDER = re.compile(r"\{(?P<name>\w+)(?::0?(?P<width>[1-9])d?)?\}")


def parse_template(text: str) -> tuple[str | Placeholder, ...]:
    """A file name template as literal text and placeholders; raises ValueError.

    ``{shard}`` and ``{shard_index}`` are the number of the file from 0, ``{num_shards}`` how many there are;
    ``{shard:05}`` is padded to five digits.
    """
    parts: list[str | Placeholder] = []
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        name, width = match["name"], int(match["width"] or 0)
        if name not in TEMPLATE_NAMES:
            raise ValueError(f"has no placeholder {{{name}}}; there are {', '.join(TEMPLATE_NAMES)}")
        if width and name not in _TEMPLATE_NUMBERS:
            raise ValueError(f"gives {{{name}}} a width, which only numbers have")
        parts += [text[at : match.start()], Placeholder(name, width)]
        at = match.end()
    parts.append(text[at:])
    literal = "".join(part for part in parts if isinstance(part, str))
    if "{" in literal or "}" in literal:
        raise ValueError("has a brace that belongs to no placeholder")
    if re.search(r"[/\\\0-\x1f]", literal):
        raise ValueError("must give a plain file name, without separators and control characters")
    if not text.strip() or text.startswith((".", " ")):
        raise ValueError("must give a file name that starts with neither a dot nor a blank")
    return tuple(part for part in parts if part)


def _positive(_instance: object, _attribute: object, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError("must be a number greater than 0")
    step_ns = 1e9 / value
    if not (step_ns < 2**63 and round(step_ns) >= 1):
        raise ValueError("must give a step between 1 ns and 2^63 ns")


def _clock(_instance: object, _attribute: object, value: str) -> None:
    if value.startswith(FIELD_CLOCK):
        parse_path(value.removeprefix(FIELD_CLOCK))
    elif value not in CLOCKS:
        raise ValueError(f"must be one of {', '.join(CLOCKS)} or field:<path>: {value!r}")


def _path(_instance: object, _attribute: object, value: str | None) -> None:
    if value is not None and value.strip():
        parse_path(value.strip())


def _template(_instance: object, _attribute: object, value: str | None) -> None:
    if value is not None:
        try:
            parse_template(value)
        except ValueError as error:
            raise ValueError(f"filename_template {error}") from None


def _clock_field() -> Any:
    return field(default="log_time", converter=trimmed, validator=_clock)


def _count() -> Any:
    return field(default=None, validator=optional(ge(0)))


def _at_least_one() -> Any:
    return field(default=None, validator=optional(ge(1)))


def _fraction() -> Any:
    return field(default=None, validator=optional([ge(0), le(1)]))


@frozen(kw_only=True)
class ParquetOutput:
    """Parquet files.

    Args:
        layout: ``wide`` is one table with a column per field; ``topics`` one file per field with every message.
        row_group_rows: Exact rows per row group; None chooses by bytes.
        payload_encoding: ``typed`` columns (nested Arrow types), or ``json`` text as the reference wrote it.
        shards: Files per split part, at most one per row.
        filename_template: ``parse_template``; None names files by episode, part and shard.
        write_manifest: Manifest and report beside each file; the root's ``write_manifest`` must agree.
    """

    format: Literal["parquet"] = "parquet"
    compression: ParquetCompression = "none"
    layout: Layout = "wide"
    row_group_rows: int | None = _at_least_one()
    payload_encoding: Literal["typed", "json"] = "typed"
    shards: int = field(default=1, validator=ge(1))
    filename_template: str | None = field(default=None, validator=_template)
    write_manifest: bool = True


@frozen(kw_only=True)
class TFRecordOutput:
    """TFRecord files of ``tf.train.Example``.

    Args:
        layout: As for Parquet; so are ``shards``, ``filename_template`` and ``write_manifest``.
        image_payload_contract: ``bytes_v2`` writes image data as one bytes value, ``legacy_list_v1`` as integers.
        float64: Narrowed to ``float32`` (and counted), or kept exactly as little-endian ``bytes``.
        absent_keys: ``write`` puts every key in every record, ``omit`` leaves out the keys of an absent field.
    """

    format: Literal["tfrecord"] = "tfrecord"
    compression: TFRecordCompression = "none"
    layout: Layout = "wide"
    payload_encoding: Literal["typed_features"] = "typed_features"
    null_encoding: Literal["presence_flag"] = "presence_flag"
    image_payload_contract: Literal["bytes_v2", "legacy_list_v1"] = "bytes_v2"
    float64: Literal["float32", "bytes"] = "float32"
    absent_keys: Literal["write", "omit"] = "write"
    shards: int = field(default=1, validator=ge(1))
    filename_template: str | None = field(default=None, validator=_template)
    write_manifest: bool = True


Output: TypeAlias = ParquetOutput | TFRecordOutput


@frozen(kw_only=True)
class Resample:
    """Rows of a mapping on a regular grid."""

    freq_hz: float = field(validator=_positive)
    method: ResampleMethod

    @property
    def step_ns(self) -> int:
        """Distance of two rows, ns."""
        return round(1e9 / self.freq_hz)


@frozen(kw_only=True)
class Schema:
    """The name and version a dataset goes by."""

    name: str = field(default="generic_conversion", validator=not_blank)
    version: int = field(default=1, validator=ge(1))


@frozen(kw_only=True)
class Input:
    """Which logs, and which of their messages.

    Args:
        paths: Files, folders and globs, where the caller does not name the logs.
        recursive: Folders with everything below them.
        include_topics: Shell patterns, case-sensitive; empty takes every topic.
        exclude_topics: Shell patterns; they win.
        start_ns: First log time.
        end_ns: Log time before which messages must lie.
        max_messages: Only the first ones by log time, of all included topics together.
        sample_rate_hz: Per topic only the first message of each bucket of ``1 / sample_rate_hz``.
    """

    paths: list[str] = field(factory=list, converter=all_trimmed)
    recursive: bool = False
    include_topics: list[str] = field(factory=list, converter=all_trimmed)
    exclude_topics: list[str] = field(factory=list, converter=all_trimmed)
    start_ns: int | None = _count()
    end_ns: int | None = _count()
    max_messages: int | None = _at_least_one()
    sample_rate_hz: float | None = field(default=None, validator=optional(_positive))


@frozen(kw_only=True)
class TopicDecoding:
    """How the messages of one topic are decoded.

    Args:
        type_hint: ``pkg/Type`` or ``pkg/msg/Type``: which of the types of the topic is meant.
        on_failure: None takes ``decoding.on_decode_failure``.
    """

    type_hint: str | None = no_topic()
    on_failure: FailurePolicy | None = None


@frozen(kw_only=True)
class Decoding:
    """What becomes of messages that cannot be decoded: counted, told, or the end of the conversion."""

    on_decode_failure: FailurePolicy = "warn"
    topics: dict[str, TopicDecoding] = field(factory=dict)


@frozen(kw_only=True)
class Join:
    """One topic beside the trigger.

    Args:
        tolerance_ns: Largest distance from the row time, either way.
        staleness_ns: Largest age of an earlier message.
        required: Rows without a value are dropped.
        missing: What stands in for a message that is not there.
        default_value: Stands in with ``missing`` ``default``.
        clock: ``log_time``, ``publish_time``, ``header_stamp`` or ``field:<path>``.
        no_future: Only messages at or before the row time.
        age_column: A column with row time minus source time, ns.
    """

    topic: str = topic_name()
    sync_policy: SyncPolicy = "last-known-before"
    tolerance_ns: int | None = _count()
    staleness_ns: int | None = _count()
    required: bool = True
    missing: Missing = "default"
    default_value: Any = field(default=None, converter=untagged, validator=plain)
    clock: str = _clock_field()
    no_future: bool = False
    age_column: bool = False


@frozen(kw_only=True)
class TriggerRows:
    """A row per message of the trigger topic, other topics joined to it."""

    kind: Literal["trigger"] = "trigger"
    trigger_topic: str = topic_name()
    joins: list[Join] = field(factory=list)
    clock: str = _clock_field()


@frozen(kw_only=True)
class PerMessageRows:
    """A row per message of one topic."""

    kind: Literal["per-message"] = "per-message"
    topic: str = topic_name()
    clock: str = _clock_field()


@frozen(kw_only=True)
class ResampleRows:
    """Rows on a regular grid.

    Args:
        topics: Empty takes the topics of features and labels.
        anchor_topic: Its first and last message bound the grid; None takes all topics.
        skip_empty: No row where no topic has a value.
    """

    kind: Literal["resample"] = "resample"
    freq_hz: float = field(validator=_positive)
    method: ResampleMethod
    topics: list[str] = field(factory=list, converter=distinct)
    anchor_topic: str | None = no_topic()
    skip_empty: bool = False
    clock: str = _clock_field()

    @property
    def step_ns(self) -> int:
        """Distance of two rows, ns."""
        return round(1e9 / self.freq_hz)


RowStrategy: TypeAlias = TriggerRows | PerMessageRows | ResampleRows


def age_column(topic: str) -> str:
    """Name of the column with row time minus the time of the topic's message."""
    return f"{re.sub(r'[^0-9a-z]+', '_', topic.lower()).strip('_') or 'topic'}__age_ns"


@frozen(kw_only=True)
class PathSource:
    """A field of a message; ``field_path`` None is the whole message."""

    kind: Literal["path"] = "path"
    topic: str = topic_name()
    field_path: str | None = field(default=None, converter=trimmed_or_none, validator=_path)


@frozen(kw_only=True)
class ConstantSource:
    """The same value in every row."""

    kind: Literal["constant"] = "constant"
    value: Any = field(converter=untagged, validator=plain)
    description: str | None = None


@frozen(kw_only=True)
class MetadataSource:
    """Something known about the row.

    Args:
        topic: Whose message is meant by the keys that belong to one; None is that of the trigger or per-message topic.
        default_value: Stands in where there is nothing.
    """

    kind: Literal["metadata"] = "metadata"
    key: MetadataKey
    topic: str | None = no_topic()
    default_value: Any = field(default=None, converter=untagged, validator=plain)


@frozen(kw_only=True)
class ConcatSource:
    """Values joined along an axis."""

    kind: Literal["concat"] = "concat"
    sources: list["FeatureSource"]
    axis: int = 0


@frozen(kw_only=True)
class StackSource:
    """Values of one shape put beside each other along a new axis."""

    kind: Literal["stack"] = "stack"
    sources: list["FeatureSource"]
    axis: int = 0


LeafSource: TypeAlias = (
    PathSource | ConstantSource | MetadataSource | PointsSource | TfSource | KeyframeSource | ScanSource
)
FeatureSource: TypeAlias = (
    PathSource
    | ConstantSource
    | MetadataSource
    | ConcatSource
    | StackSource
    | PointsSource
    | TfSource
    | KeyframeSource
    | ScanSource
)


def leaves(source: FeatureSource, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], LeafSource]]:
    """The sources that a source is made of, each with its place below ``at``."""
    if isinstance(source, ConcatSource | StackSource):
        for k, part in enumerate(source.sources):
            yield from leaves(part, (*at, "sources", k))
    else:
        yield at, source


@frozen(kw_only=True)
class Feature:
    """One column.

    Args:
        dtype: ``native`` is the message's own type.
        shape: Length per dimension, -1 for any; ``[]`` is a scalar; None checks nothing.
        required: A row without a value is a bad record.
        missing: What stands in for a value that is not there.
        transforms: Applied in order.
        presence_flag: Tell absent values apart; without it they are written as zeros.
        shift: The value of the row so many later, counted before features drop any; the last rows have none.
    """

    source: FeatureSource
    dtype: DType = "json"
    shape: list[int] | None = None
    required: bool = False
    missing: Missing = "default"
    transforms: list[Transform] = field(factory=list)
    description: str | None = None
    presence_flag: bool = True
    shift: int = field(default=0, validator=[ge(0), le(MAX_SHIFT)])


@frozen(kw_only=True)
class ComputedColumn:
    """A column that a function of the user's makes; it has a value in every row.

    Args:
        shape: Length per dimension, -1 for any; ``[]`` is a scalar.
    """

    dtype: ComputedDType
    shape: list[int] = field(factory=list)
    description: str | None = None


@frozen(kw_only=True)
class Computation:
    """Columns made by a Python function that gets record batches of other columns, in a process of its own.

    Args:
        file: Script below the folder of enabled scripts, with slashes.
        function: Takes one ``pyarrow.RecordBatch``, gives a mapping of columns.
        inputs: Features, ``timestamp_ns`` or outputs of computations before it.
        outputs: What the function owes.
        time_limit_s: Of one call, seconds.
        memory_limit_mb: Of the script, beyond what its process has without it.
    """

    file: str = field(converter=trimmed, validator=not_blank)
    function: str = field(default="compute", converter=trimmed, validator=not_blank)
    inputs: list[str] = field(converter=all_trimmed)
    outputs: dict[str, ComputedColumn]
    time_limit_s: float = field(default=30.0, validator=[gt(0), le(3600)])
    memory_limit_mb: int = field(default=1024, validator=[ge(1), le(1 << 20)])


@frozen(kw_only=True)
class Labels:
    """What is to be learnt.

    Args:
        primary: A feature.
        source: Where it comes from when no feature has it.
        class_map: Values, as text, to class numbers.
        multi_label: A value is a list of classes.
        transforms: Of ``source``.
    """

    primary: str | None = None
    source: FeatureSource | None = None
    class_map: dict[str, int] = field(factory=dict)
    multi_label: bool = False
    transforms: list[Transform] = field(factory=list)


@frozen(kw_only=True)
class Split:
    """Rows parted into train, val and test.

    Args:
        seed: Of strategies random, episode and group; None is 0.
        group_by: Feature whose value keeps rows together, for strategy group.
    """

    strategy: SplitStrategy = "none"
    train_fraction: float | None = _fraction()
    val_fraction: float | None = _fraction()
    test_fraction: float | None = _fraction()
    seed: int | None = None
    group_by: str | None = None


@frozen(kw_only=True)
class Validation:
    """When a conversion gives up.

    Args:
        sample_n: Leading rows that are checked; None is all.
        fail_fast: The first bad record ends it.
        bad_record_budget: More bad records end it; None is never.
        expected_features: Must all be features.
        preview: The first rows in the report.
    """

    sample_n: int | None = _at_least_one()
    fail_fast: bool = False
    bad_record_budget: int | None = _count()
    expected_features: list[str] = field(factory=list, converter=all_trimmed)
    preview: bool = False


@frozen(kw_only=True)
class DraftOrigin:
    """Where the spec comes from; told in the manifest."""

    kind: Literal["manual", "inspection", "template", "legacy"] = "manual"
    source_topics: list[str] = field(factory=list, converter=all_trimmed)
    provenance: dict[str, Any] = field(factory=dict, converter=untagged, validator=plain)
    assumptions: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)


@frozen(kw_only=True)
class ConversionSpec:
    """One conversion: of whole messages by ``mapping``, or of rows with features by ``row_strategy``.

    Args:
        row_strategy: None converts whole messages.
        features: Columns in their order; needed by and only allowed with ``row_strategy``.
        computations: Columns that scripts make of features, behind them; in this order.
        mapping: Field -> topics in priority order, the first one present in the log is used (``plan.selectors`` says
            how a topic with several types is named); None takes every decodable topic (``plan.auto_mapping``).
        resample: Of a mapping; None keeps the messages' own times.
        quality: Gates (``specs.gates``), such as ``camera >= 28 Hz, gap < 200 ms``: a log that fails one is not
            converted.
    """

    schema: Schema = field(factory=Schema)
    input: Input = field(factory=Input)
    decoding: Decoding = field(factory=Decoding)
    row_strategy: RowStrategy | None = None
    features: dict[str, Feature] = field(factory=dict)
    computations: list[Computation] = field(factory=list)
    labels: Labels | None = None
    split: Split | None = None
    validation: Validation = field(factory=Validation)
    draft_origin: DraftOrigin | None = None
    mapping: dict[str, list[str]] | None = None
    resample: Resample | None = None
    quality: list[str] = field(factory=list, converter=all_trimmed)
    output: Output = field(factory=TFRecordOutput)
    write_manifest: bool = True

    @property
    def has_manifest(self) -> bool:
        """Whether manifests and reports are written."""
        return self.write_manifest and self.output.write_manifest
