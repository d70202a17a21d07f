"""Measure the house: floors, circles, homonyms, sizes (`make house` prints them, tests/test_house.py holds them).

The floors are those of docs/architecture.md. An import inside a function or under TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "records", "seeds", "settings", "recipes"),
    ("storage", "pictures", "recolor"),
    ("data", "models", "runs"),
    ("report", "plugins"),
    ("inspection",),
    ("training", "synthesis", "augmentation", "harmonization", "publishing", "segmentation"),
    ("human_harmony", "evaluation", "trainers", "conformance", "review", "adapters"),
    ("gain", "api", "metrics", "quickstart", "doctor"),
    ("harmonygen_cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted([*(ROOT / "harmonygen").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])


def module_of(path: Path) -> str:
    """Return a file's dotted module name; a package is named by its folder."""
    relative = path.relative_to(ROOT / "cli" if "cli" in path.relative_to(ROOT).parts else ROOT)
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """Return the room of a module: the folder or file right below harmonygen, or the command line."""
    parts = module.split(".")
    return parts[0] if parts[0] != "harmonygen" else (parts[1] if len(parts) > 1 else "")


MODULES = {module_of(path): path for path in FILES}


def imports(source: str, known: Iterable[str] = MODULES) -> set[str]:
    """Return the modules of ours that a source imports, at any depth."""
    ours, found = set(known), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in ours else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & ours


def graph() -> dict[str, set[str]]:
    """Return which modules each module imports."""
    return {module: imports(path.read_text()) - {module} for module, path in MODULES.items()}


def rooms(of: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in of.items():
        found[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module), ""}
    return found


def upward(of: Mapping[str, set[str]]) -> list[str]:
    """Return the imports that go up a floor, or to another room of the same floor above the core."""
    faults = []
    for module, targets in sorted(of.items()):
        home = room_of(module)
        for target in sorted(targets):
            room = room_of(target)
            if not home or not room or home == room:
                continue
            here, there = FLOOR_OF[home], FLOOR_OF[room]
            if there > here or (there == here and (home, room) not in NEIGHBOURS):
                faults.append(f"{module} imports {target}")
    return faults


NEIGHBOURS = {
    ("recipes", "errors"),
    ("settings", "errors"),
    ("settings", "recipes"),
    ("settings", "records"),
    ("records", "errors"),
    ("pictures", "storage"),
    ("pictures", "recolor"),
    ("data", "runs"),
    ("recolor", "storage"),
}
"""Rooms of one floor of which the first may import the second, and not the reverse."""


def circles(of: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (strongly connected components, Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in of.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in of:
        if node not in index:
            visit(node)
    return found


def definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, bool]]:
    """Yield every module, definition and whether it stands at the module's top level."""
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield module, node, node in tree.body


def net_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's length in lines without its docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(getattr(first, "value", None), ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if documented and first.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def lengths() -> list[tuple[int, str]]:
    """Return every function's net length and name, the shortest first."""
    return sorted(
        (net_lines(node), f"{module}.{node.name}")
        for module, node, _ in definitions()
        if not isinstance(node, ast.ClassDef)
    )


def homonyms(kind: type[ast.AST]) -> dict[str, list[str]]:
    """Return the names that several modules define at their top level, of classes or of public functions."""
    where: dict[str, list[str]] = defaultdict(list)
    for module, node, top in definitions():
        command = room_of(module) == "harmonygen_cli"  # a verb's command bears the verb's name, like its job
        if top and isinstance(node, kind) and not (command or node.name.startswith("_") or node.name == "main"):
            where[node.name].append(module)
    return {name: modules for name, modules in where.items() if len(modules) > 1}


def class_homonyms() -> dict[str, list[str]]:
    """Return class names, private ones too, that several modules define."""
    names = Counter(node.name for _, node, top in definitions() if top and isinstance(node, ast.ClassDef))
    return {
        name: sorted(module for module, node, top in definitions() if top and node.name == name)
        for name, count in names.items()
        if count > 1
    }


def root_modules() -> list[str]:
    """Return the modules that lie right below harmonygen, but for the door of `python -m harmonygen`."""
    return sorted(path.stem for path in (ROOT / "harmonygen").glob("*.py") if path.stem != "__main__")


def figures() -> dict[str, object]:
    """Return what the house measures, by name."""
    of = graph()
    between = rooms(of)
    mutual = sorted({tuple(sorted((a, b))) for a in between for b in between[a] if a in between.get(b, set())})
    longest = lengths()
    sizes = [length for length, _ in longest]
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    return {
        "rooms that import each other": mutual,
        "circles of files": circles(of),
        "imports that go up": upward(of),
        "modules at the root": f"{len(root_modules())} ({', '.join(root_modules())})",
        "files": len(FILES),
        "lines": sum(lines.values()),
        "longest files": [f"{module_of(path)} {lines[path]}" for path in sorted(lines, key=lambda p: -lines[p])[:3]],
        "functions": len(sizes),
        "net lines of a function: median, 90th percentile, longest": (
            statistics.median(sizes),
            sizes[int(len(sizes) * 0.9)],
            [f"{name} {length}" for length, name in longest[-3:]],
        ),
        "class names that stand twice": class_homonyms(),
        "public function names that stand twice": homonyms(ast.FunctionDef),
    }


if __name__ == "__main__":
    for name, figure in figures().items():
        print(f"{name}: {figure if figure not in ([], {}) else 0}")
