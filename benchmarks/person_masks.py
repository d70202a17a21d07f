"""How good the masks of `harmonygen masks --person` are, and how long they take.

DATA is a folder of street-fashion photos: ``train/*.jpg`` beside ``person_masks/*.png`` (clothes, skin and hair, drawn
by hand along superpixels). 60 photos are drawn that no rule or threshold was chosen on; 100 others were looked at for
that. The job itself runs, with all its rules. A photo that gets no mask counts with IoU 0.

Beside it stand two things that look at no pixel: an ellipse in the middle of the photo, and the mean of the other
photos' masks, cut at one half. Controls: the same photos mirrored, turned by EXIF, as WebP, as 16-bit PNG, as JPEG of
quality 50 and without colour; their masks are compared with the drawn ones and with those of the photos themselves.
Folders of photos that show nobody (``--nobody``) tell how often somebody is found there.

    python benchmarks/person_masks.py DATA [--nobody FOLDER ...] [--sheet OVERLAY.png]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from harmonygen.pictures.masks import to_mask
from harmonygen.segmentation.masks import make_masks, read_rows
from harmonygen.segmentation.people import overlap
from harmonygen.segmentation.settings import MaskSettings

PHOTOS, LOOKED_AT = 60, 100
NOBODY = 200
Masks = dict[str, np.ndarray]


def drawn(data: Path) -> list[str]:
    """Return the names of all photos with a mask, in a drawn order: the first 60 are measured."""
    names = sorted(path.stem for path in (data / "person_masks").glob("*.png"))
    np.random.default_rng(1).shuffle(names)
    return names


def truth(data: Path, names: list[str]) -> Masks:
    """Return the drawn masks."""
    return {name: to_mask(Image.open(data / "person_masks" / f"{name}.png")) for name in names}


def run(photos: Path, out: Path) -> tuple[Masks, list[float], float]:
    """Run the job; return its masks, the segmenter's seconds of each photo, and the wall time of the job."""
    began = time.perf_counter()
    make_masks(MaskSettings(photos=photos, out=out, person=True, device="cpu", max_bad_fraction=0))
    wall = time.perf_counter() - began
    rows = read_rows(out)
    masks = {row["pair_id"]: to_mask(Image.open(out / row["mask"])) for row in rows if row["mask"]}
    return masks, [row["seconds"] for row in rows], wall


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median and its exact 95 % interval, by order statistics."""
    ordered, n = np.sort(values), len(values)
    low = int(stats.binom.ppf(0.025, n, 0.5)) - 1
    return float(np.median(ordered)), float(ordered[max(0, low)]), float(ordered[min(n - 1, n - 1 - low)])


def line(name: str, ious: list[float], same: list[float] | None = None) -> None:
    """Print a row of the table."""
    middle, low, high = median_interval(ious)
    bad = sum(iou < 0.8 for iou in ious)
    alike = f"{np.median(same):.3f}" if same else "-"
    print(
        f"| {name} | {middle:.3f} | {low:.3f} - {high:.3f} | {np.mean(ious):.3f} | {min(ious):.3f} | {bad} | {alike} |",
        flush=True,
    )


def ellipse(height: int, width: int) -> np.ndarray:
    """Return an ellipse in the middle, 0.4 of the photo's width and 0.9 of its height."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (x / 0.4) ** 2 + (y / 0.9) ** 2 <= 1


def mean_mask(data: Path, others: list[str]) -> np.ndarray:
    """Return the mean of masks, at 512 x 342."""
    masks = (Image.open(data / "person_masks" / f"{name}.png").convert("L").resize((342, 512)) for name in others)
    return np.mean([np.asarray(mask) > 127 for mask in masks], axis=0)


def mirrored(photo: Image.Image, path: Path) -> None:
    """Save a photo mirrored, without loss."""
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path.with_suffix(".png"))


