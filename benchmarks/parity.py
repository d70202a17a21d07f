"""How near the published code: each golden output of tests/assets/parity, and how far from it harmonygen is.

    python benchmarks/parity.py        # the table of docs/parity.md; exit code 1 if a part is over its tolerance

The goldens are outputs of DiffHarmony's public code on random weights (tests/assets/parity/README.md). The weights come
in as users bring theirs in: by `import-weights`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from harmonygen.evaluation.metrics import fmse, mse, psnr
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.models.draw import PictureSampler, to_pm1
from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder
from harmonygen.models.import_weights import import_weights
from harmonygen.models.refiner import RefinementUNet
from harmonygen.models.refiner_config import spec_of
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.models.settings import ImportSettings
from harmonygen.training.denoiser import foreground_mean, training_scheduler
from harmonygen.training.harmony_vae import weighted_error

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "assets" / "parity"
MODE = Sampling(steps=5, posterior="mode")
REFINERS: dict[str, dict[str, Any]] = {
    "published": {},
    "padding_1": {"downsample_padding": 1},
    "head_dim_8": {"attention_head_dim": 8},
    "eps_1e-2": {"norm_eps": 0.01},
    "no_residual": {"input_residual": False},
    "relu": {"act_fn": "relu"},
    "mid_scale_2": {"mid_block_scale_factor": 2},
}
"""The refiner's goldens by name, and the entry of config.json that each of them changes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A row of the table: what it is, in which unit it differs, and by how much it may."""

    name: str
    tolerance: float


SAMPLER = Part("sampler: timesteps, sigmas, first sigma", 1e-5)
MASK = Part("latent mask", 0.0)
SCHEDULE = Part("training schedule: alphas", 1e-6)
CONDITION = Part("condition latent, posterior at its mode (scaled)", 1e-6)
LATENTS = Part("final latents, up to 62 (scaled)", 1e-3)
PIXELS = Part("pictures in [0, 1]", 1e-5)
FLOORED = Part("picture floored to 8 bits (levels)", 0.0)
ENCODERS = Part("Harmony-VAE: posteriors, skips, mid (of the largest value)", 1e-6)
DECODED = Part("Harmony-VAE: decoded, condition's mode and sample", 1e-5)
VAE_LOSS = Part("Harmony-VAE: losses", 1e-6)
NOISE = Part("denoiser: predicted noise", 1e-5)
LOSS = Part("denoiser: losses", 1e-6)
REFINER = Part("refiner, published config and six others", 1e-5)
CLASSIFIER = Part("classifier: P(composite)", 1e-6)
METRICS = Part("MSE, PSNR, fMSE, ratio", 1e-6)

Difference = Callable[["Parity"], float]
"""Computes the largest absolute difference from one golden."""


