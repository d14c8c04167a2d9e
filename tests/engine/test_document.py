import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.specs import written
from hephaes_rpc.engine.specs.document import SpecDocument, dump, load, to_dict
from hephaes_rpc.engine.specs.spec import (
    ConstantSource,
    ConversionSpec,
    DraftOrigin,
    Feature,
    ParquetOutput,
    PathSource,
    PerMessageRows,
    ResampleRows,
    Schema,
    TFRecordOutput,
    TriggerRows,
)
from hephaes_rpc.engine.specs.transform_params import (
    Cast,
    Clamp,
    ImageColorConvert,
    ImageCrop,
    ImageDecode,
    ImageEncode,
    ImageResize,
    Length,
    MultiHot,
    Normalize,
    OneHot,
    Scale,
    Transform,
)
from hephaes_rpc.errors import HephaesError, SpecError
from tests.engine.specs import ABSENT, changed, mapping_spec, rows_spec
from tests.thorough import examples

SOURCE = {"topic": "/a", "field_path": "x"}


def one_feature(**feature: Any) -> dict[str, Any]:
    return {"row_strategy": {"topic": "/a"}, "features": {"x": {"source": SOURCE, **feature}}}


def errors(source: Any) -> list[dict[str, Any]]:
    with pytest.raises(SpecError) as refused:
        load(source)
    assert refused.value.kind == "invalid_spec"
    found: list[dict[str, Any]] = refused.value.data["errors"]
    return found


def pointers(source: Any) -> list[str]:
    return [error["pointer"] for error in errors(source)]


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [rows_spec(), mapping_spec(), {}], ids=["rows", "mapping", "empty"])
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_written_document_is_read_back_equal(spec: dict[str, Any], form: Any) -> None:
    document = load({"spec_version": 2, "spec": spec, "metadata": {"by": "me", "n": 2**60}})
    text = dump(document, form)
    assert load(text) == document
    assert load(to_dict(document)) == document
    assert dump(load(text), form) == text
    assert "_ns_str" not in text


def test_json_is_sorted_but_columns_keep_their_order() -> None:
    tree = json.loads(dump(load(rows_spec())))
    assert list(tree) == sorted(tree)
    assert list(tree["spec"]) == sorted(tree["spec"])
    assert list(tree["spec"]["features"]) == list(rows_spec()["features"])
    assert dump(load(rows_spec())).startswith('{\n  "metadata": {},\n')


def test_yaml_is_ascii_in_the_order_of_the_classes() -> None:
    text = dump(load(one_feature(description="Größe: 1e3")), "yaml")
    assert text.isascii()
    assert list(yaml.safe_load(text)["spec"])[:2] == ["schema", "input"]
    assert load(text).spec.features["x"].description == "Größe: 1e3"


