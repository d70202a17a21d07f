"""A classifier's folder as a judge of :mod:`harmonygen.plugins`, computed by torch or by another runtime."""

from __future__ import annotations

from typing import Annotated

from harmonygen.models.agreement import run_scorer
from harmonygen.models.device import Device
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.settings import HOW
from harmonygen.settings import Classifier as ClassifierName


def make_classifier(device: Device, model: Annotated[ClassifierName, HOW] = "starter") -> ClassifierScorer:
    """Load a classifier's folder as a judge, computed by the device's runtime; its digest is that of its weights."""
    scorer = ClassifierScorer.from_pretrained(model, device.name, device.dtype)
    if device.runtime:
        run_scorer(scorer, device.runtime)
    return scorer
