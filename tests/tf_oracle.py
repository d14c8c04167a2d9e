"""TensorFlow reads TFRecord files: a child process, because it is heavy and noisy.

    python -m tests.tf_oracle

One JSON request per line, ``{"data": path, "features": path, "out": path}``; the answer is one line
``{"rows": n, "kinds": {key: [kind, ...]}}`` or ``{"error": text}``.  ``tf.data.TFRecordDataset`` reads the records (and
checks their checksums), ``tf.io.parse_example`` parses them by a spec made from the features file alone: fixed-length
features without default wherever the file promises a count.  ``out`` is an npz file with, for the i-th key, ``v<i>``
(values; for bytes all of them joined), ``o<i>`` (offsets of the byte strings) and ``s<i>`` (first value of each row).
``kinds`` are those met in the first records, looked at one by one; a record without the key counts as ``absent``.
"""

import json
import os
import sys
from typing import Any

import numpy as np

BATCH = 512
LOOKED_AT = 256


def read(tf: Any, request: dict[str, str]) -> dict[str, Any]:
    """Answer one request."""
    with open(request["features"], encoding="utf-8") as file:  # noqa: PTH123
        declared = json.load(file)
    features = declared["features"]
    omitted = declared["absent_keys"] == "omit"
    dtypes = {"int64": tf.int64, "float": tf.float32, "bytes": tf.string}
    spec = {}
    for key, feature in features.items():
        dtype, count = dtypes[feature["kind"]], feature["values"]
        if count < 0 or omitted:
            spec[key] = tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        else:
            spec[key] = tf.io.FixedLenFeature([count], dtype)
    dataset = tf.data.TFRecordDataset(request["data"], compression_type=declared["compression_type"])
    parts: dict[str, list[tuple[Any, Any]]] = {key: [] for key in features}
    kinds: dict[str, set[str]] = {key: set() for key in features}
    rows = 0
    for batch in dataset.batch(BATCH):
        serialized = batch.numpy()
        for record in serialized[: max(0, LOOKED_AT - rows)]:
            present = tf.train.Example.FromString(record).features.feature
            assert set(present) <= set(features), set(present) - set(features)
            for key in features:
                kind = (present[key].WhichOneof("kind") or "none") if key in present else "absent"
                kinds[key].add(kind.removesuffix("_list"))
        parsed = tf.io.parse_example(batch, spec)
        for key, tensor in parsed.items():
            parts[key].append(_rows(tf, tensor))
        rows += len(serialized)
    arrays = {}
    for i, key in enumerate(features):
        arrays.update(_arrays(i, features[key]["kind"], parts[key]))
    np.savez(request["out"], **arrays)
    return {"rows": rows, "kinds": {key: sorted(met) for key, met in kinds.items()}}


def _rows(tf: Any, tensor: Any) -> tuple[Any, Any]:
    """Flat values and values per row."""
    if isinstance(tensor, tf.RaggedTensor):
        return tensor.flat_values.numpy(), tensor.row_lengths().numpy()
    values = tensor.numpy()
    return values.reshape(-1), np.full(len(values), values.shape[1], np.int64)


def _arrays(i: int, kind: str, parts: list[tuple[Any, Any]]) -> dict[str, Any]:
    lengths = np.concatenate([np.zeros(0, np.int64), *(length for _, length in parts)])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    if kind != "bytes":
        dtype = np.int64 if kind == "int64" else np.float32
        return {f"v{i}": np.concatenate([np.zeros(0, dtype), *(v for v, _ in parts)]), f"s{i}": starts}
    strings = [bytes(value) for values, _ in parts for value in values]
    offsets = np.cumsum([0, *map(len, strings)])
    return {f"v{i}": np.frombuffer(b"".join(strings), np.uint8), f"o{i}": offsets, f"s{i}": starts}


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    for line in sys.stdin:
        try:
            answer = read(tf, json.loads(line))
        except Exception as error:  # whatever TensorFlow has against a file is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
