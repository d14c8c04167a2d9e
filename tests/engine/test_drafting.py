"""Drafting: what is measured, how it is called, what rows it makes; by template."""

import time
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from hephaes_rpc.engine.authoring.authored import DraftRequest, PreviewRequest
from hephaes_rpc.engine.authoring.drafting import Draft, draft, templates_for
from hephaes_rpc.engine.authoring.workbench import preview_log
from hephaes_rpc.engine.specs.rules import spec_issues
from hephaes_rpc.engine.specs.spec import PathSource, ResampleRows, StackSource, TriggerRows
from hephaes_rpc.errors import HephaesError, SpecError
from tests.authoring_check import check_rows
from tests.corpus import Context
from tests.engine.test_inspection import look
from tests.factories import START_NS, samples, write_mcap


def drafted(path: Path, **request: Any) -> Draft:
    found = draft(look(path), DraftRequest(**request))
    assert not spec_issues(found.spec)
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_mcap(tmp_path / "log.mcap", samples(400), compression="zstd")


def test_measurements_are_drafted_and_nothing_of_headers(log: Path) -> None:
    found = drafted(log)
    features = found.spec.features
    assert list(features) == ["angular_velocity", "linear_acceleration", "blob", "chatter", "position", "velocity"]
    vector = features["angular_velocity"]
    assert isinstance(vector.source, StackSource)
    assert [part.field_path for part in vector.source.sources if isinstance(part, PathSource)] == [
        f"angular_velocity.{name}" for name in "xyz"
    ]
    assert (vector.dtype, vector.shape) == ("float64", [3])
    assert found.names["angular_velocity"] == ["x", "y", "z"]
    assert not any("header" in str(feature.source) for feature in features.values())
    assert features["chatter"].dtype == "native"
    assert features["blob"].dtype == "bytes"
    assert features["position"].shape == [-1], "as many joints as there are"


def test_rows_are_those_of_the_trigger_and_know_no_future(log: Path) -> None:
    found = drafted(log)
    rows = found.spec.row_strategy
    assert isinstance(rows, TriggerRows)
    assert rows.trigger_topic == found.trigger_topic == "/imu"
    assert {join.sync_policy for join in rows.joins} == {"last-known-before"}
    assert not any(join.required for join in rows.joins)
    assert [name for name, feature in found.spec.features.items() if feature.required] == [
        "angular_velocity",
        "linear_acceleration",
    ]


def test_what_is_asked_for_is_done(log: Path) -> None:
    found = drafted(
        log,
        trigger_topic="/joints",
        selected_topics=["/joints", "/imu"],
        max_features_per_topic=1,
        output_format="parquet",
        output_compression="zstd",
        schema_name="arm",
        schema_version=3,
        label_feature="position",
    )
    spec = found.spec
    assert list(spec.features) == ["position", "angular_velocity"]
    assert (found.trigger_topic, found.join_topics) == ("/joints", ["/imu"])
    assert (spec.output.format, spec.output.compression) == ("parquet", "zstd")
    assert (spec.schema.name, spec.schema.version) == ("arm", 3)
    assert spec.labels is not None
    assert spec.labels.primary == "position"
    assert spec.input.include_topics == ["/joints", "/imu"]
    assert spec.draft_origin is not None
    assert spec.draft_origin.provenance["trigger_topic"] == "/joints"
    assert any(text.startswith("/joints: ") for text in found.assumptions), "what was left out is told"


def test_a_label_that_is_no_feature_is_a_warning(log: Path) -> None:
    found = drafted(log, label_feature="positions")
    assert found.spec.labels is None
    assert found.warnings == ["label_feature 'positions' is no feature of the draft; did you mean 'position'?"]
    assert "labels: there is no feature 'positions'" in found.unresolved_fields


def test_topics_that_were_not_inspected_are_refused_or_dropped(log: Path) -> None:
    with pytest.raises(SpecError, match="'/imuu' was not inspected; did you mean '/imu'"):
        drafted(log, trigger_topic="/imuu")
    with pytest.raises(SpecError, match="none of selected_topics"):
        drafted(log, selected_topics=["/a"])
    assert drafted(log, selected_topics=["/imu", "/a"]).selected_topics == ["/imu"]


