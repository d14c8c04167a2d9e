"""The rules of features, labels, splits and computations that need no log; ``rules`` has those of everything else."""

import math
from collections.abc import Iterator, Mapping

from hephaes_rpc.engine.specs.issues import no_effect, unknown
from hephaes_rpc.engine.specs.source_rules import source_issues
from hephaes_rpc.engine.specs.spec import (
    TIMESTAMP,
    ConstantSource,
    ConversionSpec,
    Feature,
    Labels,
    PathSource,
    Split,
    TFRecordOutput,
    TriggerRows,
    Validation,
    age_column,
    leaves,
)
from hephaes_rpc.engine.specs.transform_rules import transform_issues
from hephaes_rpc.engine.specs.values import is_script_path
from hephaes_rpc.serde import Issue, Path, closest, shown

LABEL = "label"
PRESENCE = "__present"
LENGTH_PREFIX = "__sequence_length__"
FRACTIONS = ("train_fraction", "val_fraction", "test_fraction")
FRACTION_TOLERANCE = 1e-6
SPLIT_BY_SEED = ("random", "episode", "group")
SPLIT_BY_ROW = ("time", "random", "group")
SAME_IN_ALL_ROWS = ("source_file", "episode_id")
DECISIVE = {"drop": "leaves the row out", "error": "ends the conversion"}
SETTLED = {"zeros": "leaves no row without a value", **DECISIVE}
"""Of a missing value: what makes it no matter whether the feature is required."""


def wrong_name(name: str) -> str | None:
    """What is wrong with the name of a column."""
    if not name.strip():
        return "has a field without a name"
    if name == TIMESTAMP:
        return f"field {name!r} has the name of the row time; choose another name"
    if "\0" in name:
        return f"field {name!r} contains a NUL character"
    return None


def feature_issues(path: Path, name: str, feature: Feature) -> Iterator[Issue]:
    """What is wrong with a feature by itself, whatever the log."""
    what = f"feature {name!r}"
    if (why := wrong_name(name)) is not None:
        yield Issue(path, f"features: {why}", "another name", shown(name))
    source = feature.source
    whole = isinstance(source, PathSource) and source.field_path is None and not feature.transforms
    if whole and feature.dtype not in ("json", "native", "bytes"):
        message = f"{what}: a whole message is no {feature.dtype}; name a field by source.field_path"
        yield Issue((*path, "dtype"), message, '"json" or "native"', shown(feature.dtype))
    yield from source_issues((*path, "source"), what, source)
    for k, length in enumerate(feature.shape or []):
        if length < -1:
            yield Issue((*path, "shape", k), f"{what}: no dimension has length {length}", "-1 or more", str(length))
    if feature.missing == "zeros" and feature.dtype == "json":
        message = f"{what}: missing 'zeros' has no effect with dtype json, which has no zero"
        yield no_effect((*path, "missing"), "zeros", message)
    if feature.required and feature.missing in SETTLED:
        message = f"{what}: required has no effect with missing {feature.missing!r}, which {SETTLED[feature.missing]}"
        yield no_effect((*path, "required"), True, message, "false")
    for k, transform in enumerate(feature.transforms):
        yield from transform_issues((*path, "transforms", k), f"{what}, {transform.kind}", transform)


def shift_issues(spec: ConversionSpec) -> Iterator[Issue]:
    """Shifted features look ahead, by their purpose; what says that nothing may look there contradicts them."""
    joins = spec.row_strategy.joins if isinstance(spec.row_strategy, TriggerRows) else []
    guarded = {join.topic for join in joins if join.no_future}
    strategy = "none" if spec.split is None else spec.split.strategy
    for name, feature in spec.features.items():
        if not feature.shift:
            continue
        path, what = ("features", name, "shift"), f"feature {name!r}"
        found = [leaf for _, leaf in leaves(feature.source)]
        if all(isinstance(leaf, ConstantSource) or getattr(leaf, "key", None) in SAME_IN_ALL_ROWS for leaf in found):
            message = f"{what}: shift has no effect on a value that is the same in every row"
            yield no_effect(path, feature.shift, message, "0")
        if feature.missing == "error":
            message = f"{what}: missing 'error' ends every conversion with shift, for the last rows have no value"
            yield Issue(("features", name, "missing"), message, '"drop", "forward_fill" or another', '"error"')
        for topic in dict.fromkeys(getattr(leaf, "topic", None) for leaf in found):
            if topic in guarded:
                message = f"{what}: shift takes later messages of {topic!r}, which no_future of its join forbids"
                yield Issue(path, message, "0, or a join without no_future", str(feature.shift))
        if strategy in SPLIT_BY_ROW:
            message = f"{what}: with split {strategy!r} shift takes values of one part into another; split by episode"
            yield Issue(path, message, '0, or split.strategy "episode"', str(feature.shift))


