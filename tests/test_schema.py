"""The JSON Schema of spec documents."""

import json
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hephaes_rpc.cli.schema import document_schema
from hephaes_rpc.engine.specs.document import load, to_dict
from hephaes_rpc.errors import SpecError
from tests.engine.specs import ABSENT, changed, mapping_spec, rows_spec
from tests.engine.test_document import FORMS, one_feature

SCHEMA = document_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "spec",
    [{}, rows_spec(), mapping_spec(), *(one_feature(transforms=[form]) for form, _ in FORMS)],
)
def test_documents_as_written_fit(spec: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(to_dict(load(spec)))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"spec_version": 0},
        {"spec_version": 3},
        {"spec": None},
        {"spec": ABSENT},
        {"metadata": []},
        {"more": 1},
        {"spec.inputs": {}},
        {"spec.row_strategy.kind": "triger"},
        {"spec.row_strategy.kind": ABSENT},
        {"spec.row_strategy.trigger_topic": None},
        {"spec.row_strategy.joins.0.tolerance_ns": -1},
        {"spec.row_strategy.joins.0.required": 1},
        {"spec.features.image": {}},
        {"spec.features.image.shape": "3"},
        {"spec.features.image.dtype": "int8"},
        {"spec.features.turn.source.sources.0.field": "x"},
        {"spec.features.buttons.transforms.0": {"dtype": "int64"}},
        {"spec.features.buttons.transforms.0.dtype": ABSENT},
        {"spec.features.buttons.transforms.1.exact": -1},
        {"spec.labels.class_map": {"a": "b"}},
        {"spec.split.train_fraction": 2},
        {"spec.output.format": "csv"},
        {"spec.output.compression": "lzma"},
        {"spec.output.shards": 0},
    ],
)
def test_other_documents_do_not_fit_and_are_refused(changes: dict[str, Any]) -> None:
    document = changed(to_dict(load(rows_spec())), changes)
    assert not VALIDATOR.is_valid(document)
    is_shorter = set(changes) & {"spec", "spec.row_strategy.kind"} and ABSENT in changes.values()
    if not is_shorter:  # the loader takes bare specs and infers kinds
        with pytest.raises(SpecError):
            load(document)


def test_no_member_is_left_undescribed() -> None:
    for name, definition in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        assert definition["additionalProperties"] is False, name
        assert definition["description"], name


def test_members_say_what_the_classes_say_of_them() -> None:
    join = SCHEMA["$defs"]["Join"]["properties"]
    assert join["staleness_ns"]["description"] == "Largest age of an earlier message."
    assert "description" not in join["sync_policy"]


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hephaes_rpc", "schema"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == SCHEMA
