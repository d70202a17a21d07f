"""Settings and what they share: defaults, then the recipe, then the options typed, then ``key=value`` overrides.

Unknown keys are refused with the nearest known name, and all faults of a recipe are reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harmonygen import recipes
from harmonygen.errors import UsageError
from harmonygen.records import Orientation, ReadOptions, parse_mask_values

Fit = Literal["native", "square"]
Detail = Literal["transfer", "decode"]
DetailMap = Literal["cubic", "affine"]
Decoded = Literal["foreground", "whole"]
MaskResize = Literal["refuse", "nearest"]
ImageFormat = Literal["png", "webp", "jpeg"]
Sampler = Literal["euler-ancestral", "euler"]
Enlarge = Literal["bicubic", "bilinear"]
RuntimeName = Literal["torch", "onnx", "openvino"]
Posterior = Literal["sample", "mode"]
Rule = Literal["max-composite", "random", "quantile", "diverse"]
Combine = Literal["mean-rank", "mean", "all-above", "veto"]
Layout = Literal["iharmony4", "imaterialist", "voc", "folders", "labelme", "coco", "parquet", "table"]
"""The layouts that can be named: those of :data:`harmonygen.data.LAYOUTS` but the sample, which has a word."""


# Upper limits: past them a number is a slip of the keyboard, or a foreign file's attack on memory and time

MAX_SIDE = 16_384
"""Pixels of a side that a model works at, or of a square crop."""
MAX_STEPS = 1000
"""Sampling steps: a schedule has no more."""
MAX_DRAWS = 1000
"""Draws that a result is the mean of, or candidates of one pair."""
MAX_COUNT = 10_000_000
"""Pairs, rows, training steps, weights and the like."""
MAX_WORKERS = 1024
"""Processes, threads or actors."""


def setting(default: Any, description: str, *, unset: str = "", **limits: Any) -> Any:
    """Return a field of settings: its default (a class: a new one of it), its help on the command line, its limits.

    The help is one sentence or two. It does not state the default, which the command line takes from here; ``unset``
    are words for a default that does not speak for itself, such as None. In an ``Annotated`` type that several fields
    share, the default is ``...``. A number with a lower limit and no upper one may go up to :data:`MAX_COUNT`.
    """
    if limits.keys() & {"ge", "gt"} and not limits.keys() & {"le", "lt"}:
        limits["le"] = MAX_COUNT
    words: Any = {"unset": unset} if unset else None
    if isinstance(default, type):
        return Field(default_factory=default, description=description, json_schema_extra=words, **limits)
    return Field(default, description=description, json_schema_extra=words, **limits)


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused.

    Validators are built when settings are first made, so that ``--help`` does not wait for them.
    """

    model_config = ConfigDict(
        allow_inf_nan=False, defer_build=True, extra="forbid", frozen=True, protected_namespaces=()
    )


# Fields that several verbs have

