"""The recipes that distil, at Stable Diffusion's own size: a step of each among tensors without values."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from harmonygen.models import denoiser
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, new_scheduler
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.importing import SD15_UNET, SD_VAE
from harmonygen.settings import resolve
from harmonygen.training import distill, light_decoder
from harmonygen.training.distill import DistillTask
from harmonygen.training.light_decoder import LightDecoderTask
from harmonygen.training.settings import TASKS

BATCH = 2


@pytest.fixture
def harmony_vae() -> HarmonyVAE:
    """Stable Diffusion's autoencoder as a Harmony-VAE."""
    with torch.device("meta"):
        return HarmonyVAE(**SD_VAE, direction="inverse")


@pytest.fixture
def teacher(harmony_vae, monkeypatch) -> Denoiser:
    """Stable Diffusion 1.5's inpainting UNet with it; its sampler keeps real numbers, which it looks steps up by."""
    with torch.device("meta"):
        unet, prompt = UNet2DConditionModel.from_config(SD15_UNET), torch.zeros(1, 77, 768)
    usual = denoiser.sampling_scheduler
    for module in (denoiser, distill):
        monkeypatch.setattr(module, "sampling_scheduler", lambda *given: usual(*given[:3], torch.device("cpu")))
    return Denoiser(unet, harmony_vae, new_scheduler("epsilon"), prompt, DenoiserSpec(resolution=512))


def batch(side: int) -> dict[str, torch.Tensor]:
    shapes = {"real": 3, "composite": 3, "mask": 1}
    return {name: torch.zeros(BATCH, channels, side, side, device="meta") for name, channels in shapes.items()}


def step(task: DistillTask | LightDecoderTask, given: dict[str, torch.Tensor], rate: float) -> int:
    """Make an optimiser's step; return how many parameters have a gradient."""
    parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    loss, _ = task.loss(task.module, given, torch.Generator().manual_seed(0))
    loss.backward()
    torch.optim.AdamW(parameters, lr=rate).step()
    return sum(parameter.numel() for parameter in parameters if parameter.grad is not None)


def test_a_one_step_student_of_stable_diffusions_size_takes_a_step(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "locate", lambda *_: tmp_path)
    monkeypatch.setattr(distill, "read_spec", lambda *_: teacher.spec)
    monkeypatch.setattr(distill, "weights_digest", lambda *_: "")
    monkeypatch.setattr(Denoiser, "from_pretrained", lambda *_: teacher)
    settings = resolve(TASKS["distill"], "train/sd15-inverse-distill")
    task = DistillTask(settings, "meta")
    drawn = task.teach(batch(settings.resolution), range(BATCH))
    assert drawn["goal"].shape == drawn["condition"].shape == (BATCH, 4, 64, 64)
    assert step(task, drawn, settings.learning_rate) == 859_535_364
    assert task.steps == 5
    assert (task.model.spec.steps, task.model.spec.sampler) == (1, "euler")


def test_a_light_decoder_of_stable_diffusions_size_takes_a_step(harmony_vae, tmp_path, monkeypatch):
    monkeypatch.setattr(light_decoder, "vae_folder", lambda *_: tmp_path)
    monkeypatch.setattr(light_decoder, "load_autoencoder", lambda *_: harmony_vae)
    usual = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 0.0 if self.is_meta else usual(self))  # for the log alone
    settings = resolve(TASKS["light-decoder"], "train/sd15-light-decoder")
    with torch.device("meta"):
        task = LightDecoderTask(settings)
    assert tuple(task.vae.config.light_widths) == settings.widths == (256, 128)
    whole = sum(parameter.numel() for parameter in harmony_vae.decoder.parameters())
    assert 0 < step(task, batch(settings.resolution), settings.learning_rate) < 0.2 * whole