class Parity:
    """The goldens, and the networks of ours that have their weights."""

    def __init__(self, work: Path) -> None:
        self.work = work

    @cache  # noqa: B019
    def arrays(self, name: str) -> dict[str, Any]:
        """Return the arrays of ``<name>.npz`` by name."""
        with np.load(GOLDEN / f"{name}.npz") as found:
            return dict(found)

    def imported(self, kind: str, source: str, **options: Any) -> Path:
        """Import a golden folder and return the checkpoint folder."""
        out = self.work / f"{kind}-{source}-{len(list(self.work.iterdir()))}"
        import_weights(ImportSettings(source=GOLDEN / source, kind=kind, out=out, **options))
        return out

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        """The arrays of the sampled pictures."""
        return self.arrays("pipeline")

    @cached_property
    def vae_folder(self) -> Path:
        """The imported Harmony-VAE."""
        return self.imported("harmony-vae", "condition_vae", direction="forward")

    @cached_property
    def denoisers(self) -> dict[str, Denoiser]:
        """The imported denoiser with its plain autoencoder and with the Harmony-VAE."""
        null = str(GOLDEN / "null_embedding.safetensors")
        vaes = {"vae": GOLDEN / "vae", "condition_vae": self.vae_folder}
        options: dict[str, Any] = {"direction": "forward", "base": GOLDEN, "null_embedding": null}
        folders = {name: self.imported("denoiser", "unet", vae=vae, **options) for name, vae in vaes.items()}
        return {name: Denoiser.from_pretrained(folder, "forward") for name, folder in folders.items()}

    @cached_property
    def vae(self) -> HarmonyVAE:
        """The imported Harmony-VAE, loaded."""
        vae = load_autoencoder(self.vae_folder)
        assert isinstance(vae, HarmonyVAE)
        return vae.eval().requires_grad_(False)

    @cached_property
    def encoded(self) -> dict[str, Any]:
        """What the Harmony-VAE makes, by the goldens' names."""
        given = {name: torch.from_numpy(value) for name, value in self.arrays("condition_vae").items()}
        vae, condition, mask = self.vae, given["condition"], given["mask"]
        target, posterior = given["image"], vae.encode(given["image"]).latent_dist
        moments, mid, skips = vae.conditional_encoder(condition, mask)
        found = dict(zip(("cond_mean", "cond_std"), vae.quant_conv(moments).chunk(2, dim=1), strict=True))
        found["cond_std"] = vae.features(condition, mask).std
        trained = vae(posterior.mean + posterior.std * given["train_noise"], condition, mask)
        return {
            **found,
            **{"mean": posterior.mean, "std": posterior.std, "mid": mid},
            **{f"skip_{index}": skip for index, skip in enumerate(skips)},
            "decoded_mode": vae(given["z"], condition, mask),
            "decoded_sample": vae(given["z"], condition, mask, given["cond_noise"]),
            "train_l1": weighted_error(trained, target, mask, "l1"),
            "train_l2": weighted_error(trained, target, mask, "l2"),
        }

    @cache  # noqa: B019
    def sampled(self, vae: str, seed: int) -> dict[str, Any]:
        """Return latents and pixels of a seed, the condition's posterior at its mode and at the given sample."""
        model, own = self.denoisers[vae], torch.from_numpy(self.pipeline[f"{vae}_own_condition"])
        image, mask = to_pm1(self.pipeline["u8"]), self.mask
        condition, cells = model.condition(image, MODE)[0], model.latent_mask(mask)
        latents = {"mode": model.sample(condition, cells, [seed], MODE), "own": model.sample(own, cells, [seed], MODE)}
        pixels = {"mode": next(PictureSampler(model, MODE)(self.pipeline["u8"], mask[0, 0].numpy() > 0, [seed]))}
        if vae == "vae":
            drawn = model.picture(latents["own"], own, own, image)
            pixels["own"] = ((drawn[0] + 1) / 2).permute(1, 2, 0).numpy()
        return {"condition": condition, "latents": latents, "pixels": pixels}

    @property
    def mask(self) -> torch.Tensor:
        """The mask (1, 1, H, W) of the sampled pictures."""
        return torch.from_numpy(self.pipeline["mask"][None, None].astype(np.float32))

    @cached_property
    def noise(self) -> torch.Tensor:
        """What the denoiser predicts of the losses' noised latents."""
        model = self.denoisers["vae"]
        given = {name: torch.from_numpy(np.asarray(value)) for name, value in self.arrays("loss").items()}
        noisy = training_scheduler(model.scheduler).add_noise(given["latents"], given["noise"], given["timesteps"])
        stacked = torch.cat([noisy, given["mask"], given["condition"]], dim=1)
        predicted: torch.Tensor = model.unet(
            stacked, given["timesteps"], model.null_embedding.expand(len(noisy), -1, -1)
        ).sample
        return predicted


def apart(ours: Any, golden: Any, relative: bool = False) -> float:
    """Return the largest absolute difference of two arrays of one shape, ``relative`` to the golden's largest value."""
    one, other = (np.asarray(value, dtype=np.float64) for value in (ours, golden))
    if one.shape != other.shape:
        raise ValueError(f"shape {one.shape} of ours, {other.shape} of the golden")
    return float(np.abs(one - other).max() / (np.abs(other).max() if relative else 1))