Seed = Annotated[int, setting(..., "Seed of every random choice.", ge=0, lt=2**63)]
DeviceName = Annotated[str, setting(..., "Device of the models: auto, cpu, cuda, cuda:1 or mps.")]
DtypeName = Annotated[str, setting(..., "Number type of the models: auto, float32, bfloat16 or float16.")]
RuntimeChoice = Annotated[
    RuntimeName, setting(..., "Runtime of UNet and classifier on a CPU: torch, ONNX Runtime or OpenVINO.")
]
BatchSize = Annotated[str, setting(..., "Number of pictures denoised together, or auto.")]
SamplingSteps = Annotated[int, setting(..., "Number of sampling steps.", ge=1, le=MAX_STEPS)]
Resolution = Annotated[
    int | None,
    setting(..., "Short side at which the model works, in pixels.", unset="the checkpoint's", ge=32, le=MAX_SIDE),
]
FitChoice = Annotated[Fit, setting(..., "native keeps the photo's aspect ratio, square squeezes it.")]
EnlargeChoice = Annotated[Enlarge, setting(..., "How a photo smaller than the model's size is enlarged.")]
PosteriorChoice = Annotated[
    Posterior | None,
    setting(
        ...,
        "Draw the latents of the model's input from their posterior, or take its mode.",
        unset="the checkpoint's",
    ),
]
PUBLISHED: dict[str, Any] = {"fit": "square", "detail": "decode", "enlarge": "bilinear", "posterior": "sample"}
"""What `--paper` sets: how the papers' code sizes photos, reads them and brings its pictures out."""
DetailChoice = Annotated[Detail, setting(..., "transfer keeps the photo's texture, decode the decoder's pixels.")]
ImageFormatChoice = Annotated[ImageFormat, setting(..., "Format of stored pictures; webp is lossless.")]
MaskResizeChoice = Annotated[
    MaskResize,
    setting(..., "Refuse a mask of another size than its photo, or resize it."),
]
MaxPixels = Annotated[int, setting(..., "Largest picture that is decoded, in pixels.", ge=1, le=2**31)]
MaxBadFraction = Annotated[
    float, setting(..., "Fraction of inputs that may be bad before the run fails, 0 to 1.", ge=0, le=1)
]
ListFile = Annotated[str | None, setting(..., "iHarmony4 list of composites, .txt or .jsonl.")]
MIN_MARGIN = 0.01
"""Difference of two scores of being a composite under which they are a near tie."""
MinMargin = Annotated[
    float,
    setting(..., "Smallest difference between the scores of a preferred and a rejected composite, 0 to 1.", ge=0, le=1),
]
Subset = Annotated[str | None, setting(..., "Use only this subset of the data.", unset="all subsets")]
SplitFile = Annotated[Path | None, setting(..., "CSV file with the columns kind, name and split.")]
Link = Annotated[Literal["hard", "sym", "copy"], setting(..., "How photos are placed in the new folder.")]
LeakGuard = Annotated[
    Literal["hash", "ids"],
    setting(..., "How test photos are found: by id and hash, or by id."),
]
Classifier = Annotated[
    str, setting(..., "Folder of the classifier that scores candidates, or starter, or a judge's name.")
]
PluginSettings = Annotated[dict[str, Any], setting(..., "Settings of the plug-in, by name.")]


@dataclass(frozen=True, slots=True)
class MayChange:
    """Marks a setting that may change when a job is resumed: ``workers: Annotated[int, HOW] = 1``."""

    what: str


@dataclass(frozen=True, slots=True)
class Later:
    """Marks a setting that came after plans had been written: at its default it is left out of what was asked.

    So the plans and runs of before, which do not have it, stay as they are: ``name: Annotated[str, LATER] = "auto"``.
    """


LATER = Later()
HOW = MayChange("where, on what and how fast a job runs: what comes out is the same")
SHOWN = MayChange("what is made of the results when they are all there: that alone is made again")


MaskValues = Annotated[
    str,
    setting(
        ...,
        "Values of a mask that are foreground: ids (1,7), colours (#ff0000,#00ff00) or one threshold (>=128).",
        unset="by the rule of docs/inputs/masks.md",
    ),
]
MaskOrientation = Annotated[
    Orientation,
    setting(..., "Whether masks follow photos as stored or upright where EXIF turns them and no size tells."),
]
LayoutChoice = Annotated[Layout | None, setting(..., "Input layout of the data.", unset="found out")]
AllowOutside = Annotated[
    bool, setting(..., "Use files outside the data's folder that its tables and Parquet cells name.")
]


