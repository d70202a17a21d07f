"""Released weights -> checkpoint folders that the rest of harmonygen loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmonygen.errors import UsageError
from harmonygen.models.checkpoints import writing_errors
from harmonygen.models.classifier import Label
from harmonygen.models.foreign import Foreign, read_foreign
from harmonygen.models.importing import import_classifier, import_denoiser, import_harmony_vae, import_refiner
from harmonygen.models.settings import ImportSettings, Kind
from harmonygen.storage.shards import make_folder, storage_errors, whole_folder

_PARTS = {"denoiser": "unet", "harmony-vae": "vae"}
_LABELS: dict[str, tuple[Label, Label]] = {
    "composite-last": ("real", "composite"),
    "composite-first": ("composite", "real"),
}
_NEEDS = {
    "direction": "forward (composite in) or inverse (real photo in): weights do not tell which",
    "labels": "composite-last if output 1 means composite, composite-first if output 0 does: projects differ",
}


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was written: the folder, the network's size, and where the weights came from."""

    folder: Path
    kind: str
    parameters: int
    dtype: str
    source: Path
    sha256: str


def import_weights(settings: ImportSettings) -> ImportResult:
    """Write the checkpoint folder ``out``, which appears whole or not at all.

    Raises:
        UsageError: an option that this kind needs is missing or is not for it, or ``out`` exists.
        CheckpointError: the weights are of another kind, channels or names, or pickled code.
        StorageError: ``out`` cannot be written.
    """
    source, kind, out = _required(settings)
    if out.exists():
        raise UsageError(f"'{out}' exists already: remove it, or choose another --out")
    weights = read_foreign(source, kind, _PARTS.get(kind, ""))
    make_folder(out.parent)
    with storage_errors(f"checkpoint '{out}'"), writing_errors(), whole_folder(out) as temporary:
        parameters = _write(settings, weights, source, temporary)
    dtype = str(weights.dtype).removeprefix("torch.")
    return ImportResult(out, kind, parameters, dtype, weights.path, weights.digest)


def _required(settings: ImportSettings) -> tuple[Path, Kind, Path]:
    """Return the options that every kind needs, and check those that only some take."""
    if settings.source is None or settings.kind is None or settings.out is None:
        absent = [option for option, name in _ALWAYS.items() if getattr(settings, name) is None]
        raise UsageError(f"{' and '.join(absent)} must be given: see 'harmonygen import-weights --help'")
    denoiser, classifier = settings.kind == "denoiser", settings.kind == "classifier"
    directed = denoiser or settings.kind == "harmony-vae"
    for name, wanted in (("direction", directed), ("labels", classifier)):
        if wanted and getattr(settings, name) is None:
            raise UsageError(f"a {settings.kind} needs --{name}: {_NEEDS[name]}")
    taken = {"direction": directed, "labels": classifier, "base": denoiser, "vae": denoiser, "null_embedding": denoiser}
    for name, wanted in taken.items():
        if not wanted and getattr(settings, name):
            raise UsageError(f"--{name.replace('_', '-')} is not for a {settings.kind}: leave it out")
    return settings.source, settings.kind, settings.out


_ALWAYS = {"--from": "source", "--kind": "kind", "--out": "out"}


def _write(settings: ImportSettings, weights: Foreign, source: Path, out: Path) -> int:
    if settings.kind == "refiner":
        return import_refiner(weights, out)
    if settings.labels is not None:
        return import_classifier(weights, _LABELS[settings.labels], settings.input_size, settings.mask_offset, out)
    assert settings.direction is not None  # _required has seen to it
    if settings.kind == "harmony-vae":
        return import_harmony_vae(weights, settings.direction, out)
    base = _base(settings, source)
    return import_denoiser(weights, settings.direction, base, settings.vae or base, settings.null_embedding, out)


def _base(settings: ImportSettings, source: Path) -> Path:
    """Return the folder that gives what UNet weights lack: ``--base``, or the source if it is a whole folder."""
    base = settings.base or source
    parts = ["scheduler", *([] if settings.vae else ["vae"])]
    absent = [part for part in parts if not (base / part).is_dir()]
    if absent:
        missing = " or ".join(f"{part}/" for part in absent)
        given = f"'{base}' has no {missing}" if settings.base else f"UNet weights come without {missing}"
        raise UsageError(
            f"{given}: give --base, the Stable Diffusion folder that the UNet was trained from "
            "(scheduler, vae, tokenizer, text_encoder)"
        )
    return base
