"""The page of a gain study: the answer, the table, the curves and some pictures, in one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harmonygen.evaluation.cases import read_cases
from harmonygen.records import Composite, FileSource, ImageSource
from harmonygen.report import pages
from harmonygen.report.curves import COLOURS, differences, learning_curves
from harmonygen.report.render import data_url
from harmonygen.report.thumbnails import each, thumbnail
from harmonygen.seeds import stable_seed
from harmonygen.storage.shards import write_bytes

_HEIGHT = 160
_NAMES = {"psnr": "PSNR, dB", "fmse": "fMSE", "mse": "MSE"}
_DIGITS = {"psnr": 2, "fmse": 1, "mse": 2}


def write_gain_report(
    result: Mapping[str, Any], base: Path, runs: Mapping[str, Sequence[Path]], cases: int, path: Path
) -> None:
    """Write the page of a study's result; pictures are those of each arm's first seed."""
    page = pages.page(
        "gain.html.j2",
        result=result,
        style=pages.asset("report.css"),
        script=pages.asset("tables.js"),
        answers=answers(result),
        curves=_curves(result),
        forests=[(_NAMES[figure], _forest(result, figure)) for figure in ("psnr", "fmse")],
        names=_NAMES,
        sets=_sets(result),
        cell=cell,
        colours=range(COLOURS),
        sheet=_sheet(base, runs, cases),
    )
    write_bytes(path, page.encode())


def cell(value: Mapping[str, Any], figure: str, sign: bool = False) -> str:
    """Write a mean with its interval, if it has one.

    >>> cell({"mean": 1.234, "low": 0.5, "high": 2.0}, "psnr", sign=True)
    '+1.23 [+0.50, +2.00]'
    >>> cell({"mean": 1.234, "low": None, "high": None}, "psnr")
    '1.23'
    """
    digits = _DIGITS[figure]
    form = f"{'+' if sign else ''},.{digits}f"
    mean, low, high = (format(value[name], form) if value[name] is not None else "" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if low and high else mean or "no value"


def answers(result: Mapping[str, Any]) -> list[str]:
    """Say about each arm in a sentence what it did to PSNR and fMSE against base."""
    found = []
    for row in result["arms"]:
        if "difference" not in row:
            continue
        psnr, fmse = row["difference"]["psnr"], row["difference"]["fmse"]
        verdict = "better" if (psnr["mean"] or 0) > 0 else "worse"
        unsure = ", without an interval" if psnr["low"] is None else ", but the interval holds 0"
        sure = "" if psnr["told_apart"] else unsure
        found.append(
            f"{row['name']} ({row['says']}): {cell(psnr, 'psnr', sign=True)} dB, {verdict} than base{sure}; "
            f"fMSE {cell(fmse, 'fmse', sign=True)}; better on {psnr['wins']:.0%} of {psnr['n']} images"
        )
    return found


def _curves(result: Mapping[str, Any]) -> Markup:
    series = {name: [(point["step"], point["fmse"]) for point in points] for name, points in result["curves"].items()}
    return Markup(learning_curves(series, "Test fMSE over training steps, a line an arm"))


def _forest(result: Mapping[str, Any], figure: str) -> Markup:
    rows = [(row["name"], row["difference"][figure]) for row in result["arms"] if "difference" in row]
    known = [(name, d["mean"], d["low"], d["high"]) for name, d in rows if None not in (d["mean"], d["low"], d["high"])]
    label = f"Difference to base in {_NAMES[figure]} with 95 % intervals"
    return Markup(differences(known, label, f"{_NAMES[figure]}, arm minus base") if known else "")


def _sets(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the sets of composites whose change was measured, by name."""
    arms = [(row["name"], row["added"]) for row in result["arms"] if "added" in row]
    named = [(name if name == "base" else f"{name}, what it adds", found) for name, found in arms]
    return [("test set", result["test"]), *named]


def shown_cases(cases: Sequence[Composite], count: int) -> list[Composite]:
    """Return the cases that are shown, of different photos where it can, the same in every run."""
    ordered = sorted(cases, key=lambda case: stable_seed("shown", case.name))
    first = {case.real_id: case for case in reversed(ordered)}
    of_each = [case for case in ordered if first[case.real_id] is case]
    return [*of_each, *(case for case in ordered if case not in of_each)][:count]


def _sheet(base: Path, runs: Mapping[str, Sequence[Path]], count: int) -> dict[str, Any]:
    """Return the sheet's columns and rows: composite, photo, then each arm's picture."""
    cases = shown_cases(read_cases(base, list_file=base / "IHD_test.txt").composites, count)
    rows: list[tuple[str, list[ImageSource]]] = []
    for index, case in enumerate(cases):
        arms = [FileSource(folders[0] / "cases" / f"{index}.png") for folders in runs.values()]
        rows.append((case.name, [case.composite, case.photo, *arms]))
    small = each([source for _, sources in rows for source in sources], thumbnail, _HEIGHT, lambda _count: None)
    return {
        "columns": ["composite", "real photo", *runs],
        "rows": [(name, [data_url(small.get(source)) for source in sources]) for name, sources in rows],
    }
