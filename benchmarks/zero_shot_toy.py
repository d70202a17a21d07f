"""Train and measure the toy text-to-image model of the zero-shot tests: Stable Diffusion's classes, drawn shapes.

    python benchmarks/zero_shot_toy.py train --out tests/assets/toy-sd
    python benchmarks/zero_shot_toy.py check --model tests/assets/toy-sd --sheet sheet.png

`train` is seeded and takes about 18 minutes on a busy core; `check` draws 96 pictures (DDIM 50 steps, guidance 2.5) and
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
from toy_text_to_image import SIDE, WORDS, captions_of, draw
from zero_shot_toy_measures import (
    TOKENS,
    attention_shares,
    encode,
    load_pipeline,
    pictures_pm1,
    prompts,
    reconstruction_psnr,
    right_shares,
    sample,
)

PICTURES = 8_000
CAPTION_SHARES = (0.40, 0.35, 0.12, 0.13)  # shape, shape and field, field, nothing


def new_parts(seed: int) -> dict[str, Any]:
    """The untrained parts; 0.9 million parameters together."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig

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
        prediction_type="v_prediction",
    )
    return {"vae": vae, "unet": unet, "text_encoder": new_text_encoder(text), "scheduler": scheduler}


def new_text_encoder(config: Any) -> Any:
    """A text encoder whose words start far apart; at CLIP's own start, 0.02, red and blue stay nearly one state."""
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=1.0)
    return encoder


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

    The first 80 % of the steps see quarters of the pictures: four times as many for the same time.
    """
    vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.98), weight_decay=0)
    generator, started = torch.Generator().manual_seed(1), time.monotonic()
    for step in rates(optimizer, steps, peak=3e-3):
        chosen = torch.randint(len(pictures), (batch,), generator=generator)
        image = pictures[chosen]
        if step < 0.8 * steps:
            top, left = (int(at) for at in torch.randint(SIDE // 2, (2,), generator=generator))
            image = image[..., top : top + SIDE // 2, left : left + SIDE // 2]
        image = image.contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(image).latent_dist
        difference = (vae.decode(posterior.sample(generator)).sample - image).abs().mean()
        loss = difference + 1e-5 * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step == steps - 1:
            log(vae_step=step, l1=round(difference.item(), 4), seconds=round(time.monotonic() - started))
    vae.eval().to(memory_format=torch.contiguous_format)
    latents = encode(vae, pictures[:512])
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))


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
    """Predict v; UNet and text encoder learn together.

    The words matter in the steps of much noise, where they alone tell what is there. There a UNet this small cannot
    give the noise precisely enough: predicting it, 500 steps taught drawing and not one word.
    """
    unet, encoder = parts["unet"].train(), parts["text_encoder"].train()
    kept = parts["scheduler"].alphas_cumprod
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
        goal = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents[chosen]
        loss = (unet(noisy, times, states).sample - goal).square().mean()
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


def check(options: argparse.Namespace) -> None:
    """Print what the model draws for 96 prompts, and the sheet."""
    pipeline, texts = load_pipeline(options.model), prompts()
    pictures = sample(pipeline, texts, options.seed)
    files = [path for path in options.model.rglob("*") if path.is_file()]
    figures = {
        "psnr": round(reconstruction_psnr(pipeline.vae), 2),
        "right": right_shares(texts, pictures),
        "attention": attention_shares(pipeline),
        "bytes": sum(path.stat().st_size for path in files),
    }
    print(json.dumps(figures))
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
        "vae-steps": 4000,
        "vae-batch": 16,
        "steps": 1600,
        "batch": 32,
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
