"""The four doors, and how what stands behind them is found.

Nothing of a plug-in is imported here, and the packages' entry points are read only if a name is not a built-in one, so
that ``--help`` does not wait for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath

from harmonygen.errors import UsageError, listed
from harmonygen.recipes import nearest

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Door:
    """One kind of plug-in: what it is called, the group of its entry points, and those that come with harmonygen.

    ``calls`` are the parameters that it is called with; ``built_in`` says where each of ours is, as
    ``module:attribute``; ``own`` are those of them that keep the guarantees themselves and are not wrapped.
    """

    kind: str
    group: str
    option: str
    calls: tuple[str, ...]
    built_in: Mapping[str, str]
    own: frozenset[str]


_GENERATORS = "harmonygen.synthesis.generators"
_METHODS = "harmonygen.harmonization"
_ADAPTERS = "harmonygen.adapters"
_SEGMENTATION = "harmonygen.segmentation"

GENERATORS = Door(
    "generator",
    "harmonygen.generators",
    "--generator",
    ("photo", "candidates"),
    {
        "diffusion": f"{_GENERATORS}.diffusion:make_diffusion",
        "parametric": f"{_GENERATORS}.parametric:make_parametric",
        "color-transfer": f"{_GENERATORS}.color_transfer:make_color_transfer",
        "color-jitter": f"{_GENERATORS}.color_jitter:ColorJitterGenerator",
        "lut": f"{_GENERATORS}.lut:make_lut",
        "pipeline": f"{_ADAPTERS}.pipeline:make_pipeline_generator",
        "onnx": f"{_ADAPTERS}.onnx_file:make_onnx_generator",
        "command": f"{_ADAPTERS}.command:make_command_generator",
    },
    frozenset({"diffusion", "parametric", "color-transfer", "color-jitter", "lut"}),
)
JUDGES = Door(
    "judge",
    "harmonygen.judges",
    "--judge",
    ("composites", "mask"),
    {
        "classifier": "harmonygen.models.classifier_judge:make_classifier",
        "language-model": f"{_ADAPTERS}.language_judge:make_language_judge",
        "onnx": f"{_ADAPTERS}.onnx_file:make_onnx_judge",
        "command": f"{_ADAPTERS}.command:make_command_judge",
    },
    frozenset({"classifier"}),
)
HARMONIZERS = Door(
    "harmonizer",
    "harmonygen.harmonizers",
    "--method",
    ("photo", "seed", "draws"),
    {
        "parametric": f"{_METHODS}.parametric:make_parametric_harmonizer",
        "direct": f"{_METHODS}.direct:make_direct",
        "diffharmony": f"{_METHODS}.diffusion:make_diffharmony",
        "diffharmony++": f"{_METHODS}.diffusion:make_diffharmony_pp",
        "zero-shot": f"{_METHODS}.load:refuse_zero_shot",
        "pipeline": f"{_ADAPTERS}.pipeline:make_pipeline_harmonizer",
        "bridge": f"{_ADAPTERS}.bridge:make_bridge",
        "onnx": f"{_ADAPTERS}.onnx_file:make_onnx_harmonizer",
        "command": f"{_ADAPTERS}.command:make_command_harmonizer",
    },
    frozenset({"parametric", "direct", "diffharmony", "diffharmony++", "zero-shot"}),
)
SEGMENTERS = Door(
    "segmenter",
    "harmonygen.segmenters",
    "--segmenter",
    ("image",),
    {
        "selfie": f"{_SEGMENTATION}.people:make_person_finder",
        "deeplabv3": f"{_SEGMENTATION}.torchvision_people:make_deeplabv3",
        "lraspp": f"{_SEGMENTATION}.torchvision_people:make_lraspp",
        "maskrcnn": f"{_SEGMENTATION}.torchvision_people:make_maskrcnn",
        "onnx": f"{_SEGMENTATION}.onnx:make_onnx",
    },
    frozenset({"selfie", "deeplabv3", "lraspp", "maskrcnn", "onnx"}),
)
DOORS = (GENERATORS, JUDGES, HARMONIZERS, SEGMENTERS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plug-in is: its ``target`` (``module:attribute``), its short ``name``, and the package that offers it.

    ``argument`` is what follows the name in ``name:argument``, the value of the plug-in's first setting. ``package`` is
    ``name version`` of the distribution, empty for a module that is named directly.
    """

    door: Door
    spec: str
    name: str
    target: str
    argument: str | None = None
    package: str = ""

    @property
    def told(self) -> str:
        """What messages call it: the kind of plug-in and what was typed."""
        return f"{self.door.kind} '{self.spec}'"

    @property
    def is_named_directly(self) -> bool:
        """Whether it was typed as ``module:attribute``, which may be in the folder that the command runs in."""
        return self.spec == self.target

    @property
    def is_own(self) -> bool:
        """Whether it is one of ours that keeps the guarantees itself."""
        return self.name in self.door.own and self.target == self.door.built_in[self.name]


