"""Features: the columns of a dataset, compiled from a spec and evaluated batch by batch.

Strategy: a feature is a reader (``sources``), steps (``transforms``), and steps that bring the value to the declared
shape and dtype.  All types are known before a byte is read, so everything that cannot fit is refused then, all of it at
once.  Evaluation carries only rows that still have a value; at the end what is missing is filled, dropped, refused or
left null by the feature's policy, and every row of it is counted.
Precedence for a row whose topic has no message: zeros or default of the join, then the feature's own policy.  Values
that stand in for others have presence 0, but forward-filled ones, which are values of the log, have 1.
A shifted feature has the value of a later row; where no row is so late its own policy decides, as for any other row
without a value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen

from hephaes_rpc.engine.features.columns import BINARY, Flags, Int64s, dims, zero
from hephaes_rpc.engine.features.conform import dtype_steps, shape_steps
from hephaes_rpc.engine.features.frames import FrameTree, PoseReader, TreeKey
from hephaes_rpc.engine.features.freevalues import covered
from hephaes_rpc.engine.features.jsontext import json_text
from hephaes_rpc.engine.features.labels import LabelColumn
from hephaes_rpc.engine.features.readers import Constant, Reader, Rows
from hephaes_rpc.engine.features.sources import Compiler, Context, Need, Path
from hephaes_rpc.engine.features.steps import MAX_SIZE, CannotApplyError, Column, Kind, Step, Tally
from hephaes_rpc.engine.features.transforms import bind
from hephaes_rpc.engine.messages.msgdef import Definition
from hephaes_rpc.engine.specs.feature_rules import LABEL, has_label_column
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.message_sources import KeyframeSource
from hephaes_rpc.engine.specs.spec import (
    ConstantSource,
    ConversionSpec,
    DType,
    Feature,
    Labels,
    MetadataSource,
    Missing,
    PathSource,
    TriggerRows,
    leaves,
    parse_path,
)
from hephaes_rpc.engine.specs.transform_params import (
    ImageColorConvert,
    ImageCrop,
    ImageDecode,
    ImageEncode,
    ImageResize,
    Transform,
)
from hephaes_rpc.engine.timeline.spread import spread
from hephaes_rpc.errors import HephaesError

_IMAGE_TRANSFORMS = (ImageColorConvert, ImageResize, ImageCrop, ImageDecode, ImageEncode)
_STRING = pa.string()


# -- what a feature is -------------------------------------------------------------------------------------------------


@frozen(eq=False)
class Substitute:
    """A finished value for rows in which a topic has no message."""

    topic: str
    value: pa.Array


@frozen(eq=False)
class CompiledFeature:
    """One column.

    Args:
        type: Arrow type of the column.
        shape: Length per dimension, -1 for any; what lies inside structs and bytes is no dimension.
        encoded_image: Whether each value is an image file.
        nullable: Whether a value may be null; otherwise what is absent is zero or empty.
        substitutes: By topic, from zeros of joins and JSON defaults.
        zero: One value that is zero, where the type has one.
        shift: How many rows later the value is read.
    """

    name: str
    type: pa.DataType
    shape: tuple[int, ...]
    dtype: DType
    encoded_image: bool
    required: bool
    missing: Missing
    presence_flag: bool
    reader: Reader
    steps: tuple[Step, ...]
    substitutes: tuple[Substitute, ...] = ()
    zero: pa.Array | None = None
    shift: int = 0

    @property
    def nullable(self) -> bool:
        """See the class."""
        return self.presence_flag


@define
class FeatureCounts:
    """What became of the values of one feature.

    Args:
        rows: Rows evaluated.
        present: Rows with a value of the log's own, forward-filled ones included.
        filled: Rows by what stands in: ``zeros``, ``default``, ``forward_fill``, ``empty`` (without a presence flag).
        absent: Rows left without a value.
        dropped: Rows that this feature dropped.
        bad: Rows left without a value that is required.
        causes: Rows without a value of their own, by why.
        changes: Values (rows, for padded and truncated) that were changed: clamped, narrowed, padded, truncated.
        first_bad_ns: Row time of the first bad row.
    """

    rows: int = 0
    present: int = 0
    filled: Counter[str] = field(factory=Counter)
    absent: int = 0
    dropped: int = 0
    bad: int = 0
    causes: Counter[str] = field(factory=Counter)
    changes: Counter[str] = field(factory=Counter)
    first_bad_ns: int | None = None


@frozen(eq=False)
class FeatureBatch:
    """The features of a batch of rows.

    Args:
        columns: By name, in order, n rows each, nulls only at the top; the label too where there is one.
        present: bool[n] by name: a value of the log's own.
        keep: bool[n]: False for rows to be dropped.
        bad: bool[n]: kept rows in which a required feature has no value.
    """

    columns: dict[str, pa.Array]
    present: dict[str, Flags]
    keep: Flags
    bad: Flags


@frozen(eq=False)
class FeatureSet:
    """All features of a spec for one log.

    Args:
        needs: What must be decoded, and told of rows, by topic.
        needs_all_topics: Whether the rows must know of every topic if it is present (metadata present_topics).
        schema: Of the columns.
        pose_readers: Those whose trees of frames must be filled before rows are evaluated.
    """

    features: tuple[CompiledFeature, ...]
    needs: Mapping[str, Need]
    needs_all_topics: bool
    schema: pa.Schema
    label: LabelColumn | None = None
    label_value: CompiledFeature | None = None
    pose_readers: tuple[PoseReader, ...] = ()

    @classmethod
    def compile(
        cls,
        spec: ConversionSpec,
        definitions: Mapping[str, Definition],
        context: Context,
        trees: Mapping[TreeKey, FrameTree] | None = None,
    ) -> "FeatureSet":
        """The features of a spec that ``check_spec`` has passed.

        Args:
            definitions: Of the topics that rows have.
            trees: Of frames, that are filled already.

        Raises:
            SpecError: Something does not exist or cannot fit; ``data.errors`` has all of it with JSON pointers.
        """
        return _SetCompiler(spec, definitions, context, trees or {}).compile()

    @property
    def reach(self) -> int:
        """How many rows beyond a row its features read."""
        return max((feature.shift for feature in self.features), default=0)

    def evaluation(self) -> "Evaluation":
        """A run over the rows of a log, in order."""
        return Evaluation(self)


# -- evaluation --------------------------------------------------------------------------------------------------------


class Evaluation:
    """Evaluates batches in row order; holds what is carried from one to the next, and the counts."""

    def __init__(self, features: FeatureSet) -> None:
        self._set = features
        self._last: dict[str, pa.Array] = {}
        self.counts = {feature.name: FeatureCounts() for feature in features.features}
        self._label_counts = FeatureCounts()

    def evaluate(self, rows: Rows, n: int | None = None) -> FeatureBatch:
        """The columns of the first ``n`` rows (None: all).

        Shifted features read the rows behind them: ``reach`` rows must follow, or all that there are.

        Raises:
            HephaesError: A feature with ``missing`` ``error`` has no value, or a label no class (``quality_gate``).
        """
        ahead, rows = rows, rows.part(0, n)
        keep, bad = np.ones(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        columns: dict[str, pa.Array] = {}
        present: dict[str, Flags] = {}
        for feature in self._set.features:
            read = ahead.part(feature.shift, feature.shift + len(rows)) if feature.shift else rows
            done = self._feature(feature, rows, read, self.counts[feature.name])
            columns[feature.name], present[feature.name] = done.values, done.present
            keep &= ~done.dropped
            bad |= done.bad
        if self._set.label is not None:
            values = self._label_values(rows, columns)
            columns[LABEL] = self._set.label.column(values, rows.timestamp_ns)
            present[LABEL] = columns[LABEL].is_valid().to_numpy(zero_copy_only=False)
        return FeatureBatch(columns, present, keep, bad & keep)

    def _label_values(self, rows: Rows, columns: Mapping[str, pa.Array]) -> pa.Array:
        assert self._set.label is not None
        if self._set.label_value is not None:
            return self._feature(self._set.label_value, rows, rows, self._label_counts).values
        return columns[self._set.label.labels.primary or ""]

    def _feature(self, feature: CompiledFeature, rows: Rows, read: Rows, counts: FeatureCounts) -> "_Done":
        """The values of ``rows``, row k from row k of ``read``, which may end before."""
        tally = Tally(len(rows))
        column = feature.reader.read(read, tally)
        tally.fail(np.arange(len(read), len(rows)), "no row is so late")
        for step in feature.steps:
            column = step.apply(column, tally)
        filler = _Filler(feature, column, len(rows))
        counts.rows += len(rows)
        counts.causes += tally.causes
        counts.filled["default"] += tally.changes.pop("defaults", 0)
        counts.changes += tally.changes
        for substitute in feature.substitutes:
            what = "zeros" if substitute.value is feature.zero else "default"
            absent = np.flatnonzero(~read.sources[substitute.topic].present)
            counts.filled[what] += filler.fill(absent, substitute.value)
        dropped = np.zeros(len(rows), np.bool_)
        missing = ~filler.has
        if feature.missing == "forward_fill":
            counts.filled["forward_fill"] += self._forward_fill(feature.name, filler)
        elif missing.any():
            dropped = self._by_policy(feature, filler, tally, rows, counts)
        left = ~filler.has & ~dropped
        bad = left & feature.required
        if bad.any() and counts.first_bad_ns is None:
            counts.first_bad_ns = int(rows.timestamp_ns[np.argmax(bad)])
        counts.bad += int(np.count_nonzero(bad))
        counts.absent += int(np.count_nonzero(left))
        if not feature.presence_flag and left.any():
            counts.filled["empty"] += filler.fill(np.flatnonzero(left), feature.zero)
        counts.present += int(np.count_nonzero(filler.present))
        counts.filled = +counts.filled
        return _Done(filler.values(), filler.present, dropped, bad)

    def _by_policy(
        self, feature: CompiledFeature, filler: "_Filler", tally: Tally, rows: Rows, counts: FeatureCounts
    ) -> Flags:
        """Deal with rows without a value; which of them are dropped."""
        missing = ~filler.has
        if feature.missing == "error":
            row = int(np.argmax(missing))
            time = int(rows.timestamp_ns[row])
            message = f"feature {feature.name!r} has no value at row time {time} ns: {tally.cause(row)}"
            raise HephaesError("quality_gate", message, feature=feature.name, timestamp_ns=time)
        if feature.missing == "drop":
            counts.dropped += int(np.count_nonzero(missing))
            return missing
        if feature.missing == "zeros":
            counts.filled["zeros"] += filler.fill(np.flatnonzero(missing), feature.zero)
        return np.zeros(len(missing), np.bool_)

    def _forward_fill(self, name: str, filler: "_Filler") -> int:
        """Fill with the last value present, of this batch or an earlier one; how many rows."""
        filled = filler.fill_forward(self._last.get(name))
        if len(filler.column.rows) and (own := filler.last_own()) is not None:
            self._last[name] = own
        return filled


@frozen(eq=False)
class _Done:
    values: pa.Array
    present: Flags
    dropped: Flags
    bad: Flags


class _Filler:
    """Finished values and what stands in for those that are missing: per row the place of its value in a pool."""

    def __init__(self, feature: CompiledFeature, column: Column, n: int) -> None:
        self.column = column
        self._type = feature.type
        self._n = n
        self._place = np.full(n, -1, np.int64)
        self._place[column.rows] = np.arange(len(column.rows))
        self._pool = [column.values]
        self._size = len(column.rows)
        self.present = np.zeros(n, np.bool_)
        self.present[column.rows] = ~column.filled

    @property
    def has(self) -> Flags:
        """bool[n], rows with a value."""
        return np.asarray(self._place >= 0, np.bool_)

    def fill(self, wanted: Int64s, value: pa.Array) -> int:
        """Put ``value`` into those of these rows that have none; how many there are."""
        rows = wanted[~self.has[wanted]]
        if len(rows):
            self._place[rows] = self._add(value)
        return len(rows)

    def fill_forward(self, before: pa.Array | None) -> int:
        """Put the last value present into rows that have none; how many get one."""
        missing = ~self.has
        if not missing.any():
            return 0
        start = -1 if before is None else self._add(before)
        own = np.where(self.present, np.arange(self._n), -1)
        last = np.maximum.accumulate(own) if self._n else own
        source = np.where(last >= 0, self._place[last], start)
        self._place[missing] = source[missing]
        got = missing & self.has
        self.present |= got
        return int(np.count_nonzero(got))

    def last_own(self) -> pa.Array | None:
        """The last value that no default stands for, as a copy that holds no batch."""
        own = np.flatnonzero(~self.column.filled)
        return self.column.values.take(pa.array(own[-1:])) if len(own) else None

    def _add(self, value: pa.Array) -> int:
        self._pool.append(value)
        self._size += 1
        return self._size - 1

    def values(self) -> pa.Array:
        """N values, null where there is none."""
        rows = np.flatnonzero(self._place >= 0)
        if len(rows) == len(self.column.rows):
            found = self.column.values
        else:
            found = pa.concat_arrays(self._pool).take(pa.array(self._place[rows]))
        return found if len(rows) == self._n else spread(found, rows, self._n)


# -- compiling ---------------------------------------------------------------------------------------------------------


class _SetCompiler:
    def __init__(
        self,
        spec: ConversionSpec,
        definitions: Mapping[str, Definition],
        context: Context,
        trees: Mapping[TreeKey, FrameTree],
    ) -> None:
        self._spec = spec
        self._zero_topics: set[str] = set()
        defaults: dict[str, tuple[Path, Any]] = {}
        if isinstance(spec.row_strategy, TriggerRows):
            for k, join in enumerate(spec.row_strategy.joins):
                if join.missing == "zeros":
                    self._zero_topics.add(join.topic)
                if join.default_value is not None:
                    defaults[join.topic] = ("row_strategy", "joins", k, "default_value"), join.default_value
        found = [leaf for feature in spec.features.values() for _, leaf in leaves(feature.source)]
        video = frozenset(leaf.topic for leaf in found if isinstance(leaf, KeyframeSource))
        self._compiler = Compiler(definitions, context, defaults, video_topics=video, trees=dict(trees))
        self._compiler.check_defaults()

    def compile(self) -> FeatureSet:
        """See FeatureSet.compile."""
        found = [
            self._feature(name, feature, ("features", name), f"feature {name!r}")
            for name, feature in self._spec.features.items()
        ]
        features = tuple(feature for feature in found if feature is not None)
        label, label_value = self._label(self._spec.labels, features)
        if self._compiler.issues:
            raise spec_error(self._compiler.issues)
        fields = [pa.field(feature.name, feature.type, nullable=feature.nullable) for feature in features]
        if label is not None:
            fields.append(pa.field(LABEL, label.type))
        compiler = self._compiler
        return FeatureSet(
            features,
            compiler.needs,
            compiler.needs_all_topics,
            pa.schema(fields),
            label,
            label_value,
            tuple(compiler.pose_readers),
        )

    def _label(
        self, labels: Labels | None, features: Sequence[CompiledFeature]
    ) -> tuple[LabelColumn | None, CompiledFeature | None]:
        """The label column, and what its values are made of where no feature is."""
        if labels is None or not has_label_column(labels):
            return None, None
        if labels.source is not None:
            feature = Feature(source=labels.source, dtype="native", transforms=labels.transforms)
            value = self._feature(LABEL, feature, ("labels",), "labels")
        else:
            value = next((feature for feature in features if feature.name == labels.primary), None)
        if value is None:
            return None, None
        try:
            label = LabelColumn.of(labels, value.type)
        except CannotApplyError as error:
            at = ("labels", "primary" if labels.source is None else "source")
            self._compiler.refuse(at, str(error), "values that can be labels", str(value.type))
            return None, None
        return label, value if labels.source is not None else None

    def _feature(self, name: str, feature: Feature, at: Path, what: str) -> CompiledFeature | None:
        self._compiler.own_zeros = feature.missing == "zeros"
        as_is = self._json_as_it_is(feature)
        if as_is is not None:
            reader: Reader | None = as_is
        else:
            first = feature.transforms[0] if feature.transforms else None
            reader = self._compiler.source(
                feature.source,
                (*at, "source"),
                what,
                as_image=isinstance(first, _IMAGE_TRANSFORMS),
                as_bytes=feature.dtype == "bytes" or first is not None,
                as_json=_takes_json_default(feature),
            )
        if reader is None:
            return None
        steps = self._transforms(feature.transforms, reader.kind, at, what)
        if steps is None:
            return None
        kind = steps[-1].kind if steps else reader.kind
        finish = self._finish(kind, feature, at, what)
        if finish is None:
            return None
        last = finish[-1].kind if finish else kind
        return self._with_policies(name, feature, reader, (*steps, *finish), last, at, what)

    def _json_as_it_is(self, feature: Feature) -> Reader | None:
        """A constant that becomes JSON without having to be of one type."""
        if not isinstance(feature.source, ConstantSource) or feature.dtype != "json":
            return None
        if feature.transforms or feature.shape is not None:
            return None
        return Constant(Kind(_STRING, is_json=True), pa.array([json_text(feature.source.value)], _STRING))

    def _transforms(self, transforms: Sequence[Transform], kind: Kind, at: Path, what: str) -> list[Step] | None:
        steps: list[Step] = []
        for k, transform in enumerate(transforms):
            try:
                steps += bind(transform, kind)
            except CannotApplyError as error:
                place = (*at, "transforms", k)
                self._compiler.refuse(place, f"{what}: {error}", "a transform that can apply", transform.kind)
                return None
            kind = steps[-1].kind
        return steps

    def _finish(self, kind: Kind, feature: Feature, at: Path, what: str) -> list[Step] | None:
        try:
            steps = shape_steps(kind, feature.shape, feature.dtype)
        except CannotApplyError as error:
            self._compiler.refuse((*at, "shape"), f"{what}: {error}", f"a shape that fits {kind}", feature.shape)
            return None
        try:
            return steps + dtype_steps(steps[-1].kind if steps else kind, feature.dtype)
        except CannotApplyError as error:
            self._compiler.refuse((*at, "dtype"), f"{what}: {error}", f"a dtype that fits {kind}", feature.dtype)
            return None

    def _with_policies(
        self,
        name: str,
        feature: Feature,
        reader: Reader,
        steps: Sequence[Step],
        kind: Kind,
        at: Path,
        what: str,
    ) -> CompiledFeature | None:
        type_ = kind.type
        assert type_ is not None
        shape = dims(type_)[0]
        nothing = None if feature.dtype == "json" else _zero_of(type_, kind.size, feature.shape)
        of_zeros = sorted(set(reader.topics) & self._zero_topics)
        if nothing is None and (feature.missing == "zeros" or of_zeros):
            key = "missing" if feature.missing == "zeros" else "dtype" if feature.dtype == "json" else "shape"
            owner = "missing" if feature.missing == "zeros" else f"the join of {of_zeros[0]} with missing"
            message = f"{what}: {owner} 'zeros' needs a shape of fixed lengths, and a dtype other than json"
            self._compiler.refuse((*at, key), message, "a fixed shape", feature.shape)
            return None
        if not reader.topics and not feature.shift and _never_absent(feature):
            if feature.missing != "default":
                message = f"{what}: missing {feature.missing!r} has no effect, the value is never absent"
                self._compiler.refuse((*at, "missing"), message, '"default"', feature.missing)
            if feature.required:
                message = f"{what}: required has no effect, the value is never absent"
                self._compiler.refuse((*at, "required"), message, "false", True)
        empty = nothing
        if not feature.presence_flag and nothing is None:
            empty = pa.array(["null" if feature.dtype == "json" else zero(type_)], type_)
        substitutes = [Substitute(topic, nothing) for topic in of_zeros]
        json_default = self._json_default(feature)
        return CompiledFeature(
            name,
            type_,
            shape,
            feature.dtype,
            kind.encoded and type_ == BINARY,
            feature.required,
            feature.missing,
            feature.presence_flag,
            reader,
            tuple(steps),
            (*substitutes, *json_default),
            empty,
            feature.shift,
        )

    def _json_default(self, feature: Feature) -> list[Substitute]:
        """The default of the join as JSON text, where the feature is the JSON of a field."""
        if not _takes_json_default(feature) or not isinstance(feature.source, PathSource):
            return []
        topic, path = feature.source.topic, feature.source.field_path
        _, value = self._compiler.defaults.get(topic, ((), None))
        value = covered(value, parse_path(path) if path else ())
        return [] if value is None else [Substitute(topic, pa.array([json_text(value)], _STRING))]


def _takes_json_default(feature: Feature) -> bool:
    """Whether a join's default is written as JSON as it is, without having to be of the field's type."""
    is_plain = not feature.transforms and feature.shape is None
    return feature.dtype == "json" and is_plain and isinstance(feature.source, PathSource)


def _never_absent(feature: Feature) -> bool:
    """Whether neither the source nor a transform can leave a row without a value."""
    found = [leaf for _, leaf in leaves(feature.source)]
    return not feature.transforms and all(isinstance(leaf, ConstantSource | MetadataSource) for leaf in found)


def _zero_of(kind: pa.DataType, size: int | None, declared: Sequence[int] | None) -> pa.Array | None:
    """One zero of a type whose lists have fixed lengths (0 included); None where there is none.

    Args:
        size: Bytes of each value, where they are fixed.
    """
    shape = [n if n >= 0 else declared[k] if declared is not None else -1 for k, n in enumerate(dims(kind)[0])]
    if -1 in shape or int(np.prod([*shape, size or 1], dtype=object)) > MAX_SIZE:
        return None
    return pa.array([bytes(size) if size and kind == BINARY else zero(kind)], kind)
