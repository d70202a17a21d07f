"""Settings of `synthesize`, `score` and `select`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harmonygen.settings import HOW, Decoded, Detail, Fit, ImageFormat, MaskResize, Rule, Settings


class GateSettings(Settings):
    """Limits that a candidate has to keep; see harmonygen.synthesis.gates.

    Ten authentic iHarmony4 composites measure fMSE 235-8920 and structure 0.76-0.99: the defaults let them all pass.
    """

    max_clipped: float = Field(0.15, ge=0, le=1, description="share of foreground values newly at 0 or 255")
    min_fmse: float = Field(20.0, ge=0, description="least foreground change, squared 8-bit units")
    max_fmse: float = Field(10000.0, ge=0, description="largest foreground change, squared 8-bit units")
    min_structure: float = Field(0.70, ge=-1, le=1, description="least structure similarity of the foreground")
    max_drift: float = Field(0.0, ge=0, le=1, description="share of background pixels that may differ (lossless)")


class CandidateSettings(Settings):
    """How candidates are made, scored and selected, whatever verb makes them."""

    k: int = Field(10, ge=1)
    seed: int = Field(0, ge=0)
    generator: Literal["diffusion", "color-transfer", "color-jitter", "lut"] = "diffusion"
    model: str = "starter"
    classifier: str = "starter"
    methods: tuple[str, ...] = ("reinhard", "xiao", "fecker", "pitie")
    references: Literal["all", "subset"] = Field(
        "all", description="photos that color-transfer takes colours from: all, or those of the pair's subset"
    )
    cube: tuple[Path, ...] = ()
    rule: Rule = "max-composite"
    gates: GateSettings = GateSettings()
    resolution: int | None = Field(None, ge=32)
    fit: Fit = "native"
    detail: Detail = "transfer"
    decoded: Decoded = Field("foreground", description="what the decoder's finer layers run on: the part kept, or all")
    compile: bool = Field(False, description="have torch compile the UNet")
    max_side: int | None = Field(None, ge=32)
    steps: int = Field(5, ge=1)
    batch_size: Annotated[str, HOW] = "auto"
    device: Annotated[str, HOW] = "auto"
    dtype: str = "auto"
    image_format: ImageFormat = "png"
    shard_size: int = Field(16, ge=1)
    limit: int | None = Field(None, ge=1)
    mask_resize: MaskResize = "refuse"
    max_pixels: int = Field(178_956_970, ge=1)
    max_bad_fraction: Annotated[float, HOW] = Field(0.01, ge=0, le=1)
    workers: Annotated[int, HOW] = Field(0, ge=0, description="0 = one a GPU, 1 without")


class SynthesizeSettings(CandidateSettings):
    """Everything that `harmonygen synthesize` can be told. Of an ``out`` that is a URL, ``remote`` is made."""

    data: str = "sample"
    list_file: str | None = None
    subset: str | None = None
    out: Annotated[Path, HOW] = Path("outputs/synthesize")
    remote: Annotated[str | None, HOW] = Field(None, description="URL of the run's folder; it stands in place of out")
    keep: str = "all"
    engine: Annotated[Literal["local", "ray"], HOW] = "local"
    ray_address: Annotated[str | None, HOW] = Field(
        None, description="Ray cluster to join; none = a Ray of this run's own"
    )
    part: Annotated[str, HOW] = "0/1"

    @model_validator(mode="before")
    @classmethod
    def _out_at_a_url(cls, values: Any) -> Any:
        out = values.get("out") if isinstance(values, Mapping) else None
        if not isinstance(out, str) or "://" not in out:
            return values
        return {**{key: value for key, value in values.items() if key != "out"}, "remote": out}


class SelectSettings(Settings):
    """What `harmonygen select` can be told; what is not given stays as the run has it."""

    rule: Rule | None = None
    count: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)
    gates: GateSettings = GateSettings()
    decisions: Path | None = None


class ScoreSettings(Settings):
    """What `harmonygen score` can be told."""

    classifier: str = "starter"
    device: str = "auto"
