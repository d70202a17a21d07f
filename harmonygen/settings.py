"""Typed settings: defaults, then the recipe, then the options typed, then ``key=value`` overrides.

Unknown keys are refused with the nearest known name, and all faults of a recipe are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harmonygen import recipes
from harmonygen.errors import UsageError

Fit = Literal["native", "square"]
Detail = Literal["transfer", "decode"]
Decoded = Literal["foreground", "whole"]
MaskResize = Literal["refuse", "nearest"]
ImageFormat = Literal["png", "webp", "jpeg"]
Method = Literal["diffharmony", "diffharmony++", "direct", "zero-shot"]
Sampler = Literal["euler-ancestral", "euler"]
Rule = Literal["max-composite", "random", "quantile", "diverse"]
Protocol = Literal["paper", "fullres-fg"]
Background = Literal["none", "composite", "real"]


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


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
    batch_size: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    image_format: ImageFormat = "png"
    shard_size: int = Field(16, ge=1)
    limit: int | None = Field(None, ge=1)
    mask_resize: MaskResize = "refuse"
    max_pixels: int = Field(178_956_970, ge=1)
    max_bad_fraction: float = Field(0.01, ge=0, le=1)
    workers: int = Field(0, ge=0, description="0 = one a GPU, 1 without")


class SynthesizeSettings(CandidateSettings):
    """Everything that `harmonygen synthesize` can be told. Of an ``out`` that is a URL, ``remote`` is made."""

    data: str = "sample"
    list_file: str | None = None
    subset: str | None = None
    out: Path = Path("outputs/synthesize")
    remote: str | None = Field(None, description="URL of the run's folder; it stands in place of out")
    keep: str = "all"
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = Field(None, description="Ray cluster to join; none = a Ray of this run's own")
    part: str = "0/1"

    @model_validator(mode="before")
    @classmethod
    def _out_at_a_url(cls, values: Any) -> Any:
        out = values.get("out") if isinstance(values, Mapping) else None
        if not isinstance(out, str) or "://" not in out:
            return values
        return {**{key: value for key, value in values.items() if key != "out"}, "remote": out}


class ProductRule(Settings):
    """Limits of the heuristic product filter; a photo that keeps them all shows a product.

    See harmonygen.human_harmony.plain_ground for the measures.
    """

    max_edge: float = Field(0.01, ge=0, le=1, description="share of the picture's rim that the mask may cover")
    min_border: float = Field(0.90, ge=0, le=1, description="share of the border that has the ground's colour")
    max_skin: float = Field(0.01, ge=0, description="skin-coloured area near the mask, share of the mask")
    max_touching: float = Field(0.10, ge=0, le=1, description="share of the ring around the mask that is not ground")
    max_other: float = Field(0.05, ge=0, description="area outside the mask that is not ground, share of the mask")
    tolerance: float = Field(28.0, gt=0, description="8-bit units, largest channel, within which a colour is ground's")


class HumanHarmonySettings(CandidateSettings):
    """Everything that `harmonygen build-human-harmony` can be told.

    ``min_fg`` and ``max_fg`` bound the foreground's share of the photo, ``near_tie`` the gap of the two best scores.
    """

    imaterialist: str = "sample"
    out: Path = Path("outputs/human-harmony")
    max_side: int | None = Field(1024, ge=32)
    classes: str = "all"
    clean: bool = True
    person: Literal["none", "deeplabv3", "lraspp", "maskrcnn"] = "none"
    person_weights: Path | None = None
    product_filter: Literal["heuristic", "person-detector", "list", "none"] = "heuristic"
    product_list: Path | None = None
    product_weights: Path | None = None
    product_rule: ProductRule = ProductRule()
    min_fg: float = Field(0.01, ge=0, le=1)
    max_fg: float = Field(0.95, ge=0, le=1)
    decisions: Path | None = None
    near_tie: float = Field(0.01, ge=0, le=1)
    test_fraction: float = Field(7404 / 73146, ge=0, lt=1)
    train_list: Path | None = None
    test_list: Path | None = None
    leak_check: Path | None = None
    reference: str | None = None
    license: str | None = None
    format: Literal["parquet", "iharmony4"] = "parquet"
    link: Literal["hard", "sym", "copy"] = "hard"


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


class ReportSettings(Settings):
    """What `harmonygen report` can be told."""

    out: Path | None = None
    pairs: tuple[str, ...] = ()
    max_candidates: int | None = Field(None, ge=1)
    contact_sheet: Path | None = None
    review: bool = False

    @model_validator(mode="after")
    def _one_thing(self) -> ReportSettings:
        if self.review and self.contact_sheet is not None:
            raise ValueError("--review and --contact-sheet are two things to write: give one of them")
        return self


class AugmentSettings(Settings):
    """Everything that `harmonygen augment` can be told."""

    gamma: float = Field(1.0, ge=0)
    data: str = "sample"
    candidates: Path = Path("outputs/synthesize")
    out: Path = Path("outputs/augmented")
    pick: Literal["random", "top", "selected"] = "random"
    link: Literal["hard", "sym", "copy"] = "hard"
    format: Literal["iharmony4", "parquet"] = "iharmony4"
    subset: str | None = None
    per_subset: bool = True
    list_file: str | None = None
    test_list: str | None = None
    leak_guard: Literal["hash", "ids"] = "hash"
    allow_fewer: bool = Field(
        False, description="pairs with too few candidates that pass the gates get those they have"
    )
    seed: int = Field(0, ge=0)


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
    low_memory: bool = Field(False, description="keep less in memory, for more time")

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
    out: Path = Path("outputs/harmonize")
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
    batch_size: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    image_format: ImageFormat = "png"
    mask_resize: MaskResize = "refuse"
    max_pixels: int = Field(178_956_970, ge=1)
    max_bad_fraction: float = Field(0.01, ge=0, le=1)
    zero_shot: ZeroShotSettings = ZeroShotSettings()


class MethodSpec(Settings):
    """One method to evaluate: a folder of predictions, or a model that is run on the fly.

    ``seeds`` runs the model with that many seeds from ``seed`` on, each a row of its own. ``photo_features=false``
    makes a Harmony-VAE decode without what it read from the photo.
    """

    name: str = ""
    predictions: Path | None = None
    match: str = Field("*", description="only files of the folder whose path fits, such as *_harmonized.png")
    model: str | None = None
    method: Method = "diffharmony"
    refine: str | None = None
    photo_features: bool = True
    resolution: int | None = Field(None, ge=32)
    fit: Fit = "native"
    detail: Detail = "transfer"
    draws: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    sampler: Sampler | None = None
    seed: int = Field(0, ge=0)
    seeds: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> MethodSpec:
        if (self.predictions is None) == (self.model is None):
            raise ValueError(f"method {self.name!r} needs a folder of predictions or a model: give one of them")
        if self.predictions is not None and self.seeds > 1:
            raise ValueError(f"method {self.name!r} has seeds, which go with a model: name a folder for each seed")
        return self


class PublishedRow(Settings):
    """Published numbers, printed beside ours; ``group`` is ``all``, a subset or a bin. ``std`` is that of ``psnr``."""

    name: str
    group: str = "all"
    psnr: float | None = None
    std: float | None = None
    mse: float | None = None
    fmse: float | None = None
    n: int | None = None
    note: str = ""


class EvaluateSettings(Settings):
    """Everything that `harmonygen evaluate` can be told. ``small`` is what a recipe changes with ``--small``."""

    title: str = ""
    data: str = "sample"
    list_file: str | None = None
    subset: str | None = None
    limit: int | None = Field(None, ge=1)
    out: Path = Path("outputs/evaluate")
    protocol: Protocol = "paper"
    background: Background = "none"
    compat_floor: bool = False
    resize_predictions: bool = False
    ssim: bool = True
    methods: tuple[MethodSpec, ...] = ()
    published: tuple[PublishedRow, ...] = ()
    table: Literal["subsets", "bins", "methods", "seeds"] = "subsets"
    resamples: int = Field(10_000, ge=100)
    seed: int = Field(0, ge=0)
    cases: int = Field(6, ge=0, description="worst and best cases of each method on the page")
    sheet: int = Field(0, ge=0, description="rows of a qualitative sheet")
    curve: bool = Field(False, description="draw the foreground ratios")
    beside: str | None = Field(None, description="another data set, whose foreground ratios are drawn beside")
    workers: int | None = Field(None, ge=1)
    shard_size: int | None = Field(None, ge=1)
    device: str = "auto"
    dtype: str = "auto"
    batch_size: str = "auto"
    max_pixels: int = Field(178_956_970, ge=1)
    small: dict[str, Any] = {}

    @model_validator(mode="after")
    def _small_is_valid(self) -> EvaluateSettings:
        if self.small:
            type(self).model_validate({**self.model_dump(exclude={"small"}), **self.small})
        return self


class ExportSettings(Settings):
    """Everything that `harmonygen export` can be told."""

    run: Path = Path("outputs/synthesize")
    out: Path = Path("outputs/dataset")
    which: Literal["all", "selected"] = "all"
    link: Literal["hard", "sym", "copy"] = "hard"


class PublishSettings(Settings):
    """Everything that `harmonygen publish` can be told; a token is never among it."""

    folder: Path = Path("outputs/human-harmony")
    repo: str | None = None
    private: bool = False
    revision: str | None = Field(None, description="tag of what was published")
    create_pr: bool = False
    dry_run: bool = False
    token_file: Path | None = None
    sample: int = Field(16, ge=0, description="images decoded in each image column of each split")
    seed: int = Field(0, ge=0)


class OriginalGates(GateSettings):
    """Gates for composites as strong as iHarmony4's; one that is given leaves the others as they stand here."""

    min_fmse: float = Field(50.0, ge=0)
    max_fmse: float = Field(3000.0, ge=0)


