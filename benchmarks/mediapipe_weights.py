"""Make the weights of assets/person from MediaPipe's wheel, and compare the networks with TensorFlow Lite's.

    python -m pip download --no-deps mediapipe==0.10.14
    pip install ai-edge-litert tflite        # in an environment that has harmonygen's dependencies too
    python benchmarks/mediapipe_weights.py mediapipe-0.10.14-*.whl PHOTO --out FOLDER

Prints how far the outputs for the photo lie apart, and whether the files equal the shipped ones.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tflite
import torch
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from harmonygen.models.selfie import WEIGHTS, SelfieNet
from harmonygen.models.torso import TorsoNet

INSIDE = {
    "selfie": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    "pose": "mediapipe/modules/pose_detection/pose_detection.tflite",
}
CODES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
TYPES = {0: np.float32, 1: np.float16}
VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}


class Graph:
    """The operators and constants of a .tflite file."""

    def __init__(self, path: Path) -> None:
        self.model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        self.graph = self.model.Subgraphs(0)
        self.operators = [self.graph.Operators(index) for index in range(self.graph.OperatorsLength())]
        self.made_by = {operator.Outputs(0): operator for operator in self.operators}

    def code(self, operator: Any) -> str:
        """Return the name of what an operator does."""
        found = self.model.OperatorCodes(operator.OpcodeIndex())
        custom = found.CustomCode()
        return custom.decode() if custom else CODES[max(found.BuiltinCode(), found.DeprecatedBuiltinCode())]

    def constant(self, index: int) -> np.ndarray:
        """Return a constant tensor as it is stored."""
        operator = self.made_by.get(index)
        if operator is not None and self.code(operator) in ("DEQUANTIZE", "DENSIFY"):
            return self.constant(operator.Inputs(0))
        tensor = self.graph.Tensors(index)
        values = np.frombuffer(self.model.Buffers(tensor.Buffer()).DataAsNumpy(), TYPES[tensor.Type()])
        shape = tuple(tensor.ShapeAsNumpy())
        return values.reshape(shape) if tensor.Sparsity() is None else dense(values, shape, tensor.Sparsity())

    def convolutions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return weights as torch has them, and biases, in the order in which they are used."""
        found = []
        for operator in self.operators:
            code = self.code(operator)
            if "CONV_2D" in code or code.startswith("Convolution2D"):
                weight, bias = self.constant(operator.Inputs(1)), self.constant(operator.Inputs(2))
                found.append((weight.transpose((0, 3, 1, 2) if code == "CONV_2D" else (3, 0, 1, 2)), bias))
        return found


def dense(values: np.ndarray, shape: tuple[int, ...], sparsity: Any) -> np.ndarray:
    """Return a tensor stored by TensorFlow Lite's tree of dense and compressed dimensions."""
    metadata = [sparsity.DimMetadata(index) for index in range(sparsity.DimMetadataLength())]
    order = [sparsity.TraversalOrder(index) for index in range(sparsity.TraversalOrderLength())]
    blocked = [sparsity.BlockMap(index) for index in range(sparsity.BlockMapLength())]
    block = {dim: metadata[len(shape) + index].DenseSize() for index, dim in enumerate(blocked)}
    places: list[tuple[int, tuple[int, ...]]] = [(0, ())]  # (position in the level above, indices so far)
    for level in metadata:
        if level.Format() == 0:
            size = level.DenseSize()
            places = [(at * size + each, (*seen, each)) for (at, seen), each in product(places, range(size))]
        else:
            segments, indices = numbers(level, "Segments"), numbers(level, "Indices")
            places = [
                (each, (*seen, int(indices[each])))
                for at, seen in places
                for each in range(segments[at], segments[at + 1])
            ]
    tensor = np.zeros(shape, values.dtype)
    for value, (_, seen) in zip(values, places, strict=True):
        place = [0] * len(shape)
        for dim, index in zip(order, seen, strict=True):
            if dim < len(shape):
                place[dim] += index * block.get(dim, 1)
            else:
                place[blocked[dim - len(shape)]] += index
        tensor[tuple(place)] = value
    return tensor


def numbers(level: Any, which: str) -> np.ndarray:
    """Return the segments or the indices of a compressed dimension."""
    table = getattr(level, f"Array{which}")()
    vector = getattr(tflite, VECTORS[getattr(level, f"Array{which}Type")()])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy()


def fill(net: nn.Module, convolutions: list[tuple[np.ndarray, np.ndarray]], side: int) -> nn.Module:
    """Give a network the weights in the order in which its convolutions run."""
    used: list[str] = []
    names = {module: name for name, module in net.named_modules()}
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [
        module.register_forward_hook(lambda module, _given, _made: used.append(names[module]))
        for module in net.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    for lateral, before in (("levels.0.lateral", "coarse.0.expand"), ("levels.1.lateral", "middle.0.expand")):
        if before in used:  # the file computes these as soon as it can
            moved = [name for name in used if name.startswith(lateral)]
            used = [name for name in used if name not in moved]
            place = used.index(before) + 1
            used[place:place] = moved
    modules = dict(net.named_modules())
    for name, (weight, bias) in zip(used, convolutions, strict=True):
        module = modules[name]
        assert tuple(module.weight.shape) == weight.shape, (name, weight.shape)
        module.weight.data, module.bias.data = torch.tensor(weight.copy()).float(), torch.tensor(bias.copy()).float()
    return net.eval()


def reference(path: Path, given: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of TensorFlow Lite."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def main() -> None:
    """Convert both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    photo = Image.open(asked.photo).convert("RGB")
    for name, net, side in (("selfie", SelfieNet(), 256), ("pose", TorsoNet(), 224)):
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(asked.wheel) as wheel:
            path = Path(wheel.extract(INSIDE[name], folder))
            fill(net, Graph(path).convolutions(), side)
            picture = np.asarray(photo.resize((side, side)), np.float32)[None]
            given = picture / 255 if name == "selfie" else picture / 127.5 - 1
            theirs = reference(path, given)
        with torch.no_grad():
            made = net(torch.tensor(given).permute(0, 3, 1, 2))
        ours = [made.sigmoid()[0, 0].numpy()] if name == "selfie" else [each[0].numpy() for each in made]
        theirs = [each.squeeze() for each in sorted(theirs, key=lambda each: each.shape[-1])]
        apart = [float(np.abs(one - other.reshape(one.shape)).max()) for one, other in zip(ours, theirs, strict=True)]
        save_file(
            {key: value.half().contiguous() for key, value in net.state_dict().items()},
            asked.out / f"{name}.safetensors",
        )
        shipped, again = load_file(WEIGHTS / f"{name}.safetensors"), load_file(asked.out / f"{name}.safetensors")
        same = shipped.keys() == again.keys() and all(torch.equal(shipped[key], again[key]) for key in shipped)
        told = ", ".join(f"{each:.2g}" for each in apart)
        print(f"{name}: outputs apart by at most {told}; equal to the shipped: {same}")


if __name__ == "__main__":
    main()
