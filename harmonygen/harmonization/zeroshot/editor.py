"""One iteration of zero-shot harmonization: invert, refine the words, edit, blend (REFERENCE section 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.edges import EdgeNet, load_edge_net
from harmonygen.harmonization.zeroshot.edit import EditWalk, Walk
from harmonygen.harmonization.zeroshot.memory import needs
from harmonygen.harmonization.zeroshot.prompts import mapper
from harmonygen.harmonization.zeroshot.refine import Refined, Refinement
from harmonygen.harmonization.zeroshot.schedule import invert
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage, to_images, to_picture
from harmonygen.harmonization.zeroshot.words import Description
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.pictures.images import Mask, Picture01
from harmonygen.seeds import digest_of_bytes

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Edited:
    """A picture (h, w, 3) in [0, 1], float32, the original's outside the mask, and what was measured on the way.

    ``figures`` has ``reconstruction_psnr`` (dB, of the source branch against the picture that was edited),
    ``attention_inside`` and ``attention_outside`` (shares of the words' attention where they belong, ``_before`` and
    ``_after`` refinement), ``latent_loss`` and ``edge_loss`` of the last level.
    """

    picture01: Picture01
    figures: dict[str, float] = field(default_factory=dict)


class Editor:
    """Edits a composite's foreground toward its background's words. It draws nothing at random.

    Args:
        model: the text-to-image model.
        settings: every parameter.
        net: edges beside Sobel.
        digest: of the model's weights.
    """

    def __init__(
        self, model: TextToImage, settings: ZeroShotSettings, net: EdgeNet | None = None, digest: str = ""
    ) -> None:
        self.model, self.settings, self.net, self.digest = model, settings, net, digest
        self.resolution, self.multiple = model.resolution, model.multiple
        self.schedule = model.schedule(settings.inversion_steps)

    def needs(self, height: int, width: int) -> dict[str, int]:
        """Return the bytes that an edit at height x width needs: weights, activations, latents, total."""
        return needs(self.model, self.settings, height, width)

    def __call__(
        self,
        picture01: Picture01,
        composite01: Picture01,
        mask: Mask,
        description: Description,
        progress: Progress | None = None,
    ) -> Edited:
        """Edit ``picture01`` once.

        Args:
            picture01: (h, w, 3) in [0, 1], what the last iteration gave; sides multiples of ``multiple``.
            composite01: (h, w, 3) in [0, 1], the untouched composite: the background and the edges to keep.
            mask: (h, w) bool foreground.
            description: subject, and the words of foreground and background.
            progress: told (levels done, levels).

        Raises:
            InputError: the description has more tokens than the text encoder takes.
        """
        model = self.model
        picture, original = to_images(picture01, model.device), to_images(composite01, model.device)
        inside = torch.from_numpy(mask[None, None].astype(np.float32)).to(model.device)
        source = model.prompt(description.subject, description.foreground)
        target = model.prompt(description.subject, description.background)
        null = model.unconditional()
        with torch.no_grad():
            latents = model.encode(picture)
        trajectory = invert(model.predict, self.schedule, latents, null, model.low_memory)
        refined = Refinement(model, self.schedule, trajectory, inside, (source, target), self.settings).run()
        walk = EditWalk(model, self.schedule, trajectory, original, inside, self.net, self.settings)
        edited = walk.run(refined, mapper(source, target).to(model.device), null, progress)
        return self._blended(edited, refined, picture01, composite01, mask)

    @torch.no_grad()
    def _blended(
        self, walk: Walk, refined: Refined, picture01: Picture01, composite01: Picture01, mask: Mask
    ) -> Edited:
        """Paste the edited foreground over the untouched composite."""
        source, edited = (to_picture(self.model.decode(latents)) for latents in (walk.source, walk.edited))
        figures = {"reconstruction_psnr": psnr(source, picture01), "latent_loss": walk.latent_loss}
        if walk.edge_loss is not None:
            figures["edge_loss"] = walk.edge_loss
        for name, pair in (("attention_inside", refined.inside), ("attention_outside", refined.outside)):
            if pair is not None:
                figures |= {f"{name}_before": pair[0], f"{name}_after": pair[1]}
        return Edited(np.where(mask[..., None], edited, composite01).astype(np.float32), figures)


def psnr(first: Picture01, second: Picture01) -> float:
    """Return the PSNR of two pictures in [0, 1], dB; 100 at most."""
    error = float(np.square(first.astype(np.float64) - second).mean())
    return float(min(100.0, -10 * np.log10(max(error, 1e-10))))


def load_editor(folder: str | Path, device: str, dtype: torch.dtype, settings: ZeroShotSettings) -> Editor:
    """Load a Stable Diffusion 1.x or 2.x folder for zero-shot harmonization.

    Raises:
        CheckpointError: the folder is incomplete, damaged or of another kind.
        UsageError: a package or the edge detector's weights are missing.
    """
    model = TextToImage.from_pretrained(folder, device, dtype, settings.low_memory)
    net = load_edge_net(settings.edges, settings.hed_weights)
    digest = weights_digest(locate(folder, "text-to-image"))
    if isinstance(net, torch.nn.Module):
        digest += f"+{module_digest(net)}"
        net.to(device)
    return Editor(model, settings, net, digest)


def module_digest(module: torch.nn.Module) -> str:
    """Return 16 hex digits that stand for a module's weights."""
    weights = sorted(module.state_dict().items())
    return digest_of_bytes(
        part for name, value in weights for part in (name.encode(), value.cpu().contiguous().numpy().tobytes())
    )
