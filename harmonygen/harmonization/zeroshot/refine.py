"""Text-embedding refinement: words learn where in the picture they belong (L_Emb, REFERENCE section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.attention import map_size, mean_maps
from harmonygen.harmonization.zeroshot.prompts import Prompt
from harmonygen.harmonization.zeroshot.schedule import Schedule
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage

_LOOKS = 5  # levels at which attention is measured before and after


@dataclass(frozen=True)
class Refined:
    """Text states (1, T, width) of both prompts, and the share of their words' attention that lies where it should.

    ``inside`` is of the foreground's words inside the mask, ``outside`` of the background's words outside, each
    (before, after), in [0, 1]; None for a prompt without words.
    """

    foreground: Tensor
    background: Tensor
    inside: tuple[float, float] | None
    outside: tuple[float, float] | None


class Refinement:
    """L_Emb for one picture.

    Args:
        model: the text-to-image model.
        schedule: its DDIM levels.
        trajectory: the picture's inverted latents, clean first.
        mask: (1, 1, H, W) float, 1 = foreground.
        prompts: the foreground's and the background's.
        settings: learning rate, inner steps and weights.
    """

    def __init__(
        self,
        model: TextToImage,
        schedule: Schedule,
        trajectory: Sequence[Tensor],
        mask: Tensor,
        prompts: tuple[Prompt, Prompt],
        settings: ZeroShotSettings,
    ) -> None:
        self.model, self.schedule, self.trajectory = model, schedule, trajectory
        self.prompts, self.settings = prompts, settings
        self.size = map_size(model.unet, *trajectory[0].shape[-2:])
        inside = functional.interpolate(mask, self.size, mode="area")[0, 0].to(model.device)
        self.targets = (inside, 1 - inside)
        self.start = tuple(model.token_embeddings(prompt) for prompt in prompts)

    def run(self) -> Refined:
        """Optimise both prompts' words along the trajectory, from noise to picture."""
        before, settings = self._shares(self.start), self.settings
        if not settings.refine_inner or not any(prompt.words for prompt in self.prompts):
            return self._result(self.start, before, before)
        changes = [torch.zeros_like(start, requires_grad=True) for start in self.start]
        optimizer = torch.optim.AdamW(changes, lr=settings.refine_learning_rate, weight_decay=0.0)
        with self.model.control.reading(self.size[0] * self.size[1]):
            for level in range(self.schedule.steps, 0, -1):
                for _ in range(settings.refine_inner):
                    loss = self.loss(self._changed(changes), level)
                    backward(loss, changes, self.model.unet.dtype)
                    optimizer.step()
        refined = tuple(embeddings.detach() for embeddings in self._changed(changes))
        return self._result(refined, before, self._shares(refined))

    def loss(self, embeddings: Sequence[Tensor], level: int) -> Tensor:
        """Return L_Emb of both prompts' token embeddings (1, T, width) at one level."""
        maps, settings = self._maps(embeddings, level), self.settings
        total = torch.zeros((), device=maps.device)
        for index, weight in enumerate((1.0, settings.background_weight)):
            words = self.prompts[index].word_tokens
            if not words:
                continue
            total = total + weight * attention_loss(maps[index, words], self.targets[index])
            moved = embeddings[index][:, words] - self.start[index][:, words]
            total = total + settings.refine_keep * moved.square().mean()
        return total

    def _changed(self, changes: Sequence[Tensor]) -> list[Tensor]:
        """Return the start embeddings with the words' tokens, and no others, changed."""
        changed = []
        for prompt, start, change in zip(self.prompts, self.start, changes, strict=True):
            words = torch.zeros(start.shape[1], 1, device=start.device)
            words[prompt.word_tokens] = 1
            changed.append(start + words * change)
        return changed

    def _maps(self, embeddings: Sequence[Tensor], level: int) -> Tensor:
        """Return both prompts' mean cross-attention maps (2, T, rows, columns) at one level."""
        model = self.model
        states = torch.cat([model.states(*pair) for pair in zip(self.prompts, embeddings, strict=True)])
        latents = self.trajectory[level].to(model.device).expand(2, -1, -1, -1)
        with model.control.reading(self.size[0] * self.size[1]) as maps:
            model.predict(latents, self.schedule.time(level), states)
            return mean_maps(maps, self.size)

    @torch.no_grad()
    def _shares(self, embeddings: Sequence[Tensor]) -> tuple[float | None, ...]:
        """Return which share of each prompt's words' attention lies in its part of the picture, a mean over levels."""
        steps = self.schedule.steps
        levels = sorted({max(1, round(steps * (look + 0.5) / _LOOKS)) for look in range(_LOOKS)})
        maps = torch.stack([self._maps(embeddings, level) for level in levels])
        return tuple(
            float(share(maps[:, index, prompt.word_tokens], target)) if prompt.words else None
            for index, (prompt, target) in enumerate(zip(self.prompts, self.targets, strict=True))
        )

    @torch.no_grad()
    def _result(
        self, embeddings: Sequence[Tensor], before: tuple[float | None, ...], after: tuple[float | None, ...]
    ) -> Refined:
        states = [self.model.states(*pair) for pair in zip(self.prompts, embeddings, strict=True)]
        pairs = [
            None if first is None or last is None else (first, last) for first, last in zip(before, after, strict=True)
        ]
        return Refined(states[0], states[1], pairs[0], pairs[1])


def attention_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Return ||target - map / max(map)||^2, the mean of cells and words: maps (words, r, c), target (r, c)."""
    return (target - maps / maps.amax((-2, -1), keepdim=True)).square().mean()


def share(maps: Tensor, target: Tensor) -> Tensor:
    """Return the share of attention that lies on a target (r, c) in [0, 1], a mean over maps (..., r, c)."""
    return ((maps * target).sum((-2, -1)) / maps.sum((-2, -1))).mean()


def backward(loss: Tensor, leaves: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Leave the gradients of ``loss`` in its leaves; in float16 the way back is scaled, or small gradients vanish."""
    scale = 1024.0 if dtype == torch.float16 else 1.0
    grads = torch.autograd.grad(loss * scale, list(leaves), allow_unused=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        leaf.grad = None if grad is None else grad / scale
