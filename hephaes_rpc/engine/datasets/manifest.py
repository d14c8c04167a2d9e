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
from attrs import asdict, evolve, frozen

from hephaes_rpc import __version__
from hephaes_rpc.engine.datasets.intake import Intake, StreamRecord
from hephaes_rpc.engine.logs import LogSummary, Stream
from hephaes_rpc.engine.specs.document import SpecDocument, to_dict
from hephaes_rpc.engine.specs.spec import ConversionSpec, TFRecordOutput
from hephaes_rpc.engine.task import ConvertTask
from hephaes_rpc.engine.timeline.digests import ALGORITHM

MANIFEST_VERSION = 1
_NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1)


@frozen(eq=False)
class Dataset:
    """A finished dataset file.

    Args:
        columns: Fields or features, without the row time.
        counts: By column, values that were changed by the format.
        sidecars: Names of the files that belong to it.
        place: Split part, shard and number of shards of a file of features.
    """

    name: str
    schema: pa.Schema
    columns: Sequence[str]
    rows: int
    size_bytes: int
    sha256: str
    counts: Mapping[str, Mapping[str, int]]
    sidecars: Sequence[str]
    place: tuple[str, int, int] | None


@frozen(eq=False)
class Run:
    """All that is told of a conversion in every manifest.

    Args:
        rows: How many rows it made, in all files.
        mapped: Column -> requested topics, the one taken, and its stream's record; empty for features.
        conversion: What the manifest says of rows, features, labels and splits.
    """

    summary: LogSummary
    intake: Intake
    rows: int
    mapped: Mapping[str, tuple[Sequence[str], str, StreamRecord]]
    conversion: Mapping[str, Any]


def encode(content: Any) -> bytes:
    """Indented JSON."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def file_name(path: str) -> str:
    """The last part of a path as text that UTF-8 can hold."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def portable(spec: ConversionSpec, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of a spec as JSON values, without the places where its logs lay."""
    given = evolve(spec.input, paths=[], recursive=False)
    return to_dict(SpecDocument(spec=evolve(spec, input=given), metadata=dict(metadata or {})))


def file_metadata(spec: ConversionSpec, summary: LogSummary, columns: Mapping[str, Any]) -> dict[str, str]:
    """What is stored inside a dataset file or its features file; ``columns`` tells where they come from."""
    source = {
        "file_name": file_name(summary.path),
        "file_size_bytes": summary.size_bytes,
        "storage_format": summary.storage_format,
        "ros_version": summary.ros_version,
        **columns,
    }
    return {
        "hephaes.version": __version__,
        "hephaes.spec": orjson.dumps(portable(spec)["spec"]).decode(),
        "hephaes.source": orjson.dumps(source).decode(),
    }


