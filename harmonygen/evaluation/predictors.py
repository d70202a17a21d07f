"""Predictors: a composite in, a method's picture of it out, read from a folder or made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import COMPOSITE
from harmonygen.evaluation.settings import MethodSpec
from harmonygen.pictures.images import MAX_PIXELS, Decoded, ImageU8, Mask, read_image
from harmonygen.pictures.photo import Sizing, size_photo
from harmonygen.records import Composite, FileSource
from harmonygen.seeds import candidate_seed

if TYPE_CHECKING:
    from harmonygen.harmonization.load import HarmonizationMethod


@dataclass(frozen=True, slots=True)
class Loaded:
    """A case with its composite (H, W, 3) uint8, the photo of the same size and the mask (H, W) bool."""

    case: Composite
    composite: Decoded
    real_u8: ImageU8
    mask: Mask


Predictor = Callable[[Loaded], ImageU8]


def expanded(methods: tuple[MethodSpec, ...]) -> tuple[tuple[MethodSpec, ...], dict[str, str]]:
    """Name every method and turn ``seeds`` into a method each; return them, and name -> what it is a seed of.

    Raises:
        UsageError: two methods of one name, or one called ``composite``.

    >>> expanded((MethodSpec(model="starter", seeds=2),))[1]
    {'starter, seed 0': 'starter', 'starter, seed 1': 'starter'}
    """
    named: list[MethodSpec] = []
    bases: dict[str, str] = {}
    for spec in methods:
        base = spec.name or (Path(spec.model or "").name if spec.model else Path(spec.predictions or "").resolve().name)
        for seed in range(spec.seed, spec.seed + spec.seeds):
            name = f"{base}, seed {seed}" if spec.seeds > 1 else base
            if name in bases or name == COMPOSITE:
                raise UsageError(f"two methods are called '{name}': name them (--predictions NAME=DIR, or name = ...)")
            bases[name] = base
            named.append(spec.model_copy(update={"name": name, "seed": seed, "seeds": 1}))
    return tuple(named), bases


def from_folder(paths: Mapping[str, Path], max_pixels: int = MAX_PIXELS) -> Predictor:
    """Return the predictor that reads each composite's file as stored; ``paths`` are the files by name."""
    return lambda loaded: read_image(FileSource(paths[loaded.case.name], as_stored=True), max_pixels).image_u8


class Models:
    """The models of on-the-fly methods; those that differ in seed, draws or size alone are loaded once."""

    def __init__(
        self, device: str = "auto", dtype: str = "auto", batch_size: str = "auto", rules: ProtocolRules | None = None
    ) -> None:
        self.device, self.dtype, self.batch_size, self.rules = device, dtype, batch_size, rules or ProtocolRules()
        self._loaded: dict[tuple[Any, ...], HarmonizationMethod] = {}

    def harmonizer(self, spec: MethodSpec) -> HarmonizationMethod:
        """Load the model of a method, or return it if it is loaded.

        Raises:
            CheckpointError: not there, of another kind, or ``photo_features=false`` without a Harmony-VAE.
        """
        how = (spec.steps, spec.sampler, spec.posterior, spec.detail, spec.photo_features)
        key = (spec.method, spec.model, spec.refine, repr(spec.method_settings), *how)
        if key not in self._loaded:
            self._loaded[key] = self._load(spec)
        return self._loaded[key]

    def _load(self, spec: MethodSpec) -> HarmonizationMethod:
        from harmonygen.harmonization.load import Chosen, load_harmonizer, method_of
        from harmonygen.models.device import Device, Sampling

        device = Device.pick(self.device, self.dtype, self.batch_size)
        sampling = Sampling(spec.steps, spec.sampler, posterior=spec.posterior)
        model = spec.model or ""
        method = spec.method or method_of(model)
        chosen = Chosen(model, spec.refine, sampling, spec.detail)
        loaded = load_harmonizer(method, chosen, device, spec.method_settings)
        if not spec.photo_features:
            _drop_features(loaded, spec.name)
        return loaded

    def predictor(self, spec: MethodSpec) -> Predictor:
        """Return the predictor of a model; its results are those of ``harmonize`` with the same seed.

        With ``detail`` ``decode`` it gives what the model decodes, nothing pasted, brought to the scored size in one
        step.
        """
        return predictor_of(self.harmonizer(spec), spec, self.rules)


def predictor_of(harmonizer: HarmonizationMethod, spec: MethodSpec, rules: ProtocolRules) -> Predictor:
    """Return the predictor of a harmonizer that is loaded; see :meth:`Models.predictor`."""
    from harmonygen.harmonization.load import DecodingMethod

    decoding = harmonizer if spec.detail == "decode" and isinstance(harmonizer, DecodingMethod) else None
    resolution = spec.resolution or harmonizer.resolution
    sizing = Sizing(resolution, harmonizer.multiple, spec.fit, "transfer", enlarge=spec.enlarge)

    def predict(loaded: Loaded) -> ImageU8:
        case = loaded.case
        photo = size_photo(case.as_pair(), loaded.composite, loaded.mask, sizing)
        seed, (height, width) = candidate_seed(spec.seed, case.name, 0), loaded.mask.shape
        if decoding is None:
            return harmonizer(photo, seed, spec.draws)
        return rules.decoded(decoding.picture(photo, seed, spec.draws)[1], (height, width))

    return predict


def _drop_features(harmonizer: Any, name: str) -> None:
    """Make a Harmony-VAE decode with zeros for what it reads from the photo: the ablation of its skips."""
    from torch import Tensor

    from harmonygen.models.harmony_vae import ConditionFeatures, HarmonyVAE

    vae = harmonizer.draw.model.vae if hasattr(harmonizer, "draw") else None
    if not isinstance(vae, HarmonyVAE):
        raise CheckpointError(f"method '{name}' has photo_features = false, but its model has no Harmony-VAE: drop it")
    read = vae.features

    def nothing(image_pm1: Tensor, mask: Tensor) -> ConditionFeatures:
        found: ConditionFeatures = read(image_pm1, mask)
        zeros = {field.name: _zero(getattr(found, field.name)) for field in fields(found)}
        return replace(found, **zeros)

    vae.features = nothing  # type: ignore[method-assign]


def _zero(value: Any) -> Any:
    return type(value)(map(_zero, value)) if isinstance(value, tuple | list) else value * 0
