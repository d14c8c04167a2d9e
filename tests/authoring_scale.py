"""What inspecting, drafting and previewing cost in a warm sidecar, on a log and on a longer one, in one run.

    python -m tests.authoring_scale LOG LONGER_LOG

Exit code 1 where a call takes more than a second, the longer log more than 1.3 times as long, or a process more than
300 MB (Linux).  Times are the least of ROUNDS, taken in turn.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hephaes_rpc.testing.sidecar import Sidecar

ROUNDS = 5
MOST_S, MOST_RATIO, MOST_MB = 1.0, 1.3, 300


def measured(sidecar: Sidecar, asset_ids: list[str]) -> dict[str, list[float]]:
    """Seconds of each call, by log."""
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for k, asset_id in enumerate(asset_ids):
            asset = {"asset_id": asset_id}
            sidecar.request("conversions/inspect", asset)
            draft = {**asset, "draft_request": {"output_format": "parquet", "preview_rows": 5}}
            _, inspect_s = _timed(lambda asset=asset: sidecar.request("conversions/inspect", asset))
            drafted, draft_s = _timed(lambda draft=draft: sidecar.request("conversions/draft", draft))
            wanted = {**asset, "spec": drafted["draft"]["spec"], "sample_n": 5}
            _, preview_s = _timed(lambda wanted=wanted: sidecar.request("conversions/preview", wanted))
            for name, found in (("inspect", inspect_s), ("draft", draft_s), ("preview", preview_s)):
                best = took.setdefault(name, [float("inf")] * len(asset_ids))
                best[k] = min(best[k], found)
    return took


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def peak_mb(process_id: int) -> float:
    """Most resident memory so far."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs=2, metavar="LOG")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Sidecar(Path(folder) / "data") as sidecar:
        sidecar.initialize()
        sidecar.request("workspaces/create", {"root_path": f"{folder}/workspace", "activate": True})
        paths = [str(path.resolve()) for path in arguments.logs]
        asset_ids = [sidecar.request("assets/register", {"file_path": path})["id"] for path in paths]
        bad = 0
        for asset_id in asset_ids:
            _, first_s = _timed(
                lambda asset_id=asset_id: sidecar.request("conversions/inspect", {"asset_id": asset_id})
            )
            print(f"the first inspection: {first_s:.3f} s")
        for name, (short_s, long_s) in measured(sidecar, asset_ids).items():
            bad += short_s > MOST_S or long_s > MOST_S or long_s / short_s > MOST_RATIO
            print(f"{name}: {short_s:.3f} s and {long_s:.3f} s, {long_s / short_s:.2f} times")
        memory = max(map(peak_mb, sidecar.children()))
        print(f"the worker took {memory:.0f} MB")
        return 1 if bad or memory > MOST_MB else 0


if __name__ == "__main__":
    sys.exit(main())
