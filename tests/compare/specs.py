"""Specs that both engines must give the same rows for, on the robot of ``logs``."""

from typing import Any

Spec = dict[str, Any]
MS = 1_000_000


def path(topic: str, field_path: str | None = None) -> Spec:
    """A source."""
    return {"kind": "path", "topic": topic, **({"field_path": field_path} if field_path else {})}


def feature(topic: str, field_path: str | None, dtype: str, *transforms: Any, **more: Any) -> Spec:
    """A feature of a message's field."""
    return {"source": path(topic, field_path), "dtype": dtype, "transforms": list(transforms), **more}


def trigger(topic: str, *joins: Spec) -> Spec:
    """A row per message of a topic."""
    return {"kind": "trigger", "trigger_topic": topic, "joins": list(joins)}


def join(topic: str, policy: str = "last-known-before", *, required: bool = False, **more: Any) -> Spec:
    """A topic beside the trigger."""
    return {"topic": topic, "sync_policy": policy, "required": required, **more}


def per_message(topic: str) -> Spec:
    """A row per message of a topic."""
    return {"kind": "per-message", "topic": topic}


def resample(method: str, *topics: str, freq_hz: float = 10.0, **more: Any) -> Spec:
    """Rows on a grid."""
    return {"kind": "resample", "freq_hz": freq_hz, "method": method, "topics": list(topics), **more}


def spec(strategy: Spec, features: dict[str, Spec], **more: Any) -> Spec:
    """A whole spec, but for the format."""
    return {"schema": {"name": "compare", "version": 1}, "row_strategy": strategy, "features": features, **more}


IMU = {
    "ax": feature("/imu", "linear_acceleration.x", "float64"),
    "turn_w": feature("/imu", "orientation.w", "float64"),
    "covariance": feature("/imu", "orientation_covariance", "float64"),
}
JOINTS = {
    "position": feature("/joint_states", "position", "float64"),
    "effort": feature("/joint_states", "effort", "float64"),
}
STATUS = {
    "estop": feature("/status", "estop", "bool"),
    "gear": feature("/status", "gear", "int64"),
    "offset": feature("/status", "offset", "int64"),
    "charge": feature("/status", "charge", "float32"),
    "pose": feature("/status", "pose", "float64"),
    "codes": feature("/status", "codes", "int64"),
    "raw": feature("/status", "raw", "bytes"),
    "expires": feature("/status", "expires.nanosec", "int64"),
}
JSON = {
    "message": feature("/status", None, "json"),
    "label": feature("/status", "label", "json"),
    "cells": feature("/status", "cells", "json"),
    "notes": feature("/status", "notes", "json"),
    "range": feature("/status", "range", "float64"),
    "narrow": feature("/status", "pose", "float32"),
}
COMMAND = {"v": feature("/cmd_vel", "linear.x", "float64"), "w": feature("/cmd_vel", "angular.z", "float64")}
TRANSFORMS = {
    "gear_float": feature("/status", "gear", "float64", {"cast": {"dtype": "float64"}}),
    "gear_clamped": feature(
        "/status", "gear", "float64", {"clamp": {"min": -1, "max": 1}}, {"cast": {"dtype": "float64"}}
    ),
    "charge_int": feature("/status", "charge", "int64", {"cast": {"dtype": "int64"}}),
    "scaled": feature("/status", "pose", "float64", {"scale": {"factor": 2.5, "offset": 0.5}}),
    "in_range": feature("/status", "pose", "float64", {"normalize": {"min": -4.0, "max": 4.0}}),
    "standard": feature("/status", "pose", "float64", {"normalize": {"mean": 0.1, "std": 2.0}}),
    "padded": feature("/status", "codes", "int64", {"length": {"pad_to": 4, "pad_value": 7}}),
    "cut": feature("/status", "pose", "float64", {"length": {"truncate_to": 2}}),
    "exact": feature("/status", "pose", "float64", {"length": {"exact": 4}}),
    "on": feature("/status", "estop", "int64", {"cast": {"dtype": "int64"}}, {"one_hot": {"depth": 2}}),
    "gear_class": feature("/status", "gear", "int64", {"clamp": {"min": 0, "max": 2}}, {"one_hot": {"depth": 3}}),
}
SOURCES = {
    "both": {
        "source": {"kind": "concat", "sources": [path("/status", "pose"), path("/status", "pose")]},
        "dtype": "float64",
    },
    "pair": {
        "source": {"kind": "stack", "sources": [path("/status", "pose"), path("/status", "pose")]},
        "dtype": "float64",
    },
    "columns": {
        "source": {"kind": "stack", "sources": [path("/status", "pose"), path("/status", "pose")], "axis": 1},
        "dtype": "float64",
    },
    "time": {"source": {"kind": "metadata", "key": "timestamp_ns"}, "dtype": "int64"},
    "version": {"source": {"kind": "constant", "value": 3}, "dtype": "int64"},
    "gain": {"source": {"kind": "constant", "value": [0.5, 1.5]}, "dtype": "float64"},
    "raw_twice": {
        "source": {"kind": "concat", "sources": [path("/status", "raw"), path("/status", "raw")]},
        "dtype": "bytes",
        "transforms": [],
    },
}
IMAGE = {"height": 4, "width": 6, "channels": 3}
IMAGES = {
    "pixels": feature("/camera", "data", "bytes"),
    "flipped": feature("/camera", "data", "int64", {"image_color_convert": {"from": "rgb", "to": "bgr", **IMAGE}}),
    "part": feature(
        "/camera",
        "data",
        "int64",
        {"image_color_convert": {"from": "rgb", "to": "bgr", **IMAGE}},
        {"image_crop": {"box": [1, 1, 4, 3]}},
    ),
}

# JSON of a whole message cannot be written to TFRecord by the reference: Parquet only
PARQUET_ONLY = {"json": spec(per_message("/status"), JSON)}
EQUAL = {
    "last known": spec(
        trigger(
            "/joint_states",
            join("/imu"),
            join("/status", required=True),
            join("/cmd_vel", staleness_ns=200 * MS),
        ),
        JOINTS | IMU | STATUS | COMMAND,
    ),
    "nearest": spec(
        trigger("/cmd_vel", join("/imu", "nearest", tolerance_ns=12 * MS), join("/status", "nearest", required=True)),
        COMMAND | IMU | STATUS,
    ),
    "exact within tolerance": spec(
        trigger("/imu", join("/cmd_vel", "exact-within-tolerance", tolerance_ns=5 * MS, required=True)),
        IMU | COMMAND,
    ),
    "exact": spec(trigger("/imu", join("/cmd_vel", "exact-within-tolerance")), IMU | COMMAND),
    "per message": spec(per_message("/status"), STATUS),
    "on a grid": spec(resample("downsample", "/imu", "/joint_states", "/cmd_vel"), IMU | JOINTS | COMMAND),
    "transforms": spec(per_message("/status"), TRANSFORMS),
    "sources": spec(per_message("/status"), SOURCES),
    "images": spec(per_message("/camera"), IMAGES),
}
