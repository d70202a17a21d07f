"""`harmonygen harmonize`: make a composite's foreground fit its background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.settings import PUBLISHED
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import Paper

if TYPE_CHECKING:
    from harmonygen.harmonization.harmonize import HarmonizeResult

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMAGE] [KEY=VALUE]...",
        help="One composite, together with --mask; also settings to override, such as seed=3.",
    ),
]
_OF_ZERO_SHOT = (
    *("foreground", "background", "captions", "describer", "describer_model"),
    *("classifier", "iterations", "low_memory"),
)


@command(HarmonizeSettings, nested={"zero_shot": _OF_ZERO_SHOT}, without=("image",))
def harmonize(typed: Typed[HarmonizeSettings], overrides: Words = None, paper: Paper = False) -> None:
    """Harmonize one composite, or every composite of a dataset under its own name.

    Example: `harmonygen harmonize pasted.jpg --mask pasted-mask.png --out harmonized.png`

    A dataset: `harmonygen harmonize --data iHarmony4 --list-file IHD_test.txt --out outputs/harmonize`

    By words: `harmonygen harmonize pasted.jpg --mask pasted-mask.png --method zero-shot --model stable-diffusion-2-1
    --foreground 'girl, sunny' --background 'dark, night'`
    """
    image, typed.overrides = split_words(overrides or ())
    settings = typed.settings(image=image, **(PUBLISHED if paper else {}))
    from harmonygen.harmonization.harmonize import harmonize as run
    from harmonygen.harmonization.load import method_of

    with typed.reporter.progress("harmonize", "composites") as progress:
        result = run(settings, progress, typed.reporter.line)
    _tell(result, settings.method or method_of(settings.model), typed.reporter)


def _tell(result: HarmonizeResult, method: str, reporter: Reporter) -> None:
    """Print the result of a run, as a table and as JSON."""
    if not result.summary:
        reporter.line(f"{method}: {result.out}")
    else:
        rows = [["made now", result.made], ["kept from before", result.kept], ["quarantined", result.quarantined]]
        if judged := result.summary.get("zero_shot"):
            rows.append(["score better than untouched", judged["improved"]])
        reporter.table(f"{method}: {result.out}", ["", "composites"], rows)
        if not result.made:
            reporter.line("nothing was left to do")
    counts = {"made": result.made, "kept": result.kept, "quarantined": result.quarantined}
    reporter.result({"out": result.out, **counts, "summary": result.summary})


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell the one composite among the words from ``key=value`` overrides; a file's name may hold ``=``.

    >>> split_words(["a.png", "steps=8"])
    ('a.png', ['steps=8'])
    """
    from harmonygen.errors import UsageError

    images = [word for word in words if "=" not in word or Path(word).is_file()]
    if len(images) > 1:
        raise UsageError(f"{len(images)} images are named ({', '.join(images[:3])}): give one, or folders")
    return (images[0] if images else None), [word for word in words if word not in images]
