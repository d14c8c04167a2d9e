"""What ``decoding`` says of the streams of a log: which type of a topic is meant."""

from collections.abc import Iterable
from typing import TypeVar

from hephaes_rpc.engine.logs.base import message_type
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import Decoding
from hephaes_rpc.engine.timeline.plan import Named
from hephaes_rpc.serde import Issue, closest

N = TypeVar("N", bound=Named)


def hinted(decoding: Decoding, streams: Iterable[N]) -> list[N]:
    """The streams without those that a type hint rules out; SpecError for a hint that none of a topic's types fits."""
    of_topic: dict[str, list[N]] = {}
    for stream in streams:
        of_topic.setdefault(stream.topic, []).append(stream)
    for topic, said in decoding.topics.items():
        if topic not in of_topic or said.type_hint is None:
            continue
        wanted = message_type(said.type_hint)
        fitting = [stream for stream in of_topic[topic] if stream.type_name == wanted]
        if not fitting:
            types = [stream.type_name for stream in of_topic[topic]]
            near = closest(wanted, types)
            hint = f"; did you mean {near!r}?" if near else f"; it has {', '.join(types)}"
            message = f"decoding.topics: topic {topic!r} has no type {said.type_hint!r}{hint}"
            path = ("decoding", "topics", topic, "type_hint")
            raise spec_error([Issue(path, message, "one of " + ", ".join(types), said.type_hint, near)], topic=topic)
        of_topic[topic] = fitting
    return [stream for found in of_topic.values() for stream in found]


def require_known(decoding: Decoding, streams: Iterable[Named]) -> None:
    """SpecError for a topic of ``decoding`` that the log does not have."""
    known = sorted({stream.topic for stream in streams})
    for topic in decoding.topics:
        if topic not in known:
            near = closest(topic, known)
            hint = f"; did you mean {near!r}?" if near else ""
            message = f"decoding.topics: the log has no topic {topic!r}{hint}"
            issue = Issue(("decoding", "topics", topic), message, "one of " + ", ".join(known), topic, near)
            raise spec_error([issue], topic=topic)
