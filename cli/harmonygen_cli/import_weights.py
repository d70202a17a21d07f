"""`harmonygen import-weights`: released weights -> checkpoint folders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe


def import_weights(
    overrides: Overrides = None,
    recipe: Recipe = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Weights: .safetensors, .pth, .pt, .bin, or their folder.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="What they are: denoiser, harmony-vae, refiner or classifier.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The checkpoint folder to write.")] = None,
    direction: Annotated[
        str | None,
        typer.Option("--direction", help="Denoiser, harmony-vae: forward or inverse. Weights do not tell it."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Denoiser: Stable Diffusion folder for scheduler, VAE, text encoder (--from)."),
    ] = None,
    vae: Annotated[
        Path | None, typer.Option("--vae", help="Denoiser: autoencoder or Harmony-VAE folder (the base's vae/).")
    ] = None,
    null_embedding: Annotated[
        str | None, typer.Option("--null-embedding", help="Denoiser: the empty prompt's embedding, safetensors (base).")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Classifier: composite-last (output 1 = composite) or composite-first."),
    ] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn released weights into a checkpoint folder. Pickled code in a file is refused, never run.

    Example: `harmonygen import-weights --from weights-102800 --kind denoiser --direction inverse
    --base stable-diffusion-inpainting --vae sd-vae-ft-mse --out checkpoints/inverse`
    """
    options: dict[str, Any] = {
        key: value for key, value in locals().items() if key not in _NOT_SETTINGS and value is not None
    }
    from harmonygen.models.import_weights import ImportSettings
    from harmonygen.models.import_weights import import_weights as run
    from harmonygen.settings import resolve

    reporter = Reporter(json_output, quiet)
    settings = resolve(ImportSettings, recipe, options, overrides or ())
    result = run(settings)
    size = f"{result.parameters / 1e6:.1f} M parameters, {result.dtype}, from {result.source} (sha256 {result.sha256})"
    reporter.line(f"{result.kind}: {result.folder}, {size}")
    if settings.direction:
        reporter.line(f"direction {settings.direction}: as you state it, the weights do not tell")
    reporter.result({**asdict(result), "direction": settings.direction})


_NOT_SETTINGS = ("overrides", "recipe", "json_output", "quiet")
