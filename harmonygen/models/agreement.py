"""Have a model's network computed by another runtime, once it was seen to give what torch gives.

The first time, eight candidates of a drawn picture are made both ways and compared. What was found is kept beside the
exported network, a record for each version of the runtime and dtype, and decides from then on: for as long as the
network's files have the content that was compared, and belong to the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.models.constant_prompt import constant_prompt
from harmonygen.models.denoiser import Denoiser, NoiseNet
from harmonygen.models.exported import NetworkPart, content_of, exported
from harmonygen.models.runtime import Network, Runtime
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.storage.shards import read_json, write_json

CANDIDATES = 8
_CELLS = (11, 14)  # no multiples of what the UNet halves, so that every branch is met
_LEVELS = 1.0
_PROBABILITY = 1e-3


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a runtime is from torch's float32 at most, and how far it may be, in ``unit``."""

    largest: float
    allowed: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the runtime may be used; NaN may not."""
        return self.largest <= self.allowed


def run_denoiser(model: Denoiser, digest: str, runtime: Runtime) -> None:
    """Have ``runtime`` compute the UNet of a model (float32, on the CPU) whose weights have ``digest``.

    Raises:
        UsageError: pixels of the candidates differ by more than 1/255 from torch's; in bfloat16, by more than that and
            by more than torch's own bfloat16 pixels do.
        CheckpointError: the exported network is damaged.
        StorageError: the cache cannot be written.
    """
    net = NoiseNet(model.unet, model.null_embedding)
    sample = torch.zeros(2, model.unet.config.in_channels, *_CELLS)
    example = (sample, torch.tensor(1.0))
    with constant_prompt(model.unet):
        net(*example)  # keys and values of the prompt are constants then
        path = exported(NetworkPart("unet", net, example, (0, 2, 3)), digest)
    network = _opened(path, runtime)
    _require(path, digest, runtime, lambda: _compare_pictures(model, network, runtime.dtype))
    model.network = network


def run_scorer(scorer: ClassifierScorer, runtime: Runtime) -> None:
    """Have ``runtime`` compute a classifier (float32, on the CPU).

    Raises:
        UsageError: scores of pictures differ by more than 0.001 from torch's.
        CheckpointError: the exported network is damaged.
        StorageError: the cache cannot be written.
    """
    side = scorer.model.spec.input_size
    picture, mask = _drawn(side, side)
    masks = mask.expand(CANDIDATES, -1, -1, -1).contiguous()
    lighter = torch.linspace(-0.3, 0.3, CANDIDATES)[:, None, None, None]
    pictures = (picture / 2 + 0.5 + lighter * mask).clamp(0, 1)
    path = exported(NetworkPart("classifier", scorer.model, (pictures[:2], masks[:2]), (0,)), scorer.digest)
    own = replace(runtime, dtype=torch.float32, each_size=False)  # a judge is hardly faster for one size
    network = _opened(path, own)

    def compare() -> Agreement:
        ours, theirs = (scorer.probabilities(net(pictures, masks)) for net in (scorer.model, network))
        return Agreement(float((ours - theirs).abs().max()), _PROBABILITY, "of P(composite)")

    _require(path, scorer.digest, own, compare)
    scorer.network = network


def _opened(path: Path, runtime: Runtime) -> Network:
    try:
        return runtime.open(path, runtime)
    except UsageError:
        raise
    except Exception as error:  # the packages' errors have no class of their own that can be imported
        raise CheckpointError(
            f"--runtime {runtime.name} ({runtime.version}) cannot open '{path}' ({told(error)}): remove the folder "
            f"'{path.parent}', and the network is written again"
        ) from error


def _require(path: Path, digest: str, runtime: Runtime, compare: Callable[[], Agreement]) -> None:
    """Refuse a network of the weights with ``digest`` that does not agree; it is compared if it was not yet."""
    record = path.with_name(f"checked-{runtime.label}.json")
    about = {"weights": digest, "network": content_of(path)}
    held = read_json(record)
    if about.items() <= held.items():
        found = Agreement(held["largest"], held["allowed"], held["unit"])
    else:
        with torch.no_grad():
            found = compare()
        write_json(record, {**asdict(found), "holds": found.holds, "candidates": CANDIDATES, **about})
    if not found.holds:
        raise UsageError(
            f"--runtime {runtime.name} ({runtime.version}) differs from torch by up to {found.largest:.3g} {found.unit}"
            f", {found.allowed:.3g} is allowed (on {CANDIDATES} candidates; '{record}' keeps it): use --runtime torch "
            f"or another version of the package, or remove the folder '{path.parent}' to have the network written again"
        )


def _compare_pictures(model: Denoiser, network: Network, dtype: torch.dtype) -> Agreement:
    """Draw candidates with torch and with a network of the UNet, and compare their pixels."""
    picture, mask = _drawn(*(model.factor * cells for cells in _CELLS))

    def levels(of: Denoiser) -> Tensor:
        return of.pictures(picture, mask, range(CANDIDATES)) * 127.5

    def apart(some: Tensor) -> float:
        return float((some - usual).abs().max())

    model.network = None
    usual, allowed = levels(model), _LEVELS
    if dtype != torch.float32:
        rounded = Denoiser(*copy.deepcopy((model.unet, model.vae, model.scheduler)), model.null_embedding, model.spec)
        allowed = max(_LEVELS, apart(levels(rounded.to("cpu", dtype))))
    model.network = network
    try:
        return Agreement(apart(levels(model)), allowed, "of 255")
    finally:
        model.network = None


def _drawn(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return a picture (1, 3, H, W) in [-1, 1] of gradients and noise, and an ellipse (1, 1, H, W) of 0 and 1."""
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    smooth = torch.stack([torch.sin(3 * rows + columns), torch.cos(4 * columns - rows), rows * columns])
    noise = torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    picture = (0.8 * smooth + 0.05 * noise).clamp(-1, 1)[None]
    return picture, (rows**2 + columns**2 < 0.4).float()[None, None]
