"""Small real photos, random models of the real classes, and small inputs of every verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64


def picture(index: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a piece of a real photo, (H, W, 3) uint8, another one for each index."""
    from skimage import data

    source = Image.fromarray((data.astronaut(), data.coffee(), data.chelsea(), data.rocket())[index % 4])
    left = 7 * (index // 4)
    return np.asarray(source.crop((left, left, source.width - left, source.height - left)).resize((width, height)))


def ellipse(height: int = HEIGHT, width: int = WIDTH, scale: float = 0.3) -> np.ndarray:
    """Return an (H, W) bool mask: an ellipse in the middle."""
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / (height * scale)) ** 2 + ((x - width / 2) / (width * scale)) ** 2 < 1


def save(array: np.ndarray, path: Path) -> Path:
    """Save a picture or a mask, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(path)
    return path


def folders(root: Path, count: int = 6, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write photos and masks in the layout `folders`."""
    for index in range(count):
        save(picture(index, height, width), root / "images" / f"p{index}.png")
        save(ellipse(height, width), root / "masks" / f"p{index}.png")
    return root


def iharmony4(root: Path, count: int = 6) -> Path:
    """Write a small tree in iHarmony4's layout: one subset, two composites a photo."""
    names = []
    for index in range(count):
        real, mask, home = picture(index), ellipse(), root / "HSmall"
        save(real, home / "real_images" / f"p{index}.jpg")
        save(mask, home / "masks" / f"p{index}_1.png")
        for variant in (1, 2):
            changed = np.where(mask[..., None], real // 2 + 40 * variant, real).astype(np.uint8)
            names.append(f"HSmall/composite_images/p{index}_1_{variant}.jpg")
            save(changed, root / names[-1])
    (root / "IHD_train.txt").write_text("\n".join(names) + "\n")
    return root


def composites(root: Path, count: int = 6) -> Path:
    """Write composites and masks in two folders, as `harmonize --composites --masks` takes them."""
    for index in range(count):
        mask = ellipse()
        changed = np.where(mask[..., None], picture(index) // 2, picture(index)).astype(np.uint8)
        save(changed, root / "composites" / f"p{index}.png")
        save(mask, root / "masks" / f"p{index}.png")
    return root


def classifier(folder: Path, seed: int = 0) -> Path:
    """Save a random classifier of 32 pixels."""
    import torch

    from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet

    torch.manual_seed(seed)
    HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=4, input_size=32)).save_pretrained(folder)
    return folder


def direct(folder: Path) -> Path:
    """Save a random direct harmonizer of 32 pixels."""
    import torch

    from harmonygen.models.refiner import RefinementUNet, RefinerSpec

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"widths": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4}
    model = RefinementUNet(RefinerSpec(kind="direct", resolution=32, **sizes))
    torch.nn.init.normal_(model.conv_out.weight, std=0.1)
    model.save_pretrained(folder, dtype=torch.float32)
    return folder


def inverse(folder: Path) -> Path:
    """Save a random inverse denoiser of 32 pixels."""
    import torch
    from diffusers import AutoencoderKL

    from harmonygen.models.denoiser import Denoiser, DenoiserSpec, new_scheduler, small_unet

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    blocks: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    spec = DenoiserSpec(direction="inverse", resolution=32)
    Denoiser(small_unet(blocks), vae, new_scheduler("epsilon"), torch.zeros(1, 1, 8), spec).save_pretrained(folder)
    return folder
