"""Small randomly initialised models of the classes that the adapters load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.small_adapters import ANOTHER, STABLE_DIFFUSION
from tests.fakes.small_editors import EDITORS
from tests.fakes.small_stable_diffusion import narrow_stable_diffusion

MARKED = [pytest.param(name, marks=[pytest.mark.long] if name in ANOTHER else []) for name in EDITORS]


@pytest.fixture(scope="session", params=list(STABLE_DIFFUSION))
def pipeline_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline that paints in, one that follows instructions, and one of text to image."""
    name = f"StableDiffusion{request.param}Pipeline"
    return narrow_stable_diffusion(
        tmp_path_factory.mktemp("pipelines") / name, STABLE_DIFFUSION[request.param], pipeline=name
    )


@pytest.fixture(scope="session")
def plain_pipeline(tiny_sd: Path) -> Path:
    """A tiny pipeline that paints in: do not write into it."""
    return tiny_sd


@pytest.fixture(scope="session", params=MARKED)
def editor_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small editing pipeline, one after another of each class: do not write into it."""
    return EDITORS[request.param](tmp_path_factory.mktemp("editors") / request.param)
