import json
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen import __version__
from harmonygen_cli.main import VERBS, dashed, run, spelled_out, verb_module


def verbs():
    """Every command as it is typed: `augment`, `recipes ls` ..."""
    for verb in VERBS:
        module = verb_module(verb)
        inner = module.app.registered_commands if hasattr(module, "app") else [None]
        yield from (f"{verb} {command.name}" if command else verb for command in inner)


COMMANDS = sorted(verbs())
HEAVY = ("torch", "torchvision", "datasets", "diffusers", "transformers", "pandas", "matplotlib", "skimage", "scipy")
HEAVY += ("numpy", "PIL", "pyarrow", "rich", "jinja2", "huggingface_hub", "safetensors", "fsspec", "ray", "starlette")


@pytest.fixture
def arguments(photo_folder, tiny_classifier, tmp_path):
    return [
        *("synthesize", "--data", str(photo_folder), "--generator", "color-jitter", "--k", "2"),
        *("--classifier", str(tiny_classifier), "--out", str(tmp_path / "run")),
    ]


@pytest.fixture
def broken(monkeypatch):
    """Make every synthesize run raise."""
    import harmonygen.synthesis.synthesize as workflow

    def breaks(error):
        def raising(*_args, **_options):
            raise error

        monkeypatch.setattr(workflow, "read_pairs", raising)

    return breaks


# Help


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help_with_a_worked_example(capsys, verb):
    assert run([*verb.split(), "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Example" in said
    assert f"harmonygen {verb}" in said


def test_help_of_every_verb_imports_nothing_heavy():
    """A fresh process for them all: one verb's import would be seen in the next one's."""
    code = (
        "import sys; from harmonygen_cli.main import run\n"
        f"for words in {[['--help'], ['recipes', 'ls'], *([*verb.split(), '--help'] for verb in COMMANDS)]!r}:\n"
        "    assert run(words) == 0, words\n"
        f"    found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert not found, (words, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.parametrize(
    ("words", "most"), [("--help", 200), ("quickstart --help", 340), ("synthesize --help", 340), ("recipes ls", 330)]
)
def test_help_imports_few_modules(words, most):
    """It takes 160 modules for the list of verbs and 290 for one verb's help: half of them typer's and pydantic's."""
    code = (
        f"import sys; from harmonygen_cli.main import run\nrun({words.split()!r})\n"
        "sys.stderr.write(str(len(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stderr) <= most


def test_no_verb_at_all_shows_the_help_and_is_wrong_use(capsys):
    assert run([]) == 2
    assert "synthesize" in "".join(capsys.readouterr())


# Spellings


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--shard_size", "--shard-size"),
        ("--shard_size=4", "--shard-size=4"),
        ("--out=a_b", "--out=a_b"),
        ("max_side=4", "max_side=4"),
        ("a_b", "a_b"),
        ("-k_x", "-k_x"),
    ],
)
def test_underscores_are_dashes_in_options_alone(typed, read):
    assert dashed([typed]) == [read]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["--person"], ["--person=selfie"]),
        (["--person", "--k", "3"], ["--person=selfie", "--k", "3"]),
        (["--person", "k=3"], ["--person=selfie", "k=3"]),
        (["--person", "gates.max_fmse=9"], ["--person=selfie", "gates.max_fmse=9"]),
        (["--person", "maskrcnn"], ["--person", "maskrcnn"]),
        (["--person", "my_module:find"], ["--person", "my_module:find"]),
        (["--person=none"], ["--person=none"]),
        ([], []),
    ],
)
def test_an_option_that_may_stand_alone_gets_its_value(typed, read):
    assert spelled_out(["build-human-harmony", *typed]) == ["build-human-harmony", *read]
    assert spelled_out(["masks", "--person", *typed])[:2] == ["masks", "--person"]


