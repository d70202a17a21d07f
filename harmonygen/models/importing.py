"""Bring released weights into checkpoint folders: DiffHarmony's UNets, Harmony-VAE, refinement net, ResNet classifiers.

Each network is built on ``meta`` from the configuration beside the weights (Stable Diffusion 1.5's where there is
none), its names and shapes are compared with what was read, and only then is it given the weights. What weights do
not tell, such as a denoiser's direction, is what the user states.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, listed
from harmonygen.models.checkpoints import write_spec
from harmonygen.models.classifier import DEPTHS, ClassifierSpec, HarmonyResNet, Label
from harmonygen.models.denoiser import UNET_CHANNELS, Denoiser, DenoiserSpec, Direction
from harmonygen.models.foreign import Foreign, check_names
from harmonygen.models.harmony_vae import DOWN_BLOCK, UP_BLOCK, HarmonyVAE, load_autoencoder
from harmonygen.models.initialise import empty_prompt, load_scheduler, read_embedding
from harmonygen.models.refiner import INPUTS, RefinementUNet
from harmonygen.models.refiner_config import spec_of
from harmonygen.models.vae_card import save_autoencoder
from harmonygen.settings import Settings

SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": UNET_CHANNELS,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
"""Stable Diffusion 1.5 inpainting's UNet, in diffusers' names: 859,535,364 parameters."""
SD_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": (DOWN_BLOCK,) * 4,
    "up_block_types": (UP_BLOCK,) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
"""The autoencoder of Stable Diffusion 1.x and of sd-vae-ft-mse."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class HarmonyVaeSpec(Settings):
    """What an imported Harmony-VAE folder says about itself in ``harmonygen.json``."""

    kind: Literal["harmony-vae"] = "harmony-vae"
    format: int = 1
    direction: Direction
    training_data: str = ""


def import_denoiser(
    weights: Foreign, direction: Direction, base: Path, vae: Path, null_embedding: str, out: Path
) -> int:
    """Write a denoiser checkpoint from a 9-channel UNet; scheduler and empty prompt are those of ``base``.

    It states ``posterior`` ``sample``, which is how the released UNets were trained and run.

    Args:
        weights: a UNet2DConditionModel's.
        direction: what the UNet was trained for, as the user states it.
        base: a Stable Diffusion folder, or a denoiser checkpoint.
        vae: the folder of the autoencoder or Harmony-VAE that the UNet was trained with, or one that has ``vae/``.
        null_embedding: a safetensors file to take the empty prompt's embedding from; empty: from ``base``.
        out: the folder to write.

    Returns:
        The UNet's number of parameters.

    Raises:
        CheckpointError: other channels or names, or an incomplete base.
    """
    taken = _channels(weights, "conv_in.weight")
    if taken != UNET_CHANNELS:
        hint = ": a plain Stable Diffusion UNet; training can start from one (init=FOLDER)" if taken == 4 else ""
        raise CheckpointError(
            f"'{weights.path}' takes {taken} channels, {UNET_CHANNELS} are needed (latent 4, mask 1, condition 4){hint}"
        )
    config = {**SD15_UNET, **_own(weights.config), "in_channels": taken} if weights.config else SD15_UNET
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    _give(unet, weights.state, _named("Stable Diffusion UNet", weights))
    null = read_embedding(Path(null_embedding)) if null_embedding else empty_prompt(base)
    spec = DenoiserSpec(direction=direction, posterior="sample", training_data=_origin(weights, direction))
    autoencoder = load_autoencoder(vae / "vae" if (vae / "vae").is_dir() else vae)
    Denoiser(unet, autoencoder, load_scheduler(base), null, spec).save_pretrained(out, weights.dtype)
    return count(unet)


def import_harmony_vae(weights: Foreign, direction: Direction, out: Path) -> int:
    """Write a Harmony-VAE folder, which serves as the ``vae/`` of a denoiser of the same direction.

    It states ``posterior`` ``sample``, which is how the released weights were trained and run.

    Raises:
        CheckpointError: other names or shapes than REFERENCE section 4's, or a config with entries that are not
            modelled.
    """
    config = {**SD_VAE, **_vae_config(weights), "direction": direction, "posterior": "sample"}
    with torch.device("meta"):
        model = HarmonyVAE.from_config(config)
    _give(model, renamed_attention(weights.state), _named("Harmony-VAE", weights))
    save_autoencoder(nn.Module.to(model, weights.dtype), out)
    write_spec(out, HarmonyVaeSpec(direction=direction, training_data=_origin(weights, direction)))
    return count(model)


def import_refiner(weights: Foreign, out: Path) -> int:
    """Write a refiner checkpoint (REFERENCE section 3): as its config states, or as the released base is.

    Raises:
        CheckpointError: other names, other channels than harmonized 3 | mask 1 | composite 3, or a config with entries
            that are not modelled.
    """
    taken, (needed, parts) = _channels(weights, "conv_in.weight"), INPUTS["refiner"]
    if taken != needed:
        raise CheckpointError(f"'{weights.path}' takes {taken} channels, a refiner takes {needed} ({parts})")
    spec = spec_of(weights.config, weights.config_name, _origin(weights))
    with torch.device("meta"):
        model = RefinementUNet(spec)
    _give(model, renamed_attention(weights.state), _named("refinement UNet", weights))
    model.save_pretrained(out, weights.dtype)
    return count(model)