class OriginalCompositeSettings(CandidateSettings):
    """How `gain` makes the composites of photos that have none: colour transfer, as iHarmony4's were made.

    The gates bring their foreground change to that of iHarmony4, whose mean fMSE is 1376 (REFERENCE section 7).
    """

    k: int = Field(16, ge=1)
    generator: Literal["diffusion", "color-transfer", "color-jitter", "lut"] = "color-transfer"
    references: Literal["all", "subset"] = "subset"
    rule: Rule = "random"
    gates: OriginalGates = OriginalGates()


class GainSettings(Settings):
    """Everything that `harmonygen gain` can be told. ``small`` is what a recipe changes with ``--small``.

    ``originals`` is for data without composites, ``candidates`` for what augments them, ``train`` lies over the
    settings of ``train_recipe``.
    """

    title: str = ""
    data: str = "sample"
    layout: str | None = None
    list_file: str | None = None
    test_list: str | None = None
    subset: str | None = None
    split_file: Path | None = None
    split: str = "study"
    out: Path = Path("outputs/gain")
    base_photos: int = Field(110, ge=1)
    test_photos: int = Field(100, ge=1)
    per_photo: int = Field(4, ge=1, description="composites of a pair, where the data have none")
    originals: OriginalCompositeSettings = OriginalCompositeSettings()
    candidates: CandidateSettings = CandidateSettings()
    leak_guard: Literal["hash", "ids"] = "hash"
    rule: Rule = Field("random", description="which candidates the gamma arms take; random is the paper's")
    gammas: tuple[float, ...] = (1.0,)
    controls: tuple[Literal["jitter", "color-transfer", "duplicates"], ...] = ("jitter", "color-transfer", "duplicates")
    rules: tuple[Rule, ...] = Field((), description="curation study: an arm each, at gamma 1")
    extra: tuple[Literal["inverse", "jitter", "color-transfer"], ...] = Field(
        (), description="composites of photos that the base set does not have, an arm each way of making them"
    )
    extra_gammas: tuple[float, ...] = Field((1.0,), description="composites that the extra arms add, over the base's")
    extra_data: str | None = Field(None, description="photos with masks; those that --data leaves over if not given")
    extra_photos: int = Field(0, ge=0, description="so many of them; 0: all")
    arms: tuple[str, ...] = Field((), description="run these arms alone (and base)")
    arch: Literal["direct", "diffusion"] = "direct"
    train_recipe: str | None = Field(None, description="starter/direct or starter/forward if not given")
    train: dict[str, Any] = {}
    steps: int = Field(300, ge=1)
    seed: int = Field(0, ge=0)
    seeds: int = Field(3, ge=1)
    resolution: int = Field(128, ge=32)
    sampling_steps: int = Field(5, ge=1)
    draws: int = Field(1, ge=1)
    background: Background = "none"
    resamples: int = Field(10_000, ge=100)
    curve_points: int = Field(6, ge=1)
    curve_images: int = Field(100, ge=1)
    cases: int = Field(6, ge=0)
    published: tuple[PublishedRow, ...] = ()
    workers: int = Field(1, ge=1)
    device: str = "auto"
    small: dict[str, Any] = {}

    @model_validator(mode="after")
    def _small_is_valid(self) -> GainSettings:
        if self.small:
            type(self).model_validate(recipes.merge(self.model_dump(exclude={"small"}), self.small))
        return self


