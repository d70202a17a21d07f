"""`harmonygen harmonize`: make a composite's foreground fit its background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.harmonization.harmonize import HarmonizeResult

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[IMAGE] [KEY=VALUE]...", help="One composite, with --mask; settings to override."),
]
Method = Annotated[str | None, typer.Option(help="diffharmony, diffharmony++, direct or zero-shot (diffharmony).")]
Model = Annotated[str | None, typer.Option(help="Checkpoint folder; of zero-shot, a Stable Diffusion's (starter).")]
Draws = Annotated[int | None, typer.Option(help="Draws whose mean is the result (the checkpoint states it; 1).")]
Steps = Annotated[int | None, typer.Option(help="Sampling steps (the checkpoint states them; 5; of zero-shot 50).")]
Detail = Annotated[str | None, typer.Option(help="transfer, or decode: the decoder's pixels, enlarged (transfer).")]
Foreground = Annotated[
    str | None, typer.Option(help="Zero-shot: object and its words, 'girl, sunny'; with --background.")
]
Background = Annotated[str | None, typer.Option(help="Zero-shot: words of the surroundings, 'dark, night'.")]
Captions = Annotated[Path | None, typer.Option(help="Zero-shot: CSV or JSONL with each composite's words.")]
Describer = Annotated[str | None, typer.Option(help="Zero-shot: rules, model or hand: who finds words (rules).")]
DescriberModel = Annotated[str | None, typer.Option(help="Zero-shot: image-text-to-text model that finds words.")]
Classifier = Annotated[str | None, typer.Option(help="Zero-shot: classifier that judges the edits (starter).")]
Iterations = Annotated[int | None, typer.Option(help="Zero-shot: edits at most (10).")]
LowMemory = Annotated[bool | None, typer.Option("--low-memory", help="Zero-shot: less memory, more time.")]


def harmonize(
    words: Words = None,
    recipe: Recipe = None,
    mask: Annotated[Path | None, typer.Option(help="Mask of IMAGE, white = foreground.")] = None,
    data: Annotated[str | None, typer.Option(help="Composites and masks, a layout that has them (sample).")] = None,
    composites: Annotated[Path | None, typer.Option(help="Folder of composites; with --masks.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks named as the composites are.")] = None,
    list_file: Annotated[str | None, typer.Option(help="iHarmony4 list, txt or jsonl.")] = None,
    subset: Annotated[str | None, typer.Option(help="One subset of the data.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N composites.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; with IMAGE, a file (outputs/harmonize).")] = None,
    method: Method = None,
    model: Model = None,
    refine: Annotated[str | None, typer.Option(help="Refiner's folder, run after diffharmony (none).")] = None,
    draws: Draws = None,
    steps: Steps = None,
    sampler: Annotated[str | None, typer.Option(help="euler-ancestral or euler (the checkpoint states it).")] = None,
    resolution: Annotated[int | None, typer.Option(help="Short side the model works at, pixels.")] = None,
    fit: Annotated[str | None, typer.Option(help="native or square (native).")] = None,
    detail: Detail = None,
    paper: Annotated[bool, typer.Option("--paper", help="As published: --fit square --detail decode.")] = False,
    max_side: Annotated[int | None, typer.Option(help="Longest side of the results (the composite's own).")] = None,
    batch_size: Annotated[str | None, typer.Option(help="Draws denoised together (auto).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (auto).")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 (auto).")] = None,
    image_format: Annotated[str | None, typer.Option(help="png, webp (lossless) or jpeg (png).")] = None,
    mask_resize: Annotated[str | None, typer.Option(help="refuse or nearest (refuse).")] = None,
    max_bad_fraction: Annotated[float | None, typer.Option(help="Bad inputs allowed (0.01).")] = None,
    seed: Seed = None,
    foreground: Foreground = None,
    background: Background = None,
    captions: Captions = None,
    describer: Describer = None,
    describer_model: DescriberModel = None,
    classifier: Classifier = None,
    iterations: Iterations = None,
    low_memory: LowMemory = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Harmonize one composite, or every composite of a dataset under its own name.

    Example: `harmonygen harmonize pasted.jpg --mask pasted-mask.png --out harmonized.png`

    A dataset: `harmonygen harmonize --data iHarmony4 --list-file IHD_test.txt --out outputs/harmonize`

    By words: `harmonygen harmonize pasted.jpg --mask pasted-mask.png --method zero-shot --model stable-diffusion-2-1
    --foreground 'girl, sunny' --background 'dark, night'`
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    words_and_judge = {key: value for key in _ZERO_SHOT if (value := options.pop(key)) is not None}
    image, overrides = split_words(words or ())
    if paper:
        options.update(fit="square", detail="decode")
    from harmonygen.harmonization.settings import HarmonizeSettings
    from harmonygen.settings import resolve

    settings = resolve(HarmonizeSettings, recipe, {**options, "image": image, "zero_shot": words_and_judge}, overrides)
    from harmonygen.harmonization.harmonize import harmonize as run

    reporter = Reporter(json_output, quiet)
    with reporter.progress("harmonize", "composites") as progress:
        result = run(settings, progress, reporter.line)
    _tell(result, settings.method, reporter)


def _tell(result: HarmonizeResult, method: str, reporter: Reporter) -> None:
    """Say what a run came to, in a table and as JSON."""
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


_ZERO_SHOT = (
    "foreground",
    "background",
    "captions",
    "describer",
    "describer_model",
    "classifier",
    "iterations",
    "low_memory",
)
_NOT_SETTINGS = ("words", "recipe", "paper", "json_output", "quiet")
