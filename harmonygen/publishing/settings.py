"""Settings of `publish`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harmonygen.settings import Settings


class PublishSettings(Settings):
    """Everything that `harmonygen publish` can be told; a token is never among it."""

    folder: Path = Path("outputs/human-harmony")
    repo: str | None = None
    private: bool = False
    revision: str | None = Field(None, description="tag of what was published")
    create_pr: bool = False
    dry_run: bool = False
    token_file: Path | None = None
    sample: int = Field(16, ge=0, description="images decoded in each image column of each split")
    seed: int = Field(0, ge=0)
