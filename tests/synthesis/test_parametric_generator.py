"""Candidates by the parametric inverse, by themselves and through `synthesize`."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import weights_digest
from harmonygen.synthesis.generators.parametric import ParametricGenerator
from harmonygen.synthesis.synthesize import synthesize


@pytest.fixture
def generator(tiny_parametric_inverse) -> ParametricGenerator:
    return ParametricGenerator.from_pretrained(tiny_parametric_inverse, "cpu")


def test_candidate_k_depends_on_its_seed_alone(generator, make_photo, draw):
    photo = make_photo()
    ten = list(generator(photo, draw(photo, 10)))
    next(iter(generator(make_photo("coffee"), draw(photo, 1))))
    backwards = list(generator(photo, draw(photo, 10)[::-1]))[::-1]
    alone = next(iter(generator(photo, draw(photo, 8)[7:])))
    assert all(np.array_equal(one, other) for one, other in zip(ten, backwards, strict=True))
    assert np.array_equal(ten[7], alone)
    assert len({composite.tobytes() for composite in ten}) == 10
    assert not np.array_equal(ten[0], next(iter(generator(photo, draw(photo, 1, seed=1)))))


def test_the_background_is_the_photos_own_and_the_foreground_is_mapped_at_full_size(generator, make_photo, draw):
    photo = make_photo("coffee", height=300, width=400)
    for composite in generator(photo, draw(photo, 4)):
        assert composite.shape == photo.image_u8.shape
        assert np.array_equal(composite[~photo.mask], photo.image_u8[~photo.mask])
        pairs = {tuple(row) for row in np.hstack([photo.image_u8[photo.mask], composite[photo.mask]]).tolist()}
        assert len(pairs) == len({pair[:3] for pair in pairs})  # one colour of the photo becomes one colour


def test_synthesize_writes_it_into_the_rows_of_the_sample(tiny_parametric_inverse, settings_of, rows_of):
    settings = settings_of(
        data="sample", generator="parametric", model=str(tiny_parametric_inverse), k=3, limit=3, max_side=96
    )
    synthesize(settings)
    rows = rows_of(settings.out)
    assert len(rows) == 9
    assert {row["generator"] for row in rows} == {"parametric"}
    assert {row["model_digest"] for row in rows} == {weights_digest(tiny_parametric_inverse)}
    assert {row["drift"] for row in rows} == {0}
    beside = {row["pair_id"]: row for part in sorted((settings.out / "pairs").iterdir()) for row in read(part)}
    for row in rows:
        real, mask = (np.asarray(Image.open(io.BytesIO(beside[row["pair_id"]][n]["bytes"]))) for n in ("real", "mask"))
        composite = np.frombuffer(row["pixels"], np.uint8).reshape(real.shape)
        assert np.array_equal(composite[mask == 0], real[mask == 0])
        assert not np.array_equal(composite[mask > 0], real[mask > 0])


def read(part):
    return pq.read_table(part).to_pylist()


def test_a_resumed_run_has_the_bytes_of_a_straight_one(tiny_parametric_inverse, settings_of, tree, tmp_path):
    changes = {"generator": "parametric", "model": str(tiny_parametric_inverse), "k": 2}
    settings, straight = settings_of(**changes), settings_of(**changes, out=tmp_path / "straight")
    synthesize(straight)
    synthesize(settings)
    torn = settings.out / "candidates" / "part-00001-of-00003.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    (settings.out / "pairs" / "part-00002-of-00003.parquet").unlink()
    assert synthesize(settings).shards_run == 2
    for name in ("part-00001-of-00003.parquet", "part-00002-of-00003.parquet"):
        one, other = (pq.read_table(run.out / "candidates" / name) for run in (settings, straight))
        assert one["composite"].to_pylist() == other["composite"].to_pylist()
        assert one["seed"].to_pylist() == other["seed"].to_pylist()


def test_a_checkpoint_of_another_kind_is_refused(tiny_direct, settings_of):
    with pytest.raises(CheckpointError, match="'parametric-inverse' is needed"):
        synthesize(settings_of(generator="parametric", model=str(tiny_direct)))
