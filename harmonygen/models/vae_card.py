"""Write an autoencoder's folder; beside a Harmony-VAE, a card on what other tools make of it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from harmonygen.models.checkpoints import save_module
from harmonygen.models.harmony_vae import HarmonyVAE, plain_autoencoder

CARD = "README.md"
_CONDITION = {"inverse": "a real photo", "forward": "a composite", None: "a photo"}


def save_autoencoder(vae: AutoencoderKL | HarmonyVAE, folder: Path) -> None:
    """Write an autoencoder's folder, with its card if it is a Harmony-VAE. No digest of a checkpoint reads the card."""
    save_module(vae, folder)
    if isinstance(vae, HarmonyVAE):
        (folder / CARD).write_text(card_of(vae), encoding="utf-8")


def card_of(vae: HarmonyVAE) -> str:
    """Return the card of a Harmony-VAE's folder: how it is loaded, and what plain diffusers loads instead."""
    condition = _CONDITION[vae.config.direction]
    return f"""# Harmony-VAE

An autoencoder whose decoder also reads {condition} and its mask (DiffHarmony++).
Written by harmonygen, which loads it:

```python
from harmonygen.models.harmony_vae import HarmonyVAE
vae = HarmonyVAE.from_pretrained(".")  # this folder; vae(latents, photo, mask), photo in [-1, 1], mask of 0 and 1
```

{_elsewhere(vae)}
"""


def _elsewhere(vae: HarmonyVAE) -> str:
    if vae.config.light_widths:
        return (
            "**Other tools cannot load it.** Its light decoder has weights of other sizes than an `AutoencoderKL`:\n"
            "plain diffusers ends with an error that says so."
        )
    with torch.device("meta"):
        own = vae.state_dict().keys() - plain_autoencoder(vae.config).state_dict().keys()
    parts = ", ".join(f"`{part}.*`" for part in sorted({name.split(".")[0] for name in own}))
    return (
        "**Other tools load something else.** `AutoencoderKL.from_pretrained` of plain diffusers, of its pipelines\n"
        f"too, warns of {len(own)} unused keys ({parts}) and gives an autoencoder\n"
        "that decodes without the photo. The latents are the same; the pictures are not."
    )
