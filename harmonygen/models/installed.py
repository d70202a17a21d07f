"""Which runtimes are installed beside torch, found without importing any of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from harmonygen.errors import UsageError
from harmonygen.settings import RuntimeName

PACKAGES: dict[RuntimeName, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""The package of each runtime; its extra is called like the runtime."""


def runtime_version(name: RuntimeName) -> str:
    """Return the package of a runtime with its version, as plans have it; empty for torch.

    Raises:
        UsageError: it is not installed.
    """
    if name == "torch":
        return ""
    package = PACKAGES[name]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise UsageError(
            f"--runtime {name} needs {package}, which is not installed: pip install 'harmonygen[{name}]', or use "
            "--runtime torch"
        ) from error


def runtime_in_plan(name: RuntimeName) -> dict[str, str]:
    """Return what a plan says about its runtime: the version; nothing of torch, as the plans of before.

    >>> runtime_in_plan("torch")
    {}
    """
    found = runtime_version(name)
    return {"runtime_version": found} if found else {}
