"""Zero-shot editing measured on the trained toy: not only that it runs, but that it does what each part is for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fakes"))

from zero_shot_measures import TOY, colour_distance, edge_correlation, edits, inversion_psnr, scenes

from harmonygen.harmonization.zeroshot.text_to_image import TextToImage

CHOSEN = scenes(2)
EDGES = TOY.model_copy(update={"inversion_steps": 7, "refine_inner": 0, "null_inner": 20})
"""The toy's few tokens give the unconditional embedding little hold on texture: more steps, and a larger weight."""


@pytest.fixture(scope="module")
def edited(toy_sd):
    return edits(toy_sd, CHOSEN, TOY.model_copy(update={"edge_weight": 0.0}))


def test_inversion_reconstructs_the_picture_almost_as_well_as_the_autoencoder(toy_sd):
    """The median: one scene in six comes back as another one, which more steps do not mend; the toy is rough there."""
    again, alone = inversion_psnr(TextToImage.from_pretrained(toy_sd), scenes(3), 20)
    assert np.median(again) > 28
    assert np.median(again) > np.median(alone) - 2


@pytest.mark.long
def test_refinement_moves_the_words_attention_to_where_they_belong(edited):
    for side in ("inside", "outside"):
        before, after = (
            np.mean([e.figures[f"attention_{side}_{when}"] for e in edited]) for when in ("before", "after")
        )
        assert after > before + 0.02


@pytest.mark.long
def test_the_edit_brings_the_foreground_toward_the_backgrounds_word(edited):
    for made, scene in zip(edited, CHOSEN, strict=True):
        assert colour_distance(made.picture01, scene) < 0.85 * colour_distance(scene.picture01, scene)


@pytest.mark.long
def test_the_edge_loss_keeps_the_foregrounds_texture_through_the_edit(toy_sd):
    def kept(edge_weight):
        made = edits(toy_sd, CHOSEN, EDGES.model_copy(update={"edge_weight": edge_weight}))
        return [edge_correlation(edit.picture01, scene) for edit, scene in zip(made, CHOSEN, strict=True)]

    without, held = kept(0.0), kept(300.0)
    assert np.mean(held) > np.mean(without) + 0.05