def goldens() -> Iterator[tuple[Part, str, Difference]]:
    """Yield every golden: its part, its name, and what computes the difference."""
    yield from _of_the_sampler()
    yield from _of_pictures()
    yield from _of_the_harmony_vae()
    yield from _of_the_denoisers_loss()
    for name, changes in REFINERS.items():
        yield REFINER, name, lambda parity, name=name, changes=changes: _refined(parity, name, changes)
    for index in range(3):
        yield CLASSIFIER, f"p_{index}", lambda parity, index=index: _scored(parity, index)
    for index in range(6):
        for background in ("none", "real"):
            yield METRICS, f"{index}_{background}", lambda p, i=index, b=background: _measured(p, i, b)


def _of_the_sampler() -> Iterator[tuple[Part, str, Difference]]:
    def scheduler(parity: Parity) -> Any:
        found = parity.denoisers["vae"].scheduler
        found.set_timesteps(5)
        return found

    yield SAMPLER, "timesteps", lambda p: apart(scheduler(p).timesteps, p.pipeline["timesteps"])
    yield SAMPLER, "sigmas", lambda p: apart(scheduler(p).sigmas, p.pipeline["sigmas"])
    yield SAMPLER, "init_sigma", lambda p: apart(scheduler(p).init_noise_sigma, p.pipeline["init_sigma"])
    yield MASK, "latent_mask", lambda p: apart(p.denoisers["vae"].latent_mask(p.mask), p.pipeline["latent_mask"])


def _of_pictures() -> Iterator[tuple[Part, str, Difference]]:
    def different(part: str, name: str, vae: str, kind: str, seed: int) -> Difference:
        def difference(parity: Parity) -> float:
            found = parity.sampled(vae, seed)[part][kind]
            golden = parity.pipeline[name]
            return apart(found, golden[0].transpose(1, 2, 0) if part == "pixels" else golden)

        return difference

    for vae in ("vae", "condition_vae"):
        name = f"{vae}_mode_condition"
        yield CONDITION, name, lambda p, v=vae, n=name: apart(p.sampled(v, 1)["condition"], p.pipeline[n])
        for kind in ("mode", "own"):
            for seed in (1, 2):
                name = f"{vae}_{kind}_{seed}"
                yield LATENTS, f"{name}_latents", different("latents", f"{name}_latents", vae, kind, seed)
                if (vae, kind) != ("condition_vae", "own"):  # the golden's decoding samples, its noise is not given
                    yield PIXELS, f"{name}_pixels", different("pixels", f"{name}_pixels", vae, kind, seed)
    floored = ProtocolRules("fullres-fg", compat_floor=True)
    yield (
        FLOORED,
        "floored_u8",
        lambda p: apart(
            floored.decoded(p.pipeline["vae_mode_1_pixels"][0].transpose(1, 2, 0), p.pipeline["mask"].shape),
            p.pipeline["floored_u8"],
        ),
    )


def _of_the_harmony_vae() -> Iterator[tuple[Part, str, Difference]]:
    skips = [f"skip_{index}" for index in range(9)]
    parts = {
        ENCODERS: ("mean", "std", "cond_mean", "cond_std", "mid", *skips),
        DECODED: ("decoded_mode", "decoded_sample"),
        VAE_LOSS: ("train_l1", "train_l2"),
    }
    for part, names in parts.items():
        for name in names:
            relative = part is ENCODERS
            yield part, name, lambda p, n=name, r=relative: apart(p.encoded[n], p.arrays("condition_vae")[n], r)


def _of_the_denoisers_loss() -> Iterator[tuple[Part, str, Difference]]:
    def losses(parity: Parity) -> dict[str, torch.Tensor]:
        given = parity.arrays("loss")
        squared = (parity.noise - torch.from_numpy(given["noise"])) ** 2
        mask = torch.from_numpy(given["mask"])
        return {"foreground": foreground_mean(squared, mask, 5.0), "image": squared.mean()}

    alphas = "alphas_cumprod"
    yield (
        SCHEDULE,
        alphas,
        lambda p: apart(training_scheduler(p.denoisers["vae"].scheduler).alphas_cumprod, p.arrays("loss")[alphas]),
    )
    yield NOISE, "predicted", lambda p: apart(p.noise, p.arrays("loss")["predicted"])
    for name in ("foreground", "image"):
        yield LOSS, name, lambda p, n=name: apart(losses(p)[n], p.arrays("loss")[n])


