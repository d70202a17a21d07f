"""`harmonygen import-weights`: released weights -> checkpoint folders."""

from __future__ import annotations

from dataclasses import asdict

from harmonygen.models.settings import ImportSettings
from harmonygen_cli.from_settings import Typed, command


@command(ImportSettings, spellings={"source": ("--from",)})
def import_weights(typed: Typed[ImportSettings]) -> None:
    """Turn released weights into a checkpoint folder. Pickled code in a file is refused, never run.

    Example: `harmonygen import-weights --from weights-102800 --kind denoiser --direction inverse
    --base stable-diffusion-inpainting --vae sd-vae-ft-mse --out checkpoints/inverse`
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.models.import_weights import import_weights as run

    result = run(settings)
    size = f"{result.parameters / 1e6:.1f} M parameters, {result.dtype}, from {result.source} (sha256 {result.sha256})"
    reporter.line(f"{result.kind}: {result.folder}, {size}")
    if settings.direction:
        reporter.line(f"direction {settings.direction}: as you stated it, since the weights do not show it")
    reporter.result({**asdict(result), "direction": settings.direction})
