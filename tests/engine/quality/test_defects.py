"""Each kind of defect, alone in a drive without a flaw, gives exactly its finding; the drive itself gives none."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen

from hephaes_rpc.engine.quality.cadence import Cadence
from hephaes_rpc.model.quality import FindingKind, Quality
from tests.engine.quality.drives import (
    MS,
    PERIODS,
    SECOND,
    START_NS,
    Container,
    Drive,
    clean,
    judged,
    of,
    without,
    written,
)

CAMERA, IMU, ODOM, SCAN, FIX = PERIODS


@frozen
class Defect:
    """A defect and the findings that it alone must give: kinds with their topics, in any order."""

    make: Callable[[Drive], Drive]
    kind: FindingKind
    topic: str | None
    field: str | None = None
    by_index: bool = True
    bag_only: bool = False
    times: int = 1


def at(seconds: float) -> int:
    return START_NS + int(seconds * SECOND)


def between(drive: Drive, topic: str, start: float, end: float) -> Drive:
    return [m for m in of(drive, topic) if at(start) <= m.time < at(end)]


def renumbered(drive: Drive) -> Drive:
    """As if the publisher itself had left messages out: numbers go on."""
    n: dict[str, int] = {}
    for message in drive:
        message.seq = n.get(message.topic, -1) + 1
        n[message.topic] = message.seq
    return drive


def gap(drive: Drive) -> Drive:
    return without(drive, *between(drive, CAMERA, 4, 5.5))


def gap_of_all(drive: Drive) -> Drive:
    return [m for m in drive if not at(4) <= m.time < at(5.5)]


def missing(drive: Drive) -> Drive:
    return renumbered(without(drive, *of(drive, CAMERA)[20:300:15]))


def unnumbered(drive: Drive) -> Drive:
    return without(drive, *of(drive, CAMERA)[20:300:15])


def numbers_leap(drive: Drive) -> Drive:
    for n, message in enumerate(of(drive, ODOM)):
        message.seq = n + (n >= 100) * 3 + (n >= 150)
    return drive


def late(drive: Drive) -> Drive:
    return without(drive, *between(drive, SCAN, -1, 3))


def early(drive: Drive) -> Drive:
    return without(drive, *between(drive, SCAN, 9, 99))


def jittery(drive: Drive) -> Drive:
    random_ = random.Random(3)
    for message in of(drive, IMU):
        message.time += random_.randrange(int(0.45 * PERIODS[IMU]))
    return sorted(drive, key=lambda m: m.time)


def halved(drive: Drive) -> Drive:
    """The camera goes down to 15 Hz for four seconds; its stamps and numbers are its own."""
    return renumbered(without(drive, *between(drive, CAMERA, 5, 9)[::2]))


def disordered(drive: Drive) -> Drive:
    some = of(drive, FIX)[20]
    rest = without(drive, some)
    place = next(k for k, m in enumerate(rest) if m.time > some.time + 2.5 * PERIODS[FIX])
    return [*rest[:place], some, *rest[place:]]


def doubled(drive: Drive) -> Drive:
    for before, message in zip(of(drive, IMU)[:100:20], of(drive, IMU)[1:101:20], strict=True):
        message.time = before.time
    return sorted(drive, key=lambda m: m.time)


def malformed(drive: Drive) -> Drive:
    for message in of(drive, ODOM)[50:53]:
        message.payload = b"\0\1\0\0\1\2\3"
    return drive


def off(drive: Drive) -> Drive:
    for message in of(drive, IMU):
        message.stamp += 90 * SECOND
    return drive


def all_off(drive: Drive) -> Drive:
    for message in drive:
        message.stamp -= (message.stamp > 0) * 3600 * SECOND
    return drive


def leaps(drive: Drive) -> Drive:
    for message in of(drive, IMU):
        message.stamp -= (message.time >= at(6)) * 400 * MS
    return drive


def all_leap(drive: Drive) -> Drive:
    """The recorder's clock is set forward by three seconds: stamps go on."""
    for message in drive:
        message.time += (message.time >= at(6)) * 3 * SECOND
        message.stamp += 0
    return drive


def unset(drive: Drive) -> Drive:
    for message in of(drive, ODOM):
        message.stamp = 0
    return drive


def frozen_camera(drive: Drive) -> Drive:
    frames = between(drive, CAMERA, 5, 6)
    for message in frames:
        message.values["pixels"] = frames[0].values["pixels"]
    return drive


def frozen_scan(drive: Drive) -> Drive:
    scans = between(drive, SCAN, 5, 8)
    for message in scans:
        message.values["ranges"] = scans[0].values["ranges"]
    return drive


def repeated(drive: Drive) -> Drive:
    frames = of(drive, CAMERA)
    for before, message in zip(frames[::6], frames[1::6], strict=False):
        message.values["pixels"] = before.values["pixels"]
    return drive


def nan(drive: Drive) -> Drive:
    for message in of(drive, ODOM)[30:40]:
        message.values["y"] = float("nan")
    return drive