ODD = [
    *("1e3", "yes", "no", "on", "~", "null", "true", "0o17", "1_000", "0x1f", ".5", "1.", "-", "", " a", "a: b", "#"),
    *("<<", "=", "2024-01-01", "1:30", ".nan", "é", "\u2028", "😀", "line\nline", "\t"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_values_beyond_json_survive(form: Any) -> None:
    value = {
        "bytes": b"\x00\xff",
        "inf": [math.inf, -math.inf],
        "big": 2**63 - 1,
        "words": ODD,
        **{odd: odd for odd in ODD},
    }
    document = load(one_feature(source={"value": value}))
    (source,) = (feature.source for feature in load(dump(document, form)).spec.features.values())
    assert source == ConstantSource(value=value)
    nan = load(dump(load(one_feature(source={"value": math.nan})), form)).spec.features["x"].source
    assert isinstance(nan, ConstantSource)
    assert math.isnan(nan.value)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(150), deadline=None)
@given(JSON_VALUES)
def test_any_value_is_the_same_in_json_and_yaml(value: Any) -> None:
    document = SpecDocument(spec=ConversionSpec(), metadata={"value": value})
    assert load(dump(document)) == document
    assert load(dump(document, "yaml")) == document


@settings(max_examples=examples(150), deadline=None)
@given(st.text(max_size=60) | st.text("{}[]&*!:-,#\"'| \n0a", max_size=60))
def test_any_text_is_a_document_or_refused(text: str) -> None:
    with suppress(SpecError):
        load(text)


def test_files(tmp_path: Path) -> None:
    for name, text in (("a.json", json.dumps(mapping_spec())), ("a.yaml", "\ufeffmapping: {ä: [/a]}\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert load(tmp_path / name).spec.mapping is not None
    (tmp_path / "latin").write_bytes("schema: {name: ä}".encode("latin-1"))
    with pytest.raises(SpecError, match="no UTF-8"):
        load(tmp_path / "latin")
    with pytest.raises(HephaesError, match="cannot be read") as refused:
        load(tmp_path / "absent")
    assert refused.value.kind == "invalid_path"
    with pytest.raises(HephaesError, match="cannot be read"):
        load(tmp_path)


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "line 1: anchors and aliases are not taken"),
        ("a: *b", "anchors and aliases|undefined alias"),
        ("&a {}", "anchors and aliases"),
        ("? &k k\n: 1", "a key must be text"),
        ("a: !!python/object/apply:os.system [echo hi]", "line 1: tags are not taken: .*os.system"),
        ("a: !!binary AAAA", "tags are not taken"),
        ("!!str a: 1", "a key must be text"),
        ("? [a]\n: 1", "a key must be text"),
        ("a: 1\na: 2", "line 2: the key 'a' is given twice"),
        ('{"a": 1, "a": 2}', "key 'a' twice"),
        ("a: [1", "is no YAML: line 2"),
        ('{"a": 1', "is no JSON"),
        ("a: \x00", "is no YAML"),
        ("a: 1\n---\nb: 2", "second document"),
        ("", "is empty"),
        ("# nothing", "is empty"),
        ("---\n", "not null"),
        ("spec.yaml", 'not "spec.yaml"'),
        ("[1, 2]", "not list of 2"),
        ("[" * 100_000, "nested deeper than 64"),
        ("[" * 100 + "]" * 100, "nested deeper than 64"),
        ("a:\n" + "\n".join(" " * k + "a:" for k in range(1, 100)), "line .*: is nested deeper than 64"),
        ("[" + "1," * 200_000 + "1]", "more than 100000 parts"),
        ("- 1\n" * 200_000, "more than 100000 parts"),
        (" " * (written.MAX_TEXT + 1), "is longer than"),
        ('{"schema": {"name": "\\ud800"}}', "lone surrogate"),
        ("9" * 5000, "."),
    ],
)  # fmt: skip
def test_hostile_text(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        load(text)


def test_deep_values_from_elsewhere_are_refused() -> None:
    source: dict[str, Any] = {"kind": "constant", "value": 1}
    for _ in range(100_000):
        source = {"kind": "concat", "sources": [source]}
    with pytest.raises(SpecError, match="nested deeper"):
        load(one_feature(source=source))


def test_yaml_words_mean_what_they_mean_in_json() -> None:
    value = written.parse("[yes, off, 1e3, 0o17, 1_0, ~, null, .inf, '1', 2024-01-01, -0, +1, 1.5]")
    assert value == ["yes", "off", 1000.0, "0o17", "1_0", None, None, math.inf, "1", "2024-01-01", 0, 1, 1.5]
    assert written.parse("{1: a, true: b, null: c}") == {"1": "a", "true": "b", "null": "c"}


# -- envelope and versions ---------------------------------------------------------------------------------------------


def test_a_bare_spec_becomes_a_document() -> None:
    assert load(mapping_spec()) == load({"spec": mapping_spec()}) == load({"spec_version": 2, "spec": mapping_spec()})
    assert load({}).spec_version == 2
    assert load({"spec": {}, "metadata": None}).metadata == {}


@pytest.mark.parametrize("version", [0, -1, 3, 1.0, True, "2", None])
def test_versions_that_are_not_read(version: object) -> None:
    for document in ({"spec_version": version, "spec": {}}, {"spec_version": version}):
        (error,) = errors(document)
        assert error["pointer"] == "/spec_version"
        assert error["expected"] == "1 to 2"


def test_unknown_members_of_the_envelope() -> None:
    found = errors({"spec": {"sample_n": 1}, "metdata": {}, "metadata": []})
    assert [error["pointer"] for error in found] == ["/metdata", "/metadata", "/spec/sample_n"]
    assert found[0]["did_you_mean"] == "metadata"


@pytest.mark.parametrize(
    ("version", "output", "contract"),
    [
        (1, ABSENT, "legacy_list_v1"),
        (1, None, "legacy_list_v1"),
        (1, {}, "legacy_list_v1"),
        (1, {"format": "tfrecord", "compression": "gzip"}, "legacy_list_v1"),
        (1, {"image_payload_contract": "bytes_v2"}, "bytes_v2"),
        (2, ABSENT, "bytes_v2"),
        (2, {}, "bytes_v2"),
        (2, {"image_payload_contract": "legacy_list_v1"}, "legacy_list_v1"),
        (None, ABSENT, "bytes_v2"),
    ],
)
@pytest.mark.parametrize("has_envelope", [True, False])
def test_the_image_contract_is_that_of_the_version(
    version: int | None, output: Any, contract: str, has_envelope: bool
) -> None:
    spec = changed({"mapping": {"a": ["/a"]}}, {} if output is ABSENT else {"output": output})
    declared = {} if version is None else {"spec_version": version}
    document = load({**declared, "spec": spec} if has_envelope else {**declared, **spec})
    assert isinstance(document.spec.output, TFRecordOutput)
    assert document.spec.output.image_payload_contract == contract
    assert document.spec_version == 2
    assert load(dump(document)) == document


def test_parquet_documents_of_the_reference_are_read() -> None:
    said = {
        "payload_encoding": "typed_features",
        "null_encoding": "presence_flag",
        "image_payload_contract": "bytes_v2",
    }
    assert load({"spec_version": 1, "output": {"format": "parquet", **said}}).spec.output == ParquetOutput()
    assert pointers({"output": {"format": "parquet", "null_encoding": "sentinel"}}) == ["/output/null_encoding"]


def test_the_spec_is_never_changed() -> None:
    before = {"spec_version": 1, "spec": changed(rows_spec(), {"schema_name": "a", "output": {}})}
    copy = json.loads(json.dumps(before))
    load(before)
    assert before == copy


# -- older and shorter forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ({"schema_spec": {"name": "a", "version": 2}}, Schema(name="a", version=2)),
        ({"schema_name": "a", "schema_version": 3}, Schema(name="a", version=3)),
        ({"schema_name": "a"}, Schema(name="a")),
        ({"schema": {"name": "a"}}, Schema(name="a")),
        ({}, Schema()),
    ],
)
def test_the_schema_in_its_older_forms(given: dict[str, Any], schema: Schema) -> None:
    assert load(given).spec.schema == schema


