"""What the package says of itself: README where no relative link leads anywhere, addresses, classifiers."""

from __future__ import annotations

import doctest
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
TARGET = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture
def outside():
    spec = importlib.util.spec_from_file_location("outside", ROOT / "docs" / "hooks" / "outside.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert doctest.testmod(module).failed == 0
    return module


def test_outside_the_repository_readme_has_no_link_that_leads_nowhere(outside):
    shown = outside.shown_outside(README)
    assert [target for target in TARGET.findall(shown) if "://" not in target] == []
    assert "![" not in shown
    assert "(docs/augment.md)" in shown
    assert len(shown) > 0.8 * len(README) - README.count("](") * 40


def test_with_an_address_every_link_and_picture_is_absolute_and_there(outside):
    home = "https://host/owner/name"
    targets = TARGET.findall(outside.shown_outside(README, home))
    assert len(targets) == len(TARGET.findall(README)) > 20
    assert all(target.startswith(("https://", "mailto:")) for target in targets)
    ours = [target.removeprefix(home).partition("#")[0] for target in targets if target.startswith(home)]
    assert all((ROOT / re.sub(r"^/(?:blob|raw)/main/", "", path)).exists() for path in ours)
    assert any(target.startswith(f"{home}/raw/main/docs/") for target in targets)


def test_metadata_say_only_what_is_known():
    project, hook = PROJECT["project"], PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    assert set(project["dynamic"]) == {"readme", "urls"}
    assert hook["repository"] == "" or hook["repository"].startswith("https://")
    assert {"name"} == {key for author in project["authors"] for key in author}
    assert all((ROOT / path).is_file() for path in project["license-files"])
    least = re.fullmatch(r">=3\.(\d+)", project["requires-python"])[1]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert named[0] == f"3.{least}"