def test_a_compression_that_does_not_fit_is_refused(log: Path) -> None:
    with pytest.raises(HephaesError, match=r"draft_request\.output\.compression"):
        drafted(log, output_format="tfrecord", output_compression="zstd")


def test_features_of_one_name_have_their_topic_in_it(data: Path) -> None:
    features = drafted(data / "turtlesim-bz2.bag").spec.features
    assert {"turtle1_color_sensor", "turtle2_color_sensor", "turtle1_pose", "tf_transforms"} <= set(features)
    assert features["turtle1_color_sensor"].dtype == "int64"
    assert features["turtle1_pose"].dtype == "float32"
    assert features["tf_transforms"].shape == [1, 7]


def test_software_is_left_out_unless_asked_for(data: Path) -> None:
    found = drafted(data / "talker-zstd.mcap")
    assert found.selected_topics == ["/topic"]
    assert "topics that tell of the software are left out: /parameter_events, /rosout" in found.assumptions
    asked = drafted(data / "talker-zstd.mcap", selected_topics=["/rosout", "/parameter_events"])
    assert set(asked.selected_topics) == {"/rosout", "/parameter_events"}
    assert "/parameter_events: it has no messages, so its features are empty" in asked.unresolved_fields


def test_joints_keep_their_names(data: Path) -> None:
    found = drafted(data / "imu-joint-state.mcap")
    assert found.names["position"] == ["joint1", "joint2", "joint3"]
    description = found.spec.features["position"].description
    assert description is not None
    assert description.endswith(": joint1, joint2, joint3")
    assert found.spec.draft_origin is not None
    assert found.spec.draft_origin.provenance["names"]["position"] == ["joint1", "joint2", "joint3"]


def test_messages_without_fields_are_whole_and_unresolved(data: Path) -> None:
    found = drafted(data / "empty-basic-types-zstd.mcap")
    assert found.spec.features["a_empty"].dtype == "json"
    assert found.unresolved_fields == ["a_empty: the messages of a_empty have no fields"]


def test_a_log_of_which_nothing_can_be_decoded(data: Path) -> None:
    with pytest.raises(HephaesError, match="no topic of the log can become features: topic 'example' is left out"):
        drafted(data / "unchunked.mcap")
    with pytest.raises(HephaesError, match="it has no topics"):
        drafted(data / "no-messages.bag")


# -- templates ---------------------------------------------------------------------------------------------------------


def test_imitation_learning(data: Path) -> None:
    found = drafted(data / "turtlesim-bz2.bag", template="imitation-learning")
    features, rows = found.spec.features, found.spec.row_strategy
    assert all(name == "action" or name.startswith("observation.") for name in features)
    assert "/turtle1/cmd_vel" in str(features["action"].source)
    assert isinstance(rows, TriggerRows)
    assert {join.sync_policy for join in rows.joins if join.topic == "/turtle1/cmd_vel"} == {"nearest"}
    named = drafted(data / "turtlesim-bz2.bag", template="imitation-learning", action_topic="/turtle2/cmd_vel")
    assert "/turtle2/cmd_vel" in str(named.spec.features["action"].source)


def test_without_commands_the_action_is_the_next_state(log: Path) -> None:
    found = drafted(log, template="imitation-learning", output_format="parquet")
    state, action = found.spec.features["observation.state"], found.spec.features["action"]
    assert (action.source, action.dtype, action.shape) == (state.source, state.dtype, state.shape)
    assert (action.shift, action.missing, state.shift) == (1, "drop", 0)
    assert "action: no topic of commands was found" in found.unresolved_fields
    assert list(check_rows(log, found.spec)) == []
    rows = preview_log(str(log), found.spec, PreviewRequest(sample_n=20), Context(), time.perf_counter).table
    assert repr(rows["action"].to_pylist()[:-1]) == repr(rows["observation.state"].to_pylist()[1:])


