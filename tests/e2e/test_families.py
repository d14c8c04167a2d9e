"""One recording in every container: the same rows and the same fingerprint of its content, whichever it is in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.sidecar import Sidecar
from tests.engine.test_recordings import by_rosbags, splits_with_metadata, write_splits
from tests.factories import BAG_COMPRESSIONS, MCAP_COMPRESSIONS, samples, write_bag, write_mcap
from tests.recordings import pack, write_db3

pytestmark = pytest.mark.e2e

TWO, ONE = samples(300), samples(300, ros=1)
MAPPING = {"imu": ["/imu"], "joints": ["/joints"], "text": ["/chatter"], "blob": ["/blob"]}
ROLES = ("dataset", "manifest")
Write = Callable[[Path], Path]


def in_mcap(messages: list[Any], **options: Any) -> Write:
    return lambda folder: write_mcap(folder / "a.mcap", messages, **options)


ROS2: dict[str, Write] = {
    **{f"mcap-{name}": in_mcap(TWO, compression=name) for name in MCAP_COMPRESSIONS},
    "mcap-unchunked": in_mcap(TWO, chunked=False),
    "mcap-without-summary": in_mcap(TWO, compression="zstd", summary=False, message_index=False),
    "mcap-packed": lambda folder: pack(write_mcap(folder / "a.mcap", TWO)),
    "db3": lambda folder: write_db3(folder / "a.db3", TWO),
    "db3-without-definitions": lambda folder: write_db3(folder / "a.db3", TWO, schema=2),
    "db3-messages-packed": lambda folder: write_db3(folder / "a.db3", TWO, packed=True),
    "splits-mcap": lambda folder: write_splits(folder / "run", "mcap")[1],
    "splits-db3": lambda folder: write_splits(folder / "run", "db3")[0].parent,
    "splits-packed": lambda folder: splits_with_metadata(folder / "run", "db3", packed=True, version=5),
    "rosbag2-file-packed": lambda folder: by_rosbags(folder / "run", "SQLITE3", "FILE"),
    "rosbag2-messages-packed": lambda folder: by_rosbags(folder / "run", "MCAP", "MESSAGE"),
}
ROS1: dict[str, Write] = {
    **{
        f"bag-{name}": (lambda folder, name=name: write_bag(folder / "a.bag", ONE, compression=name))
        for name in BAG_COMPRESSIONS
    },
    "bag-unclosed": lambda folder: write_bag(folder / "a.bag", ONE, closed=False),
    "mcap-ros1": in_mcap(ONE, compression="lz4", ros=1),
}


@pytest.fixture
def sidecar(common: Sidecar) -> Sidecar:
    """The sidecar of the module."""
    return common


@pytest.mark.parametrize("family", [ROS2, ROS1], ids=["ros2", "ros1"])
def test_rows_and_fingerprints_are_those_of_the_messages(
    sidecar: Sidecar, tmp_path: Path, family: dict[str, Write]
) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    ids = {}
    for name, write in family.items():
        (tmp_path / name).mkdir()
        asset = sidecar.request("assets/register", {"file_path": str(write(tmp_path / name))})
        sidecar.request("assets/index", {"asset_id": asset["id"]})
        detail = sidecar.request("assets/analyze", {"asset_id": asset["id"]})
        assert detail["metadata"]["message_count"] == 300, name
        ids[name] = (asset["id"], detail["quality"]["content_fingerprint"])
    assert {fingerprint for _, fingerprint in ids.values()} - {None} == {ids[next(iter(family))][1]}, ids
    asset_ids = [asset_id for asset_id, _ in ids.values()]
    made = sidecar.request("conversions/create", {"asset_ids": asset_ids, "mapping": MAPPING})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"
    found = sidecar.request("outputs/list", {"conversion_id": made["id"]})["items"]
    folder = Path(made["output_path"])
    files = {role: [folder / item["relative_path"] for item in found if item["role"] == role] for role in ROLES}
    tables = [pq.read_table(path) for path in files["dataset"]]
    assert len(tables) == len(family)
    assert len({str(table.schema.remove_metadata()) for table in tables}) == 1
    assert tables[0].num_rows == len({message.time for message in TWO})
    assert len({repr(table.to_pylist()) for table in tables}) == 1
    sources = [json.loads(path.read_text())["source"] for path in files["manifest"]]
    assert len(sources) == len(family)
    assert len({source["fingerprint"]["value"] for source in sources}) == 1
