"""`harmonygen publish`: verify a built dataset and put it on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen.publishing.settings import PublishSettings
from harmonygen_cli.console import BYTES, Reporter, size
from harmonygen_cli.from_settings import Typed, command

if TYPE_CHECKING:
    from harmonygen.publishing.publish import Publication, PublishResult

_SHOWN = 40

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset: README.md and Parquet files.")]


@command(PublishSettings)
def publish(typed: Typed[PublishSettings], folder: Folder) -> None:
    """Verify a built dataset, send it to its own branch, read it back, and publish it on main by one commit.

    Example: `harmonygen publish outputs/human-harmony --repo user/human-harmony --private --revision v1.0`

    See what would be sent, without a token: `harmonygen publish outputs/augmented --repo user/name --dry-run`
    """
    settings, reporter = typed.settings(folder=folder), typed.reporter
    from harmonygen.publishing.publish import carry_out, prepare

    with reporter.progress("verify", BYTES) as advance:
        publication = prepare(settings, reporter.line, advance)
    _print_plan(reporter, publication)
    with reporter.progress("send", BYTES) as advance:
        result = carry_out(publication, reporter.line, advance)
    _print_result(reporter, result)
    reporter.result(result.as_json())


def _print_plan(reporter: Reporter, publication: Publication) -> None:
    rows: list[list[Any]] = [
        [file.path, size(file.bytes), file.rows, file.state] for file in publication.files[:_SHOWN]
    ]
    rows += [[path, "", 0, "removed: a split would read it"] for path in publication.stale]
    left = len(publication.files) - _SHOWN
    if left > 0:
        hidden = publication.files[_SHOWN:]
        rows.append([f"... {left} more", size(sum(f.bytes for f in hidden)), sum(f.rows for f in hidden), ""])
    verified = publication.verified
    reporter.table(f"to '{publication.settings.repo}'", ["file", "size", "rows", "on the Hub"], rows)
    reporter.line(
        f"{len(publication.files)} files, {size(verified.bytes)}, all verified; {verified.images} images decoded; "
        f"{verified.left} other files of '{verified.folder}' stay here"
    )


def _print_result(reporter: Reporter, result: PublishResult) -> None:
    if result.dry_run:
        reporter.line("dry run: nothing was sent")
    elif result.pull_request:
        reporter.line(f"{size(result.sent_bytes)} sent and read back; merge it to publish: {result.pull_request}")
    elif result.sent_bytes or any(file.state != "there" for file in result.files) or result.removed:
        tagged = f", tagged {result.tag}" if result.tag else ""
        commit = (result.commit or "")[:12]
        reporter.line(f"{size(result.sent_bytes)} sent, read back and published at {commit}{tagged}: {result.url}")
    else:
        reporter.line(f"published before, nothing sent: {result.url}")
