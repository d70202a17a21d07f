"""`harmonize --method zero-shot` over stand-ins for its editor and classifier: files, resume, quarantine, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.errors import TooManyBadInputsError, UsageError
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.load import Chosen, load_harmonizer
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.harmonization.zeroshot import editor as editors
from harmonygen.models.device import Device
from harmonygen.models.scorer import ClassifierScorer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fakes"))
from fake_editor import ColourScorer, StepEditor, colour_distance

NAMES = ("astronaut", "chelsea", "coffee")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """A colour-shifting editor and a colour classifier in the places of the models; returns the editor."""
    editor = StepEditor()
    monkeypatch.setattr(editors, "load_editor", lambda *_inputs: editor)
    monkeypatch.setattr(ClassifierScorer, "from_pretrained", lambda *_inputs: ColourScorer())
    return editor


@pytest.fixture
def settings_of(photo_folder, tmp_path):
    """Settings of a run over three composites by words of a caption file; keywords change them."""
    captions = tmp_path / "words.csv"
    rows = (f'{name}.png,"{name}, bright","dark, night"' for name in NAMES)
    captions.write_text("\n".join(["name,foreground,background", *rows]) + "\n")

    def make(zero_shot=None, **changes):
        folders = {"composites": photo_folder / "images", "masks": photo_folder / "masks"}
        how = {"out": tmp_path / "run", "method": "zero-shot", "model": "a-folder", "device": "cpu"}
        words = {"iterations": 3, "captions": captions} if zero_shot is None else zero_shot
        return HarmonizeSettings(**{**folders, **how, **changes}, zero_shot=words)

    return make


def pixels(path):
    return np.asarray(Image.open(path))


def trace_of(out, name):
    return json.loads((out / f"{name}.trace.json").read_text())


def tree(out):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir() if path.is_file()}


def test_a_picture_with_its_trace_and_strip_for_each_composite_and_a_page_of_all(settings_of, photo_folder):
    settings = settings_of()
    result = harmonize(settings)
    out = settings.out
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == sorted(
        [f"{name}{suffix}" for name in NAMES for suffix in (".png", ".trace.json", ".strip.jpg")]
        + ["plan.json", "quarantine.parquet", "report.html", "summary.json"]
    )
    for name in NAMES:
        composite, made = pixels(photo_folder / "images" / f"{name}.png"), pixels(out / f"{name}.png")
        mask = pixels(photo_folder / "masks" / f"{name}.png") > 0
        assert made.shape == composite.shape
        assert np.array_equal(made[~mask], composite[~mask])
        assert colour_distance(made / 255, mask) < 0.6 * colour_distance(composite / 255, mask)
        trace = trace_of(out, name)
        assert (trace["pair_id"], trace["picture"], trace["best"]) == (name, f"{name}.png", 3)
        assert trace["iterations"][0]["prompts"] == [f"{name}, bright", f"{name}, dark, night"]
        assert trace["digests"] == {"editor": "step 0.4", "classifier": "colours", **_describer(trace)}
        with Image.open(out / f"{name}.strip.jpg") as strip:
            assert strip.size == (4 * 88, 64)  # the composite and three edits, 64 pixels high
    assert (result.made, result.quarantined) == (3, 0)
    assert result.summary["zero_shot"]["edits"] == 9
    assert result.summary["zero_shot"]["improved"] == 3
    assert (
        result.summary["zero_shot"]["p_composite"]["returned"] < result.summary["zero_shot"]["p_composite"]["composite"]
    )


def _describer(trace):
    return {"describer": trace["digests"]["describer"]}


def test_a_finished_run_repeated_writes_nothing(settings_of):
    harmonize(settings_of())
    before = tree(settings_of().out)
    again = harmonize(settings_of())
    assert (again.made, again.kept) == (0, 3)
    assert tree(settings_of().out) == before


@pytest.mark.parametrize("lost", [".png", ".trace.json", ".strip.jpg"])
def test_a_result_is_there_with_all_its_files_or_made_again(settings_of, stand_ins, lost):
    harmonize(settings_of())
    out = settings_of().out
    before, edits = pixels(out / "chelsea.png"), len(stand_ins.calls)
    (out / f"chelsea{lost}").unlink()
    again = harmonize(settings_of())
    assert (again.made, again.kept, len(stand_ins.calls) - edits) == (1, 2, 3)
    assert np.array_equal(pixels(out / "chelsea.png"), before)
    assert (out / f"chelsea{lost}").is_file()


def test_the_picture_is_written_after_what_explains_it(settings_of, monkeypatch):
    written = []
    from harmonygen.harmonization import results

    plain = results.write_bytes
    monkeypatch.setattr(results, "write_bytes", lambda path, content: (plain(path, content), written.append(path.name)))
    harmonize(settings_of(limit=1))
    assert written[-1] == "astronaut.png"
    assert set(written) == {"astronaut.strip.jpg", "astronaut.trace.json", "astronaut.png"}


def test_a_stopped_run_goes_on_and_leaves_no_difference(settings_of, tmp_path, monkeypatch):
    plain, left = StepEditor.__call__, iter(range(4))

    def stopping(*inputs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return plain(*inputs)

    monkeypatch.setattr(StepEditor, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        harmonize(settings_of())
    monkeypatch.setattr(StepEditor, "__call__", plain)
    assert [path.name for path in settings_of().out.glob("*.png")] == ["astronaut.png"]
    assert harmonize(settings_of()).made == 2
    harmonize(settings_of(out=tmp_path / "straight"))
    for name in NAMES:
        assert (tmp_path / "straight" / f"{name}.png").read_bytes() == (settings_of().out / f"{name}.png").read_bytes()
        both = [trace_of(tmp_path / run, name) for run in ("run", "straight")]
        for trace in both:
            trace.pop("seconds")
            for edit in trace["iterations"]:
                edit.pop("seconds")
        assert both[0] == both[1]


@pytest.mark.parametrize("image_format", ["webp", "jpeg"])
def test_other_formats_and_sizes(settings_of, image_format):
    settings = settings_of(image_format=image_format, max_side=64, limit=1)
    harmonize(settings)
    suffix = {"webp": ".webp", "jpeg": ".jpg"}[image_format]
    assert pixels(settings.out / f"astronaut{suffix}").shape == (48, 64, 3)
    assert harmonize(settings).made == 0


def test_a_strip_that_has_the_name_of_a_result_is_refused(settings_of, photo_folder):
    for folder in ("images", "masks"):
        (photo_folder / folder / "coffee.png").rename(photo_folder / folder / "chelsea.strip.png")
    with pytest.raises(UsageError, match=r"'chelsea.strip.jpg' has the name of a file that belongs to 'chelsea.jpg'"):
        harmonize(settings_of(image_format="jpeg"))
    assert not settings_of().out.exists()


def test_a_bad_image_a_missing_caption_and_an_empty_mask_are_quarantined_with_their_reasons(settings_of, photo_folder):
    images, masks = photo_folder / "images", photo_folder / "masks"
    (images / "astronaut.png").write_bytes((images / "astronaut.png").read_bytes()[:400])
    Image.new("L", (128, 96)).save(masks / "coffee.png")
    for folder in (images, masks):
        (folder / "stranger.png").write_bytes((folder / "chelsea.png").read_bytes())
    settings = settings_of(max_bad_fraction=0.8)
    result = harmonize(settings)
    bad = {row["id"]: row["message"] for row in pq.read_table(settings.out / "quarantine.parquet").to_pylist()}
    assert set(bad) == {"astronaut", "coffee", "stranger"}
    assert "damaged or truncated" in bad["astronaut"]
    assert "is empty" in bad["coffee"]
    assert "no line of caption file" in bad["stranger"]
    assert "add one" in bad["stranger"]
    assert (result.made, result.quarantined) == (1, 3)
    assert sorted(path.name for path in settings.out.glob("*.png")) == ["chelsea.png"]
    page = (settings.out / "report.html").read_text()
    assert "no line of caption file" in page
    assert "chelsea" in page
    before = tree(settings.out)
    assert harmonize(settings).made == 0
    assert tree(settings.out) == before
    with pytest.raises(TooManyBadInputsError, match="of 4 inputs could not be used"):
        harmonize(settings_of(out=settings.out.parent / "strict"))


def test_what_decides_the_result_is_held_to_and_what_does_not_may_change(settings_of, tmp_path):
    harmonize(settings_of())
    words = settings_of().zero_shot.model_dump()
    assert harmonize(settings_of(zero_shot={**words, "low_memory": True})).made == 0
    with pytest.raises(UsageError, match="other options"):
        harmonize(settings_of(zero_shot={**words, "guidance": 5}))
    captions = settings_of().zero_shot.captions
    captions.write_text(captions.read_text().replace("night", "dusk"))
    with pytest.raises(UsageError, match="model_digest changed"):
        harmonize(settings_of(zero_shot=words))


def test_what_is_needed_and_done_is_said(settings_of):
    said = []
    harmonize(settings_of(limit=1), say=said.append)
    assert said[0].startswith("folders: ")
    assert said[1] == (
        "an edit at 64x64 needs about 3.0 GiB of memory (weights 3.0 GiB, activations 5 MiB, latents 0 MiB); "
        "wider pictures need more"
    )
    assert len(said) == 5
    assert said[2].startswith("astronaut: edit 1 (astronaut, bright -> astronaut, dark, night): p_composite 0.")
    assert said[4].endswith("the limit of 3 edits: conclude")


@pytest.fixture
def one(settings_of, photo_folder, tmp_path):
    """Settings for one composite; keywords change them."""

    def make(**changes):
        image, mask = photo_folder / "images" / "chelsea.png", photo_folder / "masks" / "chelsea.png"
        values = {"composites": None, "masks": None, "image": image, "mask": mask, "out": tmp_path / "one.png"}
        return settings_of(**{**values, **changes})

    return make


def test_one_image_gives_its_picture_its_trace_and_its_strip(one, tmp_path):
    said = []
    made = harmonize(one(), say=said.append)
    assert made.out == tmp_path / "one.png"
    assert {path.name for path in tmp_path.glob("one*")} == {"one.png", "one.trace.json", "one.strip.jpg"}
    assert trace_of(tmp_path, "one")["pair_id"] == "chelsea"
    assert said[0].startswith("an edit at 88x64 needs about 3.0 GiB")
    assert "wider" not in said[0]


def test_what_lies_beside_never_overwrites_an_input(one, tmp_path):
    image = tmp_path / "c.strip.jpg"
    Image.open(one().image).save(image)
    before = image.read_bytes()
    with pytest.raises(UsageError, match="would overwrite its own input"):
        harmonize(one(image=image, out=tmp_path / "c.png"))
    assert image.read_bytes() == before


WORDS = {"foreground": "girl, sunny", "background": "dark"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 1}, "--draws averages random draws"),
        ({"sampler": "euler"}, "--sampler is not for --method zero-shot"),
        ({"refine": "x"}, "--refine goes with diffharmony"),
        ({"steps": 3, "zero_shot": {"inversion_steps": 4}}, "are one number twice"),
        ({"model": "starter"}, "needs a Stable Diffusion and none ships"),
        (
            {"method": "direct", "zero_shot": WORDS},
            "describer, foreground, background of zero-shot with --method direct",
        ),
        ({"method": "diffharmony", "zero_shot": {"low_memory": True}}, "low_memory of zero-shot with --method diffh"),
    ],
)
def test_options_that_do_not_go_together_are_refused(one, changes, message):
    with pytest.raises(UsageError, match=message):
        harmonize(one(**changes))
    assert not one().out.exists()


def test_steps_are_the_ddim_steps(one, monkeypatch, stand_ins):
    given = []
    monkeypatch.setattr(editors, "load_editor", lambda *inputs: given.append(inputs) or stand_ins)
    harmonize(one(steps=7, zero_shot=WORDS))
    assert given[0][0] == "a-folder"
    assert given[0][3].inversion_steps == 7


def test_the_untouched_composite_comes_back_whole_where_that_is_allowed(one, monkeypatch):
    monkeypatch.setattr(editors, "load_editor", lambda *_inputs: StepEditor(-0.2))
    made = harmonize(one(detail="decode", zero_shot={**WORDS, "allow_unchanged": True}))
    assert np.array_equal(pixels(made.out), pixels(one().image))
    assert trace_of(made.out.parent, "one")["best"] == 0
    changed = harmonize(one(zero_shot=WORDS))
    assert not np.array_equal(pixels(changed.out), pixels(one().image))


def test_the_method_runs_in_harmonize_alone():
    with pytest.raises(UsageError, match="harmonize first, then work on its folder"):
        load_harmonizer("zero-shot", Chosen("a-folder"), Device.pick("cpu"))