def test_the_schema_is_told_once() -> None:
    schema = {"schema": {"name": "a"}}
    assert pointers({**schema, "schema_name": "b", "schema_version": 1}) == ["/schema_name", "/schema_version"]
    assert pointers({**schema, "schema_spec": {"name": "b"}}) == ["/schema_spec"]
    assert pointers({"schema_name": 1}) == ["/schema_name"]
    assert pointers({"schema_spec": {"nam": "b"}}) == ["/schema_spec/nam"]


def test_assembly_is_a_trigger_strategy() -> None:
    trigger = {"trigger_topic": "/a", "joins": [{"topic": "/b"}]}
    spec = {"features": {"x": {"source": SOURCE}}}
    expected = load({**spec, "row_strategy": {"kind": "trigger", **trigger}}).spec
    assert isinstance(expected.row_strategy, TriggerRows)
    full = {**trigger, "joins": [{"topic": "/b", "required": True, "tolerance_ns": None}]}
    for rows in ({"assembly": trigger}, {"assembly": full, "row_strategy": {"kind": "trigger", **trigger}}):
        assert load({**spec, **rows}).spec == expected
    assert load({**spec, "assembly": None, "row_strategy": trigger}).spec == expected
    for other in ({"kind": "trigger", "trigger_topic": "/b"}, {"kind": "per-message", "topic": "/a"}):
        assert pointers({**spec, "assembly": trigger, "row_strategy": other}) == ["/assembly"]
    assert pointers({"spec": {**spec, "assembly": {"trigger_topic": "/a", "join": []}}}) == ["/spec/assembly/join"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"trigger_topic": "/a"}, TriggerRows(trigger_topic="/a")),
        ({"topic": "/a"}, PerMessageRows(topic="/a")),
        ({"freq_hz": 2, "method": "downsample"}, ResampleRows(freq_hz=2.0, method="downsample")),
    ],
)
def test_kinds_of_rows_are_inferred(rows: dict[str, Any], expected: object) -> None:
    assert load({"row_strategy": rows, "features": {"x": {"source": SOURCE}}}).spec.row_strategy == expected


