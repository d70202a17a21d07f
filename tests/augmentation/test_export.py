"""`harmonygen export`: a run becomes an iHarmony4 tree that augment can mix into."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.augmentation import export as module
from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import AugmentSettings, ExportSettings
from harmonygen.data.iharmony4 import read_iharmony4
from harmonygen.errors import StorageError, UsageError
from harmonygen.synthesis.synthesize import synthesize

OPEN = {"max_clipped": 1, "min_fmse": 0, "max_fmse": 100_000, "min_structure": -1}


@pytest.fixture
def run(settings_of) -> Path:
    """A finished run of six pairs, four candidates each, gates wide open."""
    settings = settings_of(gates=OPEN)
    synthesize(settings)
    return settings.out


def test_a_run_becomes_a_tree_with_the_same_pairs_photos_and_masks(run, six_photos, tmp_path):
    result = export(ExportSettings(run=run, out=tmp_path / "tree"))
    pairs = read_iharmony4(tmp_path / "tree")
    assert (result.pairs, result.composites, result.gated) == (6, 24, 0)
    made = {row["pair_id"] for path in (run / "pairs").glob("*.parquet") for row in pq.read_table(path).to_pylist()}
    assert {pair.pair_id.partition("/")[2] for pair in pairs} == {name.rpartition("/")[2] for name in made}
    assert all(len(pair.originals) == 4 for pair in pairs)
    one = next(pair for pair in pairs if pair.real_id.endswith("p0"))
    assert one.real.path.name == "p0.jpg"
    before, after = (np.asarray(Image.open(p)) > 127 for p in (six_photos / "masks" / "p0.png", one.mask.path))
    assert (before == after).all()
    photo, composite = (pixels(p) for p in (one.real.path, tmp_path / "tree" / one.originals[0]))
    assert np.abs(photo - composite)[~after].max() <= result.most_levels <= 6
    assert (photo[after] != composite[after]).any()


def test_only_the_selected_are_written_when_asked(run, tmp_path):
    assert export(ExportSettings(run=run, out=tmp_path / "tree", which="selected")).composites == 6


def test_an_export_again_writes_nothing_and_another_one_is_refused(run, tmp_path, tree):
    settings = ExportSettings(run=run, out=tmp_path / "tree")
    export(settings)
    before = tree(tmp_path / "tree")
    assert export(settings).finished_before
    assert tree(tmp_path / "tree") == before
    with pytest.raises(UsageError, match="which: 'all' then, 'selected' now"):
        export(settings.model_copy(update={"which": "selected"}))


def test_a_changed_photo_is_named_and_one_that_is_gone_can_be_brought_back(run, six_photos, tmp_path):
    settings = ExportSettings(run=run, out=tmp_path / "tree")
    photo = six_photos / "images" / "p0.png"
    kept = photo.read_bytes()
    photo.write_bytes((six_photos / "images" / "p1.png").read_bytes())
    with pytest.raises(UsageError, match=r"1 pair are not .*: p0_0 \(photo\)"):
        export(settings)
    assert not settings.out.exists()
    photo.unlink()
    with pytest.raises(StorageError, match="is gone: bring it back"):
        export(settings)
    photo.write_bytes(kept)
    assert export(settings).composites == 24


@pytest.mark.parametrize("max_side", [None, 40])
def test_a_runs_own_candidates_fit_its_export(max_side, settings_of, tmp_path):
    """The tree's photos and masks are other files, with the pixels that the run was made from."""
    base = settings_of(subset=None, gates=OPEN, k=2, out=tmp_path / "base", max_side=max_side)
    synthesize(base)
    export(ExportSettings(run=base.out, out=tmp_path / "tree", photos="png"))
    for path in (base.out / "pairs").glob("*.parquet"):  # a tree's pairs have the subset before their names
        table = pq.read_table(path)
        for name in ("pair_id", "real_id"):
            new = pa.array([f"photos/{value}" for value in table[name].to_pylist()])
            table = table.set_column(table.schema.names.index(name), name, new)
            other = base.out / "candidates" / path.name
            beside = pq.read_table(other)
            own = pa.array([f"photos/{value}" for value in beside[name].to_pylist()])
            pq.write_table(beside.set_column(beside.schema.names.index(name), name, own), other)
        pq.write_table(table, path)
    settings = AugmentSettings(
        data=str(tmp_path / "tree"), candidates=base.out, out=tmp_path / "mixed", gamma=0.5, photos="png"
    )
    assert augment(settings).new == 6
    mask = next((tmp_path / "tree").rglob("masks/*.png"))
    mask.unlink()  # it may be a link of the one in "mixed"
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(mask)
    with pytest.raises(UsageError, match=rf"photos/{mask.stem} \(mask\)"):
        augment(settings)


