"""`harmonygen review`: a local web app to accept and reject a run's candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonygen.review.settings import ReviewSettings
from harmonygen_cli.from_settings import Typed, command

if TYPE_CHECKING:
    from harmonygen.review.session import Session

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a synthesize run, or of a build.")]


@command(ReviewSettings)
def review(typed: Typed[ReviewSettings], run: Folder) -> None:
    """Review a run in the browser: accept and reject candidates at full size. Decisions are kept in the run's folder.

    Example: `harmonygen review outputs/synthesize --reviewer ana`, then open the link that it prints
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.review.serve import serve

    def opened(link: str, session: Session) -> None:
        candidates = f"{len(session.run.parts)} of {session.run.planned} shards"
        reporter.line(f"review of '{session.run.folder}' ({candidates}), until Ctrl-C: {link}")
        reporter.result({"link": link, "run": session.run.folder})

    serve(run, settings, opened, reporter.line)
