"""Four sequences of the state machine, with all cases sixteen; `benchmarks/state_machine.py` runs a thousand."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from machine import trees
from machine.book import Book
from machine.commands import classifiers_remembered, command
from machine.sequence import run_sequence
from machine.world import build
from PIL import Image

SEED = 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with classifiers_remembered():
        yield build(tmp_path_factory.mktemp("machine"))


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in (4, 8, 12))])
def test_folders_are_as_the_model_says_after_every_command(world, first):
    tally = Counter()
    for number in range(first, first + 4):
        try:
            run_sequence(world, tally, SEED, number)
        except AssertionError as error:
            error.add_note(f"replay: python benchmarks/state_machine.py --seed {SEED} --only {number}")
            raise
    assert tally["sequences"] == 4


def selected_turned(run):
    path = run / "candidates" / "part-00001-of-00003.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index("selected")
    turned = pa.array([not value for value in table["selected"].to_pylist()])
    pq.write_table(table.set_column(index, table.schema.field(index), turned), path)


def composites_swapped(run):
    path = run / "candidates" / "part-00000-of-00003.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index("composite")
    pq.write_table(table.set_column(index, table.schema.field(index), table["composite"].take([1, 0, 2])), path)


def a_row_twice(run):
    path = run / "candidates" / "part-00002-of-00003.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)


def another_count(run):
    path = run / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "candidates": 8}))


def a_photo_touched(run):
    next((run.parent / "data" / "HSmall" / "real_images").iterdir()).touch()


def a_file_beside(run):
    (run.parent / "stray").touch()


def a_temporary_file(run):
    (run / "candidates" / ".part-00000-of-00003.parquet.7.tmp").touch()


@pytest.mark.parametrize(
    "harm",
    [
        selected_turned,
        composites_swapped,
        a_row_twice,
        another_count,
        a_photo_touched,
        a_file_beside,
        a_temporary_file,
    ],
)
def test_harm_that_the_model_does_not_know_of_is_seen(world, harm):
    world.reset("plain")
    book = Book(world)
    book.model |= {"settings": {"plain"}, "choices": [world.references["plain"].first]}
    assert [*book.faults(), *book.strays()] == []
    harm(world.run)
    assert [*book.faults(), *book.strays()]


def test_a_tree_of_other_pixels_is_seen(world):
    world.reset("plain")
    assert command(world.augment("tree-0", 1.0, "top", "--allow-fewer")).code == 0
    rows, tree = world.references["plain"].rows, world.now / "tree-0"
    assert list(trees.faults(tree, world, None, rows)) == []
    assert list(trees.faults(tree, world, {}, rows))
    new = next((tree / "HSmall" / "composite_images").glob("*_hg*"))
    pixels = np.asarray(Image.open(new)).copy()
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(new)
    assert [fault for fault in trees.faults(tree, world, None, rows) if new.name in fault]
