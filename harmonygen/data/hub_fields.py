"""Fields of a dataset card that the Hub has lists for: licences, sizes and tasks; what a card states is made from them.

The lists are those of the Hub's documentation (its pages on licences and on dataset cards, and its table of tasks), as
of 2026: no package that installs here carries the licences and the tasks. ``datasets`` carries the sizes; a test
compares them.
"""

from __future__ import annotations

import re
from typing import Any

SIZES = (
    ("n<1K", 10**3),
    ("1K<n<10K", 10**4),
    ("10K<n<100K", 10**5),
    ("100K<n<1M", 10**6),
    ("1M<n<10M", 10**7),
    ("10M<n<100M", 10**8),
    ("100M<n<1B", 10**9),
    ("1B<n<10B", 10**10),
    ("10B<n<100B", 10**11),
    ("100B<n<1T", 10**12),
)
"""The Hub's buckets of ``size_categories``, each with the number of rows that is too much for it."""
LARGEST = "n>1T"

_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0
    grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0
    other pddl postgresql unknown unlicense wtfpl zlib
"""
LICENCES = frozenset(_LICENCES.split())
"""Identifiers that the Hub accepts as ``license``; it refuses a card with another one."""

_TASKS = """
    any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition biology
    depth-estimation document-question-answering feature-extraction fill-mask graph-ml image-classification
    image-feature-extraction image-segmentation image-text-to-image image-text-to-text image-text-to-video
    image-to-3d image-to-image image-to-text image-to-video keypoint-detection mask-generation multiple-choice
    object-detection other question-answering reinforcement-learning robotics sentence-similarity summarization
    table-question-answering table-to-text tabular-classification tabular-regression tabular-to-text
    text-classification text-generation text-ranking text-retrieval text-to-3d text-to-audio text-to-image
    text-to-speech text-to-video text2text-generation time-series-forecasting token-classification translation
    unconditional-image-generation video-classification video-text-to-text visual-document-retrieval
    visual-question-answering voice-activity-detection zero-shot-classification zero-shot-image-classification
    zero-shot-object-detection
"""
TASKS = frozenset(_TASKS.split())
"""The Hub's ``task_categories``; it warns of others."""

LICENCE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""How the Hub's documentation writes the ``license_name`` of a licence that is not among its own."""

_SHORT = {"cc0": "cc0-1.0"}


def size_category(rows: int) -> str:
    """Return the Hub's bucket for a number of rows, those of all configurations together.

    >>> size_category(999), size_category(1000), size_category(10**12)
    ('n<1K', '1K<n<10K', 'n>1T')
    """
    return next((name for name, above in SIZES if rows < above), LARGEST)


def licence_fields(stated: str | None) -> dict[str, Any]:
    """Return the fields of the card that state a licence: the Hub's own identifier where the words are one.

    >>> licence_fields("CC BY 4.0"), licence_fields(None)
    ({'license': 'cc-by-4.0'}, {'license': 'unknown'})
    >>> licence_fields("Ask the museum")
    {'license': 'other', 'license_name': 'ask-the-museum'}
    """
    text = " ".join((stated or "").split())
    if not text:
        return {"license": "unknown"}
    name = re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-.")
    known = _SHORT.get(name, name), re.sub(r"-licen[cs]e$", "", name)
    for each in known:
        if each in LICENCES - {"other"}:
            return {"license": each}
    link = {"license_link": text} if re.fullmatch(r"https?://\S+", text) else {}
    return {"license": "other", "license_name": name.replace("+", "-")[:96].strip("-.") or "as-stated", **link}
