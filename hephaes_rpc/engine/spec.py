"""The conversion spec: what a dataset is made of, as the caller says it.

Single values are checked here by type; combinations by ``check_spec``; names against a log by ``plan.resolve``.
"""

import math
from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, optional

from hephaes_rpc.errors import SpecError

TIMESTAMP = "timestamp_ns"

Layout: TypeAlias = Literal["wide", "topics"]
ParquetCompression: TypeAlias = Literal["none", "snappy", "gzip", "brotli", "lz4", "zstd"]
TFRecordCompression: TypeAlias = Literal["none", "gzip"]
ResampleMethod: TypeAlias = Literal["downsample", "interpolate"]


@frozen(kw_only=True)
class ParquetOutput:
    """Parquet files.

    Args:
        layout: ``wide`` is one table with a column per field; ``topics`` one file per field with every message.
        row_group_rows: Exact rows per row group; None chooses by bytes.
        payload_encoding: ``typed`` columns (nested Arrow types), or ``json`` text as the reference wrote it.
    """

    format: Literal["parquet"] = "parquet"
    compression: ParquetCompression = "none"
    layout: Layout = "wide"
    row_group_rows: int | None = field(default=None, validator=optional(ge(1)))
    payload_encoding: Literal["typed", "json"] = "typed"


@frozen(kw_only=True)
class TFRecordOutput:
    """TFRecord files of ``tf.train.Example``.

    Args:
        layout: As for Parquet.
        image_payload_contract: ``bytes_v2`` writes image data as one bytes value, ``legacy_list_v1`` as integers.
        float64: Narrowed to ``float32`` (and counted), or kept exactly as little-endian ``bytes``.
        absent_keys: ``write`` puts every key in every record, ``omit`` leaves out the keys of an absent field.
    """

    format: Literal["tfrecord"] = "tfrecord"
    compression: TFRecordCompression = "none"
    layout: Layout = "wide"
    payload_encoding: Literal["typed_features"] = "typed_features"
    null_encoding: Literal["presence_flag"] = "presence_flag"
    image_payload_contract: Literal["bytes_v2", "legacy_list_v1"] = "bytes_v2"
    float64: Literal["float32", "bytes"] = "float32"
    absent_keys: Literal["write", "omit"] = "write"


Output: TypeAlias = ParquetOutput | TFRecordOutput


def _positive(_instance: object, _attribute: object, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError("must be a number greater than 0")
    if not 1 <= round(1e9 / value) < 2**63:
        raise ValueError("must give a step between 1 ns and 2^63 ns")


@frozen(kw_only=True)
class Resample:
    """Rows on a regular grid."""

    freq_hz: float = field(validator=_positive)
    method: ResampleMethod

    @property
    def step_ns(self) -> int:
        """Distance of two rows, ns."""
        return round(1e9 / self.freq_hz)


@frozen(kw_only=True)
class ConversionSpec:
    """One conversion.

    Args:
        mapping: Field -> topics in priority order, the first one present in the log is used (``plan.selectors`` says
            how a topic with several types is named); None takes every decodable topic (``plan.auto_mapping``).
        resample: None keeps the messages' own times.
    """

    mapping: dict[str, list[str]] | None = None
    resample: Resample | None = None
    output: Output = field(factory=ParquetOutput)
    write_manifest: bool = True


def check_spec(spec: ConversionSpec) -> None:
    """Raise SpecError for a spec that contradicts itself, whatever the log."""
    output = spec.output
    if output.layout == "topics" and spec.resample is not None:
        raise SpecError(
            "output.layout 'topics' keeps every message and cannot be resampled; "
            "leave out resample or use layout 'wide'"
        )
    if isinstance(output, TFRecordOutput) and output.layout == "topics" and output.absent_keys == "omit":
        raise SpecError("output.absent_keys 'omit' has no effect with layout 'topics', where no key is ever absent")
    if spec.mapping is not None:
        _check_mapping(spec.mapping)


def _check_mapping(mapping: dict[str, list[str]]) -> None:
    if not mapping:
        raise SpecError("mapping names no field")
    for name, topics in mapping.items():
        if not name.strip():
            raise SpecError("mapping has a field without a name")
        if name == TIMESTAMP:
            raise SpecError(f"mapping field {name!r} has the name of the row time; choose another name")
        if "\0" in name:
            raise SpecError(f"mapping field {name!r} contains a NUL character")
        if not topics or not all(topic.strip() for topic in topics):
            raise SpecError(f"mapping field {name!r} must list at least one topic, and no empty one")
