import os
import re
import sys
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data as photos

from harmonygen.augmentation import pick as picks
from harmonygen.augmentation import write as augment_write
from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.data import write_tree as write_iharmony4
from harmonygen.data.iharmony4 import read_iharmony4
from harmonygen.errors import StorageError, UsageError
from harmonygen.storage.parquet_cells import image_schema

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from small_run import finish

WIDTH, HEIGHT, K = 64, 48, 4
TRAIN = {  # pair -> original composites: subset A has N1 = 3, N2 = 5; subset B has N1 = 1, N2 = 3
    "A/a1_1": 2,
    "A/a2_1": 1,
    "A/a2_2": 2,
    "B/b-1_1": 3,
}
TEST = {"A/t1_1": 2}
PHOTOS = {"A/a1": "astronaut", "A/a2": "chelsea", "B/b-1": "coffee", "A/t1": "rocket"}
CANDIDATE = {
    **dict.fromkeys(("pair_id", "real_id", "mask_id", "subset"), "string"),
    "k": "int32",
    "seed": "int64",
    "composite": "image",
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "p_composite": "float64",
    "selected": "bool",
    **dict.fromkeys(("gate", "generator", "model_digest", "params_digest"), "string"),
    **dict.fromkeys(("clipped", "fmse", "structure", "drift", "shift_r", "shift_g", "shift_b"), "float64"),
    "reason": "string",
}
PAIR = {"pair_id": "string", "real_id": "string", "real": "image", "mask": "image"}


@cache
def photo(name):
    return Image.fromarray(getattr(photos, name)()).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def encoded(image, kind="PNG"):
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def real_id(pair_id):
    return pair_id.rpartition("_")[0]


def mask_of(pair_id):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 10 + 4 * len(pair_id) : 50] = 255
    return Image.fromarray(mask)


def write_dataset(root):
    for pair_id, originals in {**TRAIN, **TEST}.items():
        subset, name = pair_id.split("/")
        for kind in ("composite_images", "masks", "real_images"):
            (root / subset / kind).mkdir(parents=True, exist_ok=True)
        real = photo(PHOTOS[real_id(pair_id)])
        real.save(root / subset / "real_images" / f"{real_id(name)}.jpg", quality=90)
        mask_of(pair_id).save(root / subset / "masks" / f"{name}.png")
        for variant in range(1, originals + 1):
            shifted = Image.fromarray(np.roll(np.asarray(real), variant, axis=2))
            shifted.save(root / subset / "composite_images" / f"{name}_{variant}.jpg")
    for split, pairs in (("train", TRAIN), ("test", TEST)):
        (root / f"IHD_{split}.txt").write_text("".join(f"{name}\n" for name in composite_names(pairs)))
    return root


def composite_names(pairs):
    for pair_id, count in pairs.items():
        subset, name = pair_id.split("/")
        for variant in range(1, count + 1):
            yield f"{subset}/composite_images/{name}_{variant}.jpg"


@cache
def composite(pair_id, k):
    """A composite whose background is the dataset's photo, which is a JPEG."""
    held = BytesIO()
    photo(PHOTOS[real_id(pair_id)]).save(held, "JPEG", quality=90)
    real = Image.open(held)
    moved = Image.fromarray(np.roll(np.asarray(real), 5 + k, axis=1))
    return encoded(Image.composite(moved, real, mask_of(pair_id)))


def candidate(pair_id, k, **changes):
    row = {
        "pair_id": pair_id,
        "real_id": real_id(pair_id),
        "mask_id": pair_id.rpartition("_")[2],
        "subset": pair_id.split("/")[0],
        "k": k,
        "seed": 1000 + k,
        "composite": {"bytes": composite(pair_id, k), "path": f"{pair_id.replace('/', '_')}_{k}.png"},
        "width": WIDTH,
        "height": HEIGHT,
        "fg_ratio": 0.2,
        "p_composite": (k * 7 % 5) / 5,
        "selected": k == 0,
        "gate": "",
        "generator": "diffusion",
        "model_digest": "abc",
        "params_digest": "def",
        "clipped": 0.0,
        "fmse": 100.0,
        "structure": 0.9,
        "drift": 0.0,
        "reason": "",
    }
    return {**row, "selected": k == 0 and not changes.get("gate"), **changes}


