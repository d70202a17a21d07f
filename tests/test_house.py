"""The architecture's rules, held at every commit (docs/architecture.md; `make house` prints the figures)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import house


def test_imports_go_down_only():
    assert house.upward(house.graph()) == []


def test_no_two_rooms_import_each_other():
    between = house.rooms(house.graph())
    assert [(a, b) for a in between for b in between[a] if a < b and a in between[b]] == []


def test_no_files_import_each_other():
    assert house.circles(house.graph()) == []


def test_every_room_has_a_floor():
    assert {house.room_of(module) for module in house.MODULES} - {""} <= set(house.FLOOR_OF)


def test_the_checks_see_a_fault():
    modules = {"harmonygen.models.x": {"harmonygen.synthesis.y"}, "harmonygen.synthesis.y": {"harmonygen.models.x"}}
    assert house.upward(modules) == ["harmonygen.models.x imports harmonygen.synthesis.y"]
    assert house.circles(modules) == [["harmonygen.models.x", "harmonygen.synthesis.y"]]
    source = "def late():\n    from harmonygen.synthesis import gates\n"
    assert house.imports(source) == {"harmonygen.synthesis.gates"}


def test_no_function_is_over_forty_five_lines():
    assert [(name, length) for length, name in house.lengths() if length > 45] == []


def test_a_class_name_stands_once():
    assert house.class_homonyms() == {}


def test_the_root_is_small():
    assert len(house.root_modules()) <= 10
