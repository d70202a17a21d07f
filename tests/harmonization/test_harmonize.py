"""Small runs of harmonize: what comes out, what bad input gets, and what a stopped run leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

import harmonygen
from harmonygen.errors import CheckpointError, InputError, StorageError, TooManyBadInputsError, UsageError
from harmonygen.harmonization.diffusion import DiffusionHarmonizer
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.load import method_of
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.storage.shards import locked
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

SOURCES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture
def dataset(tmp_path):
    """An iHarmony4 tree of five composites of their own sizes; PNG bytes under .jpg names, so that nothing is lost."""
    root, lines = tmp_path / "tree", []
    for index in range(5):
        subset, name = ("HCOCO", "HFlickr")[index % 2], f"p{index}"
        size = (64 + 8 * index, 48)
        image = Image.fromarray(getattr(data, SOURCES[index % 4])()).resize(size)
        mask = Image.new("L", size)
        mask.paste(255, (10 + 2 * index, 8, 40, 40))
        for folder, file, picture in (
            ("composite_images", f"{name}_1_1.jpg", image),
            ("masks", f"{name}_1.png", mask),
            ("real_images", f"{name}.jpg", image),
        ):
            (root / subset / folder).mkdir(parents=True, exist_ok=True)
            picture.save(root / subset / folder / file, "PNG")
        lines.append(f"{subset}/composite_images/{name}_1_1.jpg")
    (root / "IHD_test.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.fixture
def settings_of(dataset, tiny_forward, tmp_path):
    """Settings of a run over the five composites; keywords change them."""

    def make(**changes):
        values = {"data": str(dataset), "out": tmp_path / "run", "model": str(tiny_forward), "steps": 2}
        return HarmonizeSettings(**{**values, "device": "cpu", **changes})

    return make


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def inputs_of(dataset: Path, result: Path) -> tuple[np.ndarray, np.ndarray]:
    """The composite and mask that a result was made of."""
    folder = dataset / result.parent.name
    composite = pixels(folder / "composite_images" / f"{result.stem}.jpg")
    return composite, pixels(folder / "masks" / f"{result.stem.rpartition('_')[0]}.png") > 0


def results(out: Path) -> list[Path]:
    return sorted(out.rglob("*.png"))


def contents(out: Path) -> dict[str, bytes]:
    """Every file below a run but its lock and its clock."""
    kept = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".lock"}
    summary = json.loads(kept.pop("summary.json", b"{}"))
    return {**kept, "summary": {key: value for key, value in summary.items() if not key.startswith("seconds")}}


@pytest.mark.parametrize("detail", ["transfer", "decode"])
def test_one_result_a_composite_of_its_name_size_and_background(settings_of, dataset, detail):
    settings = settings_of(detail=detail)
    result = harmonize(settings)
    assert [path.relative_to(settings.out).as_posix() for path in results(settings.out)] == [
        "HCOCO/p0_1_1.png",
        "HCOCO/p2_1_1.png",
        "HCOCO/p4_1_1.png",
        "HFlickr/p1_1_1.png",
        "HFlickr/p3_1_1.png",
    ]
    for path in results(settings.out):
        made, (composite, mask) = pixels(path), inputs_of(dataset, path)
        assert made.shape == composite.shape
        assert np.array_equal(made[~mask], composite[~mask])
        assert not np.array_equal(made[mask], composite[mask])
    assert (result.made, result.kept, result.quarantined) == (5, 0, 0)


def test_max_side_and_format(settings_of):
    settings = settings_of(max_side=32, image_format="webp", fit="square")
    harmonize(settings)
    assert {Image.open(path).size[0] for path in settings.out.rglob("*.webp")} == {32}
    assert len(list(settings.out.rglob("*.webp"))) == 5


def test_a_result_depends_on_the_seed_and_its_own_name_alone(settings_of, tmp_path):
    harmonize(settings_of())
    harmonize(settings_of(out=tmp_path / "other", seed=1))
    harmonize(settings_of(out=tmp_path / "alone", subset="HFlickr"))
    name = "HFlickr/p3_1_1.png"
    first, other, alone = (pixels(tmp_path / run / name) for run in ("run", "other", "alone"))
    assert np.array_equal(first, alone)
    assert not np.array_equal(first, other)


def test_the_plan_and_the_summary_say_what_was_done(settings_of):
    settings = settings_of(draws=2, sampler="euler")
    summary = harmonize(settings).summary
    plan = json.loads((settings.out / "plan.json").read_text())
    assert (plan["verb"], plan["harmonygen"]) == ("harmonize", harmonygen.__version__)
    assert plan["settings"]["draws"] == 2
    assert plan["plan_digest"] == summary["plan_digest"]
    assert summary == json.loads((settings.out / "summary.json").read_text())
    assert (summary["composites"], summary["harmonized"], summary["quarantined"]) == (5, 5, 0)
    assert summary["model"]["digest"] == plan["model_digest"]


def test_bad_inputs_are_quarantined_with_their_reason_and_the_rest_is_made(settings_of, dataset):
    torn = dataset / "HCOCO" / "composite_images" / "p2_1_1.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    Image.new("L", (72, 48)).save(dataset / "HFlickr" / "masks" / "p1_1.png")
    (dataset / "HCOCO" / "composite_images" / "p4_1_1.jpg").unlink()
    settings = settings_of(max_bad_fraction=0.6)
    result = harmonize(settings)
    bad = {row["id"]: row for row in pq.read_table(settings.out / "quarantine.parquet").to_pylist()}
    assert set(bad) == {"HCOCO/p2_1_1", "HFlickr/p1_1_1", "HCOCO/p4_1_1"}
    assert {(row["stage"], row["error"]) for row in bad.values()} == {("harmonize", "InputError")}
    assert "damaged or truncated" in bad["HCOCO/p2_1_1"]["message"]
    assert "is empty" in bad["HFlickr/p1_1_1"]["message"]
    assert "No such file" in bad["HCOCO/p4_1_1"]["message"]
    assert {path.stem for path in results(settings.out)} == {"p0_1_1", "p3_1_1"}
    assert (result.summary["harmonized"], result.summary["quarantined"]) == (2, 3)
    before = contents(settings.out)
    assert harmonize(settings).made == 0
    assert contents(settings.out) == before


def test_too_many_bad_inputs_stop_the_run_and_more_leave_lets_it_go_on(settings_of, dataset):
    for name in ("p0", "p2"):
        Image.new("L", (64 if name == "p0" else 80, 48)).save(dataset / "HCOCO" / "masks" / f"{name}_1.png")
    with pytest.raises(TooManyBadInputsError, match="2 of 5 inputs could not be used, 1 are allowed"):
        harmonize(settings_of())
    assert len(pq.read_table(settings_of().out / "quarantine.parquet")) == 2
    assert not (settings_of().out / "summary.json").exists()
    assert harmonize(settings_of(max_bad_fraction=0.4)).summary["harmonized"] == 3


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_stopped_run_goes_on_and_leaves_no_difference(settings_of, tmp_path, monkeypatch, done):
    plain, left = DiffusionHarmonizer.__call__, iter(range(done))

    def stopping(*inputs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return plain(*inputs)

    settings = settings_of()
    monkeypatch.setattr(DiffusionHarmonizer, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        harmonize(settings)
    monkeypatch.setattr(DiffusionHarmonizer, "__call__", plain)
    assert len(results(settings.out)) == done
    resumed = harmonize(settings)
    assert (resumed.made, resumed.kept) == (5 - done, done)
    harmonize(settings_of(out=tmp_path / "straight"))
    same = contents(settings.out), contents(tmp_path / "straight")
    for run in same:
        plan = json.loads(run.pop("plan.json"))
        assert plan.pop("settings").pop("out")
        run["plan"] = plan
    assert same[0] == same[1]


def test_what_a_killed_run_tore_is_made_again_and_its_leavings_go(settings_of):
    settings = settings_of()
    harmonize(settings)
    before = contents(settings.out)
    (settings.out / "summary.json").unlink()
    torn = settings.out / "HCOCO" / "p2_1_1.png"
    torn.write_bytes(torn.read_bytes()[:-20])
    (settings.out / "HFlickr" / ".p3_1_1.png.4711.tmp").write_bytes(b"half")
    result = harmonize(settings)
    assert (result.made, result.kept) == (1, 4)
    assert contents(settings.out) == before


def test_a_finished_run_repeated_writes_nothing(settings_of, tree):
    settings = settings_of()
    harmonize(settings)
    before = tree(settings.out)
    again = harmonize(settings)
    assert (again.made, again.kept) == (0, 5)
    assert tree(settings.out) == before


def test_a_picture_that_was_lost_is_made_again(settings_of):
    settings = settings_of()
    harmonize(settings)
    before = contents(settings.out)
    (settings.out / "HFlickr" / "p1_1_1.png").unlink()
    assert harmonize(settings).made == 1
    assert contents(settings.out) == before


def test_other_options_on_an_old_folder_are_refused_and_other_ways_of_working_are_not(settings_of, tiny_direct, tree):
    harmonize(settings_of())
    before = tree(settings_of().out)
    with pytest.raises(UsageError, match=r"other options \(steps: 2 then, 3 now\): repeat them, or choose another"):
        harmonize(settings_of(steps=3))
    with pytest.raises(UsageError, match="method: 'diffharmony' then, 'direct' now"):
        harmonize(settings_of(method="direct", model=str(tiny_direct)))
    assert harmonize(settings_of(batch_size="1", max_bad_fraction=0)).made == 0
    assert tree(settings_of().out) == before


def test_a_folder_of_something_else_and_a_folder_in_use_are_refused(settings_of, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not a run \(found thesis.txt\)"):
        harmonize(settings_of())
    (tmp_path / "busy").mkdir()
    with locked(tmp_path / "busy", "harmonize"), pytest.raises(UsageError, match="another run is writing"):
        harmonize(settings_of(out=tmp_path / "busy"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        harmonize(settings_of(out=tmp_path / "file"))


def test_the_wrong_checkpoint_is_refused_before_anything_is_written(settings_of, tiny_inverse, tiny_direct):
    with pytest.raises(CheckpointError, match="a forward one is needed"):
        harmonize(settings_of(model=str(tiny_inverse)))
    with pytest.raises(CheckpointError, match="needs a HarmonyVAE"):
        harmonize(settings_of(method="diffharmony++"))
    with pytest.raises(CheckpointError, match="'denoiser' is needed"):
        harmonize(settings_of(model=str(tiny_direct), method="diffharmony"))
    assert not settings_of().out.exists()


def test_a_checkpoint_says_which_method_it_is_for(settings_of, tiny_direct):
    assert harmonize(settings_of(model=str(tiny_direct))).summary["method"] == "direct"


def test_the_starter_is_the_parametric_harmonizer_which_makes_no_pixels_of_its_own(settings_of):
    assert method_of("starter") == "parametric"
    with pytest.raises(UsageError, match="drop --detail decode"):
        harmonize(settings_of(model="starter", detail="decode"))


def test_the_direct_method_runs_a_dataset_too(settings_of, tiny_direct, dataset):
    settings = settings_of(method="direct", model=str(tiny_direct))
    assert harmonize(settings).made == 5
    for path in results(settings.out):
        composite, mask = inputs_of(dataset, path)
        assert np.array_equal(pixels(path)[~mask], composite[~mask])


def test_two_folders_are_harmonized_under_the_masks_names(settings_of, dataset, tmp_path):
    for kind in ("composites", "masks"):
        (tmp_path / kind).mkdir()
    folder = dataset / "HCOCO"
    for name in ("p0", "p2"):
        os.link(folder / "composite_images" / f"{name}_1_1.jpg", tmp_path / "composites" / f"{name}.png")
        os.link(folder / "masks" / f"{name}_1.png", tmp_path / "masks" / f"{name}.png")
    os.link(folder / "masks" / "p4_1.png", tmp_path / "masks" / "p4.png")
    folders = {"data": "sample", "composites": tmp_path / "composites", "masks": tmp_path / "masks"}
    result = harmonize(settings_of(**folders))
    assert [path.name for path in results(result.out)] == ["p0.png", "p2.png"]
    assert (result.made, result.quarantined) == (2, 1)  # p4's mask has no composite


@pytest.fixture
def one(settings_of, dataset, tmp_path):
    """Settings for the composite p0 alone."""

    def make(**changes):
        folder = dataset / "HCOCO"
        image, mask = folder / "composite_images" / "p0_1_1.jpg", folder / "masks" / "p0_1.png"
        return settings_of(**{"data": "sample", "image": image, "mask": mask, "out": tmp_path / "a.png", **changes})

    return make


def test_one_image_gives_one_file_and_nothing_else(one, dataset, tmp_path):
    made = harmonize(one())
    assert made.out == tmp_path / "a.png"
    composite, mask = pixels(one().image), pixels(one().mask) > 0
    assert np.array_equal(pixels(made.out)[~mask], composite[~mask])
    assert not np.array_equal(pixels(made.out), composite)
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "a.png"}
    assert harmonize(one(out=tmp_path / "new")).out == tmp_path / "new" / "p0_1_1.png"
    assert Image.open(harmonize(one(out=tmp_path / "b.webp")).out).format == "WEBP"
    assert np.array_equal(pixels(tmp_path / "b.webp"), pixels(made.out))


def test_one_image_that_cannot_be_used_is_an_error_and_leaves_nothing(one, tmp_path):
    Image.new("L", (64, 48)).save(tmp_path / "empty.png")
    with pytest.raises(InputError, match="is empty"):
        harmonize(one(mask=tmp_path / "empty.png"))
    with pytest.raises(InputError, match="No such file"):
        harmonize(one(image=tmp_path / "nowhere.png"))
    assert not (tmp_path / "a.png").exists()


def test_an_input_is_never_overwritten(one, settings_of, dataset):
    before = one().image.read_bytes()
    with pytest.raises(UsageError, match="would overwrite its own input"):
        harmonize(one(out=one().image))
    assert one().image.read_bytes() == before
    harmonize(settings_of())
    with pytest.raises(UsageError, match="holds a run"):
        harmonize(one(out=settings_of().out))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "IMAGE and --mask go together"),
        ({"image": None}, "IMAGE and --mask go together"),
        ({"data": "x"}, "three ways to name the input"),
        ({"composites": Path("x")}, "--composites and --masks go together"),
        ({"composites": Path("x"), "masks": Path("y")}, "three ways to name the input"),
        ({"method": "direct", "draws": 2}, "--draws averages random draws"),
        ({"method": "direct", "refine": "x"}, "--refine x goes with diffharmony"),
        ({"method": "zero-shot", "model": "starter"}, "needs a Stable Diffusion and none ships"),
        ({"out": Path("a.gif")}, "is not a format that is written"),
        ({"device": "tpu"}, "--device tpu"),
        ({"batch_size": "0"}, "--batch-size"),
    ],
)
def test_options_that_do_not_fit_are_refused(one, changes, message):
    with pytest.raises(UsageError, match=message):
        harmonize(one(**changes))


def test_the_candidates_of_a_run_are_harmonized_under_their_own_names(
    settings_of, six_photos, tiny_classifier, tmp_path
):
    run = tmp_path / "candidates"
    how = {"generator": "lut", "classifier": str(tiny_classifier), "k": 2, "limit": 2, "device": "cpu"}
    synthesize(SynthesizeSettings(data=str(six_photos), out=run, **how))
    kept = [row for path in (run / "candidates").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    names = {f"{row['pair_id']}_hg{row['k']}" for row in kept if not row["gate"]}
    settings = settings_of(data=str(run))
    harmonize(settings)
    assert {str(path.relative_to(settings.out).with_suffix("")) for path in results(settings.out)} == names
    assert names
