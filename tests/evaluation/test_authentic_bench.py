"""The authentic bench on the ten triplets of the local data, and its controls on what is known."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from harmonygen.evaluation.changes import summarise_changes
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.synthesize import synthesize


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        yield importlib.import_module("authentic")


@pytest.fixture(scope="module")
def triplets(bench, shared):
    with bench.dataset(shared / "iharmony4_triplets.tar") as folder:
        return list(bench.cases(folder))


@pytest.fixture(scope="module")
def made(bench, small_photos, ellipse):
    """Composites of small photos: foregrounds at 60 %."""
    mask = ellipse(96, 128)
    photos = small_photos(4)
    dark = [np.where(mask[..., None], (photo * 0.6).astype(np.uint8), photo) for photo in photos]
    return [bench.Case(str(i), str(i), dark[i], photo, mask) for i, photo in enumerate(photos)]


def test_ten_cases_of_the_stated_size_whose_backgrounds_agree(triplets):
    assert len(triplets) == len({case.photo for case in triplets}) == 10
    for case in triplets:
        assert max(case.mask.shape) <= 512
        assert case.composite.shape == case.real.shape == (*case.mask.shape, 3)
        assert case.mask.any()


def test_authentic_medians_are_of_the_size_measured_on_forty_four(bench, triplets):
    """REFERENCE section 13: fMSE 1410, contrast .354, left by an offset .477, dL 12.4, dab 9.8; a factor of two."""
    found = summarise_changes([bench.measure_change(case.composite, case.real, case.mask) for case in triplets]).medians
    known = {
        "fmse": 1410,
        "contrast": 0.354,
        "left_offset": 0.477,
        "lightness": 12.4,
        "chroma": 9.8,
        "left_affine": 0.177,
    }
    for name, value in known.items():
        assert value / 2 <= found[name].mean <= 2 * value
    assert found["structure"].mean > 0.9


def test_the_lab_transfer_takes_half_of_the_error_and_nothing_takes_none(bench, triplets):
    rows, photos = bench.compare_harmonizers({name: bench.harmonizer(name) for name in bench.CONTROLS}, triplets)
    by_name = {row[0]: row for row in rows}
    assert photos == len({case.photo for case in triplets})
    assert by_name["identity"][3] == by_name["identity"][4]
    assert by_name["identity"][5].startswith("0 %")
    assert float(by_name["lab-transfer"][4]) < 0.5 * float(by_name["lab-transfer"][3])


def test_a_perfect_and_a_harmful_harmonizer_are_told_apart(bench, made):
    real_of = {case.composite.tobytes(): case.real for case in made}
    harmonizers = {
        "perfect": lambda composite, mask: real_of[composite.tobytes()],
        "harmful": lambda composite, mask: np.where(mask[..., None], composite // 2, composite),
    }
    (perfect, harmful), _ = bench.compare_harmonizers(harmonizers, made)
    assert (perfect[4], perfect[5][:6], perfect[7][:4], perfect[8][:4]) == ("0", "-100 %", "1.00", "0.00")
    assert (harmful[7][:4], harmful[8][:4]) == ("0.00", "1.00")


def test_a_judge_that_knows_and_one_that_guesses(bench, made):
    def knows(images, mask):
        return [float(image[~mask].mean() - image[mask].mean()) for image in images]

    row = next(bench.compare_judges({"knows": knows}, made, made))
    assert row[3].startswith("1.00")  # every pair
    assert row[4].startswith("0.50")  # the control
    assert len(row) == 5 + len(bench.FORMATS)


def test_a_judge_of_chroma_alone_is_found_out_by_the_formats(bench, small_photos, ellipse):
    """One that reads how sharp chroma is calls every photo of halved chroma a composite, whatever it shows."""

    def sharpness(image):
        return float(np.abs(np.diff(image[..., 0] - image[..., 1].astype(float), axis=1)).mean())

    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    photo = (small_photos(1)[0] * 0.9 + noise * 0.1).astype(np.uint8)
    case = bench.Case("0", "0", photo, photo, ellipse(96, 128))
    least = 0.75 * sharpness(photo)
    found = bench.untouched(lambda images, mask: [float(sharpness(image) < least) for image in images], [case])
    by_format = dict(zip(bench.FORMATS, found, strict=True))
    assert by_format["as stored"] == by_format["JPEG 4:4:4"] == "0.00, 0%"
    assert by_format["JPEG 4:2:0"] == by_format["WebP"] == "1.00, 100%"


def test_the_mean_shift_is_the_mean_change(bench, made, monkeypatch):
    monkeypatch.setattr(bench, "cases", lambda *_: made)
    harmonize = bench.mean_shift(Path())
    shift = np.mean(
        [(case.real[case.mask].astype(float) - case.composite[case.mask]).mean(axis=0) for case in made], axis=0
    )
    case = made[0]
    expected = np.clip(case.composite[case.mask] + shift, 0, 255)
    assert np.abs(harmonize(case.composite, case.mask)[case.mask] - expected).max() <= 0.51


def test_the_changes_of_a_run_are_those_of_its_usable_candidates(bench, finished_run, rows_of):
    usable = [row for row in rows_of(finished_run) if not row["gate"]]
    found, photos = bench.run_changes(finished_run)
    assert len(found) == len(usable) == len(photos)
    assert sorted(change.fmse for change in found) == pytest.approx(sorted(row["fmse"] for row in usable), rel=1e-5)
    assert len(bench.run_changes(finished_run, 1)[0]) < len(found)


def test_candidates_of_the_parametric_inverse_are_measured_and_are_cubic_maps(
    bench, settings_of, tiny_parametric_inverse
):
    open_gates = GateSettings(max_clipped=1, min_fmse=0, max_fmse=65025, min_structure=-1)
    settings = settings_of(generator="parametric", model=str(tiny_parametric_inverse), k=2, limit=3, gates=open_gates)
    synthesize(settings)
    found, photos = bench.run_changes(settings.out)
    assert len(set(photos)) == 3
    left = summarise_changes(found, photos).medians
    assert left["left_cubic"].mean < min(0.2, 0.5 * left["left_affine"].mean)  # clipping and rounding are left
