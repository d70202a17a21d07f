"""What an edit needs of memory, found by running the model's shapes on no device at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.attention import install, map_size
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage

_WORKSPACE = 1.15  # what kernels and the allocator take beside what is kept: seen on small models


def needs(model: TextToImage, settings: ZeroShotSettings, height: int, width: int) -> dict[str, int]:
    """Return the bytes that an edit at height x width needs on the device.

    ``activations`` is what the larger of the two optimisations keeps for its way back: the words' (two passes of the
    UNet, attention maps open), or the null text's (two passes of the UNet, one of the decoder). It is an estimate: what
    kernels take for themselves is a flat share.

    Returns:
        ``weights``, ``activations``, ``latents`` and ``total``.
    """
    rows, columns = height // model.factor, width // model.factor
    weights = sum(map(_bytes, (model.unet, model.vae, model.text_encoder)))
    unet, vae = _shapes_of(model)
    states = torch.empty(2, model.tokens, int(unet.config.cross_attention_dim), device="meta", requires_grad=True)
    latents = torch.empty(2, 4, rows, columns, device="meta")
    states, latents = states.to(unet.dtype), latents.to(unet.dtype)
    control = install(unet)

    def words() -> Tensor:
        size = map_size(unet, rows, columns)
        with control.reading(size[0] * size[1]):
            return cast(Tensor, unet(latents, 1, encoder_hidden_states=states).sample)

    def null_text() -> Tensor:
        predicted = cast(Tensor, unet(latents, 1, encoder_hidden_states=states).sample)
        return cast(Tensor, vae.decode(predicted[:1]).sample) if settings.edge_weight else predicted

    kept = max(_kept(words) if settings.refine_inner else 0, _kept(null_text))
    activations = int(kept * _WORKSPACE)
    trajectory = 0 if model.low_memory else (settings.inversion_steps + 1) * 4 * rows * columns * 4
    return {
        "weights": weights,
        "activations": activations,
        "latents": trajectory,
        "total": weights + activations + trajectory,
    }


def _bytes(module: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def _shapes_of(model: TextToImage) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """Return UNet and autoencoder without weights, as the model uses them."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(model.unet.config), AutoencoderKL.from_config(model.vae.config)
    for part, like in ((unet, model.unet), (vae, model.vae)):
        nn.Module.to(part, like.dtype)
        part.requires_grad_(False).eval()
        if model.low_memory:
            part.enable_gradient_checkpointing()
    return unet, vae


def _kept(run: Callable[[], Tensor]) -> int:
    """Return the bytes of distinct tensors that a forward pass keeps for its way back."""
    with _counting() as sizes:
        run()
        return sum(sizes.values())


@contextmanager
def _counting() -> Iterator[dict[int, int]]:
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            if storage._cdata not in sizes:
                sizes[storage._cdata] = storage.nbytes()
                held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes
