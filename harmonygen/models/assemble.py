"""Put a Harmony-VAE into a denoiser's checkpoint: the two are trained apart, on latents of one frozen encoder."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import torch

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.checkpoints import read_json, read_spec
from harmonygen.models.denoiser import DenoiserSpec
from harmonygen.models.harmony_vae import HarmonyVAE, check_direction, load_autoencoder
from harmonygen.storage.shards import whole_folder

_FROZEN = ("encoder.", "quant_conv.", "post_quant_conv.")
_LATENT_CONFIG = ("latent_channels", "scaling_factor", "shift_factor", "block_out_channels")


def with_harmony_vae(denoiser: Path, vae: Path, out: Path) -> Path:
    """Copy the checkpoint folder ``denoiser`` to ``out`` with the Harmony-VAE of folder ``vae`` in its ``vae/``.

    ``out`` appears whole or not at all; ``denoiser`` is left alone, and may hold a plain autoencoder or another
    Harmony-VAE of the same encoder.

    Raises:
        CheckpointError: ``vae`` is no Harmony-VAE, is of the other direction, or its frozen parts are not those that
            the denoiser was trained with.
        UsageError: ``out`` exists already.
    """
    if out.exists():
        raise UsageError(f"'{out}' exists already: remove it, or choose another folder")
    check_fit(denoiser, vae)
    with whole_folder(out) as temporary:
        shutil.copytree(denoiser, temporary, ignore=partial(_vae_of, denoiser), dirs_exist_ok=True)
        shutil.copytree(vae, temporary / "vae")
    return out


def _vae_of(denoiser: Path, folder: str, _names: object) -> list[str]:
    """Name the entry that is not copied from a folder below ``denoiser``."""
    return ["vae"] if Path(folder) == denoiser else []


def check_fit(denoiser: Path, vae: Path) -> None:
    """Check that a Harmony-VAE folder decodes the latents that a denoiser folder makes.

    Raises:
        CheckpointError: see :func:`with_harmony_vae`.
    """
    spec = read_spec(denoiser, DenoiserSpec, "denoiser")
    new = load_autoencoder(vae)
    if not isinstance(new, HarmonyVAE):
        raise CheckpointError(f"'{vae}' is a plain autoencoder: a Harmony-VAE is needed (harmonygen train harmony-vae)")
    check_direction(new, spec.direction)
    old_config, new_config = read_json(denoiser / "vae" / "config.json"), read_json(vae / "config.json")
    for name in _LATENT_CONFIG:
        if old_config.get(name) != new_config.get(name):
            raise CheckpointError(
                f"{name} is {new_config.get(name)} in '{vae}' and {old_config.get(name)} in '{denoiser}': "
                "train the Harmony-VAE from this denoiser's autoencoder"
            )
    _check_frozen(load_autoencoder(denoiser / "vae").state_dict(), new.state_dict(), denoiser, vae)


def _check_frozen(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], denoiser: Path, vae: Path) -> None:
    """Compare the frozen parts in half precision, the least that either was saved in."""
    for name in (name for name in {**old, **new} if name.startswith(_FROZEN)):
        one, other = old.get(name), new.get(name)
        if one is None or other is None or not torch.equal(one.half(), other.half()):
            raise CheckpointError(
                f"'{name}' of '{vae}' is not that of '{denoiser}': "
                "train the Harmony-VAE from the autoencoder that the denoiser was trained with"
            )
