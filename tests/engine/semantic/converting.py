"""Logs of any message types, and the datasets that specs make of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaes_rpc.engine.authoring.authored import PreviewRequest
from hephaes_rpc.engine.authoring.workbench import preview_log
from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, convert
from hephaes_rpc.engine.specs import document
from hephaes_rpc.testing import logs
from tests.corpus import Context
from tests.factories import Sample, store, write_bag, write_mcap

Ros = Literal[1, 2]


def made(ros: Ros, type_name: str, **members: Any) -> Any:
    """A message object; ROS1 headers get a sequence number."""
    if type_name == "std_msgs/msg/Header" and ros == 1:
        members["seq"] = 0
    return store(ros).types[type_name](**members)


def header(ros: Ros, stamp_ns: int, frame_id: str = "base") -> Any:
    sec, nanosec = divmod(stamp_ns, 10**9)
    time = made(ros, "builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return made(ros, "std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def write_log(path: Path, patch: pytest.MonkeyPatch, ros: Ros, messages: Iterable[tuple[str, int, str, Any]]) -> Path:
    """A bag or an MCAP file of (topic, log time, type, message)."""
    serialize = store(1).serialize_ros1 if ros == 1 else store(2).serialize_cdr
    found = []
    for topic, time, type_name, message in messages:
        patch.setitem(logs.TOPICS, topic, type_name)
        found.append(Sample(topic, time, bytes(serialize(message, type_name))))
    return write_bag(path, found) if path.suffix == ".bag" else write_mcap(path, found, ros=ros)


def spec_of(topic: str, features: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A row per message of a topic."""
    rows = {"kind": "per-message", "topic": topic}
    return {"row_strategy": rows, "features": features, "output": {"format": "parquet"}} | more


def run(log: Path, folder: Path, spec: dict[str, Any]) -> ConvertResult:
    loaded = document.load({"spec_version": 2, "spec": spec})
    task = ConvertTask(log_path=str(log), spec=loaded.spec, output_dir=str(folder), episode_id="ep", stem="run")
    return convert(task, Context())


def table(log: Path, folder: Path, spec: dict[str, Any]) -> pa.Table:
    """The dataset as pyarrow reads it, once the preview has been found to show the same rows."""
    result = run(log, folder, spec)
    (path,) = [output.path for output in result.outputs if output.role == "dataset"]
    found = pq.read_table(path)
    shown = preview_log(
        str(log), document.load(spec).spec, PreviewRequest(sample_n=max(1, found.num_rows)), Context(), lambda: 0.0
    )
    assert shown.table.schema.equals(found.schema)
    assert repr(shown.table.to_pylist()) == repr(found.to_pylist())  # where NaN is NaN
    return found


def errors(log: Path, folder: Path, spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Pointer and message of what is wrong with a spec."""
    with pytest.raises(Exception, match=r".") as caught:
        run(log, folder, spec)
    return [(each["pointer"], each["message"]) for each in caught.value.data["errors"]]  # type: ignore[attr-defined]
