"""Spec documents: the envelope around a spec, read from every form people write and written in one.

Strategy: what is written is brought into the form of the classes (``_Normal``: older names, inferred kinds, short
transforms) as plain values, with a note of where each moved part stood; then it is structured and checked, and every
issue is told with the pointer of the place it was written at.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, Literal

import attrs
from attrs import field, frozen
from attrs.validators import ge, le

from hephaes_rpc.engine.specs import written
from hephaes_rpc.engine.specs.feature_rules import SETTLED
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.rules import spec_issues
from hephaes_rpc.engine.specs.spec import (
    ConversionSpec,
    Feature,
    Join,
    PathSource,
    TriggerRows,
    parse_path,
)
from hephaes_rpc.engine.specs.transform_params import Transform
from hephaes_rpc.engine.specs.values import plain, untagged
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import Issue, Path, closest, issues_of, members, shown, structure, union_args, unstructure

VERSION = 2
LEGACY_CONTRACT = "legacy_list_v1"

_ENVELOPE = ("spec_version", "spec", "metadata")


@frozen(kw_only=True)
class SpecDocument:
    """A conversion spec as it is kept and passed on.

    Args:
        metadata: Notes of whoever wrote it; told in the manifest.
    """

    spec_version: int = field(default=VERSION, validator=[ge(1), le(VERSION)])
    spec: ConversionSpec
    metadata: dict[str, Any] = field(factory=dict, converter=untagged, validator=plain)


def load(source: str | Mapping[str, Any] | FilePath) -> SpecDocument:
    """A document, or a bare spec as one, of the current version, checked by all rules that need no log.

    Args:
        source: Text in JSON or YAML, a parsed value, or the path of a file.

    Raises:
        SpecError: ``data.errors`` has every issue: pointer, message, expected, got, did_you_mean.
        HephaesError: ``invalid_path``: the file cannot be read.
    """
    try:
        value = written.parse(_text(source)) if isinstance(source, str | FilePath) else source
        written.bounded(value)
    except ValueError as error:
        raise spec_error([Issue((), f"the spec {error}", "a spec document", "text")]) from None
    if not isinstance(value, dict):
        raise spec_error([Issue((), f"a spec is an object, not {shown(value)}", "object", shown(value))])
    return _document(value)


def _text(source: str | FilePath) -> str:
    if isinstance(source, str):
        return source
    try:
        with source.open("rb") as file:
            return file.read(written.MAX_TEXT * 4 + 1).decode("utf-8-sig")
    except OSError as error:
        raise HephaesError("invalid_path", f"{source}: the spec cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise spec_error([Issue((), f"{source}: the spec is no UTF-8 text", "UTF-8 text", "other bytes")]) from None


def dump(document: SpecDocument, form: Literal["json", "yaml"] = "json") -> str:
    """The document as text that ``load`` reads back to an equal one; in JSON the members of objects are sorted."""
    return written.to_json(_tree(document, True)) if form == "json" else written.to_yaml(_tree(document, False))


def to_dict(document: SpecDocument) -> dict[str, Any]:
    """The document as JSON values."""
    tree: dict[str, Any] = _tree(document, False)
    return tree


def _tree(value: Any, is_sorted: bool) -> Any:
    """JSON values without the text twins of integers; the order of features, fields and free objects is theirs."""
    if attrs.has(type(value)):
        cls: Any = type(value)
        tree = {
            m.name: unstructure(item, Any) if m.free else _tree(item, is_sorted)
            for m in members(cls)
            for item in [getattr(value, m.attribute.name)]
        }
        return dict(sorted(tree.items())) if is_sorted else tree
    if isinstance(value, dict):
        return {key: _tree(item, is_sorted) for key, item in value.items()}
    if isinstance(value, list):
        return [_tree(item, is_sorted) for item in value]
    return value


# -- reading -----------------------------------------------------------------------------------------------------------


def _document(value: dict[str, Any]) -> SpecDocument:
    has_envelope = "spec" in value
    version = _version(value.get("spec_version", VERSION))
    base: Path = ("spec",) if has_envelope else ()
    issues: list[Issue] = []
    metadata: Any = {}
    if has_envelope:
        issues += [
            Issue(
                (key,), f"{key!r} is not known beside spec", "one of " + ", ".join(_ENVELOPE), shown(value[key]), near
            )
            for key in value
            if key not in _ENVELOPE
            for near in [closest(key, _ENVELOPE)]
        ]
        metadata = value.get("metadata")
        metadata = {} if metadata is None else metadata
        issues += [issue._replace(path=("metadata", *issue.path)) for issue in issues_of(metadata, dict[str, Any])]
    spec = value["spec"] if has_envelope else {key: item for key, item in value.items() if key != "spec_version"}
    normal = _Normal(version)
    tree = normal.spec(spec)
    issues += [_placed(issue, base, normal) for issue in normal.issues]
    for issue in issues_of(tree, ConversionSpec):
        if not any(issue.path[: len(path)] == path for path in normal.broken):
            placed = _placed(issue, base, normal)
            issues.append(placed._replace(message=f"{_dotted(placed.path)}: {issue.message}"))
    if issues:
        raise spec_error(issues)
    structured = _with_join_defaults(structure(tree, ConversionSpec))
    if found := spec_issues(structured):
        raise spec_error([_placed(issue, base, normal) for issue in found])
    return SpecDocument(spec=structured, metadata=metadata)


def _version(version: Any) -> int:
    if type(version) is not int or version < 1:
        raise spec_error(
            [Issue(("spec_version",), f"spec_version must be 1 to {VERSION}", f"1 to {VERSION}", shown(version))]
        )
    if version > VERSION:
        message = f"spec_version {version} is newer than this version reads ({VERSION})"
        raise spec_error([Issue(("spec_version",), message, f"1 to {VERSION}", shown(version))])
    return version


def _placed(issue: Issue, base: Path, normal: "_Normal") -> Issue:
    return issue._replace(path=(*base, *normal.written_at(issue.path)))


def _dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the spec"


_MAIN_PARAM = {
    "cast": "dtype",
    "length": "exact",
    "scale": "scale",
    "one_hot": "depth",
    "multi_hot": "depth",
    "image_resize": "size",
    "image_crop": "box",
    "image_encode": "format",
}
_PARAM_NAMES = {
    "scale": {"factor": "scale"},
    "length": {"value": "pad_value"},
    "one_hot": {"size": "depth"},
    "multi_hot": {"size": "depth"},
}
_PARAM_VALUES = {
    "image_color_convert": {"grey": "gray", "l": "gray"},
    "image_encode": {"jpg": "jpeg"},
}
_KINDS = tuple(str(attrs.fields_dict(cls)["kind"].default) for cls in union_args(Transform))
_SINGLE_VALUED = {
    "payload_encoding": ("typed_features",),
    "null_encoding": ("presence_flag",),
    "image_payload_contract": ("bytes_v2", LEGACY_CONTRACT),
}


class _Normal:
    """Plain values in the form of the classes; ``issues`` tell what cannot be brought into it, at ``broken`` places."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._moved: dict[Path, Path] = {}
        self.issues: list[Issue] = []
        self.broken: list[Path] = []

    def written_at(self, path: Path) -> Path:
        """Where the part now at ``path`` was written."""
        for length in range(len(path), 0, -1):
            if (origin := self._moved.get(path[:length])) is not None:
                return (*origin, *path[length:])
        return path

    def spec(self, value: Any) -> Any:
        """A spec."""
        if not isinstance(value, dict):
            return value
        spec = dict(value)
        self._schema(spec)
        self._rows(spec)
        if isinstance(features := spec.get("features"), dict):
            spec["features"] = {name: self._feature(("features", name), item) for name, item in features.items()}
            self._judging(spec)
        if isinstance(spec.get("labels"), dict):
            spec["labels"] = self._feature(("labels",), spec["labels"])
        self._output(spec)
        return spec

    def _judging(self, spec: dict[str, Any]) -> None:
        """Before version 2 a document could judge records though none could be bad."""
        required = any(isinstance(each, dict) and each.get("required") for each in spec["features"].values())
        if self._version < VERSION and not required and isinstance(spec.get("validation"), dict):
            unused = ("fail_fast", "bad_record_budget")
            spec["validation"] = {name: value for name, value in spec["validation"].items() if name not in unused}

    def _twice(self, name: str, other: str, value: Any) -> None:
        self.issues.append(Issue((name,), f"{name} and {other} cannot both be given", "nothing", shown(value)))

    def _schema(self, spec: dict[str, Any]) -> None:
        if (old := spec.pop("schema_spec", None)) is not None:
            if "schema" in spec:
                self._twice("schema_spec", "schema", old)
            else:
                spec["schema"] = old
                self._moved[("schema",)] = ("schema_spec",)
        halves = {part: spec.pop(f"schema_{part}") for part in ("name", "version") if f"schema_{part}" in spec}
        if halves and "schema" in spec:
            for part, half in halves.items():
                self._twice(f"schema_{part}", "schema", half)
        elif halves:
            spec["schema"] = halves
            self._moved |= {("schema", part): (f"schema_{part}",) for part in halves}

    def _rows(self, spec: dict[str, Any]) -> None:
        rows = _with_kind(spec.get("row_strategy"), _rows_kind)
        if rows is not None:
            spec["row_strategy"] = rows
        assembly = spec.pop("assembly", None)
        if assembly is None:
            return
        trigger = {"kind": "trigger", **assembly} if isinstance(assembly, dict) else assembly
        if rows is None:
            spec["row_strategy"] = trigger
            self._moved[("row_strategy",)] = ("assembly",)
        elif isinstance(rows, dict) and rows.get("kind") != "trigger":
            message = f"assembly is a trigger strategy, but row_strategy is {shown(rows.get('kind'))}"
            self.issues.append(Issue(("assembly",), message, "nothing", shown(assembly)))
        elif not _same(trigger, rows):
            message = "assembly and row_strategy are given and differ"
            self.issues.append(Issue(("assembly",), message, "the same as row_strategy", shown(assembly)))

    def _feature(self, path: Path, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        feature = dict(value)
        if "source" in feature:
            feature["source"] = _source(feature["source"])
        if isinstance(transforms := feature.get("transforms"), list):
            feature["transforms"] = [
                self._transform((*path, "transforms", k), each) for k, each in enumerate(transforms)
            ]
        if self._version < VERSION and feature.get("required") is True and feature.get("missing") in SETTLED:
            del feature["required"]  # which had no effect then
        return feature

    def _transform(self, path: Path, value: Any) -> Any:
        """``name``, ``{name: params}``, ``{kind: name, params: params}`` and ``{kind: name, **params}``."""
        if isinstance(value, str):
            if value not in _KINDS:
                return self._unknown_transform(path, value, value)
            return {"kind": value}
        if not isinstance(value, dict):
            return value
        if "params" in value:
            if set(value) != {"kind", "params"} or not isinstance(value["params"], dict | None):
                return self._odd_transform(path, value)
            self._moved |= {path: (*path, "params"), (*path, "kind"): (*path, "kind")}
            transform = {"kind": value["kind"], **(value["params"] or {})}
        elif "kind" in value:
            transform = dict(value)
        elif len(value) == 1:
            ((kind, params),) = value.items()
            if kind not in _KINDS:
                return self._unknown_transform(path, kind, value)
            self._moved[path] = (*path, kind)
            if not isinstance(params, dict | None):
                main = _MAIN_PARAM.get(kind, "value")
                self._moved[(*path, main)] = (*path, kind)
                params = {main: params}
            transform = {"kind": kind, **(params or {})}
        else:
            return self._odd_transform(path, value)
        if isinstance(transform["kind"], str):
            self._params(path, transform["kind"], transform)
        return transform

    def _odd_transform(self, path: Path, value: Any) -> Any:
        message = f"{_dotted(path)}: a transform is a name, {{name: params}} or {{kind: name, params: {{...}}}}"
        self.issues.append(Issue(path, message, "a transform", shown(value)))
        self.broken.append(path)
        return value

    def _unknown_transform(self, path: Path, kind: str, value: Any) -> Any:
        guess = closest(kind, _KINDS)
        hint = f"; did you mean {guess!r}?" if guess else ""
        message = f"{_dotted(path)}: there is no transform {kind!r}{hint}"
        place = (*path, kind) if isinstance(value, dict) else path
        self.issues.append(Issue(place, message, "one of " + ", ".join(_KINDS), shown(kind), guess))
        self.broken.append(path)
        return value

    def _params(self, path: Path, kind: str, transform: dict[str, Any]) -> None:
        """Bring the parameters of one transform into the form of its class, in place."""
        for name, ours in _PARAM_NAMES.get(kind, {}).items():
            if name in transform:
                self._rename(path, transform, name, ours)
        for name, value in transform.items():
            if name != "kind" and isinstance(value, str):
                transform[name] = _PARAM_VALUES.get(kind, {}).get(value.lower(), value)
        if kind == "image_resize" and "size" in transform:
            self._corners(path, transform, "size", ("width", "height"))
        if kind == "image_crop" and "box" in transform:
            self._corners(path, transform, "box", ("left", "top", "right", "bottom"))

    def _rename(self, path: Path, transform: dict[str, Any], name: str, ours: str) -> None:
        value = transform.pop(name)
        if ours in transform:
            message = f"{_dotted(path)}: {name} is another word for {ours}, which is given too"
            self.issues.append(Issue((*path, name), message, "nothing", shown(value)))
        else:
            transform[ours] = value
            self._moved[(*path, ours)] = self.written_at((*path, name))

    def _corners(self, path: Path, transform: dict[str, Any], name: str, parts: tuple[str, ...]) -> None:
        """Take a list of numbers apart; right and bottom become width and height."""
        value = transform.pop(name)
        whole = isinstance(value, list) and len(value) == len(parts) and all(type(number) is int for number in value)
        if not whole or transform.keys() & {*parts, "width", "height"}:
            expected = f"[{', '.join(parts)}]"
            message = f"{_dotted(path)}: {name} must be {expected}, and none of them given beside it"
            self.issues.append(Issue((*path, name), message, expected, shown(value)))
            self.broken.append(path)
            return
        corners = dict(zip(parts, value, strict=True))
        if "right" in corners:
            corners["width"] = corners.pop("right") - corners["left"]
            corners["height"] = corners.pop("bottom") - corners["top"]
        transform.update(corners)
        self._moved |= {(*path, part): self.written_at((*path, name)) for part in corners}

    def _output(self, spec: dict[str, Any]) -> None:
        output = spec.get("output")
        is_old = self._version < VERSION
        if output is None and is_old:
            output = {}
        if not isinstance(output, dict):
            return
        output = {"format": "tfrecord", **output}
        if output["format"] == "tfrecord" and is_old:
            output.setdefault("image_payload_contract", LEGACY_CONTRACT)
        if output["format"] == "parquet":  # older documents say of Parquet too what only TFRecord has
            for name, said in _SINGLE_VALUED.items():
                if output.get(name) in said:
                    del output[name]
        spec["output"] = output


def _with_kind(value: Any, infer: Any) -> Any:
    if isinstance(value, dict) and "kind" not in value and (kind := infer(value)) is not None:
        return {"kind": kind, **value}
    return value


def _rows_kind(value: Mapping[str, Any]) -> str | None:
    for keys, kind in (
        (("trigger_topic", "joins"), "trigger"),
        (("freq_hz", "method"), "resample"),
        (("topic",), "per-message"),
    ):
        if any(key in value for key in keys):
            return kind
    return None


def _source_kind(value: Mapping[str, Any]) -> str | None:
    if "key" in value:
        return "metadata"
    if "topic" in value or "field_path" in value:
        return "path"
    return "constant" if "value" in value and "sources" not in value else None


def _source(value: Any) -> Any:
    source = _with_kind(value, _source_kind)
    if isinstance(source, dict) and isinstance(parts := source.get("sources"), list):
        source = {**source, "sources": [_source(part) for part in parts]}
    return source


def _same(one: Any, other: Any) -> bool:
    """Whether two trigger strategies say the same once defaults are filled in."""
    if one == other:
        return True
    if issues_of(one, TriggerRows) or issues_of(other, TriggerRows):
        return False
    return structure(one, TriggerRows) == structure(other, TriggerRows)


# -- join defaults -----------------------------------------------------------------------------------------------------


def _with_join_defaults(spec: ConversionSpec) -> ConversionSpec:
    """Joins whose features ask for zeros get a default of zeros, so that their rows are kept."""
    rows = spec.row_strategy
    if not isinstance(rows, TriggerRows):
        return spec
    joins = [
        attrs.evolve(join, default_value=_zeros_of(join, spec.features.values()))
        if join.default_value is None and join.missing == "default"
        else join
        for join in rows.joins
    ]
    return attrs.evolve(spec, row_strategy=attrs.evolve(rows, joins=joins))


_NOTHING = object()
_SCALAR_ZEROS: dict[str, Any] = {"bytes": b"", "bool": False, "int64": 0, "float32": 0.0, "float64": 0.0}


def _zeros_of(join: Join, features: Iterable[Feature]) -> Any:
    """Zeros at the paths of the topic's features; None where they cannot be said in one value."""
    default: Any = _NOTHING
    for feature in features:
        source = feature.source
        if not isinstance(source, PathSource) or source.topic != join.topic or feature.missing != "zeros":
            continue
        if feature.dtype not in _SCALAR_ZEROS:
            continue
        zero: Any = _zeros(feature)
        for step in reversed(parse_path(source.field_path) if source.field_path is not None else ()):
            if not isinstance(step, str):
                return None
            zero = {step: zero}
        default = zero if default is _NOTHING else _merged(default, zero)
        if default is None:
            return None
    return None if default is _NOTHING else default


def _zeros(feature: Feature) -> Any:
    zero = _SCALAR_ZEROS[feature.dtype]
    for length in reversed(feature.shape or []):
        zero = [zero] * max(length, 0)
    return zero


def _merged(one: Any, other: Any) -> Any:
    """Two defaults as one; None where they contradict each other."""
    if isinstance(one, dict) and isinstance(other, dict):
        merged = dict(one)
        for key, item in other.items():
            merged[key] = _merged(merged[key], item) if key in merged else item
            if merged[key] is None:
                return None
        return merged
    same = type(one) is type(other) and one == other
    return one if same else None
