"""Rows of features on their way: put together for evaluation, then checked, counted, dealt to files, told of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import asdict, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.datasets import partition as parting
from hephaes_rpc.engine.datasets.files import FilePlan, Opened
from hephaes_rpc.engine.datasets.intake import Intake
from hephaes_rpc.engine.datasets.validation import LabelSummary, Preview, Validator
from hephaes_rpc.engine.features.compiled import CompiledFeature, Evaluation, FeatureBatch, FeatureCounts, FeatureSet
from hephaes_rpc.engine.features.readers import Rows, SourceRows
from hephaes_rpc.engine.lane import Lane
from hephaes_rpc.engine.logs import Stream
from hephaes_rpc.engine.specs.feature_rules import LABEL
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.engine.timeline.assembly import Source
from hephaes_rpc.engine.timeline.clocks import Stamps
from hephaes_rpc.engine.timeline.plan import Int64s
from hephaes_rpc.engine.timeline.rows import RowPlan
from hephaes_rpc.engine.timeline.rowtopics import every_topic
from hephaes_rpc.engine.timeline.window import Bools

Flags = NDArray[np.bool_]


@frozen(eq=False)
class RowTopic:
    """A topic of the rows.

    Args:
        selected: bool per message in file order; None: all.
        clock: Its times on a clock other than the log's.
        publish_time: int64 per message in file order, where a feature asks for it.
    """

    stream: Stream
    selected: Bools | None
    clock: Stamps | None
    publish_time: Int64s | None


@frozen(eq=False)
class PlannedRows:
    """What is known before a payload is read."""

    features: FeatureSet
    topics: Mapping[str, RowTopic]
    rows: RowPlan


class RowMaker:
    """Puts what assembly gives and what the plan knows into the rows that features are evaluated on."""

    def __init__(
        self, intake: Intake, planned: PlannedRows, features: FeatureSet, sources: Mapping[str, Source]
    ) -> None:
        self._plan = planned.rows
        self._position = {name: k for k, name in enumerate(planned.topics)}
        self._names = [name for name in planned.topics if features.needs_all_topics or name in features.needs]
        self._log_time: dict[str, Int64s] = {}
        self._publish_time: dict[str, Int64s] = {}
        for name in self._names:
            need = features.needs.get(name)
            if need is not None and need.log_time:
                self._log_time[name] = sources[name].in_order(intake.log_times(planned.topics[name].stream))
            publish = planned.topics[name].publish_time
            if need is not None and need.publish_time and publish is not None:
                self._publish_time[name] = sources[name].in_order(publish)

    def rows(self, first: int, batch: pa.RecordBatch) -> Rows:
        """Rows from number ``first`` on."""
        last = first + batch.num_rows
        columns = dict(zip(batch.schema.names[1:], batch.columns[1:], strict=True))
        sources = {}
        for name in self._names:
            values = columns.get(name)
            if values is None:
                present = self._plan.present(self._position[name], first, last)
            else:
                present = np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)
            sources[name] = SourceRows(
                present,
                values,
                self._times(self._log_time.get(name), name, first, last),
                self._times(self._publish_time.get(name), name, first, last),
            )
        return Rows(np.asarray(batch.column(0).to_numpy(), np.int64), sources)

    def _times(self, times: Int64s | None, name: str, first: int, last: int) -> Int64s | None:
        """A time per row from one per message."""
        picks = self._plan.table.picks.get(self._position[name])
        if times is None or picks is None:
            return times if times is None else np.zeros(last - first, np.int64)
        window = picks.window(first, last)
        found = np.zeros(last - first, np.int64)
        found[window.rows] = times[window.lo]
        return found


class RowWork:
    """What becomes of evaluated rows: checked, counted, dealt to files."""

    def __init__(
        self,
        spec: ConversionSpec,
        planned: PlannedRows,
        found: parting.Partition,
        writer_of: Mapping[int, int],
        plans: Sequence[FilePlan],
    ) -> None:
        self.spec, self.planned, self.partition = spec, planned, found
        self.rows = 0
        self._schema = plans[0].schema
        self._writers = [writer_of.get(id(plan)) for plan in plans]
        self._dealer = found.dealer()
        self._validator = Validator(spec.validation)
        self._preview = Preview()
        self._label = LabelSummary(spec.labels.primary) if spec.labels is not None else None
        self._counts: Mapping[str, FeatureCounts] = {}
        self._deal: Callable[[int, pa.RecordBatch], None] | None = None

    def deal_to(self, lane: Lane, opened: Opened) -> None:
        """Where batches go."""
        self._deal = lambda number, batch: lane.call(opened.take, number, batch, nbytes=batch.nbytes)

    def columns(self, first: int, rows: Rows, batch: FeatureBatch) -> pa.RecordBatch:
        """The rows of a batch that are kept, as they are written."""
        arrays = [pa.array(rows.timestamp_ns), *batch.columns.values()]
        for join in self.planned.rows.joins.values():
            if join.join.age_column:
                age, known = join.ages(first, first + len(rows))
                arrays.append(pa.array(age, mask=~known))
        found = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        return found if batch.keep.all() else found.filter(pa.array(batch.keep))

    def take(self, first: int, rows: Rows, batch: FeatureBatch, evaluation: Evaluation) -> None:
        """Check, count and deal the rows of a batch."""
        self._counts = evaluation.counts
        found, keep = self.columns(first, rows, batch), batch.keep
        absent = {name: ~present[keep] for name, present in batch.present.items() if name in self.spec.features}
        self._validator.take(
            rows.timestamp_ns[keep],
            batch.bad[keep],
            absent,
            {topic: ~source.present[keep] for topic, source in rows.sources.items()},
            lambda row: self._why(row, found, absent),
        )
        if self._label is not None:
            name = LABEL if LABEL in batch.columns else self._label.primary
            self._label.take(found.column(self._schema.get_field_index(name)))
        if self.spec.validation.preview:
            self._preview.take(found)
        self.rows += found.num_rows
        for file, which in self._dealer.take(found.num_rows):
            writer = self._writers[file]
            if writer is not None and self._deal is not None:
                part = found.slice(which.start, which.stop - which.start) if isinstance(which, slice) else None
                self._deal(writer, found.take(pa.array(which)) if part is None else part)

    def _why(self, row: int, found: pa.RecordBatch, absent: Mapping[str, Flags]) -> tuple[str, str]:
        """A required feature that has no value in a row, and the cause that most of its rows have."""
        for name, feature in self.spec.features.items():
            column = found.column(self._schema.get_field_index(name))
            if feature.required and absent[name][row] and not (feature.presence_flag and column[row].is_valid):
                causes = self._counts[name].causes.most_common(1)
                return name, causes[0][0] if causes else "it is absent"
        raise AssertionError("a bad row lacks a required feature")

    # What is told -----------------------------------------------------------------------------------------------------

    def warnings(self) -> list[str]:
        """What people should know of the features."""
        found = []
        for name, counts in self._counts.items():
            if counts.causes:
                why = "; ".join(f"{cause} ({n})" for cause, n in counts.causes.most_common(3))
                found.append(
                    f"feature {name!r}: {counts.causes.total()} of {counts.rows} rows have no value of their own: {why}"
                )
        if self._validator.bad:
            found.append(f"{self._validator.bad} of {self._validator.checked} records are bad")
        return found

    def totals(self) -> dict[str, int]:
        """Counts of the result."""
        return {
            "dropped_rows": self.planned.rows.candidates - self.rows,
            "filled_values": sum(counts.filled.total() for counts in self._counts.values()),
            "bad_records": self._validator.bad,
        }

    def told(self) -> dict[str, Any]:
        """What manifests say of rows and features."""
        plan, split = self.planned.rows, self.spec.split
        counts = self.partition.split_counts
        if split is not None and split.strategy != "none":
            counts = dict.fromkeys(parting.PARTS, 0) | counts
        told: dict[str, Any] = {
            "features": {feature.name: self._feature(feature) for feature in self.planned.features.features},
            "joins": {
                topic: {
                    "dropped_rows": join.dropped,
                    "absent_rows": join.absent,
                    "filled_rows": join.substituted,
                    "forward_filled_rows": join.forward_filled,
                }
                for topic, join in plan.joins.items()
            },
            "candidate_rows": plan.candidates,
            "dropped_rows": plan.candidates - self.rows,
            "split_counts": counts,
            "preflight": self.preflight(),
        }
        return told | ({"preview": self._preview.rows} if self.spec.validation.preview else {})

    def preflight(self) -> dict[str, Any]:
        """What was found by checking records."""
        found = self._validator.summary()
        return found if self._label is None else found | {"label_summary": self._label.summary()}

    def _feature(self, feature: CompiledFeature) -> dict[str, Any]:
        """What the manifest says of a feature: what it is, and what became of its values."""
        spec = self.spec.features[feature.name]
        counts = self._counts.get(feature.name, FeatureCounts())
        return {
            "topics": list(dict.fromkeys([*feature.reader.topics, *every_topic([spec.source])])),
            "type": str(feature.type),
            "dtype": spec.dtype,
            "shape": list(feature.shape),
            "required": spec.required,
            "missing": spec.missing,
            "presence_flag": spec.presence_flag,
            "shift": spec.shift,
            "description": spec.description,
            "encoded_image": feature.encoded_image,
            **{name: dict(value) if isinstance(value, Mapping) else value for name, value in asdict(counts).items()},
        }
