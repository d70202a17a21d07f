"""Train and measure the toy text-to-image model of the zero-shot tests: Stable Diffusion's classes, drawn shapes.

    python benchmarks/zero_shot_toy.py train --out tests/assets/toy-sd
    python benchmarks/zero_shot_toy.py check --model tests/assets/toy-sd --sheet sheet.png

`train` is seeded and takes about 12 minutes on two cores; `check` draws 96 pictures (DDIM 50 steps, guidance 2.5) and
prints one JSON object: the autoencoder's PSNR, the share of right colours and shapes, where the words attend.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fakes"))

from small_stable_diffusion import byte_pairs, write_stable_diffusion
from toy_text_to_image import COLOURS, SHAPES, SIDE, WORDS, Drawn, captions_of, draw, look

TOKENS = 24
PICTURES = 8_000
CAPTION_SHARES = (0.40, 0.35, 0.12, 0.13)  # shape, shape and field, field, nothing
UNSEEN = 1_000_000  # seeds from here on are never trained on


def new_parts(seed: int) -> dict[str, Any]:
    """The untrained parts; 0.9 million parameters together."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(12, 24, 32),
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=SIDE,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 4,
        block_out_channels=(16, 48),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=(2, 3),  # the numbers of heads, in spite of its name: 8 and 16 wide
        norm_num_groups=8,
    )
    text = CLIPTextConfig(
        vocab_size=len(byte_pairs(WORDS)[0]),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return {"vae": vae, "unet": unet, "text_encoder": CLIPTextModel(text), "scheduler": scheduler}


def pictures_pm1(scenes: list[Drawn]) -> Tensor:
    """Drawn pictures (B, 3, 64, 64) in [-1, 1]."""
    drawn = np.stack([scene.picture_u8 for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def rates(optimizer: torch.optim.Optimizer, steps: int, peak: float, warm: int = 60) -> Iterator[int]:
    """Yield the steps; the learning rate warms up to ``peak`` and falls to zero along a cosine."""
    for step in range(steps):
        rate = peak * min(1, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        yield step


def log(**figures: Any) -> None:
    """Print one line of figures to stderr."""
    print(json.dumps(figures), file=sys.stderr, flush=True)


def train_autoencoder(vae: Any, pictures: Tensor, steps: int, batch: int) -> None:
    """L1 and a small KL; then ``scaling_factor`` gives the latents unit deviation.

    The first 70 % of the steps see quarters of the pictures: four times as many for the same time.
    """
    vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.98), weight_decay=0)
    generator, started = torch.Generator().manual_seed(1), time.monotonic()
    for step in rates(optimizer, steps, peak=3e-3):
        chosen = torch.randint(len(pictures), (batch,), generator=generator)
        image = pictures[chosen]
        if step < 0.7 * steps:
            top, left = (int(at) for at in torch.randint(SIDE // 2, (2,), generator=generator))
            image = image[..., top : top + SIDE // 2, left : left + SIDE // 2]
        image = image.contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(image).latent_dist
        difference = (vae.decode(posterior.sample(generator)).sample - image).abs().mean()
        loss = difference + 2e-4 * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step == steps - 1:
            log(vae_step=step, l1=round(difference.item(), 4), seconds=round(time.monotonic() - started))
    vae.eval().to(memory_format=torch.contiguous_format)
    latents = encode(vae, pictures[:512])
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))


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


class Captions:
    """The captions of the drawn scenes as token ids (N, 4, 24), and a choice of one of each four."""

    def __init__(self, folder: Path, captions: list[str]) -> None:
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        texts = [text for caption in captions for text in captions_of(caption)]
        ids = tokenizer(texts, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
        self.ids = ids.reshape(len(captions), 4, TOKENS)
        self.shares = torch.tensor(CAPTION_SHARES)

    def choose(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return ids (B, 24) for the scenes ``chosen`` (B,)."""
        kind = torch.multinomial(self.shares, len(chosen), replacement=True, generator=generator)
        return torch.as_tensor(self.ids[chosen, kind])


def encode_text(encoder: Any, ids: Tensor, plain: Tensor) -> Tensor:
    """Encode ids (B, 24) to (B, 24, 64); where ``plain`` (B,) is true, what follows the words is the empty prompt's.

    Every state after the words could carry the whole caption; then pixels would attend there, and not to the words.
    """
    states = encoder(ids).last_hidden_state
    empty = encoder(torch.cat([ids[:1, :1], ids[:1, :1] * 0 + 1, ids[:1, 2:] * 0 + 1], 1)).last_hidden_state
    after = (ids == 1) & plain[:, None]
    return torch.where(after[..., None], empty, states)


class Average:
    """Exponential moving average of models' parameters."""

    def __init__(self, models: list[nn.Module]) -> None:
        self.live = [value for model in models for value in model.parameters()]
        self.kept = [value.detach().clone() for value in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live parameters; the average reaches back over at most 500 steps."""
        share = 1 - min(0.998, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.kept, self.live, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live parameters and the average."""
        for live, kept in zip(self.live, self.kept, strict=True):
            live.data, kept.data = kept.data, live.data


def train_denoiser(
    parts: dict[str, Any], latents: Tensor, captions: Captions, steps: int, batch: int, out: Path
) -> None:
    """Predict the noise, weighted by min(5, signal-to-noise ratio); UNet and text encoder learn together."""
    unet, encoder = parts["unet"].train(), parts["text_encoder"].train()
    kept = parts["scheduler"].alphas_cumprod
    weights = (5 * (1 - kept) / kept).clamp(max=1)
    optimizer = torch.optim.AdamW([*unet.parameters(), *encoder.parameters()], betas=(0.9, 0.98), weight_decay=1e-4)
    average = Average([unet, encoder])
    generator, started, seen = torch.Generator().manual_seed(2), time.monotonic(), []
    for step in rates(optimizer, steps, peak=2e-3):
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        times = torch.randint(len(kept), (batch,), generator=generator)
        noise = torch.randn(batch, *latents.shape[1:], generator=generator)
        alpha = kept[times].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents[chosen] + (1 - alpha).sqrt() * noise
        ids = captions.choose(chosen, generator)
        states = encode_text(encoder, ids, torch.rand(batch, generator=generator) < 0.5)
        loss = (weights[times] * (unet(noisy, times, states).sample - noise).square().mean((1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(average.live, 1.0)
        optimizer.step()
        average.update(step)
        seen.append(loss.item())
        if step % 100 == 99 or step == steps - 1:
            log(unet_step=step, loss=round(float(np.mean(seen[-100:])), 4), seconds=round(time.monotonic() - started))
        if step % 500 == 499 or step == steps - 1:
            average.swap()
            save(parts, out)
            average.swap()


def save(parts: dict[str, Any], folder: Path) -> None:
    """Write the folder in half precision, about 2 MB."""
    from copy import deepcopy

    halved = {name: deepcopy(part).half() if isinstance(part, nn.Module) else part for name, part in parts.items()}
    write_stable_diffusion(folder, halved, WORDS, TOKENS)


def train(options: argparse.Namespace) -> None:
    """Train the autoencoder, then the denoiser with its text encoder, and save the folder."""
    started, parts = time.monotonic(), new_parts(options.seed)
    log(
        parameters={
            name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if name != "scheduler"
        }
    )
    scenes = [draw(seed) for seed in range(options.pictures)]
    pictures = pictures_pm1(scenes)
    train_autoencoder(parts["vae"], pictures, options.vae_steps, options.vae_batch)
    log(psnr=round(reconstruction_psnr(parts["vae"]), 2), seconds=round(time.monotonic() - started))
    latents = encode(parts["vae"], pictures) * parts["vae"].config.scaling_factor
    del pictures
    save(parts, options.out)
    captions = Captions(options.out, [scene.caption for scene in scenes])
    log(latents=round(time.monotonic() - started))
    train_denoiser(parts, latents, captions, options.steps, options.batch, options.out)
    log(done=round(time.monotonic() - started))


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


def check(options: argparse.Namespace) -> None:
    """Print what the model draws for 96 prompts, and the sheet."""
    pipeline, texts = load_pipeline(options.model), prompts()
    pictures = sample(pipeline, texts, options.seed)
    right: dict[str, list[bool]] = {"colour": [], "field_colour": [], "shape": []}
    for text, picture in zip(texts, pictures, strict=True):
        words, (shape, colour, field) = text.split(", "), look(picture)
        right["shape"].append(shape == words[0])
        right["colour"].append(colour == words[1])
        if len(words) == 4:
            right["field_colour"].append(field == words[3])
    figures = {f"right_{name}": round(float(np.mean(values)), 3) for name, values in right.items()}
    files = [path for path in options.model.rglob("*") if path.is_file()]
    psnr = round(reconstruction_psnr(pipeline.vae), 2)
    shares = attention_shares(pipeline)
    print(json.dumps({"psnr": psnr, **figures, "attention": shares, "bytes": sum(p.stat().st_size for p in files)}))
    if options.sheet:
        rows = (pictures * 255).round().astype(np.uint8).reshape(-1, 12, SIDE, SIDE, 3)
        Image.fromarray(rows.transpose(0, 2, 1, 3, 4).reshape(-1, 12 * SIDE, 3)).save(options.sheet)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    training = verbs.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    for name, value in {
        "seed": 0,
        "pictures": PICTURES,
        "vae-steps": 600,
        "vae-batch": 24,
        "steps": 2400,
        "batch": 64,
    }.items():
        training.add_argument(f"--{name}", type=int, default=value)
    training.set_defaults(run=train)
    checking = verbs.add_parser("check")
    checking.add_argument("--model", type=Path, required=True)
    checking.add_argument("--sheet", type=Path)
    checking.add_argument("--seed", type=int, default=0)
    checking.set_defaults(run=check)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
