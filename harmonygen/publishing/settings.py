"""Settings of `publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from harmonygen.settings import Seed, Settings, setting


class PublishSettings(Settings):
    """Options of `harmonygen publish`; a token is never among them."""

    folder: Path = setting(Path("outputs/human-harmony"), "Folder of the built dataset.")
    repo: str | None = setting(None, "Repository on the Hub, as user/name.", unset="required")
    private: bool = setting(False, "Create the repository private; refuse one that is public.")
    revision: str | None = setting(None, "Tag of what is published, such as v1.0.", unset="no tag")
    create_pr: bool = setting(False, "Open a pull request instead of publishing on main.")
    dry_run: bool = setting(False, "Verify the folder, show what would be sent, and send nothing.")
    token_file: Path | None = setting(None, "File that holds the token.", unset="$HF_TOKEN, or the login's token")
    sample: int = setting(16, "Number of pictures to decode in each image column of each split.", ge=0)
    seed: Annotated[Seed, setting(..., "Seed that draws the sample.")] = 0
