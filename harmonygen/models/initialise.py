"""Start a denoiser from a Stable Diffusion folder, from another checkpoint of harmonygen, or from a small config.

An inpainting UNet takes 9 channels already and is used as it is. A plain one takes 4: its first convolution is
widened, and what the new channels (mask 1, condition 4) add starts at zero. The prompt is always empty: its embedding
is computed once, with the folder's own tokenizer and text encoder, and then travels with the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.models.checkpoints import (
    SPEC_NAME,
    WEIGHTS,
    load_weights,
    locate,
    read_json,
    read_spec,
    refuse_not_finite,
    variant_of,
)
from harmonygen.models.denoiser import NULL_EMBEDDING, UNET_CHANNELS, DenoiserSpec, new_scheduler, small_unet

PLAIN_CHANNELS = 4
_PREDICTIONS = ("epsilon", "v_prediction")
_STATED = (
    *("target", "noise", "noise_share", "mask_pooling", "detail_radius", "detail_map", "detail_cell"),
    *("sampler", "steps", "draws", "posterior"),
)


@dataclass(frozen=True, slots=True)
class Start:
    """What a denoiser starts as; ``null_embedding`` is (1, tokens, width), float32."""

    unet: UNet2DConditionModel
    scheduler: EulerAncestralDiscreteScheduler
    null_embedding: Tensor


def start_denoiser(init: str, config: dict[str, Any], prediction_type: str, null_embedding: str = "") -> Start:
    """Build what a denoiser starts as.

    Args:
        init: a Stable Diffusion folder (9 or 4 channels), a denoiser checkpoint, or ``starter``; empty: a new UNet.
        config: the new UNet's configuration, in diffusers' names; unused with ``init``.
        prediction_type: ``epsilon`` or ``v_prediction``; with ``init``, see :func:`stated_choices`.
        null_embedding: a safetensors file to take the empty prompt's embedding from.

    Raises:
        CheckpointError: a part of the folder is missing, damaged, or of other channels.
        UsageError: the folder's text encoder is needed, and transformers is not installed.
    """
    if not init:
        unet = small_unet(config)
        width = int(unet.config.cross_attention_dim)
        null = read_embedding(Path(null_embedding)) if null_embedding else torch.zeros(1, 1, width)
        return Start(unet, new_scheduler(prediction_type), null)
    folder = locate(init, "inverse")
    unet = widen(load_unet(folder / "unet"))
    scheduler = load_scheduler(folder, prediction_type)
    return Start(unet, scheduler, read_embedding(Path(null_embedding)) if null_embedding else empty_prompt(folder))


def stated_choices(init: str) -> dict[str, Any]:
    """Return the training choices that the folder ``init`` was made with; a recipe that names one overrides it.

    ``prediction_type`` is its scheduler's (a folder whose scheduler says v_prediction continues so); a checkpoint of
    harmonygen also states target, noise, noise_share, mask_pooling, detail_radius, detail_map, detail_cell, sampler,
    steps, draws and posterior. Without ``init``, nothing.

    Raises:
        CheckpointError: no scheduler, or it predicts something else.
    """
    if not init:
        return {}
    folder = locate(init, "inverse")
    stated: dict[str, Any] = {"prediction_type": prediction_of(folder)}
    if (folder / SPEC_NAME).is_file():
        stated |= read_spec(folder, DenoiserSpec, "denoiser").model_dump(include=set(_STATED))
    return stated


def prediction_of(folder: Path) -> str:
    """Return what the scheduler of a folder says the UNet predicts; one that says nothing means epsilon.

    Raises:
        CheckpointError: no scheduler, or neither epsilon nor v_prediction.
    """
    found = str(read_json(folder / "scheduler" / "scheduler_config.json").get("prediction_type", "epsilon"))
    if found not in _PREDICTIONS:
        raise CheckpointError(
            f"the scheduler of '{folder}' predicts {found!r}, epsilon or v_prediction is needed: choose another folder"
        )
    return found


def load_scheduler(folder: Path, prediction_type: str | None = None) -> EulerAncestralDiscreteScheduler:
    """Return a folder's noise schedule as the papers' sampler, with linspace spacing (REFERENCE section 2)."""
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    predicted = prediction_type or prediction_of(folder)
    return EulerAncestralDiscreteScheduler.from_config(config, timestep_spacing="linspace", prediction_type=predicted)


def load_unet(folder: Path) -> UNet2DConditionModel:
    """Load a UNet folder (``config.json`` and safetensors, also ``.fp16``) in float32.

    Raises:
        CheckpointError: missing, damaged, or weights that are not this UNet's.
    """
    read_json(folder / "config.json")
    variant = variant_of(folder, WEIGHTS)
    try:
        unet, report = UNet2DConditionModel.from_pretrained(
            folder, use_safetensors=True, variant=variant, torch_dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"UNet '{folder}' cannot be loaded ({told(error)}): copy it again") from error
    _whole(folder, report)
    refuse_not_finite(unet.state_dict(), folder)
    return unet


def widen(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Give a 4-channel UNet the 9 channels of ours, in place; the new ones start at zero. 9 channels are left alone.

    At the start the output is the 4-channel UNet's whatever the mask and the condition are: zeros are added. It is
    the same bit for bit wherever the convolution is computed by the same algorithm for 4 and 9 channels (the CPU's
    library changes over for one large image: the last bit then differs).

    Raises:
        CheckpointError: other channels in or out.
    """
    found, given = unet.config.in_channels, unet.config.out_channels
    if found not in (PLAIN_CHANNELS, UNET_CHANNELS) or given != PLAIN_CHANNELS:
        raise CheckpointError(
            f"the UNet takes {found} channels and gives {given}: take an inpainting UNet (9 in, 4 out) "
            "or a plain one (4 in, 4 out)"
        )
    if found == UNET_CHANNELS:
        return unet
    old = unet.conv_in
    new = nn.Conv2d(UNET_CHANNELS, old.out_channels, old.kernel_size, old.stride, old.padding)
    new = new.to(device=old.weight.device, dtype=old.weight.dtype)
    new.bias = old.bias
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :PLAIN_CHANNELS] = old.weight
    unet.conv_in = new
    unet.register_to_config(in_channels=UNET_CHANNELS)
    return unet


