"""`harmonygen masks`: photos without masks become a folder of photos and masks."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from harmonygen.data import read_pairs
from harmonygen.data.photos import has_photos_alone, read_photos
from harmonygen.errors import CheckpointError, PluginError, StorageError, TooManyBadInputsError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.segmentation import masks as module
from harmonygen.segmentation.foreground import NoForeground, choose_foreground
from harmonygen.segmentation.masks import make_masks, read_rows
from harmonygen.segmentation.segmented import read_layers
from harmonygen.segmentation.settings import ForegroundRules, MaskSettings
from harmonygen_cli.main import run

PLUG_IN = """
import numpy as np

def bright(image):
    return image[..., 0] > 127

def squares(image):
    return image.astype(float)

def broken(image):
    raise RuntimeError("out of tune")
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module of segmenters beside the user's data."""
    (tmp_path / "my_segmenters.py").write_text(PLUG_IN)
    monkeypatch.chdir(tmp_path)
    yield "my_segmenters"
    sys.modules.pop("my_segmenters", None)
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def photo(height=60, width=90, box=(10, 50, 20, 40)):
    made = np.full((height, width, 3), 40, np.uint8)
    made[box[0] : box[1], box[2] : box[3]] = (200, 90, 60)
    return Image.fromarray(made)


@pytest.fixture
def photos(tmp_path):
    """Photos with a bright box, in several kinds of file; one has nothing bright, one is damaged."""
    root = tmp_path / "photos"
    (root / "trip").mkdir(parents=True)
    photo().save(root / "plain.jpg", quality=95)
    photo().save(root / "trip" / "web.webp", lossless=True)
    photo().convert("RGBA").save(root / "alpha.png")
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo().save(root / f"turned{orientation}.jpg", exif=exif, quality=95)
    photo(box=(0, 0, 0, 0)).save(root / "dark.png")
    (root / "notes.txt").write_text("not a photo")
    return root


def settings_for(photos, out, plugin="my_segmenters", **changes):
    values = {"photos": photos, "out": out, "segmenter": f"{plugin}:bright", "device": "cpu"}
    return MaskSettings(**{**values, **changes})


def test_the_result_is_read_as_photos_with_masks_that_lie_on_the_upright_photo(photos, plugin, tmp_path):
    result = make_masks(settings_for(photos, tmp_path / "out"))
    assert (result.photos, result.masks, result.left_out) == (6, 5, {"no foreground": 1})
    assert result.passed_over == {"not a picture": 1}
    pairs = read_pairs(tmp_path / "out")
    assert (pairs.layout, len(pairs), pairs.bad) == ("folders", 5, ())
    for pair in pairs:
        decoded = read_image(pair.real)
        mask = read_mask(pair.mask, decoded)
        inside = decoded.image_u8[..., 0] > 127
        assert (mask == inside).mean() > 0.99
        assert mask.sum() > 700
    assert (tmp_path / "out" / "images" / "trip" / "web.webp").samefile(photos / "trip" / "web.webp")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("images", "masks", "parts", "plan.json", "summary.json", "quarantine.parquet", "overlay.png", "report.html"),
    }
    assert Image.open(tmp_path / "out" / "overlay.png").width > 144
    assert "turned6" in (tmp_path / "out" / "report.html").read_text()
    (row,) = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert (row["id"], row["stage"], row["error"]) == ("dark", "masks", "no foreground")


def test_a_finished_job_writes_nothing_and_another_one_is_refused(photos, plugin, tmp_path, tree):
    settings = settings_for(photos, tmp_path / "out", link="copy")
    first = make_masks(settings)
    before = tree(tmp_path / "out")
    again = make_masks(settings)
    assert again.finished_before
    assert (again.masks, again.left_out) == (first.masks, first.left_out)
    assert tree(tmp_path / "out") == before
    with pytest.raises(UsageError, match=r"threshold: 0\.5 then, 0\.7 now"):
        make_masks(settings.model_copy(update={"threshold": 0.7}))
    photo(box=(20, 40, 30, 60)).save(photos / "plain.jpg", quality=95)
    with pytest.raises(UsageError, match=r"1 pair are not .*: plain \(photo\)"):
        make_masks(settings)
    assert tree(tmp_path / "out") == before


def test_a_removed_mask_is_made_again(photos, plugin, tmp_path):
    settings = settings_for(photos, tmp_path / "out")
    make_masks(settings)
    (tmp_path / "out" / "masks" / "plain.png").unlink()
    assert not make_masks(settings).finished_before
    assert (tmp_path / "out" / "masks" / "plain.png").is_file()