def import_classifier(
    weights: Foreign, labels: tuple[Label, Label], input_size: int, mask_offset: float, out: Path
) -> int:
    """Write a classifier folder from a torchvision ResNet's state dict with a head of two outputs.

    Its pictures are resized bilinearly, also those that are enlarged, as in the papers' code.

    Args:
        weights: of any torchvision depth, 3 channels (image) or 4 (image and mask).
        labels: the meaning of outputs 0 and 1, as the user states it: the two projects differ (REFERENCE section 5).
        input_size: side of the square input, pixels.
        mask_offset: what is taken from the mask of 0 and 1 before it is stacked; 0 leaves it as it is.
        out: the folder to write.

    Raises:
        CheckpointError: another head, other channels, or other names.
    """
    taken, head = _channels(weights, "conv1.weight"), weights.state.get("fc.weight")
    if taken not in (3, 4):
        raise CheckpointError(f"'{weights.path}' takes {taken} channels, 3 (image) or 4 (image, mask) are needed")
    if head is not None and head.shape[0] != 2:
        raise CheckpointError(
            f"the head of '{weights.path}' is {tuple(head.shape)}, with an output for each of {head.shape[0]} classes: "
            f"(2, {head.shape[1]}), for real and composite, is needed"
        )
    spec = ClassifierSpec(
        depth=resnet_depth(weights.state),
        in_channels=taken,
        input_size=input_size,
        labels=labels,
        mask_offset=mask_offset,
        enlarge="bilinear",
        training_data=_origin(weights),
    )
    with torch.device("meta"):
        model = HarmonyResNet(spec)
    counters = {name: torch.tensor(0) for name in model.network.state_dict() if name.endswith("num_batches_tracked")}
    _give(model.network, {**counters, **weights.state}, f"a {spec.depth}")  # older files lack the counters
    model.save_pretrained(out, weights.dtype)
    return count(model)


def resnet_depth(state: dict[str, Tensor]) -> str:
    """Return torchvision's name of a ResNet by its blocks.

    Raises:
        CheckpointError: no ResNet that is known has such blocks.
    """
    bottleneck = "layer1.0.conv3.weight" in state
    blocks = [len({name.split(".")[1] for name in state if name.startswith(f"layer{level}.")}) for level in range(1, 5)]
    for depth, (block, counts) in DEPTHS.items():
        if counts == blocks and (block.expansion == 4) == bottleneck:
            return depth
    kind = "bottleneck" if bottleneck else "basic"
    raise CheckpointError(f"a ResNet of {blocks} {kind} blocks is not known: choose one of {', '.join(DEPTHS)}")


def renamed_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give attention layers diffusers' present names; older files have ``query key value proj_attn``.

    >>> list(renamed_attention({"encoder.mid_block.attentions.0.proj_attn.bias": torch.zeros(1)}))
    ['encoder.mid_block.attentions.0.to_out.0.bias']
    """
    renamed = {}
    for name, value in state.items():
        *parents, layer, leaf = name.split(".")
        if "attentions" in parents and layer in _OLD_ATTENTION:
            name = ".".join([*parents, _OLD_ATTENTION[layer], leaf])
        renamed[name] = value
    return renamed


def count(module: nn.Module) -> int:
    """Return a module's number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _give(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Give a module that was built on ``meta`` its weights, after names and shapes were found right."""
    check_names(state, module.state_dict(), what)
    module.load_state_dict(state, assign=True)


def _channels(weights: Foreign, name: str) -> int:
    return int(weights.state[name].shape[1])


def _own(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _vae_config(weights: Foreign) -> dict[str, Any]:
    """Return the entries of a released Harmony-VAE's config without the channels of its mask, which are always one.

    Raises:
        CheckpointError: other channels, or entries that are not modelled.
    """
    stated = _own(weights.config)
    masks = stated.pop("additional_in_channels", 1)
    known = set(signature(HarmonyVAE.__init__).parameters)
    faults = [f"{name} {value!r}" for name, value in stated.items() if name not in known]
    faults += [f"additional_in_channels {masks!r}"] if masks != 1 else []
    if faults:
        raise CheckpointError(f"{weights.config_name} states what is not modelled here: {listed(faults)}")
    return stated


def _named(what: str, weights: Foreign) -> str:
    sizes = f"of {weights.config_name}" if weights.config else "at its published size (no config.json beside the file)"
    return f"a {what} {sizes}"


def _origin(weights: Foreign, direction: str = "") -> str:
    stated = f"; direction {direction} as stated on import, weights do not tell it" if direction else ""
    return f"imported from {weights.path.name}, sha256 {weights.digest}{stated}"
