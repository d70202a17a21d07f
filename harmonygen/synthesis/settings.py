"""Settings of `synthesize`, `score` and `select`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from harmonygen.errors import UsageError
from harmonygen.plugins.doors import GENERATORS, JUDGES, find_plugin
from harmonygen.plugins.judges import NamedJudge, named_judges, plugin_spec
from harmonygen.settings import (
    HOW,
    LATER,
    MAX_COUNT,
    MAX_DRAWS,
    MAX_SIDE,
    MAX_STEPS,
    MAX_WORKERS,
    BatchSize,
    Classifier,
    Combine,
    Decoded,
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
    Rule,
    RuntimeChoice,
    Seed,
    Settings,
    Subset,
    setting,
)

COMBINE = (
    "How several judges are combined: by their ranks, their mean, all above --min-score, or each but the first vetoes."
)
MIN_SCORE = "Score under which a judge refuses a candidate, with --combine all-above or veto, 0 to 1."

# Fields that `gain` overrides
Generator = Annotated[
    str,
    setting(
        ...,
        f"Generator of the candidates: {', '.join(GENERATORS.built_in)}, the name of an installed plug-in, or "
        "module:attribute.",
    ),
]
References = Annotated[
    Literal["all", "subset"], setting(..., "Whether color-transfer takes colours from all photos or the pair's subset.")
]
RuleChoice = Annotated[Rule, setting(..., "Rule that selects among the candidates of a pair.")]


class GateSettings(Settings):
    """Limits that a candidate has to keep; see harmonygen.synthesis.gates.

    Ten authentic iHarmony4 composites measure fMSE 235-8920 and structure 0.76-0.99: the defaults let them all pass.
    """

    max_clipped: float = setting(
        0.15, "Gate: largest share of foreground values that are newly 0 or 255, 0 to 1.", ge=0, le=1
    )
    min_fmse: float = setting(20.0, "Gate: smallest foreground change, in squared 8-bit units.", ge=0)
    max_fmse: float = setting(10000.0, "Gate: largest foreground change, in squared 8-bit units.", ge=0)
    min_structure: float = setting(0.70, "Gate: smallest structure similarity of the foreground, -1 to 1.", ge=-1, le=1)
    max_drift: float = setting(0.0, "Gate: largest share of background pixels that differ, 0 to 1.", ge=0, le=1)
    min_p_composite: Annotated[float, LATER] = setting(0.0, "Gate: smallest score of the judge, 0 to 1.", ge=0, le=1)


class JudgeSettings(Settings):
    """Who scores candidates: a classifier, or judges that are named (docs/plugins)."""

    classifier: Classifier = "starter"
    judge: Annotated[tuple[str, ...], LATER] = setting(
        (),
        "Judge of the candidates, as [NAME=]JUDGE: a plug-in, module:attribute or a classifier's folder.",
        unset="--classifier",
    )
    judge_settings: Annotated[PluginSettings, LATER] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _one_way_to_name_judges(self) -> JudgeSettings:
        if self.judge and self.classifier != "starter":
            raise ValueError(
                f"--classifier {self.classifier} is one judge and --judge names others: give it as --judge too"
            )
        for each in self.judges() if self.judge_settings else ():
            from harmonygen.plugins.plugin import (
                Plugin,  # what it names is imported: only if there is something to check
            )

            Plugin.find(JUDGES, plugin_spec(each.spec)).settings(each.settings)
        return self

    def judges(self) -> list[NamedJudge]:
        """Return the judges that are asked for: those of ``judge``, else the classifier; raises as `named_judges`."""
        return named_judges(self.judge or (self.classifier,), self.judge_settings)


class CandidateSettings(JudgeSettings):
    """How candidates are made, scored and selected, whatever verb makes them."""

    k: int = setting(10, "Number of candidates per pair.", ge=1, le=MAX_DRAWS)
    seed: Seed = 0
    generator: Generator = "diffusion"
    generator_settings: Annotated[PluginSettings, LATER] = {}  # noqa: RUF012
    model: str = setting(
        "starter", "Checkpoint folder of the inverse model (for parametric, of a parametric inverse), or starter."
    )
    methods: tuple[str, ...] = setting(
        ("reinhard", "xiao", "fecker", "pitie"),
        "Method of --generator color-transfer.",
    )
    references: References = "all"
    cube: tuple[Path, ...] = setting((), ".cube file of --generator lut.", unset="random LUTs")
    rule: RuleChoice = "max-composite"
    combine: Annotated[Combine, LATER] = setting("mean-rank", COMBINE)
    min_score: Annotated[float, LATER] = setting(0.5, MIN_SCORE, ge=0, le=1)
    gates: GateSettings = setting(GateSettings, "Limits that a candidate has to keep.")
    resolution: Resolution = None
    fit: FitChoice = "native"
    enlarge: EnlargeChoice = "bicubic"
    detail: DetailChoice = "transfer"
    decoded: Decoded = setting(
        "foreground", "Part that the decoder's finer layers compute: the foreground, which is kept, or all."
    )
    compile: bool = setting(
        False, "Compile the UNet with torch, once for each size; sides are multiples of 8 latent cells."
    )
    max_side: int | None = setting(
        None, "Longest side of photos and composites, in pixels.", unset="the photo's own", ge=32, le=4 * MAX_SIDE
    )
    steps: int | None = setting(
        None, "Number of sampling steps.", unset="what the checkpoint states", ge=1, le=MAX_STEPS
    )
    posterior: PosteriorChoice = None
    batch_size: Annotated[BatchSize, HOW] = "auto"
    device: Annotated[DeviceName, HOW] = "auto"
    dtype: DtypeName = "auto"
    runtime: Annotated[RuntimeChoice, LATER] = "torch"
    image_format: ImageFormatChoice = "png"
    shard_size: int = setting(16, "Number of pairs per shard.", ge=1, le=MAX_COUNT)
    limit: int | None = setting(None, "Use only the first N pairs.", unset="all pairs", ge=1, le=MAX_COUNT)
    mask_resize: MaskResizeChoice = "refuse"
    max_pixels: MaxPixels = 178_956_970
    max_bad_fraction: Annotated[MaxBadFraction, HOW] = 0.01
    workers: Annotated[int, HOW] = setting(
        0, "Number of processes or Ray actors; 0 is one for each GPU, or one without a GPU.", ge=0, le=MAX_WORKERS
    )

    @property
    def weights(self) -> str:
        """What the candidates' model is called: the checkpoint of a built-in generator, or the plug-in."""
        return self.model if self.generator in GENERATORS.own else self.generator

    @field_validator("generator")
    @classmethod
    def _generator_is_known(cls, given: str) -> str:
        try:
            find_plugin(GENERATORS, given)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return given

    @model_validator(mode="after")
    def _plugins_have_these_settings(self) -> CandidateSettings:
        if self.generator_settings:
            from harmonygen.plugins.plugin import (
                Plugin,
            )  # what it names is imported: only if there is something to check

            Plugin.find(GENERATORS, self.generator).settings(self.generator_settings)
        return self