def write_run(run, rows, shards=2):
    """Write a finished run of ``rows``, two rows a row group, its pairs in ``shards`` files."""
    for folder in ("candidates", "pairs"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    pair_ids = list(dict.fromkeys(row["pair_id"] for row in rows))
    for index in range(shards):
        own = pair_ids[index::shards]
        name = f"part-{index:05d}-of-{shards:05d}.parquet"
        own_rows = [row for row in rows if row["pair_id"] in own]
        table = pa.Table.from_pylist(own_rows, schema=image_schema(CANDIDATE))
        pq.write_table(table, run / "candidates" / name, row_group_size=2)
        pair_rows = [
            {
                "pair_id": pair_id,
                "real_id": real_id(pair_id),
                "real": {"bytes": None, "path": "/gone.jpg"},
                "mask": {"bytes": encoded(mask_of(pair_id)), "path": None},
            }
            for pair_id in own
        ]
        pq.write_table(pa.Table.from_pylist(pair_rows, schema=image_schema(PAIR)), run / "pairs" / name)
    return finish(run)


def all_candidates(pairs=TRAIN, count=K):
    return [candidate(pair_id, k) for pair_id in pairs for k in range(count)]


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data")


@pytest.fixture
def settings(tmp_path, dataset):
    write_run(tmp_path / "run", all_candidates())
    return AugmentSettings(data=str(dataset), candidates=tmp_path / "run", out=tmp_path / "out")


def with_(settings, **changes):
    return settings.model_copy(update=changes)


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def state(folder):
    return {name: (path.stat().st_mtime_ns, path.stat().st_ino) for name, path in files_in(folder).items()}


def new_by_pair(out):
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    found = {}
    for row in rows:
        if row["source"] == "harmonygen":
            found.setdefault(row["pair_id"], []).append(row["k"])
    return found


def test_every_pair_gets_its_subsets_count(settings):
    result = augment(settings)
    assert {pair: len(ks) for pair, ks in new_by_pair(settings.out).items()} == {
        "A/a1_1": 2,  # ceil(5/3)
        "A/a2_1": 2,
        "A/a2_2": 2,
        "B/b-1_1": 3,  # ceil(3/1)
    }
    assert (result.originals, result.new, result.test) == (8, 9, 2)


def test_over_all_every_pair_gets_the_same_count(settings):
    augment(with_(settings, per_subset=False))
    assert {len(ks) for ks in new_by_pair(settings.out).values()} == {2}  # ceil(8/4)


def test_originals_are_hard_links_and_new_composites_are_the_runs_bytes(settings, dataset):
    augment(settings)
    for row in pq.read_table(settings.out / "manifest.parquet").to_pylist():
        for name in ("real", "mask"):
            assert (settings.out / row[name]).samefile(dataset / row[name])
        if row["source"] == "original":
            assert (settings.out / row["composite"]).samefile(dataset / row["composite"])
        else:
            assert (settings.out / row["composite"]).read_bytes() == composite(row["pair_id"], row["k"])
            assert (row["seed"], row["model_digest"], row["run"]) == (1000 + row["k"], "abc", "run-1")


def test_lists_hold_originals_then_new_and_the_test_split_untouched(settings, dataset):
    augment(settings)
    lines = (settings.out / "IHD_train.txt").read_text().splitlines()
    assert sorted(lines[:8]) == sorted(composite_names(TRAIN))
    assert all(re.search(r"_hg\d\d\.png$", line) for line in lines[8:])
    assert len(lines) == len(set(lines)) == 17
    assert (settings.out / "IHD_test.txt").read_bytes() == (dataset / "IHD_test.txt").read_bytes()
    in_subsets = {
        f"{subset}/composite_images/{line}"
        for subset in ("A", "B")
        for line in (settings.out / subset / f"{subset}_train.txt").read_text().splitlines()
    }
    assert in_subsets == set(lines)
    assert len(read_iharmony4(settings.out, "IHD_test.txt")) == 1


def _dovenet(path):
    fields = path.split("_")
    mask = path.replace("composite_images", "masks").replace("_" + fields[-1], ".png")
    real = path.replace("composite_images", "real_images").replace("_" + fields[-2] + "_" + fields[-1], ".jpg")
    return real, mask


def _first_field(path):
    folder, name = os.path.split(path)
    fields = name.split("_")
    root = os.path.dirname(folder)
    return f"{root}/real_images/{fields[0]}.jpg", f"{root}/masks/{fields[0]}_{fields[1]}.png"


@pytest.mark.parametrize("derive", [_dovenet, _first_field])
def test_trainers_that_derive_photo_and_mask_from_the_name_find_them(settings, derive):
    augment(settings)
    for row in pq.read_table(settings.out / "manifest.parquet").to_pylist():
        assert derive(row["composite"]) == (row["real"], row["mask"])


def test_the_result_can_be_augmented_again_without_collisions(settings, tmp_path):
    augment(settings)
    again = with_(settings, data=str(settings.out), out=tmp_path / "again", gamma=0.5)
    augment(again)
    lines = (again.out / "IHD_train.txt").read_text().splitlines()
    assert len(lines) == len(set(lines))
    assert any("_hga" in line for line in lines)


def test_random_picks_depend_on_seed_and_pair_not_on_order(tmp_path, dataset):
    found = []
    for name, rows, shards in (("x", all_candidates(), 2), ("y", all_candidates()[::-1], 3)):
        run = write_run(tmp_path / f"run-{name}", rows, shards)
        settings = AugmentSettings(data=str(dataset), candidates=run, out=tmp_path / name, gamma=0.7)
        augment(settings)
        found.append({pair: sorted(ks) for pair, ks in new_by_pair(settings.out).items()})
    assert found[0] == found[1]


def test_another_seed_picks_others():
    one, other = (picks.pick([0.0] * 50, 10, "random", seed, "a") for seed in (0, 1))
    assert one != other
    assert len(set(one)) == 10


def test_a_larger_gamma_keeps_the_random_picks_of_a_smaller_one():
    chosen = [set(picks.pick([0.0] * 10, count, "random", 3, "a")) for count in range(11)]
    assert all(small <= large for small, large in pairwise(chosen))


def test_top_takes_the_highest_p_composite(settings):
    augment(with_(settings, pick="top", gamma=0.5))  # p of k 0..3: 0, 0.4, 0.8, 0.2
    assert new_by_pair(settings.out)["A/a1_1"] == [2]
    assert sorted(new_by_pair(settings.out)["B/b-1_1"]) == [1, 2]


def test_a_finished_run_repeated_writes_nothing(settings):
    augment(settings)
    before = state(settings.out)
    result = augment(settings)
    assert result.finished_before
    assert state(settings.out) == before


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 7, 16])
def test_killed_while_linking_the_same_command_completes(settings, tmp_path, monkeypatch, after):
    place, calls = write_iharmony4.place, []

    def dying(*arguments):
        if len(calls) == after:
            raise KilledError
        calls.append(arguments)
        return place(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(write_iharmony4, "place", dying)
        with pytest.raises(KilledError):
            augment(settings)
    assert not (settings.out / "IHD_train.txt").exists()
    inodes = {name: inode for name, (_, inode) in state(settings.out).items()}
    augment(settings)
    assert {name: inode for name, (_, inode) in state(settings.out).items() if name in inodes} == inodes
    whole = with_(settings, out=tmp_path / "whole")
    augment(whole)
    same = {name for name in files_in(whole.out) if name not in ("plan.json", "summary.json")}
    assert {name for name in files_in(settings.out) if name not in ("plan.json", "summary.json")} == same
    assert all((settings.out / name).read_bytes() == (whole.out / name).read_bytes() for name in same)


def test_killed_while_writing_composites_the_same_command_completes(settings, monkeypatch):
    write, calls = augment_write._write_composite, []

    def dying(target, encoded):
        calls.append(target)
        if len(calls) > 3:
            raise KilledError
        write(target, encoded)

    with monkeypatch.context() as patched:
        patched.setattr(augment_write, "_write_composite", dying)
        with pytest.raises(KilledError):
            augment(settings)
    written = {name: mark for name, mark in state(settings.out).items() if "_hg" in name}
    assert 1 <= len(written) <= 3
    augment(settings)
    assert {name: mark for name, mark in state(settings.out).items() if name in written} == written
    assert len([name for name in files_in(settings.out) if "_hg" in name]) == 9


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"gamma": 0.5}, "gamma: 1.0 then, 0.5 now"), ({"pick": "top"}, "pick: 'random' then, 'top' now")],
)
def test_changed_options_on_an_old_folder_are_refused(settings, changes, told):
    augment(settings)
    with pytest.raises(UsageError, match=told):
        augment(with_(settings, **changes))


