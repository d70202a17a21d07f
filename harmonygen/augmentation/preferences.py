"""`harmonygen export --preferences`: two composites of each photo, one preferred to the other, as a Parquet dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harmonygen.augmentation.settings import ExportSettings
from harmonygen.data.write_parquet import ShardedParquetWriter, card_metadata, write_readme
from harmonygen.errors import UsageError
from harmonygen.runs.job_folder import SUMMARY, JobPlan, job_folder
from harmonygen.runs.preferences import PREFERENCE_COLUMNS, Preference, preference_rows, preferences
from harmonygen.runs.read import Run
from harmonygen.settings import asked
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_schema

Progress = Callable[[int, int], None]
SPLIT, README = "train", "README.md"


@dataclass(frozen=True)
class PreferencesExport:
    """What was written: one row for each of ``rows`` photos of ``pairs``; ``by`` counts who preferred."""

    folder: Path
    pairs: int
    rows: int
    by: dict[str, int]
    finished_before: bool


def preferred_pairs(run: Run, min_margin: float) -> dict[int, list[Preference]]:
    """Return the preferences of a run by shard.

    Raises:
        UsageError: there is none.
    """
    by_part = {part: preferences(run.part_rows(part).to_pylist(), min_margin) for part in range(len(run.parts))}
    if not any(by_part.values()):
        raise UsageError(
            f"no photo of '{run.folder}' has two candidates whose scores differ by {min_margin:g}: lower --min-margin, "
            "or keep more candidates (synthesize --keep all)"
        )
    return by_part


def export_preferences(settings: ExportSettings, progress: Progress | None = None) -> PreferencesExport:
    """Write the preferences of a run as ``data/train-*.parquet`` with a card; ``load_dataset(folder)`` reads it.

    Raises:
        UsageError: not a finished run, no preference, photos or masks that changed since the run, or a folder that
            holds something else.
        StorageError: a photo is gone, or the disk is full: rerun the same command to resume.
    """
    run = Run.open(settings.run)
    found = preferred_pairs(run, settings.min_margin)
    run.refuse_changed({each.preferred["pair_id"] for own in found.values() for each in own})
    inputs = {"run": run.plan_digest, "selection": run.reselected or None}
    plan = JobPlan("export", settings, inputs, unused=("link", "photos", "direction", "caption", "seed"))
    with job_folder(settings.out, plan, [README], finished=(settings.out / SUMMARY).is_file) as job:
        if not job.finished:
            rows = _write(settings.out, run, found, plan.digest, progress)
            by = Counter(each.by for own in found.values() for each in own)
            pairs = len({pair["pair_id"] for part in found for pair in run.pairs(part)})
            job.finish({**plan.inputs, **asked(settings), "pairs": pairs, "rows": rows, "by": dict(by.most_common())})
    told = shards.read_json(settings.out / SUMMARY)
    return PreferencesExport(settings.out, told["pairs"], told["rows"], told["by"], job.finished)


def _write(out: Path, run: Run, found: dict[int, list[Preference]], digest: str, progress: Progress | None) -> int:
    schema, total = image_schema(PREFERENCE_COLUMNS), sum(map(len, found.values()))
    with ShardedParquetWriter(out, SPLIT, schema, digest) as writer:
        ahead = writer.rows
        for part, own in found.items():
            skipped = min(ahead, len(own))
            ahead -= skipped
            for row in preference_rows(run, part, own[skipped:]):
                writer.write(row)
                if progress is not None:
                    progress(writer.rows, total)
        info = writer.close()
    write_readme(out, card_metadata(schema, {SPLIT: info}), _card(run, info.rows))
    return info.rows


def _card(run: Run, rows: int) -> str:
    return f"""# Preferences between composites

{rows:,} photos, each with two composites of it: `preferred` and `rejected`. Outside the `mask` both are the photo
`real`. An accepted composite is preferred to a rejected one where a reviewer decided, else the most composite-like one
to the least (column `by`). `margin` is `p_preferred` minus `p_rejected`, their scores of being a composite.

Made with harmonygen from the synthesis run `{run.plan_digest}`.
"""
