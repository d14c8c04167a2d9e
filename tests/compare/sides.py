"""One case through both engines, and everything that differs between what they wrote."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from hephaes_rpc.engine.spec import Output, ParquetOutput, Resample, TFRecordOutput
from tests import corpus
from tests.compare import datasets
from tests.compare.cases import Case
from tests.compare.comparison import UNEXPLAINED, Between, Finding, compare
from tests.compare.datasets import Topic


def ours(case: Case, folder: Path, output: Output | None = None) -> Path:
    """The dataset that this engine makes."""
    output = output or (ParquetOutput() if case.format == "parquet" else TFRecordOutput())
    resample = Resample(**case.resample) if case.resample else None
    return Path(corpus.run(case.log, folder, output, mapping=case.mapping, resample=resample).outputs[0].path)


def findings(case: Case, reference: Path, folder: Path) -> Iterator[Finding]:
    """Where our dataset, made in ``folder``, and that of the reference differ."""
    path = ours(case, folder)
    topics = datasets.topics_of(case.log)
    of_field = {name: topics[selectors[0]] for name, selectors in case.mapping.items()}
    if case.format == "parquet":
        schema = pq.read_schema(path)
        mine = datasets.ours_parquet(path)
        theirs = datasets.reference_parquet(reference, {name: topic.decode for name, topic in of_field.items()})
    else:
        schema = pq.read_schema(ours(case, folder / "typed", ParquetOutput()))
        mine = datasets.ours_tfrecord(path, schema)
        theirs = datasets.reference_tfrecord(reference, schema)
    if mine.times != theirs.times:
        yield Finding(UNEXPLAINED, "timestamp_ns", theirs.times, mine.times)
        return
    for name, topic in of_field.items():
        kind = schema.field(name).type
        around = _Neighbours(topic) if case.interpolated else None
        for time, reference_value, our_value in zip(mine.times, theirs.fields[name], mine.fields[name], strict=True):
            between = around.at(time) if around and our_value is not None else None
            yield from compare(kind, reference_value, our_value, between, name)


class _Neighbours:
    """The messages of a topic on both sides of any time."""

    def __init__(self, topic: Topic) -> None:
        order = sorted(range(len(topic.times)), key=topic.times.__getitem__)
        self._times = [topic.times[k] for k in order]
        self._values = [topic.values[k] for k in order]

    def at(self, time: int) -> Between | None:
        """Those around ``time``; None where a message was recorded just then."""
        lo = bisect_right(self._times, time) - 1
        if self._times[lo] == time:
            return None
        start, end = self._times[lo], self._times[lo + 1]
        hi = bisect_right(self._times, end) - 1
        return Between(self._values[lo], self._values[hi], (time - start) / (end - start), hi > lo + 1)
