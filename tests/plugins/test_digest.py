"""What a plug-in's digest notices."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harmonygen.errors import UsageError
from harmonygen.plugins.digest import object_digest, plugin_digest
from harmonygen.plugins.doors import GENERATORS
from harmonygen.plugins.plugin import Plugin

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from harmonygen.settings import HOW

@dataclass
class Warm:
    strength: float = 0.4
    weights: Path | None = None
    threads: Annotated[int, HOW] = 1
    def __call__(self, photo, candidates): ...

class Cold(Warm): ...

class Stated(Warm):
    digest = "weights-1"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "digest_package"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "beside.py").write_text("x = 1\n")
    (root / "made.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield root
    forget()


def forget():
    for name in [name for name in sys.modules if name.startswith("digest_package")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def digest(attribute="Warm", **given):
    plugin = Plugin.find(GENERATORS, f"digest_package.made:{attribute}")
    settings = plugin.settings(given)
    return plugin_digest(plugin.place, plugin.make(settings), settings)


def test_a_digest_is_stable_and_of_the_settings(package, tmp_path):
    assert digest() == digest(strength=0.4) == digest(threads=9)
    assert len({digest(), digest("Cold"), digest(strength=0.5), digest(weights=tmp_path)}) == 4


def test_a_changed_module_of_the_package_is_another_plug_in(package):
    before = digest()
    (package / "beside.py").write_text("x = 2\n")
    assert digest() != before
    (package / "beside.py").write_text("x = 1\n")
    assert digest() == before


def test_the_content_of_a_file_that_a_setting_names_counts(package, tmp_path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")
    before = digest(weights=weights)
    weights.write_bytes(b"two")
    assert digest(weights=weights) != before


def test_a_stated_digest_takes_the_place_of_the_source_and_not_of_the_settings(package):
    before = digest("Stated")
    (package / "beside.py").write_text("x = 3\n")
    assert digest("Stated") == before
    assert before.startswith("weights-1+")
    assert digest("Stated", strength=0.5) != before


def plain(photo, candidates): ...


def other(photo, candidates): ...


@dataclass
class Held:
    strength: float = 0.4
    folder: Path = Path("x")
    parts: tuple = (1, 2)

    def __call__(self, photo, candidates): ...


def test_a_callable_that_is_handed_over_is_told_by_its_source_and_fields():
    assert object_digest(plain, "p") == object_digest(plain, "p") != object_digest(other, "p")
    assert object_digest(Held(), "h") == object_digest(Held(0.4), "h") != object_digest(Held(0.5), "h")


@pytest.mark.parametrize("held", [object(), [object()], {"a": object()}])
def test_one_that_holds_what_cannot_be_seen_must_state_a_digest(held):
    made = lambda photo, candidates: held  # noqa: E731
    with pytest.raises(UsageError, match=r"'made' is made of cannot be seen .* give it a 'digest' attribute"):
        object_digest(made, "made")
    with pytest.raises(UsageError, match="give it a 'digest' attribute"):
        object_digest(Held(parts=held), "held")
    made.digest = "mine-1"
    assert object_digest(made, "made") == "mine-1"
