"""The rules of sources of features that need no log; ``rules`` has those of everything else."""

from collections.abc import Iterator

from hephaes_rpc.engine.specs.issues import no_effect
from hephaes_rpc.engine.specs.message_sources import PointsSource, ScanSource, TfSource
from hephaes_rpc.engine.specs.spec import FeatureSource, MetadataSource
from hephaes_rpc.serde import Issue, Path, shown

OF_A_MESSAGE = ("log_time_ns", "publish_time_ns", "header_stamp_ns", "topic")
NEVER_ABSENT = ("timestamp_ns", "source_file", "episode_id", "present_topics")


def source_issues(path: Path, what: str, source: FeatureSource) -> Iterator[Issue]:
    """What is wrong with a source and those inside it, whatever the log."""
    match source:
        case PointsSource():
            yield from _points(path, what, source)
        case ScanSource():
            yield from _scan(path, what, source)
        case TfSource():
            yield from _tf(path, what, source)
        case MetadataSource():
            yield from _metadata(path, what, source)
    parts = getattr(source, "sources", None)
    if parts is None:
        return
    if not parts:
        yield Issue((*path, "sources"), f"{what}: {source.kind} has no sources", "at least one source", "list of 0")
    for k, part in enumerate(parts):
        yield from source_issues((*path, "sources", k), what, part)


def _points(path: Path, what: str, source: PointsSource) -> Iterator[Issue]:
    if source.skip_nans and source.dtype == "int64":
        message = f"{what}: skip_nans has no effect on integers"
        yield no_effect((*path, "skip_nans"), True, message, "false")
    if source.skip_nans and source.organized:
        message = f"{what}: the rows of an organized cloud keep all of their points, which skip_nans leaves out"
        yield Issue((*path, "skip_nans"), message, "false, or organized false", "true")


def _scan(path: Path, what: str, source: ScanSource) -> Iterator[Issue]:
    if source.out_of_range in ("nan", "clamp") and not {"range", "x", "y"} & set(source.fields):
        message = f"{what}: out_of_range {source.out_of_range!r} has no effect on {', '.join(source.fields)}"
        yield no_effect((*path, "out_of_range"), source.out_of_range, message, '"keep" or "skip"')


def _tf(path: Path, what: str, source: TfSource) -> Iterator[Issue]:
    if source.target_frame == source.source_frame:
        message = f"{what}: the pose of a frame in itself is the same in every row"
        yield Issue(path, message, "two frames", shown(source.source_frame))
    if not source.topics and not source.static_topics:
        yield Issue(path, f"{what}: tf has no topics", "topics or static_topics", "list of 0")
    for k, topic in enumerate(source.static_topics):
        if topic in source.topics:
            message = f"{what}: the transforms of {topic!r} either always hold or do not"
            yield Issue((*path, "static_topics", k), message, "a topic that is not among topics", shown(topic))


def _metadata(path: Path, what: str, source: MetadataSource) -> Iterator[Issue]:
    if source.topic is not None and source.key not in OF_A_MESSAGE:
        message = f"{what}: metadata {source.key} belongs to no topic"
        yield no_effect((*path, "topic"), source.topic, message)
    if source.default_value is not None and source.key in NEVER_ABSENT:
        message = f"{what}: metadata {source.key} is never absent, its default_value has no effect"
        yield no_effect((*path, "default_value"), source.default_value, message)