def test_kinds_of_sources_are_inferred() -> None:
    parts = [SOURCE, {"value": 1}, {"key": "topic", "topic": "/a"}, {"kind": "concat", "sources": [{"value": 2}]}]
    document = load(one_feature(source={"kind": "stack", "sources": parts}))
    tree = to_dict(document)["spec"]["features"]["x"]["source"]
    assert [part["kind"] for part in tree["sources"]] == ["path", "constant", "metadata", "concat"]
    assert tree["sources"][3]["sources"][0]["kind"] == "constant"
    labels = {"labels": {"source": SOURCE, "transforms": ["one_hot"]}}
    assert pointers({**one_feature(), **labels}) == ["/labels/transforms/0/depth"]
    (error,) = errors(one_feature(source={"sources": [SOURCE]}))
    assert error["pointer"] == "/features/x/source/kind"
    assert "constant" in error["expected"]
    assert pointers({"row_strategy": {}, "features": {"x": {"source": SOURCE}}}) == ["/row_strategy/kind"]


FORMS: list[tuple[Any, Transform]] = [
    ("image_encode", ImageEncode()),
    ({"image_encode": None}, ImageEncode()),
    ({"image_encode": "JPG"}, ImageEncode(format="jpeg")),
    ({"kind": "image_encode"}, ImageEncode()),
    ({"kind": "image_encode", "params": None}, ImageEncode()),
    ({"kind": "image_encode", "params": {"format": "jpeg", "quality": 9}}, ImageEncode(format="jpeg", quality=9)),
    ({"kind": "image_encode", "format": "jpeg"}, ImageEncode(format="jpeg")),
    ("image_decode", ImageDecode()),
    ({"cast": "int64"}, Cast(dtype="int64")),
    ({"cast": {"dtype": "int64"}}, Cast(dtype="int64")),
    ({"length": 15}, Length(exact=15)),
    ({"length": {"pad_to": 3, "value": -1}}, Length(pad_to=3, pad_value=-1)),
    ({"clamp": {"min": 0, "max": 1.5}}, Clamp(min=0, max=1.5)),
    ({"scale": 2}, Scale(scale=2.0)),
    ({"scale": {"factor": 2, "offset": 1}}, Scale(scale=2.0, offset=1.0)),
    ({"normalize": {"mean": 1, "std": 2}}, Normalize(mean=1.0, std=2.0)),
    ({"one_hot": 4}, OneHot(depth=4)),
    ({"one_hot": {"size": 4}}, OneHot(depth=4)),
    ({"multi_hot": {"size": 4}}, MultiHot(depth=4)),
    ({"image_color_convert": {"from": "GREY", "to": "rgb"}}, ImageColorConvert(from_="gray", to="rgb")),
    ({"image_resize": [4, 3]}, ImageResize(width=4, height=3)),
    ({"image_resize": {"size": [4, 3], "filter": "box"}}, ImageResize(width=4, height=3, filter="box")),
    ({"image_crop": [1, 2, 5, 7]}, ImageCrop(left=1, top=2, width=4, height=5)),
    ({"kind": "image_crop", "params": {"box": [0, 0, 5, 7]}}, ImageCrop(width=5, height=7)),
    ({"image_crop": {"left": 1, "width": 4, "height": 5}}, ImageCrop(left=1, width=4, height=5)),
]  # fmt: skip


@pytest.mark.parametrize(("form", "transform"), FORMS)
def test_forms_of_transforms(form: Any, transform: Transform) -> None:
    document = load(one_feature(transforms=[form]))
    assert document.spec.features["x"].transforms == [transform]
    assert load(dump(document)) == document