def test_a_stopped_job_goes_on_with_what_is_missing(photos, plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 2)
    settings, made = settings_for(photos, tmp_path / "out"), []
    whole = make_masks(settings_for(photos, tmp_path / "whole"))
    real = module._Worker._row

    def row(self, pair):
        made.append(pair.pair_id)
        if len(made) == 4:
            raise StorageError("the disk is full")
        return real(self, pair)

    monkeypatch.setattr(module._Worker, "_row", row)
    with pytest.raises(StorageError):
        make_masks(settings)
    assert not (tmp_path / "out" / "summary.json").exists()
    before = len(made)
    result = make_masks(settings)
    assert 2 <= len(made) - before <= 4  # the first shard's two photos are not segmented again
    assert (result.masks, result.left_out) == (whole.masks, whole.left_out)
    folders = (tmp_path / name / "masks" for name in ("out", "whole"))
    one, other = ({path.name: path.read_bytes() for path in folder.rglob("*.png")} for folder in folders)
    assert one == other


def test_a_damaged_photo_is_quarantined_until_there_are_too_many(photos, plugin, tmp_path):
    (photos / "plain.jpg").write_bytes((photos / "plain.jpg").read_bytes()[:300])
    result = make_masks(settings_for(photos, tmp_path / "out"))
    assert (result.masks, result.quarantined) == (4, 1)
    assert "plain.jpg" in result.bad[0].message
    with pytest.raises(TooManyBadInputsError):
        make_masks(settings_for(photos, tmp_path / "strict", max_bad_fraction=0))


def test_a_folder_in_which_nothing_is_found_says_why(photos, plugin, tmp_path):
    with pytest.raises(UsageError, match=r"no photo of 6 got a mask \(foreground too small 5, no foreground 1"):
        make_masks(settings_for(photos, tmp_path / "out", min_fg=0.9))


def test_a_plug_in_that_fails_quarantines_and_one_that_breaks_the_contract_ends_the_job(photos, plugin, tmp_path):
    with pytest.raises(TooManyBadInputsError, match=r"broken' failed on 'a photo' .*out of tune"):
        make_masks(settings_for(photos, tmp_path / "a", segmenter="my_segmenters:broken"))
    with pytest.raises(PluginError, match=r"squares'.* the values go from"):
        make_masks(settings_for(photos, tmp_path / "b", segmenter="my_segmenters:squares"))
    with pytest.raises(UsageError, match=r"segmenter 'selfy' is not known.*selfie"):
        make_masks(settings_for(photos, tmp_path / "c", segmenter="selfy"))
    with pytest.raises(UsageError, match="maskrcnn needs the weights"):
        make_masks(settings_for(photos, tmp_path / "d", segmenter="maskrcnn"))


