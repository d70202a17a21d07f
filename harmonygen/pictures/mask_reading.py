"""How a mask was understood, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError
from harmonygen.pictures.images import Mask
from harmonygen.pictures.levels import Levels

MaskKind = Literal["two-valued", "soft", "labels", "colours", "alpha", "segmentation"]
_SHOWN = 8  # values in a message


@dataclass(frozen=True, slots=True)
class MaskReading:
    """How a mask was understood: its ``kind``, the ``values`` found and which are ``foreground`` or ``ignored``.

    Values are numbers, or colours as ``#rrggbb``; of a mask with a soft edge, the two ends alone. ``turned`` tells that
    it followed the stored photo; ``assumed`` that nothing told whether it does, so that it was taken for upright.
    """

    kind: MaskKind
    values: tuple[str, ...] = ()
    foreground: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    turned: bool = False
    assumed: bool = False


Understood = tuple[Mask, MaskReading]


def labelled(
    levels: Levels,
    foreground: Mask,
    ignored: Mask | None = None,
    kind: MaskKind = "labels",
    *,
    colours: bool = False,
) -> Understood:
    """Return the pixels of the values that are foreground (a flag per value), and what is said of them."""
    void = np.zeros_like(foreground) if ignored is None else ignored
    values = levels.values
    found, inside, out = (told(each, colours) for each in (values, values[foreground], values[void]))
    return levels.where(foreground), MaskReading(kind, found, inside, out)


def told(values: npt.NDArray[np.float64], colours: bool = False) -> tuple[str, ...]:
    """Return values as words.

    >>> told(np.array([0.0, 255.0])), told(np.array([255.0]), colours=True)
    (('0', '255'), ('#0000ff',))
    """
    return tuple(f"#{int(value):06x}" if colours else f"{value:g}" for value in values)


def refusal(levels: Levels, name: str, why: str, colours: bool = False) -> InputError:
    """Return the error that lists the values found, the most frequent first, and says how to choose."""
    shares = dict(zip(told(levels.values, colours), levels.counts / levels.codes.size, strict=True))
    most = sorted(shares, key=lambda value: -shares[value])
    named = ", ".join(f"{value} ({shares[value]:.1%})" for value in most[:_SHOWN])
    more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
    ways = "#rrggbb,..." if colours else "1,2 or '>=128'"
    return InputError(
        f"mask '{name}' has the values {named}{more}, {why}: say which are foreground, as in --mask-values {ways}"
    )
