"""DiffHarmony and DiffHarmony++: the forward latent diffusion model, with a refiner if asked (REFERENCE 2 to 4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from harmonygen.errors import CheckpointError
from harmonygen.harmonization.load import Chosen
from harmonygen.models.agreement import run_denoiser
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Device, Sampling, keep_memory
from harmonygen.models.draw import PictureSampler, to_pm1
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.refiner import RefinementUNet
from harmonygen.pictures.detail import Transfer, full_size
from harmonygen.pictures.images import ImageU8, Picture01, resize
from harmonygen.pictures.photo import Photo, Sizing, model_size, shrink_mask
from harmonygen.seeds import stable_seed
from harmonygen.settings import Detail


class DiffusionHarmonizer:
    """The mean of N draws of the forward model, refined if there is a refiner, at the composite's own size.

    A draw is a sample of what the photo may have looked like; the mean of all samples has the least expected squared
    error, and the mean of N comes nearer to it with every draw, for N times the work. Draw ``i`` of a seed is the
    same for every N.
    """

    def __init__(
        self,
        draw: PictureSampler,
        digest: str = "",
        detail: Detail = "transfer",
        refiner: RefinementUNet | None = None,
    ) -> None:
        self.draw, self.digest, self.detail, self.refiner = draw, digest, detail, refiner
        self.resolution, self.multiple = draw.model.spec.resolution, draw.model.factor

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: Device,
        sampling: Sampling,
        detail: Detail,
        *,
        refine: str | Path | None = None,
        harmony_vae: bool = False,
    ) -> DiffusionHarmonizer:
        """Load ``starter`` or a forward checkpoint folder, and a refiner's.

        Args:
            name: the forward model's folder.
            device: where they run, and how many draws are denoised together.
            sampling: steps, sampler and how many draws are averaged.
            detail: how the change gets to the composite's own size.
            refine: the refiner's folder.
            harmony_vae: insist on a Harmony-VAE (DiffHarmony++).

        Raises:
            CheckpointError: no such folder, of another kind or direction, or a plain VAE where another is needed.
        """
        folder = locate(name, "forward")
        own = digest = weights_digest(folder)
        refiner = None
        if refine is not None:
            beside = locate(refine, "refiner")
            refiner = RefinementUNet.from_pretrained(beside, "refiner", device.name, device.dtype)
            digest += f"+{weights_digest(beside)}"
        model = Denoiser.from_pretrained(folder, "forward", device.name, device.dtype)
        if harmony_vae and not isinstance(model.vae, HarmonyVAE):
            raise CheckpointError(
                f"checkpoint '{folder}' has a plain {type(model.vae).__name__} in vae/, diffharmony++ needs a "
                "HarmonyVAE: train one with 'harmonygen train harmony-vae', or use --method diffharmony"
            )
        if device.runtime:
            run_denoiser(model, own, device.runtime)
        return cls(PictureSampler(model, sampling, device.batch), digest, detail, refiner)

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture (H, W, 3) at the composite's own size."""
        low_u8, picture01 = self.picture(photo, seed, draws)
        how = Transfer.affine() if self.refiner else self.draw.model.spec.transfer
        return full_size(photo, low_u8, picture01, self.detail, how)

    def picture(self, photo: Photo, seed: int, draws: int | None = None) -> tuple[ImageU8, Picture01]:
        """Return what the models make at the size they work at, nothing pasted.

        Returns:
            The composite (h, w, 3) uint8 at that size, and the harmonized picture (h, w, 3) in [0, 1].
        """
        draws = draws or self.draw.sampling.draws or self.draw.model.spec.draws
        seeds = [stable_seed("draw", seed, index) for index in range(draws)]
        drawn = self.draw(photo.low_u8, photo.low_mask, seeds)
        mean = np.asarray(sum(drawn) / np.float32(draws))
        return refine_picture(self.refiner, photo, mean) if self.refiner else (photo.low_u8, mean)


@torch.no_grad()
def refine_picture(refiner: RefinementUNet, photo: Photo, harmonized01: Picture01) -> tuple[ImageU8, Picture01]:
    """Correct a harmonized picture (h, w, 3) at the refiner's resolution (REFERENCE section 3).

    Returns:
        The composite (r, s, 3) uint8 at that resolution, and the refined picture (r, s, 3) in [0, 1].
    """
    height, width = model_size(
        harmonized01.shape[0], harmonized01.shape[1], Sizing(refiner.spec.resolution, refiner.multiple)
    )
    device = next(refiner.parameters()).device
    stage1 = torch.from_numpy(harmonized01).permute(2, 0, 1)[None].to(device) * 2 - 1
    if stage1.shape[-2:] != (height, width):
        stage1 = functional.interpolate(stage1, (height, width), mode="bilinear", antialias=True)
    low_u8 = resize(photo.image_u8, height, width, photo.enlarge)
    mask = torch.from_numpy(shrink_mask(photo.mask, height, width)[None, None].astype(np.float32))
    refined = refiner(stage1, mask.to(device), to_pm1(low_u8).to(device))
    return low_u8, ((refined[0].permute(1, 2, 0) + 1) / 2).cpu().numpy()


def make_diffharmony(run: Chosen, device: Device, *, harmony_vae: bool = False) -> DiffusionHarmonizer:
    """Load the method for the checkpoints that were chosen."""
    keep_memory()
    return DiffusionHarmonizer.from_pretrained(
        run.model, device, run.sampling, run.detail, refine=run.refine, harmony_vae=harmony_vae
    )


def make_diffharmony_pp(run: Chosen, device: Device) -> DiffusionHarmonizer:
    """Load the method for the checkpoints that were chosen, with a Harmony-VAE."""
    return make_diffharmony(run, device, harmony_vae=True)
