"""Protocols: how prediction, composite, photo and mask are brought to what is scored (REFERENCE section 7).

``paper``: everything at 256 x 256, RGB by Pillow's bilinear with antialias, the mask by nearest neighbour.
What a model decodes goes there in one step from the size that it works at, as in the papers' code.
``fullres-fg``: the composite's own size, and error inside the mask only, which is the same as the photo's background
under the prediction. The background convention is part of every number: as predicted, the composite's or the photo's.
"""

from __future__ import annotations

from dataclasses import dataclass

from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.settings import Background, Protocol
from harmonygen.pictures.images import ImageU8, Mask, Picture01, paste, resize, to_u8
from harmonygen.pictures.masks import resize_mask

SIDE = 256


@dataclass(frozen=True, slots=True)
class Target:
    """What predictions of one composite are scored against, at the scored size; ``size`` is the composite's (h, w).

    ``ratio`` is the foreground's share at 256 px, whatever the protocol.
    """

    composite_u8: ImageU8
    real_u8: ImageU8
    mask: Mask
    size: tuple[int, int]
    ratio: float


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """A protocol with its options; see :class:`harmonygen.evaluation.settings.EvaluateSettings`.

    Raises:
        UsageError: ``fullres-fg`` with a background that it does not have.
    """

    protocol: Protocol = "paper"
    background: Background = "none"
    compat_floor: bool = False
    resize_predictions: bool = False

    def __post_init__(self) -> None:
        if self.protocol == "fullres-fg" and self.background == "composite":
            raise UsageError(
                "--background composite does not go with --protocol fullres-fg, which counts error inside the mask "
                "only: drop --background"
            )

    def stated(self) -> str:
        """Say in one sentence what the numbers are."""
        floor = "; models' pixels floored at the size they work at" if self.compat_floor else "; rounded, not floored"
        if self.protocol == "fullres-fg":
            return f"protocol fullres-fg: full resolution, error inside the mask only{floor}"
        backgrounds = {"none": "as predicted", "composite": "the composite's", "real": "the real photo's"}
        return f"protocol paper: {SIDE} x {SIDE}, background {backgrounds[self.background]}{floor}"

    def target(self, composite_u8: ImageU8, real_u8: ImageU8, mask: Mask) -> Target:
        """Bring a composite (H, W, 3), its photo and its mask to the scored size.

        Raises:
            InputError: the three differ in size.
        """
        if not composite_u8.shape[:2] == real_u8.shape[:2] == mask.shape:
            sizes = " and ".join(f"{i.shape[1]}x{i.shape[0]}" for i in (composite_u8, real_u8, mask))
            raise InputError(f"composite, real photo and mask are {sizes}: they must be of one size")
        small = resize_mask(mask, SIDE, SIDE)
        size, ratio = mask.shape, float(small.mean())
        if self.protocol == "fullres-fg":
            return Target(composite_u8, real_u8, mask, (size[0], size[1]), ratio)
        return Target(to_side(composite_u8), to_side(real_u8), small, (size[0], size[1]), ratio)

    def prediction(self, predicted_u8: ImageU8, target: Target, name: str) -> ImageU8:
        """Bring a prediction to the scored size and give it the background that the protocol wants.

        Raises:
            InputError: a size that is not right and may not be resized.
        """
        fault = self.wrong_size(predicted_u8.shape[:2], target.size)
        if fault and not self.resize_predictions:
            raise InputError(f"prediction {name} {fault}: predict at that size, or pass --resize-predictions")
        if self.protocol == "fullres-fg":
            return paste(resize(predicted_u8, *target.size), target.real_u8, target.mask)
        return self.on_background(to_side(predicted_u8), target)

    def decoded(self, picture01: Picture01, size: tuple[int, int]) -> ImageU8:
        """Bring what a model decoded (h, w, 3) in [0, 1] to the scored size; ``size`` is the composite's (h, w).

        The pixels become 8 bits at the model's own size, rounded or floored, and are then resized once.
        """
        decoded_u8 = to_u8(picture01, self.compat_floor)
        return resize(decoded_u8, *size) if self.protocol == "fullres-fg" else to_side(decoded_u8)

    def on_background(self, image_u8: ImageU8, target: Target) -> ImageU8:
        """Paste an image of the scored size over the background that the protocol wants."""
        if self.protocol == "fullres-fg" or self.background == "real":
            return paste(image_u8, target.real_u8, target.mask)
        return image_u8 if self.background == "none" else paste(image_u8, target.composite_u8, target.mask)

    def wrong_size(self, found: tuple[int, ...], wanted: tuple[int, int]) -> str:
        """Say what is wrong with a prediction's (h, w), "" if nothing is."""
        right = {wanted, (SIDE, SIDE)} if self.protocol == "paper" else {wanted}
        if tuple(found) in right:
            return ""
        allowed = f" (or {SIDE}x{SIDE})" if self.protocol == "paper" else ""
        return f"is {found[1]}x{found[0]} but its composite is {wanted[1]}x{wanted[0]}{allowed}"


def to_side(image_u8: ImageU8) -> ImageU8:
    """Resize (H, W, 3) uint8 to 256 x 256 by Pillow's bilinear with antialias, rounded."""
    return resize(image_u8, SIDE, SIDE, "bilinear")
