"""The transforms of a log into the trees of frames that features ask for: one pass over the topics of transforms.

Strategy: an assembly gives every message of these topics in bounded memory, whatever part of the log is converted: a
static transform may have been told long before, and a pose needs its neighbours on both sides.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import pyarrow as pa

from hephaes_rpc.engine.datasets.intake import Intake, decoder_of
from hephaes_rpc.engine.features.frames import FrameError, FrameTree, PoseReader, TreeKey, has_transforms, tree_key
from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.message_sources import TF_STATIC_TOPICS, TF_TOPICS, topics_named
from hephaes_rpc.engine.specs.spec import TIMESTAMP
from hephaes_rpc.engine.timeline.assembly import Assembly, TableTask
from hephaes_rpc.engine.timeline.plan import Int64s, topic_table
from hephaes_rpc.errors import LogError
from hephaes_rpc.serde import Issue, closest


class Transforms:
    """The topics of transforms of a set of features, found before anything is read.

    ``stored_bytes`` are those of the chunks that ``read`` has read.
    """

    def __init__(self, readers: Sequence[PoseReader], intake: Intake) -> None:
        """Raise SpecError for a topic that there is not or that has no transforms, LogError for one not decodable."""
        self._readers, self._intake = readers, intake
        self.stored_bytes = 0
        self.trees: dict[TreeKey, FrameTree] = {tree_key(reader.source): reader.tree for reader in readers}
        issues = [issue for reader in readers for issue in self._issues(reader)]
        if issues:
            raise spec_error(issues)
        named = dict.fromkeys(topic for dynamic, static in self.trees for topic in (*dynamic, *static))
        self.streams = [stream for topic in named for stream in self._of(topic)]
        for stream in self.streams:
            if stream.undecodable is not None:
                text = f"topic {stream.topic!r} cannot be decoded: {stream.undecodable}"
                raise LogError("unsupported", text, topic=stream.topic)

    def _of(self, topic: str) -> list[Stream]:
        """The streams of a topic that have transforms, or of which that cannot be told."""
        found = [stream for stream in self._intake.streams if stream.topic == topic]
        fitting = [stream for stream in found if stream.undecodable is None and has_transforms(stream.definition)]
        return fitting or [stream for stream in found if stream.undecodable is not None]

    def _issues(self, reader: PoseReader) -> list[Issue]:
        known = sorted({stream.topic for stream in self._intake.streams})
        named = list(topics_named(reader.source))
        usual = {topic for _, topic in named if topic in (*TF_TOPICS, *TF_STATIC_TOPICS)}
        if any(topic in known or topic not in usual for _, topic in named):
            named = [(place, topic) for place, topic in named if topic in known or topic not in usual]
        found = []
        for place, topic in named:
            at = (*reader.at, *place)
            if topic not in known:
                guess = closest(topic, known)
                hint = f"; did you mean {guess!r}?" if guess else ""
                message = f"{reader.what}: the log has no topic {topic!r}{hint}"
                found.append(Issue(at, message, "one of " + ", ".join(map(repr, known)), repr(topic), guess))
            elif not self._of(topic):
                message = f"{reader.what}: messages of {topic} have no transforms"
                found.append(Issue(at, message, "a topic of tf2_msgs/TFMessage", repr(topic)))
        return found

    def read(self, log: LogReader, row_times: Int64s, told: Callable[[int, int], None]) -> list[str]:
        """Fill the trees.

        Args:
            row_times: int64, ascending, ns: when poses will be asked for.

        Returns:
            What people should know of the transforms.

        Raises:
            SpecError: A frame does not exist, or there is no way from one to the other.
        """
        for tree in self.trees.values():
            tree.row_times = row_times
        decoders = [decoder_of(stream) for stream in self.streams]
        sources = self._intake.sources(self.streams, decoders, [None] * len(decoders), [None] * len(decoders))
        tasks = []
        for k, source in enumerate(sources):
            schema = pa.schema([(TIMESTAMP, pa.int64()), ("message", source.decoder.arrow_type)])
            tasks.append(TableTask(topic_table(k, source.times), schema, (k,), drop_failed=True))
        assembly = Assembly(log, sources, tasks)
        self.stored_bytes = assembly.stored_bytes
        for number, batch in self._intake.batches(sources, assembly, told):
            topic = self.streams[number].topic
            for (dynamic, static), tree in self.trees.items():
                if topic in dynamic or topic in static:
                    tree.add(batch.column(1), static=topic in static)
        self._check()
        ignored = sum((tree.ignored for tree in self.trees.values()), Counter())
        return [f"{count} transforms are ignored: {why}" for why, count in sorted(ignored.items())]

    def _check(self) -> None:
        issues = []
        for reader in self._readers:
            try:
                reader.tree.check(reader.source)
            except FrameError as error:
                got = getattr(reader.source, error.key)
                message = f"{reader.what}: {error}"
                issues.append(Issue((*reader.at, error.key), message, "a frame", repr(got), error.guess))
        if issues:
            raise spec_error(issues)
