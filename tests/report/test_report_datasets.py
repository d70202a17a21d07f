from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from harmonygen.augmentation.write import PARQUET_COLUMNS
from harmonygen.data.write_tree import MANIFEST
from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures import images
from harmonygen.report import write_report
from harmonygen.report.gather import gather
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_cell, image_schema


def manifest_rows() -> list[dict]:
    common = {"real": "HCOCO/real_images/a.png", "mask": "HCOCO/masks/a_1.png", "subset": "HCOCO", "pair_id": "a_1"}
    return [
        {**common, "composite": "HCOCO/composite_images/a_1_1.png", "source": "original"},
        {
            **common,
            "composite": "HCOCO/composite_images/a_1_hg4.png",
            "source": "harmonygen",
            "k": 4,
            "p_composite": 0.75,
        },
    ]


def build_tree(folder: Path, photo, mask) -> Path:
    rows = [{name: row.get(name) for name in MANIFEST} for row in manifest_rows()]
    pictures = {row[name]: mask if name == "mask" else photo for row in rows for name in ("real", "mask", "composite")}
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(images.encode(picture))
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in MANIFEST.items()])
    shards.write_parquet(folder / "manifest.parquet", pa.Table.from_pylist(rows, schema=schema))
    return folder


def build_parquet(folder: Path, photo, mask) -> Path:
    (folder / "data").mkdir()
    cells = {"real": photo, "mask": mask, "composite": photo}
    rows = [
        {**row, **{name: image_cell(images.encode(cells[name]), f"{name}.png") for name in cells}}
        for row in manifest_rows()
    ]
    table = pa.Table.from_pylist(rows, schema=image_schema(PARQUET_COLUMNS))
    shards.write_parquet(folder / "data" / "train-00000-of-00001.parquet", table)
    return folder


@pytest.mark.parametrize(("build", "subset"), [(build_tree, "HCOCO"), (build_parquet, "train HCOCO")])
def test_a_built_dataset_shows_composites_by_origin(build, subset: str, tmp_path: Path, first_photo) -> None:
    folder = build(tmp_path, *first_photo)
    gathered = gather(folder)
    assert gathered.kind == "dataset"
    assert [(row.pair_id, row.subset, len(row.tiles)) for row in gathered.rows] == [("a_1", subset, 2)]
    assert gathered.tally() == {"original": 1, "harmonygen": 1}
    assert [tile.p_composite for tile in gathered.rows[0].tiles] == [None, 0.75]
    result = write_report(folder)
    assert result.unreadable == 0
    text = result.path.read_text()
    assert "Composites by origin" in text
    ratio = 100 * first_photo[1].mean()
    assert f"foreground {ratio:.1f}%" in text  # no column says it: measured on the mask


def test_a_manifest_without_pictures_is_refused(tmp_path: Path) -> None:
    shards.write_parquet(tmp_path / "manifest.parquet", pa.table({"pair_id": ["a"], "mask": ["m.png"]}))
    with pytest.raises(UsageError, match="lacks the columns real, composite"):
        gather(tmp_path)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: (path / "photos").mkdir(parents=True), "holds photos/"),
    ],
)
def test_another_folder_is_refused_and_said_what_it_is(make, found: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(UsageError, match=f"'{path}' {found}.*a report needs a run folder"):
        write_report(path)


def test_a_damaged_shard_or_summary_is_a_storage_error(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run")
    (run / "summary.json").write_text("{")
    with pytest.raises(StorageError, match=r"summary\.json"):
        gather(run)
    (run / "summary.json").unlink()
    (run / "pairs" / "part-00000-of-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="part-00000"):
        gather(run)
