"""Tables of an evaluation in the papers' layouts, with the published numbers beside ours, as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harmonygen.data.published import BINS
from harmonygen.evaluation.settings import PublishedRow

PRINTED = {"psnr": "PSNR ↑", "mse": "MSE ↓", "fmse": "fMSE ↓"}
_MORE = {"fpsnr": "fPSNR ↑", "ssim": "SSIM ↑", "fssim": "fSSIM ↑"}
_BIAS = {"bias_l": "L bias", "bias_a": "a bias", "bias_b": "b bias"}
_NONE = "–"
PAIRED = "Paired comparison"


@dataclass(frozen=True)
class Table:
    """A table of text cells with a title; the columns in front of ``words`` are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def tables(summary: dict[str, Any], kind: str, published: Sequence[PublishedRow]) -> list[Table]:
    """Return the tables of a summary, the one of ``kind`` (subsets, bins, methods or seeds) first."""
    makers = {"subsets": _subsets, "bins": _bins, "methods": _methods, "seeds": _seeds}
    order = [kind, *(other for other in ("methods", "subsets", "bins", "seeds") if other != kind)]
    made = [makers[name](summary, published) for name in order]
    return [table for table in [*made, _paired(summary)] if table.rows]


def cell(figure: dict[str, Any] | None, digits: int = 2) -> str:
    """Return ``mean [low, high]``, without the interval where there is none.

    >>> cell({"mean": 1.234, "low": 1.0, "high": 2.0}), cell({"mean": None})
    ('1.23 [1.00, 2.00]', '–')
    """
    if not figure or figure.get("mean") is None:
        return _NONE
    text = f"{figure['mean']:.{digits}f}"
    if figure.get("low") is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _number(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _subsets(summary: dict[str, Any], published: Sequence[PublishedRow]) -> Table:
    told = list(dict.fromkeys(row.group for row in published if row.group not in BINS and row.group != "all"))
    ours = [name.removeprefix("subset ") for name in summary["groups"] if name.startswith("subset ")]
    groups = [(name, f"subset {name}") for name in dict.fromkeys([*told, *ours])]
    only = summary.get("only_subset")  # a data set of one subset: all its images are that subset's
    groups = [(name, "all" if name == only else key) for name, key in groups]
    return _by_group("By subset", summary, published, [*groups, ("all", "all")])


def _bins(summary: dict[str, Any], published: Sequence[PublishedRow]) -> Table:
    groups = [(name, f"bin {name}") for name in BINS]
    return _by_group("By foreground ratio at 256 px", summary, published, [*groups, ("all", "all")])


def _by_group(
    title: str, summary: dict[str, Any], published: Sequence[PublishedRow], groups: Sequence[tuple[str, str]]
) -> Table:
    """Lay out one row per group and metric, a column a method; published columns stand behind ours."""
    wanted = {name for name, _ in groups}
    rows_of = {(row.name, row.group): row for row in published if row.group in wanted}
    theirs = list(dict.fromkeys(row.name for row in published if row.group in wanted))
    rows = []
    for name, key in groups:
        ours = summary["groups"].get(key)
        counts = [row.n for row in published if row.group == name and row.n]
        if not ours and not counts:
            continue
        images = f"{ours['images'] if ours else 0}" + (f" ({counts[0]} published)" if counts else "")
        for figure, label in PRINTED.items():
            cells = [cell(ours["methods"][method][figure] if ours else None) for method in summary["methods"]]
            known = [getattr(rows_of.get((method, name)), figure, None) for method in theirs]
            rows.append((name, images, label, *cells, *map(_number, known)))
    columns = ("", "images", "metric", *summary["methods"], *(f"{name} (published)" for name in theirs))
    return Table(title, columns, tuple(rows), words=3)


def _methods(summary: dict[str, Any], published: Sequence[PublishedRow]) -> Table:
    """Lay out one row per method, over all images; published rows follow ours."""
    figures = {**PRINTED, **_MORE, **_BIAS}
    found = summary["groups"]["all"]["methods"]
    known = [key for key in figures if any(found[m][key]["mean"] is not None for m in summary["methods"])]
    rows = [
        (method, *(cell(found[method][key], 4 if "ssim" in key else 2) for key in known))
        for method in summary["methods"]
    ]
    for row in published:
        if row.group == "all":
            numbers = [_number(getattr(row, key, None)) for key in known]
            rows.append((f"{row.name} (published{', ' + row.note if row.note else ''})", *numbers))
    return Table(
        f"All {summary['groups']['all']['images']} images", ("method", *(figures[k] for k in known)), tuple(rows)
    )


def _seeds(summary: dict[str, Any], published: Sequence[PublishedRow]) -> Table:
    def spread(figure: dict[str, float] | None) -> str:
        return f"{figure['mean']:.3f} ± {figure['std']:.3f}" if figure else _NONE

    rows = [
        (base, str(found["seeds"]), *(spread(found.get(key)) for key in PRINTED))
        for base, found in summary["seeds"].items()
    ]
    told = [row for row in published if row.std is not None] if rows else []
    rows += [(f"{row.name} (published)", _NONE, f"{row.psnr} ± {row.std}", _NONE, _NONE) for row in told]
    return Table("Mean ± standard deviation over seeds", ("method", "seeds", *PRINTED.values()), tuple(rows))


def _paired(summary: dict[str, Any]) -> Table:
    rows = [
        (
            f"{row['a']} − {row['b']}",
            row["figure"],
            cell(row, 4 if row["figure"] == "ssim" else 2),
            f"{row['wins']:.1%}",
            f"{row['ties']:.1%}",
            str(row["n"]),
        )
        for row in summary["paired"]
    ]
    columns = ("compared on the same images", "metric", "difference", "wins", "ties", "n")
    return Table(PAIRED, columns, tuple(rows), words=2)


def markdown(made: Sequence[Table], notes: Sequence[str]) -> str:
    """Write the notes and tables as Markdown."""
    parts = ["\n".join(notes)]
    for table in made:
        rule = [*["---"] * table.words, *["---:"] * (len(table.columns) - table.words)]
        lines = (" | ".join(row) for row in (table.columns, rule, *table.rows))
        parts.append(f"### {table.title}\n\n" + "\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def latex(made: Sequence[Table], notes: Sequence[str]) -> str:
    """Write the notes (as comments) and tables as LaTeX, for the package ``booktabs``."""
    return "\n".join([*(f"% {note}" for note in notes), *(line for table in made for line in _tabular(table))]) + "\n"


def _tabular(table: Table) -> Iterator[str]:
    shape = "l" * table.words + "r" * (len(table.columns) - table.words)
    yield from ("", r"\begin{table}", r"\centering", rf"\caption{{{_escape(table.title)}}}")
    yield from (rf"\begin{{tabular}}{{{shape}}}", r"\toprule")
    yield " & ".join(map(_escape, table.columns)) + r" \\"
    yield r"\midrule"
    before = ""
    for row in table.rows:
        if table.words == 3 and before and row[0] != before:
            yield r"\midrule"
        yield " & ".join(map(_escape, row)) + r" \\"
        before = row[0]
    yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")


_LATEX = {
    "\\": r"\textbackslash{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _escape(text: str) -> str:
    r"""Write plain text as LaTeX; an interval is set small.

    >>> _escape("a_b 5%")
    'a\\_b 5\\%'
    """
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return re.sub(r" (\[[-0-9., ]+\])$", r" {\\scriptsize \1}", escaped)
