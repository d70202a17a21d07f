"""What `harmonize --method zero-shot` adds to a harmonization: its options, its memory, the trace beside each picture.

Beside ``<stem>.png`` lie ``<stem>.trace.json``, every score, word and decision, and ``<stem>.strip.jpg``, the
composite and all edits side by side in cells of one width.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import harmonygen
from harmonygen.harmonization.results import STRIP, TRACE, beside_path
from harmonygen.harmonization.settings import HarmonizeSettings, ZeroShotSettings
from harmonygen.harmonization.zeroshot.harmonizer import Harmonized, ZeroShotHarmonizer
from harmonygen.harmonization.zeroshot.loop import Iteration
from harmonygen.models.device import Device
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo, Sizing, model_size
from harmonygen.records import Pair

Say = Callable[[str], None]

_HEIGHT, _WIDEST, _STRIP_WIDTH = 256, 3, 65_000  # a cell's height, its width in heights; JPEG ends at 65,535 pixels


def faults(settings: HarmonizeSettings) -> dict[str, bool]:
    """Return what must not be asked of this method, or with another one: message -> whether it is."""
    if settings.method != "zero-shot":
        given = changed(settings.zero_shot)
        told = f"{', '.join(given)} of zero-shot with --method {settings.method}: drop them, or say --method zero-shot"
        return {told: bool(given)}
    steps, inversion = settings.steps, settings.zero_shot.inversion_steps
    both = steps is not None and "inversion_steps" in changed(settings.zero_shot) and steps != inversion
    return {
        "--draws averages random draws and --method zero-shot returns its best edit: drop it": (
            settings.draws is not None
        ),
        "--sampler is not for --method zero-shot, which samples by DDIM: drop it": settings.sampler is not None,
        "--refine goes with diffharmony and diffharmony++, not with zero-shot: drop it": settings.refine is not None,
        f"--steps {steps} and zero_shot.inversion_steps={inversion} are one number twice: drop one": both,
    }


def changed(settings: ZeroShotSettings) -> list[str]:
    """Return the names of the settings that are not at their default.

    >>> changed(ZeroShotSettings(iterations=3, low_memory=False))
    ['iterations']
    """
    defaults = ZeroShotSettings()
    return [name for name in type(settings).model_fields if getattr(settings, name) != getattr(defaults, name)]


def load_zero_shot(settings: HarmonizeSettings, pairs: Iterable[Pair], device: Device) -> ZeroShotHarmonizer:
    """Load the models of the method; ``--steps`` are the DDIM steps."""
    zero_shot = settings.zero_shot
    if settings.steps is not None:
        zero_shot = zero_shot.model_copy(update={"inversion_steps": settings.steps})
    return ZeroShotHarmonizer.from_pretrained(
        settings.model, device.name, device.dtype, zero_shot, settings.detail, pairs=pairs, seed=settings.seed
    )


def memory_told(harmonizer: ZeroShotHarmonizer, sizing: Sizing, size: tuple[int, int] | None = None) -> str:
    """Say how much memory an edit needs, of ``size`` (height, width) or, where sizes differ, of a square."""
    height, width = size or model_size(sizing.resolution, sizing.resolution, sizing)
    needs = harmonizer.editor.needs(height, width)
    parts = ", ".join(f"{name} {_gib(count)}" for name, count in needs.items() if name != "total")
    more = "" if size else "; wider pictures need more"
    return f"an edit at {width}x{height} needs about {_gib(needs['total'])} of memory ({parts}){more}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def harmonize_told(harmonizer: ZeroShotHarmonizer, photo: Photo, seed: int, say: Say | None) -> Harmonized:
    """Harmonize a composite and tell of each edit as it is judged."""

    def watch(edit: Iteration) -> None:
        if say:
            say(f"{photo.pair.pair_id}: {edit_told(edit)}")

    return harmonizer.harmonize(photo, seed, watch)


def edit_told(edit: Iteration) -> str:
    """Say about an edit what it was and what was decided."""
    words = " -> ".join(edit.description.prompts)
    decided = edit.verdict
    again = f" from edit {decided.start_from}" if decided.decision == "regenerate" else ""
    return f"edit {edit.number} ({words}): p_composite {edit.p_composite:.3f}, {decided.why}: {decided.decision}{again}"


def beside(made: Harmonized, pair: Pair, picture: Path) -> dict[str, bytes]:
    """Return what is written beside a picture: content by suffix."""
    trace = {"harmonygen": harmonygen.__version__, "pair_id": pair.pair_id, "picture": picture.name}
    text = json.dumps({**trace, **made.trace.to_json()}, indent=1, ensure_ascii=False)
    return {STRIP: strip(made.pictures_u8), TRACE: f"{text}\n".encode()}


def strip(pictures_u8: Sequence[ImageU8]) -> bytes:
    """Return (h, w, 3) pictures of one size side by side, as a JPEG of cells of one width."""
    height, width = pictures_u8[0].shape[:2]
    scale = min(1.0, _HEIGHT / height, _WIDEST * _HEIGHT / width, _STRIP_WIDTH / (width * len(pictures_u8)))
    cell = max(1, int(width * scale)), max(1, int(height * scale))
    drawn = Image.new("RGB", (cell[0] * len(pictures_u8), cell[1]))
    for index, picture in enumerate(pictures_u8):
        drawn.paste(Image.fromarray(picture).resize(cell, Image.Resampling.LANCZOS), (index * cell[0], 0))
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def summarised(pictures: Iterable[Path]) -> dict[str, Any]:
    """Sum up the traces beside pictures: edits, how many composites got better, mean scores before and after."""
    traces = [json.loads(beside_path(picture, TRACE).read_text(encoding="utf-8")) for picture in pictures]
    if not traces:
        return {"edits": 0, "improved": 0, "p_composite": {"composite": None, "returned": None}}
    means = {
        name: round(sum(trace[key] for trace in traces) / len(traces), 6)
        for name, key in (("composite", "p_composite"), ("returned", "best_p_composite"))
    }
    return {
        "edits": sum(len(trace["iterations"]) for trace in traces),
        "improved": sum(trace["improved"] for trace in traces),
        "p_composite": means,
    }