def _refined(parity: Parity, name: str, changes: dict[str, Any]) -> float:
    """Return the difference of a refiner with entries of its config changed; the golden is not clamped."""
    if changes:
        config = json.loads((GOLDEN / "stage2" / "config.json").read_text(encoding="utf-8"))
        model = RefinementUNet(spec_of({**config, **changes}, "config.json", ""))
        model.load_state_dict(load_file(GOLDEN / "stage2" / "diffusion_pytorch_model.safetensors"))
    else:
        model = RefinementUNet.from_pretrained(parity.imported("refiner", "stage2"), "refiner")
    given = parity.arrays("stage2")
    harmonized, mask, composite = torch.from_numpy(given["x"]).split([3, 1, 3], dim=1)
    return apart(model.train()(harmonized, mask, composite), given[name])


def _scored(parity: Parity, index: int) -> float:
    given = parity.arrays("classifier")
    image = given[f"image_{index}"]
    p = ClassifierScorer(_classifier())([image], np.ones(image.shape[:2], dtype=bool))[0]
    return apart(p, given[f"p_{index}"])


_built: list[HarmonyResNet] = []


def _classifier() -> HarmonyResNet:
    """Return the ResNet50 of the goldens, as an import states it; its weights are drawn by the README's rule."""
    if _built:
        return _built[0]
    with torch.device("meta"):
        model = HarmonyResNet(ClassifierSpec(mask_offset=0.0, enlarge="bilinear"))
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    rng, state = np.random.default_rng(50), model.network.state_dict()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        drawn = rng.standard_normal(tuple(state[name].shape)).astype(np.float32)
        state[name].copy_(torch.from_numpy(_scaled(name, drawn)))
    _built.append(model)
    return model


def _scaled(name: str, drawn: Any) -> Any:
    if drawn.ndim > 1:
        return drawn * np.float32(np.sqrt(2 / np.prod(drawn.shape[1:])))
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(drawn)
    return np.float32(0.5) + np.float32(0.1) * drawn if name.endswith("weight") else np.float32(0.1) * drawn


def _measured(parity: Parity, index: int, background: Any) -> float:
    given = parity.arrays("evaluation")
    real, composite, mask, predicted = (given[f"{index}_{n}"] for n in ("real", "composite", "mask", "predicted"))
    rules = ProtocolRules("paper", background)
    target = rules.target(composite, real, mask)
    image = rules.prediction(predicted, target, str(index))
    real_u8 = target.real_u8
    found = mse(image, real_u8), psnr(image, real_u8), fmse(image, real_u8, target.mask), target.ratio
    return apart(found, given[f"{index}_{background}_mse_psnr_fmse_ratio"])


def table(rows: dict[Part, list[float]]) -> list[str]:
    """Return the table's lines: a row for each part, with its largest difference."""
    lines = ["| part | goldens | difference | tolerance |", "|---|---|---|---|"]
    for part, found in rows.items():
        worst, allowed = (f"{value:.0e}" if value else "0" for value in (max(found), part.tolerance))
        lines.append(f"| {part.name} | {len(found)} | {worst} | {allowed} |")
    return lines


@torch.no_grad()
def main() -> int:
    """Print the table; return 1 if a golden is missed."""
    rows: dict[Part, list[float]] = {}
    with tempfile.TemporaryDirectory() as work:
        parity = Parity(Path(work))
        for part, _, difference in goldens():
            rows.setdefault(part, []).append(difference(parity))
    print("\n".join(table(rows)))
    held = sum(value <= part.tolerance for part, found in rows.items() for value in found)
    count = sum(map(len, rows.values()))
    print(f"\n{held} of {count} goldens hold")
    return int(held < count)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
