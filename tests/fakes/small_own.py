"""Small checkpoints of harmonygen's own models, of the real classes with random weights, and where each is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOY = Path(__file__).resolve().parents[1] / "assets" / "toy-sd"
WORDS = {"foreground": "object, bright", "background": "dark, night"}
ZERO_SHOT = "the toy Stable Diffusion of the tests, one photo"  # seconds a picture
SHORT = {"iterations": 1, "inversion_steps": 2, "refine_inner": 0, "null_inner": 1}


def classifier(folder: Path) -> Path:
    """Write a classifier of image and mask, 32 px."""
    import torch

    from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet

    torch.manual_seed(0)
    HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=4, input_size=32)).save_pretrained(folder)
    return folder


def inverse(folder: Path) -> Path:
    """Write an inverse denoiser, target latent, 32 px."""
    _denoiser("inverse").save_pretrained(folder)
    return folder


def forward(folder: Path) -> Path:
    """Write a forward denoiser, otherwise as :func:`inverse`."""
    _denoiser("forward").save_pretrained(folder)
    return folder


def harmony_forward(folder: Path) -> Path:
    """Write a forward denoiser with a Harmony-VAE."""
    import torch

    from harmonygen.models.denoiser import Denoiser
    from harmonygen.models.harmony_vae import HarmonyVAE

    model = _denoiser("forward")
    vae = HarmonyVAE.from_autoencoder(model.vae, direction="forward")
    whole = Denoiser(model.unet, vae, model.scheduler, model.null_embedding, model.spec)
    whole.save_pretrained(folder, torch.float32)
    return folder


def direct(folder: Path) -> Path:
    """Write a direct harmonizer, 32 px; its last convolution is random too."""
    import torch

    from harmonygen.models.refiner import RefinementUNet, RefinerSpec

    torch.manual_seed(0)
    sizes = {"widths": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4}
    model = RefinementUNet(RefinerSpec(kind="direct", resolution=32, **sizes))
    torch.nn.init.normal_(model.conv_out.weight, std=0.1)
    model.save_pretrained(folder, dtype=torch.float32)
    return folder


def parametric_inverse(folder: Path) -> Path:
    """Write a parametric inverse, 32 px, whose prior is of random changes."""
    import torch

    from harmonygen.models.parametric_inverse import ParametricInverseNet, ParametricInverseSpec

    torch.manual_seed(0)
    model = ParametricInverseNet(ParametricInverseSpec(resolution=32, components=6, gaussians=2))
    model.set_prior(0.02 * torch.randn(40, 60))
    model.save_pretrained(folder)
    return folder


def lraspp(folder: Path) -> Path:
    """Write LR-ASPP with random weights: it rates person over all other classes somewhere in most photos."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(0)
    folder.mkdir()
    network = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None)
    save_file(network.state_dict(), folder / "lraspp.safetensors")
    return folder / "lraspp.safetensors"


def onnx_map(folder: Path) -> Path:
    """Write a network in an ONNX file: the mean of the three planes, as logits."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [helper.make_node("ReduceMean", ["photo"], ["map"], axes=[1], keepdims=1)]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 64, 64]) for name, n in (("photo", 3), ("map", 1))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "map", sides[:1], sides[1:]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    folder.mkdir()
    onnx.save(model, folder / "map.onnx")
    return folder / "map.onnx"


def _denoiser(direction: str) -> Any:
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
    unet = small_unet(
        {
            "block_out_channels": (8, 16),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 8,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        }
    )
    spec = DenoiserSpec(direction=direction, resolution=32)
    return Denoiser(unet, vae, new_scheduler("epsilon"), torch.zeros(1, 1, 8), spec)


@dataclass(frozen=True)
class SmallOwn:
    """One of ours at one door, and what writes the small model that its conformance is checked on."""

    kind: str
    plugin: str
    write: Callable[[Path], Path] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    told: str = "random weights"
    weights: str = ""
    """The plug-in's own setting that names the file; empty where it is the check's ``model``."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.plugin}"

    def checked(self, folder: Path) -> dict[str, Any]:
        """Write the model into ``folder`` and return the settings of the check."""
        if self.write is None:
            return self.settings
        path = str(self.write(folder))
        return {**({"settings": {self.weights: path}} if self.weights else {"model": path}), **self.settings}


OWN = (
    SmallOwn("generator", "diffusion", inverse),
    SmallOwn("generator", "parametric", parametric_inverse),
    SmallOwn("generator", "color-transfer"),
    SmallOwn("generator", "color-jitter"),
    SmallOwn("generator", "lut"),
    SmallOwn("judge", "classifier", classifier),
    SmallOwn("harmonizer", "parametric"),
    SmallOwn("harmonizer", "direct", direct),
    SmallOwn("harmonizer", "diffharmony", forward),
    SmallOwn("harmonizer", "diffharmony++", harmony_forward),
    SmallOwn("harmonizer", "zero-shot", lambda _: TOY, {"settings": WORDS | SHORT, "photos": 1}, ZERO_SHOT),
    SmallOwn("segmenter", "selfie", told="the shipped weights"),
    SmallOwn("segmenter", "lraspp", lraspp, weights="weights"),
    SmallOwn("segmenter", "onnx", onnx_map, told="a small network in an ONNX file", weights="file"),
)
