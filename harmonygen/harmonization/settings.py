"""Settings of `harmonize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harmonygen.settings import HOW, Detail, Fit, ImageFormat, MaskResize, Sampler, Settings


class ZeroShotSettings(Settings):
    """How `--method zero-shot` describes, edits and judges a composite (REFERENCE section 8).

    Words given by hand (``foreground`` with ``background``, or ``captions``) make the describer ``hand``, a
    ``describer_model`` makes it ``model``, where no describer is named.
    """

    iterations: int = Field(10, ge=1, description="edits of a composite, at most")
    allow_unchanged: bool = Field(False, description="return the untouched composite if no edit scores better")
    classifier: str = Field("starter", description="harmony classifier that judges the edits")

    describer: Literal["rules", "model", "hand"] = "rules"
    describer_model: str | None = Field(None, description="image-text-to-text model, a Hugging Face folder or name")
    describer_retries: int = Field(3, ge=0, description="further samples after a reply that is not of the asked form")
    foreground: str | None = Field(None, description="subject and words of every foreground: 'girl, sunny'")
    background: str | None = Field(None, description="words of every background: 'dark, night'")
    captions: Path | None = Field(None, description="CSV or JSONL with the words of each composite")
    alternatives: int = Field(3, ge=1, description="descriptions asked for; the second is for a start anew")
    prompt_subject: str = Field("object", min_length=1, description="what is in the foreground, where nobody says")

    inversion_steps: int = Field(50, ge=1, description="DDIM steps, of the inversion and of the edit")
    guidance: float = Field(2.5, ge=0, description="classifier-free guidance of the edit")
    refine_learning_rate: float = Field(5e-4, gt=0, description="of the words' token embeddings")
    refine_inner: int = Field(2, ge=0, description="optimiser steps a timestep on the token embeddings; 0 = none")
    refine_keep: float = Field(1000.0, ge=0, description="pull of the token embeddings toward their start")
    background_weight: float = Field(1.0, ge=0, description="of the background words' attention loss")
    null_learning_rate: float = Field(0.1, gt=0, description="of the unconditional embedding")
    null_inner: int = Field(5, ge=1, description="its optimiser steps at the last levels; the first take one")
    null_weight: float = Field(10.0, ge=0, description="of the latents' squared error in the null-text optimisation")
    edge_weight: float = Field(1.0, ge=0, description="of the edge loss inside the mask; 0 = none")
    edge_gamma: float = Field(0.1, ge=0, description="of the learned edges against Sobel's")
    edges: Literal["laplacian", "hed", "none"] = Field("laplacian", description="what finds edges beside Sobel")
    hed_weights: Path | None = Field(None, description="weights of the HED edge detector")
    cross_replace: float = Field(1.0, ge=0, le=1, description="share of the steps that take over cross-attention")
    self_replace: float = Field(1.0, ge=0, le=1, description="share of the steps that take over self-attention")
    low_memory: Annotated[bool, HOW] = Field(False, description="keep less in memory, for more time")

    @model_validator(mode="before")
    @classmethod
    def _describer_of_the_words(cls, values: Any) -> Any:
        """Name the describer that the other settings ask for, where none is named."""
        if not isinstance(values, Mapping) or values.get("describer") is not None:
            return values
        named = {key for key, value in values.items() if value is not None}
        if named & {"foreground", "background", "captions"}:
            return {**values, "describer": "hand"}
        return {**values, "describer": "model" if "describer_model" in named else "rules"}

    @model_validator(mode="after")
    def _words_have_one_source(self) -> ZeroShotSettings:
        words, captions = self.foreground is not None, self.captions is not None
        faults = {
            "--foreground and --background go together: give both": words != (self.background is not None),
            "--foreground and --captions are two ways to give words: give one": words and captions,
            f"--describer {self.describer} finds its own words: drop --foreground, --background and --captions": (
                self.describer != "hand" and (words or captions)
            ),
            "--describer hand needs words: give --foreground and --background, or --captions": (
                self.describer == "hand" and not (words or captions)
            ),
            "--describer model needs a model: give --describer-model": (
                self.describer == "model" and self.describer_model is None
            ),
            "--describer-model goes with --describer model: drop one": (
                self.describer != "model" and self.describer_model is not None
            ),
            "hed_weights go with edges = hed: drop one": self.edges != "hed" and self.hed_weights is not None,
        }
        for message, wrong in faults.items():
            if wrong:
                raise ValueError(message)
        return self


class HarmonizeSettings(Settings):
    """Everything that `harmonygen harmonize` can be told. ``image`` with ``mask`` is one composite."""

    image: Path | None = None
    mask: Path | None = None
    data: str = "sample"
    composites: Path | None = None
    masks: Path | None = None
    list_file: str | None = None
    subset: str | None = None
    limit: int | None = Field(None, ge=1)
    out: Annotated[Path, HOW] = Path("outputs/harmonize")
    method: Method = "diffharmony"
    model: str = "starter"
    refine: str | None = None
    seed: int = Field(0, ge=0)
    draws: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    sampler: Sampler | None = None
    resolution: int | None = Field(None, ge=32)
    fit: Fit = "native"
    detail: Detail = "transfer"
    max_side: int | None = Field(None, ge=32)
    batch_size: Annotated[str, HOW] = "auto"
    device: Annotated[str, HOW] = "auto"
    dtype: str = "auto"
    image_format: ImageFormat = "png"
    mask_resize: MaskResize = "refuse"
    max_pixels: int = Field(178_956_970, ge=1)
    max_bad_fraction: Annotated[float, HOW] = Field(0.01, ge=0, le=1)
    zero_shot: ZeroShotSettings = ZeroShotSettings()


Method = Literal["diffharmony", "diffharmony++", "direct", "zero-shot"]
