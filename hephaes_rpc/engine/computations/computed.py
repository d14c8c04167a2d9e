"""The computations of a spec, run batch by batch over the features of the rows that are kept."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from attrs import evolve, frozen

from hephaes_rpc.engine.computations.owed import type_of
from hephaes_rpc.engine.computations.process import ScriptProcess
from hephaes_rpc.engine.computations.scripts import Function, Script, Scripts, check_function, read_script, script_error
from hephaes_rpc.engine.features.compiled import FeatureBatch
from hephaes_rpc.engine.features.readers import Rows
from hephaes_rpc.engine.specs.spec import TIMESTAMP, Computation, ConversionSpec
from hephaes_rpc.engine.timeline.spread import spread
from hephaes_rpc.errors import HephaesError


@frozen(eq=False)
class Computed:
    """A computation with its script."""

    computation: Computation
    script: Script
    function: Function

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Name -> ``dtype`` and ``shape``."""
        return {name: {"dtype": each.dtype, "shape": each.shape} for name, each in self.computation.outputs.items()}

    def told(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "file": self.script.path,
            "function": self.function.name,
            "sha256": self.script.sha256,
            "inputs": list(self.computation.inputs),
            "outputs": {
                name: {**wanted, "description": self.computation.outputs[name].description}
                for name, wanted in self.outputs.items()
            },
        }


class Computations:
    """All computations of a spec; a context manager around a run over the rows of a log."""

    def __init__(self, spec: ConversionSpec, scripts: Scripts | None, check: Callable[[], None]) -> None:
        """Read and check the scripts, which are not run yet; raises ``script_failed``."""
        self._check = check
        self.computed = [_computed(each, scripts) for each in spec.computations]
        self._running: list[ScriptProcess] = []
        self._stack = ExitStack()

    @property
    def fields(self) -> list[pa.Field]:
        """The columns, in order."""
        return [
            pa.field(name, type_of(**wanted), nullable=False)
            for each in self.computed
            for name, wanted in each.outputs.items()
        ]

    def __enter__(self) -> Self:
        """Start the scripts; raises ``script_failed``."""
        with ExitStack() as stack:
            self._running = [
                stack.enter_context(
                    ScriptProcess(
                        each.script,
                        (each.function.name, each.function.line),
                        each.outputs,
                        each.computation.time_limit_s,
                        each.computation.memory_limit_mb,
                        self._check,
                    )
                )
                for each in self.computed
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def add_to(self, rows: Rows, batch: FeatureBatch) -> FeatureBatch:
        """The batch with the computed columns behind its own; null in rows that are not kept."""
        if not self._running or not len(rows):
            return batch
        kept = np.flatnonzero(batch.keep)
        columns: dict[str, pa.Array] = {TIMESTAMP: pa.array(rows.timestamp_ns), **batch.columns}
        added: dict[str, pa.Array] = {}
        for each, running in zip(self.computed, self._running, strict=True):
            given = [columns[name] for name in each.computation.inputs]
            if len(kept) < len(rows):
                given = [column.take(pa.array(kept)) for column in given]
            asked = pa.RecordBatch.from_arrays(given, list(each.computation.inputs))
            made = dict(zip(each.outputs, running.call(asked) if len(kept) else _none(each), strict=True))
            made = {
                name: spread(array, kept, len(rows)) if len(kept) < len(rows) else array for name, array in made.items()
            }
            added |= made
            columns |= made
        return evolve(batch, columns={**batch.columns, **added})

    def told(self) -> list[dict[str, Any]]:
        """What manifests say of computations."""
        return [each.told() for each in self.computed]


def digests_of(spec: ConversionSpec, scripts: Scripts | None) -> list[str]:
    """The SHA-256 of each script that the spec names, in its order; raises ``script_failed``."""
    return [_computed(each, scripts).script.sha256 for each in spec.computations]


def _computed(computation: Computation, scripts: Scripts | None) -> Computed:
    if scripts is None:
        raise script_error(computation.file, None, "no folder of scripts is enabled here")
    try:
        script = read_script(scripts, computation.file)
    except HephaesError as error:
        raise script_error(computation.file, None, error.message) from None
    return Computed(computation, script, check_function(script, computation.function))


def _none(each: Computed) -> list[pa.Array]:
    return [pa.array([], type_of(**wanted)) for wanted in each.outputs.values()]
