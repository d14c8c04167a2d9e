"""Runs in the environment of the reference: paths of logs as JSON on stdin, one JSON line per log on stdout.

An answer has ``log``, ``fields`` (type of topic, field path, dtype of every feature of the draft), and ``error``.
"""

import contextlib
import json
import sys
from typing import Any


def draft(log: str) -> list[list[Any]]:
    """What the reference drafts for a log."""
    from hephaes import DraftSpecRequest, build_draft_conversion_spec, inspect_bag

    inspection = inspect_bag(log)
    request = DraftSpecRequest(include_preview=False)
    spec = build_draft_conversion_spec(inspection, request=request).spec
    return [
        [inspection.topics[feature.source.topic].message_type, feature.source.field_path, str(feature.dtype)]
        for feature in spec.features.values()
    ]


def main() -> None:
    for log in json.load(sys.stdin):
        answer: dict[str, Any] = {"log": log, "fields": [], "error": None}
        try:
            with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(None):
                answer["fields"] = draft(log)
        except Exception as error:  # whatever it is, it is the answer
            answer["error"] = type(error).__name__
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
