"""Hugging Face ``datasets`` reads our Parquet files as what their manifests declare: types, shapes, images, rows.

    python -m tests.consumers_check                     # writes and reads; needs ``pip install datasets pillow``
    python -m tests.consumers_check --write DIR         # writes only
    python tests/consumers_check.py --read DIR          # reads what was written; needs nothing of this project

One line per file; exit code 1 on any difference.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFEST = ".manifest.json"
IMAGE_SIZE = (6, 4)

FEATURES: dict[str, dict[str, Any]] = {
    "turn": {"source": {"topic": "/imu", "field_path": "angular_velocity.x"}, "dtype": "float32"},
    "covariance": {
        "source": {"topic": "/imu", "field_path": "orientation_covariance"},
        "dtype": "float64",
        "shape": [9],
    },
    "square": {
        "source": {
            "kind": "stack",
            "sources": [{"topic": "/imu", "field_path": f"orientation_covariance[{k}:{k + 3}]"} for k in (0, 3, 6)],
        },
        "dtype": "float32",
        "shape": [3, 3],
    },
    "names": {"source": {"topic": "/joints", "field_path": "name"}, "dtype": "native"},
    "first": {"source": {"topic": "/joints", "field_path": "position[0]"}, "dtype": "float64"},
    "moves": {"source": {"topic": "/joints", "field_path": "position"}, "dtype": "float64", "shape": [-1]},
    "level": {"source": {"topic": "/level", "field_path": "data"}, "dtype": "int64"},
    "small": {"source": {"topic": "/level", "field_path": "data"}, "dtype": "native"},
    "class": {
        "source": {"topic": "/level", "field_path": "data"},
        "dtype": "int64",
        "shape": [4],
        "transforms": [{"one_hot": 4}],
    },
    "high": {"source": {"topic": "/level", "field_path": "data"}, "dtype": "bool", "transforms": [{"cast": "bool"}]},
    "blob": {"source": {"topic": "/blob", "field_path": "data"}, "dtype": "bytes"},
    "all": {"source": {"topic": "/joints"}, "dtype": "json"},
    "whole": {"source": {"topic": "/imu"}, "dtype": "native"},
    "pixels": {"source": {"topic": "/camera", "field_path": "data"}, "dtype": "int64", "shape": [4, 6, 3]}
    | {"transforms": [{"image_color_convert": {"to": "bgr"}}]},
    "png": {"source": {"topic": "/camera"}, "dtype": "bytes", "transforms": ["image_encode"]},
    "jpeg": {"source": {"topic": "/camera"}, "dtype": "bytes", "transforms": [{"image_encode": "jpeg"}]},
    "file": {"source": {"topic": "/files", "field_path": "data"}, "dtype": "bytes"},
}
JOINS = [{"topic": topic, "required": False} for topic in ("/imu", "/joints", "/level", "/blob", "/files")]
ROWS = {"kind": "trigger", "trigger_topic": "/camera", "joins": JOINS}
THIRDS = {"strategy": "random", "train_fraction": 0.5, "val_fraction": 0.3, "test_fraction": 0.2}
SPECS: dict[str, dict[str, Any]] = {
    "mapping": {"output": {"format": "parquet"}},
    "json": {"output": {"format": "parquet", "payload_encoding": "json"}},
    "topics": {"output": {"format": "parquet", "layout": "topics", "compression": "zstd"}},
    "resampled": {"resample": {"freq_hz": 50, "method": "interpolate"}, "output": {"format": "parquet"}},
    "features": {"row_strategy": ROWS, "features": FEATURES, "output": {"format": "parquet", "row_group_rows": 16}},
    "zeros": {
        "row_strategy": ROWS,
        "features": {name: feature | {"presence_flag": name == "file"} for name, feature in FEATURES.items()},
        "labels": {"primary": "level", "class_map": {str(k): 10 + k for k in range(4)}},
        "output": {"format": "parquet"},
    },
    "parts": {
        "row_strategy": ROWS,
        "features": FEATURES,
        "split": THIRDS,
        "output": {"format": "parquet", "shards": 2, "compression": "zstd"},
    },
}


def write(folder: Path) -> None:
    """Convert a small log in every way, each into a folder of its own."""
    from hephaes_rpc.engine.pipeline import ConvertTask, convert
    from hephaes_rpc.engine.specs import document
    from tests import factories
    from tests.corpus import Context
    from tests.engine.test_every_key import MORE_TOPICS, more_samples

    known = dict(factories.TOPICS)
    factories.TOPICS.update(MORE_TOPICS)
    try:
        messages = sorted([*factories.samples(240), *more_samples(random.Random(7))], key=lambda m: m.time)
        log = factories.write_mcap(folder / "run.mcap", messages)
    finally:
        factories.TOPICS.clear()
        factories.TOPICS.update(known)
    for name, spec in SPECS.items():
        loaded = document.load(spec).spec
        task = ConvertTask(
            log_path=str(log), spec=loaded, output_dir=str(folder / name), episode_id="episode", stem="run"
        )
        convert(task, Context())


def read(folder: Path) -> int:
    """Load everything; print a line per set of files; how many differ from what they declare."""
    wrong = 0
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name in SPECS):
        manifests = [json.loads(path.read_bytes()) for path in sorted(place.glob(f"*{MANIFEST}"))]
        groups = [[one] for one in manifests] if place.name == "topics" else [manifests]
        for group in groups:
            found = list(differences(place, group, folder / "cache"))
            wrong += bool(found)
            names = ", ".join(one["dataset"]["path"] for one in group)
            print(f"{place.name}: {names}: {'; '.join(found) or 'as declared'}")
    return wrong


def differences(place: Path, manifests: list[dict[str, Any]], cache: Path) -> Iterator[str]:
    """How what ``datasets`` loads differs from what the manifests of the files declare."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(cache)}
    import datasets  # type: ignore[import-not-found, unused-ignore]

    datasets.disable_progress_bars()
    files: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    for one in manifests:
        split = one["dataset"]["split_name"]
        split = {"val": "validation", "test": "test"}.get(split, "train")
        files.setdefault(split, []).append(str(place / one["dataset"]["path"]))
        rows[split] = rows.get(split, 0) + one["dataset"]["rows_written"]
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache))
    for split, count in rows.items():
        data = loaded[split]
        if len(data) != count:
            yield f"{split} has {len(data)} rows, not {count}"
        yield from _types(data, manifests[0], place.name == "json")
        yield from _shapes(data, manifests[0])


