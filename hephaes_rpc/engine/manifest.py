"""What a dataset file was made of and what was lost on the way, as JSON beside it.

The sections are those of the reference's manifests.  Only relative names, no clock: the same inputs give the same
bytes.  Times are exact integers of nanoseconds; the end is the time of the last message.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from attrs import asdict, frozen

from hephaes_rpc import __version__
from hephaes_rpc.engine.assembly import StreamCounts
from hephaes_rpc.engine.logs import LogSummary, Stream
from hephaes_rpc.engine.spec import ConversionSpec, TFRecordOutput
from hephaes_rpc.serde import unstructure

MANIFEST_VERSION = 1
_NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1)


@frozen(eq=False)
class MappedField:
    """A column and where its values come from.

    Args:
        requested: Topics the mapping listed, in priority order.
        selector: The one that was taken, as the mapping names it.
    """

    name: str
    type: pa.DataType
    requested: Sequence[str]
    selector: str
    stream: Stream


@frozen(eq=False)
class Dataset:
    """A finished dataset file.

    Args:
        counts: By field, values that were changed by the format.
        sidecars: Names of the files that belong to it.
        topics: What was met, by field.
    """

    name: str
    schema: pa.Schema
    rows: int
    size_bytes: int
    sha256: str
    fields: Sequence[MappedField]
    topics: Sequence[StreamCounts]
    counts: Mapping[str, Mapping[str, int]]
    sidecars: Sequence[str]


def encode(content: Any) -> bytes:
    """Indented JSON."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def file_name(path: str) -> str:
    """The last part of a path as text that UTF-8 can hold."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def file_metadata(spec: ConversionSpec, summary: LogSummary, fields: Sequence[MappedField]) -> dict[str, str]:
    """What is stored inside a dataset file or its features file."""
    source = {
        "file_name": file_name(summary.path),
        "file_size_bytes": summary.size_bytes,
        "storage_format": summary.storage_format,
        "ros_version": summary.ros_version,
        "fields": {field.name: {"topic": field.stream.topic, "type": field.stream.type_name} for field in fields},
    }
    return {
        "hephaes.version": __version__,
        "hephaes.spec": orjson.dumps(unstructure(spec)).decode(),
        "hephaes.source": orjson.dumps(source).decode(),
    }


def manifest(episode_id: str, spec: ConversionSpec, summary: LogSummary, dataset: Dataset) -> dict[str, Any]:
    """The manifest of one dataset file."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "hephaes_version": __version__,
        "episode_id": episode_id,
        "dataset": _dataset(spec, dataset),
        "source": _source(summary),
        "temporal": _temporal(summary),
        "conversion": _conversion(spec, dataset),
        "robot_context": None,
        "labels": {"auto_tags": None, "vlm_description": None, "objects_detected": None},
        "privacy": {"is_anonymized": False, "anonymization_method": None},
    }


def _dataset(spec: ConversionSpec, dataset: Dataset) -> dict[str, Any]:
    return {
        "path": dataset.name,
        "format": spec.output.format,
        "compression": spec.output.compression,
        "file_size_bytes": dataset.size_bytes,
        "sha256": dataset.sha256,
        "rows_written": dataset.rows,
        "field_names": [field.name for field in dataset.fields],
        "field_types": {member.name: str(member.type) for member in dataset.schema},
        "sidecars": list(dataset.sidecars),
        "split_name": None,
        "shard_index": None,
        "num_shards": 1,
        "output_filename": dataset.name,
    }


def _source(summary: LogSummary) -> dict[str, Any]:
    name = file_name(summary.path)
    return {
        "path": name,
        "file_path": name,
        "ros_version": summary.ros_version,
        "storage_format": summary.storage_format,
        "file_size_bytes": summary.size_bytes,
        "source_metadata": {
            "profile": summary.profile,
            "library": summary.library,
            "outcome": summary.outcome,
            "warnings": [warning.replace(summary.path, name) for warning in summary.warnings],
            "compression": {key: asdict(use) for key, use in summary.compression.items()},
        },
    }


def _temporal(summary: LogSummary) -> dict[str, Any]:
    start, end = summary.start_ns, summary.end_ns
    empty = start is None or end is None
    return {
        "start_timestamp": start,
        "end_timestamp": end,
        "start_time_iso": None if start is None else iso_ns(start),
        "end_time_iso": None if end is None else iso_ns(end),
        "duration_seconds": 0.0 if empty else ((end or 0) - (start or 0)) / _NS_PER_S,
        "message_count": summary.message_count,
    }


def _conversion(spec: ConversionSpec, dataset: Dataset) -> dict[str, Any]:
    output = spec.output
    payload = None
    if isinstance(output, TFRecordOutput):
        payload = {
            "payload_encoding": output.payload_encoding,
            "null_encoding": output.null_encoding,
            "image_payload_contract": output.image_payload_contract,
            "float64": output.float64,
            "absent_keys": output.absent_keys,
        }
    return {
        "output": unstructure(output),
        "payload_representation": payload,
        "row_strategy": None,
        "resample": unstructure(spec.resample),
        "mapping_mode": "auto" if spec.mapping is None else "custom",
        "mapping_requested": {field.name: list(field.requested) for field in dataset.fields},
        "mapping_resolved": {field.name: field.selector for field in dataset.fields},
        "rows_written": dataset.rows,
        "topics": {
            field.name: _topic(field, counts, dataset.counts.get(field.name, {}))
            for field, counts in zip(dataset.fields, dataset.topics, strict=True)
        },
    }


def _topic(field: MappedField, counts: StreamCounts, changed: Mapping[str, int]) -> dict[str, Any]:
    return {
        "topic": field.stream.topic,
        "type": field.stream.type_name,
        "messages": counts.messages,
        "decoded": counts.decoded,
        "decode_failures": counts.decode_failures,
        "first_failures": [asdict(failure) for failure in counts.failures],
        "collisions": counts.collisions,
        "out_of_order": counts.out_of_order,
        "replaced_strings": counts.replaced_strings,
        "narrowed_float64": changed.get("narrowed_float64", 0),
        "wrapped_uint64": changed.get("wrapped_uint64", 0),
    }


def iso_ns(time_ns: int) -> str:
    """ISO 8601 in UTC with nanoseconds, exact."""
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{nanoseconds:09}Z"
