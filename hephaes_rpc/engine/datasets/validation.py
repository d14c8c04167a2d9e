"""Bad records: how many of them a conversion bears, and what is told of them.

A record is bad where a required feature has no value and nothing stands in for it.  Only the first ``sample_n`` rows
are checked; absent values of every feature and topic are counted over the same rows.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.specs.spec import Validation
from hephaes_rpc.engine.timeline.plan import Int64s
from hephaes_rpc.errors import HephaesError

Flags = NDArray[np.bool_]

PREVIEW_ROWS = 5
MAX_TEXT = 200
MAX_ITEMS = 16
MAX_BAD_TOLD = 5


@frozen
class BadRecord:
    """A record that is bad."""

    row_time_ns: int
    feature: str
    cause: str


@define(eq=False)
class Validator:
    """Checks the rows of a conversion in their order.

    Args:
        checked: Rows checked so far; ``bad`` of them are bad, the first ones are in ``first_bad``.
        missing_features: Checked rows without a value, by feature.
        missing_topics: Checked rows without a message, by topic.
    """

    validation: Validation
    checked: int = 0
    bad: int = 0
    first_bad: list[BadRecord] = field(factory=list)
    missing_features: dict[str, int] = field(factory=dict)
    missing_topics: dict[str, int] = field(factory=dict)

    def take(
        self,
        times: Int64s,
        bad: Flags,
        absent: Mapping[str, Flags],
        topics: Mapping[str, Flags],
        why: Callable[[int], tuple[str, str]],
    ) -> None:
        """Check the next rows; HephaesError when there are more bad ones than the conversion bears.

        Args:
            times: int64 per row, ns.
            bad: The bad rows.
            absent: By feature, the rows in which it has no value of its own.
            topics: By topic, the rows without a message of it.
            why: The feature that makes a row bad, and the cause.
        """
        limit = self.validation.sample_n
        n = len(times) if limit is None else min(len(times), limit - self.checked)
        if n <= 0:
            return
        for counts, found in ((self.missing_features, absent), (self.missing_topics, topics)):
            for name, flags in found.items():
                counts[name] = counts.get(name, 0) + int(np.count_nonzero(flags[:n]))
        for row in np.flatnonzero(bad[:n])[: MAX_BAD_TOLD - len(self.first_bad)].tolist():
            self.first_bad.append(BadRecord(int(times[row]), *why(row)))
        self.checked += n
        self.bad += int(np.count_nonzero(bad[:n]))
        if self.bad:
            self._judge()

    def _judge(self) -> None:
        first = self.first_bad[0]
        told = f"feature {first.feature!r} has no value in the row at {first.row_time_ns} ns: {first.cause}"
        data: dict[str, Any] = {"feature": first.feature, "row_time_ns": first.row_time_ns, "bad_records": self.bad}
        if self.validation.fail_fast:
            raise HephaesError("quality_gate", f"a record is bad and validation.fail_fast is set: {told}", **data)
        budget = self.validation.bad_record_budget
        if budget is not None and self.bad > budget:
            text = f"more than {budget} records are bad (validation.bad_record_budget); the first: {told}"
            raise HephaesError("quality_gate", text, **data)

    def summary(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "checked_records": self.checked,
            "bad_records": self.bad,
            "first_bad": [
                {"row_time_ns": bad.row_time_ns, "feature": bad.feature, "cause": bad.cause} for bad in self.first_bad
            ],
            "missing_feature_counts": dict(self.missing_features),
            "missing_topic_counts": dict(self.missing_topics),
            "missing_feature_rates": self._rates(self.missing_features),
            "missing_topic_rates": self._rates(self.missing_topics),
        }

    def _rates(self, counts: Mapping[str, int]) -> dict[str, float]:
        return {name: count / self.checked if self.checked else 0.0 for name, count in counts.items()}


@define(eq=False)
class LabelSummary:
    """How often a label has a value, and which values come first."""

    primary: str | None
    present: int = 0
    missing: int = 0
    first: list[Any] = field(factory=list)

    def take(self, values: pa.Array) -> None:
        """Count the next rows."""
        self.present += len(values) - values.null_count
        self.missing += values.null_count
        if len(self.first) < PREVIEW_ROWS:
            known = values[: MAX_ITEMS * PREVIEW_ROWS].drop_null()[: PREVIEW_ROWS - len(self.first)]
            self.first += [shown(value) for value in known.to_pylist()]

    def summary(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "primary": self.primary,
            "present_count": self.present,
            "missing_count": self.missing,
            "sample_values": self.first,
        }


@define(eq=False)
class Preview:
    """The first rows, with large values digested."""

    rows: list[dict[str, Any]] = field(factory=list)

    def take(self, batch: pa.RecordBatch) -> None:
        """Take what is still lacking."""
        lacking = PREVIEW_ROWS - len(self.rows)
        if lacking > 0:
            rows: Sequence[Mapping[str, Any]] = batch.slice(0, lacking).to_pylist()
            self.rows += [{name: shown(value) for name, value in row.items()} for row in rows]


def shown(value: Any) -> Any:
    """A value as JSON says it, long ones shortened: bytes as size and SHA-256, text and lists as their beginning."""
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else {"text": value[:MAX_TEXT], "characters": len(value)}
    if isinstance(value, list):
        items = [shown(item) for item in value[:MAX_ITEMS]]
        return items if len(value) <= MAX_ITEMS else {"items": items, "length": len(value)}
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