def test_photos_turned_into_a_tree_take_further_candidates(settings_of, tmp_path):
    base = settings_of(subset=None, gates=OPEN, k=2, out=tmp_path / "base")
    synthesize(base)
    export(ExportSettings(run=base.out, out=tmp_path / "tree"))
    more = settings_of(data=str(tmp_path / "tree"), gates=OPEN, seed=5, out=tmp_path / "more")
    synthesize(more)
    result = augment(
        AugmentSettings(data=str(tmp_path / "tree"), candidates=more.out, out=tmp_path / "mixed", gamma=1.0)
    )
    assert (result.originals, result.new) == (12, 12)


def test_pairs_with_too_few_candidates_are_refused_or_get_what_passed(settings_of, tmp_path):
    base = settings_of(gates=OPEN, k=3, out=tmp_path / "base")
    synthesize(base)
    export(ExportSettings(run=base.out, out=tmp_path / "tree"))
    strict = settings_of(data=str(tmp_path / "tree"), gates={**OPEN, "min_fmse": 700}, out=tmp_path / "few")
    synthesize(strict)
    settings = AugmentSettings(data=str(tmp_path / "tree"), candidates=strict.out, out=tmp_path / "mixed")
    with pytest.raises(UsageError, match=r"allow-fewer"):
        augment(settings)
    result = augment(settings.model_copy(update={"allow_fewer": True}))
    assert result.short_pairs
    assert 0 < result.new < 18


def test_pairs_none_of_whose_candidates_was_kept_are_refused_or_get_none(settings_of, tmp_path):
    base = settings_of(gates=OPEN, k=2, out=tmp_path / "base")
    synthesize(base)
    export(ExportSettings(run=base.out, out=tmp_path / "tree"))
    best = settings_of(data=str(tmp_path / "tree"), keep="1", gates={**OPEN, "min_fmse": 1200}, out=tmp_path / "few")
    kept = synthesize(best).summary
    assert 0 < kept["kept"] < kept["pairs"]
    settings = AugmentSettings(data=str(tmp_path / "tree"), candidates=best.out, out=tmp_path / "mixed", gamma=0.5)
    with pytest.raises(UsageError, match=r"\(0 of 4 passed the gates\).*loosen the gates"):
        augment(settings)
    result = augment(settings.model_copy(update={"allow_fewer": True}))
    assert result.new == kept["kept"]
    assert len(result.short_pairs) == kept["pairs"] - kept["kept"]


@pytest.mark.parametrize(
    ("column", "value", "said"), [("real_id", "other/p0", "would both be"), ("mask_id", "a_b", "underscore")]
)
def test_names_that_the_layout_cannot_hold_are_refused(run, tmp_path, column, value, said):
    path = sorted((run / "pairs").glob("*.parquet"))[-1]
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    changed = [value, *table.column(column).to_pylist()[1:]]
    pq.write_table(table.set_column(index, table.schema.field(index), [changed]), path)
    with pytest.raises(UsageError, match=said):
        export(ExportSettings(run=run, out=tmp_path / "tree", photos="own"))
    assert not (tmp_path / "tree").exists()


