"""A Python module that reads a TFRecord file with TensorFlow as it is: the features file in TensorFlow's own words.

Fixed counts become ``FixedLenFeature`` of the declared shape, lists ``RaggedFeature``, byte strings of packed numbers
are decoded.  The module needs TensorFlow and nothing else.
"""

from collections.abc import Mapping
from typing import Any

_TYPES = {"int64": "tf.int64", "float": "tf.float32", "bytes": "tf.string"}
_TEMPLATE = '''"""Reads the TFRecord file beside it, and others of its conversion.  Made by hephaes-rpc."""

import tensorflow as tf

COMPRESSION_TYPE = {compression!r}
SPEC = {{
{entries}
}}
PACKED = {{
{packed}
}}


def parse(record):
    """The features of one serialized tf.train.Example."""
    features = tf.io.parse_single_example(record, SPEC)
    for key, (dtype, shape) in PACKED.items():
        values = tf.io.decode_raw(features[key], dtype)
        features[key] = values if shape is None else tf.reshape(values, shape)
    return features


def dataset(*paths):
    """The examples of files as a tf.data.Dataset."""
    return tf.data.TFRecordDataset(list(paths), compression_type=COMPRESSION_TYPE).map(parse)
'''


def snippet(compression_type: str, features: Mapping[str, Mapping[str, Any]], *, may_lack: bool) -> bytes:
    """The module.

    Args:
        features: As the features file has them.
        may_lack: Whether records may lack keys.
    """
    entries, packed = [], []
    for key, feature in features.items():
        is_packed = feature.get("encoding") == "little_endian" and not may_lack
        shape = [] if is_packed else feature["shape"]
        if feature["dtype"] == "length":
            shape = [] if feature["values"] == 1 else feature["shape"]
        entries.append(f"    {key!r}: {_entry(feature['kind'], shape, may_lack=may_lack)},")
        if is_packed:
            whole = None if -1 in feature["shape"] else feature["shape"]
            packed.append(f"    {key!r}: (tf.float64, {whole}),")
    text = _TEMPLATE.format(compression=compression_type, entries="\n".join(entries), packed="\n".join(packed))
    return text.replace("PACKED = {\n\n}", "PACKED = {}").encode("utf-8", "backslashreplace")


def _entry(kind: str, shape: list[int], *, may_lack: bool) -> str:
    dtype = _TYPES[kind]
    return f"tf.io.RaggedFeature({dtype})" if may_lack or -1 in shape else f"tf.io.FixedLenFeature({shape}, {dtype})"
