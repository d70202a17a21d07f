"""`harmonygen publish`: verify a built dataset and put it on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.publishing.publish import Publication, PublishResult

_NOT_SETTINGS = ("overrides", "recipe", "json_output", "quiet")
_SHOWN = 40


def publish(
    folder: Annotated[Path, typer.Argument(help="Built dataset: README.md and Parquet files.")],
    overrides: Overrides = None,
    recipe: Recipe = None,
    repo: Annotated[str | None, typer.Option("--repo", help="Where to: user/name.")] = None,
    private: Annotated[bool | None, typer.Option("--private", help="Create it private; refuse a public one.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Tag it, such as v1.0 (no tag).")] = None,
    create_pr: Annotated[
        bool | None, typer.Option("--create-pr", help="Open a pull request and leave main to you (publish on main).")
    ] = None,
    dry_run: Annotated[bool | None, typer.Option("--dry-run", help="Verify and show; send nothing.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the token (HF_TOKEN, or the login).")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", help="Images decoded a column and split before sending (16).")
    ] = None,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a built dataset, send it to a branch of its own, read it back, then publish it on main by one commit.

    Example: `harmonygen publish outputs/human-harmony --repo user/human-harmony --private --revision v1.0`

    What would be sent, without a token: `harmonygen publish outputs/augmented --repo user/name --dry-run`
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    from harmonygen.publishing.publish import carry_out, prepare
    from harmonygen.publishing.settings import PublishSettings
    from harmonygen.settings import resolve

    settings = resolve(PublishSettings, recipe, options, overrides or ())
    reporter = Reporter(json_output, quiet)
    with reporter.progress("verify", "bytes") as advance:
        publication = prepare(settings, reporter.line, advance)
    _print_plan(reporter, publication)
    with reporter.progress("send", "bytes") as advance:
        result = carry_out(publication, reporter.line, advance)
    _print_result(reporter, result)
    reporter.result(result.as_json())


def _print_plan(reporter: Reporter, publication: Publication) -> None:
    rows: list[list[Any]] = [[file.path, file.bytes, file.rows, file.state] for file in publication.files[:_SHOWN]]
    rows += [[path, 0, 0, "removed: a split would read it"] for path in publication.stale]
    left = len(publication.files) - _SHOWN
    if left > 0:
        hidden = publication.files[_SHOWN:]
        rows.append([f"... {left} more", sum(f.bytes for f in hidden), sum(f.rows for f in hidden), ""])
    verified = publication.verified
    reporter.table(f"to '{publication.settings.repo}'", ["file", "bytes", "rows", "on the Hub"], rows)
    reporter.line(
        f"{len(publication.files)} files, {verified.bytes} bytes, all verified; {verified.images} images decoded; "
        f"{verified.left} other files of '{verified.folder}' stay here"
    )


def _print_result(reporter: Reporter, result: PublishResult) -> None:
    if result.dry_run:
        reporter.line("dry run: nothing was sent")
    elif result.pull_request:
        reporter.line(f"{result.sent_bytes} bytes sent and read back; merge it to publish: {result.pull_request}")
    elif result.sent_bytes or any(file.state != "there" for file in result.files) or result.removed:
        tagged = f", tagged {result.tag}" if result.tag else ""
        commit = (result.commit or "")[:12]
        reporter.line(f"{result.sent_bytes} bytes sent, read back and published at {commit}{tagged}: {result.url}")
    else:
        reporter.line(f"published before, nothing sent: {result.url}")
