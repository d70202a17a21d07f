"""What the toy text-to-image model has learned, measured: used by zero_shot_toy.py and by the tests of the toy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fakes"))

from toy_text_to_image import COLOURS, SHAPES, Drawn, draw, look

TOKENS = 24
UNSEEN = 1_000_000  # seeds from here on are never trained on


def pictures_pm1(scenes: list[Drawn]) -> Tensor:
    """Drawn pictures (B, 3, 64, 64) in [-1, 1]."""
    drawn = np.stack([scene.picture_u8 for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Means of the latents (N, 4, 16, 16), not scaled."""
    return torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(128)])


@torch.no_grad()
def reconstruction_psnr(vae: Any) -> float:
    """PSNR in dB of 64 unseen pictures after the autoencoder, data range 2."""
    pictures = pictures_pm1([draw(UNSEEN + index) for index in range(64)])
    error = vae.decode(encode(vae, pictures)).sample.clamp(-1, 1) - pictures
    return float(10 * torch.log10(4 / error.square().mean()))


def prompts() -> list[str]:
    """Every shape in every colour twice: alone (24), and on fields of the three colours after its own (72)."""
    names = list(COLOURS)
    pairs = [(shape, index) for shape in SHAPES for index in range(len(names))]
    alone = [f"{shape}, {names[index]}" for shape, index in pairs]
    fields = [(shape, index, (index + step) % len(names)) for step in (1, 2, 3) for shape, index in pairs]
    return alone + [f"{shape}, {names[index]}, field, {names[field]}" for shape, index, field in fields]


def load_pipeline(folder: Path) -> Any:
    """Load the folder as diffusers' own pipeline, in float32."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline: Any, texts: list[str], seed: int = 0) -> np.ndarray[Any, Any]:
    """Pictures (N, 64, 64, 3) in [0, 1]: DDIM, 50 steps, guidance 2.5."""
    generator = torch.Generator().manual_seed(seed)
    made = [
        pipeline(
            texts[start : start + 24], num_inference_steps=50, guidance_scale=2.5, output_type="np", generator=generator
        ).images
        for start in range(0, len(texts), 24)
    ]
    return np.concatenate(made)


class Watch:
    """An attention processor that keeps the probabilities (B, heads, pixels, tokens) of the last call."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None

    def __call__(self, attn: Any, hidden: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        """Attend plainly; ``hidden`` is (B, pixels, C)."""
        context = hidden if encoder_hidden_states is None else encoder_hidden_states
        split = [
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, x in ((attn.to_q, hidden), (attn.to_k, context), (attn.to_v, context))
        ]
        self.seen = (split[0] @ split[1].transpose(-1, -2) * attn.scale).softmax(-1)
        return torch.as_tensor(attn.to_out[1](attn.to_out[0]((self.seen @ split[2]).transpose(1, 2).flatten(2))))


@torch.no_grad()
def attention_shares(pipeline: Any, count: int = 48, timestep: int = 400) -> dict[str, float]:
    """Where the words attend at 16 x 16, in unseen scenes: the share of each word's attention inside the shape.

    Mean over heads and layers of ``timestep``; ``shape_area`` is what a word without a place would reach.
    """
    scenes = [draw(UNSEEN + index) for index in range(count)]
    masks = torch.tensor(np.stack([scene.mask for scene in scenes])).float()
    inside = nn.functional.avg_pool2d(masks[:, None], 4).flatten(1)
    pictures = pictures_pm1(scenes)
    latents = encode(pipeline.vae, pictures) * pipeline.vae.config.scaling_factor
    alpha = pipeline.scheduler.alphas_cumprod[timestep]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    watched = {name: Watch() for name in pipeline.unet.attn_processors}
    pipeline.unet.set_attn_processor(dict(watched))
    tokens = pipeline.tokenizer(
        [s.caption for s in scenes], padding="max_length", max_length=TOKENS, return_tensors="pt"
    )
    states = pipeline.text_encoder(tokens.input_ids).last_hidden_state
    pipeline.unet(alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, timestep, states)
    maps = [w.seen.mean(1) for name, w in watched.items() if "attn2" in name and w.seen.shape[2] == inside.shape[1]]
    return word_shares(torch.stack(maps).mean(0), inside, pipeline.tokenizer, scenes)


def word_shares(attention: Tensor, inside: Tensor, tokenizer: Any, scenes: list[Any]) -> dict[str, float]:
    """Mean share of attention (N, pixels, tokens) inside the shapes (N, pixels), for the four words of a caption."""
    found: dict[str, list[float]] = {"shape": [], "colour": [], "field": [], "field_colour": [], "shape_area": []}
    mass: list[float] = []
    for one, place, scene in zip(attention, inside, scenes, strict=True):
        at = 1
        for role, word in zip(list(found)[:4], scene.caption.split(", "), strict=True):
            length = len(tokenizer(word).input_ids) - 2
            column = one[:, at : at + length].sum(1)
            found[role].append(float((column * place).sum() / column.sum()))
            at += length + 1
        found["shape_area"].append(float(place.mean()))
        mass.append(float(one[:, 1 : at - 1].sum(1).mean()))
    return {role: round(float(np.mean(values)), 3) for role, values in {**found, "attention_on_words": mass}.items()}


def right_shares(texts: list[str], pictures: np.ndarray[Any, Any]) -> dict[str, float]:
    """Shares of pictures (N, 64, 64, 3) whose shape, shape's colour and field's colour are the prompt's words."""
    right: dict[str, list[bool]] = {"shape": [], "colour": [], "field_colour": []}
    for text, picture in zip(texts, pictures, strict=True):
        words, (shape, colour, field) = text.split(", "), look(picture)
        right["shape"].append(shape == words[0])
        right["colour"].append(colour == words[1])
        if len(words) == 4:
            right["field_colour"].append(field == words[3])
    return {name: round(float(np.mean(values)), 3) for name, values in right.items()}
