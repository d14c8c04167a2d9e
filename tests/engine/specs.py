"""Specs that are right, and ways to change them."""

import copy
from typing import Any

ABSENT = object()


def rows_spec() -> dict[str, Any]:
    """A spec of rows with a bit of everything, in the form of the classes."""
    return {
        "row_strategy": {
            "kind": "trigger",
            "trigger_topic": "/image",
            "joins": [
                {"topic": "/joy", "sync_policy": "nearest", "tolerance_ns": 5, "staleness_ns": 4},
                {"topic": "/imu", "required": False},
            ],
        },
        "features": {
            "image": {
                "source": {"kind": "path", "topic": "/image", "field_path": "data"},
                "dtype": "bytes",
                "required": True,
            },
            "buttons": {
                "source": {"kind": "path", "topic": "/joy", "field_path": "buttons"},
                "dtype": "int64",
                "shape": [15],
                "missing": "forward_fill",
                "transforms": [{"kind": "cast", "dtype": "int64"}, {"kind": "length", "exact": 15}],
            },
            "turn": {
                "source": {
                    "kind": "stack",
                    "sources": [
                        {"kind": "path", "topic": "/imu", "field_path": "angular_velocity.z"},
                        {"kind": "constant", "value": 0.5},
                    ],
                },
                "dtype": "float64",
            },
            "stamp": {"source": {"kind": "metadata", "key": "header_stamp_ns"}, "dtype": "int64"},
        },
        "labels": {"primary": "buttons"},
        "split": {"strategy": "random", "train_fraction": 0.8, "val_fraction": 0.1, "test_fraction": 0.1, "seed": 1},
        "validation": {"expected_features": ["image"], "bad_record_budget": 0},
        "output": {"format": "parquet", "shards": 2},
    }


def mapping_spec() -> dict[str, Any]:
    """A spec of whole messages."""
    return {"mapping": {"image": ["/image", "/camera"], "imu": ["/imu"]}, "output": {"format": "parquet"}}


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with the values at dotted places set, or taken away where the value is ABSENT."""
    result = copy.deepcopy(spec)
    for place, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        at: Any = result
        for part in parents:
            at = at[part] if isinstance(part, int) else at.setdefault(part, {})
        if value is ABSENT:
            del at[last]
        else:
            at[last] = value
    return result