def infinite(drive: Drive) -> Drive:
    of(drive, IMU)[30].values["ax"] = float("-inf")
    return drive


def constant(drive: Drive) -> Drive:
    for message in of(drive, IMU):
        message.values["wz"] = 0.125
    return drive


def stuck(drive: Drive) -> Drive:
    for message in between(drive, IMU, 5, 8):
        message.values["ay"] = -0.5
    return drive


DEFECTS = {
    "gap": Defect(gap, "gap", CAMERA),
    "gap of all": Defect(gap_of_all, "gap", None),
    "missing": Defect(missing, "missing_messages", CAMERA),
    "lost on the way": Defect(unnumbered, "sequence_drops", CAMERA, by_index=False, bag_only=True),
    "numbers leap": Defect(numbers_leap, "sequence_drops", ODOM, by_index=False, bag_only=True),
    "late": Defect(late, "late_start", SCAN),
    "early": Defect(early, "early_end", SCAN),
    "jitter": Defect(jittery, "jitter", IMU),
    "rate": Defect(halved, "rate_change", CAMERA),
    "order": Defect(disordered, "out_of_order", FIX),
    "duplicates": Defect(doubled, "duplicate_times", IMU),
    "malformed": Defect(malformed, "decode_failures", ODOM, by_index=False),
    "offset": Defect(off, "clock_offset", IMU, "header.stamp", by_index=False),
    "offset of all": Defect(all_off, "clock_offset", None, by_index=False),
    "jump": Defect(leaps, "clock_jump", IMU, "header.stamp", by_index=False),
    "jump of all": Defect(all_leap, "clock_jump", None, by_index=False),
    "unset": Defect(unset, "unset_stamps", ODOM, "header.stamp", by_index=False),
    "frozen camera": Defect(frozen_camera, "frozen_frames", CAMERA, by_index=False),
    "frozen scan": Defect(frozen_scan, "frozen_frames", SCAN, by_index=False),
    "repeated": Defect(repeated, "repeated_frames", CAMERA, by_index=False),
    "nan": Defect(nan, "nonfinite_values", ODOM, "pose.pose.position.y", by_index=False),
    "infinite": Defect(infinite, "nonfinite_values", IMU, "linear_acceleration.x", by_index=False),
    "constant": Defect(constant, "constant_field", IMU, "angular_velocity.z", by_index=False),
    "stuck": Defect(stuck, "constant_field", IMU, "linear_acceleration.y", by_index=False),
}
LEAP_OF_THE_LOG = "jump of all"
CASES = [
    (name, container)
    for name, defect in DEFECTS.items()
    for container in ("bag", "mcap")
    if container == "bag" or not defect.bag_only
]


def found(quality: Quality) -> list[tuple[str, str | None, str | None]]:
    return [(finding.kind, finding.topic, finding.field) for finding in quality.findings]


@pytest.mark.parametrize("container", ["bag", "mcap"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_clean_drive_has_no_finding(container: Container, seed: int, tmp_path: Path) -> None:
    path = written(tmp_path / f"clean.{container}", clean(seed=seed))
    quality = judged(path)
    assert found(quality) == []
    assert quality.score.value == 100
    assert quality.score.reasons == []
    assert judged(path, by_index=True).findings == []
    steady = {topic.topic for topic in quality.topics if topic.is_regular}
    assert steady == set(PERIODS)


@pytest.mark.parametrize(("name", "container"), CASES)
def test_a_defect_gives_exactly_its_finding(name: str, container: Container, tmp_path: Path) -> None:
    defect = DEFECTS[name]
    path = written(tmp_path / f"drive.{container}", defect.make(clean()))
    quality = judged(path)
    assert found(quality) == [(defect.kind, defect.topic, defect.field)]
    (finding,) = quality.findings
    assert quality.score.value < 100
    assert [(reason.kind, reason.topic) for reason in quality.score.reasons] == [(defect.kind, defect.topic)]
    assert finding.numbers
    assert finding.start_ns is not None
    assert finding.end_ns is not None
    assert START_NS <= finding.start_ns <= finding.end_ns <= at(16)
    by_index = judged(path, by_index=True)
    if defect.by_index:
        assert by_index.findings == [finding]
    elif name == LEAP_OF_THE_LOG:  # without the stamps it looks like three seconds in which nothing came
        assert found(by_index) == [("gap", None, None)]
    elif name == "lost on the way":
        assert found(by_index) == [("missing_messages", CAMERA, None)]
    else:
        assert by_index.findings == []


def test_every_kind_is_tried_but_for_those_of_damage() -> None:
    from typing import get_args

    tried = {defect.kind for defect in DEFECTS.values()}
    assert set(get_args(FindingKind)) - tried == {"damaged_log", "undecodable_topic"}


def test_a_stream_most_of_whose_messages_share_a_time_has_no_rate() -> None:
    found = Cadence.of(np.array([START_NS] * 25 + [START_NS + 2 * SECOND]))
    assert (found.period_ns, found.is_steady, found.gaps) == (0, False, [])