def test_people_are_found_by_the_command_and_the_report_is_json(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(data.astronaut()).resize((256, 256)).save(folder / "astronaut.png")
    Image.fromarray(data.coffee()).resize((300, 200)).save(folder / "coffee.jpg")
    out = tmp_path / "out"
    assert run(["masks", str(folder), "--person", "--out", str(out), "--dry-run", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"] == 2
    assert not out.exists()
    assert run(["masks", str(folder), "--person", "--out", str(out), "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["masks"], told["left_out"], told["summary"]["subject"]) == (1, {"no person": 1}, "person")
    (row,) = (row for row in read_rows(out) if row["mask"])
    assert row["sureness"] > 0.8
    assert run(["masks", str(folder), "--out", str(out), "--json", "--quiet"]) == 2
    assert "--person" in json.loads(capsys.readouterr().out)["error"]


# Rules


def layered(*boxes, height=40, width=60):
    layers = np.zeros((len(boxes), height, width), np.float32)
    for layer, (top, bottom, left, right) in zip(layers, boxes, strict=True):
        layer[top:bottom, left:right] = 0.9
    return layers


BIG, SMALL, CRUMB = (5, 35, 5, 25), (5, 25, 35, 50), (5, 8, 35, 38)


def chosen(layers, **rules):
    return choose_foreground(read_layers(layers), (80, 120), ForegroundRules(**{"min_fg": 0, **rules}))


@pytest.mark.parametrize("as_one_map", [False, True])
def test_the_largest_is_kept_or_all_or_none_where_there_are_several(as_one_map):
    layers = layered(BIG, SMALL)
    layers = layers.max(axis=0) if as_one_map else layers
    largest, both = chosen(layers), chosen(layers, keep="all")
    assert (largest.count, round(largest.sureness, 2)) == (2, 0.9)
    assert largest.mask[40, 30]
    assert not largest.mask[30, 85]
    assert both.mask[30, 85]
    refused = chosen(layers, keep="one")
    assert isinstance(refused, NoForeground)
    assert (refused.reason, refused.detail) == ("several people", "2 people were found, --keep one allows one")


def test_a_passer_by_far_away_does_not_count_as_another_one():
    found = chosen(layered(BIG, CRUMB), keep="one")
    assert found.count == 1
    assert not found.mask[12, 73]


def test_bounds_and_full_masks_are_reasons_with_their_figures():
    assert chosen(layered(SMALL), min_fg=0.2).detail == "the person covers 0.1250 of the photo, --min-fg is 0.2"
    assert chosen(layered(BIG), max_fg=0.2).reason == "person too large"
    assert chosen(layered((0, 40, 0, 60)), max_fg=1).reason == "person too large"
    assert chosen(layered((0, 0, 0, 0))).reason == "no person"


def test_holes_are_filled_unless_they_are_to_stay():
    layers = layered(BIG, height=200, width=300)
    layers[0, 10, 10] = 0
    rules = ForegroundRules(min_fg=0)
    assert choose_foreground(read_layers(layers), (200, 300), rules).mask[10, 10]
    kept = choose_foreground(read_layers(layers), (200, 300), rules.model_copy(update={"clean": False}))
    assert not kept.mask[10, 10]


# Reading photos


def test_photos_are_read_at_any_depth_and_masks_among_them_are_passed_over(photos):
    photo().save(photos / "plain_mask.png")
    found = read_photos(photos)
    assert [pair.pair_id for pair in found] == ["alpha", "dark", "plain", "trip-web", "turned3", "turned6"]
    assert {row.reason for row in found.passed_over} == {"not a picture", "mask among photos"}
    assert all(pair.borrows for pair in found)
    assert len(read_photos(photos, limit=2)) == 2
    assert len(read_photos(photos / "plain.jpg")) == 1


def test_a_folder_that_holds_images_alone_is_read_from_there(photos, tmp_path):
    (tmp_path / "set").mkdir()
    photos.rename(tmp_path / "set" / "images")
    assert read_photos(tmp_path / "set")[0].extra["inside"] == "alpha.png"


def test_folders_that_are_not_photos_alone_are_refused(photos, six_photos, tmp_path):
    with pytest.raises(UsageError, match="has masks already"):
        read_photos(six_photos)
    assert has_photos_alone(photos)
    assert not has_photos_alone(six_photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no photo in"):
        read_photos(tmp_path / "empty")
    with pytest.raises(UsageError, match="is not there"):
        read_photos(tmp_path / "nothing")
    photo().save(photos / "plain.png")
    with pytest.raises(UsageError, match=r"stand for two files: 'plain\.jpg' and 'plain\.png'"):
        read_photos(photos)


def test_an_onnx_file_is_a_segmenter(photos, tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    def write(path, shape):
        nodes = [
            helper.make_node("ReduceMax", ["image"], ["red"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["red", "half"], ["out"]),
        ]
        half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
        given = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, *shape[2:]])
        graph = helper.make_graph(nodes, "g", [given], [made], [half])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, path)

    write(tmp_path / "bright.onnx", [1, 3, 64, 64])
    given = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    settings = settings_for(photos, tmp_path / "out", segmenter=str(tmp_path / "bright.onnx"), segmenter_settings=given)
    result = make_masks(settings)
    assert (result.masks, result.left_out) == (5, {"no foreground": 1})
    for row in read_rows(tmp_path / "out"):
        if row["mask"]:
            assert 0.1 < row["fg_ratio"] < 0.2  # 40 x 20 of 60 x 90 pixels
    with pytest.raises(CheckpointError, match="works only at 64x64"):
        make_masks(settings.model_copy(update={"out": tmp_path / "b", "segmenter_settings": {**given, "side": 32}}))
    write(tmp_path / "grey.onnx", [1, 1, 64, 64])
    with pytest.raises(CheckpointError, match="one picture"):
        make_masks(settings.model_copy(update={"out": tmp_path / "c", "segmenter": str(tmp_path / "grey.onnx")}))
    with pytest.raises(CheckpointError, match=r"no\.onnx. is not a file: check the path"):
        make_masks(settings.model_copy(update={"out": tmp_path / "d", "segmenter": str(tmp_path / "no.onnx")}))
