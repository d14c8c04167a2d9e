"""``python -m fuzz.seeds`` writes the first inputs to ``fuzz/corpus``: small logs of all shapes, types and payloads."""

import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

from fuzz.encodings import ENCODINGS
from hephaes_rpc.engine.logs import open_log
from tests.engine.test_idl import IDL as PLAIN_IDL
from tests.engine.test_xcdr2 import CYCLONE, IDL, MORE
from tests.factories import samples, write_bag, write_mcap
from tests.recordings import write_db3

CORPUS = Path(__file__).parent / "corpus"
DATA = Path(__file__).parents[1] / "tests" / "data"
MAX_SEED = 13_000
MOST_STREAMS = 10


def main() -> int:
    """Write all; what lies there under the same names is replaced."""
    for target in ("bag", "mcap", "db3", "decode"):
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
    _containers()
    _decoders()
    return 0


def _containers() -> None:
    topics = ["/chatter", "/blob"]
    two, one = samples(6, topics=topics), samples(6, ros=1, topics=topics)
    for compression in ("none", "lz4", "zstd"):
        write_mcap(CORPUS / "mcap" / compression, two, chunk_size=200, compression=compression)
    write_mcap(CORPUS / "mcap" / "loose", two, chunked=False)
    write_mcap(CORPUS / "mcap" / "bare", two, chunk_size=200, summary=False, message_index=False)
    write_mcap(CORPUS / "mcap" / "empty", [])
    for compression in ("none", "bz2", "lz4"):
        write_bag(CORPUS / "bag" / compression, one, chunk_size=200, compression=compression)
    write_bag(CORPUS / "bag" / "unclosed", one, chunk_size=200, closed=False)
    write_db3(CORPUS / "db3" / "four", two, page_size=1024)
    write_db3(CORPUS / "db3" / "one", two, schema=1, page_size=512)
    write_db3(CORPUS / "db3" / "packed", two, packed=True, page_size=1024)
    for path in sorted(DATA.glob("*.*")):
        if path.suffix in (".bag", ".mcap") and path.stat().st_size <= MAX_SEED:
            (CORPUS / path.suffix[1:] / path.stem).write_bytes(path.read_bytes())


def _decoders() -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs = [
            write_mcap(Path(folder) / "two.mcap", samples(40)),
            write_bag(Path(folder) / "one.bag", samples(40, ros=1)),
            *sorted(path for path in DATA.glob("*.*") if path.suffix in (".bag", ".mcap")),
        ]
        for path in logs:
            with open_log(path) as log:
                for stream in log.summary.streams[:: -(-len(log.summary.streams) // MOST_STREAMS) or 1]:
                    if stream.undecodable is not None or not stream.message_count:
                        continue
                    slots = log.slots([stream])
                    data, walk = log.messages(int(log.index(slots).chunk[0]), slots)
                    payload = bytes(data[walk.offset[0] : walk.offset[0] + walk.length[0]])
                    first = stream.connections[0]
                    name = f"{first.schema_encoding or first.encoding}-{stream.topic.strip('/').replace('/', '-')}"
                    _seed(name, (first.encoding, first.schema_encoding), stream.type_name, first.schema, payload)
                    if first.encoding == "cdr" and path.parent != DATA:
                        _seed(f"bare-{name}", ("cdr", ""), stream.type_name, b"", payload)
    for k, (root, payload_hex) in enumerate(CYCLONE):
        name = root if root != "final" else "Root"
        text = IDL % MORE
        _seed(f"xcdr2-{k}", ("cdr", "ros2idl"), f"a::{name}", text.encode(), bytes.fromhex(payload_hex))
    _seed("idl", ("cdr", "ros2idl"), "pkg/msg/Thing", PLAIN_IDL.encode(), b"\0\1\0\0" + bytes(300))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {}}}}
    _seed("json", ("json", "jsonschema"), "T", json.dumps(schema).encode(), b'{"a": 1, "b": [1.5, "x", null]}')
    wide = "wstring w\nstring<=5[<=3] s\nT2[2] t\nbool[] b\n" + "=" * 80 + "\nMSG: a/T2\nfloat64[3] x\nduration d\n"
    payload = b"\0\1\0\0" + struct.pack("<I", 1) + bytes(4) + np.zeros(90, np.uint8).tobytes()
    _seed("wide", ("cdr", "ros2msg"), "a/msg/T", wide.encode(), payload)


def _seed(name: str, kind: tuple[str, str], type_name: str, schema: bytes, payload: bytes) -> None:
    number = [(encoding, schema_encoding) for encoding, schema_encoding, _ in ENCODINGS].index(kind)
    data = bytes((number, len(type_name))) + type_name.encode() + struct.pack("<H", len(schema)) + schema + payload
    if len(data) <= MAX_SEED:
        (CORPUS / "decode" / name).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
