"""What a run carries from step to step: optimiser, schedule, loss scaler and the moving average of the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.storage.shards import write_json
from harmonygen.training.checkpoints import STATE
from harmonygen.training.settings import TrainSettings

_MODEL, _EMA, _OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"
_NAMES = "names"  # of the averaged parameters, in order: a key of the file's metadata


@dataclass
class Parts:
    """The module being trained and all that a checkpoint keeps beside its weights."""

    module: nn.Module
    parameters: list[nn.Parameter]
    ema: EMAModel | None
    optimizer: Any
    schedule: Any
    scaler: Any = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the EMA's weights into the module for a block, and the live weights back after it, bit for bit."""
        self.module.eval()
        if self.ema:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        try:
            yield
        finally:
            if self.ema:
                self.ema.restore(self.parameters)
            self.module.train()

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the checkpoint's files; ``step.json``, which makes it one, last."""
        save_file(_on_cpu(self.module.state_dict()), folder / _MODEL)
        if self.ema:
            averages = _on_cpu({str(i): p for i, p in enumerate(self.ema.shadow_params)})
            trained = [name for name, parameter in self.module.named_parameters() if parameter.requires_grad]
            save_file(averages, folder / _EMA, {_NAMES: json.dumps(trained)})
        kept = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        if self.scaler is not None:
            kept["scaler"] = self.scaler.state_dict()
        torch.save(kept, folder / _OPTIMIZER)
        write_json(folder / STATE, {**about, "ema_steps": self.ema.optimization_step if self.ema else 0})

    def load(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Read a checkpoint's files.

        Raises:
            CheckpointError: one is missing or damaged, or belongs to another model.
        """
        try:
            self.module.load_state_dict(load_file(folder / _MODEL))
            if self.ema:
                shadow = load_file(folder / _EMA)
                self.ema.shadow_params = [shadow[str(i)].to(p.device) for i, p in enumerate(self.ema.shadow_params)]
                self.ema.optimization_step = int(about["ema_steps"])
            saved = torch.load(folder / _OPTIMIZER, weights_only=True, map_location="cpu")
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
            if self.scaler is not None and "scaler" in saved:
                self.scaler.load_state_dict(saved["scaler"])
        except Exception as error:  # torch, safetensors and pickle each have their own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"checkpoint '{folder}' cannot be loaded into this model ({first}): it is damaged or of another "
                "architecture; resume from an earlier one"
            ) from error


def load_averaged(network: nn.Module, folder: Path) -> None:
    """Give a network the averaged weights of a checkpoint folder: what a finished run would export.

    Raises:
        CheckpointError: the averages are of other parameters than the network has.
    """
    network.load_state_dict(load_file(folder / _MODEL))
    if not (folder / _EMA).is_file():
        return
    with safe_open(folder / _EMA, "pt") as opened:
        stated = json.loads((opened.metadata() or {}).get(_NAMES, "[]"))
        averages = [opened.get_tensor(str(index)) for index in range(len(opened.keys()))]
    own = dict(network.named_parameters())
    names = stated or [*own]  # an older checkpoint names none: all were trained, or the numbers differ
    if len(names) != len(averages) or not set(names) <= set(own):
        raise CheckpointError(f"the averages in '{folder}' are of other parameters: use the finished model")
    with torch.no_grad():
        for name, average in zip(names, averages, strict=True):
            own[name].copy_(average)


def new_parts(module: nn.Module, settings: TrainSettings, schedule_of: Callable[[torch.optim.Optimizer], Any]) -> Parts:
    """Build AdamW over what is to be trained, its schedule, and the moving average unless ``ema_decay`` is 0."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
    )
    ema = EMAModel(parameters, decay=settings.ema_decay) if settings.ema_decay else None
    return Parts(module, parameters, ema, optimizer, schedule_of(optimizer))


def checkpoint_gradients(module: nn.Module) -> None:
    """Turn gradient checkpointing on in every diffusers model of a module; other networks turn it on themselves.

    Raises:
        UsageError: the module has none that can.
    """
    able = [m for m in module.modules() if isinstance(m, ModelMixin) and m._supports_gradient_checkpointing]
    if not able and not any(getattr(m, "gradient_checkpointing", False) for m in module.modules()):
        raise UsageError(f"gradient_checkpointing: a {type(module).__name__} cannot do it: leave the option out")
    for model in able:
        model.enable_gradient_checkpointing()


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
