"""The conformance table of docs/plugins/README.md: everything that comes with harmonygen at the four doors of plug-ins.

    python benchmarks/conformance.py            # a few minutes on one core

What ships with weights is checked with them, the rest on small models of the real classes with random weights, which
tests/fakes writes (QwenImageEdit at 192 x 192 pixels' area, not at its megapixel). A row says how many checks of the
suite are passed, how far apart results were where the suite allows a difference, and what failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harmonygen.conformance.check import check_plugin
from harmonygen.conformance.seen import PluginCheck
from harmonygen.conformance.settings import CheckPluginSettings
from tests.fakes.small_adapters import small_adapters
from tests.fakes.small_editors import small_sides
from tests.fakes.small_own import OWN

STARTER = (("generator", "diffusion"), ("generator", "parametric"), ("judge", "classifier"))


class Row(NamedTuple):
    """A plug-in at one door: what it was checked with, and the settings of its check."""

    kind: str
    plugin: str
    checked_with: str
    settings: dict[str, Any]


def rows(place: Path) -> list[Row]:
    """Write the small models below ``place`` and return what is checked."""
    starter = [Row(kind, name, "the starter", {}) for kind, name in STARTER]
    own = [
        Row(
            each.kind,
            each.plugin,
            each.told if each.write or each.told != "random weights" else "",
            each.checked(place / str(each)),
        )
        for each in OWN
    ]
    adapters = [
        Row(each.kind, each.plugin, each.model, {"settings": each.write(place / str(each)), "k": 2})
        for each in small_adapters()
    ]
    every = [*starter, *own, *adapters]
    return sorted(every, key=lambda row: ("generator", "judge", "harmonizer", "segmenter").index(row.kind))


def line(row: Row) -> str:
    """Check a plug-in and return its row of the table."""
    settings = CheckPluginSettings(**{"max_side": 128, "k": 3, "device": "cpu", **row.settings}, plugin=row.plugin)
    verdicts = check_plugin(settings.model_copy(update={"kind": row.kind})).verdicts
    counted = [each for each in verdicts if each.state != "figure"]
    passed = sum(each.state == "ok" for each in counted)
    return f"| {row.kind} | `{row.plugin}` | {row.checked_with} | {passed} of {len(counted)} | {_told(counted)} |"


def _told(verdicts: list[PluginCheck]) -> str:
    failed = [f"{each.check}: {each.found}" for each in verdicts if each.state == "failed"]
    apart = [f"{each.check}: {each.found}" for each in verdicts if each.state == "ok" and "are allowed" in each.found]
    return "; ".join(failed or apart)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose words hold this text")
    only = parser.parse_args().only
    for module, sides in small_sides():
        module.calculate_dimensions = sides
    print("| door | plug-in | checked with | checks | apart, or failed |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for row in rows(Path(place)):
            if only in f"{row.kind} {row.plugin} {row.checked_with}":
                print(line(row), flush=True)


if __name__ == "__main__":
    main()
