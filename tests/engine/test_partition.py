"""Rows to files: exact counts, stable draws, names that nothing can confuse."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaes_rpc.engine.datasets import partition as p
from hephaes_rpc.engine.specs import names
from hephaes_rpc.engine.specs.names import FilePart
from hephaes_rpc.engine.specs.spec import ConversionSpec, ParquetOutput, Split
from hephaes_rpc.errors import SpecError

TENTHS = st.tuples(st.integers(0, 10), st.integers(0, 10)).filter(lambda pair: sum(pair) <= 10)
STRATEGIES = st.sampled_from(["none", "time", "random", "episode", "group"])


def split_of(strategy: str, train: float = 0.7, val: float = 0.2, test: float = 0.1, seed: int | None = None) -> Split:
    if strategy == "none":
        return Split()
    group_by = "g" if strategy == "group" else None
    return Split(
        strategy=strategy, train_fraction=train, val_fraction=val, test_fraction=test, seed=seed, group_by=group_by
    )


def deal(found: p.Partition, n_rows: int, steps: list[int]) -> list[list[int]]:
    """Rows by file, dealt in pieces of the given sizes."""
    dealer = found.dealer()
    files: list[list[int]] = [[] for _ in found.files]
    first = 0
    while first < n_rows:
        count = min(n_rows - first, steps[first % len(steps)])
        for file, rows in dealer.take(count):
            files[file] += (np.arange(first, first + count)[rows]).tolist()
        first += count
    return files


@given(
    strategy=STRATEGIES,
    tenths=TENTHS,
    shards=st.integers(1, 7),
    n_rows=st.integers(0, 60),
    seed=st.integers(-5, 2**64),
    steps=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_every_row_goes_to_one_file_in_order(strategy, tenths, shards, n_rows, seed, steps):
    train, val = tenths[0] / 10, tenths[1] / 10
    split = split_of(strategy, train, val, (10 - sum(tenths)) / 10, seed)
    column = pa.array([None if k % 5 == 4 else f"scene{k % 7}" for k in range(n_rows)], pa.string())
    groups = p.group_parts(split, column) if strategy == "group" else None
    found = p.partition(split, shards, n_rows, "episode_0001", groups)
    files = deal(found, n_rows, steps)
    assert sorted(row for rows in files for row in rows) == list(range(n_rows))
    assert all(rows == sorted(rows) for rows in files)
    assert [len(rows) for rows in files] == [file.n_rows for file in found.files]
    for name, count in found.split_counts.items():
        mine = [(file, rows) for file, rows in zip(found.files, files, strict=True) if file.split == name]
        sizes = [file.n_rows for file, _ in mine]
        assert [file.shard_index for file, _ in mine] == list(range(len(mine)))
        assert {file.num_shards for file, _ in mine} == {max(1, min(shards, count))} == {len(mine)}
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) - min(sizes) <= 1
        together = [row for _, rows in mine for row in rows]
        assert together == sorted(together)
    assert all(file.n_rows for file in found.files) or n_rows == 0


def test_a_table_without_rows_is_one_empty_file():
    for strategy in ("none", "time", "random", "episode"):
        assert p.partition(split_of(strategy), 4, 0, "e").files == (FilePart("all", 0, 1, 0),)


@pytest.mark.parametrize(
    ("fractions", "n_rows", "counts"),
    [
        ((0.7, 0.2, 0.1), 10, (7, 2, 1)),
        ((0.7, 0.2, 0.1), 0, (0, 0, 0)),
        ((0.5, 0.25, 0.25), 2, (1, 1, 0)),
        ((1 / 3, 1 / 3, 1 / 3), 10, (4, 3, 3)),
        ((0.1, 0.2, 0.7), 3, (0, 1, 2)),
        ((0.333333, 0.333333, 0.333333), 3, (1, 1, 1)),
    ],
)
def test_counts_by_largest_remainder(fractions, n_rows, counts):
    assert p.part_counts(split_of("time", *fractions), n_rows) == counts


def test_time_parts_follow_each_other():
    files = deal(p.partition(split_of("time"), 2, 10, "e"), 10, [3])
    assert files == [[0, 1, 2, 3], [4, 5, 6], [7], [8], [9]]


def test_splitmix64_is_the_published_generator():
    # First outputs of the reference implementation (Vigna, splitmix64.c) for seed 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert p.splitmix64(1234567, 0, 4).tolist() == published
    assert p.splitmix64(1234567, 2, 4).tolist() == published[2:]


def test_random_split_is_a_draw_by_seed():
    def train(seed: int | None) -> list[int]:
        return deal(p.partition(split_of("random", seed=seed), 1, 1000, "e"), 1000, [64])[0]

    numbers = p.splitmix64(3, 0, 1000)
    assert train(3) == np.sort(np.argsort(numbers)[:700]).tolist()
    assert train(3) == train(3) != train(4)
    assert train(None) == train(0)
    assert 300 < sum(row < 500 for row in train(3)) < 400


def test_an_episode_and_a_group_keep_their_part():
    split = split_of("episode", seed=9)
    parts = Counter(p.partition(split, 1, 5, f"episode_{k:04}").files[0].split for k in range(2000))
    assert {name: round(count / 2000, 1) for name, count in parts.items()} == {"train": 0.7, "val": 0.2, "test": 0.1}
    grouped = split_of("group", seed=9)
    names = [f"scene{k}" for k in range(50)]
    once = dict(zip(names, p.group_parts(grouped, pa.array(names)).tolist(), strict=True))
    again = p.group_parts(grouped, pa.array(names[::-1])).tolist()
    assert again == [once[name] for name in names[::-1]]
    assert set(once.values()) == {0, 1, 2}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, 3, None, 4]),
        pa.array([b"x", b"x", b"", None]),
        pa.array([[1, 2], [1, 2], [], None]),
        pa.array([True, True, False, None]),
        pa.array([1.5, 1.5, float("nan"), None]),
    ],
)
def test_groups_of_any_type(column):
    found = p.group_parts(split_of("group"), column).tolist()
    assert found[0] == found[1]
    assert p.group_parts(split_of("group"), column.slice(2)).tolist() == found[2:]
    assert p.group_parts(split_of("group"), column.slice(0, 0)).tolist() == []


@pytest.mark.parametrize(
    ("template", "part", "name"),
    [
        (None, FilePart("all", 0, 1, 5), "log.parquet"),
        (None, FilePart("val", 0, 1, 5), "log-val.parquet"),
        (None, FilePart("all", 2, 16, 5), "log-00002-of-00016.parquet"),
        (None, FilePart("val", 2, 16, 5), "log-val-00002-of-00016.parquet"),
        ("{split}-{episode_id}.{extension}", FilePart("val", 0, 1, 5), "val-ep.parquet"),
        ("{shard:03}of{num_shards:3}_{shard_index}", FilePart("val", 7, 12, 5), "007of012_7"),
    ],
)
def test_names(template, part, name):
    assert names.file_name(template, "log", "ep", part, "parquet") == name


@pytest.mark.parametrize("episode_id", ["../up", "a/b", ".hidden", "nul\0"])
def test_a_template_cannot_leave_its_folder(episode_id):
    with pytest.raises(SpecError, match="no plain file name"):
        names.file_name("{episode_id}.{extension}", "log", episode_id, FilePart("all", 0, 1, 1), "parquet")


def test_names_of_a_run_are_distinct():
    names.check_distinct(["a.parquet", "b.parquet"])
    with pytest.raises(SpecError, match=r"two outputs would be called 'a\.parquet'; choose"):
        names.check_distinct(["a.parquet", "a.parquet"])
    with pytest.raises(SpecError, match="not every disk can tell apart"):
        names.check_distinct(["a.parquet", "A.parquet"])


def test_a_template_tells_logs_apart():
    spec = ConversionSpec(output=ParquetOutput(filename_template="{shard}.{extension}"))
    names.check_logs(spec, 1)
    with pytest.raises(SpecError, match="gives 2 logs one name"):
        names.check_logs(spec, 2)
    names.check_logs(ConversionSpec(output=ParquetOutput(filename_template="{episode_id}")), 2)
    names.check_logs(ConversionSpec(), 2)
