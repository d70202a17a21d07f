"""Every adapter at every door, each with a small model of its own that is written here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.small_editors import EDITORS
from tests.fakes.small_llava import write_llava
from tests.fakes.small_stable_diffusion import narrow_stable_diffusion

TOOL = """
import json, pathlib, random, sys
from PIL import Image, ImageStat

folder = pathlib.Path(sys.argv[-1])
job = json.loads((folder / "job.json").read_text())
if job["kind"] == "judge":
    mask = Image.open(folder / "mask.png")
    means = [sum(ImageStat.Stat(Image.open(folder / name), mask).mean) / 765 for name in job["composites"]]
    (folder / "scores.json").write_text(json.dumps(means))
else:
    image = Image.open(folder / "image.png").convert("RGB")
    for number, seed in enumerate(job["seeds"]):
        drawn = random.Random(seed)
        light = [drawn.uniform(0.5, 1) for _ in range(3)]
        image.point([int(level * each) for each in light for level in range(256)]).save(folder / f"out/{number}.png")
"""
"""A command that darkens pictures by their seeds and judges them by the brightness of their foreground."""
SIZE = 64  # short side that the small models work at
STABLE_DIFFUSION = {"Inpaint": 9, "InstructPix2Pix": 8, "": 4}
"""Channels that the UNet of each pipeline of Stable Diffusion takes."""
ANOTHER = ("StableDiffusionInstructPix2Pix", "StableDiffusion", "QwenImageEditPlus", "Flux2Klein")


@dataclass(frozen=True)
class SmallAdapter:
    """An adapter at one door (``kind``), and what writes its ``model`` into a folder and returns its settings."""

    kind: str
    plugin: str
    model: str
    write: Callable[[Path], dict[str, Any]]

    def __str__(self) -> str:
        return "-".join(part for part in (self.kind, self.plugin, self.model) if part)

    @property
    def is_another(self) -> bool:
        """Whether another class of its family stands for it where time is short."""
        return self.model in ANOTHER


def small_adapters() -> list[SmallAdapter]:
    """Return them all, one for each door and each class of model."""
    models: dict[str, tuple[str, Mapping[str, Callable[[Path], dict[str, Any]]]]] = {
        "pipeline": ("generator harmonizer", {name: _pipeline(write) for name, write in _pipelines().items()}),
        "bridge": ("harmonizer", {"": lambda folder: {"model": str(write_bridge(folder, 5)), "resolution": SIZE}}),
        "language-model": ("judge", {"Llava": lambda folder: {"model": str(write_judge(folder))}}),
        "onnx": ("generator harmonizer", {"": lambda folder: _onnx(onnx_noisy, folder, resolution=SIZE)}),
        "onnx ": ("judge", {"": lambda folder: _onnx(onnx_mean, folder)}),
        "command": ("generator harmonizer judge", {"": lambda folder: {"command": write_command(folder)}}),
    }
    return [
        SmallAdapter(kind, plugin.strip(), model, write)
        for plugin, (kinds, written) in models.items()
        for kind in kinds.split()
        for model, write in written.items()
    ]


def write_bridge(folder: Path, channels: int, text: int | None = None) -> Path:
    """Write a bridge whose UNet takes so many channels, and words ``text`` wide if it is given."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel

    torch.manual_seed(0)
    small = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "out_channels": 4}
    if text:
        down, up = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
        heads = {"cross_attention_dim": text, "attention_head_dim": 4}
        unet = UNet2DConditionModel(**small, **heads, in_channels=channels, down_block_types=down, up_block_types=up)
    else:
        down, up = ("DownBlock2D",) * 2, ("UpBlock2D",) * 2
        unet = UNet2DModel(**small, in_channels=channels, down_block_types=down, up_block_types=up)
    unet.save_pretrained(folder / "unet")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4).save_pretrained(folder / "vae")
    return folder


def write_judge(folder: Path, answers: Sequence[str] = ("Yes", "No")) -> Path:
    """Write a Llava that knows two answers."""
    return write_llava(folder, ("it", "light", *answers), loud=4)


def write_command(folder: Path, text: str = TOOL) -> str:
    """Write a script and return the command that runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tool.py").write_text(text)
    return f"{sys.executable} {folder / 'tool.py'}"


def onnx_file(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[str],
    output: Sequence[int | str],
    size: tuple[int | str, int | str] = ("h", "w"),
) -> Path:
    """Write a file whose nodes turn ``image``, ``mask``, ``noise`` and ``seed`` into ``out``."""
    import onnx
    from onnx import TensorProto, helper

    shapes = {"image": [1, 3, *size], "mask": [1, 1, *size], "noise": [1, 3, *size], "seed": [1]}
    kinds = {"seed": TensorProto.INT64}
    given = [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shapes[name]) for name in inputs]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("out", TensorProto.FLOAT, output)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def onnx_noisy(path: Path) -> Path:
    """Write a generator: noise is added within the mask."""
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["noise", "mask"], ["in"]),
        helper.make_node("Add", ["image", "in"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["out"]),
    ]
    return onnx_file(path, nodes, ["image", "mask", "noise"], [1, 3, "h", "w"])


def onnx_mean(path: Path) -> Path:
    """Write a judge: the mean of what is within the mask."""
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["image", "mask"], ["in"]),
        helper.make_node("ReduceMean", ["in"], ["out"], keepdims=0),
    ]
    return onnx_file(path, nodes, ["image", "mask"], [])


def _onnx(write: Callable[[Path], Path], folder: Path, **settings: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return {"file": str(write(folder / "model.onnx")), **settings}


def _pipelines() -> dict[str, Callable[[Path], Path]]:
    def of(name: str, channels: int) -> Callable[[Path], Path]:
        return lambda folder: narrow_stable_diffusion(folder, channels, pipeline=f"StableDiffusion{name}Pipeline")

    plain = {f"StableDiffusion{name}": of(name, channels) for name, channels in STABLE_DIFFUSION.items()}
    return {**plain, **EDITORS}


def _pipeline(write: Callable[[Path], Path]) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"model": str(write(folder)), "steps": 4, "resolution": SIZE}
