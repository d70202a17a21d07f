"""Settings of `harmonize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from harmonygen.errors import UsageError
from harmonygen.plugins.doors import HARMONIZERS, find_plugin
from harmonygen.settings import (
    HOW,
    LATER,
    MAX_DRAWS,
    MAX_SIDE,
    MAX_STEPS,
    BatchSize,
    DetailChoice,
    DeviceName,
    DtypeName,
    EnlargeChoice,
    FitChoice,
    ImageFormatChoice,
    ListFile,
    MaskResizeChoice,
    MaxBadFraction,
    MaxPixels,
    PluginSettings,
    PosteriorChoice,
    ReadSettings,
    Resolution,
    RuntimeChoice,
    Sampler,
    Seed,
    Settings,
    Subset,
    setting,
)

Method = Literal["parametric", "diffharmony", "diffharmony++", "direct", "zero-shot"]
ONE_ANSWER: tuple[Method, ...] = ("parametric", "direct")
"""Methods that draw nothing at random."""
REFINED: tuple[Method, ...] = ("diffharmony", "diffharmony++")
"""Methods that a refiner may run after."""

# Fields that `evaluate` has for its models too
UNSET_METHOD = "what the checkpoint is; of the starter, parametric"
_METHODS = ", ".join(HARMONIZERS.built_in)


def _known_method(given: Any) -> Any:
    """Refuse a name that no harmonizer has."""
    if isinstance(given, str):
        try:
            find_plugin(HARMONIZERS, given)
        except UsageError as error:
            raise ValueError(str(error)) from error
    return given


MethodChoice = Annotated[
    str | None,
    BeforeValidator(_known_method),
    setting(
        ...,
        f"How composites are harmonized: {_METHODS}, the name of an installed plug-in, or module:attribute.",
        unset=UNSET_METHOD,
    ),
]
MethodSettings = Annotated[PluginSettings, setting(..., "Settings of a plug-in that is the method, by name.")]


def check_method_settings(method: str | None, model: str, given: Mapping[str, Any]) -> None:
    """Refuse settings that the plug-in does not have; it is imported only if there are any.

    Raises:
        UsageError: naming the settings and the nearest known ones.
    """
    if given:
        from harmonygen.plugins.plugin import Plugin

        Plugin.find(HARMONIZERS, method or model).settings(given)


Refiner = Annotated[str | None, setting(..., "Folder of the refiner that runs after diffharmony.")]
Draws = Annotated[
    int | None,
    setting(..., "Number of draws that a result is the mean of.", unset="the checkpoint's", ge=1, le=MAX_DRAWS),
]
Steps = Annotated[
    int | None, setting(..., "Number of sampling steps.", unset="the checkpoint's; zero-shot: 50", ge=1, le=MAX_STEPS)
]
SamplerChoice = Annotated[Sampler | None, setting(..., "Sampler of the diffusion model.", unset="the checkpoint's")]


class ZeroShotSettings(Settings):
    """How `--method zero-shot` describes, edits and judges a composite (REFERENCE section 8).

    Words given by hand (``foreground`` with ``background``, or ``captions``) make the describer ``hand``, a
    ``describer_model`` makes it ``model``, where no describer is named.
    """

    iterations: int = setting(10, "Zero-shot: largest number of edits per composite.", ge=1, le=MAX_DRAWS)
    allow_unchanged: bool = setting(False, "Return the unchanged composite if no edit scores better.")
    classifier: str = setting(
        "starter", "Zero-shot: folder of the classifier that judges edits, or starter, or a judge's name."
    )

    describer: Literal["rules", "model", "hand"] = setting("rules", "Zero-shot: describer that finds the words.")
    describer_model: str | None = setting(None, "Zero-shot: model that finds the words, a folder or a Hub name.")
    describer_retries: int = setting(3, "Number of further tries after a reply in another form.", ge=0, le=MAX_DRAWS)
    foreground: str | None = setting(
        None, "Zero-shot: words of every foreground, such as 'girl, sunny'.", unset="described"
    )
    background: str | None = setting(
        None, "Zero-shot: words of every background, such as 'dark, night'.", unset="described"
    )
    captions: Path | None = setting(None, "Zero-shot: CSV or JSONL file with the words of each composite.")
    alternatives: int = setting(3, "Number of descriptions; a restart uses the next one.", ge=1, le=MAX_DRAWS)
    prompt_subject: str = setting("object", "Word for the foreground where no description names it.", min_length=1)

    inversion_steps: int = setting(50, "Number of DDIM steps of the inversion and of the edit.", ge=1, le=MAX_STEPS)
    guidance: float = setting(2.5, "Classifier-free guidance of the edit.", ge=0)
    refine_learning_rate: float = setting(5e-4, "Learning rate of the words' token embeddings.", gt=0)
    refine_inner: int = setting(2, "Number of optimiser steps per timestep on the token embeddings.", ge=0)
    refine_keep: float = setting(1000.0, "Weight that pulls the token embeddings toward their start.", ge=0)
    background_weight: float = setting(1.0, "Weight of the background words' attention loss.", ge=0)
    null_learning_rate: float = setting(0.1, "Learning rate of the unconditional embedding.", gt=0)
    null_inner: int = setting(
        5, "Number of optimiser steps on the unconditional embedding at the last levels; the first take one.", ge=1
    )
    null_weight: float = setting(10.0, "Weight of the latents' squared error in the null-text optimisation.", ge=0)
    edge_weight: float = setting(1.0, "Weight of the edge loss inside the mask; 0 turns it off.", ge=0)
    edge_gamma: float = setting(0.1, "Weight of the learned edges against Sobel's.", ge=0)
    edges: Literal["laplacian", "hed", "none"] = setting(
        "laplacian", "Edge detector that is used in addition to Sobel."
    )
    hed_weights: Path | None = setting(None, "File with the weights of the HED edge detector.")
    cross_replace: float = setting(1.0, "Share of the steps that take over cross-attention, 0 to 1.", ge=0, le=1)
    self_replace: float = setting(1.0, "Share of the steps that take over self-attention, 0 to 1.", ge=0, le=1)
    low_memory: Annotated[bool, HOW] = setting(False, "Zero-shot: use less memory and more time.")

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


class HarmonizeSettings(ReadSettings):
    """Options of `harmonygen harmonize`. ``image`` with ``mask`` is one composite."""

    image: Path | None = setting(None, "One composite, with its mask.")
    mask: Path | None = setting(None, "Mask of IMAGE; white is the foreground.")
    data: str = setting("sample", "Composites with masks, in any input layout that has composites.")
    composites: Path | None = setting(None, "Folder of composites, instead of --data; give --masks too.")
    masks: Path | None = setting(None, "Folder of masks that have the composites' names.")
    list_file: ListFile = None
    subset: Subset = None
    limit: int | None = setting(None, "Use only the first N composites.", unset="all composites", ge=1)
    out: Annotated[Path, HOW] = setting(Path("outputs/harmonize"), "Folder of the run; with IMAGE, the file to write.")
    method: MethodChoice = None
    method_settings: Annotated[MethodSettings, LATER] = {}  # noqa: RUF012
    model: str = setting("starter", "Checkpoint folder, or starter; zero-shot takes a Stable Diffusion model's folder.")
    refine: Refiner = None
    seed: Seed = 0
    draws: Draws = None
    steps: Steps = None
    sampler: SamplerChoice = None
    posterior: PosteriorChoice = None
    resolution: Resolution = None
    fit: FitChoice = "native"
    enlarge: EnlargeChoice = "bicubic"
    detail: DetailChoice = "transfer"
    max_side: int | None = setting(
        None, "Longest side of the results, in pixels.", unset="the composite's own", ge=32, le=4 * MAX_SIDE
    )
    batch_size: Annotated[BatchSize, HOW] = "auto"
    device: Annotated[DeviceName, HOW] = "auto"
    dtype: DtypeName = "auto"
    runtime: Annotated[RuntimeChoice, LATER] = "torch"
    image_format: ImageFormatChoice = "png"
    mask_resize: MaskResizeChoice = "refuse"
    max_pixels: MaxPixels = 178_956_970
    max_bad_fraction: Annotated[MaxBadFraction, HOW] = 0.01
    zero_shot: ZeroShotSettings = setting(ZeroShotSettings, "How --method zero-shot describes, edits and judges.")

    @model_validator(mode="after")
    def _method_has_these_settings(self) -> HarmonizeSettings:
        check_method_settings(self.method, self.model, self.method_settings)
        return self
