"""`harmonygen recipes ls|cat|cp|validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Quiet

if TYPE_CHECKING:
    from harmonygen.errors import UsageError
    from harmonygen.settings import Settings

app = typer.Typer(no_args_is_help=True, help="List, print, copy and check recipes.")
Name = Annotated[str, typer.Argument(help="kind/name, a name that is unambiguous, or a path.")]


@app.command("ls")
def ls(
    kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """List recipes, each with a sentence on what it is for.

    Example: `harmonygen recipes ls starter`
    """
    from harmonygen import recipes

    found = recipes.names(kind)
    if not json_output:
        width = max(map(len, found), default=0)
        print("\n".join(f"{name:{width}}  {recipes.summary(name)}" for name in found))
    Reporter(json_output, quiet).result({"recipes": found})


@app.command("cat")
def cat(name: Name, json_output: Json = False) -> None:
    """Print a recipe.

    Example: `harmonygen recipes cat starter/inverse`
    """
    from harmonygen import recipes

    text = recipes.find(name).read_text(encoding="utf-8")
    if not json_output:
        print(text, end="")
    Reporter(json_output).result({"recipe": name, "text": text})


@app.command("cp")
def cp(
    name: Name,
    destination: Annotated[Path, typer.Argument(help="File or folder.")] = Path(),
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a recipe, to change it; an existing file is not overwritten.

    Example: `harmonygen recipes cp starter/inverse my-inverse.toml`
    """
    from harmonygen import recipes
    from harmonygen.errors import UsageError

    source = recipes.find(name)
    target = destination / source.name if destination.is_dir() else destination
    if target.exists():
        raise UsageError(f"'{target}' exists already: choose another name")
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    reporter = Reporter(json_output, quiet)
    reporter.line(f"copied to {target}")
    reporter.result({"recipe": name, "copy": target})


@app.command("validate")
def validate(name: Name, json_output: Json = False, quiet: Quiet = False) -> None:
    """Check a recipe against the settings it is for; all faults are reported at once.

    Example: `harmonygen recipes validate my-inverse.toml`
    """
    kinds = validate_recipe(name)
    reporter = Reporter(json_output, quiet)
    reporter.line(f"{name} is valid for: {', '.join(kinds)}")
    reporter.result({"recipe": name, "valid_for": kinds})


def settings_of_kinds() -> dict[str, type[Settings]]:
    """Return what a recipe can be of: a verb's settings, or those of a model to train."""
    from harmonygen.augmentation.settings import AugmentSettings
    from harmonygen.evaluation.settings import EvaluateSettings
    from harmonygen.gain.settings import GainSettings
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.training.settings import TASKS

    verbs: dict[str, type[Settings]] = {"synthesize": SynthesizeSettings, "augment": AugmentSettings}
    return {**verbs, "evaluate": EvaluateSettings, "gain": GainSettings, **TASKS}


def validate_recipe(name: str) -> list[str]:
    """Return what a recipe is valid for: verbs or names of models to train.

    Raises:
        UsageError: it fits nothing; the faults are those of the kind it comes nearest to.
    """
    from harmonygen.errors import UsageError
    from harmonygen.settings import resolve

    kinds = settings_of_kinds()
    faults: dict[str, UsageError] = {}
    for kind, settings in kinds.items():
        try:
            resolve(settings, name)
        except UsageError as error:
            faults[kind] = error
    if len(faults) == len(kinds):
        raise min(faults.values(), key=_fault_count)
    return [kind for kind in kinds if kind not in faults]


def _fault_count(error: UsageError) -> int:
    from pydantic import ValidationError

    return error.__cause__.error_count() if isinstance(error.__cause__, ValidationError) else 0