SettingsT = TypeVar("SettingsT", bound=Settings)


def resolve(
    kind: type[SettingsT],
    recipe: str | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> SettingsT:
    """Build settings from a recipe, the options that were typed (None = not typed) and overrides, in that order.

    Raises:
        UsageError: unknown keys (with the nearest known name) or values out of range, all of them at once.

    >>> resolve(AugmentSettings, overrides=["gamma=0.5"]).gamma
    0.5
    """
    values: dict[str, Any] = recipes.load(recipe) if recipe else {}
    values = recipes.merge(values, {key: value for key, value in (options or {}).items() if value is not None})
    values = recipes.merge(values, recipes.parse_overrides(overrides))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_fault(kind, dict(fault)) for fault in error.errors())
        raise UsageError(f"{f'recipe {recipe!r}' if recipe else 'settings'}: {faults}") from error


def _fault(kind: type[Settings], fault: dict[str, Any]) -> str:
    path = [str(part) for part in fault["loc"]]
    if not path or fault["type"] == "value_error":  # settings that do not go together: the message names them
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] != "extra_forbidden":
        return f"{'.'.join(path)}: {fault['msg']}, found {fault.get('input')!r}"
    return f"unknown key '{'.'.join(path)}'{recipes.nearest(path[-1], _known(kind, path[:-1]))}"


def _known(kind: type[BaseModel], parents: Sequence[str]) -> list[str]:
    """Return the field names of the settings class that ``parents`` lead to."""
    for parent in parents:
        field = kind.model_fields.get(parent)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            kind = field.annotation
    return list(kind.model_fields)
