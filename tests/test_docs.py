"""The documentation's links lead somewhere, and the site is built strictly where its tools are installed."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "RESULTS.md",
    ROOT / "harmonygen" / "assets" / "starter" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
MADE = ("starter.md", "figures.md", "changelog.md", "recipes.md", "commands/", "api/")
"""Pages that the site makes."""


def anchors(page):
    """Return a page's headings as a browser finds them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\- ]", "", each).strip()) for each in words}


def broken_links(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in LINK.findall(text):
        path, _, anchor = unquote(target).partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        place = (page.parent / path).resolve() if path else page
        inside = place.relative_to(ROOT / "docs").as_posix() if place.is_relative_to(ROOT / "docs") else ""
        if inside.startswith(MADE):
            continue
        if not place.exists():
            yield f"{page.relative_to(ROOT)}: {target} does not exist"
        elif anchor and place.suffix == ".md" and anchor not in anchors(place):
            yield f"{page.relative_to(ROOT)}: {target} has no such heading"


def test_links_lead_to_files_and_headings():
    assert [fault for page in PAGES for fault in broken_links(page)] == []


def test_a_dead_link_is_found(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](gone.md)\n```\n[d](gone.md)\n```\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert list(broken_links(page)) == ["page.md: #three has no such heading", "page.md: gone.md does not exist"]


@pytest.mark.slow
def test_the_site_is_built_without_a_dead_link(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    synthesize = (tmp_path / "commands" / "synthesize.html").read_text()
    assert "--generator" in synthesize
    assert "Number of candidates per pair" in synthesize
    assert "harmonygen.api.InverseHarmonizer" in (tmp_path / "api" / "harmonygen.html").read_text()
