from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.human_harmony.person import widen
from harmonygen.models.torchvision_weights import VOC_PERSON, give_weights
from harmonygen.segmentation.torchvision_people import instances, load_person_segmenter, people


def boxed(*boxes, height=60, width=60):
    mask = np.zeros((height, width), bool)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


WEARER, PASSER_BY = (5, 50, 10, 25), (5, 50, 40, 55)
SHIRT = (20, 35, 10, 25)


def test_clothing_is_widened_to_its_wearer_and_not_to_a_passer_by():
    assert np.array_equal(widen(boxed(SHIRT), boxed(WEARER, PASSER_BY)), boxed(WEARER))


def test_clothing_outside_the_person_stays():
    bag = (45, 58, 26, 36)
    assert np.array_equal(widen(boxed(SHIRT, bag), boxed(WEARER)), boxed(WEARER, bag))


def test_without_a_person_the_mask_stays_as_it_is():
    for nobody in (boxed(), boxed(PASSER_BY), np.zeros((0, 60, 60), bool)):
        assert np.array_equal(widen(boxed(SHIRT), nobody), boxed(SHIRT))


def test_a_person_of_whom_only_glasses_are_labelled_wears_them():
    glasses = (8, 10, 14, 20)
    assert np.array_equal(widen(boxed(glasses), boxed(WEARER)), boxed(WEARER))


def test_a_child_whose_clothing_is_little_of_the_whole_is_kept():
    parent, child, dress = (0, 60, 0, 30), (40, 60, 40, 50), (45, 55, 40, 50)
    coat = (0, 58, 0, 30)
    assert np.array_equal(widen(boxed(coat, dress), boxed(parent, child)), boxed(parent, child))


def test_someone_whom_a_mask_brushes_is_no_wearer():
    mask = boxed(SHIRT, (30, 31, 40, 42))
    assert np.array_equal(widen(mask, boxed(WEARER, PASSER_BY)), boxed(WEARER) | mask)


def test_people_who_touch_are_told_apart_by_layers():
    neighbour = (5, 50, 25, 40)
    together = boxed(WEARER, neighbour)
    layers = np.stack([boxed(WEARER), boxed(neighbour)])
    assert np.array_equal(widen(boxed(SHIRT), together), together)
    assert np.array_equal(widen(boxed(SHIRT), layers), boxed(WEARER))


def test_people_of_photos_are_found_with_clothes_skin_and_hair(shared, tmp_path):
    import tarfile

    with tarfile.open(shared / "fashion_imaterialist.tar") as archive:
        wanted = ("0001.png", "0100.png", "0204.png", "0333.png", "0501.png", "0702.png")
        members = [
            member for member in archive if member.name.endswith(wanted) and "masks/" in member.name and member.isfile()
        ]
        archive.extractall(tmp_path, members, filter="data")
    clothes = {path.name: path for path in tmp_path.rglob("expected_union_masks/*.png")}
    persons = {path.name: path for path in tmp_path.rglob("person_masks/*.png")}
    assert len(clothes) == len(persons) >= 4
    for name, path in clothes.items():
        clothing, person = (np.asarray(Image.open(one).convert("L")) > 0 for one in (path, persons[name]))
        bystander = np.zeros_like(person)
        bystander[:20, :10] = not person[:30, :20].any()
        widened = widen(clothing, person | bystander)
        assert (widened & clothing).sum() == clothing.sum()
        assert widened.sum() > 1.02 * clothing.sum()  # skin and hair came in
        assert (widened & person).sum() >= 0.98 * person.sum()
        assert not (widened & bystander & ~clothing).any()


def fake_semantic(size):
    """Person in the left half, told over 21 classes, at the size that is asked for."""

    def network(image):
        network.sizes.append(tuple(image.shape[-2:]))
        logits = torch.zeros(1, 21, *image.shape[-2:])
        logits[:, VOC_PERSON, :, : image.shape[-1] // 2] = 3.0
        logits[:, 7] = 1.0
        return {"out": logits}

    network.sizes = []
    return network


def test_a_semantic_model_sees_520_pixels_and_gives_a_mask_of_the_photos_size():
    network = fake_semantic(21)
    found = people(network, np.zeros((300, 200, 3), np.uint8), "cpu")
    assert network.sizes == [(780, 520)]
    assert found.shape == (300, 200)
    assert found.dtype == np.bool_
    assert found[:, :99].all()
    assert not found[:, 101:].any()


def test_instances_are_persons_of_score_one_half_or_more():
    masks = torch.zeros(4, 1, 20, 10)
    for index in range(4):
        masks[index, 0, index * 5 : index * 5 + 5] = 0.9
    found = {"labels": torch.tensor([1, 1, 3, 1]), "scores": torch.tensor([0.9, 0.4, 0.9, 0.5]), "masks": masks}
    layers = instances(lambda images: [found], np.zeros((20, 10, 3), np.uint8), "cpu")
    assert layers.shape == (2, 20, 10)
    assert layers[0, :5].all()
    assert layers[1, 15:].all()
    assert layers.sum() == 100


def test_no_person_found_gives_no_layers():
    empty = {"labels": torch.zeros(0), "scores": torch.zeros(0), "masks": torch.zeros(0, 1, 20, 10)}
    assert instances(lambda images: [empty], np.zeros((20, 10, 3), np.uint8), "cpu").shape == (0, 20, 10)


@pytest.fixture(scope="module")
def lraspp(tmp_path_factory):
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("lraspp") / "lraspp.safetensors"
    save_file(model.state_dict(), path)
    return SimpleNamespace(path=path, model=model.eval())


def test_weights_on_disk_give_the_same_people_as_the_model_in_memory(lraspp, small_photos):
    (photo,) = small_photos(1)
    segment = load_person_segmenter("lraspp", lraspp.path)
    assert np.array_equal(segment(photo), people(lraspp.model, photo, "cpu"))
    assert segment(photo).shape == photo.shape[:2]


def test_deeplab_is_told_by_its_weights_with_and_without_its_second_head():
    from torchvision.models import get_model

    for aux in (True, False):
        name = "deeplabv3_mobilenet_v3_large"
        state = get_model(name, weights=None, weights_backbone=None, aux_loss=aux).state_dict()
        names = ("deeplabv3_resnet50", name)
        assert give_weights(state, names, "cpu", "x.pth")[1] == name


def test_wrong_weights_say_what_was_found(lraspp, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds an LR-ASPP's weights .* fits none of deeplabv3_resnet50"):
        load_person_segmenter("deeplabv3", lraspp.path)
    other = tmp_path / "other.safetensors"
    save_file({"x.weight": torch.zeros(1), "y.weight": torch.zeros(1)}, other)
    with pytest.raises(CheckpointError, match=r"holds weights of an unknown network \(x.weight, y.weight\)"):
        load_person_segmenter("lraspp", other)


def test_other_classes_are_refused_by_name(tmp_path):
    from torchvision.models import get_model

    state = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3).state_dict()
    with pytest.raises(CheckpointError, match=r"size mismatch for classifier.low_classifier"):
        give_weights(state, ("lraspp_mobilenet_v3_large",), "cpu", "x.pth")


def test_no_file_a_missing_file_and_an_unknown_kind_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"segmenter maskrcnn needs the weights .* nothing is downloaded"):
        load_person_segmenter("maskrcnn", None)
    with pytest.raises(CheckpointError, match="are not a file"):
        load_person_segmenter("lraspp", tmp_path / "none.pth")
    with pytest.raises(UsageError, match="person model 'unet' is unknown: choose one of deeplabv3"):
        load_person_segmenter("unet", None)
