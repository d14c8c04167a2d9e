"""Which topics the rows of a spec are made of."""

from collections.abc import Iterable

from hephaes_rpc.engine.specs.message_sources import topics_named
from hephaes_rpc.engine.specs.spec import (
    ConversionSpec,
    FeatureSource,
    PerMessageRows,
    ResampleRows,
    TriggerRows,
    leaves,
)
from hephaes_rpc.serde import Path


def row_clocks(spec: ConversionSpec) -> dict[str, str]:
    """The topics that rows are made of, in order, and the clock of each."""
    match spec.row_strategy:
        case TriggerRows(trigger_topic=topic, joins=joins, clock=clock):
            return {topic: clock, **{join.topic: join.clock for join in joins}}
        case PerMessageRows(topic=topic, clock=clock):
            return {topic: clock}
        case ResampleRows(topics=topics, anchor_topic=anchor, clock=clock):
            named = topics or [*_feature_topics(spec), *([anchor] if anchor is not None else [])]
            return dict.fromkeys(named, clock)
    return {}


def clock_place(spec: ConversionSpec, topic: str) -> Path:
    """Where a spec names the clock of a topic that rows are made of."""
    if isinstance(spec.row_strategy, TriggerRows):
        for k, join in enumerate(spec.row_strategy.joins):
            if join.topic == topic:
                return ("row_strategy", "joins", k, "clock")
    return ("row_strategy", "clock")


def _feature_topics(spec: ConversionSpec) -> list[str]:
    """Topics that features and labels name, in order."""
    sources = [feature.source for feature in spec.features.values()]
    if spec.labels is not None and spec.labels.source is not None:
        sources.append(spec.labels.source)
    return named_topics(sources)


def named_topics(sources: Iterable[FeatureSource]) -> list[str]:
    """Topics that sources name and take the message of the row from, each once, in order."""
    found = [leaf for source in sources for _, leaf in leaves(source)]
    return list(dict.fromkeys(topic for leaf in found if (topic := getattr(leaf, "topic", None)) is not None))


def every_topic(sources: Iterable[FeatureSource]) -> list[str]:
    """Topics that sources name, those of transforms included, each once, in order."""
    found = [leaf for source in sources for _, leaf in leaves(source)]
    return list(dict.fromkeys(topic for leaf in found for _, topic in topics_named(leaf)))


def main_topic(spec: ConversionSpec) -> str | None:
    """The topic whose messages make the rows; None for resampled rows."""
    match spec.row_strategy:
        case TriggerRows(trigger_topic=topic) | PerMessageRows(topic=topic):
            return topic
    return None
