"""Options are declared once, at their settings: names, help, defaults, and the commands that pages show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.main import get_command

import harmonygen_cli.from_settings
from harmonygen.settings import resolve
from harmonygen_cli.main import VERBS, door, verb_module

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from command_line import every_command, help_of, made_from_settings, option_names, parse, shown_commands

OLD = Path(__file__).with_name("options_of_8e9dc0b.txt")
MADE = made_from_settings()
HELP = {verb: help_of(verb) for verb in MADE}
OPTIONS = [pytest.param(verb, each, id=f"{verb}:{each.name}") for verb, made in MADE.items() for each in made.options]


def test_all_verbs_but_those_without_settings_are_made_from_them():
    assert set(VERBS) - set(MADE) == {"recipes", "doctor"}


# Names


def test_every_option_of_8e9dc0b_is_still_there():
    now = {verb: option_names(command) for verb, command in every_command().items()}
    then = {line.partition(":")[0]: set(line.partition(":")[2].split()) for line in OLD.read_text().splitlines()}
    assert {verb: names - now.get(verb, set()) for verb, names in then.items() if names - now.get(verb, set())} == {}


def test_every_plain_setting_is_an_option():
    """What is left to overrides is nested, a table, or given as an argument."""
    left = {verb: set(made.kind.model_fields) - {each.name for each in made.options} for verb, made in MADE.items()}
    assert {verb: sorted(names) for verb, names in left.items() if names} == {
        "inspect": ["data"],
        "synthesize": ["gates", "generator_settings", "judge_settings", "remote"],
        "score": ["judge_settings"],
        "check-plugin": ["plugin", "settings"],
        "select": ["gates"],
        "masks": ["photos", "segmenter_settings"],
        "export": ["run"],
        "build-human-harmony": ["gates", "generator_settings", "judge_settings", "product_rule"],
        "publish": ["folder"],
        "harmonize": ["image", "method_settings", "zero_shot"],
        "gain": ["candidates", "originals", "published", "rule", "small", "train"],
        "evaluate": ["methods", "published", "small"],
        "train": ["chain", "composites"],
    }


# Help and defaults


def block_of(verb: str, option) -> str:
    """Return what the help says of an option, on one line."""
    flag = option.spellings[0].split("/")[0]
    blocks = [" ".join(block.split()) for block in re.split(r"\n  (?=-)", HELP[verb])]
    (found,) = [block for block in blocks if re.match(rf"{flag}[ ,]", block)]
    return found


@pytest.mark.parametrize(("verb", "option"), OPTIONS)
def test_an_option_has_a_sentence_that_states_no_default(verb, option):
    sentence = option.about.description
    assert sentence in block_of(verb, option)
    assert len(sentence.split()) > 1
    assert sentence.endswith(".")
    assert not re.search(r"\bdefault|\banew\b|is told|goes on\b", sentence.lower()), sentence


@pytest.mark.parametrize(("verb", "option"), OPTIONS)
def test_the_default_that_help_shows_is_the_codes(verb, option):
    """Typed, it gives the value that the settings have without it; words stand only where there is no value."""
    field = MADE[verb].kind.model_fields[option.inside or option.name]
    default = option.about.get_default()
    printed = block_of(verb, option).partition(" [default: ")[2].removesuffix("]")
    if default in (None, "", ()) or (option.inside and (field.json_schema_extra or {}).get("unset")):
        assert printed
        return
    printed = printed.split("; ")[0] if verb == "train" else printed
    typed = printed.split(",") if isinstance(default, tuple) else printed
    read = read_as(MADE[verb], option, typed)
    assert read == pytest.approx(default, rel=1e-4) if isinstance(default, float) else read == default


def read_as(made, option, typed):
    """Return what the settings make of a typed value."""
    from pydantic import TypeAdapter

    return TypeAdapter(option.about.annotation).validate_python(typed)


def test_models_to_train_that_have_other_defaults_are_named():
    assert "[default: 128; harmony-vae: 256; refiner: 256; direct: 256]" in HELP["train"]


@pytest.mark.parametrize("verb", ["synthesize", "harmonize", "train inverse", "report"])
def test_help_builds_no_validators_and_no_settings_of_other_verbs(verb):
    code = (
        "import sys; from harmonygen_cli.main import run\n"
        f"assert run([*{verb.split()!r}, '--help']) == 0\n"
        "from harmonygen.settings import Settings\n"
        "every = [Settings]\n"
        "for kind in every: every += kind.__subclasses__()\n"
        "assert not [kind for kind in every[1:] if kind.__pydantic_complete__]\n"
        "print(sorted(name for name in sys.modules if name.endswith('.settings')), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    rooms = {"synthesize": "synthesis", "harmonize": "harmonization", "train inverse": "training", "report": "report"}
    assert done.stderr.strip() == str(sorted(["harmonygen.settings", f"harmonygen.{rooms[verb]}.settings"]))


# Commands that are shown


class UnderstoodError(Exception):
    """The settings are valid; nothing is to be done with them."""


@pytest.fixture
def understand(monkeypatch):
    """Parse a command and validate its settings, without doing what it says."""

    def only_resolve(kind, recipe, options, overrides):
        written_by_the_reader = recipe and (recipe.endswith(".toml") or recipe.isupper())
        raise UnderstoodError(resolve(kind, None if written_by_the_reader else recipe, options, overrides))

    monkeypatch.setattr(harmonygen_cli.from_settings, "resolve", only_resolve)

    def run(words):
        given = parse(["inverse" if word == "MODEL" else word for word in words])
        if words[0] in MADE:
            with pytest.raises(UnderstoodError):
                MADE[words[0]](**given)

    return run


@pytest.mark.parametrize(
    "words", [["--gamma", "0.5", "--gamma", "1,2"], ["--gamma", "0.5,1,2"], ["--gamma", "none", "--gamma", "0.5,1,2"]]
)
def test_a_list_that_is_repeated_goes_on(monkeypatch, words):
    found = {}
    monkeypatch.setattr(
        harmonygen_cli.from_settings, "resolve", lambda kind, recipe, options, overrides: found.update(options) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        MADE["gain"](**parse(["gain", *words]))
    assert found["gammas"] == ["0.5", "1", "2"]


SHOWN = shown_commands()


def test_the_pages_and_the_help_show_commands_of_every_verb():
    assert {words[0] for _, _, words in SHOWN} >= set(VERBS)
    assert len(SHOWN) > 100


@pytest.mark.parametrize(("where", "said", "words"), [pytest.param(*each, id=f"{each[0]}:{each[1]}") for each in SHOWN])
def test_a_command_that_is_shown_is_understood(understand, where, said, words):
    if len(words) == 1 and words[0] in VERBS:  # a verb that is only named
        assert verb_module(words[0])
    elif words[0].startswith("-"):  # an option of the program itself
        assert words[0] in {name for each in get_command(door([])).params for name in each.opts}
    else:
        understand(words)


@pytest.mark.parametrize(
    "words",
    [["synthesize", "--nonsense"], ["synthesize", "--fit", "round"], ["select"], ["train", "inverse", "stpes=3"]],
)
def test_commands_that_are_wrong_are_not_understood(understand, words):
    with pytest.raises((Exception, ValidationError), match=r"nonsense|round|run|stpes"):
        understand(words)