def empty_prompt(folder: Path) -> Tensor:
    """Return the embedding (1, tokens, width) of the empty prompt: stored in ``folder``, or computed there.

    A Stable Diffusion 1.x folder's is (1, 77, 768).

    Raises:
        CheckpointError: neither an embedding nor tokenizer and text encoder, or they are damaged.
        UsageError: transformers is not installed.
    """
    if (folder / NULL_EMBEDDING).is_file():
        return read_embedding(folder / NULL_EMBEDDING)
    for part in ("tokenizer", "text_encoder"):
        if not (folder / part).is_dir():
            raise CheckpointError(
                f"'{folder}' has no {part}/ to compute the empty prompt's embedding with, and no {NULL_EMBEDDING}: "
                "complete the folder, or name a file by null_embedding=FILE"
            )
    tokenizer, encoder = load_text(folder)
    tokens = min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))
    ids = tokenizer("", padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return torch.as_tensor(encoder.eval()(ids).last_hidden_state).float()


def load_text(folder: Path) -> tuple[Any, Any]:
    """Load a folder's tokenizer and its text encoder in float32.

    Raises:
        CheckpointError: missing or damaged.
        UsageError: transformers is not installed.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise UsageError(
            "the empty prompt's embedding needs the package transformers: pip install 'harmonygen[sd]', "
            "or name a file by null_embedding=FILE"
        ) from error
    encoder = folder / "text_encoder"
    variant = variant_of(encoder, "model")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        model, report = CLIPTextModel.from_pretrained(
            encoder, local_files_only=True, use_safetensors=True, variant=variant, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the text encoder of '{folder}' cannot be loaded ({told(error)}): copy it again"
        ) from error
    _whole(encoder, {"missing_keys": report["missing_keys"], "unexpected_keys": ()})
    refuse_not_finite(model.state_dict(), encoder)
    return tokenizer, model.float()


def read_embedding(path: Path) -> Tensor:
    """Read an empty prompt's embedding, (tokens, width) or (1, tokens, width), from a safetensors file of one tensor.

    Raises:
        CheckpointError: missing, damaged, several tensors, or another shape.
    """
    tensors = load_weights(path)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    shape = next(iter(found.values()), ())
    if len(tensors) != 1 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        raise CheckpointError(f"'{path}' holds {found}: one tensor (1, tokens, width) is needed")
    value: Tensor = next(iter(tensors.values()))
    return value.float().reshape(1, *shape[-2:])


def _whole(folder: Path, report: dict[str, Any]) -> None:
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong:
        raise CheckpointError(
            f"the weights in '{folder}' do not fit its config.json ({len(wrong)} names differ, first: {wrong[0]}): "
            "copy the folder again"
        )
