import math
from typing import Any

import pytest

from hephaes_rpc.engine.specs.issues import pointer
from hephaes_rpc.engine.specs.rules import check_spec, spec_issues
from hephaes_rpc.engine.specs.spec import (
    ConstantSource,
    ConversionSpec,
    Join,
    PathSource,
    Placeholder,
    ResampleRows,
    Span,
    TFRecordOutput,
    age_column,
    leaves,
    parse_path,
    parse_template,
)
from hephaes_rpc.errors import ParamsError, SpecError
from hephaes_rpc.serde import structure, unstructure
from tests.engine.specs import ABSENT, changed, mapping_spec, rows_spec

BYTES = {"__bytes__": True, "encoding": "base64", "value": "AP8="}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("pose.position.x", ("pose", "position", "x")),
        ("points[0].x", ("points", 0, "x")),
        ("points.0.x", ("points", 0, "x")),
        ("data.-1", ("data", -1)),
        ("data[-2]", ("data", -2)),
        ("data[1:-1]", ("data", Span(1, -1))),
        ("data[:3][0]", ("data", Span(None, 3), 0)),
        ("data[2:]", ("data", Span(2, None))),
        ("data[:]", ("data", Span(None, None))),
        ("data.[0]", ("data", 0)),
    ],
)
def test_field_paths(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize(
    "text", ["", ".a", "a.", "a..b", "a[", "a[]", "a[1:2:3]", "a b", "a[x]", "ä", "[0]a", "0x", "a\n"]
)
def test_senseless_field_paths(text: str) -> None:
    with pytest.raises(ValueError, match="field path"):
        parse_path(text)


def test_templates() -> None:
    assert parse_template("{episode_id}-{shard:05}.{extension}") == (
        Placeholder("episode_id", 0),
        "-",
        Placeholder("shard", 5),
        ".",
        Placeholder("extension", 0),
    )
    assert parse_template("{shard_index:05d}") == parse_template("{shard_index:5}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{epsiode}", "no placeholder {epsiode}"),
        ("{shard", "brace"),
        ("{shard.real}", "brace"),
        ("{shard!r}", "brace"),
        ("{{shard}}", "brace"),
        ("{split:05}", "width"),
        ("a/{shard}", "plain file name"),
        ("..\\{shard}", "plain file name"),
        ("a\0", "plain file name"),
        (" ", "neither a dot nor a blank"),
        (".{shard}", "neither a dot nor a blank"),
    ],
)
def test_refused_templates(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("{", r"\{").replace("}", r"\}")):
        parse_template(text)


def test_names_of_age_columns() -> None:
    assert age_column("/imu/Data") == "imu_data__age_ns"
    assert age_column("/") == "topic__age_ns"


def test_words_are_trimmed() -> None:
    assert Join(topic=" /a ").topic == "/a"
    assert PathSource(topic="/a", field_path=" ").field_path is None
    rows = ResampleRows(freq_hz=1, method="downsample", topics=["/a", " /b", "/a"], anchor_topic=" ")
    assert (rows.topics, rows.anchor_topic, rows.step_ns) == (["/a", "/b"], None, 10**9)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("row_strategy.trigger_topic", " ", "must not be blank"),
        ("row_strategy.joins.0.tolerance_ns", -1, "must be >= 0"),
        ("row_strategy.joins.0.clock", "wall", "log_time, publish_time, header_stamp or field:<path>"),
        ("row_strategy.joins.0.clock", "field:", "empty"),
        ("row_strategy.joins.0.default_value", {"__bytes__": True, "encoding": "hex", "value": "00"}, "form"),
        ("row_strategy.joins.0.default_value", [{"__float__": "1"}], "form"),
        ("features.image.source.field_path", "a..b", "makes no sense from '..b'"),
        ("features.image.shape", [True], "expected integer"),
        ("features.image.presence_flag", 1, "expected boolean"),
        ("features.buttons.transforms.0.dtype", "int46", "int64"),
        ("split.train_fraction", 1.5, "must be <= 1"),
        ("split.seed", 1.0, "expected integer"),
        ("input.sample_rate_hz", 0, "greater than 0"),
        ("input.max_messages", 0, "must be >= 1"),
        ("input.start_ns", -1, "must be >= 0"),
        ("schema.name", " ", "must not be blank"),
        ("schema.version", 0, "must be >= 1"),
        ("output.shards", 0, "must be >= 1"),
        ("output.filename_template", "../x", "plain file name"),
        ("validation.sample_n", 0, "must be >= 1"),
        ("validation.bad_record_budget", -1, "must be >= 0"),
    ],
)
def test_single_values_are_checked(path: str, value: object, words: str) -> None:
    with pytest.raises(ParamsError) as refused:
        structure(changed(rows_spec(), {path: value}), ConversionSpec)
    (error,) = refused.value.errors
    assert error["path"].replace("[", ".").replace("]", "").startswith(path)
    assert words in error["message"]


