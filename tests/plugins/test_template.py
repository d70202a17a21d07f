"""The template package, as if it were installed: its entry points are found, its own test passes, a run takes it."""

from __future__ import annotations

import ast
import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

from harmonygen.plugins import doors
from harmonygen.plugins.doors import DOORS, GENERATORS, find_plugin, plugin_names
from harmonygen_cli.main import run

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "docs" / "plugins" / "template"
PROJECT = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder on the path with what an installer writes of the template."""
    points = PROJECT["project"]["entry-points"]
    (tmp_path / "my_plugins.py").write_text((TEMPLATE / "my_plugins.py").read_text())
    info = tmp_path / "my_harmonygen_plugins-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-harmonygen-plugins\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items())
        for group, each in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    doors._offered.cache_clear()
    yield tmp_path
    doors._offered.cache_clear()
    sys.modules.pop("my_plugins", None)
    importlib.invalidate_caches()


def test_its_names_are_known_with_their_package(installed):
    assert [plugin_names(door)[-1] for door in DOORS] == ["light", "cast", "colour-match", "rim"]
    assert find_plugin(GENERATORS, "light").package == "my-harmonygen-plugins 0.1.0"


def test_each_plug_in_is_ten_lines():
    """Without its docstrings and blank lines."""
    for node in ast.parse((TEMPLATE / "my_plugins.py").read_text()).body:
        if isinstance(node, ast.ClassDef):
            texts = [
                each for each in ast.walk(node) if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            ]
            lines = set(range(node.lineno - 1, node.end_lineno + 1)) - {each.lineno for each in texts}
            source = (TEMPLATE / "my_plugins.py").read_text().splitlines()
            assert sum(bool(source[line - 1].strip()) for line in lines) <= 10


@pytest.mark.parametrize("name", ["light", "cast", "colour-match", "rim"])
def test_its_own_test_passes(installed, name):
    spec = importlib.util.spec_from_file_location("template_test", TEMPLATE / "tests" / "test_my_plugins.py")
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    tests.test_it_passes_the_conformance_suite(name)


def test_it_goes_through_the_command_line_by_name(installed, photo_folder, tmp_path, capsys):
    words = ["--generator", "light", "--judge", "cast", "--k", "3", "--max-side", "64", "--data", str(photo_folder)]
    assert run(["synthesize", *words, "--out", str(tmp_path / "run"), "--json", "generator_settings.strength=0.3"]) == 0
    assert '"generator": "light"' in capsys.readouterr().out
    out = ["--out", str(tmp_path / "harmonized")]
    assert run(["harmonize", "--data", str(tmp_path / "run"), "--method", "colour-match", *out, "--json"]) == 0
    masked = ["masks", str(photo_folder / "images"), "--out", str(tmp_path / "masked"), "--json"]
    assert run([*masked, "--segmenter", "rim", "segmenter_settings.scale=20"]) == 0
    assert run([*masked, "--segmenter", "rim", "--help"]) == 0
    assert "segmenter_settings.scale=float  Difference from the rim's" in capsys.readouterr().out
    assert run(["synthesize", "--generator", "light", "--judge", "mine=cast", "--help"]) == 0
    told = capsys.readouterr().out
    assert "generator_settings.strength=float  How far the light changes, 0 to 1. [default: 0.4]" in told
    assert "judge_settings.mine.scale=float  Difference of the mean colours" in told
