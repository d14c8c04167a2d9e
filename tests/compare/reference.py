"""Runs in the environment of the reference: tasks as JSON on stdin, one JSON line per task on stdout.

A task has ``log``, ``out``, ``format``, and either ``mapping`` and ``resample`` or ``spec``; an answer has ``file``
(the dataset's path, None without one) and ``error``.
"""

import contextlib
import json
import sys
from pathlib import Path


def convert(task: dict) -> Path | None:
    """The dataset that the reference makes."""
    from hephaes import Converter, ParquetOutputConfig, ResampleConfig, TFRecordOutputConfig
    from hephaes.models import ConversionSpec, MappingTemplate

    if "spec" in task:
        spec = ConversionSpec.model_validate(task["spec"])
        converter = Converter([task["log"]], None, task["out"], spec=spec, max_workers=1)
    else:
        output = ParquetOutputConfig() if task["format"] == "parquet" else TFRecordOutputConfig()
        resample = ResampleConfig(**task["resample"]) if task["resample"] else None
        mapping = MappingTemplate(task["mapping"])
        converter = Converter([task["log"]], mapping, task["out"], output=output, resample=resample, max_workers=1)
    return next((Path(path) for path in converter.convert()), None)


def main() -> None:
    for task in json.load(sys.stdin):
        answer = {"file": None, "error": None}
        try:
            with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(None):
                path = convert(task)
            answer["file"] = str(path) if path and path.exists() else None
        except Exception as error:  # whatever it is, it is the answer
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