def column_issues(spec: ConversionSpec) -> Iterator[Issue]:
    """No two columns, and no two keys of a record, have one name."""
    taken: dict[str, str] = {TIMESTAMP: "the row time"}
    if isinstance(spec.row_strategy, TriggerRows):
        for k, join in enumerate(spec.row_strategy.joins):
            if join.age_column:
                name, what = age_column(join.topic), f"the age of {join.topic!r}"
                if name in taken:
                    message = f"{what} and {taken[name]} would both be the column {name!r}"
                    yield Issue(("row_strategy", "joins", k, "age_column"), message, "false", "true")
                taken[name] = what
    if spec.labels is not None and has_label_column(spec.labels):
        taken.setdefault(LABEL, "the label")
    if isinstance(spec.output, TFRecordOutput):
        for name, feature in spec.features.items():
            taken[LENGTH_PREFIX + name] = f"the length of {name!r}"
            if feature.presence_flag:
                taken[name + PRESENCE] = f"the presence of {name!r}"
        for computation in spec.computations:
            taken |= {LENGTH_PREFIX + name: f"the length of {name!r}" for name in computation.outputs}
    for name in spec.features:
        if name in taken and name != TIMESTAMP:
            message = f"feature {name!r} has the name of {taken[name]}"
            yield Issue(("features", name), message, "another name", shown(name))
    taken |= {name: f"the feature {name!r}" for name in spec.features}
    for k, computation in enumerate(spec.computations):
        for name in computation.outputs:
            if name in taken:
                message = f"the output {name!r} of {computation.file} has the name of {taken[name]}"
                yield Issue(("computations", k, "outputs", name), message, "another name", shown(name))
            taken[name] = f"an output of {computation.file}"


def computation_issues(spec: ConversionSpec) -> Iterator[Issue]:
    """Scripts have names that lead nowhere else, read columns that there are, and owe columns of some shape."""
    known = [TIMESTAMP, *spec.features]
    for k, each in enumerate(spec.computations):
        path: Path = ("computations", k)
        what = f"computation {each.file}"
        if not spec.features:
            yield no_effect(path, each, f"{what}: computations have no effect without features")
            continue
        if not is_script_path(each.file):
            message = f"{what}: a script is named by its path below the folder of scripts, and ends in .py"
            yield Issue((*path, "file"), message, "a relative path with slashes", shown(each.file))
        if not each.function.isidentifier():
            yield Issue((*path, "function"), f"{what}: {each.function!r} is no name", "a name", shown(each.function))
        if not each.inputs:
            yield Issue((*path, "inputs"), f"{what}: it reads no column", "at least one column", "[]")
        for n, name in enumerate(each.inputs):
            if name not in known:
                near = closest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                message = f"{what}: there is no column {name!r} before it{hint}"
                yield Issue((*path, "inputs", n), message, "one of " + ", ".join(known), shown(name), near)
            elif name in each.inputs[:n]:
                yield Issue((*path, "inputs", n), f"{what}: {name!r} is read twice", "each column once", shown(name))
        if not each.outputs:
            yield Issue((*path, "outputs"), f"{what}: it makes no column", "at least one column", "{}")
        for name, column in each.outputs.items():
            if (why := wrong_name(name)) is not None:
                yield Issue((*path, "outputs", name), f"{what}: {why}", "another name", shown(name))
            for n, length in enumerate(column.shape):
                if length < -1:
                    message = f"{what}: no dimension of {name!r} has length {length}"
                    yield Issue((*path, "outputs", name, "shape", n), message, "-1 or more", str(length))
        known += each.outputs


