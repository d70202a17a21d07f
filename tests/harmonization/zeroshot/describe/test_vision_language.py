"""The vision-language describer on a small Llava of the real classes, with random weights or scripted replies."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
from skimage import data

pytest.importorskip("transformers")

import torch
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from harmonygen.errors import CheckpointError, InputError, UsageError
from harmonygen.harmonization.zeroshot.describe import load_describer
from harmonygen.harmonization.zeroshot.describe.vision_language import question
from harmonygen.harmonization.zeroshot.words import LISTS
from harmonygen.models.picture_chat import chat_picture, greyed
from harmonygen.pictures.images import resize
from harmonygen.pictures.photo import Photo
from harmonygen.records import FileSource, Pair
from tests.fakes.small_llava import SPECIAL, llava_model, llava_processor, write_llava

SOURCE = FileSource(Path("a.png"))
GOOD = "tabby cat & (foreground) bright warm & (background) dim cool"
OTHER = "tabby cat & (foreground) lit & (background) dark"
BAD = "it is a cat"
KNOWN = [*dict.fromkeys(f"{GOOD} {OTHER} {BAD}".split()), "\n"]
WORDS = [*SPECIAL, *KNOWN]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_llava(tmp_path_factory.mktemp("llava"), KNOWN)


@pytest.fixture
def photo():
    image = resize(data.chelsea(), 24, 36)
    mask = np.zeros((24, 36), dtype=bool)
    mask[6:18, 9:27] = True
    return Photo(Pair("Set/cat", "cat", "0", SOURCE, SOURCE), image, mask, image, mask, False)


class Script:
    """Stands for a model's ``generate``: gives the replies in turn and keeps what it was asked."""

    def __init__(self, processor, *replies):
        self.replies = [torch.tensor([[WORDS.index(word) for word in self.words(reply)]]) for reply in replies]
        self.calls = []
        self.draws = []

    @staticmethod
    def words(reply):
        return [word for line in reply.split("\n") for word in (*line.split(), "\n")][:-1]

    def __call__(self, **options):
        self.calls.append(options)
        self.draws.append(torch.rand(3).tolist())
        reply = self.replies[min(len(self.calls), len(self.replies)) - 1]
        return torch.cat([options["input_ids"], reply], dim=1)


def scripted(folder, monkeypatch, *replies, **options):
    describer = load_describer("model", model=folder, **options)
    script = Script(describer._processor, *replies)
    monkeypatch.setattr(describer._model, "generate", script)
    return describer, script


def test_random_replies_end_in_the_clear_error_after_the_stated_tries(folder, photo, monkeypatch):
    describer = load_describer("model", model=folder, retries=2)
    assert isinstance(describer._model, LlavaForConditionalGeneration)
    real, sampled = describer._model.generate, []

    def counted(**options):
        sampled.append(options["do_sample"])
        return real(**options)

    monkeypatch.setattr(describer._model, "generate", counted)
    with pytest.raises(InputError) as caught:
        describer(photo)
    assert sampled == [False, True, True]
    message = str(caught.value)
    assert "'Set/cat' in no usable way in 3 tries" in message
    assert "the reply was '" in message
    assert len(message) < 900


def test_the_same_seed_gives_the_same_samples_and_leaves_the_worlds_alone(folder, photo):
    describer = load_describer("model", model=folder)
    inputs = describer._chat.inputs(photo.image_u8, photo.mask, question(1))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, same, other = (describer._reply(inputs, seed, True, 1) for seed in (1, 1, 2))
    assert first == same != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_good_first_reply_is_the_most_likely_one_and_asked_once(folder, photo, monkeypatch):
    describer, script = scripted(folder, monkeypatch, GOOD)
    found = describer(photo, alternatives=1)
    assert [each.prompts for each in found] == [("tabby cat, bright, warm", "tabby cat, dim, cool")]
    assert [call["do_sample"] for call in script.calls] == [False]


def test_a_bad_reply_is_asked_again_as_another_seeded_sample(folder, photo, monkeypatch):
    describer, script = scripted(folder, monkeypatch, BAD, BAD, GOOD)
    assert describer(photo, alternatives=1)[0].subject == "tabby cat"
    assert [call["do_sample"] for call in script.calls] == [False, True, True]
    assert script.draws[1] != script.draws[2]
    again, second = scripted(folder, monkeypatch, BAD, BAD, GOOD)
    again(photo, alternatives=1)
    assert second.draws == script.draws
    seeded, third = scripted(folder, monkeypatch, BAD, BAD, GOOD, seed=1)
    seeded(photo, alternatives=1)
    assert third.draws[1] != script.draws[1]


def test_a_reply_of_several_lines_gives_several_alternatives(folder, photo, monkeypatch):
    describer, script = scripted(folder, monkeypatch, f"{GOOD}\n{OTHER}\n{GOOD}")
    assert [each.background for each in describer(photo, alternatives=2)] == [("dim", "cool"), ("dark",)]
    assert len(script.calls) == 1
    assert len(describer(photo, alternatives=1)) == 1


def test_too_few_alternatives_are_topped_up_and_what_was_found_is_kept(folder, photo, monkeypatch):
    describer, script = scripted(folder, monkeypatch, GOOD, BAD, GOOD, OTHER, retries=4)
    assert len(describer(photo, alternatives=2)) == 2
    assert len(script.calls) == 4
    describer, script = scripted(folder, monkeypatch, GOOD, BAD, retries=1)
    assert len(describer(photo, alternatives=3)) == 1
    assert len(script.calls) == 2


def test_the_model_is_shown_both_pictures_and_the_seven_lists(folder, photo, monkeypatch):
    describer, script = scripted(folder, monkeypatch, GOOD)
    describer(photo, alternatives=1)
    (call,) = script.calls
    assert call["pixel_values"].shape[0] == 2
    assert not torch.equal(*call["pixel_values"])
    asked = question(3)
    assert all(f"- {name}: {', '.join(words)}" in asked for name, words in LISTS.items())
    assert "Write 3 different answers" in asked


def test_greying_keeps_the_foreground_and_takes_the_backgrounds_colour(photo):
    marked = greyed(photo.image_u8, photo.mask)
    assert np.array_equal(marked[photo.mask], photo.image_u8[photo.mask])
    outside = marked[~photo.mask]
    assert np.ptp(outside, axis=1).max() == 0
    assert outside.min() >= 165
    assert chat_picture(np.zeros((1000, 2000, 3), np.uint8)).size == (768, 384)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be loaded as an image-text-to-text model"):
        load_describer("model", model=tmp_path)


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(tmp_path)
    llava_processor(KNOWN, template=None).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no chat template"):
        load_describer("model", model=tmp_path)


def test_pickled_weights_are_refused(folder, tmp_path):
    llava_processor(KNOWN).save_pretrained(tmp_path)
    model = llava_model(KNOWN)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        load_describer("model", model=tmp_path)


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **options):
        if name.split(".")[0] == "transformers":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'harmonygen\[sd\]'"):
        load_describer("model", model=folder)


def test_the_digest_changes_with_the_weights_and_the_seed(folder, tmp_path):
    first, same, seeded = (load_describer("model", model=folder, seed=seed).digest for seed in (0, 0, 1))
    assert first == same != seeded
    llava_processor(KNOWN).save_pretrained(tmp_path)
    other = llava_model(KNOWN)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path)
    assert load_describer("model", model=tmp_path).digest != first
    with pytest.raises(UsageError, match="retries is -1"):
        load_describer("model", model=folder, retries=-1)
