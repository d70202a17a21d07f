"""`harmonygen train`: train a model from a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from harmonygen.errors import UsageError
from harmonygen.recipes import nearest
from harmonygen.training.settings import TASKS, TrainSettings
from harmonygen_cli.from_settings import Typed, command

Model = Annotated[str, typer.Argument(metavar="MODEL", help=f"Model to train: {', '.join(TASKS)}.")]


@command(TrainSettings, variants=TASKS)
def train(typed: Typed[TrainSettings], model: Model) -> None:
    """Train a model; the finished checkpoint is OUTPUT_DIR/model.

    Example: `harmonygen train inverse --recipe starter/inverse --data photos --max-train-steps 2000`

    On several GPUs: `accelerate launch $(which harmonygen) train ...`; the batch size is that of each process.
    """
    if model not in TASKS:
        raise UsageError(
            f"'{model}' is not a model that can be trained{nearest(model, TASKS)}: choose {', '.join(TASKS)}"
        )
    typed.kind = TASKS[model]
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.training.run import train as run_training

    result = run_training(settings, reporter.line)
    if not result.main:
        return
    figures = {**result.losses, **{f"validation_{name}": value for name, value in result.validation.items()}}
    reporter.table(f"{model}: {result.folder}", ["figure", "value"], sorted(figures.items()))
    facts = {"folder": result.folder, "steps": result.steps, "seconds": result.seconds}
    reporter.result({**facts, "leak_guard": result.leak_guard, **figures})
