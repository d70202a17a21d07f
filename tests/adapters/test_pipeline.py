"""diffusers pipelines as generator and harmonizer, on tiny random ones of the real classes."""

from __future__ import annotations

import numpy as np
import pytest

from harmonygen.adapters.pipeline import LIGHTS, PipelineGenerator, bicubic, make_pipeline_generator
from harmonygen.errors import CheckpointError, UsageError
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.models.device import Device
from harmonygen.records import Candidate
from harmonygen.synthesis.synthesize import synthesize

CPU = Device.pick("cpu")


def candidates(*seeds):
    return [Candidate("p", k, seed) for k, seed in enumerate(seeds)]


def test_a_candidate_is_of_its_own_seed(pipeline_folder, make_photo):
    generator = make_pipeline_generator(str(pipeline_folder), steps=2, resolution=32, device=CPU)
    photo = make_photo(resolution=32, multiple=generator.multiple)
    made = list(generator(photo, candidates(1, 2, 3)))
    alone = list(generator(photo, candidates(3)))
    assert np.array_equal(made[2], alone[0])
    assert made[0].shape == photo.low_u8.shape
    assert 0 <= made[0].min() <= made[0].max() <= 1
    assert not np.allclose(made[0], made[1], atol=1 / 255)


def test_words_are_drawn_by_the_seed_and_follow_what_the_pipeline_takes(pipeline_folder):
    generator = make_pipeline_generator(str(pipeline_folder), steps=2, resolution=32, device=CPU)
    words = {generator.words(seed) for seed in range(200)}
    assert len(words) == len(LIGHTS)
    assert generator.words(7) == generator.words(7)
    assert all(("Keep its shape" in each) == ("Instruct" in pipeline_folder.name) for each in words)


def test_own_instructions_take_the_place_of_ours(plain_pipeline):
    generator = make_pipeline_generator(str(plain_pipeline), ("darker {light}",), resolution=32, device=CPU)
    assert isinstance(generator, PipelineGenerator)
    assert generator.words(0).startswith("darker ")


def test_a_run_is_resumed_with_the_same_pixels(plain_pipeline, settings_of, rows_of):
    how = {"model": str(plain_pipeline), "steps": 2, "resolution": 32}
    settings = settings_of(generator="pipeline", generator_settings=how, k=2, limit=4)
    synthesize(settings)
    whole = rows_of(settings.out)
    assert len({row["pixels"] for row in whole}) == 8
    for name in ("candidates", "pairs"):
        sorted((settings.out / name).glob("*.parquet"))[1].unlink()
    (settings.out / "summary.json").unlink()
    assert synthesize(settings).shards_run == 1
    assert rows_of(settings.out) == whole


def test_other_weights_are_not_resumed(plain_pipeline, settings_of, tmp_path):
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(plain_pipeline, folder)
    how = {"model": str(folder), "steps": 2, "resolution": 32}
    settings = settings_of(generator="pipeline", generator_settings=how, k=1, limit=2)
    synthesize(settings)
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace("}", ', "note": 1}', 1))
    with pytest.raises(UsageError, match="model_digest changed"):
        synthesize(settings)


def test_a_pipeline_harmonizes(pipeline_folder, finished_run, tmp_path):
    how = {"model": str(pipeline_folder), "steps": 4, "resolution": 32}
    settings = HarmonizeSettings(
        data=str(finished_run), method="pipeline", method_settings=how, out=tmp_path / "h", limit=1, device="cpu"
    )
    assert harmonize(settings).made == 1


def test_what_takes_no_picture_or_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be loaded as a pipeline that takes a picture"):
        make_pipeline_generator(str(tmp_path), device=CPU)


def test_a_strength_that_changes_nothing_is_refused(plain_pipeline):
    with pytest.raises(UsageError, match="strength is 0"):
        make_pipeline_generator(str(plain_pipeline), strength=0, device=CPU)
    with pytest.raises(UsageError, match="leave no step to take"):
        make_pipeline_generator(str(plain_pipeline), steps=1, strength=0.5, device=CPU)


def test_a_picture_of_another_size_is_brought_back():
    assert bicubic(np.full((8, 8, 3), 0.5, np.float32), 4, 6).shape == (4, 6, 3)
