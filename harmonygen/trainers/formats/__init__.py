"""One format per trainer; :data:`FORMATS` is the list."""

from __future__ import annotations

from harmonygen.augmentation.settings import Trainer
from harmonygen.trainers.formats import ai_toolkit, archives, diffsynth, diffusers, musubi_tuner, simpletuner
from harmonygen.trainers.formats.shape import Format

FORMATS: dict[Trainer, Format] = {
    "ai-toolkit": ai_toolkit.FORMAT,
    "musubi-tuner": musubi_tuner.FORMAT,
    "simpletuner": simpletuner.FORMAT,
    "diffsynth": diffsynth.FORMAT,
    "diffusers-instruct-pix2pix": diffusers.INSTRUCT_PIX2PIX,
    "diffusers-kontext": diffusers.KONTEXT,
    "diffusers-controlnet": diffusers.CONTROLNET,
    "imagefolder": diffusers.IMAGEFOLDER,
    "webdataset": archives.WEBDATASET,
    "zip-pairs": archives.ZIP_PAIRS,
}
