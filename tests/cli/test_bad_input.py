"""DESIGN section 6 through the command line: one bad input never stops a run, and every refusal names the remedy."""

import errno
import io
import json
import pickle
import re
import shutil
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.pictures.images import decode
from harmonygen_cli.main import run

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def photo(small_photos):
    return small_photos(1, HEIGHT, WIDTH)[0]


@pytest.fixture(scope="module")
def mask(ellipse):
    return ellipse(HEIGHT, WIDTH)


class Data:
    """A data set in the `folders` layout that grows photo by photo."""

    def __init__(self, root, photo, mask):
        self.root, self.photo, self.mask = root, photo, mask
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def add(self, name, photo=None, mask=None, suffix="png", **options):
        """Add a pair; bytes are written as they are, arrays and images are saved."""
        photo = self.photo if photo is None else photo
        mask = self.mask if mask is None else mask
        self._write(self.root / "images" / f"{name}.{suffix}", photo, **options)
        self._write(self.root / "masks" / f"{name}.png", mask)

    @staticmethod
    def _write(path, content, **options):
        if isinstance(content, bytes):
            path.write_bytes(content)
            return
        if isinstance(content, np.ndarray):
            content = Image.fromarray(content.astype(np.uint8) * 255 if content.dtype == bool else content)
        content.save(path, **options)


@pytest.fixture
def data(tmp_path, photo, mask):
    return Data(tmp_path / "data", photo, mask)


@pytest.fixture
def synthesize(tmp_path, tiny_classifier, capsys):
    """Run `harmonygen synthesize` on a folder; return exit code, the JSON object and the run folder."""

    def call(root, *words, out="run"):
        folder = tmp_path / out
        code = run(command(root, folder, tiny_classifier, *words))
        return code, json.loads(capsys.readouterr().out), folder

    return call


def command(root, out, classifier, *words):
    fixed = ["--generator", "color-jitter", "--k", "2", "--classifier", str(classifier), "--out", str(out), "--json"]
    return ["synthesize", "--data", str(root), *fixed, *words]


def quarantine(out):
    return {row["id"]: row for row in pq.read_table(out / "quarantine.parquet").to_pylist()}


def composites(out):
    """Return the composites of a run by pair, decoded."""
    made = {}
    for row in pq.read_table(out / "candidates", columns=["pair_id", "composite"]).to_pylist():
        made.setdefault(row["pair_id"], []).append(decode(row["composite"]["bytes"], "composite").image_u8)
    return made