def test_an_export_stopped_half_way_is_finished_by_the_same_command(run, tmp_path, tree, monkeypatch):
    whole, settings = tmp_path / "whole", ExportSettings(run=run, out=tmp_path / "tree")
    export(settings.model_copy(update={"out": whole}))
    with monkeypatch.context() as patch:
        patch.setattr(module.tree, "write_lists", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(settings)
    assert not export(settings).finished_before
    contents = [{name: content for name, (_, content) in tree(folder).items()} for folder in (whole, settings.out)]
    for content in contents:
        assert content.pop("manifest.parquet")
        assert json.loads(content.pop("plan.json"))["settings"].pop("out")
    assert contents[0] == contents[1]


@pytest.fixture
def strange_tree(six_photos, tmp_path) -> Path:
    """A dataset in iHarmony4 layout whose photos fade, are CMYK, have 16 bits, or are plain."""
    home = tmp_path / "strange" / "HX"
    for kind in ("real_images", "masks", "composite_images"):
        (home / kind).mkdir(parents=True)
    fade = Image.linear_gradient("L")
    for index, name in enumerate(("fading", "cmyk", "deep", "plain")):
        photo = Image.open(six_photos / "images" / f"p{index}.png").convert("RGB")
        if name == "fading":
            photo.putalpha(fade.resize(photo.size))
        elif name == "deep":
            photo = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 200)
        suffix = "jpg" if name == "cmyk" else "png"
        (photo.convert("CMYK") if name == "cmyk" else photo).save(home / "real_images" / f"{name}.{suffix}")
        Image.open(six_photos / "masks" / f"p{index}.png").save(home / "masks" / f"{name}_1.png")
        photo.convert("RGB").save(home / "composite_images" / f"{name}_1_1.png")
    return home.parent


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize(("link", "photos"), [("hard", "png"), ("sym", "own"), ("copy", "png")])
def test_a_tree_holds_the_photos_that_its_composites_were_made_from(link, photos, strange_tree, settings_of, tmp_path):
    base = settings_of(data=str(strange_tree), gates=OPEN, k=1, out=tmp_path / "base")
    synthesize(base)
    settings = AugmentSettings(
        data=str(strange_tree), candidates=base.out, out=tmp_path / "mixed", link=link, photos=photos
    )
    kept = {path: path.read_bytes() for path in strange_tree.rglob("*.*")}
    for attempt in range(2):  # the second goes on from what the first left
        assert augment(settings).new == 4
        rows = pq.read_table(settings.out / "manifest.parquet").to_pylist()
        for row in (row for row in rows if row["source"] == "harmonygen"):
            real, composite = pixels(settings.out / row["real"]), pixels(settings.out / row["composite"])
            background = pixels(settings.out / row["mask"])[..., 0] < 128
            assert (real[background] == composite[background]).all(), row["composite"]
        if not attempt:
            (settings.out / "summary.json").unlink()
    names = {path.name for path in (settings.out / "HX" / "real_images").iterdir()}
    assert names == {"fading.png", "cmyk.png", "deep.png", "plain.png"}
    plain = (settings.out / "HX" / "real_images" / "plain.png", strange_tree / "HX" / "real_images" / "plain.png")
    assert plain[0].samefile(plain[1]) == (link != "copy")
    assert {path: path.read_bytes() for path in strange_tree.rglob("*.*")} == kept
    tree = read_iharmony4(settings.out)
    assert all(pair.real.path.is_file() for pair in tree)


def test_an_export_holds_the_photos_that_its_composites_were_made_from(strange_tree, settings_of, tmp_path):
    base = settings_of(data=str(strange_tree), gates=OPEN, k=1, out=tmp_path / "base")
    synthesize(base)
    export(ExportSettings(run=base.out, out=tmp_path / "tree", photos="png"))
    for row in pq.read_table(tmp_path / "tree" / "manifest.parquet").to_pylist():
        real, mask, composite = (pixels(tmp_path / "tree" / row[name]) for name in ("real", "mask", "composite"))
        assert (real == composite)[mask[..., 0] < 128].all(), row["composite"]
