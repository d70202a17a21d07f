"""Editing pipelines that choose sizes by themselves, on small random ones of the real classes."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from harmonygen.adapters.pipeline import load_pipeline, make_pipeline_generator, make_pipeline_harmonizer
from harmonygen.adapters.pipeline_frame import MEGAPIXEL, frame_of, guidance_of
from harmonygen.errors import InputError
from harmonygen.models.device import Device
from harmonygen.plugins.guard import GuardedHarmonizer
from harmonygen.records import Candidate
from tests.fakes.small_adapters import ANOTHER
from tests.fakes.small_editors import EDITORS

MARKED = [pytest.param(name, marks=[pytest.mark.long] if name in ANOTHER else []) for name in EDITORS]
CPU = Device.pick("cpu")
FACTOR = 8  # of the autoencoders
EXACT = 3 * FACTOR**2  # channels of a latent that keeps every pixel


def test_a_candidate_is_of_its_own_seed(editor_folder, small_megapixel, make_photo):
    generator = make_pipeline_generator(str(editor_folder), steps=2, resolution=64, device=CPU)
    photo = make_photo(resolution=64, multiple=generator.multiple)
    made = list(generator(photo, [Candidate("p", k, seed) for k, seed in enumerate((1, 2))]))
    alone = list(generator(photo, [Candidate("p", 1, 2)]))
    assert generator.multiple == 16
    assert np.array_equal(made[1], alone[0])
    assert made[0].shape == photo.low_u8.shape
    assert not np.allclose(made[0], made[1], atol=1 / 255)
    assert "Keep its shape" in generator.words(1)


def test_the_words_and_the_picture_count(editor_folder, small_megapixel, make_photo):
    """The tokenizers made here part words, and the picture reaches the model."""
    made = [
        make_pipeline_harmonizer(str(editor_folder), words, steps=1, resolution=64, device=CPU)(photo, 1)
        for words in ("Make the light warm.", "Make it blue and cold.")
        for photo in (make_photo(resolution=64, multiple=16), make_photo("coffee", resolution=64, multiple=16))
    ]
    assert len({each.tobytes() for each in made}) == 4


# Where the answer lies


class Copied:
    """Stands for latents that were encoded: pixels, eight by eight in the place of one."""

    def __init__(self, image: torch.Tensor) -> None:
        flat = torch.nn.functional.pixel_unshuffle(image.squeeze(2) if image.ndim == 5 else image, FACTOR)
        self.latents = flat[:, :, None] if image.ndim == 5 else flat


def decoded(latents, return_dict=True):
    flat = torch.nn.functional.pixel_shuffle(latents.squeeze(2) if latents.ndim == 5 else latents, FACTOR)
    return (flat[:, :, None] if latents.ndim == 5 else flat,)


def placed(asked) -> tuple[list, list]:
    """The places of the answer's tokens and of the picture's, as the transformer is told them."""
    if "img_shapes" in asked:  # Qwen counts from the middle
        (shapes,) = asked["img_shapes"]
        grids = [[(y - (h - h // 2), x - (w - w // 2)) for y in range(h) for x in range(w)] for _, h, w in shapes]
        return grids[0], grids[1]
    ids = asked["img_ids"].reshape(-1, asked["img_ids"].shape[-1]).int().tolist()
    return [(y, x) for t, y, x, *_ in ids if t == 0], [(y, x) for t, y, x, *_ in ids if t != 0]


def copying(**asked):
    """A transformer that has learnt to copy: each token becomes the picture's token of the same place."""
    answer, picture = placed(asked)
    hidden = asked["hidden_states"]
    seen = dict(zip(picture, hidden[0, len(answer) :], strict=True))
    copied = torch.stack([seen.get(place, torch.zeros_like(hidden[0, 0])) for place in answer])[None]
    speed = torch.zeros_like(hidden)
    speed[:, : len(answer)] = (hidden[:, : len(answer)] - copied) / asked["timestep"].reshape(-1, 1, 1)
    return (speed,)


def copying_pipeline(pipeline, monkeypatch):
    """Make a pipeline's autoencoder keep every pixel, and its transformer copy by places."""
    monkeypatch.setattr(pipeline.vae, "encode", lambda image, **_: Copied(image))
    monkeypatch.setattr(pipeline.vae, "decode", decoded)
    monkeypatch.setattr(pipeline.transformer, "forward", copying)


