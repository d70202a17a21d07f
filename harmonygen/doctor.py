"""What this machine can run, and why not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

_NEEDED = ("inverse", "classifier", "parametric")
_PACKAGES = ("torch", "torchvision", "diffusers", "datasets", "pycocotools", "pyarrow", "scikit-image")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: its state and what was found or what to do."""

    what: str
    state: Literal["ok", "missing", "limited"]
    detail: str


def examine() -> list[Finding]:
    """Look at Python, packages, devices, disk and starter weights."""
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")]
    findings += [_package(name) for name in _PACKAGES]
    findings += [_device(), _disk(), *_starter(), _ray(), *_runtimes()]
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", f"install it: pip install {name}")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("device", "ok", f"{torch.cuda.get_device_name(0)}, {gib:.0f} GiB")
    if torch.backends.mps.is_available():
        return Finding("device", "ok", "Apple GPU (mps)")
    return Finding(
        "device", "limited", "no GPU: the starter runs well on the CPU, Stable Diffusion's size takes minutes a photo"
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("disk", "ok" if free > 5 else "limited", f"{free:.0f} GiB free here")


def _starter() -> list[Finding]:
    from harmonygen.models.checkpoints import SPEC_NAME, STARTER, weights_digest

    found = []
    shipped = sorted(spec.parent.name for spec in STARTER.glob(f"*/{SPEC_NAME}"))
    for part in dict.fromkeys((*_NEEDED, *shipped)):
        there = (STARTER / part / SPEC_NAME).is_file()
        detail = (
            f"digest {weights_digest(STARTER / part)}" if there else "reinstall the package: its weights are not there"
        )
        found.append(Finding(f"starter {part}", "ok" if there else "missing", detail))
    return found


def _ray() -> Finding:
    if importlib.util.find_spec("ray"):
        return Finding("ray", "ok", "--engine ray works")
    return Finding("ray", "limited", "not installed: pip install 'harmonygen[ray]' for --engine ray; --workers works")


def _runtimes() -> list[Finding]:
    from harmonygen.models.installed import PACKAGES

    found = []
    for name, package in PACKAGES.items():
        there = _package(package)
        missing = f"not installed: pip install 'harmonygen[{name}]' for --runtime {name}; torch works"
        found.append(there if there.state == "ok" else Finding(package, "limited", missing))
    return found