@pytest.mark.parametrize("words", [["--shard_size", "2"], ["--shard_size=2"], ["--shard-size", "2"], ["shard_size=2"]])
def test_all_spellings_set_the_same_thing(arguments, capsys, words):
    assert run([*arguments, *words, "--dry_run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == 2


# What goes where


def test_json_is_the_only_thing_on_stdout(arguments, capsys, tmp_path):
    assert run([*arguments, "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["summary"]["candidates"] == 6
    assert result["summary"]["versions"]["harmonygen"] == __version__
    assert "candidates" in said.err
    assert str(tmp_path / "run" / "report.html") in said.err


def test_without_json_nothing_is_on_stdout_and_quiet_says_nothing(arguments, capsys):
    assert run([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "already complete: nothing was written" in said.err


def failure(words, capsys):
    """Run with --json; return the exit code, the object on stdout and what stderr says."""
    code = run([*words, "--json"])
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["exit_code"] == code
    return code, result["error"], said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["--shrad-size", "3"], "No such option: --shrad-size"),
        (["--k", "many"], "Invalid value for '--k'"),
        (["--k", "0"], "k: Input should be greater than or equal to 1, found 0"),
        (["kk=3", "stpes=3"], "'stpes' (did you mean 'steps'?)"),
        (["gates.min_fsme=3"], "'gates.min_fsme' (did you mean 'min_fmse'?)"),
        (["--fit", "round"], "'native' or 'square', found 'round'"),
        (["--recipe", "nosuch"], "recipe 'nosuch' is not known"),
        (["--keep", "3"], "--keep"),
        (["--part", "2/2"], "--part is '2/2'"),
        (["--engine", "cloud"], "'local' or 'ray', found 'cloud'"),
        (["--device", "tpu"], "--device tpu is not available here"),
        (["--data", "nowhere"], "'nowhere' is not there"),
    ],
)
def test_wrong_use_exits_2_says_what_and_writes_nothing(arguments, capsys, tmp_path, words, told):
    code, error, said = failure([*arguments, *words], capsys)
    assert code == 2
    assert told in error
    assert told in said or told.split(":")[0] in said
    assert not (tmp_path / "run").exists()


def test_the_message_is_whole_however_narrow_the_terminal(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert run([*arguments, "stpes=3"]) == 2
    assert "error: settings: unknown key 'stpes' (did you mean 'steps'?)" in capsys.readouterr().err


def test_an_unknown_verb_is_wrong_use(capsys):
    assert run(["sinthesize"]) == 2
    assert "No such command 'sinthesize'. Did you mean 'synthesize'?" in capsys.readouterr().err


def test_a_bug_exits_1_with_its_traceback_and_says_that_it_is_one(arguments, capsys, broken):
    broken(ZeroDivisionError("division by zero"))
    code, error, said = failure(arguments, capsys)
    assert (code, error) == (1, "ZeroDivisionError: division by zero: this is a bug, please report it")
    assert "Traceback" in said


def test_the_keyboard_exits_130(arguments, capsys, broken):
    broken(KeyboardInterrupt())
    code, error, said = failure(arguments, capsys)
    assert (code, error) == (130, "stopped by the keyboard: rerun the same command to resume")
    assert "Traceback" not in said


def test_a_full_disk_met_anywhere_exits_4(arguments, capsys, broken):
    broken(OSError(28, "No space left on device", "/data/x"))
    code, error, _ = failure(arguments, capsys)
    assert code == 4
    assert error == "No space left on device '/data/x': free space or fix permissions, then repeat the command"


def test_a_closed_pipe_is_no_bug(arguments, broken):
    broken(BrokenPipeError(32, "Broken pipe"))
    assert run(arguments) == 4


# Recipes


def test_recipes_are_listed_printed_copied_and_checked(capsys, tmp_path):
    assert run(["recipes", "ls", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["recipes"]
    assert names
    copy = tmp_path / "mine.toml"
    assert run(["recipes", "cp", names[0], str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"recipe": names[0], "copy": str(copy)}
    assert run(["recipes", "cat", names[0]]) == 0
    assert capsys.readouterr().out == copy.read_text()
    assert run(["recipes", "validate", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid_for"]
    assert failure(["recipes", "cp", names[0], str(copy)], capsys)[0] == 2


# Signals


def test_sigterm_exits_143_and_the_same_command_finishes(tiny_classifier, tmp_path, capsys):
    data, out = tmp_path / "many", tmp_path / "run"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    for number in range(8):
        Image.fromarray(rng.integers(60, 190, (64, 64, 3), dtype=np.uint8)).save(data / "images" / f"p{number:02d}.png")
        Image.fromarray(mask).save(data / "masks" / f"p{number:02d}.png")
    words = [
        "synthesize",
        "--data",
        str(data),
        "--generator",
        "color-jitter",
        "--k",
        "10",
        "--shard-size",
        "1",
        "--json",
    ]
    words += ["--classifier", str(tiny_classifier), "--out", str(out)]
    code = f"import sys; from harmonygen_cli.main import main; sys.argv[1:] = {words!r}; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((out / "candidates").glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 143, stderr[-1000:]
    assert json.loads(stdout)["error"] == "stopped by SIGTERM: rerun the same command to resume"
    assert "Traceback" not in stderr
    kept = {path: path.stat().st_mtime_ns for path in (out / "candidates").glob("part-*")}
    assert 1 <= len(kept) < 8
    assert not (out / "summary.json").exists()
    assert run(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["shards_run"], result["summary"]["candidates"]) == (8 - len(kept), 8 * 10)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    rows = pq.read_table(out / "candidates", columns=["pair_id", "k"]).to_pylist()
    assert len({(row["pair_id"], row["k"]) for row in rows}) == len(rows) == 8 * 10
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_arrives_in_a_destructor_ends_the_command_too(sent, code):
    """Python drops what is raised in a ``__del__``, the signal's exception too: the command went on to its end."""
    verb = f"""
import os, signal, time
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.{sent})
        time.sleep(0.01)
def doctor():
    Held()
    time.sleep(20)
"""
    program = f"""
import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
verb = types.ModuleType("harmonygen_cli.doctor")
exec({verb!r}, verb.__dict__)
sys.modules["harmonygen_cli.doctor"] = verb
sys.argv[1:] = ["doctor"]
from harmonygen_cli.main import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15)
    assert ended.returncode == code, ended.stderr
    assert "stopped by" in ended.stderr
    assert "Traceback" not in ended.stderr