@pytest.mark.parametrize("freq", [0, -1, math.inf, 2e9, 1e-10])
def test_grids_have_steps(freq: float) -> None:
    with pytest.raises(ValueError, match="must"):
        ResampleRows(freq_hz=freq, method="interpolate")


def test_tagged_values_are_what_they_mean() -> None:
    value = {"a": [BYTES, {"__float__": "-inf"}], "b": {"__int64__": "9007199254740993"}}
    source = structure({"value": value}, ConstantSource)
    assert source.value == {"a": [b"\x00\xff", -math.inf], "b": 9007199254740993}
    assert unstructure(source)["value"] == value
    assert structure(unstructure(source), ConstantSource) == source


def test_specs_survive_the_way_to_a_worker() -> None:
    spec = structure(rows_spec(), ConversionSpec)
    assert structure(unstructure(spec), ConversionSpec) == spec
    check_spec(spec)


def test_a_spec_writes_tfrecord_unless_it_says_otherwise() -> None:
    assert ConversionSpec().output == TFRecordOutput()
    assert ConversionSpec().has_manifest
    assert not ConversionSpec(output=TFRecordOutput(write_manifest=False)).has_manifest
    assert not ConversionSpec(write_manifest=False).has_manifest


def test_leaves_tell_their_place() -> None:
    spec = structure(rows_spec(), ConversionSpec)
    assert [at for at, _ in leaves(spec.features["turn"].source, ("source",))] == [
        ("source", "sources", 0),
        ("source", "sources", 1),
    ]


def test_pointers_are_escaped() -> None:
    assert pointer(("decoding", "topics", "/a~b", 0)) == "/decoding/topics/~1a~0b/0"


