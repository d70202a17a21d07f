"""Time and memory at Stable Diffusion 1.5's architecture, with random weights: K candidates, and training steps.

    python benchmarks/full_size.py                                # a GPU: 512 and 1024 px, K = 10, bf16
    python benchmarks/full_size.py --widths 0.2 --sizes 128       # a CPU: the same script at reduced widths

Candidates: one photo encoded, its features read once (--harmony-vae), K candidates denoised together in 5 steps and
decoded. Training: the inverse denoiser's loss, backward pass and AdamW step, at --train-batch, as the recipe
`train/sd15-inverse` has them (latents from the frozen VAE on each batch). Share of peak: floating-point operations
counted by torch over time, over what a large matrix product reaches in the same precision in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harmonygen.models.denoiser import Denoiser, DenoiserSpec, new_scheduler
from harmonygen.models.device import Sampling
from harmonygen.models.harmony_vae import HarmonyVAE

_WIDTHS = (320, 640, 1280, 1280)
_VAE_WIDTHS = (128, 256, 512, 512)
_TOKENS, _PROMPT = 77, 768
LIGHT_WIDTHS, LIGHT_BLOCKS = (256, 128), 2  # recipe train/sd15-light-decoder


def build(scale: float, harmony: bool, device: str, dtype: torch.dtype, light: bool = False) -> Denoiser:
    """Build the architecture with random weights; ``scale`` multiplies every width (rounded to 32).

    ``light`` gives the Harmony-VAE a light decoder.
    """
    widths, vae_widths = ([max(32, round(w * scale / 32) * 32) for w in part] for part in (_WIDTHS, _VAE_WIDTHS))
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=9,
        out_channels=4,
        block_out_channels=widths,
        cross_attention_dim=_PROMPT,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=vae_widths,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=0.18215,
    )
    decoder = HarmonyVAE.from_autoencoder(vae, "inverse") if harmony else vae
    if light:
        small = [max(8, round(width * scale / 8) * 8) for width in LIGHT_WIDTHS]
        decoder = decoder.lightened(small, LIGHT_BLOCKS)
    model = Denoiser(
        unet, decoder, new_scheduler("epsilon"), torch.zeros(1, _TOKENS, _PROMPT), DenoiserSpec(resolution=512)
    )
    return model.to(device, dtype)


def timed(work: Callable[[], object], device: str, repeats: int) -> float:
    """Return seconds a call, after one call that warms up."""
    work()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return (time.perf_counter() - began) / repeats


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """Return the operations a second of a large matrix product, at its best."""
    side = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: left @ right, device, 1) for _ in range(8))


def candidates(model: Denoiser, side: int, k: int, steps: int) -> None:
    """One photo of ``side`` pixels to K pictures."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    condition = model.encode(photo.to(model.device))
    features = model.features(photo, mask)
    latents = model.sample(condition, model.latent_mask(mask).to(model.device), range(k), Sampling(steps))
    for latent in latents.split(1):  # the decoder's memory grows with the batch, its speed does not
        model.decode(latent, features)


def training_step(model: Denoiser, batch: int, side: int, dtype: torch.dtype) -> Callable[[], None]:
    """Return a function that makes one optimiser step of the inverse recipe."""
    unet = nn.Module.to(model.unet, dtype=torch.float32).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    device = model.device
    real, composite = (torch.rand(batch, 3, side, side, device=device) * 2 - 1 for _ in range(2))
    mask = torch.ones(batch, 1, side // model.factor, side // model.factor, device=device)
    prompt = model.null_embedding.float().expand(batch, -1, -1)

    def step() -> None:
        condition, target = model.encode(real), model.encode(composite)
        noise, timesteps = torch.randn_like(target), torch.randint(0, 1000, (batch,), device=device)
        with torch.autocast(device.type, dtype=dtype):
            predicted = unet(torch.cat([target + noise, mask, condition], dim=1), timesteps, prompt).sample
        ((predicted.float() - noise) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def memory(device: str) -> str:
    """Return the peak of the GPU's memory since the last call, or nothing on a CPU."""
    if not device.startswith("cuda"):
        return "-"
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f"{peak:.1f} GiB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=float, default=1.0, help="multiplies every width")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--train-batch", type=int, default=16)
    parser.add_argument("--train-steps", type=int, default=20)
    parser.add_argument("--harmony-vae", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16
    peak = matrix_peak(device, dtype)
    model = build(options.widths, options.harmony_vae, device, dtype)
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.unet, model.vae)]
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; bf16; UNet {millions[0]:.0f} M, VAE {millions[1]:.0f} M parameters (widths x {options.widths:g})")
    print(f"matrix peak measured: {peak / 1e12:.2f} TFLOP/s\n")
    print("| work | seconds | rate | memory | share of peak |\n|---|---:|---:|---:|---:|")
    for side in options.sizes:
        work = lambda side=side: candidates(model, side, options.k, options.steps)  # noqa: E731
        with FlopCounterMode(display=False) as counter:
            work()
        memory(device)
        seconds = timed(work, device, 2)
        share = counter.get_total_flops() / seconds / peak
        rate = f"{options.k / seconds:.2f} candidates/s"
        print(f"| K = {options.k} at {side} px | {seconds:.2f} | {rate} | {memory(device)} | {share:.0%} |", flush=True)
    side = min(options.sizes)
    step = training_step(model, options.train_batch, side, dtype)
    with FlopCounterMode(display=False) as counter:
        step()
    memory(device)
    seconds = timed(step, device, options.train_steps)
    share = counter.get_total_flops() / seconds / peak
    rate = f"{options.train_batch / seconds:.2f} images/s"
    label = f"training step, batch {options.train_batch}, {side} px"
    print(f"| {label} | {seconds:.2f} | {rate} | {memory(device)} | {share:.0%} |")


if __name__ == "__main__":
    main()
