"""Null-text optimisation with structure, and the prompt-to-prompt edit, in one walk down from noise (REFERENCE 8).

At each level the unconditional embedding is optimised so that the *source* branch (the foreground's prompt) stays on
the inverted trajectory and the *edited* branch (the background's prompt) keeps the composite's edges inside the mask;
then both branches take their step. The edges are of the edited branch because that is the picture that has to keep
them: the source branch has them already, it is held to the trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.edges import EdgeNet, edge_loss
from harmonygen.harmonization.zeroshot.refine import Refined, backward
from harmonygen.harmonization.zeroshot.schedule import Schedule
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage

_SHOWN = (-0.2, 1.2)  # early guesses of the picture may lie far outside [0, 1]
_RIM = 2  # pixels


@dataclass(frozen=True)
class Walk:
    """Both branches' clean latents (1, 4, h, w), and the last level's losses."""

    source: Tensor
    edited: Tensor
    latent_loss: float
    edge_loss: float | None


class EditWalk:
    """One edit of one picture.

    Args:
        model: the text-to-image model.
        schedule: its DDIM levels.
        trajectory: inverted latents, clean first.
        original: (1, 3, H, W) in [0, 1]: the composite whose edges are to stay.
        mask: (1, 1, H, W) float, 1 = foreground.
        net: what finds edges beside Sobel; None for Sobel alone.
        settings: guidance, learning rate, weights and ratios.
    """

    def __init__(
        self,
        model: TextToImage,
        schedule: Schedule,
        trajectory: Sequence[Tensor],
        original: Tensor,
        mask: Tensor,
        net: EdgeNet | None,
        settings: ZeroShotSettings,
    ) -> None:
        self.model, self.schedule, self.trajectory = model, schedule, trajectory
        self.original, self.inner, self.net, self.settings = original, inner_part(mask), net, settings

    def run(
        self, texts: Refined, mapper: Tensor, null: Tensor, progress: Callable[[int, int], None] | None = None
    ) -> Walk:
        """Walk both branches from noise to picture.

        Args:
            texts: the text states of both prompts.
            mapper: (T, T) how the edit's cross-attention is made from the source's.
            null: (1, T, width) the unconditional embedding to start from.
            progress: told (levels done, levels).
        """
        steps, model = self.schedule.steps, self.model
        states = torch.cat([texts.foreground, texts.background]).detach()
        null = null.detach().clone().requires_grad_()
        both = self.trajectory[steps].to(model.device).expand(2, -1, -1, -1)
        losses: tuple[Tensor, Tensor | None] = (torch.zeros(()), None)
        for index, level in enumerate(range(steps, 0, -1)):
            conditional = self._conditional(both, level, index, states, mapper)
            losses = self._optimise(null, both, conditional, level, index)
            with torch.no_grad():
                both = self.schedule.denoise(both, self._guided(both, conditional, null, level), level)
            if progress:
                progress(index + 1, steps)
        latent, edge = losses
        return Walk(both[:1], both[1:], latent.item(), None if edge is None else edge.item())

    @torch.no_grad()
    def _conditional(self, both: Tensor, level: int, index: int, states: Tensor, mapper: Tensor) -> Tensor:
        """Predict with the prompts; the edit takes over the source's attention while its ratio lasts."""
        settings, steps = self.settings, self.schedule.steps
        crossed = mapper if index < settings.cross_replace * steps else None
        with self.model.control.replacing(crossed, index < settings.self_replace * steps):
            return self.model.predict(both, self.schedule.time(level), states)

    def _guided(self, both: Tensor, conditional: Tensor, null: Tensor, level: int) -> Tensor:
        """Predict with classifier-free guidance."""
        without = self.model.predict(both, self.schedule.time(level), null.expand(2, -1, -1))
        return without + self.settings.guidance * (conditional - without)

    def _optimise(
        self, null: Tensor, both: Tensor, conditional: Tensor, level: int, index: int
    ) -> tuple[Tensor, Tensor | None]:
        """Optimise the unconditional embedding for one level, in place; return the losses of the last step."""
        optimizer = torch.optim.AdamW([null], lr=self.settings.null_learning_rate, weight_decay=0.0)
        losses: tuple[Tensor, Tensor | None] = (torch.zeros(()), None)
        for _ in range(1 + index * self.settings.null_inner // self.schedule.steps):
            losses = self.losses(null, both, conditional, level)
            weighted = self.settings.null_weight * losses[0]
            if losses[1] is not None:
                weighted = weighted + self.settings.edge_weight * losses[1]
            backward(weighted, [null], self.model.unet.dtype)
            optimizer.step()
        return losses

    def losses(self, null: Tensor, both: Tensor, conditional: Tensor, level: int) -> tuple[Tensor, Tensor | None]:
        """Return the source branch's distance from the trajectory, and the edited branch's L_Edge (None: weight 0)."""
        predicted, schedule, settings = self._guided(both, conditional, null, level), self.schedule, self.settings
        below = schedule.denoise(both[:1], predicted[:1], level)
        latent = functional.mse_loss(below, self.trajectory[level - 1].to(below.device))
        if not settings.edge_weight:
            return latent, None
        shown = self.model.decode(schedule.clean(both[1:], predicted[1:], level)).clamp(*_SHOWN)
        return latent, edge_loss(self.original, shown, self.inner, self.net, settings.edge_gamma)


def inner_part(mask: Tensor) -> Tensor:
    """Return a mask (1, 1, H, W) without the rim where edges are of foreground against background.

    That contrast is what an edit is there to change; only edges within the foreground are to stay. Where nothing is
    left, the mask itself.
    """
    inner = -functional.max_pool2d(-mask, 2 * _RIM + 1, stride=1, padding=_RIM)
    return inner if bool(inner.any()) else mask