@pytest.fixture
def harmonizer_that_copies(tmp_path, monkeypatch):
    """A pipeline of a real class whose answer is the picture, if it is told of sizes as it should be."""

    def make(name, resolution):
        made = make_pipeline_harmonizer(
            str(EDITORS[name](tmp_path / name, EXACT)), steps=2, resolution=resolution, device=CPU
        )
        copying_pipeline(made._pipeline._pipeline, monkeypatch)
        return made

    return make


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize(("height", "width"), [(216, 384), (300, 200)])
def test_an_answer_lies_on_its_picture(name, height, width, harmonizer_that_copies, make_photo):
    """A model that returns what it sees gives the photo back: no stretch, shift or crop is left in it."""
    harmonizer = harmonizer_that_copies(name, 128)
    photo = make_photo(height=height, width=width, resolution=harmonizer.resolution, multiple=harmonizer.multiple)
    made = harmonizer(photo, 1)
    error = np.abs(made * 255 - photo.low_u8)
    assert made.shape == photo.low_u8.shape
    if name.startswith("Qwen"):  # to a megapixel and back
        assert (np.median(error), error.mean()) < (1, 1.5)
    else:
        assert error.max() < 0.01
    pasted = GuardedHarmonizer(harmonizer, name, name, "digest", detail="transfer")(photo, 1)
    assert np.array_equal(pasted[~photo.mask], photo.image_u8[~photo.mask])
    assert np.abs(pasted[photo.mask].astype(int) - photo.image_u8[photo.mask]).mean() < 1.5


@pytest.mark.parametrize("name", ["FluxKontext", "Flux2"])
def test_a_picture_over_a_megapixel_is_not_cropped(name, harmonizer_that_copies, make_photo):
    harmonizer = harmonizer_that_copies(name, 1024)
    photo = make_photo(height=512, width=820, resolution=1024, multiple=harmonizer.multiple)
    assert photo.low_mask.size > MEGAPIXEL
    error = np.abs(harmonizer(photo, 1) * 255 - photo.low_u8)
    assert (np.median(error), error.mean()) < (1, 1.5)


def test_sizes_are_whole_and_within_what_a_pipeline_takes():
    for kind in ("Flux2Pipeline", "FluxKontextPipeline"):
        for height, width in ((1024, 1536), (1536, 1024), (1024, 1024), (2048, 2048), (1008, 1040), (4096, 1024)):
            frame = frame_of(kind, height, width, 16)
            assert frame.height * frame.width == frame.told["max_area"] <= MEGAPIXEL
            assert frame.height % 16 == frame.width % 16 == 0
            assert abs(np.log(frame.width * height / (frame.height * width))) < 0.03
        assert (frame_of(kind, 512, 768, 16).height, frame_of(kind, 512, 768, 16).width) == (512, 768)
        assert (frame_of(kind, 32, 48, 16).height, frame_of(kind, 32, 48, 16).width) == (64, 96)
    assert frame_of("StableDiffusionInpaintPipeline", 1024, 1536, 16).told["height"] == 1024


def test_an_answer_that_is_no_whole_picture_is_refused(tmp_path, make_photo):
    made = make_pipeline_harmonizer(str(EDITORS["FluxKontext"](tmp_path / "k")), resolution=64, device=CPU)
    photo = make_photo(resolution=64, multiple=16)

    class Square:
        vae_scale_factor = 8

        def __call__(self, image, prompt):
            return type("Output", (), {"images": [np.zeros((64, 64, 3))]})

    made._pipeline._pipeline = Square()
    made._pipeline._takes = inspect.signature(Square().__call__).parameters
    with pytest.raises(InputError, match="crops or stretches pictures"):
        made(photo, 1)


# Guidance


def test_guidance_goes_where_each_pipeline_follows_it():
    import diffusers

    def told(kind, guidance):
        return guidance_of(inspect.signature(getattr(diffusers, kind).__call__).parameters, guidance)

    assert told("QwenImageEditPipeline", None) == {"true_cfg_scale": 4.0, "negative_prompt": " "}
    assert told("QwenImageEditPlusPipeline", 2.5) == {"true_cfg_scale": 2.5, "negative_prompt": " "}
    assert told("QwenImageEditPipeline", 1.0) == {"true_cfg_scale": 1.0}
    for kind in ("FluxKontextPipeline", "Flux2Pipeline", "StableDiffusionInpaintPipeline"):
        assert told(kind, 2.5) == {"guidance_scale": 2.5}
        assert told(kind, None) == {}


def test_guidance_changes_the_picture(tmp_path, small_megapixel, make_photo):
    folder = str(EDITORS["QwenImageEdit"](tmp_path / "q"))
    photo = make_photo(resolution=64, multiple=16)
    made = [make_pipeline_harmonizer(folder, steps=1, guidance=g, device=CPU)(photo, 1) for g in (1.0, 4.0, None)]
    assert not np.array_equal(made[0], made[1])
    assert np.array_equal(made[1], made[2])


def test_all_of_them_are_loaded_as_what_they_are(editor_folder):
    from harmonygen.adapters.pipeline import Call

    loaded = load_pipeline(str(editor_folder), CPU, Call(1, 0.5, None))
    assert type(loaded._pipeline).__name__ == f"{editor_folder.name}Pipeline"
    assert (loaded.follows_instructions, loaded.resolution) == (True, 1024)