def turned(photo: Image.Image, path: Path) -> None:
    """Save a photo on its side, with the EXIF orientation that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".png"), exif=exif)


def webp(photo: Image.Image, path: Path) -> None:
    """Save a photo as lossless WebP."""
    photo.save(path.with_suffix(".webp"), lossless=True)


def deep(photo: Image.Image, path: Path) -> None:
    """Save the luminance of a photo as 16-bit PNG."""
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path.with_suffix(".png"))


def coarse(photo: Image.Image, path: Path) -> None:
    """Save a photo as JPEG of quality 50."""
    photo.save(path.with_suffix(".jpg"), quality=50)


def grey(photo: Image.Image, path: Path) -> None:
    """Save a photo without colour."""
    photo.convert("L").save(path.with_suffix(".png"))


CONTROLS: dict[str, Callable[[Image.Image, Path], None]] = {
    "mirrored": mirrored,
    "on its side, turned by EXIF": turned,
    "lossless WebP": webp,
    "16-bit grey PNG": deep,
    "JPEG of quality 50": coarse,
    "without colour": grey,
}


def measure(data: Path, folder: Path, sheet: Path | None) -> None:
    """Print the table of the photos and their controls."""
    names = drawn(data)
    measured, others = names[:PHOTOS], names[PHOTOS + LOOKED_AT :]
    real = truth(data, measured)
    (folder / "photos").mkdir()
    for name in measured:
        shutil.copy(data / "train" / f"{name}.jpg", folder / "photos")
    masks, seconds, wall = run(folder / "photos", folder / "masks")
    if sheet:
        shutil.copy(folder / "masks" / "overlay.png", sheet)
    mean = mean_mask(data, others)
    print(f"{PHOTOS} photos, {len(masks)} masks\n")
    print("| mask | median IoU | 95 % interval | mean | least | under 0.8 | IoU with the photo's own |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    line("`masks --person`", [overlap(masks[name], real[name]) if name in masks else 0.0 for name in measured])
    line("ellipse in the middle", [overlap(ellipse(*real[name].shape), real[name]) for name in measured])
    stretched = (Image.fromarray(mean.astype(np.float32)).resize(real[name].shape[::-1]) for name in measured)
    means = [overlap(np.asarray(each) > 0.5, real[name]) for each, name in zip(stretched, measured, strict=True)]
    line(f"mean mask of {len(others)} others", means)
    for number, (name, save) in enumerate(CONTROLS.items()):
        control(name, save, data, folder / f"control{number}", real, masks)
    cpu = np.array(seconds) * 1000
    print(f"\nsegmenter, ms a photo: median {np.median(cpu):.0f}, 90 % under {np.quantile(cpu, 0.9):.0f}")
    print(f"whole job, with the sheet and the page: {wall / PHOTOS * 1000:.0f} ms a photo")


def control(
    name: str, save: Callable[[Image.Image, Path], None], data: Path, folder: Path, real: Masks, own: Masks
) -> None:
    """Save the photos in another way and print what becomes of their masks."""
    (folder / "photos").mkdir(parents=True)
    for stem in real:
        save(Image.open(data / "train" / f"{stem}.jpg").convert("RGB"), folder / "photos" / stem)
    made, _, _ = run(folder / "photos", folder / "masks")
    if save is mirrored:
        made = {stem: mask[:, ::-1] for stem, mask in made.items()}
    ious = [overlap(made[stem], real[stem]) if stem in made else 0.0 for stem in real]
    line(name, ious, [overlap(made[stem], own[stem]) if stem in made else 0.0 for stem in own])


def nobody(source: Path, folder: Path, sheet: Path | None) -> None:
    """Print how many photos of a folder get a mask of a person."""
    paths = sorted(path for path in source.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    paths = paths[:: max(1, len(paths) // NOBODY)][:NOBODY]
    (folder / "photos").mkdir(parents=True)
    for path in paths:
        shutil.copy(path, folder / "photos")
    masks, _, _ = run(folder / "photos", folder / "masks")
    print(f"{source.parent.name}/{source.name}: {len(masks)} of {len(paths)} photos get a mask", flush=True)
    if sheet:
        shutil.copy(folder / "masks" / "overlay.png", sheet.with_stem(f"{sheet.stem}-{source.parent.name}"))


def main() -> None:
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nobody", type=Path, nargs="*", default=[], help="folders of photos that show nobody")
    parser.add_argument("--sheet", type=Path, help="write the overlay sheet")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(asked.data, Path(temporary), asked.sheet)
        for number, source in enumerate(asked.nobody):
            nobody(source, Path(temporary) / f"nobody{number}", asked.sheet)


if __name__ == "__main__":
    main()
