"""Bring a photo's colours to sRGB by the colour profile that its file embeds or states.

Every picture that is written is sRGB without a profile, so a profile is applied when a photo is read: relative
colorimetric with black point compensation, as viewers do. A profile that renders a cube of test colours within one
level of sRGB is sRGB, and the photo stays bit for bit as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from harmonygen.errors import InputError, told
from harmonygen.pictures.png_chunks import code_points, is_png

Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue, as a PNG's ``cHRM`` chunk orders them."""

SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_P3_PRIMARIES = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_ADOBE_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_BT2020_PRIMARIES = (0.3127, 0.329, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_ADOBE_CURVE = (563 / 256,)
_PRIMARIES = {1: SRGB_PRIMARIES, 2: SRGB_PRIMARIES, 9: _BT2020_PRIMARIES, 12: _P3_PRIMARIES}
_CURVES: dict[int, tuple[float, ...]] = dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE) | {8: (1.0,)}
"""By the numbers of ITU-T H.273; video's curves (1, 6, 14, 15) are shown as sRGB, as browsers do."""
_HDR = {16: "PQ", 18: "HLG"}
_SAME = 1  # levels
_USUAL_GAMMA, _NEAR = 1 / 2.2, 0.02
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
_EXIF, _INTEROP, _COLOUR_SPACE, _UNCALIBRATED, _ADOBE = 0x8769, 0xA005, 0xA001, (2, 0xFFFF), "R03"
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


@dataclass(frozen=True, slots=True)
class Profile:
    """A colour profile: its name, the colour space that it is for, and the way to sRGB (None: it is sRGB)."""

    name: str
    space: str
    transform: Any

    def fits(self, image: Image.Image) -> bool:
        """Return whether the profile is for the image's kind of colour; a profile of RGB serves grey images too."""
        return self.space in (_SPACES.get(image.mode), "RGB " if image.mode == "L" else None)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return an image of mode RGB, L or CMYK as RGB in sRGB."""
        if self.space == "RGB ":
            image = image.convert("RGB")
        if self.transform is None:
            return image.convert("RGB")
        applied: Any = ImageCms.applyTransform(image, self.transform)
        return applied if isinstance(applied, Image.Image) else image


def profile_of(opened: Image.Image, encoded: bytes, name: str) -> tuple[Profile | None, str]:
    """Return the colour profile of a decoded image file, and a warning if it has one that is broken.

    Looked at, in this order: code points (``cICP``, ``nclx``), an ICC profile, a PNG's ``sRGB``, ``gAMA`` and ``cHRM``,
    and the EXIF mark of Adobe RGB. None is sRGB.

    Raises:
        InputError: the photo is HDR (PQ or HLG): its levels are no sRGB's.
    """
    icc = opened.info.get("icc_profile")
    points = code_points(encoded) if is_png(encoded) else None if icc else _nclx(encoded)
    if points is not None and points != (2, 2):
        return _by_code_points(points, name), ""
    if icc:
        try:
            return read_profile(bytes(icc)), ""
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            return None, f"its colour profile is broken ({told(error)}): its colours are taken as sRGB"
    if "gamma" in opened.info or "chromaticity" in opened.info:
        return _by_gamma(opened.info)
    return (_adobe_rgb(), "") if _marked_adobe(opened) else (None, "")


@lru_cache(maxsize=16)
def read_profile(icc: bytes) -> Profile:
    """Read an ICC profile; raise one of ImageCms's errors if it is broken."""
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    name = "".join(letter for letter in ImageCms.getProfileDescription(profile).strip() if letter.isprintable())
    space = profile.profile.xcolor_space
    mode = next((mode for mode, known in _SPACES.items() if known == space), None)
    if mode is None:
        return Profile(name[:60], space, None)
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return Profile(name[:60] or "without a name", space, None if _is_srgb(transform, mode) else transform)


def _is_srgb(transform: Any, mode: str) -> bool:
    """Return whether a transform leaves a cube of colours and a ramp of greys within a level of where they are."""
    if mode == "CMYK":
        return False
    probe = _probe().convert(mode)
    rendered: Any = ImageCms.applyTransform(probe, transform)
    difference = np.asarray(rendered, dtype=np.int16) - np.asarray(probe.convert("RGB"), dtype=np.int16)
    return int(np.abs(difference).max()) <= _SAME


@cache
def _probe() -> Image.Image:
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(-1, 3)
    ramp = np.repeat(np.arange(256)[:, None], 3, axis=1)
    return Image.fromarray(np.concatenate([cube, ramp]).astype(np.uint8)[None])


