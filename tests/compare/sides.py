"""One case through both engines, and everything that differs between what they wrote."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen
from rosbags.highlevel import AnyReaderError

from hephaes_rpc.engine.pipeline import convert
from hephaes_rpc.engine.specs import document
from hephaes_rpc.engine.specs.spec import ConversionSpec, ParquetOutput, Resample, TFRecordOutput
from hephaes_rpc.engine.task import ConvertTask
from hephaes_rpc.errors import HephaesError
from tests.compare import datasets
from tests.compare.cases import Case
from tests.compare.comparison import UNEXPLAINED, Between, Finding, compare, compare_json
from tests.compare.datasets import Dataset, Topic
from tests.compare.differences import run_reason
from tests.corpus import Context


def ours(case: Case, folder: Path, fmt: str = "") -> Path:
    """The dataset that this engine makes."""
    fmt = fmt or case.format
    if case.spec is not None:
        spec = document.load({**case.spec, "output": {"format": fmt}}).spec
    else:
        output = ParquetOutput() if fmt == "parquet" else TFRecordOutput()
        resample = Resample(**case.resample) if case.resample else None
        spec = ConversionSpec(output=output, mapping=case.mapping, resample=resample)
    task = ConvertTask(
        log_path=str(case.log), spec=spec, output_dir=str(folder), episode_id="episode_0001", stem="ours"
    )
    return Path(convert(task, Context()).outputs[0].path)


@frozen(eq=False)
class Pair:
    """What both made of a case; an error's text where there is no dataset."""

    case: Case
    schema: pa.Schema | None
    theirs: Dataset | str
    mine: Dataset | str
    topics: dict[str, Topic]


def pair(case: Case, answer: dict[str, Any], folder: Path) -> Pair:
    """Run ours in ``folder`` and read what the reference answered."""
    theirs: Dataset | str = answer["error"] or "no dataset"
    topics, schema, mine = {}, None, ""
    with suppress(AnyReaderError):
        topics = datasets.topics_of(case.log)
    try:
        path = ours(case, folder)
        schema = pq.read_schema(path if case.format == "parquet" else ours(case, folder / "typed", "parquet"))
    except Exception as error:  # a crash is told like any other difference
        mine = f"{error.kind if isinstance(error, HephaesError) else type(error).__name__}: {error}"
    else:
        mine = datasets.ours_parquet(path) if case.format == "parquet" else datasets.ours_tfrecord(path, schema)
    if answer["file"] is not None:
        file = Path(answer["file"])
        if case.format == "parquet":
            decoders = {name: topics[selectors[0]].decode for name, selectors in case.mapping.items()}
            theirs = datasets.reference_parquet(file, decoders)
        else:
            theirs = datasets.reference_tfrecord(file, schema) if schema else "a dataset"
    return Pair(case, schema, theirs, mine, topics)


def findings(both: Pair) -> Iterator[Finding]:
    """Where two datasets differ."""
    case, theirs, mine = both.case, both.theirs, both.mine
    if isinstance(theirs, str) or isinstance(mine, str):
        reason = isinstance(theirs, str) and not isinstance(mine, str) and run_reason(theirs)
        yield Finding(reason or UNEXPLAINED, "", theirs, mine)
        return
    if mine.times != theirs.times:
        yield Finding(UNEXPLAINED, "timestamp_ns", theirs.times, mine.times)
        return
    for name, values in mine.fields.items():
        kind = both.schema.field(name).type
        around = _Neighbours(both.topics[case.mapping[name][0]]) if case.interpolated else None
        is_json = case.spec is not None and case.spec["features"][name]["dtype"] == "json"
        for time, reference, value in zip(mine.times, theirs.fields[name], values, strict=True):
            if is_json:
                yield from compare_json(reference, datasets.parsed(value), name)
            else:
                between = around.at(time) if around and value is not None else None
                found = compare(kind, reference, value, between, name)
                yield from map(narrowed, found) if case.format == "tfrecord" else found


def narrowed(finding: Finding) -> Finding:
    """A finding of a TFRecord, explained where the reference has a number in JSON text and we have its float32."""
    theirs, mine = finding.reference, finding.ours
    of_lists = finding.reason == UNEXPLAINED and finding.path.count("[") > 1
    if of_lists and isinstance(theirs, float) and isinstance(mine, float) and float(np.float32(theirs)) == mine:
        return finding._replace(reason="list of lists")
    return finding


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