def test_a_folder_with_other_files_is_refused(settings):
    settings.out.mkdir()
    (settings.out / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        augment(settings)
    with pytest.raises(UsageError, match="is not empty"):
        augment(with_(settings, out=Path(settings.data)))


@pytest.mark.parametrize("link", ["sym", "copy"])
def test_other_ways_to_bring_the_originals(settings, dataset, link):
    augment(with_(settings, link=link))
    target = settings.out / "A/real_images/a1.jpg"
    assert target.is_symlink() == (link == "sym")
    assert target.read_bytes() == (dataset / "A/real_images/a1.jpg").read_bytes()
    assert (target.stat().st_ino == (dataset / "A/real_images/a1.jpg").stat().st_ino) == (link == "sym")


def test_hard_links_across_disks_are_refused_with_the_way_out(settings, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="--link sym or --link copy"):
        augment(settings)
    monkeypatch.undo()
    assert augment(settings).new == 9


def test_a_subset_alone_ignores_candidates_of_the_others(settings):
    result = augment(with_(settings, subset="B"))
    assert (result.originals, result.new, result.test, result.unused) == (3, 3, 0, 12)
    assert not (settings.out / "A").exists()


# What is refused: exit code 2, with what to do


def refused(settings, match):
    with pytest.raises(UsageError, match=match) as caught:
        augment(settings)
    assert caught.value.exit_code == 2
    assert not settings.out.exists()


def test_k_smaller_than_gamma_needs(settings):
    refused(with_(settings, gamma=2.0), r"gamma 2 needs K >= 6, found 4 for 1 pairs: B/b-1_1.*--k 6 or more")


def test_gated_candidates_are_not_eligible(settings):
    rows = [candidate(pair, k, gate="clipped" if k < 2 else "") for pair in TRAIN for k in range(K)]
    write_run(settings.candidates, rows)
    refused(settings, r"pass the gates; 1 pairs have fewer: B/b-1_1 \(2 of 4 passed the gates\)")
    result = augment(with_(settings, subset="A"))
    assert result.gated == 6
    assert {k for ks in new_by_pair(settings.out).values() for k in ks} == {2, 3}


def test_pairs_without_candidates(settings):
    write_run(settings.candidates, [row for row in all_candidates() if row["pair_id"] != "A/a2_2"])
    refused(settings, r"1 pairs of the dataset have no candidates .*: A/a2_2")


def test_quarantined_pairs_get_none_and_are_told(settings):
    write_run(settings.candidates, [row for row in all_candidates() if row["pair_id"] != "A/a2_2"])
    bad = {"id": ["A/a2_2"], "stage": ["read"], "error": ["InputError"], "message": ["truncated"]}
    pq.write_table(pa.table(bad), settings.candidates / "quarantine.parquet")
    result = augment(settings)
    assert result.skipped_pairs == ("A/a2_2",)
    assert (result.originals, result.new) == (8, 7)


def test_candidates_of_other_photos(settings):
    write_run(
        settings.candidates, [*all_candidates(), {**candidate("A/a2_1", 0), "pair_id": "A/z9_1", "real_id": "A/z9"}]
    )
    refused(settings, r"1 photos that are not in the dataset: A/z9")


def test_an_unfinished_run(settings):
    (settings.candidates / "candidates" / "part-00001-of-00002.parquet").unlink()
    refused(settings, r"not finished \(1 of 2 shards are there\)")


def test_a_folder_that_is_no_run(settings, tmp_path):
    refused(with_(settings, candidates=tmp_path), "is not a run folder")


def test_a_dataset_in_another_layout(settings, tmp_path):
    (tmp_path / "photos").mkdir()
    refused(with_(settings, data=str(tmp_path / "photos")), "not in iHarmony4 layout")


def test_resized_composites_are_refused_in_the_tree_and_name_both_sizes(settings):
    write_run(settings.candidates, [candidate(pair, k, width=32, height=24) for pair in TRAIN for k in range(K)])
    refused(settings, r"A/a1_1 is 32x24 but its photo is 64x48.*--format parquet")


def test_an_original_missing_on_disk(settings, dataset):
    (dataset / "A/composite_images/a1_1_2.jpg").unlink()
    with pytest.raises(StorageError, match=r"1 files .*A/composite_images/a1_1_2.jpg"):
        augment(settings)


# The leak guard


def test_candidates_of_test_photos_by_id(settings):
    write_run(settings.candidates, [*all_candidates(), candidate("A/t1_1", 0)])
    refused(settings, r"1 photos are in the test list 'IHD_test.txt'.*: A/t1")


def test_a_test_list_of_ones_own(settings, tmp_path):
    (tmp_path / "mine.txt").write_text("B/composite_images/b-1_1_1.jpg\n")
    refused(with_(settings, test_list=str(tmp_path / "mine.txt")), r"'mine.txt'.*: B/b-1")


def test_the_same_photo_under_another_name_by_hash(settings, dataset):
    copy = photo("chelsea").resize((WIDTH // 2, HEIGHT // 2))
    copy.save(dataset / "A/real_images/t1.jpg", quality=70)
    refused(settings, r"1 training photos look like test photos .*: A/a2 = A/t1 \(\d bits\)")
    assert augment(with_(settings, leak_guard="ids")).compared == 0


def cut(image, share):
    wide, high = round(share * image.width), round(share * image.height)
    return image.crop((wide, high, image.width - wide, image.height - high))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("mirrored", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        ("cropped or framed", lambda image: cut(image, 0.05)),
    ],
)
def test_a_mirrored_or_cropped_test_photo_by_its_parts(settings, dataset, kind, change):
    change(photo("chelsea")).save(dataset / "A/real_images/t1.jpg", quality=80)
    refused(settings, rf"1 training photos look like test photos .*: A/a2 = A/t1 \({kind}\)")
    assert augment(with_(settings, leak_guard="ids")).compared == 0


def test_the_hash_guard_says_how_many_photos_it_compared(settings):
    assert augment(settings).compared == 4


def test_a_test_list_without_its_images_guards_by_id_only(settings, dataset):
    for path in (dataset / "A").rglob("t1*"):
        path.unlink()
    result = augment(settings)
    assert (result.compared, result.test) == (0, 0)
    assert not (settings.out / "IHD_test.txt").exists()


# Parquet


def test_parquet_decodes_with_datasets_and_carries_the_manifest(settings, tmp_path):
    from datasets import load_dataset

    augment(with_(settings, format="parquet"))
    loaded = load_dataset(str(settings.out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 17, "test": 2}
    for row in loaded["train"]:
        assert row["real"].size == row["mask"].size == row["composite"].size == (WIDTH, HEIGHT)
    made = [row for row in loaded["train"] if row["source"] == "harmonygen"]
    assert {(row["k"], row["seed"]) for row in made} <= {(k, 1000 + k) for k in range(K)}
    stored = pq.read_table(sorted((settings.out / "data").glob("train-*"))[0]).to_pylist()
    for row in (row for row in stored if row["source"] == "harmonygen"):
        assert row["composite"]["bytes"] == composite(row["pair_id"], row["k"])


def test_parquet_can_be_published(settings):
    from harmonygen.publishing.verify import published_entries, verify

    augment(with_(settings, format="parquet"))
    verified = verify(settings.out, published_entries(settings.out))
    others = [fault for fault in map(str, verified.faults) if "background pixels" not in fault]
    assert others == []  # the composites of these tests are pictures of their own, not made from their photos
    assert {entry.split: entry.rows for entry in verified.entries if entry.split} == {"train": 17, "test": 2}


def test_parquet_uses_the_runs_own_photo_where_it_was_resized(settings):
    small = photo("coffee").resize((32, 24))
    rows = [candidate(pair, k, width=32, height=24) for pair in TRAIN for k in range(K)]
    write_run(settings.candidates, rows)
    for path in (settings.candidates / "pairs").iterdir():
        table = pq.read_table(path)
        cells = [{"bytes": encoded(small), "path": "x.png"}] * table.num_rows
        index = table.column_names.index("real")
        pq.write_table(table.set_column(index, table.schema.field("real"), pa.array(cells)), path)
    augment(with_(settings, format="parquet"))
    for row in pq.read_table(next((settings.out / "data").glob("train-*"))).to_pylist():
        size = (32, 24) if row["source"] == "harmonygen" else (WIDTH, HEIGHT)
        assert Image.open(BytesIO(row["real"]["bytes"])).size == size


def test_parquet_killed_midway_completes_with_every_row_once(settings, monkeypatch):
    from harmonygen.data import write_parquet

    monkeypatch.setattr(write_parquet, "ROW_GROUP_BYTES", 8_000)
    monkeypatch.setattr(write_parquet, "FILE_BYTES", 16_000)
    rows = augment_write._new_rows

    def dying(*arguments):
        for count, row in enumerate(rows(*arguments)):
            if count == 5:
                raise KilledError
            yield row

    with monkeypatch.context() as patched:
        patched.setattr(augment_write, "_new_rows", dying)
        with pytest.raises(KilledError):
            augment(with_(settings, format="parquet"))
    kept = {path.stat().st_ino for path in (settings.out / "data").glob(".train-*.parquet")}
    assert kept
    augment(with_(settings, format="parquet"))
    parts = sorted((settings.out / "data").glob("train-*"))
    assert kept <= {path.stat().st_ino for path in parts}
    names = [name for path in parts for name in pq.read_table(path)["name"].to_pylist()]
    assert len(names) == len(set(names)) == 17
    before = state(settings.out)
    assert augment(with_(settings, format="parquet")).finished_before
    assert state(settings.out) == before


# The built-in sample


@pytest.mark.slow
def test_candidates_of_the_sample_go_into_the_sample(tmp_path):
    from harmonygen.data import read_pairs
    from harmonygen.pictures.images import read_bytes

    rows, real = [], {}
    for pair in read_pairs("sample"):
        real[pair.pair_id] = Image.open(BytesIO(read_bytes(pair.real)))
        width, height = real[pair.pair_id].size
        own = {"real_id": pair.real_id, "subset": pair.subset, "width": width, "height": height}
        made = {"bytes": encoded(photo("coffee")), "path": "x.png"}
        rows += [
            {**candidate("A/a1_1", k), **own, "pair_id": pair.pair_id, "mask_id": pair.mask_id, "composite": made}
            for k in range(2)
        ]
    run = write_run(tmp_path / "run", rows, 1)
    settings = AugmentSettings(data="sample", candidates=run, out=tmp_path / "out")
    result = augment(settings)
    assert result.originals == result.new == 2 * len(real)
    assert result.test > 0
    assert result.compared == 4  # three photos of the training split, one of the test split
    assert len(read_iharmony4(settings.out)) == len(real)
