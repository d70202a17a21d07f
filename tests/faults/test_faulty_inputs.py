"""Bad inputs of the fault suite, fewer of each: refused by name, never a crash, nothing outside its folder."""

from __future__ import annotations

import pytest
from faults import cluster, damage, formulas, masks, paths, pictures, table


def said(rows):
    return "\n".join(table.line(row) for row in rows if not row.good or row.skipped)


@pytest.mark.parametrize("kind", [pictures, formulas], ids=["pictures", "formulas"])
def test_every_injection_ends_as_it_has_to(kind, tmp_path):
    rows = list(kind.rows(tmp_path / "place", quick=True))
    assert rows
    assert not said(rows)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "Parquet"])
def test_cut_and_flipped_files_are_refused_or_read(kind, tmp_path):
    ends, wrong = damage.ended(kind, damage.cut_all, tmp_path / "cut")
    assert (ends["refused"], wrong) == (16, [])
    ends, wrong = damage.ended(kind, lambda whole, look: damage.flip(60, whole, look), tmp_path / "flipped")
    assert ends["refused"] + ends["read"] == 60, wrong


def test_run_length_codes_are_refused_or_decoded():
    assert masks.faulty()[1] == []
    assert masks.misfits()[1] == []
    tried, wrong = masks.random_codes(100)
    assert (tried, wrong) == (100, [])


def test_ids_that_lead_out_are_refused_by_every_reader(tmp_path):
    refused, harmless, wrong = paths.look(tmp_path)
    assert wrong == []
    assert refused > 100
    assert refused + harmless == len(paths.IDS) * len(paths.READERS)


def test_a_row_is_good_only_if_nothing_was_lost_and_all_survived():
    assert table.Row("x", 2, 2).good
    for bad in (
        table.Row("x", 2, 1),
        table.Row("x", 2, 2, lost=1),
        table.Row("x", 2, 2, twice=1),
        table.Row("x", 2, 2, breaches=1),
    ):
        assert not bad.good
        assert "WRONG" in table.line(bad)
        assert not table.verdict([bad])[1]
    assert next(iter(cluster.rows(None, quick=True))).skipped
