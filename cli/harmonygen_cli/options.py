"""What a command takes beside its settings, declared once for all verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="NAME|PATH", help="Recipe by name or path. `harmonygen recipes ls` lists the names."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override, such as seed=3.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout. Everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors and the result.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the old run in --out first.")]
Paper = Annotated[
    bool,
    typer.Option("--paper", help="Work as published: photos squeezed to a square, sampled latents, decoded pixels."),
]
Small = Annotated[bool, typer.Option("--small", help="Use the small form of the recipe, which takes little time.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished synthesize run.")]
