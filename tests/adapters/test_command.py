"""A command as generator, judge and harmonizer: also one that hangs, dies, or writes the wrong."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from harmonygen.adapters.command import Tool, make_command_generator, make_command_harmonizer, make_command_judge
from harmonygen.errors import InputError, UsageError
from harmonygen.records import Candidate
from harmonygen.runs.read import Run
from harmonygen.synthesis.synthesize import synthesize
from tests.fakes.small_adapters import TOOL, write_command

HANGS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(60)
"""
DIES = "import sys; sys.exit('no memory left')"
WRONG_SIZE = TOOL.replace("image.point", "image.reduce(2).point")
WRITES_NOTHING = "pass"
NO_NUMBERS = "import pathlib, sys; (pathlib.Path(sys.argv[-1]) / 'scores.json').write_text('[\"a\"]')"


@pytest.fixture
def command(tmp_path):
    return lambda text: write_command(tmp_path, text)


def test_candidates_are_of_their_seeds(command, make_photo):
    generator = make_command_generator(command(TOOL), resolution=32)
    photo = make_photo(resolution=32, multiple=1)
    made = list(generator(photo, [Candidate("p", 0, 5), Candidate("p", 1, 6)]))
    alone = list(generator(photo, [Candidate("p", 1, 6)]))
    assert np.array_equal(made[1], alone[0])
    assert made[0].shape == photo.low_u8.shape
    full = next(make_command_generator(command(TOOL), full=True)(photo, [Candidate("p", 0, 5)]))
    assert full.shape == photo.image_u8.shape


def test_a_command_judges_and_harmonizes(command, make_photo):
    photo = make_photo(resolution=32, multiple=1)
    scores = make_command_judge(command(TOOL))([photo.image_u8, photo.image_u8 // 2], photo.mask)
    assert scores[0] > scores[1] > 0
    harmonized = make_command_harmonizer(command(TOOL), resolution=32)(photo, 3, draws=2)
    assert harmonized.shape == photo.low_u8.shape
    assert harmonized.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HANGS, "took over 1 s"),
        (DIES, "exit code 1 .* no memory left"),
        (WRONG_SIZE, r"out/0.png of \d+x\d+ for"),
        (WRITES_NOTHING, "wrote no out/0.png"),
    ],
)
def test_what_goes_wrong_is_said(command, make_photo, text, says):
    photo = make_photo(resolution=32, multiple=1)
    began = time.monotonic()
    with pytest.raises(InputError, match=says):
        list(make_command_generator(command(text), timeout=1 if text == HANGS else 30)(photo, [Candidate("p", 0, 5)]))
    assert time.monotonic() - began < 20


def running(words):
    """Return the processes whose command line holds the words."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += [number] if words.encode() in Path(f"/proc/{number}/cmdline").read_bytes() else []
    return found


def test_nothing_that_a_killed_command_started_is_left(command, make_photo, tmp_path):
    line = command(HANGS.replace('time.sleep(60)"]', f'time.sleep(60) # {tmp_path}"]'))
    with pytest.raises(InputError):
        list(make_command_generator(line, timeout=1)(make_photo(resolution=32, multiple=1), [Candidate("p", 0, 5)]))
    until = time.monotonic() + 5  # a killed process takes a moment to go
    while (left := running(str(tmp_path))) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []


def test_scores_that_are_no_numbers_are_said(command, make_photo):
    photo = make_photo(resolution=32, multiple=1)
    with pytest.raises(InputError, match="no list of numbers"):
        make_command_judge(command(NO_NUMBERS))([photo.image_u8], photo.mask)


def test_a_program_that_is_not_there_is_refused_before_anything_starts():
    for line in ("", "no-such-program-here --fast"):
        with pytest.raises(UsageError, match="a program that does not exist"):
            Tool(line, 1)


def test_a_script_that_changed_is_another_tool(command):
    before = Tool(command(TOOL), 1).digest
    assert Tool(command(TOOL + "\n"), 1).digest != before


@pytest.mark.slow
def test_a_run_quarantines_what_a_command_fails_on(command, settings_of):
    fails = 'if job.get("pair_id") == "p3_0":\n    sys.exit(3)\nif job["kind"]'
    text = TOOL.replace('if job["kind"]', fails)
    settings = settings_of(
        generator=f"command:{command(text)}", generator_settings={"resolution": 48}, k=2, max_bad_fraction=0.5
    )
    result = synthesize(settings)
    assert (result.summary["kept"], result.summary["quarantined"]) == (10, 1)
    (bad,) = Run.open(settings.out).quarantine()
    assert "exit code 3" in bad.message
    assert synthesize(settings).shards_run == 0