def png_that_claims(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(image_u8, image_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(image_u8).save(buffer, image_format, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# One run over everything that can be wrong with a file


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory, photo, mask, tiny_classifier):
    """A run over good and bad inputs together: its folder and its exit code."""
    data = Data(tmp_path_factory.mktemp("mixed") / "data", photo, mask)
    whole_jpeg, whole_png = encoded(photo, "JPEG"), encoded(photo, "PNG")
    for name, content, suffix in [
        ("bad-truncated-jpeg", whole_jpeg[: len(whole_jpeg) // 2], "jpg"),
        ("bad-truncated-png", whole_png[: len(whole_png) // 2], "png"),
        ("bad-empty", b"", "png"),
        ("bad-text", b"<html>404 Not Found</html>", "jpg"),
        ("bad-bomb", png_that_claims(60_000, 60_000), "png"),
    ]:
        data.add(name, content, suffix=suffix)
    narrow = np.zeros((400, 10), np.uint8)
    narrow[:9] = 255
    data.add("bad-narrow", narrow, narrow)
    whole_mask = encoded(mask.astype(np.uint8) * 255, "PNG")
    for name, content in [
        ("bad-mask-size", mask[:-8]),
        ("bad-mask-empty", np.zeros_like(mask)),
        ("bad-mask-full", np.ones_like(mask)),
        ("bad-mask-dim", mask.astype(np.uint8) * 3 + 1),
        ("bad-mask-truncated", whole_mask[: len(whole_mask) // 2]),
        ("bad-mask-bomb", png_that_claims(60_000, 60_000)),
    ]:
        data.add(name, mask=content)
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    data.add("good-plain")
    data.add("good-cmyk", Image.fromarray(photo).convert("CMYK"), suffix="jpg")
    data.add("good-palette", Image.fromarray(photo).quantize(64))
    data.add("good-16bit", Image.fromarray(grey.astype(np.uint16) * 257))
    data.add("good-grey", grey)
    data.add("good-alpha", Image.fromarray(np.dstack([photo, grey])))
    data.add("good-bilevel", Image.fromarray(photo).convert("1"))
    data.add("good-soft", mask=np.where(mask, 128, 127).astype(np.uint8))
    data.add("good-mask-1bit", mask=Image.fromarray(mask))
    data.add("good-mask-rgb", mask=np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255)
    one = np.zeros_like(mask)
    one[5, 7] = True
    data.add("good-one-pixel", mask=one)
    for orientation in (3, 6, 8):
        stored = {3: np.rot90(photo, 2), 6: np.rot90(photo, 1), 8: np.rot90(photo, -1)}[orientation]
        data.add(f"good-turned-{orientation}", np.ascontiguousarray(stored), exif=turned(orientation))
    as_stored = np.ascontiguousarray(np.rot90(mask, 1))
    data.add("good-turned-with-mask", np.ascontiguousarray(np.rot90(photo, 1)), as_stored, exif=turned(6))
    data._write(data.root / "images" / "lone.png", photo)
    data._write(data.root / "masks" / "stray_1.png", mask)
    out = data.root.parent / "run"
    code = run([*command(data.root, out, tiny_classifier, "--max-bad-fraction", "1", "--quiet"), "--shard-size", "5"])
    return data, out, code


BAD = {
    "bad-truncated-jpeg_0": ("bad-truncated-jpeg.jpg' is damaged or truncated", "export it again"),
    "bad-truncated-png_0": ("bad-truncated-png.png' is damaged or truncated", "export it again"),
    "bad-empty_0": ("bad-empty.png' is empty (0 bytes)", "export it again"),
    "bad-text_0": ("bad-text.jpg' is not an image that Pillow can read", "convert it to PNG or JPEG"),
    "bad-bomb_0": ("bad-bomb.png' is over the pixel limit", "shrink it first"),
    "bad-narrow_0": ("bad-narrow.png' is 10x400, its sides differ more than 20 times", "crop it"),
    "bad-mask-size_0": ("masks/bad-mask-size.png' is 64x40 but its photo is 64x48", "--mask-resize nearest"),
    "bad-mask-empty_0": ("masks/bad-mask-empty.png' is empty", "draw the foreground in white"),
    "bad-mask-full_0": ("masks/bad-mask-full.png' is full", "a composite needs a background"),
    "bad-mask-dim_0": ("masks/bad-mask-dim.png' has the values 1 ", "say which are foreground"),
    "bad-mask-truncated_0": ("masks/bad-mask-truncated.png' is damaged or truncated", "export it again"),
    "bad-mask-bomb_0": ("masks/bad-mask-bomb.png' is over the pixel limit", "shrink it first"),
}


def test_one_bad_image_never_stops_a_run(mixed_run):
    data, out, code = mixed_run
    assert code == 0
    good = {f"{path.stem}_0" for path in (data.root / "images").glob("good-*")}
    assert set(composites(out)) == good
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["pairs"], summary["quarantined"]) == (len(good), len(BAD) + 2)
    assert {row["stage"] for row in quarantine(out).values()} == {"read", "synthesize"}


@pytest.mark.parametrize("pair_id", BAD)
def test_what_cannot_be_used_is_quarantined_with_its_file_and_the_remedy(mixed_run, pair_id):
    row = quarantine(mixed_run[1])[pair_id]
    what, remedy = BAD[pair_id]
    assert (row["stage"], row["error"]) == ("synthesize", "InputError")
    assert what in row["message"]
    assert remedy in row["message"]


def test_photos_and_masks_without_each_other_are_quarantined_when_read(mixed_run):
    rows = {path.rpartition("/")[2]: row for path, row in quarantine(mixed_run[1]).items() if row["stage"] == "read"}
    assert set(rows) == {"lone.png", "stray_1.png"}
    assert "has no mask <photo>.png or <photo>_<n>.png" in rows["lone.png"]["message"]
    assert "has no photo of its name" in rows["stray_1.png"]["message"]


def test_every_kind_of_photo_keeps_its_background_bit_for_bit(mixed_run, mask):
    data, out, _ = mixed_run
    for pair_id, made in composites(out).items():
        path = next((data.root / "images").glob(f"{pair_id.removesuffix('_0')}.*"))
        upright = decode(path.read_bytes(), path.name).image_u8
        background = ~mask
        if "one-pixel" in pair_id:
            background = np.ones_like(mask)
            background[5, 7] = False
        assert len(made) == 2
        for composite in made:
            assert composite.shape == (HEIGHT, WIDTH, 3)
            assert np.array_equal(composite[background], upright[background])
            assert not np.array_equal(composite, upright)


@pytest.mark.parametrize(
    "pair_id", ["good-turned-3_0", "good-turned-6_0", "good-turned-8_0", "good-turned-with-mask_0"]
)
def test_a_rotated_photo_is_upright_with_its_mask_and_stored_so(mixed_run, photo, mask, pair_id):
    rows = pq.read_table(mixed_run[1] / "pairs", filters=[("pair_id", "=", pair_id)]).to_pylist()
    assert np.array_equal(decode(rows[0]["real"]["bytes"], "real").image_u8, photo)
    assert np.array_equal(decode(rows[0]["mask"]["bytes"], "mask").image_u8[..., 0] > 0, mask)


def test_a_finished_run_repeated_writes_nothing(mixed_run, tiny_classifier):
    data, out, _ = mixed_run
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."}
    words = command(data.root, out, tiny_classifier, "--max-bad-fraction", "1", "--quiet", "--shard-size", "5")
    assert run(words) == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."}
    assert after == before


def test_a_mask_of_another_size_is_used_when_asked_to(data, synthesize, mask):
    data.add("a", mask=np.kron(mask, np.ones((2, 2), bool)))
    code, result, out = synthesize(data.root, "--mask-resize", "nearest")
    assert (code, result["summary"]["quarantined"]) == (0, 0)
    row = pq.read_table(out / "pairs").to_pylist()[0]
    assert np.array_equal(decode(row["mask"]["bytes"], "mask").image_u8[..., 0] > 0, mask)


def test_a_lower_pixel_limit_refuses_larger_photos(data, synthesize):
    data.add("a")
    data.add("b", Image.fromarray(data.photo).resize((WIDTH // 2, HEIGHT // 2)), data.mask[::2, ::2])
    code, _, out = synthesize(data.root, "max_pixels=1000", "--max-bad-fraction", "0.5")
    assert code == 0
    assert "is 64x48, over the pixel limit of 1000" in quarantine(out)["a_0"]["message"]
    assert set(composites(out)) == {"b_0"}


def test_the_pixel_limit_holds_for_masks_too(data, synthesize, mask):
    data.add("a", mask=np.kron(mask, np.ones((2, 2), bool)))
    code, _, out = synthesize(data.root, "max_pixels=4000", "--mask-resize", "nearest")
    assert code == 0
    assert "masks/a.png' is 128x96, over the pixel limit of 4000" in quarantine(out)["a_0"]["message"]


# COCO


def test_coco_instances_are_quarantined_one_by_one(data, synthesize, photo):
    photos = [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    photos += [{"id": 2, "file_name": "b.png", "height": HEIGHT + 4, "width": WIDTH}]
    root = data.root / "coco"
    root.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photo).save(root / name)
    size, square = [HEIGHT, WIDTH], [[10, 10, 40, 10, 40, 30, 10, 30]]
    segmentations = {
        "polygon": square,
        "counts": {"size": size, "counts": [500, 700, HEIGHT * WIDTH - 1200]},
        "odd": [[1, 2, 3, 4, 5, 6, 7]],
        "short": {"size": size, "counts": [500, 700]},
        "over": {"size": size, "counts": [500, 700, HEIGHT * WIDTH]},
        "packed": {"size": size, "counts": "52203"},
        "turned": {"size": size[::-1], "counts": [500, HEIGHT * WIDTH - 500]},
        "far": [[0, 0, 1e9, 0, 1e9, 1e9]],
        "empty": {"size": size, "counts": [HEIGHT * WIDTH]},
    }
    instances = [{"id": name, "image_id": 1, "segmentation": value} for name, value in segmentations.items()]
    instances += [{"id": "other", "image_id": 2, "segmentation": square}, {"id": "box", "image_id": 1}]
    path = root / "instances.json"
    path.write_text(json.dumps({"images": photos, "annotations": instances}))
    code, _, out = synthesize(path, "--max-bad-fraction", "1")
    assert code == 0
    assert set(composites(out)) == {"a_polygon", "a_counts"}
    told = {
        "a_odd": "a.png, annotation odd' has a polygon of 7 numbers",
        "a_short": "a.png, annotation short' covers 1200 pixels of 3072",
        "a_over": "annotation over' covers 4272 pixels of 3072",
        "a_packed": "annotation packed' covers 16 pixels of 3072",
        "a_turned": "annotation turned' is 48x64 but its photo is 64x48: fix or drop it",
        "a_far": "annotation far' has a point at 1000000000.0, far outside its photo of 64x48",
        "a_empty": "annotation empty' is empty",
        "b_other": "annotation other' is 64x52 but its photo is 64x48",
        "annotation box": "has no segmentation",
    }
    found = quarantine(out)
    assert set(found) == set(told)
    for name, words in told.items():
        assert words in found[name]["message"]


# Ids


@pytest.mark.parametrize(
    ("file_name", "told"),
    [
        ("../a.png", "holds '..'"),
        ("/etc/a.png", "holds '/'"),
        ("a\0.png", "holds a NUL"),
        ("x" * 300, "300 bytes"),
    ],
)
def test_ids_that_lead_out_of_their_folder_are_refused_by_name(tmp_path, synthesize, file_name, told):
    path = tmp_path / "i.json"
    photo = {"id": 1, "file_name": file_name, "height": 4, "width": 4}
    instance = {"id": 1, "image_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    path.write_text(json.dumps({"images": [photo], "annotations": [instance]}))
    code, result, out = synthesize(path)
    assert code == 2
    assert told in result["error"]
    assert "rename" in result["error"]
    assert not out.exists()


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("Photo.png", "photo.png"), ("a b.png", "a-b.png")])
def test_ids_that_collide_once_cleaned_are_refused_by_name(data, synthesize, names):
    for name in names:
        stem, suffix = name.split(".")
        data.add(stem, suffix=suffix)
    code, result, out = synthesize(data.root)
    assert code == 2
    for name in names:
        assert name in result["error"]
    assert "one of each" in result["error"]
    assert not out.exists()


# Checkpoints


def changed(folder, to, **values):
    """Copy a checkpoint with other values in harmonygen.json."""
    shutil.copytree(folder, to)
    path = to / "harmonygen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return to


def refused(data, synthesize, *words):
    data.add("a")
    code, result, out = synthesize(data.root, *words)
    assert code == 2
    assert not out.exists()
    return result["error"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "denoiser"}, "is of kind 'denoiser', 'classifier' is needed: choose another folder"),
        ({"labels": ["real", "harmonious"]}, "labels.1: Input should be 'real' or 'composite'"),
        ({"labels": ["real", "real"]}, "labels are ('real', 'real'), 'real' and 'composite' are needed"),
        ({"in_channels": 3}, "states 3 input channels but its weights take 4: correct in_channels"),
        ({"in_channels": 5}, "in_channels: Input should be 3 or 4"),
        ({"depth": "resnet18"}, "do not fit a resnet18"),
        ({"depth": "vgg"}, "classifier depth 'vgg' is not known: choose one of resnet10"),
    ],
)
def test_a_classifier_that_is_not_what_is_needed_is_refused(data, synthesize, tiny_classifier, tmp_path, values, told):
    folder = changed(tiny_classifier, tmp_path / "classifier", **values)
    assert told in refused(data, synthesize, "--classifier", str(folder))


def test_labels_in_the_other_order_are_the_other_probability(data, synthesize, tiny_classifier, tmp_path):
    data.add("a")
    folder = changed(tiny_classifier, tmp_path / "classifier", labels=["composite", "real"])
    one = synthesize(data.root)[1]["summary"]["p_composite"]["mean"]
    other = synthesize(data.root, "--classifier", str(folder), out="other")[1]["summary"]["p_composite"]["mean"]
    assert one + other == pytest.approx(1, abs=1e-4)
    assert one != pytest.approx(0.5, abs=1e-4)


def test_pickled_weights_are_never_loaded(data, synthesize, tiny_classifier, tmp_path):
    folder = changed(tiny_classifier, tmp_path / "classifier")
    (folder / "model.safetensors").write_bytes(pickle.dumps({"fc": 1}))
    assert "copy the checkpoint again" in refused(data, synthesize, "--classifier", str(folder))


def test_a_checkpoint_that_is_not_there_is_refused(data, synthesize):
    assert "judge 'nowhere' is not a folder" in refused(data, synthesize, "--classifier", "nowhere")


@pytest.fixture
def diffusion(data, synthesize):
    return lambda folder: refused(data, synthesize, "--generator", "diffusion", "--model", str(folder))


def test_an_inverse_model_of_another_kind_is_refused(diffusion, tiny_classifier):
    assert "is of kind 'classifier', 'denoiser' is needed" in diffusion(tiny_classifier)


def test_a_forward_model_is_refused(diffusion, tiny_inverse, tmp_path):
    folder = changed(tiny_inverse, tmp_path / "model", direction="forward")
    assert re.search("is a forward model, an? inverse one is needed", diffusion(folder))


def test_an_incomplete_model_is_refused(diffusion, tiny_inverse, tmp_path):
    folder = changed(tiny_inverse, tmp_path / "model")
    shutil.rmtree(folder / "unet")
    assert "the checkpoint is incomplete, copy it again" in diffusion(folder)
    (folder / "harmonygen.json").unlink()
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    assert "has no harmonygen.json, so its direction is not known" in diffusion(folder)


def test_a_unet_of_other_channels_is_refused(diffusion, tiny_inverse, tmp_path):
    from diffusers import UNet2DConditionModel

    folder = changed(tiny_inverse, tmp_path / "model")
    config = {**UNet2DConditionModel.load_config(folder / "unet"), "in_channels": 4}
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    assert "the UNet takes 4 channels, 9 are needed (latent 4, mask 1, condition 4)" in diffusion(folder)


# Disk


def test_an_output_that_is_a_file_is_refused_and_left_alone(data, synthesize, tmp_path):
    data.add("a")
    (tmp_path / "run").write_text("mine")
    code, result, out = synthesize(data.root)
    assert code == 4
    assert f"'{out}' is a file, a folder is needed: choose another --out" in result["error"]
    assert out.read_text() == "mine"


def test_an_output_that_holds_something_else_is_refused(data, synthesize, tmp_path):
    data.add("a")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.docx").write_text("mine")
    code, result, out = synthesize(data.root)
    assert code == 2
    assert "is not empty and not a run (found thesis.docx): choose another --out" in result["error"]
    assert [path.name for path in out.iterdir() if path.name[0] != "."] == ["thesis.docx"]


def failing_once(monkeypatch, target, at, code):
    """Let the `at`-th call (from 0) of a function raise OSError."""
    module, name = target.rsplit(".", 1)
    honest = getattr(__import__(module, fromlist=[name]), name)
    calls = iter(range(10**6))

    def sometimes(*rest, **options):
        if next(calls) == at:
            raise OSError(code, "No space left on device" if code == errno.ENOSPC else "Permission denied")
        return honest(*rest, **options)

    monkeypatch.setattr(target, sometimes)


@pytest.mark.parametrize(
    ("target", "at", "code"),
    [
        ("harmonygen.storage.shards.commit", 0, errno.EACCES),  # plan.json
        ("harmonygen.synthesis.shard.commit", 0, errno.ENOSPC),  # the first shard's photos
        ("harmonygen.synthesis.shard.commit", 3, errno.ENOSPC),  # the second shard's candidates
        ("pyarrow.parquet.ParquetWriter.write_table", 3, errno.ENOSPC),
        ("harmonygen.storage.shards.commit", 1, errno.ENOSPC),  # quarantine.parquet
        ("harmonygen.storage.shards.commit", 2, errno.ENOSPC),  # summary.json
    ],
)
def test_a_disk_that_fails_stops_cleanly_and_the_same_command_finishes(data, synthesize, monkeypatch, target, at, code):
    for name in "abc":
        data.add(name)
    words = ("--shard-size", "1")
    with monkeypatch.context() as failing:
        if target.startswith("pyarrow"):
            honest, calls = pq.ParquetWriter.write_table, iter(range(99))

            def sometimes(*rest):
                if next(calls) == at:
                    raise OSError(code, "No space left on device")
                return honest(*rest)

            failing.setattr(pq.ParquetWriter, "write_table", sometimes)
        else:
            failing_once(failing, target, at, code)
        stopped, result, out = synthesize(data.root, *words)
    assert stopped == 4
    assert "free space or fix permissions, then repeat the command" in result["error"]
    assert not list(out.rglob("*.tmp"))
    kept = {path: path.stat().st_mtime_ns for path in (out / "candidates").glob("part-*")}
    finished, result, _ = synthesize(data.root, *words)
    assert (finished, result["summary"]["candidates"], result["shards_run"]) == (0, 6, 3 - len(kept))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_parts_of_a_job_array_leave_each_others_unfinished_files(data, synthesize):
    for name in "abcd":
        data.add(name)
    words = ("--shard-size", "2", "--part")
    folder = data.root.parent / "run" / "candidates"
    assert synthesize(data.root, *words, "0/2")[0] == 0
    (folder / "part-00000-of-00002.parquet").unlink()
    others, own = (folder / f".part-0000{number}-of-00002.parquet.7.tmp" for number in (1, 0))
    for stray in (others, own):
        stray.write_bytes(b"half")
    assert synthesize(data.root, *words, "0/2")[0] == 0
    assert (others.exists(), own.exists()) == (True, False)
    code, result, _ = synthesize(data.root, *words, "1/2")
    assert (code, result["summary"]["candidates"], others.exists()) == (0, 8, False)


# Too much of it


def test_too_many_bad_inputs_exit_3_and_a_larger_fraction_goes_on(data, synthesize):
    for name in "abcd":
        data.add(name, b"not an image" if name in "ab" else None)
    words = ("--shard-size", "2")
    code, result, out = synthesize(data.root, *words)
    assert code == 3
    assert "2 of 4 inputs could not be used, 1 are allowed" in result["error"]
    assert "--max-bad-fraction" in result["error"]
    assert "a.png' is not an image" in result["error"]
    assert set(quarantine(out)) == {"a_0", "b_0"}
    assert synthesize(data.root, *words)[0] == 3
    code, result, _ = synthesize(data.root, *words, "--max-bad-fraction", "0.5")
    assert (code, result["shards_run"], result["summary"]["pairs"]) == (0, 1, 2)
    assert set(quarantine(out)) == {"a_0", "b_0"}


def test_inputs_that_cannot_even_be_listed_count_as_bad(data, synthesize):
    data.add("a")
    for number in range(2):
        data._write(data.root / "masks" / f"stray{number}_1.png", data.mask)
    code, result, out = synthesize(data.root)
    assert code == 3
    assert "has no photo of its name" in result["error"]
    assert len(quarantine(out)) == 2


def test_nothing_bad_is_allowed_when_the_fraction_is_0(data, synthesize):
    data.add("a", b"")
    data.add("b")
    assert synthesize(data.root, "--max-bad-fraction", "0")[0] == 3
    assert synthesize(data.root, out="other")[0] == 0


def test_a_run_of_nothing_but_bad_inputs_still_ends_with_its_summary(data, synthesize):
    data.add("a", b"")
    code, result, out = synthesize(data.root)
    assert result["summary"]["p_composite"]["mean"] is None
    assert "NaN" not in (out / "summary.json").read_text()
    assert (code, result["summary"]["pairs"], result["summary"]["candidates"]) == (0, 0, 0)
    assert (out / "report.html").is_file()


# Augment


@pytest.fixture(scope="module")
def tree(tmp_path_factory, small_photos, mask, tiny_classifier):
    """An iHarmony4 tree of three photos, the last one in the test list, with a run of K = 2 over the first two."""
    root = tmp_path_factory.mktemp("tree") / "data"
    photos = zip("abc", small_photos(3, HEIGHT, WIDTH), strict=True)
    for folder in ("composite_images", "masks", "real_images"):
        (root / "HFlickr" / folder).mkdir(parents=True)
    for name, photo in photos:
        Image.fromarray(photo).save(root / "HFlickr" / "real_images" / f"{name}.jpg", quality=95)
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "HFlickr" / "masks" / f"{name}_1.png")
        Image.fromarray(photo // 2).save(root / "HFlickr" / "composite_images" / f"{name}_1_1.jpg", quality=95)
    lines = [f"HFlickr/composite_images/{name}_1_1.jpg\n" for name in "abc"]
    (root / "IHD_train.txt").write_text("".join(lines[:2]))
    (root / "IHD_test.txt").write_text(lines[2])
    (root / "everything.txt").write_text("".join(lines))
    out = root.parent / "run"
    assert run(command(root, out, tiny_classifier, "--quiet")) == 0
    return root


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gamma", "3"], "gamma 3 needs K >= 3"),
        (["--test-list", "everything.txt"], "HFlickr/a"),
        (["--candidates", "nowhere"], "'nowhere'"),
        (["--gamma", "-1"], "gamma: "),
    ],
)
def test_augment_refuses_what_cannot_be_mixed(tree, tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tree)
    fixed = ["--data", str(tree), "--candidates", str(tree.parent / "run"), "--out", str(tmp_path / "out")]
    code = run(["augment", *fixed, *words, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["exit_code"]) == (2, 2)
    assert told in result["error"]
    assert not (tmp_path / "out").exists()


def test_augment_refuses_candidates_of_other_photos(tree, mixed_run, tmp_path, capsys):
    words = ["--data", str(tree), "--candidates", str(mixed_run[1]), "--out", str(tmp_path / "out")]
    assert run(["augment", *words, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert "15 photos that are not in the dataset: good-16bit, " in told
    assert "give the --data and --list-file that the candidates were made from" in told


def test_augment_into_a_file_exits_4(tree, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    words = ["--data", str(tree), "--candidates", str(tree.parent / "run"), "--out", str(tmp_path / "out")]
    assert run(["augment", *words, "max_fmse=3", "--json"]) == 2
    capsys.readouterr()
    assert run(["augment", *words, "--json"]) == 4
    assert "is a file" in json.loads(capsys.readouterr().out)["error"]
