"""What a teacher draws of training photos: drawn once, kept on disk, and met again in every epoch.

A kept draw is a function of (seed, its number) alone, and so is sample ``i`` of the draws: a killed run resumes with
the batches it would have had. Draws lie in whole files; one that is missing or of another teacher is made again.
Legend: B batch, C = 4 latent channels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from harmonygen.models.checkpoints import writing_errors
from harmonygen.models.denoiser import Denoiser, pool_mask
from harmonygen.models.device import Sampling
from harmonygen.seeds import digest_of_bytes, stable_seed
from harmonygen.storage.shards import Shard, cut, make_folder, storage_errors, whole_file
from harmonygen.training.checkpoints import DRAWS
from harmonygen.training.composites import Batch, Samples
from harmonygen.training.observe import collate
from harmonygen.training.settings import DistillTraining
from harmonygen.training.stored import EpochOrder
from harmonygen.training.task import Log

_PER_FILE = 64
_SAID_EVERY = 5
_DIGEST = "digest"
Teach = Callable[[Batch, Sequence[int]], Batch]
"""Draws of a batch of training samples, with a seed for each, what :func:`teach` returns."""


@torch.no_grad()
def teach(teacher: Denoiser, steps: int, batch: Batch, seeds: Sequence[int]) -> Batch:
    """Draw the teacher's results for training samples by Euler steps, which are a function of the first noise.

    Returns:
        ``seed`` (B,), from which the noise comes; the ``condition`` latents (B, C, h, w); the latent mask ``cells``
        (B, 1, h, w); and the ``goal`` (B, C, h, w): what the teacher's UNet ends at, a latent or a scaled residual.
    """
    image = batch["real" if teacher.spec.direction == "inverse" else "composite"].to(teacher.device)
    condition, cells = teacher.encode(image), teacher.latent_mask(batch["mask"].to(teacher.device))
    goal = teacher.sample(condition, cells, seeds, Sampling(steps, "euler"))
    if teacher.spec.target == "residual":
        goal = (goal - condition) / teacher.spec.residual_scale
    return {"seed": torch.tensor(seeds), "condition": condition, "cells": cells, "goal": goal}


def shrunk(batch: Batch, side: int) -> Batch:
    """Shrink samples ``real composite`` (B, 3, R, R) and ``mask`` (B, 1, R, R) to a side that R is a multiple of."""
    factor = batch["mask"].shape[-1] // side
    if factor == 1:
        return batch
    small = {
        name: F.interpolate(batch[name], size=(side, side), mode="bilinear", antialias=True)
        for name in ("real", "composite")
    }
    return {**small, "mask": pool_mask(batch["mask"], factor, "nearest")}


class TaughtSamples(Dataset[Batch]):
    """Endless samples of kept draws, as :func:`teach` returns them; batches take turns at the sides of the crops."""

    def __init__(self, by_side: Sequence[Batch], settings: DistillTraining, digest: str) -> None:
        self.by_side, self.batch, self.digest = by_side, settings.train_batch_size, digest
        self.orders = [EpochOrder(len(draws["seed"]), settings.seed, "taught", i) for i, draws in enumerate(by_side)]

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``, the same whenever it is asked for."""
        number, place = divmod(index, self.batch)
        turn, side = divmod(number, len(self.by_side))
        item = self.orders[side](turn * self.batch + place)
        return {name: _full(values[item]) for name, values in self.by_side[side].items()}


def _full(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


class DrawStore:
    """The kept draws of a run: lists those that are needed, makes the missing ones, and reads them."""

    def __init__(self, settings: DistillTraining, samples: Samples, about: Iterable[str]) -> None:
        """Plan the draws of ``samples``; ``about`` says what else decides them, as the teacher's digest."""
        self.settings, self.samples = settings, samples
        self.folder = settings.output_dir / DRAWS
        self.sides = (settings.resolution, *settings.also_at)
        parts = [samples.digest, *about, str(settings.seed), settings.composites.model_dump_json()]
        parts += [settings.chain.model_dump_json(), f"{settings.crop} {settings.crop_scale} {settings.random_flip}"]
        self.digest = digest_of_bytes(["\n".join([*parts, str(self.sides)]).encode()])

    def fill(self, teach: Teach, say: Log, process: int = 0, processes: int = 1) -> None:
        """Make this process's share of the files that are missing.

        Raises:
            StorageError: no space or no permission.
        """
        make_folder(self.folder)
        files = [(side, shard) for side in self.sides for shard in cut(self.settings.teacher_draws, _PER_FILE)]
        mine = files[process::processes]
        missing = [(side, shard) for side, shard in mine if not self._is_there(side, shard)]
        for done, (side, shard) in enumerate(missing):
            if done % _SAID_EVERY == 0:
                say(f"teacher's draws: {len(missing) - done} files of up to {_PER_FILE} draws are left")
            self._write(side, shard, self._drawn(teach, side, range(shard.start, shard.stop)))

    def read(self) -> TaughtSamples:
        """Read all draws, which are there, into memory."""
        shards = cut(self.settings.teacher_draws, _PER_FILE)
        by_side = []
        for side in self.sides:
            files = [load_file(self._path(side, shard.index)) for shard in shards]
            by_side.append({name: torch.cat([file[name] for file in files]) for name in files[0]})
        return TaughtSamples(by_side, self.settings, self.digest)

    def _drawn(self, teach: Teach, side: int, numbers: range) -> Batch:
        """Return draws of one side in half precision."""
        drawn = []
        for start in range(0, len(numbers), self.settings.train_batch_size):
            some = numbers[start : start + self.settings.train_batch_size]
            batch = shrunk(collate([self.samples[number] for number in some]), side)
            drawn.append(teach(batch, [stable_seed("taught", self.settings.seed, side, number) for number in some]))
        joined = {name: torch.cat([each[name] for each in drawn]).cpu() for name in drawn[0]}
        return {name: value.half() if value.is_floating_point() else value for name, value in joined.items()}

    def _path(self, side: int, number: int) -> Path:
        return self.folder / f"draws-{side}-{number:05d}.safetensors"

    def _about(self, shard: Shard) -> dict[str, str]:
        return {_DIGEST: f"{self.digest} {shard.start}-{shard.stop}"}

    def _is_there(self, side: int, shard: Shard) -> bool:
        try:
            with safe_open(self._path(side, shard.index), "pt") as opened:
                return bool((opened.metadata() or {}) == self._about(shard))
        except (OSError, SafetensorError):
            return False

    def _write(self, side: int, shard: Shard, draws: Batch) -> None:
        path, held = self._path(side, shard.index), {name: value.contiguous() for name, value in draws.items()}
        with storage_errors(f"'{path}'"), writing_errors(), whole_file(path) as temporary:
            save_file(held, temporary, self._about(shard))