def has_label_column(labels: Labels) -> bool:
    """Whether labels become a column of their own."""
    return labels.source is not None or bool(labels.class_map) or labels.multi_label


# -- labels, split, validation -----------------------------------------------------------------------------------------


def label_issues(labels: Labels, features: Mapping[str, Feature]) -> Iterator[Issue]:
    """What is wrong with labels, whatever the log."""
    if labels.primary is not None and labels.source is not None:
        message = "labels.primary and labels.source cannot be given together"
        yield no_effect(("labels", "source"), labels.source, message)
    elif labels.primary is None and labels.source is None:
        yield Issue(("labels",), "labels name neither primary nor source", "primary or source", "object")
    if labels.primary is not None:
        yield from _known_feature(("labels", "primary"), labels.primary, features)
        if labels.transforms:
            message = "labels.transforms are those of labels.source; a primary feature has its own"
            yield no_effect(("labels", "transforms"), labels.transforms, message)
    if labels.source is not None:
        yield from source_issues(("labels", "source"), "labels.source", labels.source)
    for k, transform in enumerate(labels.transforms):
        yield from transform_issues(("labels", "transforms", k), f"labels, {transform.kind}", transform)
    if labels.multi_label:
        for name, number in labels.class_map.items():
            if number < 0:
                message = f"labels.class_map: {name!r} has the class {number}, but multi_label needs 0 or more"
                yield Issue(("labels", "class_map", name), message, "0 or more", str(number))


def _known_feature(path: Path, name: str, features: Mapping[str, Feature]) -> Iterator[Issue]:
    if name not in features:
        yield unknown(path, f"{'.'.join(map(str, path))}: there is no feature {name!r}", name, features)


def split_issues(split: Split, features: Mapping[str, Feature]) -> Iterator[Issue]:
    """What is wrong with a split, whatever the log."""
    fractions = {name: getattr(split, name) for name in FRACTIONS}
    given = {name: value for name, value in fractions.items() if value is not None}
    if split.strategy == "none":
        for name, value in given.items():
            yield no_effect(("split", name), value, f"split.{name} has no effect with strategy 'none'")
    elif len(given) < len(fractions):
        for name in FRACTIONS:
            if name not in given:
                yield Issue(("split", name), f"split.{name} is missing", "number between 0 and 1", "null")
    elif not math.isclose(total := sum(given.values()), 1, rel_tol=0, abs_tol=FRACTION_TOLERANCE):
        yield Issue(("split",), f"the fractions of split add up to {total:g}, not to 1", "a sum of 1", f"{total:g}")
    if split.seed is not None and split.strategy not in SPLIT_BY_SEED:
        yield no_effect(("split", "seed"), split.seed, f"split.seed has no effect with strategy {split.strategy!r}")
    if split.strategy == "group" and split.group_by is None:
        yield Issue(("split", "group_by"), "split.group_by is missing", "name of a feature", "null")
    elif split.group_by is not None and split.strategy != "group":
        message = f"split.group_by has no effect with strategy {split.strategy!r}"
        yield no_effect(("split", "group_by"), split.group_by, message)
    elif split.group_by is not None:
        yield from _known_feature(("split", "group_by"), split.group_by, features)


def judging_issues(validation: Validation, features: Mapping[str, Feature]) -> Iterator[Issue]:
    """Only a required feature makes a record bad."""
    if not features or any(feature.required for feature in features.values()):
        return
    for name in ("fail_fast", "bad_record_budget"):
        value = getattr(validation, name)
        if value is not None and value is not False:
            message = f"validation.{name} has no effect: no feature is required, so that no record is bad"
            yield no_effect(("validation", name), value, message, "a required feature")


def expectation_issues(validation: Validation, features: Mapping[str, Feature]) -> Iterator[Issue]:
    """Only features that there are can be expected."""
    for k, name in enumerate(validation.expected_features if features else ()):
        if name not in features:
            message = f"validation.expected_features: there is no feature {name!r}"
            yield unknown(("validation", "expected_features", k), message, name, features)
