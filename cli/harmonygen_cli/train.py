"""`harmonygen train`: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

_MODELS = "autoencoder, harmony-vae, inverse, forward, refiner, direct or classifier."
Steps = Annotated[int | None, typer.Option("--max-train-steps", help="Optimiser steps.")]


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODELS)],
    overrides: Overrides = None,
    recipe: Recipe = None,
    data: Annotated[str | None, typer.Option("--data", help="Photos and masks: any input layout (sample).")] = None,
    source: Annotated[str | None, typer.Option(help="on-the-fly, or stored: composites the data have.")] = None,
    split_file: Annotated[Path | None, typer.Option("--split-file", help="CSV: kind, name, split.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Where it all goes.")] = None,
    resolution: Annotated[int | None, typer.Option("--resolution", help="Side of the square crops, pixels.")] = None,
    train_batch_size: Annotated[int | None, typer.Option("--train-batch-size", help="Pairs a step.")] = None,
    gradient_accumulation_steps: Annotated[int | None, typer.Option(help="Batches a step.")] = None,
    max_train_steps: Steps = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="AdamW's.")] = None,
    lr_scheduler: Annotated[str | None, typer.Option("--lr-scheduler", help="constant, cosine ...")] = None,
    lr_warmup_steps: Annotated[int | None, typer.Option("--lr-warmup-steps", help="Steps.")] = None,
    lr_warmup_ratio: Annotated[float | None, typer.Option(help="Warm-up as a share of all steps, instead.")] = None,
    mixed_precision: Annotated[str | None, typer.Option("--mixed-precision", help="no, fp16 or bf16.")] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing", help="Save memory.")
    ] = None,
    checkpointing_steps: Annotated[int | None, typer.Option("--checkpointing-steps", help="Steps between.")] = None,
    checkpoints_total_limit: Annotated[int | None, typer.Option(help="How many are kept.")] = None,
    validation_steps: Annotated[int | None, typer.Option("--validation-steps", help="Steps between.")] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Remove the checkpoints there, start anew.")
    ] = None,
    resume_from_checkpoint: Annotated[str | None, typer.Option(help="latest, or a checkpoint's path.")] = None,
    dataloader_num_workers: Annotated[int | None, typer.Option(help="Processes that make batches.")] = None,
    report_to: Annotated[str | None, typer.Option("--report-to", help="none, tensorboard or wandb.")] = None,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model; the finished checkpoint is OUTPUT_DIR/model.

    Example: `harmonygen train inverse --recipe starter/inverse --data photos --max-train-steps 2000`

    On several GPUs: `accelerate launch $(which harmonygen) train ...`; the batch size is that of each process.
    """
    options: dict[str, Any] = {
        key: value for key, value in locals().items() if key not in _NOT_SETTINGS and value is not None
    }
    from harmonygen.errors import UsageError
    from harmonygen.recipes import nearest
    from harmonygen.settings import resolve
    from harmonygen.training.settings import TASKS

    if model not in TASKS:
        raise UsageError(
            f"'{model}' is not a model that can be trained{nearest(model, TASKS)}: choose {', '.join(TASKS)}"
        )
    settings = resolve(TASKS[model], recipe, options, overrides or ())

    from harmonygen.training.run import train as run_training

    reporter = Reporter(json_output, quiet)
    result = run_training(settings, reporter.line)
    if not result.main:
        return
    figures = {**result.losses, **{f"validation_{name}": value for name, value in result.validation.items()}}
    reporter.table(f"{model}: {result.folder}", ["figure", "value"], sorted(figures.items()))
    facts = {"folder": result.folder, "steps": result.steps, "seconds": result.seconds}
    reporter.result({**facts, "leak_guard": result.leak_guard, **figures})


_NOT_SETTINGS = ("model", "overrides", "recipe", "json_output", "quiet")
