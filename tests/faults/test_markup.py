"""What is printed is printed as it is: names in square brackets are no markup, in tables, titles, lines and errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from faults import samples
from rich.errors import MarkupError
from rich.text import Text
from small import JITTER, LOOSE, End, command, copied, done, names_of, picture, some, tree

NAMES = ("run[/v2]", "[red]run", "run[bold]", "a[link=x]b", "[/]", "[0]", "run\\[x]")
"""Folders that Rich would style, swallow or stumble over; the first and the fifth are two folders."""
BUILD = ("build-human-harmony", "--product-filter", "none", "--test-fraction", 0, *JITTER, *LOOSE)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def said(end: End, text: str) -> bool:
    """Tell whether a command said a text on stderr, wherever it was wrapped."""
    return "".join(text.split()) in end.close


def named(end: End, path: Path) -> bool:
    """Tell whether a command named a path on stderr, each time as it is."""
    styled = swallowed(str(path))
    rest = end.close.replace(str(path), "")
    return said(end, str(path)) and (styled in ("", str(path)) or styled not in rest)


def swallowed(text: str) -> str:
    """Return what is left of a text that is read as markup, nothing of one that cannot be."""
    try:
        return Text.from_markup(text).plain
    except MarkupError:
        return ""


def test_doctor_says_how_to_install_what_is_missing(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    end = done("doctor")
    assert said(end, "pip install 'harmonygen[ray]'")
    told = [finding["detail"] for finding in done("doctor", "--json", "--quiet").json["findings"]]
    for detail in told:
        assert said(end, detail)


@pytest.mark.parametrize("name", some(NAMES, 3))
def test_synthesize_and_select_name_the_folder(name, made, tmp_path):
    out = tmp_path / name
    end = done("synthesize", "--data", made / "photos", *JITTER, *LOOSE, "--limit", 1, "--out", out)
    assert named(end, out)
    assert named(done("select", out, "--rule", "random"), out)
    assert named(done("report", out), out)


@pytest.mark.parametrize("name", some(NAMES, 3))
def test_export_and_augment_name_the_folder(name, made_tree, tmp_path):
    out = tmp_path / "exported" / name
    assert named(done("export", made_tree / "run", "--out", out), out)
    out = tmp_path / "augmented" / name
    end = done("augment", "--data", made_tree / "tree", "--candidates", made_tree / "run", "--out", out)
    assert named(end, out)


@pytest.mark.parametrize("name", some(NAMES[:3], 1))
def test_harmonize_names_the_folder(name, made, direct_model, tmp_path):
    out = tmp_path / name
    words = ("--data", made / "run", "--limit", 1, "--method", "direct", "--model", direct_model)
    assert named(done("harmonize", *words, "--out", out), out)


@pytest.mark.parametrize("name", some(NAMES[:2], 1))
def test_a_build_names_the_folder(name, made, tmp_path):
    out = tmp_path / name
    assert named(done(*BUILD, "--imaterialist", made / "photos", "--limit", 1, "--out", out), out)


@pytest.mark.parametrize("name", some(NAMES[:3], 1))
def test_evaluate_names_its_methods_and_its_folder(name, made, tmp_path):
    predictions, out = tmp_path / "predictions", tmp_path / name
    done("export", made / "run", "--which", "selected", "--out", tmp_path / "tree", "--quiet")
    copied(tmp_path / "tree" / "photos" / "composite_images", predictions)
    method = f"m-{name.replace('=', '-').replace('/', 'v')}"
    words = ("--data", tmp_path / "tree", "--list", "IHD_train.txt", "--no-ssim", "resamples=100")
    end = done("evaluate", *words, "--predictions", f"{method}={predictions}", "--table", "methods", "--out", out)
    assert said(end, method)
    assert named(end, out)


@pytest.mark.parametrize("name", some(NAMES[:3], 1))
def test_train_names_the_folder(name, made, tmp_path):
    out = tmp_path / name
    words = ("train", "direct", "--recipe", "train/smoke-direct", "--data", made / "run", "source=stored")
    more = ("--resolution", 32, "--max-train-steps", 1, "validation_samples=1")
    assert named(done(*words, *more, "--output-dir", out), out)


@pytest.mark.parametrize("subset", ["HS[red]x", "[bold]", "H[0]"])
def test_tables_name_subsets(subset, tmp_path):
    data = tree(tmp_path / "data", 2, subset)
    (data / "IHD_train.txt").write_text("\n".join(names_of(0, 1, subset=subset)) + "\n")
    (data / "IHD_test.txt").write_text("\n".join(names_of(1, subset=subset)) + "\n")
    end = done("augment", "--dry-run", "--data", data)
    assert said(end, f"│{subset}│")
    (data / "IHD_test.txt").unlink()
    tree(data, 2, "Other")
    (data / "IHD_train.txt").write_text(
        "\n".join([*names_of(0, 1, subset=subset), *names_of(0, subset="Other")]) + "\n"
    )
    words = ("--data", data, "--list", "IHD_train.txt", "--no-ssim", "resamples=100")
    assert said(done("evaluate", *words, "--out", tmp_path / "out"), f"│{subset}│")


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_what_was_given(name, made, tmp_path):
    gone = tmp_path / "gone" / name
    for words in (
        ("synthesize", "--data", gone),
        ("augment", "--data", gone),
        ("export", gone),
        ("report", gone),
        ("select", gone),
        ("harmonize", "--data", gone),
        ("evaluate", "--data", gone),
        ("build-human-harmony", "--imaterialist", gone),
        ("publish", gone, "--repo", "user/name", "--dry-run"),
        ("train", "direct", "--data", gone, "--output-dir", tmp_path / "t"),
    ):
        end = command(*words)
        assert end.code == 2, (words, end.err)
        assert named(end, gone), (words, end.err)


@pytest.mark.parametrize("value", ["[red]3", "[/x]", "3[bold]"])
def test_a_wrong_option_is_shown_as_it_was_typed(value):
    for words in (("synthesize", f"k={value}"), ("doctor", f"--{value}"), ("synthesize", f"{value}=1")):
        end = command(*words)
        assert end.code == 2, (words, end.err)
        assert said(end, value), (words, end.err)


def test_quarantined_names_are_shown_as_they_are(tmp_path):
    photo, mask = samples.save(picture(0), tmp_path / "d" / "images" / "a[red]b.png"), tmp_path / "d" / "masks"
    samples.save(samples.ellipse(), mask / "a[red]b.png")
    photo.write_bytes(b"")
    samples.save(picture(1), tmp_path / "d" / "images" / "c.png")
    samples.save(samples.ellipse(), mask / "c.png")
    words = ("--data", tmp_path / "d", *JITTER, "--max-bad-fraction", 0, "--out", tmp_path / "out")
    end = command("synthesize", *words)
    assert end.code == 3
    assert said(end, "a[red]b.png")


def test_publish_names_the_files_of_a_folder_in_brackets(made_tree, tmp_path):
    out: Path = tmp_path / "set[/v2]"
    words = ("--data", made_tree / "tree", "--candidates", made_tree / "run", "--format", "parquet", "--out", out)
    done("augment", *words, "--quiet")
    assert named(done("publish", out, "--repo", "user/name", "--dry-run"), out)