PARTS = {"train_fraction": 0.5, "val_fraction": 0.5, "test_fraction": 0}
TRIGGER = "row_strategy"
JOIN = "row_strategy.joins.0"
TRANSFORM = "features.image.transforms"
RULES: list[tuple[dict[str, Any], str, str]] = [
    # shape
    ({"features": {}, "labels": ABSENT, "split": ABSENT, "validation": {}}, "features", "row_strategy needs features"),
    ({"row_strategy": ABSENT}, "row_strategy", "features need a row_strategy"),
    ({"mapping": {"a": ["/a"]}}, "mapping", "cannot be given together with row_strategy and features"),
    ({"resample": {"freq_hz": 1, "method": "downsample"}}, "resample", "together with row_strategy and features"),
    # input and decoding
    ({"input.recursive": True}, "input/recursive", "no effect without input.paths"),
    ({"input": {"start_ns": 5, "end_ns": 4}}, "input/end_ns", "lies before"),
    ({"input.paths": ["a", " "]}, "input/paths/1", "is blank"),
    ({"input.include_topics": ["*", ""]}, "input/include_topics/1", "is blank"),
    ({"input.exclude_topics": ["/im?ge"]}, "row_strategy/trigger_topic", "left out by input.exclude_topics '/im?ge'"),
    ({"input.include_topics": ["/i*"]}, "row_strategy/joins/0/topic", "not among input.include_topics"),
    ({"input.exclude_topics": ["/imu"]}, "features/turn/source/sources/0/topic", "left out"),
    ({"decoding.topics": {" ": {"on_failure": "skip"}}}, "decoding/topics/ ", "blank topic"),
    ({"decoding.topics": {"/imi": {"on_failure": "skip"}}}, "decoding/topics/~1imi", "did you mean '/imu'"),
    ({"decoding.topics": {"/imu": {}}}, "decoding/topics/~1imu", "says nothing"),
    # rows
    ({f"{JOIN}.topic": "/image"}, "row_strategy/joins/0/topic", "already the trigger topic"),
    ({"row_strategy.joins.1.topic": "/joy"}, "row_strategy/joins/1/topic", "already joined"),
    ({f"{JOIN}.sync_policy": "last-known-before"}, "row_strategy/joins/0/tolerance_ns", "no effect"),
    ({"row_strategy.joins.1.no_future": True}, "row_strategy/joins/1/no_future", "never looks ahead"),
    (
        {f"{JOIN}.sync_policy": "exact-within-tolerance", f"{JOIN}.tolerance_ns": None},
        "row_strategy/joins/0/staleness_ns",
        "times must be equal",
    ),
    (
        {JOIN: {"topic": "/joy", "sync_policy": "exact-within-tolerance", "no_future": True}},
        "row_strategy/joins/0/no_future",
        "times must be equal",
    ),
    ({f"{JOIN}.missing": "zeros", f"{JOIN}.default_value": 1}, "row_strategy/joins/0/default_value", "'zeros'"),
    (
        {"row_strategy.joins.1": {"topic": "/gps", "required": False}, "features.turn": ABSENT},
        "row_strategy/joins/1",
        "no feature takes the topic",
    ),
    (
        {
            "row_strategy": {"kind": "resample", "freq_hz": 1, "method": "downsample", "topics": ["/image"]},
            "features": {"a": {"source": {"kind": "path", "topic": "/image"}}},
            "labels": ABSENT,
            "validation": {},
            "row_strategy.anchor_topic": "/imag",
        },
        "row_strategy/anchor_topic",
        "did you mean '/image'",
    ),
    ({TRIGGER: {"kind": "per-message", "topic": "/image"}}, "features/buttons/source/topic", "no topic '/joy'"),
    (
        {TRIGGER: {"kind": "resample", "freq_hz": 1, "method": "downsample", "topics": ["/image", "/joy"]}},
        "features/turn/source/sources/0/topic",
        "no topic '/imu'",
    ),
    (
        {TRIGGER: {"kind": "resample", "freq_hz": 1, "method": "downsample"}},
        "features/stamp/source/topic",
        "needs a topic",
    ),
    ({"features.image.source.topic": "/imag"}, "features/image/source/topic", "did you mean '/image'"),
    # features
    ({"features. ": rows_spec()["features"]["image"]}, "features/ ", "without a name"),
    ({"features.timestamp_ns": rows_spec()["features"]["image"]}, "features/timestamp_ns", "the row time"),
    ({"features.a\0b": rows_spec()["features"]["image"]}, "features/a\0b", "NUL"),
    ({"features.image.source.field_path": None, "features.image.dtype": "int64"}, "features/image/dtype", "whole"),
    ({"features.image.shape": [3, -2]}, "features/image/shape/1", "no dimension has length -2"),
    ({"features.image.dtype": "json", "features.image.missing": "zeros"}, "features/image/missing", "has no zero"),
    ({"features.turn.source.sources": []}, "features/turn/source/sources", "no sources"),
    (
        {"features.stamp.source": {"kind": "metadata", "key": "episode_id", "topic": "/imu"}},
        "features/stamp/source/topic",
        "no topic",
    ),
    (
        {"features.stamp.source": {"kind": "metadata", "key": "source_file", "default_value": "x"}},
        "features/stamp/source/default_value",
        "never absent",
    ),
    (
        {"row_strategy.joins.1.age_column": True, "features.imu__age_ns": rows_spec()["features"]["image"]},
        "features/imu__age_ns",
        "the age of '/imu'",
    ),
    (
        {
            "row_strategy.joins.1.age_column": True,
            f"{JOIN}.age_column": True,
            f"{JOIN}.topic": "/Imu",
            "features.buttons.source.topic": "/Imu",
        },
        "row_strategy/joins/1/age_column",
        "would both be the column",
    ),
    (
        {"labels.class_map": {"a": 1}, "features.label": rows_spec()["features"]["image"]},
        "features/label",
        "the name of the label",
    ),
    (
        {"output": {"format": "tfrecord"}, "features.image__present": rows_spec()["features"]["image"]},
        "features/image__present",
        "the presence of 'image'",
    ),
    (
        {"output": {"format": "tfrecord"}, "features.__sequence_length__image": rows_spec()["features"]["image"]},
        "features/__sequence_length__image",
        "the length of 'image'",
    ),
    # transforms
    ({TRANSFORM: [{"kind": "length"}]}, "features/image/transforms/0", "no length"),
    ({TRANSFORM: [{"kind": "length", "exact": 1, "min": 1}]}, "features/image/transforms/0/min", "beside exact"),
    (
        {TRANSFORM: [{"kind": "length", "pad_to": 1, "truncate_to": 1}]},
        "features/image/transforms/0/truncate_to",
        "beside pad_to",
    ),
    ({TRANSFORM: [{"kind": "length", "min": 2, "max": 1}]}, "features/image/transforms/0/max", "less than min"),
    (
        {TRANSFORM: [{"kind": "length", "truncate_to": 2, "min": 3}]},
        "features/image/transforms/0/min",
        "truncate_to 2 leaves",
    ),
    (
        {TRANSFORM: [{"kind": "length", "truncate_to": 2, "max": 3}]},
        "features/image/transforms/0/max",
        "beside truncate_to",
    ),
    (
        {TRANSFORM: [{"kind": "length", "exact": 2, "pad_value": 3}]},
        "features/image/transforms/0/pad_value",
        "without pad_to",
    ),
    ({TRANSFORM: [{"kind": "clamp"}]}, "features/image/transforms/0", "neither"),
    ({TRANSFORM: [{"kind": "clamp", "min": 2, "max": 1}]}, "features/image/transforms/0/max", "less than min"),
    ({TRANSFORM: [{"kind": "scale"}]}, "features/image/transforms/0", "changes nothing"),
    ({TRANSFORM: [{"kind": "normalize"}]}, "features/image/transforms/0", "nothing is given"),
    ({TRANSFORM: [{"kind": "normalize", "min": 1}]}, "features/image/transforms/0/max", "go together"),
    ({TRANSFORM: [{"kind": "normalize", "min": 1, "max": 1}]}, "features/image/transforms/0/max", "equal"),
    (
        {TRANSFORM: [{"kind": "normalize", "min": 1, "max": 2, "std": 1}]},
        "features/image/transforms/0/std",
        "beside min",
    ),
    (
        {TRANSFORM: [{"kind": "image_color_convert", "from": "rgb", "to": "rgb"}]},
        "features/image/transforms/0/to",
        "the same",
    ),
    (
        {TRANSFORM: [{"kind": "image_color_convert", "from": "rgb", "to": "bgr", "channels": 4}]},
        "features/image/transforms/0/channels",
        "rgb has 3 channels",
    ),
    (
        {TRANSFORM: [{"kind": "image_color_convert", "to": "bgr", "width": 4}]},
        "features/image/transforms/0/height",
        "together",
    ),
    *(
        ({"features.buttons": rows_spec()["features"]["buttons"] | {"required": True, "missing": missing}}, *told)
        for missing in ("zeros", "drop", "error")
        for told in [("features/buttons/required", f"required has no effect with missing '{missing}'")]
    ),
    *(
        ({"row_strategy.joins.1": {"topic": "/imu", "required": False, "missing": missing}}, *told)
        for missing in ("drop", "error")
        for told in [("row_strategy/joins/1/required", f"required false has no effect with missing '{missing}'")]
    ),
    ({TRANSFORM: [{"kind": "image_encode", "quality": 4}]}, "features/image/transforms/0/quality", "with png"),
    # shift
    ({"features.buttons.shift": 1}, "features/buttons/shift", "with split 'random' shift takes values of one part"),
    (
        {"features.buttons.shift": 1, "split": {"strategy": "none"}, "features.buttons.missing": "error"},
        "features/buttons/missing",
        "the last rows have no value",
    ),
    (
        {
            "features.buttons.shift": 1,
            "split": {"strategy": "none"},
            "row_strategy.joins.0": {"topic": "/joy", "sync_policy": "nearest", "no_future": True},
        },
        "features/buttons/shift",
        "which no_future of its join forbids",
    ),
    (
        {
            "features.buttons": {"source": {"kind": "metadata", "key": "episode_id"}, "dtype": "native", "shift": 2},
            "split": {"strategy": "none"},
        },
        "features/buttons/shift",
        "the same in every row",
    ),
    # labels
    ({"labels.source": {"kind": "path", "topic": "/image"}}, "labels/source", "cannot be given together"),
    ({"labels": {}}, "labels", "neither primary nor source"),
    ({"labels.primary": "button"}, "labels/primary", "there is no feature 'button'; did you mean 'buttons'"),
    ({"labels.transforms": [{"kind": "scale", "scale": 2}]}, "labels/transforms", "has its own"),
    ({"labels": {"source": {"kind": "path", "topic": "/joi"}}}, "labels/source/topic", "did you mean '/joy'"),
    ({"labels": {"source": {"kind": "concat", "sources": []}}}, "labels/source/sources", "no sources"),
    (
        {"labels": {"source": {"kind": "path", "topic": "/joy"}, "transforms": [{"kind": "clamp"}]}},
        "labels/transforms/0",
        "neither",
    ),
    ({"labels.multi_label": True, "labels.class_map": {"a": -1}}, "labels/class_map/a", "0 or more"),
    # split and validation
    ({"split": {"strategy": "none", "test_fraction": 1.0}}, "split/test_fraction", "no effect with strategy 'none'"),
    ({"split.val_fraction": ABSENT}, "split/val_fraction", "missing"),
    ({"split.val_fraction": 0.2}, "split", "add up to 1.1"),
    ({"split.strategy": "time"}, "split/seed", "no effect with strategy 'time'"),
    ({"split.strategy": "group"}, "split/group_by", "missing"),
    ({"split.group_by": "image"}, "split/group_by", "no effect with strategy 'random'"),
    ({"split.strategy": "group", "split.group_by": "imag"}, "split/group_by", "did you mean 'image'"),
    ({"validation.expected_features": ["image", "x"]}, "validation/expected_features/1", "no feature 'x'"),
    # output
    ({"output.layout": "topics"}, "output/layout", "not features"),
    ({"output.filename_template": "{split}.x"}, "output/filename_template", "2 shards one name"),
    ({"output.filename_template": "{shard}.x"}, "output/filename_template", "parts of the split one name"),
]


