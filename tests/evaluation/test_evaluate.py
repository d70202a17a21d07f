"""Whole evaluations of small pictures: what is scored, refused, resumed and shown."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from skimage import data

from harmonygen import metrics
from harmonygen.data.published import bin_of
from harmonygen.errors import HarmonygenError, InputError, UsageError
from harmonygen.evaluation import parts as evaluate_parts
from harmonygen.evaluation.cases import load_case, read_cases
from harmonygen.evaluation.evaluate import evaluate
from harmonygen.evaluation.predictors import Models
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import COMPOSITE
from harmonygen.evaluation.settings import EvaluateSettings, MethodSpec
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.models.draw import to_pm1
from harmonygen.pictures.images import resize
from harmonygen.pictures.photo import shrink_mask

SOURCES = ("astronaut", "coffee", "chelsea", "rocket")
COUNT = 6


@pytest.fixture
def tree(tmp_path):
    """Six composites of four photos in two subsets, in iHarmony4 layout, PNG bytes so that nothing is lost."""
    root, lines = tmp_path / "tree", []
    for index in range(COUNT):
        subset, name, size = ("HCOCO", "HFlickr")[index % 2], f"p{index % 4}", (300 + index % 4, 200)
        real = Image.fromarray(getattr(data, SOURCES[index % 4])()).resize(size)
        mask = Image.new("L", size)
        mask.paste(255, (20, 20, 60 + 40 * (index % 4), 120))
        darker = real.point(lambda value, by=index: int(value * (0.9 - 0.08 * by)))
        composite = real.copy()
        composite.paste(darker, mask=mask)
        variant = 1 + index // 4
        for folder, file, picture in (
            ("composite_images", f"{name}_1_{variant}.jpg", composite),
            ("masks", f"{name}_1.png", mask),
            ("real_images", f"{name}.jpg", real),
        ):
            (root / subset / folder).mkdir(parents=True, exist_ok=True)
            picture.save(root / subset / folder / file, "PNG")
        lines.append(f"{subset}/composite_images/{name}_1_{variant}.jpg")
    (root / "IHD_test.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def predict(tree: Path, folder: Path, share: float, name: str = "{stem}.png") -> Path:
    """Predictions that are the composite with a share of the photo."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(tree.glob("*/composite_images/*")):
        real = Image.open(path.parents[1] / "real_images" / f"{path.stem.partition('_')[0]}.jpg")
        made = Image.blend(Image.open(path), real, share)
        made.save(folder / name.format(stem=path.stem))
    return folder


@pytest.fixture
def settings_of(tree, tmp_path):
    def make(**changes):
        values = {
            "data": str(tree),
            "out": tmp_path / "out",
            "workers": 1,
            "resamples": 200,
            "cases": 1,
            "shard_size": 2,
        }
        return EvaluateSettings(**{**values, **changes})

    return make


@pytest.fixture
def two(tree, tmp_path):
    """Two methods' predictions, the second nearer to the photo."""
    return (
        MethodSpec(name="half", predictions=predict(tree, tmp_path / "half", 0.5)),
        MethodSpec(name="most", predictions=predict(tree, tmp_path / "most", 0.9, "{stem}_harmonized.png")),
    )


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "per_image.parquet").to_pylist()


def contents(out: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))


def test_each_row_is_what_the_public_functions_say(settings_of, two, tree):
    result = evaluate(settings_of(methods=two))
    rows = rows_of(result.out)
    assert len(rows) == COUNT * 3
    assert [row["method"] for row in rows[:3]] == [COMPOSITE, "half", "most"]
    for row in rows:
        stem, subset = row["name"].rpartition("/")[2], tree / row["subset"]
        photo, pair = stem.partition("_")[0], stem.rpartition("_")[0]
        path = {
            COMPOSITE: subset / "composite_images" / f"{stem}.jpg",
            "half": two[0].predictions / f"{stem}.png",
            "most": two[1].predictions / f"{stem}_harmonized.png",
        }[row["method"]]
        image, real = small(Image.open(path)), small(Image.open(subset / "real_images" / f"{photo}.jpg"))
        mask = (
            np.asarray(Image.open(subset / "masks" / f"{pair}.png").resize((256, 256), Image.Resampling.NEAREST)) > 127
        )
        for name in ("mse", "psnr", "ssim"):
            assert row[name] == pytest.approx(getattr(metrics, name)(image, real), rel=1e-12)
        for name in ("fmse", "fpsnr", "fssim"):
            assert row[name] == pytest.approx(getattr(metrics, name)(image, real, mask), rel=1e-12)
        assert (row["bias_l"], row["bias_a"], row["bias_b"]) == pytest.approx(metrics.lab_bias(image, real, mask))
        assert (row["fg_ratio"], row["bin"], row["flag"]) == (mask.mean(), bin_of(mask.mean()), "")
        assert (row["width"], row["height"]) == Image.open(path).size
    with open(result.out / "per_image.csv", newline="") as file:
        assert [float(row["fmse"]) for row in csv.DictReader(file)] == [row["fmse"] for row in rows]


def test_the_summary_is_the_mean_over_images_of_all_subsets_and_bins(settings_of, two):
    result = evaluate(settings_of(methods=two, background="real"))
    rows, groups = rows_of(result.out), result.summary["groups"]
    assert set(groups) == {"all", "subset HCOCO", "subset HFlickr", *(f"bin {row['bin']}" for row in rows)}
    for group, found in groups.items():
        kind, _, name = group.partition(" ")
        inside = [row for row in rows if group == "all" or row["bin" if kind == "bin" else "subset"] == name]
        for method in (COMPOSITE, "half", "most"):
            mean = np.mean([row["fmse"] for row in inside if row["method"] == method])
            assert found["methods"][method]["fmse"]["mean"] == pytest.approx(mean)
    compared = {(row["a"], row["b"], row["figure"]): row for row in result.summary["paired"]}
    gain = compared["most", COMPOSITE, "psnr"]
    assert (gain["wins"], gain["n"]) == (1.0, COUNT)
    assert 0 < gain["low"] <= gain["mean"] <= gain["high"]
    assert len(compared) == 3 * 4
    assert (result.summary["images"], result.summary["photos"]) == (6, 4)


def test_tables_name_protocol_background_n_and_interval(settings_of, two):
    published = [
        {"name": "theirs", "psnr": 40.97},
        {"name": "theirs", "group": "HCOCO", "fmse": 12.5, "n": 4283},
        {"name": "theirs", "group": "[0, .05)", "n": 3835},
    ]
    result = evaluate(settings_of(methods=two, background="real", published=published))
    text = (result.out / "table.md").read_text()
    for told in (
        "256 x 256",
        "the real photo's",
        "6 images of 4 photos",
        "95 %",
        "200 resamples",
        "rounded",
        "IHD_test.txt",
    ):
        assert told in text
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    header = next(line for line in lines if "theirs (published) |" in " | ".join(line))
    assert header[3:6] == ["composite", "half", "most"]
    fmse = next(line for line in lines if line[0] == "| HCOCO" and "fMSE" in line[2])
    assert fmse[1].startswith("3 (4283 published)")
    assert fmse[-1] == "12.50 |"
    assert "0 (3835 published)" in text
    latex = (result.out / "table.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(result.tables)
    assert "40.97" in latex
    page = (result.out / "report.html").read_text()
    assert page.count("data:image/webp") == 2 * 2 * 4  # two methods, one worst and one best, four pictures each
    assert "://" not in page


def test_several_processes_give_the_same_bytes(settings_of, two, tmp_path):
    evaluate(settings_of(methods=two, ssim=False))
    evaluate(settings_of(methods=two, ssim=False, workers=2, out=tmp_path / "two"))
    for name in ("per_image.csv", "table.md", "table.tex", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_stopped_run_goes_on_and_a_finished_one_writes_nothing(settings_of, two, tmp_path, monkeypatch):
    settings = settings_of(methods=two, ssim=False)
    true, parts = evaluate_parts.score_part, []

    def stop_at_the_second(*arguments):
        if parts:
            raise KeyboardInterrupt
        parts.append(true(*arguments))
        return parts[-1]

    monkeypatch.setattr(evaluate_parts, "score_part", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings)
    monkeypatch.setattr(evaluate_parts, "score_part", true)
    assert not (settings.out / "summary.json").exists()
    result = evaluate(settings)
    assert (result.scored, result.kept) == (4, 2)
    before = contents(settings.out)
    again = evaluate(settings)
    assert (again.scored, again.kept, again.summary) == (0, 6, result.summary)
    assert contents(settings.out) == before
    evaluate(settings_of(methods=two, ssim=False, out=tmp_path / "at-once"))
    assert (tmp_path / "at-once" / "per_image.csv").read_bytes() == (settings.out / "per_image.csv").read_bytes()


def test_a_replaced_prediction_is_scored_again_with_its_part_alone(settings_of, two):
    settings = settings_of(methods=two, ssim=False)
    first = rows_of(evaluate(settings).out)
    path = next(two[0].predictions.glob("p0_1_1.png"))
    Image.new("RGB", Image.open(path).size).save(path)
    os.utime(path, ns=(1, 1))
    assert evaluate(settings).scored == 2
    changed = [a["name"] for a, b in zip(first, rows_of(settings.out), strict=True) if a != b]
    assert changed == ["HCOCO/p0_1_1"]


def test_tables_alone_are_written_anew_when_only_they_change(settings_of, two):
    settings = settings_of(methods=two, ssim=False)
    evaluate(settings)
    result = evaluate(settings_of(methods=two, ssim=False, table="methods", title="Mine"))
    assert result.scored == 0
    assert "Mine" in (settings.out / "table.md").read_text()
    with pytest.raises(UsageError, match="background"):
        evaluate(settings_of(methods=two, ssim=False, background="real"))


def test_missing_and_wrong_sized_predictions_are_errors_that_list_them(settings_of, two):
    folder = two[0].predictions
    for stem, size in (("p1_1_1", (31, 20)), ("p2_1_1", (256, 256))):
        Image.new("RGB", size).save(folder / f"{stem}.png")
    with pytest.raises(
        InputError, match=r"1 predictions .*'HFlickr/p1_1_1' of half is 31x20 but .* 301x200 \(or 256x256"
    ):
        evaluate(settings_of(methods=two))
    with pytest.raises(InputError, match=r"2 predictions .*p2_1_1.*p1_1_1"):
        evaluate(settings_of(methods=two, protocol="fullres-fg"))
    assert evaluate(settings_of(methods=two, ssim=False, resize_predictions=True)).scored == 6
    (folder / "p3_1_1.png").unlink()
    with pytest.raises(InputError, match="HFlickr/p3_1_1"):
        evaluate(settings_of(methods=two))


def test_damaged_pictures_are_listed_and_what_is_whole_is_kept(settings_of, two):
    path = two[1].predictions / "p0_1_1_harmonized.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    settings = settings_of(methods=two, ssim=False)
    with pytest.raises(InputError, match=r"1 images cannot be scored: 'HCOCO/p0_1_1': .*damaged"):
        evaluate(settings)
    path.write_bytes(whole)
    result = evaluate(settings)
    assert (result.scored, result.kept) == (2, 4)


def test_an_empty_foreground_at_256_is_flagged_counted_and_told(settings_of, tree, two):
    for path in (tree / "HCOCO" / "masks").glob("p0_1.png"):
        Image.new("L", Image.open(path).size).save(path)
    result = evaluate(settings_of(methods=two, ssim=False))
    flagged = [row for row in rows_of(result.out) if row["flag"]]
    assert {(row["flag"], row["fmse"], row["fpsnr"]) for row in flagged} == {("empty foreground", None, None)}
    figures = result.summary["groups"]["all"]["methods"]["half"]
    assert (figures["fmse"]["n"], figures["fmse"]["left_out"], figures["mse"]["n"]) == (4, 2, 6)
    assert "half: 2 empty foreground, left out of the foreground means." in (result.out / "table.md").read_text()
    assert "NaN" not in (result.out / "summary.json").read_text()


def test_a_model_on_the_fly_scores_as_harmonize_and_its_folder(settings_of, tree, tiny_direct, tiny_forward, tmp_path):
    harmonize(
        HarmonizeSettings(data=str(tree), out=tmp_path / "made", method="direct", model=str(tiny_direct), device="cpu")
    )
    specs = (
        MethodSpec(name="direct", method="direct", model=str(tiny_direct)),
        MethodSpec(name="made", predictions=tmp_path / "made"),
        MethodSpec(name="forward", model=str(tiny_forward), steps=1, resolution=32, seeds=2),
    )
    settings = settings_of(methods=specs, ssim=False, device="cpu", table="seeds", limit=3)
    result = evaluate(settings)
    rows = {(row["name"], row["method"]): row["fmse"] for row in rows_of(result.out)}
    names = {name for name, _ in rows}
    assert all(rows[name, "direct"] == rows[name, "made"] for name in names)
    assert any(rows[name, "forward, seed 0"] != rows[name, "forward, seed 1"] for name in names)
    spread = result.summary["seeds"]["forward"]["fmse"]
    means = [np.mean([rows[name, f"forward, seed {seed}"] for name in names]) for seed in (0, 1)]
    assert spread["std"] == pytest.approx(np.std(means, ddof=1))
    assert result.tables[0].title.startswith("Mean ± standard deviation over seeds")


def test_a_decoding_model_is_scored_as_decoded_and_brought_to_256_in_one_step(settings_of, tiny_direct):
    spec = MethodSpec(name="m", model=str(tiny_direct), detail="decode", fit="square", enlarge="bilinear")
    settings = settings_of(methods=(spec,), device="cpu", limit=1)
    loaded = load_case(read_cases(settings.data, limit=1).composites[0])
    models = Models("cpu", "float32")
    composite_u8 = resize(loaded.composite.image_u8, 32, 32, "bilinear")
    network = models.harmonizer(spec).model
    mask = torch.from_numpy(shrink_mask(loaded.mask, 32, 32)[None, None].astype(np.float32))
    made = network(to_pm1(composite_u8), mask)[0].permute(1, 2, 0).numpy() / 2 + 0.5
    expected = Image.fromarray(np.rint(made * 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BILINEAR)
    assert np.abs(models.predictor(spec)(loaded).astype(int) - np.asarray(expected)).max() <= 1
    assert models.predictor(spec)(loaded).shape == (256, 256, 3)
    full = Models("cpu", "float32", rules=ProtocolRules("fullres-fg")).predictor(spec)(loaded)
    assert full.shape == loaded.composite.image_u8.shape


def test_flooring_without_a_decoding_model_is_refused(settings_of, two):
    with pytest.raises(UsageError, match="--compat-floor floors what a model decodes"):
        evaluate(settings_of(methods=two, compat_floor=True))


def test_flooring_is_asked_for_and_told(settings_of, tiny_forward):
    spec = MethodSpec(name="m", model=str(tiny_forward), steps=1, detail="decode")
    common = {"methods": (spec,), "ssim": False, "device": "cpu", "limit": 2, "cases": 0}
    rounded = evaluate(settings_of(**common))
    floored = evaluate(settings_of(**common, compat_floor=True, out=rounded.out.parent / "floor"))
    assert rounded.summary["rounding"] == "round"
    assert "floored" in floored.notes[0]
    biases = [np.mean([r["bias_l"] for r in rows_of(e.out) if r["method"] == "m"]) for e in (floored, rounded)]
    assert biases[0] < biases[1]  # darker by a part of a level


def test_sheet_and_curve(settings_of, two, tree):
    result = evaluate(settings_of(methods=two, ssim=False, sheet=3, curve=True, beside=str(tree)))
    with Image.open(result.out / "sheet.png") as sheet:
        assert sheet.size == (8 + 4 * 152, 8 + 3 * 170)
    assert Image.open(result.out / "fg_ratio.png").size[0] > 500
    beside = result.summary["foreground"]["beside"]
    assert beside["pairs"] == 4
    assert json.loads((result.out / "summary.json").read_text())["foreground"]["beside"] == beside


def test_what_does_not_go_together_is_refused(settings_of, two):
    with pytest.raises(ValueError, match="give one of them"):
        MethodSpec(name="both", predictions=Path("a"), model="starter")
    with pytest.raises(UsageError, match="two methods are called 'half'"):
        evaluate(settings_of(methods=(two[0], two[0])))
    with pytest.raises(UsageError, match="--background composite"):
        evaluate(settings_of(protocol="fullres-fg", background="composite"))
    (Path(settings_of().data) / "IHD_test.txt").rename(Path(settings_of().data) / "IHD_train.txt")
    with pytest.raises(HarmonygenError, match=r"no IHD_test\.txt"):
        evaluate(settings_of())
    assert evaluate(settings_of(list_file="IHD_train.txt", ssim=False)).scored == 6


def test_scoring_a_folder_needs_no_torch():
    """Ten seconds of import, and memory, in each process."""
    modules = "harmonygen.evaluation.evaluate, harmonygen.evaluation.pictures, harmonygen.evaluation.parts"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)"], check=False
    )
    assert found.returncode == 0
