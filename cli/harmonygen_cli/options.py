"""Options that every verb shares."""

from __future__ import annotations

from typing import Annotated

import typer

Recipe = Annotated[str | None, typer.Option("--recipe", help="Recipe by name or path; see `harmonygen recipes ls`.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Run seed (0).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; the rest goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors and the result only.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")]
