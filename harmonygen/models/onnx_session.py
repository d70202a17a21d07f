"""Open a user's ONNX file with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.models.device import Device


def open_session(path: Path, device: Device) -> Any:
    """Return the session of an ONNX file, on the GPU where ONNX Runtime can and ``device`` asks for it.

    Raises:
        UsageError: onnxruntime is not installed.
        CheckpointError: the file is missing, or cannot be opened.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("an ONNX file needs the package onnxruntime: pip install 'harmonygen[onnx]'") from error
    if not path.is_file():
        raise CheckpointError(f"'{path}' is not a file: check the path of the ONNX file")
    wanted = ["CUDAExecutionProvider"] if device.name.startswith("cuda") else []
    there = [name for name in [*wanted, "CPUExecutionProvider"] if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), providers=there)
    except Exception as error:  # its errors have no class of their own that can be imported
        raise CheckpointError(f"'{path}' cannot be opened as an ONNX file ({told(error)}): export it again") from error
