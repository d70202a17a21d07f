"""A whole gain study in small: what is on disk, that a resume writes nothing, and that its parts do what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from harmonygen.data.composites import composites_of
from harmonygen.data.lists import held_out
from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.evaluation.bootstrap import crossed_interval
from harmonygen.evaluation.evaluate import evaluate
from harmonygen.evaluation.settings import EvaluateSettings, MethodSpec
from harmonygen.gain import run as gain_run
from harmonygen.gain import sets as gain_data
from harmonygen.gain.arms import arms_of, make_arm
from harmonygen.gain.pool import run_all
from harmonygen.gain.run import job_of
from harmonygen.gain.settings import GainSettings
from harmonygen.gain.study import gain, plan
from harmonygen.pictures.images import read_image
from harmonygen.report.curves import ticks

LOOSE = {"min_fmse": 0.0, "max_fmse": 65025.0, "min_structure": -1.0, "max_clipped": 1.0}


@pytest.fixture(scope="module")
def eight_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos that do not look alike: quarters of two."""
    root = tmp_path_factory.mktemp("photos") / "eight"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index in range(8):
        whole = Image.fromarray((data.astronaut(), data.coffee())[index // 4])
        width, height = whole.width // 2, whole.height // 2
        left, top = (index % 2) * width, (index // 2 % 2) * height
        whole.crop((left, top, left + width, top + height)).resize((64, 64)).save(root / "images" / f"p{index}.png")
        mask = Image.new("L", (64, 64))
        mask.paste(255, (12, 10 + index, 44, 48))
        mask.save(root / "masks" / f"p{index}.png")
    return root


@pytest.fixture
def study(eight_photos: Path, tiny_classifier: Path, tmp_path: Path) -> GainSettings:
    """A study of seconds, not run."""
    return study_of(eight_photos, tiny_classifier, tmp_path / "study")


def study_of(photos: Path, classifier: Path, out: Path) -> GainSettings:
    """Return the settings of a study of seconds."""
    made = {"classifier": str(classifier), "device": "cpu", "gates": LOOSE, "max_bad_fraction": 1.0}
    values: dict[str, Any] = {
        "data": str(photos),
        "out": out,
        "base_photos": 4,
        "test_photos": 3,
        "per_photo": 2,
        "originals": {**made, "k": 3, "references": "all"},
        "candidates": {**made, "k": 3, "generator": "color-jitter"},
        "controls": ["jitter", "duplicates"],
        "rules": ["max-composite"],
        "train_recipe": "train/smoke-direct",
        "train": {"widths": [16], "norm_num_groups": 8},
        "steps": 2,
        "seeds": 1,
        "resolution": 32,
        "resamples": 200,
        "curve_points": 2,
        "curve_images": 3,
        "cases": 1,
        "device": "cpu",
    }
    return GainSettings.model_validate(values)


@pytest.fixture(scope="module")
def finished(
    eight_photos: Path, tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[GainSettings, dict[str, Any]]:
    """The study, run, and its result."""
    settings = study_of(eight_photos, tiny_classifier, tmp_path_factory.mktemp("gain") / "study")
    return settings, gain(settings, lambda _line: None).result


def snapshot(folder: Path) -> dict[str, int]:
    """Return every file's time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def test_a_study_runs_whole_and_a_repeat_writes_nothing(finished: tuple[GainSettings, dict[str, Any]]) -> None:
    study, result = finished
    rows = {row["name"]: row for row in result["arms"]}
    assert list(rows) == ["composite", "base", "gamma-1", "jitter", "duplicates", "rule-max-composite"]
    assert [rows[name]["composites"] for name in ("base", "gamma-1", "jitter", "duplicates")] == [8, 16, 16, 16]
    assert "difference" not in rows["base"]
    change = rows["gamma-1"]["difference"]["psnr"]
    assert change["mean"] == pytest.approx(rows["gamma-1"]["psnr"]["mean"] - rows["base"]["psnr"]["mean"])
    assert change["n"] == result["images"] == 6
    assert [point["step"] for point in result["curves"]["base"]] == [1, 2]
    assert json.loads((study.out / "gain.json").read_text())["digest"] == result["digest"]
    before = snapshot(study.out)
    assert gain(study, lambda _line: None).finished_before
    assert snapshot(study.out) == before
    assert all(row.done == row.seeds for row in plan(study)[0])


def test_a_study_does_not_go_on_with_other_photos(
    finished: tuple[GainSettings, dict[str, Any]], eight_photos: Path
) -> None:
    study, _ = finished
    photos = {path: path.read_bytes() for path in (eight_photos / "images").iterdir()}
    before = snapshot(study.out)
    try:
        for path, content in zip(photos, reversed(photos.values()), strict=True):
            path.write_bytes(content)
        with pytest.raises(
            UsageError, match=r"photos or masks of \d pairs are not those that .*candidates.* \(photo\)"
        ):
            gain(study, lambda _line: None)
    finally:
        for path, content in photos.items():
            path.write_bytes(content)
    assert gain(study, lambda _line: None).finished_before
    assert snapshot(study.out) == before


def test_arms_share_the_test_set_and_train_on_none_of_its_photos(finished: tuple[GainSettings, dict[str, Any]]) -> None:
    trees = [finished[0].out / "data" / name for name in ("base", "gamma-1", "jitter", "duplicates")]
    lists = {(tree / "IHD_test.txt").read_text() for tree in trees}
    assert len(lists) == 1
    for tree in trees:
        trained = {item.real_id for item in composites_of(tree).composites}
        assert len(trained) == 4
        assert not trained & held_out(tree).photos
    base, jitter = ({item.name for item in composites_of(tree).composites} for tree in (trees[0], trees[2]))
    assert base < jitter
    for item in composites_of(trees[2]).composites:
        mask = np.asarray(Image.open(str(item.mask)).convert("L")) > 127
        made, real = read_image(item.composite).image_u8, read_image(item.real).image_u8
        assert (made[~mask] == real[~mask]).all()
        assert (made[mask] != real[mask]).any()


def test_photos_of_one_source_stay_on_one_side(study: GainSettings, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    rows = [f",p{index},{index // 2},study" for index in range(8)]
    table.write_text("\n".join(["kind,name,source_photo,split", *rows]))
    changed = study.model_copy(update={"split_file": table, "base_photos": 4, "test_photos": 4})
    for seed in range(5):
        base, test, left = gain_data.split_pairs(changed.model_copy(update={"seed": seed}))
        sides = [{int(pair.real_id[-1]) // 2 for pair in side} for side in (base, test)]
        assert len(base) == len(test) == 4
        assert not sides[0] & sides[1]
        assert not left


def extra_study(study: GainSettings, **changes: Any) -> GainSettings:
    kinds = {"extra": ("inverse", "color-transfer", "jitter"), "controls": (), "rules": ()}
    return study.model_copy(update={"base_photos": 3, "test_photos": 2, **kinds, **changes})


def names_of(tree: Path) -> set[str]:
    """The photos that a tree trains on, by their file names."""
    return {item.real_id.rpartition("/")[2] for item in composites_of(tree).composites}


def test_extra_arms_add_as_many_composites_as_gamma_asks_of_photos_that_are_in_neither_set(study: GainSettings) -> None:
    study = extra_study(study, extra_gammas=(1.0, 0.5))
    base = gain_data.make_base(study, lambda _line: None)
    arms = {arm.name: arm for arm in arms_of(study)}
    assert list(arms)[2:5] == ["extra-inverse-1", "extra-inverse-0.5", "extra-color-transfer-1"]
    sides = gain_data.split_pairs(study)
    own = {item.name for item in composites_of(base).composites}
    for name in ("extra-inverse-1", "extra-inverse-0.5", "extra-color-transfer-1", "extra-jitter-1"):
        tree = make_arm(study, arms[name], lambda _line: None)
        before = snapshot(tree)
        assert make_arm(study, arms[name], lambda _line: None) == tree
        assert snapshot(tree) == before
        found = composites_of(tree).composites
        added = [item for item in found if item.name not in own]
        assert len(found) - len(added) == len(own) == 6
        assert len(added) == (3 if name.endswith("0.5") else 6)
        assert {item.real_id.rpartition("/")[2] for item in added} == {pair.real_id for pair in sides.left}
        assert (tree / "IHD_test.txt").read_text() == (base / "IHD_test.txt").read_text()
        assert all((tree / line).is_file() for line in (tree / "IHD_train.txt").read_text().split())
        for item in added:
            assert (read_image(item.composite).image_u8 != read_image(item.real).image_u8).any()


def test_extra_data_that_look_like_the_studys_own_photos_are_left_out(
    study: GainSettings, eight_photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "renamed"
    for folder in ("images", "masks"):
        (other / folder).mkdir(parents=True)
        for path in (eight_photos / folder).iterdir():
            (other / folder / f"x{path.name}").write_bytes(path.read_bytes())
    study = extra_study(study, extra_data=str(other), extra_photos=2)
    base, test, left = gain_data.split_pairs(study)
    gain_data.make_base(study, lambda _line: None)
    tree = make_arm(study, arms_of(study)[2], lambda _line: None)
    foreign = {name for name in names_of(tree) if name.startswith("x")}
    assert len(foreign) == 2
    assert foreign < {f"x{pair.real_id}" for pair in left}
    assert names_of(tree) - foreign == {pair.real_id for pair in base}
    assert not foreign & {f"x{pair.real_id}" for pair in (*base, *test)}


def test_extra_arms_without_photos_are_refused_before_anything_is_written(
    study: GainSettings, finished: tuple[GainSettings, dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match="lower base_photos or test_photos"):
        gain(extra_study(study, base_photos=5, test_photos=3))
    tree = finished[0].out / "data" / "base"
    with pytest.raises(UsageError, match="extra_data="):
        gain(extra_study(study, data=str(tree)))
    assert not study.out.exists()


def test_what_cannot_be_studied_is_refused_before_anything_is_written(study: GainSettings) -> None:
    with pytest.raises(UsageError, match="did you mean 'jitter'"):
        arms_of(study.model_copy(update={"arms": ("jiter",)}))
    for change in ({"base_photos": 6}, {"train": {"learning_rat": 1.0}}):
        with pytest.raises(UsageError):
            gain(study.model_copy(update=change))
        assert not study.out.exists()


def test_another_study_in_the_folder_is_refused(study: GainSettings) -> None:
    study.out.mkdir()
    other = study.model_copy(update={"steps": 5}).model_dump(mode="json")
    (study.out / "plan.json").write_text(
        json.dumps({"harmonygen": "0.1.0", "verb": "gain", "plan_digest": "x", "settings": other})
    )
    with pytest.raises(UsageError, match="steps: 5 then, 2 now"):
        gain(study)


def cut(photo: Image.Image, share: float) -> Image.Image:
    wide, high = round(share * photo.width), round(share * photo.height)
    return photo.crop((wide, high, photo.width - wide, photo.height - high))


CHANGES = {
    "mirrored": lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda p: cut(p, 0.05),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_test_photo_under_another_name_is_refused(kind: str, study: GainSettings, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    photos = {"a1": Image.fromarray(data.chelsea()), "a2": Image.fromarray(data.coffee())}
    for name, photo in {**photos, "t1": CHANGES[kind](photos["a2"])}.items():
        mask = Image.new("L", photo.size)
        mask.paste(255, (20, 20, 120, 120))
        for folder, file in (("real_images", name), ("masks", f"{name}_1"), ("composite_images", f"{name}_1_1")):
            (root / "A" / folder).mkdir(parents=True, exist_ok=True)
            (mask if folder == "masks" else photo).save(root / "A" / folder / f"{file}.png")
    for role, names in (("train", ("a1", "a2")), ("test", ("t1",))):
        (root / f"IHD_{role}.txt").write_text("".join(f"A/composite_images/{name}_1_1.png\n" for name in names))
    with pytest.raises(UsageError, match=rf"1 training photos look like test photos .*: A/a2 = A/t1 \({kind}"):
        gain_data.make_base(study.model_copy(update={"data": str(root)}), lambda _line: None)


def test_mirrored_and_cropped_photos_stay_on_the_side_of_the_photo(
    eight_photos: Path, study: GainSettings, tmp_path: Path
) -> None:
    root = tmp_path / "more"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(8):
        photo, mask = (Image.open(eight_photos / folder / f"p{index}.png") for folder in ("images", "masks"))
        for kind, change in {"same": lambda each: each, **CHANGES}.items():
            change(photo).save(root / "images" / f"{index}-{kind}.png")
            mask.resize(change(photo).size).save(root / "masks" / f"{index}-{kind}.png")
    sides = gain_data.split_pairs(study.model_copy(update={"data": str(root), "base_photos": 12, "test_photos": 9}))
    numbers = [{pair.real_id.rpartition("/")[2][0] for pair in side} for side in sides[:2]]
    assert [len(side) for side in sides[:2]] == [12, 9]
    assert not numbers[0] & numbers[1]


def test_the_interval_knows_of_seeds_as_well_as_of_photos() -> None:
    rng = np.random.default_rng(0)
    photos = [f"p{index // 4}" for index in range(400)]
    noise = rng.normal(size=(400, 1))
    alike = crossed_interval(np.repeat(noise, 5, axis=1), photos)
    luck = crossed_interval(noise + np.linspace(-2, 2, 5), photos)
    assert alike.mean == pytest.approx(luck.mean)
    assert luck.high - luck.low > 3 * (alike.high - alike.low)


def test_composites_of_one_photo_do_not_count_as_independent() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 8, axis=0)
    together = crossed_interval(values, [f"p{index // 8}" for index in range(400)])
    apart = crossed_interval(values, [f"p{index}" for index in range(400)])
    assert together.high - together.low > 2 * (apart.high - apart.low)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 4.1), (900.0, 1400.0), (0.0, 0.003)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert low - 1e-6 <= min(found)
    assert max(found) <= high + 1e-6


@pytest.mark.long
def test_a_failed_run_is_told_and_the_same_command_goes_on(
    finished: tuple[GainSettings, dict[str, Any]], tmp_path: Path
) -> None:
    whole = finished[0].out / "runs" / "base" / "seed-0"
    run = tmp_path / "run"
    run.mkdir()
    job = json.loads((whole / "job.json").read_text())
    job["training"]["output_dir"] = str(run)
    (run / "job.json").write_text(json.dumps({**job, "task": "direct", "training": {**job["training"], "data": "no"}}))
    with pytest.raises(HarmonygenError, match=r"ended with code 2 .*'no'"):
        list(run_all([run], 2, print))
    assert not (run / "scores.parquet").exists()
    (run / "job.json").write_text(json.dumps(job))
    assert list(run_all([run], 1, print)) == [run]
    ours, first = (pq.read_table(folder / "scores.parquet").to_pylist() for folder in (run, whole))
    assert [row["name"] for row in ours] == [row["name"] for row in first]
    assert [row["fmse"] for row in ours] == pytest.approx([row["fmse"] for row in first], rel=1e-4)
    assert not list(run.glob("checkpoint-*"))


def test_a_tree_with_composites_is_taken_as_its_lists_have_it(
    finished: tuple[GainSettings, dict[str, Any]], tmp_path: Path
) -> None:
    data = finished[0].out / "data" / "base"
    study = finished[0].model_copy(update={"data": str(data), "out": tmp_path / "study"})
    made = gain_data.make_base(study, lambda _line: None)
    for name in ("IHD_train.txt", "IHD_test.txt"):
        assert sorted((made / name).read_text().split()) == sorted((data / name).read_text().split())
    assert all((made / line).is_file() for line in (made / "IHD_test.txt").read_text().split())
    assert len(composites_of(make_arm(study, arms_of(study)[1], lambda _line: None)).composites) == 16
    (data / "IHD_test.txt").rename(tmp_path / "IHD_test.txt")
    try:
        lists = list(data.glob("*/*_test.txt"))
        for path in lists:
            path.rename(path.with_suffix(".off"))
        with pytest.raises(UsageError, match="no test list"):
            gain_data.make_base(study.model_copy(update={"out": tmp_path / "other"}), print)
    finally:
        (tmp_path / "IHD_test.txt").rename(data / "IHD_test.txt")
        for path in lists:
            path.with_suffix(".off").rename(path)


def test_models_are_scored_as_published_where_the_study_says_so(
    finished: tuple[GainSettings, dict[str, Any]], tmp_path: Path
) -> None:
    """The pictures of `fit`, `detail` and `enlarge` are those that `evaluate` scores with the same options."""
    settings, _ = finished
    job = json.loads((settings.out / "runs/base/seed-0/job.json").read_text())
    asked = settings.model_copy(update={"fit": "square", "detail": "decode", "enlarge": "bilinear"})
    there = settings.out / "runs/base/seed-0"
    own = job_of(asked, settings.out / "data/base", settings.out / "data/base", there, 0)
    assert own["how"] == {"fit": "square", "enlarge": "bilinear", "detail": "decode", "posterior": None}
    cases = gain_run.test_cases(settings.out / "data" / "base")[:2]
    published = [figures["fmse"] for _, figures, _ in gain_run.scored(gain_run._load(there, own), cases, own)]
    usual = [figures["fmse"] for _, figures, _ in gain_run.scored(gain_run._load(there, job), cases, job)]
    spec = MethodSpec(name="m", model=str(there / "model"), fit="square", detail="decode", enlarge="bilinear")
    found = evaluate(
        EvaluateSettings(
            data=str(settings.out / "data" / "base"), out=tmp_path / "scores", methods=(spec,), ssim=False, cases=0
        )
    )
    rows = pq.read_table(found.out / "per_image.parquet").to_pylist()
    scored = {row["name"]: row["fmse"] for row in rows if row["method"] == "m"}
    assert published == pytest.approx([scored[case.name] for case in cases])
    assert published != pytest.approx(usual)