def _types(data: Any, manifest: dict[str, Any], is_json: bool) -> Iterator[str]:
    declared = manifest["dataset"]["field_types"]
    if list(data.features) != list(declared):
        yield f"columns are {list(data.features)}, not {list(declared)}"
        return
    features = manifest["conversion"].get("features", {})
    for name, found in zip(data.features, data.features.arrow_schema, strict=True):
        is_image = features.get(name, {}).get("encoded_image", False)
        if is_image != (type(data.features[name]).__name__ == "Image"):
            yield f"{name} is {data.features[name]}, and {'an' if is_image else 'no'} image by the manifest"
        wanted = "string" if is_json and name != "timestamp_ns" else declared[name]
        if not is_image and _plain(str(found.type)) != _plain(wanted):
            yield f"{name} is {found.type}, not {wanted}"


def _plain(kind: str) -> str:
    """The text of an Arrow type without the names of list items, which are Parquet's."""
    return re.sub(r"<(item|element): ", "<", kind).replace(" not null", "")


def _shapes(data: Any, manifest: dict[str, Any]) -> Iterator[str]:
    for name, feature in manifest["conversion"].get("features", {}).items():
        for row, value in enumerate(data[name]):
            if value is None or feature["dtype"] == "json":
                continue
            if feature["encoded_image"]:
                if value.size != IMAGE_SIZE:
                    yield f"{name} has an image of {value.size} in row {row}"
            elif not _has_shape(value, feature["shape"]):
                yield f"{name} does not have the shape {feature['shape']} in row {row}"
            else:
                continue
            break


def _has_shape(value: Any, shape: list[int]) -> bool:
    if not shape:
        return not isinstance(value, list)
    return (
        isinstance(value, list) and shape[0] in (-1, len(value)) and all(_has_shape(item, shape[1:]) for item in value)
    )


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--write", metavar="DIR", type=Path)
    way.add_argument("--read", metavar="DIR", type=Path)
    arguments = parser.parse_args()
    if arguments.write is not None:
        arguments.write.mkdir(parents=True, exist_ok=True)
        write(arguments.write)
        return 0
    if arguments.read is not None:
        return min(read(arguments.read), 1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return min(read(Path(folder)), 1)


if __name__ == "__main__":
    sys.exit(main())
