"""Bad records, budgets, counts and previews."""

import hashlib
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from hephaes_rpc.engine.datasets.validation import LabelSummary, Preview, Validator, shown
from hephaes_rpc.engine.specs.spec import Validation
from hephaes_rpc.errors import HephaesError

#               row  0  1  2  3  4  5
BAD = np.array([0, 1, 0, 0, 1, 1], np.bool_)
ABSENT = {"a": BAD, "b": np.array([1, 1, 0, 0, 0, 0], np.bool_)}
TOPICS = {"/x": np.array([0, 1, 0, 0, 0, 1], np.bool_)}


def run(step: int = 6, **validation: Any) -> Validator:
    validator = Validator(Validation(**validation))
    for first in range(0, 6, step):
        part = slice(first, first + step)
        validator.take(
            np.arange(100, 106, dtype=np.int64)[part],
            BAD[part],
            {name: flags[part] for name, flags in ABSENT.items()},
            {name: flags[part] for name, flags in TOPICS.items()},
            lambda row: ("a", "a failed"),
        )
    return validator


@pytest.mark.parametrize("step", [1, 2, 4, 6])
@pytest.mark.parametrize(("sample_n", "checked", "bad", "lacking"), [(None, 6, 3, 2), (2, 2, 1, 2), (1, 1, 0, 1)])
def test_counts_of_the_rows_checked(step, sample_n, checked, bad, lacking):
    found = run(step, sample_n=sample_n).summary()
    assert (found["checked_records"], found["bad_records"]) == (checked, bad)
    assert found["missing_feature_counts"]["b"] == lacking
    assert found["missing_topic_rates"]["/x"] == np.count_nonzero(TOPICS["/x"][:checked]) / checked
    assert [one["row_time_ns"] for one in found["first_bad"]] == [101, 104, 105][:bad]
    orjson.dumps(found)


def test_fail_fast_names_the_first_bad_record():
    with pytest.raises(HephaesError, match=r"fail_fast is set: feature 'a' .* at 101 ns: a failed") as caught:
        run(fail_fast=True)
    assert caught.value.kind == "quality_gate"
    assert run(fail_fast=True, sample_n=1).bad == 0


@pytest.mark.parametrize("step", [1, 6])
def test_the_budget_is_what_is_borne(step):
    assert run(step, bad_record_budget=3).bad == 3
    with pytest.raises(HephaesError, match=r"more than 2 records are bad .* at 101 ns"):
        run(step, bad_record_budget=2)
    with pytest.raises(HephaesError, match="more than 0 records"):
        run(step, bad_record_budget=0)


def test_label_summary():
    summary = LabelSummary("f")
    summary.take(pa.array([None, 1, 2]))
    summary.take(pa.array([b"x" * 100, None, b"", b"a", b"b", b"c"]))
    found = summary.summary()
    assert (found["present_count"], found["missing_count"]) == (7, 2)
    assert found["sample_values"][:2] == [1, 2]
    assert len(found["sample_values"]) == 5
    orjson.dumps(found)


def test_preview_takes_the_first_rows():
    preview = Preview()
    for first in range(0, 20, 3):
        preview.take(pa.record_batch({"k": pa.array(range(first, first + 3))}))
    assert preview.rows == [{"k": k} for k in range(5)]


def test_large_values_are_digested():
    assert shown(b"abc") == {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert shown("x" * 1000) == {"text": "x" * 200, "characters": 1000}
    assert shown(list(range(100))) == {"items": list(range(16)), "length": 100}
    assert shown({"a": [float("nan"), 1.5, None]}) == {"a": ["nan", 1.5, None]}
