"""Settings of `import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harmonygen.settings import MAX_SIDE, Settings, setting

Kind = Literal["denoiser", "harmony-vae", "refiner", "classifier"]


class ImportSettings(Settings):
    """Options of `harmonygen import-weights`."""

    source: Path | None = setting(
        None,
        "Weights: .safetensors, .pth, .pt, .bin, or their folder.",
        unset="required",
    )
    kind: Kind | None = setting(None, "What the weights are.", unset="required")
    out: Path | None = setting(None, "Checkpoint folder to write.", unset="required")
    direction: Literal["forward", "inverse"] | None = setting(
        None, "Denoiser and harmony-vae: what they were trained for."
    )
    base: Path | None = setting(
        None,
        "Denoiser: Stable Diffusion folder with scheduler, vae and text encoder.",
        unset="--from",
    )
    vae: Path | None = setting(None, "Denoiser: folder of an autoencoder or Harmony-VAE.", unset="--base")
    null_embedding: str = setting("", "Denoiser: safetensors file of the empty prompt's embedding.", unset="by --base")
    labels: Literal["composite-last", "composite-first"] | None = setting(
        None, "Classifier: which output means composite."
    )
    input_size: int = setting(256, "Classifier: side of its input, in pixels.", ge=32, le=MAX_SIDE)
    mask_offset: float = setting(0.0, "Classifier: value that is taken off its mask input, 0 to 1.", ge=0, le=1)
