import pickle

import numpy as np
import pytest
import torch

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.human_harmony import person_detector
from harmonygen.human_harmony.person_detector import PersonDetector, covered, load_person_detector
from harmonygen.human_harmony.products import ListFilter, load_product_filter
from harmonygen.human_harmony.verdict import Verdict
from harmonygen.models.torchvision_weights import DETECTORS, give_weights

PHOTO = np.zeros((100, 80, 3), np.uint8)


@pytest.fixture
def clothing():
    mask = np.zeros((100, 80), bool)
    mask[30:70, 20:40] = True
    return mask


def detector(boxes, scores, **limits):
    found = np.array(boxes, float).reshape(-1, 4), np.array(scores, float)
    return PersonDetector(lambda image_u8: found, **limits)


def test_a_person_in_the_clothing_keeps_the_photo(clothing):
    verdict = detector([[15, 10, 45, 95]], [0.9])(PHOTO, clothing, "a")
    assert verdict.keep
    assert verdict.detail == "1 person(s) found (best score 0.90), they hold 100% of the clothing"
    assert verdict.measures == {"persons": 1.0, "best_score": 0.9, "overlap": 1.0}


def test_a_photo_without_a_person_is_dropped(clothing):
    verdict = detector([], [])(PHOTO, clothing, "a")
    assert (verdict.keep, verdict.reason) == (False, "product:person-detector")
    assert "no person found (the best score is 0.00" in verdict.detail


def test_an_unsure_person_does_not_count(clothing):
    assert not detector([[15, 10, 45, 95]], [0.49])(PHOTO, clothing, "a").keep
    assert detector([[15, 10, 45, 95]], [0.49], min_score=0.4)(PHOTO, clothing, "a").keep


def test_a_passer_by_does_not_keep_a_product(clothing):
    verdict = detector([[60, 10, 80, 95], [38, 0, 80, 100]], [0.99, 0.8])(PHOTO, clothing, "a")
    assert (verdict.keep, verdict.reason) == (False, "product:person-detector")
    assert "they hold 10% of the clothing, 25% is needed: nobody wears it" in verdict.detail


def test_two_wearers_hold_the_clothing_together():
    mask = np.zeros((100, 80), bool)
    mask[30:70, 5:75] = True
    assert covered(mask, np.array([[0, 0, 40, 100], [30, 0, 90, 100]], float)) == 1.0


def test_boxes_reach_every_pixel_they_touch():
    mask = np.ones((10, 10), bool)
    assert covered(mask, np.array([[-5, -5, 4.2, 20]], float)) == 0.5
    assert covered(mask, np.zeros((0, 4))) == 0.0


@pytest.fixture(scope="module")
def ssdlite():
    from torchvision.models import get_model

    torch.manual_seed(0)
    return get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None).eval()


def test_a_real_model_runs_from_a_pth_file(ssdlite, tmp_path, clothing, small_photos):
    torch.save({f"module.{name}": value for name, value in ssdlite.state_dict().items()}, tmp_path / "mine.pth")
    (photo,) = small_photos(1, height=100, width=80)
    verdict = load_product_filter("person-detector", weights=tmp_path / "mine.pth")(photo, clothing, "a")
    image01 = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        found = ssdlite([image01])[0]
    scores = found["scores"][found["labels"] == 1]
    assert verdict.measures["best_score"] == pytest.approx(float(scores.max()) if len(scores) else 0.0)


def test_only_the_class_of_persons_counts(tmp_path, clothing, monkeypatch):
    found = {
        "boxes": torch.tensor([[15.0, 10, 45, 95], [0, 0, 80, 100]]),
        "labels": torch.tensor([1, 27]),
        "scores": torch.tensor([0.3, 0.9]),
    }
    monkeypatch.setattr(person_detector, "load_torchvision", lambda *_: (lambda images: [found], "fake"))
    verdict = load_person_detector(tmp_path / "x.pth")(PHOTO, clothing, "a")
    assert verdict.measures["best_score"] == pytest.approx(0.3)
    assert not verdict.keep


def test_every_detector_can_be_built_and_told_by_its_weights_without_memory():
    from torchvision.models import get_model

    told = {}
    for name in DETECTORS:
        with torch.device("meta"):
            state = get_model(name, weights=None, weights_backbone=None).state_dict()
            shapes = tuple((key, tuple(value.shape)) for key, value in sorted(state.items()))
        told.setdefault(shapes, []).append(name)
    same = [names for names in told.values() if len(names) > 1]
    assert same == [["fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"]]


def test_a_named_model_refuses_weights_of_another(ssdlite):
    with pytest.raises(CheckpointError, match=r"holds an SSD or SSDlite's weights \(\d+ tensors\), which fits none of"):
        give_weights(ssdlite.state_dict(), ("fasterrcnn_resnet50_fpn",), "cpu", "x.pth")


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"a": Trap()}))
    with pytest.raises(CheckpointError):
        load_person_detector(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


def test_missing_files_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"the person detector needs the weights .* nothing is downloaded"):
        load_product_filter("person-detector")
    with pytest.raises(UsageError, match="'yolo' is not a known detection model"):
        load_product_filter("person-detector", weights=tmp_path / "x.pth", model="yolo")
    with pytest.raises(UsageError, match="needs a file of photo ids"):
        load_product_filter("list")
    with pytest.raises(UsageError, match="product filter 'magic' is unknown: choose one of heuristic"):
        load_product_filter("magic")


def test_listed_photos_are_dropped(tmp_path, clothing):
    (tmp_path / "products.txt").write_text("shoe\nbag.jpg\n")
    judge = load_product_filter("list", ids=tmp_path / "products.txt")
    assert isinstance(judge, ListFilter)
    verdict = judge(PHOTO, clothing, "train/bag")
    assert (verdict.keep, verdict.reason) == (False, "product:list")
    assert judge(PHOTO, clothing, "coat").keep
    judge.refuse_unknown(["Sample/shoe", "bag", "coat"])
    with pytest.raises(UsageError, match=r"1 of 2 ids of the product list .* are not in the data: bag"):
        judge.refuse_unknown(["shoe", "coat"])


def test_none_keeps_everything(clothing):
    assert load_product_filter("none")(PHOTO, clothing, "a") == Verdict(True, detail="no product filter")