def test_every_transform_has_a_short_form_that_is_tested() -> None:
    assert {type(transform) for _, transform in FORMS} == set(Transform.__args__)


@pytest.mark.parametrize(
    ("form", "place", "guess"),
    [
        ("image_encod", "", "image_encode"),
        ({"casts": "int64"}, "/casts", "cast"),
        ({"kind": "casts"}, "/kind", "cast"),
        ({"kind": "casts", "params": {}}, "/kind", "cast"),
        ({"cast": "int46"}, "/cast", "int64"),
        ({"cast": {"dtyp": "int64", "dtype": "bool"}}, "/cast/dtyp", "dtype"),
        ({"kind": "cast", "params": {"dtype": "bol"}}, "/params/dtype", "bool"),
        ({"kind": "cast", "dtype": "bol"}, "/dtype", "bool"),
        ({"cast": {}}, "/cast/dtype", None),
        ({"cast": "int64", "clamp": None}, "", None),
        ({"params": {}}, "", None),
        ({"kind": "cast", "params": []}, "", None),
        ({"kind": "cast", "params": {}, "dtype": "bool"}, "", None),
        ({"clamp": 3}, "/clamp", None),
        ({"clamp": {"min": 2, "max": 1}}, "/clamp/max", None),
        ({"one_hot": {"size": 0}}, "/one_hot/size", None),
        ({"one_hot": {"size": 1, "depth": 1}}, "/one_hot/size", None),
        ({"image_resize": [1]}, "/image_resize", None),
        ({"image_resize": {"size": [1, 1], "width": 1}}, "/image_resize/size", None),
        ({"image_resize": [1, 0]}, "/image_resize", None),
        ({"image_crop": {"box": [5, 0, 1, 1]}}, "/image_crop/box", None),
        (3, "", None),
        ({}, "", None),
    ],
)
def test_transforms_are_refused_at_the_place_where_they_are_written(form: Any, place: str, guess: str | None) -> None:
    (error,) = errors({"spec": one_feature(transforms=["image_encode", form])})
    assert error["pointer"] == "/spec/features/x/transforms/1" + place
    assert error["did_you_mean"] == guess


# -- join defaults -----------------------------------------------------------------------------------------------------


def joined(**features: dict[str, Any]) -> Any:
    zeros = {
        name: {"source": {"topic": "/b", "field_path": feature.pop("path", name)}, "missing": "zeros", **feature}
        for name, feature in features.items()
    }
    rows = load(
        {"row_strategy": {"trigger_topic": "/a", "joins": [{"topic": "/b"}]}, "features": zeros}
    ).spec.row_strategy
    assert isinstance(rows, TriggerRows)
    return rows.joins[0].default_value


def test_features_that_ask_for_zeros_keep_the_rows_of_a_join() -> None:
    assert joined(buttons={"dtype": "int64", "shape": [15]}) == {"buttons": [0] * 15}
    both = joined(c={"dtype": "int64", "shape": [2, 2], "path": "b.c"}, x={"dtype": "bytes"})
    assert both == {"b": {"c": [[0, 0], [0, 0]]}, "x": b""}
    assert joined(x={"dtype": "bool", "shape": []}) == {"x": False}
    assert joined(x={"dtype": "float32", "shape": [-1, 2]}) == {"x": []}
    assert joined(x={"dtype": "int64", "missing": "default"}) is None
    assert joined(x={"dtype": "int64"}, y={"dtype": "float64", "path": "x"}) is None
    assert joined(x={"dtype": "int64"}, y={"dtype": "int64", "path": "x.y"}) is None
    assert joined(x={"dtype": "int64", "path": "x[0]"}) is None
    assert joined(x={"dtype": "native"}) is None


def test_a_default_that_is_given_stays() -> None:
    join = {"topic": "/b", "default_value": {"x": 5}}
    feature = {"source": {"topic": "/b", "field_path": "x"}, "dtype": "int64", "missing": "zeros"}
    rows = load({"assembly": {"trigger_topic": "/a", "joins": [join]}, "features": {"x": feature}}).spec.row_strategy
    assert isinstance(rows, TriggerRows)
    assert rows.joins[0].default_value == {"x": 5}


