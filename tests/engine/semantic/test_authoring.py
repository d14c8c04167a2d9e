"""Inspections and drafts of logs with clouds, video, scans and transforms: what is drafted converts unedited."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hephaes_rpc.engine.authoring.authored import DraftRequest, InspectRequest, PreviewRequest
from hephaes_rpc.engine.authoring.workbench import draft_log, inspect_log, preview_log
from hephaes_rpc.engine.pipeline import ConvertTask, outline
from hephaes_rpc.engine.specs import document
from tests.corpus import Context
from tests.engine.semantic import test_points, test_scan, test_tf, test_video
from tests.engine.semantic.converting import made, run, table, write_log
from tests.factories import START_NS


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drive with every kind of message."""
    video = [
        ("/video", START_NS + k * 10**7, test_video.VIDEO, test_video.message(test_video.VIDEO, data, "h264"))
        for k, (data, _) in enumerate(test_video.units("h264"))
    ]
    stream = [
        ("/packed", time, test_video.COMPRESSED, test_video.message(test_video.COMPRESSED, data, "h265"))
        for (_, time, _, _), (data, _) in zip(video, test_video.units("h265"), strict=True)
    ]
    scans = [
        ("/scan", START_NS + k * 10**7, test_scan.SCAN, test_scan.scan(2, [1.0, 2.0], [3.0, 4.0])) for k in range(9)
    ]
    moves, *_ = test_tf.drive()
    messages = [*test_points.drive(2), *video, *stream, *scans, *(m for m in moves if m[0] != "/tick")]
    return write_log(tmp_path / "a.mcap", monkeypatch, 2, sorted(messages, key=lambda m: m[1]))


def test_inspection_tells_points_and_codecs(log: Path) -> None:
    found = inspect_log(str(log), InspectRequest(thumbnails=True), Context()).topics
    points = found["/lidar"].field_candidates["data"].points
    assert points is not None
    assert points.fields == {
        "x": "float32",
        "y": "float32",
        "z": "float32",
        "intensity": "float32",
        "ring": "uint16",
        "t": "float64",
    }
    assert (points.height, points.width, points.varies) == (1, 5, True)
    for topic, codec in (("/video", "h264"), ("/packed", "h265")):
        image = found[topic].field_candidates["data"].image
        assert image is not None
        assert (image.file_format, image.can_encode) == (codec, False)
    assert found["/scan"].field_candidates["ranges"].points is None


@pytest.mark.parametrize("template", [None, "time-series"])
def test_a_draft_of_it_all_converts_unedited(log: Path, tmp_path: Path, template: Any) -> None:
    wanted = DraftRequest(output_format="parquet", template=template)
    _, draft = draft_log(str(log), InspectRequest(), wanted, Context(), lambda: 0.0)
    assert draft.preview is not None
    found = table(log, tmp_path / "out", draft.spec)
    assert found.num_rows
    if template is None:
        assert found.schema.field("points").type == pa.list_(pa.list_(pa.float64(), 6))
        keys = [name for name in found.column_names if name.endswith("_keyframe")]
        assert len(keys) == 2
        assert all(sum(filter(None, found[name].to_pylist())) >= 3 for name in keys)
        assert not any("unresolved" in text or "do not fit PNG" in text for text in draft.unresolved_fields)
        assert draft.names["points"] == ["x", "y", "z", "intensity", "ring", "t"]


def test_colours_packed_into_one_number_are_no_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [test_points.field(2, name, 4 * k, 7) for k, name in enumerate(("x", "y", "z", "rgb"))]
    fields.append(test_points.field(2, "normal", 16, 7, 3))
    data = np.zeros(28 * 5, np.uint8).tobytes()
    message = test_points.cloud(2, fields, 1, 5, data, point_step=28)
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, [("/c", START_NS, test_points.CLOUD, message)])
    _, draft = draft_log(str(log), InspectRequest(), DraftRequest(output_format="parquet"), Context(), lambda: 0.0)
    assert draft.spec["features"]["points"]["source"]["fields"] == ["x", "y", "z"]
    assert table(log, tmp_path / "out", draft.spec)["points"].to_pylist() == [[[0.0] * 3] * 5]


def test_a_topic_without_messages_is_drafted_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = test_points.cloud(2, [], 0, 0, b"", point_step=0)
    word = ("/w", START_NS, "std_msgs/msg/String", made(2, "std_msgs/msg/String", data="x"))
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, [("/c", START_NS, test_points.CLOUD, empty), word])
    _, draft = draft_log(str(log), InspectRequest(), DraftRequest(output_format="parquet"), Context(), lambda: 0.0)
    assert table(log, tmp_path / "out", draft.spec).num_rows


EVERYTHING = {
    "points": test_points.points("x", "t"),
    "beams": test_scan.beams("x", "range", rule="skip"),
    "pose": test_tf.tf("map", "tool"),
    "video": test_video.FEATURES["data"] | {"source": {"topic": "/video", "field_path": "data"}},
    "keyframe": {"source": {"kind": "keyframe", "topic": "/video"}, "dtype": "bool"},
}


@pytest.mark.parametrize("output", [{"format": "parquet", "shards": 2}, {"format": "tfrecord"}])
def test_same_bytes_in_whatever_pieces(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: dict[str, Any]
) -> None:
    rows = {"kind": "resample", "freq_hz": 200, "method": "interpolate", "topics": ["/lidar", "/scan", "/video"]}
    spec = {"row_strategy": rows, "features": EVERYTHING, "output": output}
    found = []
    for name in ("one", "another"):
        if name != "one":
            monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.FLUSH_BYTES", 500)
            monkeypatch.setattr("hephaes_rpc.engine.timeline.assembly.BATCH_BYTES", 1000)
            monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.FIRST_PIECE_ROWS", 2)
            monkeypatch.setattr("hephaes_rpc.engine.datasets.featured.PIECE_BYTES", 300)
            monkeypatch.setattr("hephaes_rpc.engine.features.frames.THIN_AT", 3)
        result = run(log, tmp_path / name, spec)
        assert result.counts["rows"] > 100
        found.append({Path(o.path).name: Path(o.path).read_bytes() for o in result.outputs})
    assert found[0] == found[1]


def test_what_is_read_for_poses_is_told(log: Path) -> None:
    spec = {"row_strategy": {"kind": "per-message", "topic": "/scan"}, "features": {"p": EVERYTHING["pose"]}}
    loaded = document.load(spec).spec
    task = ConvertTask(log_path=str(log), spec=loaded, output_dir="", episode_id="ep", stem="run")
    told = outline(task, Context())
    shown = preview_log(str(log), loaded, PreviewRequest(), Context(), lambda: 0.0).result.estimate
    assert told.read_bytes == shown.read_bytes > 10_000
