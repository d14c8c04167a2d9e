"""``make compare``: every case through both engines; fails on what is not explained, and on a stale document."""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.compare import cases, document, environment, sides
from tests.compare.cases import Case
from tests.compare.comparison import UNEXPLAINED, Finding
from tests.compare.differences import RUNS, VALUES
from tests.compare.traps import DIFFERENCES, TRAPS

SHARED = Path(os.environ.get("HEPHAES_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = environment.WORK / "compare"
SHOWN = 20
REFUSALS = ("invalid_spec:", "quality_gate:")
WIDTH = 100


class Tally:
    """What was found so far."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.equal = self.unexplained = 0

    def run(self, case: Case, trap: str, answer: dict[str, Any], folder: Path) -> None:
        """Compare one case with the reference's answer to it."""
        both = sides.pair(case, answer, folder)
        if trap:
            shown = TRAPS[trap].shown(both.theirs, both.mine, both.topics)
            broken = isinstance(both.mine, str) and not both.mine.startswith(REFUSALS)
            self.add(case, Finding(trap if shown and not broken else UNEXPLAINED, "", both.theirs, both.mine))
            return
        found = list(sides.findings(both))
        self.equal += not found
        for finding in found:
            self.add(case, finding)

    def add(self, case: Case, finding: Finding) -> None:
        """Count it; show it where it is new or unexplained."""
        self.reasons[finding.reason] += 1
        self.unexplained += finding.reason == UNEXPLAINED
        if self.reasons[finding.reason] <= (SHOWN if finding.reason == UNEXPLAINED else 1):
            reference, ours = (repr(value)[:WIDTH] for value in (finding.reference, finding.ours))
            print(f"{finding.reason}: {case.name} {finding.path}: {reference} there, {ours} here")


def everything() -> list[tuple[Case, str]]:
    """All cases, those of traps with their name."""
    made = [(log, log.name) for log in cases.made_logs(FOLDER / "logs")]
    named = [*made, *((log, "/".join(log.parts[-2:])) for log in cases.real_logs(SHARED))]
    found = [case for log, name in made for case in cases.trap_cases(log, name)]
    found += [(case, "") for log, name in made for case in cases.spec_cases(log, name)]
    return found + [(case, "") for log, name in named for case in cases.mapping_cases(log, name)]


def main(words: Sequence[str], *, write: bool) -> int:
    """Run the cases that have all words in their name."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    chosen = [(case, trap) for case, trap in everything() if all(word in case.name for word in words)]
    answers = environment.convert_all([case.task(FOLDER / f"reference-{i}") for i, (case, _) in enumerate(chosen)])
    tally = Tally()
    for i, ((case, trap), answer) in enumerate(zip(chosen, answers, strict=True)):
        tally.run(case, trap, answer, FOLDER / f"ours-{i}")
    print(f"\n{len(chosen)} cases, {tally.equal} of them equal in every value; differences:")
    for reason, count in tally.reasons.most_common():
        print(f"  {count:8,} {reason}")
    if write:
        document.write()
    problems = [f"{tally.unexplained} differences are not explained"] if tally.unexplained else []
    if not document.is_current():
        problems.append(f"{document.PATH.name} is not what the list of differences says; make compare WRITE=1")
    if (
        not words
        and (SHARED / "corpus").is_dir()
        and (unseen := sorted({*VALUES, *RUNS, *DIFFERENCES} - set(tally.reasons)))
    ):
        problems.append(f"never seen, so no difference: {', '.join(unseen)}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="run only the cases that have these in their name")
    parser.add_argument("--write", action="store_true", help="write the tables of the document")
    arguments = parser.parse_args()
    sys.exit(main(arguments.words, write=arguments.write))
