"""`harmonygen why`: where a candidate came from, and why it was or was not selected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen.review.settings import WhySettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command

if TYPE_CHECKING:
    from harmonygen.review.recreate import Recreated
    from harmonygen.review.why import Origin

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a synthesize run, or of a build.")]
PairId = Annotated[str, typer.Argument(metavar="ID", help="Id of the pair.")]
Number = Annotated[int | None, typer.Argument(metavar="[K]", help="Number of the candidate, from 0.", min=0)]

_KEPT = {True: "kept", False: "failed"}


@command(WhySettings)
def why(typed: Typed[WhySettings], run: Folder, pair_id: PairId, k: Number = None) -> None:
    """Show where a pair's candidates come from: photo, seeds, weights, scores, gates with their limits, reviewers.

    Examples: `harmonygen why outputs/synthesize Sample/astronaut_head`,
    `harmonygen why outputs/synthesize Sample/astronaut_head 3 --recreate`
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.review.why import explain

    origin = explain(run, pair_id, k)
    _tell_pair(reporter, origin)
    _tell_candidates(reporter, origin)
    if k is not None:
        _tell_candidate(reporter, origin, k)
    said = origin.as_json(k)
    if settings.recreate:
        from harmonygen.review.recreate import other_versions, recreate
        from harmonygen.runs.read import look_inside

        found = look_inside(run)
        wanted = [k] if k is not None else [each["k"] for each in origin.candidates]
        again = list(recreate(found, {pair_id: wanted}, settings.device))
        versions = other_versions(found)
        _tell_again(reporter, again, versions)
        said["recreated"] = [{**asdict(each), "equal": each.equal} for each in again]
        said["other_versions"] = versions
    reporter.result(said)


def _tell_pair(reporter: Reporter, origin: Origin) -> None:
    pair, made = origin.pair, origin.made_by
    size = f"{pair['width']} x {pair['height']} px, foreground {pair['fg_ratio']:.1%}"
    rows = [
        ["photo", pair["source"]],
        ["mask", pair["mask_source"]],
        ["photo id, mask id", f"{pair['real_id']}, {pair['mask_id']}"],
        ["size", size],
        ["digests of photo and mask", ", ".join(str(pair.get(name, "")) for name in ("real_digest", "mask_digest"))],
        ["generator", f"{made.get('generator', '')}, model {made.get('model', '')}"],
        ["digests of weights and settings", f"{made.get('model_digest', '')}, {made.get('params_digest', '')}"],
        ["run", f"seed {made.get('seed', '')}, plan {made['plan_digest']}, harmonygen {made['harmonygen']}"],
        *_judges(origin),
        ["selection", f"{origin.selection['rule']}, {origin.selection['count']} per pair"],
    ]
    reporter.table(f"pair {pair['pair_id']}", ["", "what it is"], rows)


def _judges(origin: Origin) -> list[list[str]]:
    """Return the judge with its digest, or several and how they are combined."""
    selection = origin.selection
    if not origin.judges:
        return [["judge", f"{origin.made_by.get('classifier', '')}, digest {selection['classifier_digest']}"]]
    named = [[f"judge {name}", f"digest {digest}"] for name, digest in selection["judges"].items()]
    combined = origin.bounds.combining
    limit = (
        f", least score {combined.min_score:g}" if combined.refusals([(name, 0.0) for name in origin.judges]) else ""
    )
    return [*named, ["judges are combined by", f"{combined.how}{limit}"]]


def _tell_candidates(reporter: Reporter, origin: Origin) -> None:
    from harmonygen.runs.tables import DECIDED_BY

    scores = [f"p_{name}" for name in origin.judges]
    rows: list[list[Any]] = [
        [
            each["k"],
            "selected" if each["selected"] else each["reason"].replace(f"rule:{origin.selection['rule']} ", ""),
            *(_figure(each.get(name)) for name in ("p_composite", *scores, "fmse", "structure")),
            *([each.get(DECIDED_BY, "")] if origin.judges else []),
            str(each["seed"]),
            _review(origin, each["k"]),
        ]
        for each in origin.candidates
    ]
    decided = ["decided by"] if origin.judges else []
    columns = ["k", "outcome", "score", *origin.judges, "fMSE", "structure", *decided, "seed", "review"]
    reporter.table("candidates", columns, rows)


def _tell_candidate(reporter: Reporter, origin: Origin, k: int) -> None:
    signs = {"min": ">=", "max": "<="}
    rows = [
        [each.gate, each.column, _figure(each.value), f"{signs[each.side]} {each.limit:g}", _KEPT[each.kept]]
        for each in origin.readings(k)
    ]
    reporter.table(f"gates of candidate {k}", ["gate", "column", "value", "limit", ""], rows)
    for name, mark in origin.said.get(k, {}).items():
        words = [mark.decision or "undecided", ", ".join(mark.tags), mark.comment]
        reporter.line(f"reviewer {name}: {'; '.join(filter(None, words))}")


def _tell_again(reporter: Reporter, again: list[Recreated], versions: dict[str, tuple[Any, str]]) -> None:
    equal = sum(each.equal for each in again)
    reporter.line(f"made again: {equal} of {len(again)} equal to what is stored, bit for bit")
    for each in again:
        if not each.equal:
            reporter.line(f"candidate {each.k}: {each.pixels} pixels differ, by {each.most} levels at most")
    if versions and equal < len(again):
        changed = ", ".join(f"{name} {then}, now {now}" for name, (then, now) in versions.items())
        reporter.line(f"other versions made the run: {changed}")


def _review(origin: Origin, k: int) -> str:
    said = [f"{name}: {mark.decision}" for name, mark in origin.said.get(k, {}).items() if mark.decision]
    return ", ".join(said) or origin.agreed.get(k, "")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