def test_the_next_state_is_asked_for(data: Path) -> None:
    found = drafted(data / "turtlesim-bz2.bag", template="imitation-learning", next_state=True)
    action = found.spec.features["action"]
    assert (action.shift, action.source) == (1, found.spec.features["observation.state"].source)
    assert not [text for text in found.unresolved_fields if text.startswith("action")]
    assert list(check_rows(data / "turtlesim-bz2.bag", found.spec)) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"next_state": True}, "next_state has no effect without the template imitation-learning"),
        ({"action_topic": "/imu", "template": "detection"}, "action_topic has no effect without"),
        ({"action_topic": "/imu", "next_state": True, "template": "imitation-learning"}, "not from both"),
    ],
)
def test_where_actions_come_from_must_make_sense(log: Path, request_: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        drafted(log, **request_)


def test_time_series(log: Path) -> None:
    found = drafted(log, template="time-series")
    rows = found.spec.row_strategy
    assert isinstance(rows, ResampleRows)
    assert (rows.method, rows.topics) == ("interpolate", ["/imu", "/joints"])
    rate = look(log).result.topics[rows.anchor_topic or ""].rate_hz
    assert rate / 2.6 < rows.freq_hz <= rate * 1.02
    assert all(feature.dtype in ("float64", "float32") for feature in found.spec.features.values())


def test_templates_that_do_not_fit_are_refused(data: Path) -> None:
    path = data / "two-connections.bag"
    assert templates_for(look(path)) == []
    for template, lacking in (("time-series", "a topic with numbers"), ("detection", "a topic with images")):
        with pytest.raises(HephaesError, match=lacking):
            drafted(path, template=template)


BOX = """\
string class_name
float32 score
float64 xmin
float64 ymin
float64 xmax
float64 ymax
"""
BOXES = f"""\
std_msgs/Header header
Box[] boxes
================================================================================
MSG: test_msgs/Box
{BOX}================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
COMPRESSED = """\
std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""


def detection_log(path: Path) -> Path:
    import numpy as np

    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(BOX, "test_msgs/msg/Box"))
    types.register(get_types_from_msg("std_msgs/Header header\nBox[] boxes\n", "test_msgs/msg/Boxes"))
    known = types.types
    header = known["std_msgs/msg/Header"](stamp=known["builtin_interfaces/msg/Time"](sec=1, nanosec=0), frame_id="lens")
    with path.open("wb") as file:
        writer = McapWriter(file, compression=CompressionType.NONE)
        writer.start("ros2", "test")
        channels = {
            name: writer.register_channel(topic, "cdr", writer.register_schema(name, "ros2msg", text.encode()))
            for topic, name, text in (
                ("/lens", "sensor_msgs/msg/CompressedImage", COMPRESSED),
                ("/found", "test_msgs/msg/Boxes", BOXES),
            )
        }
        for k in range(6):
            box = known["test_msgs/msg/Box"]
            boxes = [box(class_name="cup", score=0.5, xmin=1.0, ymin=2.0, xmax=3.0 + i, ymax=4.0) for i in range(k)]
            image = known["sensor_msgs/msg/CompressedImage"](
                header=header, format="jpeg", data=np.frombuffer(b"\xff\xd8\xff", np.uint8)
            )
            for name, message in (
                ("sensor_msgs/msg/CompressedImage", image),
                ("test_msgs/msg/Boxes", known["test_msgs/msg/Boxes"](header=header, boxes=boxes)),
            ):
                time = START_NS + k * 10**8
                writer.add_message(channels[name], time, bytes(types.serialize_cdr(message, name)), time)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def test_detection(tmp_path: Path) -> None:
    path = detection_log(tmp_path / "d.mcap")
    found = drafted(path, template="detection")
    features = found.spec.features
    assert list(features) == ["image", "boxes", "classes", "scores"]
    assert (features["boxes"].dtype, features["boxes"].shape) == ("float64", [-1, 4])
    assert found.names["boxes"] == ["xmin", "ymin", "xmax", "ymax"]
    assert found.trigger_topic == "/lens"
    assert found.spec.labels is not None
    assert found.spec.labels.primary == "classes"
    assert "detection" in templates_for(look(path))
    assert list(check_rows(path, found.spec)) == []
