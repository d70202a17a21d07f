"""Progress by pair, the version, completion, and `python -m harmonygen`."""

from __future__ import annotations

import json
import runpy
import sys

import pytest

from harmonygen import __version__
from harmonygen_cli import console
from harmonygen_cli.console import BYTES, Lines, Reporter, clock
from harmonygen_cli.main import COMPLETING, run


@pytest.fixture
def at(monkeypatch):
    """Set the seconds that have passed."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def pass_to(seconds: float) -> None:
        now[0] = 100.0 + seconds

    return pass_to


def test_lines_come_at_once_then_after_a_second_then_every_five(at, capsys):
    advance = Lines("synthesize", "pairs")
    for second in (0, 0.5, 1.5, 3, 6, 7, 12):
        at(second)
        advance(int(second * 2), 200)
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(" pairs, ")[0] for line in printed] == [f"synthesize: {n}/200" for n in (0, 3, 14, 24)]
    assert printed[0] == "synthesize: 0/200 pairs, 0:00 elapsed"
    assert printed[1] == "synthesize: 3/200 pairs, 0:02 elapsed, 2/s, 1:38 left"


def test_the_last_line_is_always_printed_and_work_done_before_counts_for_no_speed(at, capsys):
    at(30)
    advance = Lines("x", "")
    at(90)
    advance(50, 60)
    at(95)
    advance(60, 60)
    assert capsys.readouterr().err.splitlines() == [
        "x: 50/60, 1:00 elapsed",
        "x: 60/60, 1:05 elapsed, 2/s, 0:00 left",
    ]


def test_clock_and_quiet(capsys):
    assert clock(3725) == "1:02:05"
    with Reporter(quiet=True).progress("x") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


def test_synthesize_tells_of_every_pair(photo_folder, tiny_classifier, tmp_path):
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    (photo_folder / "images" / "coffee.png").write_bytes(b"no picture")
    settings = SynthesizeSettings(
        data=str(photo_folder),
        generator="color-jitter",
        classifier=str(tiny_classifier),
        out=tmp_path / "run",
        k=1,
        max_bad_fraction=1,
    )
    steps, told = [], []
    synthesize(settings, progress=lambda done, total: steps.append((done, total)), say=told.append)
    assert steps[0] == (0, 3)
    assert steps[-1] == (3, 3)
    assert {done for done, _ in steps} >= {0, 1, 3}
    assert told[0].startswith("folders: 3 pairs; masks two-valued")
    assert "1 input cannot be used" in told[0]


def test_bytes_are_told_in_megabytes(at, capsys):
    advance = Lines("send", BYTES)
    at(0)
    advance(8_823, 12_137_971)
    at(2)
    advance(12_137_971, 12_137_971)
    assert capsys.readouterr().err.splitlines() == [
        "send: 8.8 kB/12.1 MB, 0:00 elapsed",
        "send: 12.1 MB/12.1 MB, 0:02 elapsed, 6.1 MB/s, 0:00 left",
    ]


def test_version_alone(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"harmonygen {__version__}\n"


def test_python_m_harmonygen_is_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["harmonygen", "--version"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("harmonygen", run_name="__main__")
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "found"),
    [("syn", {"synthesize"}), ("inspect --sam", {"--sample"}), ("recipes c", {"cat", "cp"})],
)
def test_a_shell_is_told_verbs_and_options(capsys, monkeypatch, typed, found):
    words = f"harmonygen {typed}"
    monkeypatch.setenv(COMPLETING, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run([]) == 0
    assert set(capsys.readouterr().out.split()) == found


def test_completion_is_offered(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("--install-completion", "--show-completion", "--version"))


def test_inspect_with_json_keeps_stdout_clean(photo_folder, capsys):
    assert run(["inspect", str(photo_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 3