def manifest(task: ConvertTask, run: Run, dataset: Dataset) -> dict[str, Any]:
    """The manifest of one dataset file."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "hephaes_version": __version__,
        "episode_id": task.episode_id,
        "dataset": _dataset(task.spec, dataset),
        "source": _source(run, dataset),
        "temporal": _temporal(run.summary),
        "conversion": _conversion(task, run, dataset),
        "robot_context": None,
        "labels": {"auto_tags": None, "vlm_description": None, "objects_detected": None},
        "privacy": {"is_anonymized": False, "anonymization_method": None},
    }


def _dataset(spec: ConversionSpec, dataset: Dataset) -> dict[str, Any]:
    split, shard, shards = dataset.place or (None, None, 1)
    return {
        "path": dataset.name,
        "format": spec.output.format,
        "compression": spec.output.compression,
        "file_size_bytes": dataset.size_bytes,
        "sha256": dataset.sha256,
        "rows_written": dataset.rows,
        "field_names": list(dataset.columns),
        "field_types": {member.name: str(member.type) for member in dataset.schema},
        "sidecars": list(dataset.sidecars),
        "split_name": split,
        "shard_index": shard,
        "num_shards": shards,
        "output_filename": dataset.name,
    }


def _source(run: Run, dataset: Dataset) -> dict[str, Any]:
    summary, name = run.summary, file_name(run.summary.path)
    return {
        "path": name,
        "file_path": name,
        "ros_version": summary.ros_version,
        "storage_format": summary.storage_format,
        "file_size_bytes": summary.size_bytes,
        "fingerprint": {"algorithm": ALGORITHM, "value": run.intake.fingerprint(_streams(run, dataset))},
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


def _conversion(task: ConvertTask, run: Run, dataset: Dataset) -> dict[str, Any]:
    spec, output = task.spec, task.spec.output
    payload = None
    if isinstance(output, TFRecordOutput):
        payload = {
            "payload_encoding": output.payload_encoding,
            "null_encoding": output.null_encoding,
            "image_payload_contract": output.image_payload_contract,
            "float64": output.float64,
            "absent_keys": output.absent_keys,
        }
    document = portable(spec, task.metadata)
    told = document["spec"]
    of_file = {name: run.mapped[name] for name in dataset.columns if name in run.mapped}
    return {
        "spec_version": document["spec_version"],
        "document_metadata": document["metadata"],
        "spec": told,
        "output": told["output"],
        "payload_representation": payload,
        "row_strategy": told["row_strategy"],
        "resample": told["resample"],
        "mapping_mode": None if spec.features else "auto" if spec.mapping is None else "custom",
        "mapping_requested": {name: list(requested) for name, (requested, _, _) in of_file.items()},
        "mapping_resolved": {name: selector for name, (_, selector, _) in of_file.items()},
        "schema": told["schema"],
        "labels": told["labels"],
        "draft_origin": told["draft_origin"],
        "split": told["split"],
        "validation": told["validation"],
        **run.conversion,
        "rows_total": run.rows if run.conversion else dataset.rows,
        "rows_written": dataset.rows,
        "changed_by_format": {name: dict(counts) for name, counts in dataset.counts.items()},
        "topics": _topics(run, of_file, dataset),
    }


def _streams(run: Run, dataset: Dataset) -> list[Stream] | None:
    """Those of a dataset of whole messages, whichever other files are made with it; None: all that were read."""
    if run.conversion:
        return None
    found = [run.mapped[name][2].stream for name in dataset.columns if name in run.mapped]
    return list({id(stream): stream for stream in found}.values())


def _topics(
    run: Run, of_file: Mapping[str, tuple[Sequence[str], str, StreamRecord]], dataset: Dataset
) -> dict[str, dict[str, Any]]:
    """What was met, by field of a mapping or else by topic."""
    prints = run.intake.fingerprints()
    if run.mapped or not run.conversion:
        return {name: _topic(record, dataset.counts.get(name, {}), prints) for name, (_, _, record) in of_file.items()}
    return {record.stream.topic: _topic(record, {}, prints) for record in run.intake.records}


def _topic(record: StreamRecord, changed: Mapping[str, int], prints: Mapping[int, str]) -> dict[str, Any]:
    counts = record.counts
    return {
        "topic": record.stream.topic,
        "type": record.stream.type_name,
        "messages": counts.messages,
        "decoded": counts.decoded,
        "decode_failures": counts.decode_failures,
        "first_failures": [asdict(failure) for failure in counts.failures],
        "without_time": record.without_time,
        "first_without_time": [asdict(failure) for failure in record.timeless],
        "collisions": counts.collisions,
        "out_of_order": counts.out_of_order,
        "replaced_strings": counts.replaced_strings,
        "narrowed_float64": changed.get("narrowed_float64", 0),
        "wrapped_uint64": changed.get("wrapped_uint64", 0),
        "fingerprint": prints.get(id(record.stream)),
    }


def iso_ns(time_ns: int) -> str:
    """ISO 8601 in UTC with nanoseconds, exact."""
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{nanoseconds:09}Z"
