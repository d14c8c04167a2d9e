"""What authoring is asked for and what it tells: plain classes that travel; the work is in other modules."""

from typing import Any, Literal, TypeAlias, get_args

from attrs import field, frozen
from attrs.validators import ge, min_len, optional

from hephaes_rpc.engine.specs.spec import FailurePolicy

Kind: TypeAlias = Literal["scalar", "sequence", "struct", "bytes", "image", "unknown"]
Template: TypeAlias = Literal["imitation-learning", "time-series", "detection"]
TEMPLATES: tuple[Template, ...] = get_args(Template)


def _trimmed(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names))


def _trimmed_hints(hints: dict[str, str]) -> dict[str, str]:
    return {topic.strip(): type_name.strip() for topic, type_name in hints.items()}


def _not_blank(_instance: object, attribute: Any, value: list[str] | dict[str, str]) -> None:
    names = [*value, *value.values()] if isinstance(value, dict) else value
    if not all(name.strip() for name in names):
        raise ValueError(f"'{attribute.name}' must not hold a blank name")


@frozen(kw_only=True)
class InspectRequest:
    """What is to be looked at.

    Args:
        topics: None of them is all; blanks around names do not count.
        sample_n: Messages shown per topic.
        max_depth: Names that the path of a candidate may have; what lies deeper is one candidate.
        max_sequence_items: Elements shown of a list.
        on_failure: ``fail`` ends the inspection at a message that cannot be decoded.
        topic_type_hints: Which of the types of a topic is meant.
        thumbnails: A small PNG of each image topic.
    """

    topics: list[str] = field(factory=list, converter=_trimmed, validator=_not_blank)
    sample_n: int = field(default=8, validator=ge(1))
    max_depth: int = field(default=4, validator=ge(0))
    max_sequence_items: int = field(default=4, validator=ge(1))
    on_failure: FailurePolicy = "warn"
    topic_type_hints: dict[str, str] = field(factory=dict, converter=_trimmed_hints, validator=_not_blank)
    thumbnails: bool = False


@frozen(kw_only=True)
class SampledMessage:
    """The top of a message; ``timestamp`` is its log time, ns."""

    timestamp: int
    timestamp_str: str
    payload: Any


@frozen(kw_only=True)
class Statistics:
    """Of the elements of all messages measured.

    Args:
        count: Elements.
        min, max, mean: Of finite numbers (times in ns); null where there is none.
        nan_count, infinite_count: Of floats.
        distinct: Different values, counted up to 65,536 elements.
        length_min, length_max: Elements per message, or bytes, or characters.
        series: One number per message of a scalar, in order of ``measured_times_ns``; for a sparkline.
    """

    count: int
    min: Any = None
    max: Any = None
    mean: float | None = None
    nan_count: int = 0
    infinite_count: int = 0
    distinct: int | None = None
    length_min: int | None = None
    length_max: int | None = None
    series: Any = None


@frozen(kw_only=True)
class ImageFacts:
    """What the sampled messages say about their images.

    Args:
        encoding: Pixel encoding, or the format of a compressed image.
        file_format: ``png`` or ``jpeg`` where the data are such a file, ``h264`` or ``h265`` where they are such video.
        varies: Whether size or encoding differ between messages.
        can_encode: Whether it can be written as PNG as it is.
        thumbnail_png: Asked for by ``thumbnails``.
    """

    width: int | None
    height: int | None
    encoding: str
    file_format: str | None
    varies: bool
    can_encode: bool
    thumbnail_png: Any = None


@frozen(kw_only=True)
class PointFacts:
    """What the sampled messages say about their points.

    Args:
        fields: Name to type (``float32``, ``uint16[3]``) of the fields that all of them have alike.
        height, width: Of the first one with points; null where none has any.
        varies: Whether the number of points differs between messages.
    """

    fields: dict[str, str]
    height: int | None
    width: int | None
    varies: bool


@frozen(kw_only=True)
class FieldCandidate:
    """A field that can become a feature.

    Args:
        path: As in a path source.
        type: As the definition has it.
        nullable: Whether some sampled message gives no value here.
        candidate_dtypes: The best first.
        shape_hint: -1 is any length; null for a single value.
        confidence: 1, less where lengths vary (0.85) or nothing was sampled (0.5).
        is_header: Part of a std_msgs/Header.
    """

    path: str
    type: str
    kind: Kind
    examples: list[Any]
    nullable: bool
    candidate_dtypes: list[str]
    shape_hint: list[int] | None
    variable_length: bool
    image_like: bool
    confidence: float
    is_header: bool
    warnings: list[str]
    statistics: Statistics | None = None
    image: ImageFacts | None = None
    points: PointFacts | None = None


@frozen(kw_only=True)
class Gap:
    """A long time without a message."""

    start_ns: int
    duration_s: float


@frozen(kw_only=True)
class Spread:
    """Least, middle and greatest of a duration, s."""

    min_s: float
    median_s: float
    max_s: float


