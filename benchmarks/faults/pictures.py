"""Every Pillow mode in every orientation: upright RGB with its mask fitting, or refused by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from faults import samples
from faults.table import Row

STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera of each EXIF orientation stores what it saw upright."""

FORMATS = {"PNG": "png", "TIFF": "tif", "JPEG": "jpg", "WEBP": "webp"}
GREY, SCALAR = ("1", "L", "LA", "La"), ("I", "I;16", "I;16B", "I;16L", "F")
MODES = (*GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", *SCALAR)


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Store one photo in every mode, format and orientation that can be stored, and read it with its mask."""
    ends, wrong = Counter[str](), list[str]()
    mask = np.zeros((48, 64), bool)
    mask[8:20, 6:40] = True
    bright = np.where(mask[..., None], 250, samples.picture() // 4).astype(np.uint8)
    for mode in MODES:
        for image_format, suffix in FORMATS.items():
            for orientation in STORED if not quick else (1, 6):
                name = f"{mode}-{image_format}-{orientation}".replace(";", "-")
                path = place / f"{name}.{suffix}"
                if not _stored(bright, mode, image_format, orientation, path):
                    ends["cannot be stored"] += 1
                    continue
                end = _end(path, mask, orientation, place / f"{name}-mask.png")
                ends[end or "wrong"] += 1
                wrong += [] if end else [name]
    injected = sum(ends.values()) - ends["cannot be stored"]
    told = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    survived = ends["upright with its mask"] + ends["refused by name"]
    note = told + (f"; WRONG: {', '.join(wrong[:4])}" if wrong else "")
    yield Row("Pillow modes x formats x 8 EXIF orientations", injected, survived, note=note)


def _stored(upright: np.ndarray, mode: str, image_format: str, orientation: int, path: Path) -> bool:
    """Save a photo as a camera would; tell whether the format holds the mode."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        picture = _in_mode(Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), mode)
        picture.save(path, image_format, exif=exif)
        with Image.open(path) as opened:
            return opened.mode == mode
    except (OSError, ValueError, KeyError):
        return False


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode.startswith("I"):
        grey = np.asarray(image.convert("L")).astype(np.int32) * 257
        kind = {"I": "<i4", "I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2"}[mode]
        return Image.frombytes(mode, image.size, grey.astype(kind).tobytes())
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)
    if mode == "LAB":
        from PIL import ImageCms

        space = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        return ImageCms.profileToProfile(image, *space, outputMode="LAB")
    steps = {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA"), "P": ("P",)}
    for step in steps.get(mode, (mode,)):
        image = image.convert(step)
    return image


def _end(path: Path, mask: np.ndarray, orientation: int, mask_path: Path) -> str:
    """Read a photo with the mask of what is bright in it, drawn upright and as stored; say how both ended."""
    from harmonygen.errors import InputError
    from harmonygen.pictures.photo import Sizing, load_photo
    from harmonygen.records import FileSource, Pair

    ends = set()
    for drawn in (mask, STORED[orientation](mask)) if orientation > 4 else (mask,):
        samples.save(np.ascontiguousarray(drawn), mask_path)
        pair = Pair("p", "p", "0", FileSource(path), FileSource(mask_path))
        try:
            photo = load_photo(pair, Sizing(32, 8))
        except InputError as error:
            ends.add("refused by name" if str(path) in str(error) or "mode" in str(error) else "")
            continue
        inside, outside = (photo.image_u8[where].mean() for where in (photo.mask, ~photo.mask))
        fits = photo.image_u8.shape == (48, 64, 3) and np.array_equal(photo.mask, mask) and inside > outside + 60
        ends.add("upright with its mask" if fits and photo.image_u8.dtype == np.uint8 else "")
    return ends.pop() if len(ends) == 1 else ""
