"""``hephaes-rpc demo``: the main job on small real logs of the repository, through the real sidecar.

Register, index, convert to Parquet and TFRecord with live progress, then the first rows read back from the files.
"""

import argparse
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hephaes_rpc.cli.terminal import Display, amount, display, printable
from hephaes_rpc.client import Client, RpcError, serve_command
from hephaes_rpc.errors import HephaesError

LOGS = ("poses.bag", "talker-zstd.mcap")
ROWS = 3
MARK = ".hephaes-demo"
_FINAL = frozenset(("succeeded", "failed", "cancelled", "interrupted"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``demo``."""
    data = Path(__file__).parents[2] / "tests" / "data"
    parser.add_argument("logs", metavar="LOG", nargs="*", help="other logs than those of the repository")
    parser.add_argument("-o", "--output-dir", metavar="DIR", default="demo-out", help="default: demo-out")
    parser.set_defaults(data=data)


def run(arguments: argparse.Namespace) -> int:
    """Convert the logs and show what came out."""
    logs = [Path(log).absolute() for log in arguments.logs] or [arguments.data / name for name in LOGS]
    for log in logs:
        if not log.is_file():
            raise HephaesError(
                "invalid_path", f"there is no log {log}; the demo's own are in a clone of the repository"
            )
    folder = _fresh(Path(arguments.output_dir).absolute())
    licences = _licences(arguments.data / "README.md")
    options = ("--data-dir", str(folder / "data"), "--log-level", "warning")
    with display(interval_s=0) as shown:
        try:
            with Client(serve_command(*options)) as client:
                outputs = _drive(client, shown, logs, licences, folder / "workspace")
        except RpcError as error:
            raise HephaesError("io_error", f"the sidecar answered with error {error.code}: {error.message}") from None
    for path in outputs:
        print(f"\nFirst rows read back from {path}:")
        for row in _parquet_rows(path) if path.suffix == ".parquet" else _tfrecord_rows(path):
            print(f"  {_shortened(printable(str(row)))}")
    print(f"\nThe files are in {folder / 'workspace' / '.hephaes' / 'outputs'}, each with its manifest and report.")
    return 0


def _fresh(folder: Path) -> Path:
    """The folder, empty but for our mark; one that an earlier demo made is emptied."""
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            raise HephaesError(
                "invalid_path", f"{folder} is not empty and not of an earlier demo; choose another with -o"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def _licences(readme: Path) -> dict[str, tuple[str, str]]:
    """Origin and licence by file name, from the table beside the logs."""
    found = {}
    if readme.is_file():
        for line in readme.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) >= 3:
                found[cells[0]] = cells[1], cells[2]
    return found


def _followed(client: Client, shown: Display, name: str, job_id: str) -> dict[str, Any]:
    """Show how far a job is; the job, once it has ended."""
    while True:
        message = client.next_message(timeout=None)
        params: dict[str, Any] = message.get("params") or {}
        if message["method"] == "jobs/progress" and params["job_id"] == job_id:
            shown.update(name, params["phase"], params["done"], params["total"], params["unit"])
        elif message["method"] == "jobs/didChange" and params["job"]["id"] == job_id:
            job: dict[str, Any] = params["job"]
            if job["status"] in _FINAL:
                return job


def _drive(
    client: Client, shown: Display, logs: list[Path], licences: dict[str, tuple[str, str]], root: Path
) -> list[Path]:
    """The main job; returns the datasets."""
    say = shown.line
    client.request("workspaces/create", {"root_path": str(root), "name": "demo", "activate": True})
    say(f"workspace {root}")
    datasets = []
    for log in logs:
        origin, licence = licences.get(log.name, ("", ""))
        say("")
        say(f"{log.name}" + (f" (from {origin}, licence {licence})" if licence else ""))
        asset = client.request("assets/register", {"file_path": str(log)})
        detail = client.request("assets/index", {"asset_id": asset["id"]})
        metadata = detail["metadata"]
        say(f"  indexed: {metadata['message_count']:,} messages, {metadata['topic_count']} topics")
        for topic in metadata["topics"]:
            say(f"    {topic['name']}  {topic['message_type']}  {topic['message_count']:,}  {topic['rate_hz']:.4g} Hz")
        for format_ in ("parquet", "tfrecord"):
            created = client.request("conversions/create", {"asset_ids": [asset["id"]], "output": {"format": format_}})
            job = _followed(client, shown, f"{log.name} to {format_}", created["job_id"])
            if job["status"] != "succeeded":
                raise HephaesError(
                    "worker_died", f"converting {log} to {format_} {job['status']}: {job['error_message']}"
                )
            page = client.request("outputs/list", {"conversion_id": created["id"]})
            for output in page["items"]:
                say(f"  {format_} {output['role']}: {output['file_name']}, {amount(output['size_bytes'], 'bytes')}")
                if output["role"] == "dataset":
                    datasets.append(Path(client.request("outputs/get", {"output_id": output["id"]})["file_path"]))
    return datasets


def _shortened(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS):
            yield from ({k: v for k, v in row.items() if v is not None} for row in batch.to_pylist())
            return


def _tfrecord_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for _ in range(ROWS):
            head = file.read(12)
            if len(head) < 12:
                return
            record = file.read(struct.unpack_from("<Q", head)[0])
            file.read(4)
            yield _without_absent(_features(record))


def _without_absent(features: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The features but for those of fields that the row does not have."""
    mark = "__present"
    absent = [key.removesuffix(mark) for key, value in features.items() if key.endswith(mark) and value == [0]]
    hidden = tuple(start for name in absent for start in (f"{name}__", f"__sequence_length__{name}__"))
    return {key: value for key, value in sorted(features.items()) if not key.startswith(hidden)}


def _features(example: bytes) -> dict[str, list[Any]]:
    """The features of a serialized ``tf.train.Example`` (tensorflow/core/example/feature.proto)."""
    found = {}
    for _, features in _fields(example):
        for _, entry in _fields(features):
            members = dict(_fields(entry))
            kind, values = next(_fields(members[2]), (0, b""))
            found[members[1].decode()] = _values(kind, values)
    return found


def _values(kind: int, values: bytes) -> list[Any]:
    """Values of a BytesList (1), FloatList (2) or Int64List (3)."""
    if kind == 1:
        return [value.decode(errors="replace") for _, value in _fields(values)]
    packed = b"".join(value for _, value in _fields(values))
    if kind == 2:
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    integers, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        integers.append(value - (1 << 64) if value >> 63 else value)
    return integers


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the length-delimited fields of a protobuf message that has no others."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
