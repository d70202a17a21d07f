"""Draw sentences at random from the documentation, messages, help and docstrings, to read each one aloud.

python benchmarks/draw_sentences.py --seed 1 --each 30

Half are from README and docs/, half in equal parts from messages of errors and reports, help and docstrings. A sentence
that stands twice counts once. In messages ``{name}`` stands for a value.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = sorted([*(ROOT / "harmonygen").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*\[(\"'0-9-])")
_SAYS = {"line", "fault", "say", "warning", "table"}
_HELPS = {"setting", "Field", "Option", "Argument"}


def page_sentences(path: Path) -> Iterator[str]:
    """Yield the sentences of a Markdown page: paragraphs, list items and cells of tables, no code and no headings."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^( {4,})(?![-*\d]).*$", lambda found: found[0].strip(), text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |:   ))", text):
        if block.lstrip().startswith(("#", "!", "http")):
            continue
        if block.lstrip().startswith("|"):
            cells = (cell.strip() for line in block.splitlines() for cell in line.split("|"))
            yield from (cell for cell in cells if len(cell.split()) >= 8)
        else:
            yield from split(re.sub(r"^\s*(?:[-*]|\d+\.|:) +", "", block))


def split(text: str) -> list[str]:
    r"""Split text into sentences.

    >>> split("One is here. Two, too:\\n`a` and more.")
    ['One is here.', 'Two, too:', '`a` and more.']
    """
    return [part.strip() for part in _END.split(" ".join(text.split())) if part.strip()]


def text_of(node: ast.expr | None) -> str:
    """Return a string, an f-string or a sum of them as text; values are ``{name}``; empty if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(each) if isinstance(each, ast.Constant) else _shown(each) for each in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return ""


def _shown(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return "{" + ast.unparse(value)[:40] + "}"


def code_sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (kind, sentence) of a Python file: ``message``, ``help`` or ``docstring``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            words = (ast.get_docstring(node) or "").partition("\n>>>")[0]
            public = isinstance(node, ast.Module) or not node.name.startswith("_")
            yield from (("docstring", each) for each in split(words) if public)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from (("message", text_of(each)) for each in node.exc.args)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _SAYS:
                yield from (("message", text_of(each)) for each in node.args)
            elif name in _HELPS:
                words = [*node.args, *(each.value for each in node.keywords if each.arg == "help")]
                yield from (("help", sentence) for each in words for sentence in split(text_of(each)))


def pools() -> dict[str, list[tuple[str, str]]]:
    """Return (place, sentence) by kind; sentences have four words at least."""
    found: dict[str, dict[str, str]] = {"docs": {}, "message": {}, "help": {}, "docstring": {}}
    for path in PAGES:
        for sentence in page_sentences(path):
            found["docs"].setdefault(sentence, str(path.relative_to(ROOT)))
    for path in CODE:
        for kind, sentence in code_sentences(path):
            found[kind].setdefault(" ".join(sentence.split()), str(path.relative_to(ROOT)))
    return {
        kind: sorted((place, text) for text, place in held.items() if len(text.split()) >= 4)
        for kind, held in found.items()
    }


def main() -> None:
    """Print a draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=30, help="sentences of the docs, and as many of the code")
    given = parser.parse_args()
    rng, held = random.Random(given.seed), pools()
    counts = {"docs": given.each, **dict.fromkeys(("message", "help", "docstring"), given.each // 3)}
    for kind, count in counts.items():
        print(f"\n{kind}: {count} of {len(held[kind])}")
        for place, sentence in rng.sample(held[kind], count):
            print(f"- {place}: {sentence}")


if __name__ == "__main__":
    main()