@frozen(kw_only=True)
class TopicInspection:
    """One topic.

    Args:
        message_type: Null for a topic that the log does not have.
        sampled_message_count: Messages in ``sample_payloads``; ``measured_message_count`` those behind statistics.
        rate_hz: (messages - 1) / (last - first).
        jitter_s: Standard deviation of the time between messages.
        gaps: The longest times without a message, of those longer than five times the usual one.
        activity: Messages in each of 48 equal parts of the log.
        header_offset: Log time minus header stamp.
        decode_failures: Of the messages sampled, why and how many.
        undecodable: Why no message can be decoded.
    """

    topic: str
    message_type: str | None
    message_count: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    rate_hz: float = 0.0
    interval_s: float | None = None
    jitter_s: float | None = None
    max_gap_s: float | None = None
    gaps: list[Gap] = field(factory=list)
    out_of_order: int = 0
    activity: list[int] = field(factory=list)
    header_offset: Spread | None = None
    frame_ids: list[str] = field(factory=list)
    decode_failures: dict[str, int] = field(factory=dict)
    undecodable: str | None = None
    sampled_message_count: int = 0
    measured_message_count: int = 0
    measured_times_ns: list[int] = field(factory=list)
    sample_timestamps: list[int] = field(factory=list)
    sample_timestamps_str: list[str] = field(factory=list)
    sample_payloads: list[SampledMessage] = field(factory=list)
    top_level_summary: dict[str, Any] = field(factory=dict)
    field_candidates: dict[str, FieldCandidate] = field(factory=dict)
    warnings: list[str] = field(factory=list)


@frozen(kw_only=True)
class Inspection:
    """A log, field by field; ``warnings`` has one for every topic without candidates."""

    bag_path: str | None
    ros_version: str | None
    sample_n: int
    start_ns: int | None
    end_ns: int | None
    message_count: int
    topics: dict[str, TopicInspection]
    warnings: list[str]


@frozen(kw_only=True)
class DraftRequest:
    """What kind of dataset is wanted.

    Args:
        trigger_topic: Whose messages make the rows; None chooses.
        selected_topics: None of them is all.
        join_topics: Beside the trigger; none of them is all that are selected.
        max_features_per_topic: The best ones; vectors count once.
        label_feature: Name of a drafted feature that is to be learnt.
        include_preview: Preview ``preview_rows`` rows.
        template: What the dataset is for.
        action_topic: Of template ``imitation-learning``; None takes one that looks like commands, else the next state.
        next_state: Of template ``imitation-learning``: the action is ``observation.state`` of the next row.
    """

    trigger_topic: str | None = None
    selected_topics: list[str] = field(factory=list)
    join_topics: list[str] = field(factory=list)
    schema_name: str = field(default="draft_conversion", validator=min_len(1))
    schema_version: int = field(default=1, validator=ge(1))
    output_format: Literal["parquet", "tfrecord"] = "tfrecord"
    output_compression: str = "none"
    max_features_per_topic: int = field(default=2, validator=ge(1))
    label_feature: str | None = None
    include_preview: bool = True
    preview_rows: int = field(default=5, validator=ge(1))
    template: Template | None = None
    action_topic: str | None = None
    next_state: bool = False


@frozen(kw_only=True)
class PreviewRequest:
    """Which rows; of ``start_row``, ``offset_s`` and ``start_ns`` at most one.

    Args:
        sample_n: How many.
        start_row: Number of the first row, counted before features drop any.
        offset_s: Seconds after the first row, from which on rows are shown.
        start_ns: Row time from which on rows are shown.
        topic_type_hints: In the place of those of the spec.
    """

    sample_n: int = field(default=5, validator=ge(1))
    start_row: int | None = field(default=None, validator=optional(ge(0)))
    offset_s: float | None = field(default=None, validator=optional(ge(0)))
    start_ns: int | None = None
    topic_type_hints: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class PreviewRow:
    """A row; values that are long are told by their beginning and size, presence is 1 for the log's own values."""

    timestamp_ns: int
    field_data: dict[str, Any]
    presence_data: dict[str, int]


@frozen(kw_only=True)
class Estimate:
    """What the whole conversion will come to.

    Args:
        rows: ``rows_exact`` unless what is in the messages decides over rows, then at most these.
        size_bytes: Of the dataset files, by the size of the rows shown.
        read_bytes: Stored bytes of the chunks to be read.
        seconds: By what the rows shown took; null where there are none.
    """

    rows: int
    rows_exact: bool
    size_bytes: int
    read_bytes: int
    seconds: float | None


@frozen(kw_only=True)
class Encoding:
    """What the writer made of the rows: ``error`` is why it refuses them; ``counts`` what it changed, by column."""

    format: str
    size_bytes: int
    counts: dict[str, dict[str, int]]
    error: str | None


@frozen(kw_only=True)
class PreviewResult:
    """Rows and what is to be known of them.

    Args:
        columns: Name to type, as written.
        first_row: Number of the first row shown.
        dropped_count: Candidates that joins dropped in the whole log, and rows that features dropped in the window.
        checked_records, bad_records: Of the rows shown.
        preflight_ok: No bad record, and the writer takes the rows.
    """

    columns: dict[str, str]
    first_row: int
    rows: list[PreviewRow]
    dropped_count: int
    checked_records: int
    bad_records: int
    missing_feature_counts: dict[str, int]
    missing_feature_rates: dict[str, float]
    missing_topic_counts: dict[str, int]
    missing_topic_rates: dict[str, float]
    label_summary: dict[str, Any] | None
    encoding: Encoding
    estimate: Estimate
    warnings: list[str]
    preflight_ok: bool


@frozen(kw_only=True)
class DraftResult:
    """A drafted spec, what was thought about it, and its first rows.

    Args:
        spec: The spec as a document has it.
        templates: Those that can be drafted for the log.
        preview_ready: A preview has rows.
    """

    request: DraftRequest
    spec: dict[str, Any]
    selected_topics: list[str]
    trigger_topic: str | None
    join_topics: list[str]
    warnings: list[str]
    assumptions: list[str]
    unresolved_fields: list[str]
    names: dict[str, list[str]]
    templates: list[Template] = field(factory=list)
    preview: PreviewResult | None = None
    preview_ready: bool = False
