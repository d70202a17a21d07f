"""`harmonygen masks`: masks for photos that have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonygen.segmentation.settings import MaskSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import DryRun

if TYPE_CHECKING:
    from harmonygen.segmentation.masks import MaskResult

Photos = Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photos, or one photo.")]
_TOLD = ("out", "photos", "masks", "left_out", "quarantined", "passed_over", "finished_before", "dry_run", "summary")


@command(MaskSettings)
def masks(typed: Typed[MaskSettings], photos: Photos, dry_run: DryRun = False) -> None:
    """Make masks for a folder of photos without masks. Every `--data` reads the result.

    Example: `harmonygen masks photos/ --person --out masked`

    Then: `harmonygen synthesize --data masked`

    With your own network: `harmonygen masks photos/ --segmenter isnet.onnx --out masked`
    """
    settings = typed.settings(photos=photos)
    from harmonygen.segmentation.masks import make_masks

    with typed.reporter.progress("masks", "photos") as progress:
        result = make_masks(settings, progress, dry_run=dry_run)
    _tell(typed.reporter, result)


def _tell(reporter: Reporter, result: MaskResult) -> None:
    rows: list[list[object]] = [["photos", result.photos]]
    if not result.dry_run:
        rows += [["masks", result.masks], *([reason, count] for reason, count in result.left_out.items())]
    rows += [["cannot be read", result.quarantined]]
    rows += [[f"passed over, {reason}", count] for reason, count in result.passed_over.items()]
    reporter.table(f"masks: {result.out}", ["", "count"], rows)
    if result.dry_run:
        reporter.line(f"nothing was written to '{result.out}'")
    elif result.finished_before:
        reporter.line("the masks were already complete: nothing was written")
    if result.summary:
        several = result.summary["several"]
        if several:
            reporter.line(f"{several} photos show more than one {result.summary['subject']}")
        reporter.line(f"look at them: {result.out / 'overlay.png'} or {result.out / 'report.html'}")
    reporter.result({name: getattr(result, name) for name in _TOLD})
