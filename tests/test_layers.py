"""Imports go down only (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    **dict.fromkeys(("errors", "records", "seeds"), 0),
    **dict.fromkeys(
        (
            "images",
            "masks",
            "mask_cleaning",
            "cells",
            "features",
            "shards",
            "config",
            "decisions",
            "recipes",
            "recolor",
            "allocator",
            "detail",
            "full_size",
            "phash",
            "photo",
        ),
        1,
    ),
    **dict.fromkeys(("data", "models"), 2),
    **dict.fromkeys(("synthesis", "harmonizers", "training", "evaluation", "zeroshot", "curation"), 3),
    **dict.fromkeys(("workflows", "engines", "report"), 4),
    **dict.fromkeys(("api", "metrics"), 5),  # the Python door stands beside the command line
}
SEPARATE = {"data", "models", "synthesis", "harmonizers", "training", "evaluation", "zeroshot", "curation"}
FILES = sorted([*(ROOT / "harmonygen").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])


def room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "harmonygen_cli":
        return "harmonygen_cli"
    return parts[1] if parts[0] == "harmonygen" and len(parts) > 1 else None


def imported(tree: ast.AST) -> set[str]:
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module] if node.module != "harmonygen" else [f"harmonygen.{name.name}" for name in node.names]
            modules.update(names)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    return modules


def faults(path: Path, source: str) -> list[str]:
    home = (
        path.relative_to(ROOT / "harmonygen").parts[0].removesuffix(".py")
        if "cli" not in path.parts
        else "harmonygen_cli"
    )
    if home == "__init__":
        return []
    found = []
    for module in imported(ast.parse(source)):
        target = room(module)
        if target is None or target == home or target.startswith("__"):
            continue
        above = FLOORS.get(target, 6 if target == "harmonygen_cli" else 0) > FLOORS.get(home, 6)
        if above or (home in SEPARATE and target in SEPARATE and FLOORS[home] == FLOORS[target]):
            found.append(f"{home} imports {module}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down_only(path):
    assert faults(path, path.read_text()) == []


def test_the_check_sees_a_fault():
    models = ROOT / "harmonygen" / "models" / "x.py"
    assert faults(models, "from harmonygen.synthesis import gates")
    assert faults(models, "from harmonygen.data import read_pairs")
    assert not faults(models, "from harmonygen.errors import InputError")


def test_every_room_has_a_floor():
    rooms = {
        path.stem
        for path in (ROOT / "harmonygen").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert rooms - {"__init__"} <= set(FLOORS)


def test_no_function_is_over_sixty_lines():
    long = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                doc = isinstance(first, ast.Expr) and isinstance(getattr(first, "value", None), ast.Constant)
                net = node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if doc else 0)
                if net > 60:
                    long.append(f"{path.name}:{node.name} {net}")
    assert long == []
