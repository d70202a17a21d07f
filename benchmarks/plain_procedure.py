"""`synthesize` against the plain procedure: K rounds over the data, then a second pass that scores the files.

    python benchmarks/plain_procedure.py --data photos.csv                              # starter weights, 256 px
    python benchmarks/plain_procedure.py --data photos.csv --size sd15 --resolution 512 --device cuda --dtype bfloat16

The plain procedure is two scripts. The first runs K times, in batches of --batch pairs (fewer when they do not fit):
read the photos, encode them, run the text encoder, denoise, decode, and save a JPEG each. The second reads all files
back, scores them in batches of 16 and copies the best of each pair. Both sides have the same weights, dtype, device,
pairs, square size, steps and threads in all; each runs in a process of its own, weights loaded from disk. In the plain
procedure's favour: no text encoder with the starter's weights, which have none; JPEG where `synthesize` writes lossless
PNG at the photos' own size; no gates. A residual model (the starter) needs the decoded photo, in each round.
`--size sd15` makes random weights of Stable Diffusion 1.5's shape, a Harmony-VAE and a ResNet50.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCORED_AT_ONCE = 16
_TOKENS = 77


class PlainProcedure:
    """The two scripts, as one would write them on diffusers."""

    def __init__(self, options: argparse.Namespace, weights: dict[str, str], out: Path) -> None:
        import torch
        from transformers import CLIPTextConfig, CLIPTextModel

        from harmonygen.data import read_pairs
        from harmonygen.models.checkpoints import locate
        from harmonygen.models.denoiser import Denoiser
        from harmonygen.models.scorer import load_classifier
        from harmonygen.records import ReadOptions

        self.options, self.out, self.seconds = options, out, Counter[str]()
        self.device, dtype = options.device, getattr(torch, options.dtype)
        self.model = Denoiser.from_pretrained(locate(weights["model"], "inverse"), "inverse", self.device, dtype)
        for part in (self.model.unet, self.model.vae):  # as from_pretrained of diffusers leaves them
            torch.nn.Module.to(part, memory_format=torch.contiguous_format)
        self.classifier = load_classifier(locate(weights["classifier"], "classifier"), self.device, dtype)
        encoder = CLIPTextModel(CLIPTextConfig()).to(self.device, dtype).eval() if options.size == "sd15" else None
        self.text_encoder, self.batch = encoder, options.batch
        self.pairs = list(read_pairs(options.data, limit=options.limit, reading=ReadOptions(allow_outside=True)))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's seconds to a stage."""
        began = time.perf_counter()
        yield
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - began

    def run(self) -> None:
        """Make K files a pair, then score them all and copy the best."""
        import torch

        with torch.inference_mode():
            for k in range(self.options.k):
                start = 0
                while start < len(self.pairs):
                    try:
                        self.round(k, start)
                    except torch.OutOfMemoryError:
                        torch.cuda.empty_cache()
                        self.batch = max(1, self.batch // 2)
                        continue
                    start += self.batch
            self.choose()

    def round(self, k: int, start: int) -> None:
        """One batch of one round: photos to JPEG files."""
        import torch

        from harmonygen.pictures.images import save

        model, pairs = self.model, self.pairs[start : start + self.batch]
        dtype = model.unet.dtype
        with self.timed("read"):
            images, masks = self.read(pairs)
            images, masks = images.to(self.device), masks.to(self.device)
        with self.timed("encode"):
            condition = model.encode(images)
            features = model.features(images, masks)
        with self.timed("text encoder"):
            prompt = model.null_embedding.expand(len(pairs), -1, -1)
            if self.text_encoder is not None:
                tokens = torch.zeros(len(pairs), _TOKENS, dtype=torch.long, device=self.device)
                prompt = self.text_encoder(tokens).last_hidden_state.to(dtype)
        with self.timed("denoise"):
            latents = self.denoise(condition, model.latent_mask(masks), prompt, k)
        with self.timed("decode"):
            decoded = model.decode(latents, features)
        if model.spec.target == "residual":
            with self.timed("decode the photo"):
                decoded = images + (decoded - model.decode(condition, features))
        with self.timed("save"):
            pictures = ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for index, picture in enumerate(pictures, start):
                save(picture, self.out / f"{index:06d}_{k}.jpg")

    def read(self, pairs: list[Any]) -> tuple[Any, Any]:
        """Read photos and masks, squeezed to a square."""
        import numpy as np
        import torch

        from harmonygen.models.draw import to_pm1
        from harmonygen.pictures.images import read_image, resize
        from harmonygen.pictures.masks import read_mask, resize_mask

        side, images, masks = self.options.resolution, [], []
        for pair in pairs:
            decoded = read_image(pair.real)
            images.append(to_pm1(resize(decoded.image_u8, side, side)))
            mask = resize_mask(read_mask(pair.mask, decoded), side, side)
            masks.append(torch.from_numpy(mask[None, None].astype(np.float32)))
        return torch.cat(images), torch.cat(masks)

    def denoise(self, condition: Any, mask: Any, prompt: Any, k: int) -> Any:
        """Denoise a batch of pairs in 5 steps, guidance 1."""
        import torch
        from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

        from harmonygen.models.denoiser import draw_noise

        model, spec = self.model, self.model.spec
        kind = EulerDiscreteScheduler if spec.sampler == "euler" else EulerAncestralDiscreteScheduler
        scheduler = kind.from_config(model.scheduler.config)
        scheduler.set_timesteps(self.options.steps, device=self.device)
        generator = torch.Generator().manual_seed(k)
        latents = draw_noise(tuple(condition.shape), generator, spec.noise_share).to(self.device)
        latents = latents * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            stacked = torch.cat([scheduler.scale_model_input(latents, timestep), mask, condition], dim=1)
            predicted = model.unet(stacked.to(model.unet.dtype), timestep, prompt).sample.float()
            latents = scheduler.step(predicted, timestep, latents).prev_sample
        return condition + latents * spec.residual_scale * mask if spec.target == "residual" else latents

    def choose(self) -> None:
        """The second script: read every file back, score it, and copy the best of each pair."""
        import numpy as np
        import torch

        from harmonygen.pictures.images import decode, read_image, resize
        from harmonygen.pictures.masks import read_mask, resize_mask

        side, files = self.classifier.spec.input_size, sorted(self.out.glob("*.jpg"))
        parameter, scores = next(self.classifier.parameters()), dict[Path, float]()
        best = self.out / "best"
        best.mkdir()
        with self.timed("score"):
            for start in range(0, len(files), _SCORED_AT_ONCE):
                some = files[start : start + _SCORED_AT_ONCE]
                images = np.stack([resize(decode(file.read_bytes(), file.name).image_u8, side, side) for file in some])
                pairs = [self.pairs[int(file.stem.partition("_")[0])] for file in some]
                masks = [resize_mask(read_mask(pair.mask, read_image(pair.real)), side, side) for pair in pairs]
                batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(parameter.device, parameter.dtype) / 255
                inside = torch.from_numpy(np.stack(masks)[:, None]).to(parameter.device, parameter.dtype)
                scores |= zip(some, self.classifier.p_composite(batch, inside).tolist(), strict=True)
            for index in range(len(self.pairs)):
                mine = [file for file in files if file.name.startswith(f"{index:06d}_")]
                shutil.copy(max(mine, key=scores.__getitem__), best)


def run_plain(options: argparse.Namespace, weights: dict[str, str], out: Path) -> dict[str, Any]:
    """Run the plain procedure; return its seconds, stages and candidates."""
    out.mkdir()
    began = time.perf_counter()
    procedure = PlainProcedure(options, weights, out)
    loaded = time.perf_counter() - began
    procedure.run()
    seconds = time.perf_counter() - began
    stages = {"load": loaded, **procedure.seconds}
    return {"seconds": seconds, "made": len(list(out.glob("*.jpg"))), "stages": stages, "batch": procedure.batch}


def run_synthesize(options: argparse.Namespace, weights: dict[str, str], out: Path) -> dict[str, Any]:
    """Run `synthesize` on the same; return its seconds and candidates."""
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    began = time.perf_counter()
    settings = SynthesizeSettings(
        data=options.data,
        limit=options.limit,
        k=options.k,
        out=out,
        resolution=options.resolution,
        fit="square",
        steps=options.steps,
        device=options.device,
        dtype=options.dtype,
        workers=options.workers,
        shard_size=max(1, options.limit // (2 * options.workers)),
        **weights,
    )
    result = synthesize(settings)
    return {"seconds": time.perf_counter() - began, "made": result.summary["candidates"]}


def make_weights(folder: Path, size: str) -> dict[str, str]:
    """Return where the weights are; those of Stable Diffusion 1.5's size are made, random."""
    if size == "starter":
        return {"model": "starter", "classifier": "starter"}
    import torch
    from full_size import build

    from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet

    torch.manual_seed(0)
    build(1.0, True, "cpu", torch.float32).save_pretrained(folder / "inverse")
    HarmonyResNet(ClassifierSpec(input_size=224)).save_pretrained(folder / "classifier")
    return {"model": str(folder / "inverse"), "classifier": str(folder / "classifier")}


SIDES = {"plain": run_plain, "synthesize": run_synthesize}


def in_own_process(side: str, weights: dict[str, str], out: Path, threads: int) -> dict[str, Any]:
    """Run a side in a process with ``threads`` threads in all."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--weights", json.dumps(weights)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, "--out", str(out)], stdout=subprocess.PIPE, env=environment, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return answer


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", default="sample")
    made.add_argument("--limit", type=int, default=40)
    made.add_argument("--k", type=int, default=10)
    made.add_argument("--steps", type=int, default=5)
    made.add_argument("--resolution", type=int, default=256)
    made.add_argument("--batch", type=int, default=16, help="pairs a batch of the plain procedure")
    made.add_argument("--size", choices=["starter", "sd15"], default="starter")
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", default="float32")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="of either side, all workers together")
    made.add_argument("--workers", type=int, default=1, help="of synthesize")
    made.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    made.add_argument("--weights", type=json.loads, help=argparse.SUPPRESS)
    made.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return made


def main() -> int:
    """Run both sides and print one table; exit code 1 if they did not make as many."""
    options = parser().parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options, options.weights, options.out)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        weights = make_weights(Path(folder), options.size)
        found = {side: in_own_process(side, weights, Path(folder) / side, options.threads) for side in SIDES}
    plain, ours = found["plain"], found["synthesize"]
    print(
        f"{options.limit} pairs, K = {options.k}, {options.resolution} px square, {options.size}, {options.dtype}, "
        f"{options.device}, {options.threads} threads; batches of {plain['batch']} pairs, {options.workers} workers\n"
    )
    print("| what | seconds | candidates/s | times |\n|---|---:|---:|---:|")
    for side, row in found.items():
        rate, times = row["made"] / row["seconds"], plain["seconds"] / row["seconds"]
        print(f"| {side} | {row['seconds']:.1f} | {rate:.2f} | {times:.2f} |")
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in plain["stages"].items() if seconds >= 0.05)
    print(f"\nOf the plain procedure: {spent} s.")
    return 0 if plain["made"] == ours["made"] else 1


if __name__ == "__main__":
    sys.exit(main())