# -- errors ------------------------------------------------------------------------------------------------------------


def test_all_errors_come_at_once_with_what_was_meant() -> None:
    wrong = changed(
        rows_spec(),
        {
            "row_strategy.joins.0.sync_polcy": "nearest",
            "features.image.dtype": "byte",
            "features.turn.source.sources.0.topi": "/imu",
            "output.format": "parket",
            "validation.sample_n": "5",
            "inputs": {},
        },
    )
    found = {error["pointer"]: error["did_you_mean"] for error in errors({"spec": wrong})}
    assert found == {
        "/spec/row_strategy/joins/0/sync_polcy": "sync_policy",
        "/spec/features/image/dtype": "bytes",
        "/spec/features/turn/source/sources/0/topi": "topic",
        "/spec/output/format": "parquet",
        "/spec/validation/sample_n": None,
        "/spec/inputs": "input",
    }
    with pytest.raises(SpecError, match=r"^spec\.\S+: .* \(and 5 more\)$"):
        load({"spec": wrong})


def test_contradictions_are_told_where_they_were_written() -> None:
    assembly = {"trigger_topic": "/a", "joins": [{"topic": "/a"}]}
    spec = {"assembly": assembly, "features": {"x": {"source": SOURCE}}}
    assert pointers({"spec": spec}) == ["/spec/assembly/joins/0/topic"]
    assert pointers(spec) == ["/assembly/joins/0/topic"]


@pytest.mark.parametrize("spec", [None, [], 3, "x"])
def test_a_spec_is_an_object(spec: object) -> None:
    (error,) = errors({"spec": spec})
    assert (error["pointer"], error["expected"]) == ("/spec", "object")


def test_provenance_and_descriptions_are_kept() -> None:
    origin = {
        "kind": "inspection",
        "source_topics": ["/a"],
        "provenance": {"n": 1},
        "assumptions": ["b"],
        "warnings": [],
    }
    source = {"value": 1, "description": "one"}
    spec = load({**one_feature(source=source, description="col"), "draft_origin": origin}).spec
    assert spec.draft_origin == DraftOrigin(**origin)
    assert spec.features["x"] == Feature(source=ConstantSource(value=1, description="one"), description="col")


def test_the_example_of_the_reference_reads() -> None:
    text = """
    spec_version: 1
    spec:
      schema_name: game
      schema_version: 3
      assembly:
        trigger_topic: /image
        joins: [{topic: /joy, sync_policy: last-known-before, staleness_ns: 250000000}]
      decoding: {topics: {/joy: {type_hint: sensor_msgs/msg/Joy}}}
      features:
        image:
          source: {topic: /image, field_path: data}
          dtype: bytes
          required: true
          transforms: [{image_color_convert: {from: bgra, to: rgb}}, image_encode]
        buttons: {source: {topic: /joy, field_path: buttons}, dtype: int64, shape: [15], missing: zeros}
      labels: {primary: buttons}
      validation: {sample_n: 128, fail_fast: true, bad_record_budget: 0, expected_features: [image, buttons]}
      output: {compression: gzip, shards: 8, filename_template: "{split}-{shard:05d}-of-{num_shards:05d}.{extension}"}
    """
    spec = load(text).spec
    assert spec.schema == Schema(name="game", version=3)
    assert spec.features["image"].source == PathSource(topic="/image", field_path="data")
    assert spec.output == TFRecordOutput(
        compression="gzip",
        image_payload_contract="legacy_list_v1",
        shards=8,
        filename_template="{split}-{shard:05d}-of-{num_shards:05d}.{extension}",
    )
    assert attrs.asdict(spec.validation)["bad_record_budget"] == 0


@pytest.mark.parametrize("missing", ["zeros", "drop", "error"])
def test_older_documents_may_require_what_is_settled_otherwise(missing: str) -> None:
    spec = one_feature(dtype="int64", shape=[], missing=missing, required=True)
    assert load({"spec_version": 1, "spec": spec}).spec.features["x"].required is False
    with pytest.raises(SpecError, match=f"required has no effect with missing '{missing}'") as refused:
        load({"spec_version": 2, "spec": spec})
    assert refused.value.data["errors"][0]["pointer"] == "/spec/features/x/required"
