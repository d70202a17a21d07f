"""What could not be read in training: each photo or composite is recorded once and left out from then on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from harmonygen.errors import TooManyBadInputsError
from harmonygen.records import Quarantined
from harmonygen.storage.shards import make_folder, write_json

QUARANTINE = "quarantine"


class BadSamples:
    """One small file a bad input in ``folder``: loader workers, processes and resumed runs write each once.

    Args:
        folder: made when the first input is bad.
        total: photos or composites of the data set.
        fraction: the share of them that may be bad; one always may, unless it is 0.
    """

    def __init__(self, folder: Path, total: int, fraction: float) -> None:
        self.folder, self.total = folder, total
        self.allowed = max(1, int(fraction * total)) if fraction else 0

    def record(self, name: str, error: Exception) -> None:
        """Record that ``name`` could not be used.

        Raises:
            TooManyBadInputsError: more are bad than allowed.
        """
        row = Quarantined(name, "train", type(error).__name__, str(error))
        file_name = f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        write_json(make_folder(self.folder) / file_name, asdict(row))
        found = len(list(self.folder.glob("*.json")))
        if found > self.allowed:
            raise TooManyBadInputsError(
                f"{found} of {self.total} inputs could not be used, {self.allowed} are allowed; the last: {error}; all "
                f"are in '{self.folder}': mend them, or raise max_bad_fraction"
            )

    def rows(self) -> list[Quarantined]:
        """Return what was recorded, by any worker, process or earlier start of the run."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]
        return [Quarantined(**row) for row in found]
