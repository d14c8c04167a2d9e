"""What is fuzzed holds for what fuzzing begins with, and a promise that is broken is seen."""

from pathlib import Path

import pytest
from attrs import evolve

from fuzz import targets as fuzzed
from hephaes_rpc.engine.logs import LogReader

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
SEEDS = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_are_no_findings(seed: str, tmp_path: Path) -> None:
    target = fuzzed.watched(fuzzed.targets(tmp_path)[seed.partition("/")[0]])
    data = (CORPUS / seed).read_bytes()
    for part in (data, data[: len(data) // 2], data[:-1]):
        target(part)


def test_every_target_has_seeds(tmp_path: Path) -> None:
    assert {seed.partition("/")[0] for seed in SEEDS} == fuzzed.targets(tmp_path).keys()


@pytest.mark.parametrize("error", [RuntimeError("no declared error"), MemoryError()])
def test_what_is_no_declared_error_is_a_finding(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_log: object) -> None:
        raise error

    monkeypatch.setattr(fuzzed, "describe", broken)
    seed = next(seed for seed in SEEDS if seed.startswith("mcap/"))
    with pytest.raises(type(error)):
        fuzzed.targets(tmp_path)["mcap"]((CORPUS / seed).read_bytes())


def test_answers_that_contradict_each_other_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(log: LogReader) -> None:
        log.summary = evolve(log.summary, outcome="part")

    monkeypatch.setattr(fuzzed, "describe", lying)
    with pytest.raises(fuzzed.FindingError, match="contradict"):
        fuzzed.targets(tmp_path)["bag"]((CORPUS / "bag" / "lz4").read_bytes())
