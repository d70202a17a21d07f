"""The shipped one-step student: it is found by its name, makes distinct candidates in one step, and leaves the rest."""

from __future__ import annotations

import numpy as np

from harmonygen.models.checkpoints import STARTER, locate
from harmonygen.models.device import AS_STATED, Device
from harmonygen.models.window_decoder import is_light
from harmonygen.records import Candidate
from harmonygen.runs.read import Run
from harmonygen.seeds import candidate_seed
from harmonygen.synthesis.generators.diffusion import DiffusionGenerator
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize


def candidates(name: str, photo, k: int) -> list[np.ndarray]:
    generator = DiffusionGenerator.from_pretrained(name, Device.pick("cpu"), AS_STATED, "transfer")
    wanted = [Candidate("astronaut/0", index, candidate_seed(0, "astronaut/0", index)) for index in range(k)]
    return list(generator(photo, wanted))


def fmse(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    return float(((one[mask].astype(float) - other[mask]) ** 2).mean())


def test_it_runs_in_synthesize_in_one_step(photo_folder, tmp_path):
    settings = SynthesizeSettings(
        data=str(photo_folder), model="starter-fast", k=4, out=tmp_path / "run", resolution=64, limit=2
    )
    synthesize(settings)
    run = Run.open(tmp_path / "run")
    assert run.plan["settings"]["steps"] == 1
    pictures = [cell for _, cell in run.composites(run.rows().to_pylist())]
    assert len(pictures) == len(set(pictures)) == 8


def test_its_candidates_are_its_teachers_and_differ_as_much(make_photo):
    photo = make_photo(height=192, width=256, resolution=128)
    fast, slow = (candidates(name, photo, 6) for name in ("starter-fast", "starter"))
    outside = ~photo.mask
    assert all(np.array_equal(each[outside], photo.image_u8[outside]) for each in fast)
    pairs = [(a, b) for a in range(6) for b in range(a)]
    between = [np.median([fmse(of[a], of[b], photo.mask) for a, b in pairs]) for of in (fast, slow)]
    assert 0.5 < between[0] / between[1] < 2
    to_teacher = np.median([fmse(a, b, photo.mask) for a, b in zip(fast, slow, strict=True)])
    assert to_teacher < 0.35 * between[1]


def test_its_folder_is_shipped_with_a_light_decoder_and_the_weights_stay_small():
    from harmonygen.models.harmony_vae import load_autoencoder

    assert is_light(load_autoencoder(locate("starter-fast", "inverse") / "vae"))
    assert sum(path.stat().st_size for path in STARTER.rglob("*") if path.is_file()) < 60e6