def _nclx(encoded: bytes) -> tuple[int, int] | None:
    """Return the code points that the header of an AVIF or HEIC file states."""
    place = encoded.find(b"colrnclx", 0, 65536) if encoded[4:8] == b"ftyp" else -1
    found = encoded[place + 8 : place + 12] if place >= 0 else b""
    return struct.unpack(">HH", found) if len(found) == 4 else None


def _by_code_points(points: tuple[int, int], name: str) -> Profile | None:
    primaries, curve = _PRIMARIES.get(points[0]), _CURVES.get(points[1])
    if points[1] in _HDR:
        raise InputError(f"'{name}' is HDR ({_HDR[points[1]]}): export it as 8-bit sRGB")
    if primaries is None or curve is None:
        raise InputError(f"'{name}' states colours that are not known here (H.273 {points}): export it as sRGB")
    return _stated(f"code points {points[0]}/{points[1]}", primaries, curve)


def _by_gamma(info: dict[Any, Any]) -> tuple[Profile | None, str]:
    """Return the profile that a PNG's gamma and primaries stand for; values near sRGB's are sRGB."""
    if "srgb" in info:
        return None, ""
    gamma, primaries = float(info.get("gamma", _USUAL_GAMMA)), tuple(info.get("chromaticity", SRGB_PRIMARIES))
    if not 0.1 <= gamma <= 2 or len(primaries) != 8 or min(primaries) < 0 or min(primaries[1::2]) == 0:
        return None, f"it states a gamma of {gamma:.4g} or primaries that cannot be: its colours are taken as sRGB"
    usual = abs(gamma - _USUAL_GAMMA) <= _NEAR
    if max(abs(a - b) for a, b in zip(primaries, SRGB_PRIMARIES, strict=True)) <= _NEAR / 4:
        if usual:
            return None, ""
        primaries = SRGB_PRIMARIES
    try:
        return _stated(f"gamma {gamma:.4g}", primaries, _SRGB_CURVE if usual else (1 / gamma,)), ""
    except (ImageCms.PyCMSError, OSError, ValueError, np.linalg.LinAlgError) as error:
        return None, f"its gamma and primaries cannot be used ({told(error)}): its colours are taken as sRGB"


def _marked_adobe(opened: Image.Image) -> bool:
    """Return whether a camera marked a photo as Adobe RGB, which it may do without a profile (DCF's option file)."""
    if "exif" not in opened.info:
        return False
    try:
        exif = opened.getexif()
        uncalibrated = exif.get_ifd(_EXIF).get(_COLOUR_SPACE) in _UNCALIBRATED
        return uncalibrated and str(exif.get_ifd(_INTEROP).get(1, "")).startswith(_ADOBE)
    except Exception:  # damaged EXIF raises anything at all, and marks nothing
        return False


def _adobe_rgb() -> Profile | None:
    return _stated("Adobe RGB, by its EXIF mark", _ADOBE_PRIMARIES, _ADOBE_CURVE)


def _stated(name: str, primaries: Chromaticities, curve: Sequence[float]) -> Profile | None:
    """Return the profile of primaries and a transfer curve, None if it is sRGB."""
    found = read_profile(make_profile(primaries, curve))
    return Profile(name, found.space, found.transform) if found.transform is not None else None


@lru_cache(maxsize=16)
def make_profile(primaries: Chromaticities, curve: Sequence[float]) -> bytes:
    """Return an ICC profile of RGB primaries and a curve: one gamma, or the five parameters of a curve like sRGB's.

    >>> read_profile(make_profile(SRGB_PRIMARIES, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))).transform
    """
    columns = _to_d50(primaries).T
    shape = b"para" + bytes(4) + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(curve)
    xyz = [b"XYZ " + bytes(4) + _fixed(column) for column in (*columns, _D50)]
    text = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 12, 28) + "stated".encode("utf-16-be")
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"rTRC", b"gTRC", b"bTRC", b"desc", b"cprt")
    tags = [
        content.ljust(-len(content) % 4 + len(content), b"\0") for content in (*xyz, shape, shape, shape, text, text)
    ]
    places = 132 + 12 * len(tags) + np.cumsum([0, *map(len, tags)])
    table = b"".join(
        struct.pack(">4sII", tag, int(place), len(content))
        for tag, place, content in zip(names, places, tags, strict=False)
    )
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sIIIQI12s",
        int(places[-1]),
        b"",
        0x04000000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"",
        b"acsp",
        b"",
        *[0] * 5,
        _fixed(_D50),
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + b"".join(tags)


def _to_d50(primaries: Chromaticities) -> npt.NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ, adapted to D50 as profiles are (Bradford)."""
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    white, *colours = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=1)
    matrix = np.stack(colours, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    return np.asarray(adapted @ matrix)


def _fixed(numbers: Any) -> bytes:
    """Pack numbers as signed 15.16 fixed point."""
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)