class SynthesizeSettings(CandidateSettings, ReadSettings):
    """Options of `harmonygen synthesize`. If ``out`` is a URL, it is stored in ``remote``."""

    data: str = setting("sample", "Photos with masks in any input layout: a path, a URL or sample.")
    list_file: ListFile = None
    subset: Subset = None
    out: Annotated[Path, HOW] = setting(Path("outputs/synthesize"), "Folder of the run: a path or a URL.")
    remote: Annotated[str | None, HOW] = setting(None, "URL of the run's folder, instead of out.")
    keep: str = setting("all", "Which candidates to store: all, best, or a number per pair.")
    engine: Annotated[Literal["local", "ray"], HOW] = setting(
        "local", "Engine that runs the work: here, or on a Ray cluster."
    )
    ray_address: Annotated[str | None, HOW] = setting(
        None, "Address of the Ray cluster to join.", unset="$RAY_ADDRESS, or a new cluster"
    )
    part: Annotated[str, HOW] = setting("0/1", "This job's part of a job array, as i/n.")

    @model_validator(mode="before")
    @classmethod
    def _out_at_a_url(cls, values: Any) -> Any:
        out = values.get("out") if isinstance(values, Mapping) else None
        if not isinstance(out, str) or "://" not in out:
            return values
        return {**{key: value for key, value in values.items() if key != "out"}, "remote": out}


class SelectSettings(Settings):
    """Options of `harmonygen select`; a setting that is not given stays as the run has it."""

    rule: Rule | None = setting(None, "Rule that selects among the candidates of a pair.", unset="as in the run")
    count: int | None = setting(
        None, "Number of candidates to select per pair.", unset="as in the run", ge=1, le=MAX_DRAWS
    )
    seed: int | None = setting(None, "Seed of every random choice.", unset="as in the run", ge=0, lt=2**63)
    combine: Combine | None = setting(None, COMBINE, unset="as in the run")
    min_score: float | None = setting(None, MIN_SCORE, unset="as in the run", ge=0, le=1)
    gates: GateSettings = setting(GateSettings, "Limits that a candidate has to keep.", unset="as in the run")
    decisions: Path | None = setting(
        None,
        "Review to apply: a decisions.json, or a run's folder.",
        unset="as in the run",
    )


class ScoreSettings(JudgeSettings):
    """Options of `harmonygen score`; how several judges are combined stays as the run has it, if it is not given."""

    combine: Combine | None = setting(None, COMBINE, unset="as in the run, else mean-rank")
    min_score: float | None = setting(None, MIN_SCORE, unset="as in the run, else 0.5", ge=0, le=1)
    device: DeviceName = "auto"
    runtime: RuntimeChoice = "torch"
