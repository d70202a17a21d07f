"""A message names only options that the verb has, and nothing that a message holds can steer a terminal."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import typer

import harmonygen
from harmonygen.errors import InputError, printable, told
from harmonygen.pictures.images import Decoded
from harmonygen.pictures.masks import fit_mask
from harmonygen_cli.main import VERBS, verb_module

ROOT = Path(harmonygen.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+[a-z]")
ROOMS = {
    "augmentation": ("augment", "export"),
    "conformance": ("check-plugin",),
    "evaluation": ("evaluate",),
    "gain": ("gain",),
    "harmonization": ("harmonize",),
    "human_harmony": ("build-human-harmony",),
    "publishing": ("publish",),
    "report": ("report",),
    "segmentation": ("masks",),
    "synthesis": ("synthesize", "select", "score", "build-human-harmony"),
    "training": ("train",),
}
"""Rooms of a verb, or of several: an option that a message there names must be one of theirs."""
READERS = ("synthesize", "harmonize", "evaluate", "gain", "train", "build-human-harmony")
SHARED = {"--allow-outside": READERS}
"""Options that messages of the shared rooms name, and the verbs that reach these messages."""


def options_of(verb):
    module = verb_module(verb)
    if hasattr(module, "app"):
        app, names = module.app, []
    else:
        app, names = typer.Typer(add_completion=False), []
        app.command(verb)(getattr(module, verb.replace("-", "_")))
    command = typer.main.get_command(app)
    for each in getattr(command, "commands", {"": command}).values():
        names += [option for parameter in each.params for option in (*parameter.opts, *parameter.secondary_opts)]
    return set(names)


def named_in_errors(folder, options):
    """Return the options that texts of ``raise`` statements in a folder name, with where they stand.

    Those of a verb that the same text names, as in "synthesize with --k 10", are that verb's.
    """
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                text = " ".join(str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant))
                of_others = set().union(*(options[verb] for verb in VERBS if re.search(rf"\b{verb}\b", text)))
                for option in set(OPTION.findall(text)) - of_others:
                    found.setdefault(option, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


@pytest.fixture(scope="module")
def options():
    return {verb: options_of(verb) for verb in VERBS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_s_errors_name_options_of_its_verbs(room, options):
    known = set().union(*(options[verb] for verb in ROOMS[room])) | {"--out", "--data"}
    assert {
        option: where for option, where in named_in_errors(ROOT / room, options).items() if option not in known
    } == {}


@pytest.mark.parametrize("room", ["pictures", "data", "storage"])
def test_errors_of_shared_rooms_name_options_of_every_verb_that_reads_photos(room, options):
    for option, where in named_in_errors(ROOT / room, options).items():
        lacking = [verb for verb in SHARED.get(option, READERS) if option not in options[verb]]
        if option in ("--data", "--out", "--shard-size", "--part", "--link", "--composites", "--masks"):
            continue  # of the one verb whose files these are
        assert not lacking, f"{where} names {option}, which {lacking} lack"


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x1b]0;title\x07b", "\x9b31m", "‮txt.exe", "a\rb", "caf\udce9"])
def test_control_characters_are_written_as_escapes(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8")


def test_what_another_library_advises_is_not_repeated():
    torch_says = "Weights only load failed. Re-running `torch.load` with `weights_only=False` will succeed.\nmore"
    assert told(ValueError(torch_says)) == "Weights only load failed"
    assert told(ValueError("")) == "ValueError"
    assert told(RuntimeError("Error(s) in loading state_dict for Net:\n\tMissing key(s)")).endswith("Missing key(s)")
    assert len(told(ValueError("x" * 5000))) < 200


@pytest.mark.parametrize(("allowed", "said"), [(None, "at that size$"), ("refuse", "--mask-resize nearest$")])
def test_a_verb_without_an_option_to_resize_masks_is_not_told_of_one(allowed, said):
    photo = Decoded(np.zeros((4, 4, 3), np.uint8), (4, 4), 1)
    with pytest.raises(InputError, match=said):
        fit_mask(np.ones((2, 2), bool), photo, "m", allowed)
