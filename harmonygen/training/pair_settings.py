"""Settings of training pairs: how a composite is made from a photo, and what both then go through."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from harmonygen.settings import Settings, setting


class CompositeSettings(Settings):
    """How composites are made on the fly: of which photos and masks, by which methods, and how strong."""

    reinhard: float = setting(0.3, "Relative weight of Reinhard's colour transfer.", ge=0)
    xiao: float = setting(0.15, "Relative weight of Xiao's colour transfer.", ge=0)
    fecker: float = setting(0.1, "Relative weight of Fecker's colour transfer.", ge=0)
    pitie: float = setting(0.05, "Relative weight of Pitie's colour transfer.", ge=0)
    lut: float = setting(0.4, "Relative weight of random LUTs.", ge=0)
    ycbcr: float = setting(0.0, "Relative weight of the transfer of mean and deviation in YCbCr.", ge=0)
    photometric: float = setting(
        0.0, "Relative weight of photometric changes: light, white balance, tone curve, saturation, hue.", ge=0
    )
    lut_strength: float = setting(1.0, "Strength of the random LUTs.", gt=0)
    min_strength: float = setting(0.4, "Smallest share at which a colour transfer is blended in, 0 to 1.", gt=0, le=1)
    min_fmse: float = setting(50.0, "Smallest foreground change, in squared 8-bit units.", ge=0)
    max_fmse: float = setting(6000.0, "Largest foreground change, in squared 8-bit units.", gt=0)
    median_fmse: float = setting(
        0.0, "Median to which foreground changes are scaled, in squared 8-bit units; 0 leaves them as drawn.", ge=0
    )
    fmse_spread: float = setting(1.0, "Standard deviation of the natural logarithm of the scaled changes.", ge=0)
    grade_both: float = setting(
        0.0, "Share of samples whose photo is graded as a whole before the composite is made of it, 0 to 1.", ge=0, le=1
    )
    grade_real: float = setting(
        0.0, "For judges: share of samples whose photo alone is graded as a whole, 0 to 1.", ge=0, le=1
    )
    change_background: float = setting(
        0.0, "For judges: share of composites whose background is changed instead of the foreground.", ge=0, le=1
    )
    lightness_sigma: float = setting(
        0.0,
        "Photos are drawn with weight exp(-d^2 / (2 sigma^2)), where d is the foreground's mean L* minus the "
        "background's; 0 draws all equally often.",
        ge=0,
    )
    borrowed_masks: float = setting(0.0, "Share of samples whose mask is another photo's, resized, 0 to 1.", ge=0, le=1)

    @model_validator(mode="after")
    def _some_method(self) -> Self:
        if not any((self.reinhard, self.xiao, self.fecker, self.pitie, self.lut, self.ycbcr, self.photometric)):
            raise ValueError("all methods of composites have weight 0: give one of them a weight, such as photometric")
        return self


class ChainSettings(Settings):
    """The random chain of formats that both pictures of a pair go through, and how often each step is part of it."""

    probability: float = setting(
        0.0, "Share of samples whose photo and composite go through a random chain of formats, 0 to 1.", ge=0, le=1
    )
    resample: float = setting(0.5, "Share of chains that resize and back with two filters, 0 to 1.", ge=0, le=1)
    min_scale: float = setting(0.5, "Smallest scale of the resizing.", gt=0)
    max_scale: float = setting(1.5, "Largest scale of the resizing.", gt=0)
    sharpen: float = setting(0.2, "Share of chains that sharpen, 0 to 1.", ge=0, le=1)
    blur: float = setting(0.15, "Share of chains that blur slightly, 0 to 1.", ge=0, le=1)
    noise: float = setting(0.3, "Share of chains that add noise, one field for both pictures, 0 to 1.", ge=0, le=1)
    max_noise: float = setting(5.0, "Largest standard deviation of the noise, in 8-bit units.", ge=0.5)
    halve_chroma: float = setting(0.35, "Share of chains that halve the resolution of colour, 0 to 1.", ge=0, le=1)
    encode: float = setting(0.75, "Share of chains that end in a lossy file, 0 to 1.", ge=0, le=1)
    webp: float = setting(0.35, "Share of the files that are WebP; the others are JPEG, 0 to 1.", ge=0, le=1)
    min_quality: int = setting(40, "Lowest quality of the files.", ge=1, le=100)
    max_quality: int = setting(100, "Highest quality of the files.", ge=1, le=100)
    shift_grid: float = setting(0.5, "Share of the files whose grid of 8 x 8 blocks is shifted, 0 to 1.", ge=0, le=1)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_scale > self.max_scale or self.min_quality > self.max_quality:
            raise ValueError(
                f"scales {self.min_scale} to {self.max_scale}, qualities {self.min_quality} to {self.max_quality}: the "
                "smallest is over the largest, so swap them"
            )
        return self