def found(spec: dict[str, Any]) -> dict[str, str]:
    return {pointer(i.path): i.message for i in spec_issues(structure(spec, ConversionSpec))}


@pytest.mark.parametrize(("changes", "place", "words"), RULES)
def test_contradictions_are_refused_at_their_place(changes: dict[str, Any], place: str, words: str) -> None:
    issues = found(changed(rows_spec(), changes))
    assert words in issues.get("/" + place, str(issues))


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"mapping": {}}, "mapping", "no field"),
        ({"mapping.timestamp_ns": ["/a"]}, "mapping/timestamp_ns", "row time"),
        ({"mapping.a": []}, "mapping/a", "at least one topic"),
        ({"mapping.a": ["/b", ""]}, "mapping/a/1", "no empty one"),
        ({"input.exclude_topics": ["/imu"]}, "mapping/imu/0", "left out"),
        ({"mapping.imu": ["/imu@p/T"], "input.exclude_topics": ["/imu"]}, "mapping/imu/0", "left out"),
        ({"decoding.topics": {"/joy": {"on_failure": "fail"}}}, "decoding/topics/~1joy", "does not use"),
        ({"labels": {"primary": "image"}}, "labels", "no effect without row_strategy"),
        ({"split": {"strategy": "time", **PARTS}}, "split", "no effect without row_strategy"),
        ({"validation.sample_n": 5}, "validation/sample_n", "no effect"),
        ({"validation.preview": True}, "validation/preview", "no effect"),
        ({"validation.expected_features": ["a"]}, "validation/expected_features", "no effect"),
        ({"output.shards": 2}, "output/shards", "no effect"),
        ({"output.filename_template": "{split}"}, "output/filename_template", "no effect"),
        (
            {"output.layout": "topics", "resample": {"freq_hz": 1, "method": "downsample"}},
            "output/layout",
            "cannot be resampled",
        ),
        (
            {"output": {"format": "tfrecord", "layout": "topics", "absent_keys": "omit"}},
            "output/absent_keys",
            "no effect",
        ),
    ],
)
def test_contradictions_of_whole_messages(changes: dict[str, Any], place: str, words: str) -> None:
    assert words in found(changed(mapping_spec(), changes))["/" + place]


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"start_ns": 5, "end_ns": 5, "include_topics": ["/*"], "paths": ["."], "recursive": True}},
        {"decoding.topics": {"/joy": {"type_hint": "p/T"}, "/imu": {"on_failure": "fail"}}},
        {"features.label": rows_spec()["features"]["image"]},
        {"features.topics": {"source": {"kind": "metadata", "key": "present_topics"}}},
        {"output.filename_template": "{split}-{shard:05}-of-{num_shards:05}.{extension}"},
        {"split": {"strategy": "episode", **PARTS}, "output.filename_template": "{shard}"},
        {"split": {"strategy": "group", "group_by": "stamp", **PARTS}},
        {"split": {"strategy": "time", "train_fraction": 1.0, "val_fraction": 0, "test_fraction": 0.0}},
        {"validation": {"fail_fast": True, "bad_record_budget": 0, "sample_n": 128}},
        {"labels": {"source": {"kind": "path", "topic": "/joy", "field_path": "buttons"}, "multi_label": True}},
        {"row_strategy.joins.1": {"topic": "/imu", "missing": "error"}, "features.turn": ABSENT},
    ],
)
def test_what_makes_sense_is_taken(changes: dict[str, Any]) -> None:
    assert found(changed(rows_spec(), changes)) == {}


def test_all_contradictions_are_told_at_once() -> None:
    wrong = {"input.recursive": True, "labels.primary": "x", "split.group_by": "image", "features.image.shape": [-2]}
    with pytest.raises(SpecError, match=r"\(and 3 more\)$") as refused:
        check_spec(structure(changed(rows_spec(), wrong), ConversionSpec))
    assert refused.value.kind == "invalid_spec"
    errors = refused.value.data["errors"]
    assert [error["pointer"] for error in errors] == [
        "/input/recursive",
        "/features/image/shape/0",
        "/labels/primary",
        "/split/group_by",
    ]
    assert all(set(error) == {"pointer", "message", "expected", "got", "did_you_mean"} for error in errors)


@pytest.mark.parametrize(("name", "value"), [("fail_fast", True), ("bad_record_budget", 0)])
def test_records_are_only_judged_where_one_can_be_bad(name: str, value: Any) -> None:
    spec = changed(rows_spec(), {"validation": {name: value}, "features.image.required": False})
    with pytest.raises(SpecError, match=f"validation.{name} has no effect: no feature is required") as caught:
        check_spec(structure(spec, ConversionSpec))
    assert [error["pointer"] for error in caught.value.data["errors"]] == [f"/validation/{name}"]
