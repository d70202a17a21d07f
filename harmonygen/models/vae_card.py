"""Write an autoencoder's folder; beside a Harmony-VAE, a card on what other tools make of it."""

from __future__ import annotations

from pathlib import Path

from diffusers import AutoencoderKL

from harmonygen.models.checkpoints import save_module
from harmonygen.models.harmony_vae import HarmonyVAE

CARD = "README.md"
_OWN_PARTS = ("conditional_encoder.", "latent_skip_conv.")
_CONDITION = {"inverse": "a real photo", "forward": "a composite", None: "a photo"}


def save_autoencoder(vae: AutoencoderKL | HarmonyVAE, folder: Path) -> None:
    """Write an autoencoder's folder, with its card if it is a Harmony-VAE. No digest of a checkpoint reads the card."""
    save_module(vae, folder)
    if isinstance(vae, HarmonyVAE):
        (folder / CARD).write_text(card_of(vae), encoding="utf-8")


def card_of(vae: HarmonyVAE) -> str:
    """Return the card of a Harmony-VAE's folder: how it is loaded, and what plain diffusers loads instead."""
    own = sum(name.startswith(_OWN_PARTS) for name in vae.state_dict())
    condition = _CONDITION[vae.config.direction]
    return f"""# Harmony-VAE

An autoencoder whose decoder also reads {condition} and its mask (DiffHarmony++).
Written by harmonygen, which loads it:

```python
from harmonygen.models.harmony_vae import HarmonyVAE
vae = HarmonyVAE.from_pretrained(".")  # this folder; vae(latents, photo, mask), photo in [-1, 1], mask of 0 and 1
```

**Other tools load something else.** `AutoencoderKL.from_pretrained` of plain diffusers, and its pipelines,
warn of {own} unused keys (`conditional_encoder.*`, `latent_skip_conv.*`) and give an autoencoder that
decodes without the photo. The latents are the same; the pictures are not.
"""
