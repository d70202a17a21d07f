"""Other runtimes than torch: what is installed of them, and how they open an exported network.

A runtime computes float32 on a CPU with as many threads as torch is set to. OpenVINO computes bfloat16 too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harmonygen.errors import UsageError
from harmonygen.models.installed import runtime_version
from harmonygen.settings import RuntimeName

Network = Callable[..., Tensor]
"""Takes tensors on the CPU, returns one."""
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
_Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that is installed; ``open`` loads an ONNX file for it.

    ``dtype`` is what UNets are computed in. With ``each_size``, OpenVINO makes a network again for each size of its
    inputs: that takes a second per size and is a quarter faster afterwards.
    """

    name: RuntimeName
    version: str
    dtype: torch.dtype
    each_size: bool
    open: Callable[[Path, Runtime], Network]

    @property
    def label(self) -> str:
        """Version, dtype, whether networks are made for each size, and the CPU's instructions, for a file's name."""
        sizes = "each-size-" if self.each_size else ""
        instructions = torch.backends.cpu.get_cpu_capability()
        return f"{self.version.replace(' ', '-')}-{_PRECISIONS[self.dtype]}-{sizes}{instructions}"


def pick_runtime(name: RuntimeName, device: str, dtype: torch.dtype, each_size: bool = False) -> Runtime | None:
    """Return the runtime that is asked for, None for torch.

    Raises:
        UsageError: it is not installed, the models are to be on another device than the CPU, or in a dtype that it does
            not compute.
    """
    if name == "torch":
        return None
    known = runtime_version(name)
    if device != "cpu":
        raise UsageError(
            f"--runtime {name} computes on the CPU and the device is {device}: add --device cpu, or drop it"
        )
    dtypes = (torch.float32, torch.bfloat16) if name == "openvino" else (torch.float32,)
    if dtype not in dtypes:
        stated = " or ".join(str(each).removeprefix("torch.") for each in dtypes)
        raise UsageError(f"--runtime {name} computes in {stated}, found --dtype {str(dtype).removeprefix('torch.')}")
    if name == "onnx":  # to which all sizes are alike
        return Runtime(name, known, dtype, False, _open_onnx)
    return Runtime(name, known, dtype, each_size, _open_openvino)


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"{package} is installed and cannot be imported ({error}): install it again") from error


def _open_onnx(path: Path, runtime: Runtime) -> Network:
    """Load a network for ONNX Runtime."""
    del runtime
    onnx = _imported("onnxruntime")
    options = onnx.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.force_spinning_stop", "1")  # torch needs the cores between two calls
    session = onnx.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, dict(zip(names, _arrays(inputs), strict=True)))[0])

    return run


def _open_openvino(path: Path, runtime: Runtime) -> Network:
    openvino = _imported("openvino")
    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[runtime.dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # workers would all sit on the first cores
    }
    whole = core.read_model(path)
    made: dict[tuple[tuple[int, ...], ...], Any] = {}

    def make(sizes: tuple[tuple[int, ...], ...]) -> Any:
        model = whole.clone()
        if sizes:
            model.reshape({port: list(size) for port, size in zip(model.inputs, sizes, strict=True)})
        while len(made) >= _SIZES_KEPT:
            made.pop(next(iter(made)))
        made[sizes] = core.compile_model(model, "CPU", options).create_infer_request()
        return made[sizes]

    def request(inputs: _Arrays) -> Any:
        sizes = tuple(each.shape for each in inputs) if runtime.each_size else ()
        return made.get(sizes) or make(sizes)

    if not runtime.each_size:
        make(())

    def run(*inputs: Tensor) -> Tensor:
        arrays = _arrays(inputs)
        found = request(arrays).infer(dict(enumerate(arrays)), share_inputs=True, share_outputs=True)
        return torch.from_numpy(np.array(found[0]))  # a copy: the next call writes into the same memory

    return run


_SIZES_KEPT = 8


def _arrays(inputs: tuple[Tensor, ...]) -> _Arrays:
    return [np.asarray(each.contiguous()) for each in inputs]