class ReadSettings(Settings):
    """How data are read: the same options for every verb that reads photos with masks.

    Each field stands in :class:`harmonygen.records.ReadOptions` too, under the same name, which is how it travels to
    the readers. A field that changes the result is marked :data:`LATER`; ``layout`` does not, since the pairs that
    it leads to decide.
    """

    layout: Annotated[LayoutChoice, HOW] = None
    allow_outside: Annotated[AllowOutside, HOW] = False
    mask_values: Annotated[MaskValues, LATER] = ""
    mask_orientation: Annotated[MaskOrientation, LATER] = "auto"

    @field_validator("mask_values", mode="before")
    @classmethod
    def _values_are_known(cls, given: Any) -> Any:
        """Accept a number and a list of values too, as recipes write them."""
        listed = given if isinstance(given, list | tuple) else [given]
        text = ",".join(map(str, listed))
        parse_mask_values(text)
        return text

    def reading(self, **changes: Any) -> ReadOptions:
        """Return the fields as the readers take them, some of them changed.

        >>> ReadSettings(layout="coco").reading().layout
        'coco'
        """
        found = {field.name: getattr(self, field.name) for field in fields(ReadOptions)}
        return ReadOptions(**{**found, **changes})

    def reading_of_copies(self) -> dict[str, Any]:
        """Return the fields for a job inside this one, which reads copies in a layout of their own, masks as read.

        The tables that name them are this job's own, so they may name files anywhere.

        >>> ReadSettings(mask_values="1").reading_of_copies()
        {'allow_outside': True}
        """
        own = {"layout", "mask_values", "mask_orientation"}
        same = {field.name: getattr(self, field.name) for field in fields(ReadOptions) if field.name not in own}
        return same | {"allow_outside": True}


def asked(settings: Settings, *marks: MayChange) -> dict[str, Any]:
    """Return settings (dumped as JSON, those inside others too) without those that have one of ``marks``.

    By default neither those marked :data:`HOW` nor those marked :data:`SHOWN` are returned.

    >>> from harmonygen.augmentation.settings import ExportSettings
    >>> dict(list(asked(ExportSettings(out="elsewhere")).items())[:3])
    {'which': 'all', 'link': 'hard', 'photos': None}
    """
    return _unmarked(settings, settings.model_dump(mode="json"), marks or (HOW, SHOWN))


def _unmarked(settings: Settings, dumped: Mapping[str, Any], marks: Sequence[MayChange]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        if not any(mark in field.metadata for mark in marks):
            value = getattr(settings, name)
            if LATER in field.metadata and value == field.get_default(call_default_factory=True):
                continue
            kept[name] = _without(value, dumped[name], marks)
    return kept


def _without(value: Any, dumped: Any, marks: Sequence[MayChange]) -> Any:
    """Return what settings, or a tuple of them, ask for; any other value as it is dumped."""
    if isinstance(value, Settings):
        return _unmarked(value, dumped, marks)
    if isinstance(value, tuple) and any(isinstance(each, Settings) for each in value):
        return [_without(*both, marks) for both in zip(value, dumped, strict=True)]
    return dumped


def marked(kind: type[Settings], mark: MayChange | Later) -> tuple[str, ...]:
    """Return the names of the fields that have a mark."""
    return tuple(name for name, field in kind.model_fields.items() if mark in field.metadata)


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

    >>> from harmonygen.augmentation.settings import AugmentSettings
    >>> resolve(AugmentSettings, overrides=["gamma=0.5"]).gamma
    0.5
    """
    values: dict[str, Any] = recipes.load(recipe) if recipe else {}
    values = recipes.merge(values, {key: value for key, value in (options or {}).items() if value is not None})
    values = recipes.merge(values, recipes.parse_overrides(overrides))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{f'recipe {recipe!r}' if recipe else 'settings'}: {told_faults(kind, error)}") from error


def told_faults(kind: type[Settings], error: ValidationError) -> str:
    """Return all faults that settings of ``kind`` have, each with the nearest known name or what was found."""
    return "; ".join(_fault(kind, dict(fault)) for fault in error.errors())


def _fault(kind: type[Settings], fault: dict[str, Any]) -> str:
    path = [str(part) for part in fault["loc"]]
    if not path or fault["type"] == "value_error":  # settings that do not go together: the message names them
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] != "extra_forbidden":
        choices = re.findall(r"'([^']+)'", fault["msg"]) if fault["type"] == "literal_error" else []
        near = recipes.nearest(str(fault.get("input")), choices)
        return f"{'.'.join(path)}: {fault['msg']}, found {fault.get('input')!r}{near}"
    return f"unknown key '{'.'.join(path)}'{recipes.nearest(path[-1], _known(kind, path[:-1]))}"


def _known(kind: type[BaseModel], parents: Sequence[str]) -> list[str]:
    """Return the field names of the settings class that ``parents`` lead to."""
    for parent in parents:
        field = kind.model_fields.get(parent)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            kind = field.annotation
    return list(kind.model_fields)