def find_plugin(door: Door, spec: str) -> Place:
    """Return where a plug-in is; it is not imported.

    ``spec`` is a built-in name, the name of an installed package's entry point, ``name:argument`` of either, or
    ``module:attribute``.

    Raises:
        UsageError: nothing is called so, or two packages offer the name.

    >>> find_plugin(GENERATORS, "lut").target
    'harmonygen.synthesis.generators.lut:make_lut'
    >>> find_plugin(GENERATORS, "my_package.light:Warm").name
    'light'
    """
    name, colon, argument = spec.partition(":")
    given = argument if colon else None
    if name in door.built_in:
        return Place(door, spec, name, door.built_in[name], given)
    if offered := _offered(door.group).get(name):
        return _of_package(door, spec, name, given, offered)
    if not _TARGET.fullmatch(spec):
        known = plugin_names(door)
        raise UsageError(
            f"{door.kind} '{spec}' is not known{nearest(name, known)}: choose {', '.join(known)}, or name your own as "
            f"module:attribute (docs/plugins/README.md)"
        )
    return Place(door, spec, name.rpartition(".")[2], spec)


def is_plugin(door: Door, spec: str) -> bool:
    """Return whether a text names a plug-in, known or as ``module:attribute``; nothing is imported."""
    name = spec.partition(":")[0]
    return name in door.built_in or bool(_TARGET.fullmatch(spec)) or name in _offered(door.group)


def plugin_names(door: Door) -> list[str]:
    """Return the names that can be typed at a door: the built-in ones, then those of installed packages."""
    return [*door.built_in, *sorted(_offered(door.group).keys() - door.built_in.keys())]


def shown_spec(spec: str) -> str:
    """Return a spec as rows and cards say it: of what follows a name, the last part of its path, without arguments.

    >>> shown_spec("onnx:/home/me/light.onnx"), shown_spec("command:bin/tool --key 1"), shown_spec("mine.light:Warm")
    ('onnx:light.onnx', 'command:tool', 'mine.light:Warm')
    """
    name, colon, argument = spec.partition(":")
    words = argument.split()
    if not colon or not words or argument.startswith("//"):
        return spec
    return f"{name}:{PurePath(words[0]).name}"


def _of_package(door: Door, spec: str, name: str, argument: str | None, offered: list[EntryPoint]) -> Place:
    targets = {point.value for point in offered}
    if len(targets) > 1:
        raise UsageError(
            f"{door.kind} '{name}' is offered by several packages ({listed(sorted(map(_package, offered)))}): "
            f"name the one you mean as module:attribute ({' or '.join(sorted(targets))})"
        )
    return Place(door, spec, name, offered[0].value, argument, _package(offered[0]))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else ""


@cache
def _offered(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a group by name; a package that is on the path twice counts once."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found
