"""The card of a build: its words, its command, which makes the same rows again, and its front matter."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
from command_line import made_from_settings, parse
from small_contest import read, write_coco

from harmonygen.data import hub_fields
from harmonygen.data.segmentations import read_segmentations
from harmonygen.errors import UsageError
from harmonygen.human_harmony import build
from harmonygen.human_harmony.build import build_human_harmony
from harmonygen.human_harmony.reproduce import command
from harmonygen.human_harmony.settings import HumanHarmonySettings, InnerSettings
from harmonygen.human_harmony.subject import Subject, kind_of
from harmonygen.publishing.card_fields import field_faults, field_notes
from harmonygen.records import FileSource, Pair
from harmonygen.runs.decisions import Decisions, write_decisions
from harmonygen.runs.job_folder import digest_of, read_plan
from harmonygen.settings import asked, resolve
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen_cli.main import run


def front_of(out: Path) -> dict:
    return yaml.safe_load((out / "README.md").read_text().split("---\n")[1])


def text_of(out: Path) -> str:
    return (out / "README.md").read_text().split("---\n", 2)[2]


def shown_command(out: Path) -> list[str]:
    """Return the words of the command that a card shows."""
    (shown,) = re.findall(r"^(`{3,})bash\n(harmonygen .*?)\n\1$", text_of(out), re.DOTALL | re.MULTILINE)
    return shlex.split(shown[1].replace("\\\n", " "))[1:]


# The command in the card


def rows_of(out: Path) -> dict:
    return {config: read(out, config) for config in ("data", "candidates")}


def test_the_cards_command_makes_the_same_rows(contest, tiny_classifier, tmp_path, monkeypatch):
    """Typed as it stands in the card, from the same folder, with another --out: every column of every row is equal."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a list.txt").write_text("photo03\n")
    words = f"--data contest --classes b,0 --k 2 --seed 7 --generator color-jitter --classifier {tiny_classifier}"
    words += " --product-filter list --product-list 'a list.txt' --no-clean --min-fg 0.001 --test-fraction 0.3"
    words += " --license 'ask me' --title 'Two `words`' --limit 11 --max-bad-fraction 0.5 gates.max_fmse=20000"
    words += " max_side=none --image-format webp --device cpu --out first"
    assert run(["build-human-harmony", *shlex.split(words), "--quiet"]) == 0
    again = shown_command(tmp_path / "first")
    assert "--out" not in again
    assert run([*again, "--out", "elsewhere/second", "--quiet"]) == 0
    first, second = rows_of(tmp_path / "first"), rows_of(tmp_path / "elsewhere" / "second")
    assert len(first["candidates"]["train"]) > 10
    assert first == second


def test_a_reviewed_build_is_made_again_with_its_decisions(settings_for, tmp_path):
    """Decisions belong to a run; the run of the same build in another folder is the same run."""
    settings = settings_for(k=2, limit=4)
    build_human_harmony(settings)
    digest = read_plan(settings.out / "work" / "synthesize")["plan_digest"]
    held = {row["pair_id"]: row["k"] for rows in read(settings.out).values() for row in rows}
    write_decisions(tmp_path / "d.json", Decisions("run", digest, dict.fromkeys(held.items(), "reject")))
    build_human_harmony(settings_for(k=2, limit=4, decisions=tmp_path / "d.json"))
    again = shown_command(settings.out)
    assert again[again.index("--decisions") + 1] == str(tmp_path / "d.json")
    assert run([*again, "--out", str(tmp_path / "second"), "--quiet"]) == 0
    assert rows_of(tmp_path / "second") == rows_of(settings.out)
    assert all(row["k"] != held[row["pair_id"]] for rows in read(settings.out).values() for row in rows)


def test_what_was_selected_later_is_said_and_repeats_the_rows(settings_for, tmp_path):
    settings = settings_for(limit=4)
    build_human_harmony(settings)
    inside = settings.out / "work" / "synthesize"
    reselect(inside, rule="random", seed=3)
    build_human_harmony(settings)
    (step,) = re.findall(r"^1\. `(harmonygen select .*)`$", text_of(settings.out), re.MULTILINE)
    assert step == "harmonygen select FOLDER/work/synthesize --rule random --seed 3"
    second = tmp_path / "second"
    again = [*shown_command(settings.out), "--out", str(second), "--quiet"]
    later = [word.replace("FOLDER", str(second)) for word in shlex.split(step)[1:]]
    assert [run(words) for words in (again, later, again)] == [0, 0, 0]
    assert rows_of(second) == rows_of(settings.out)


CHANGED = {
    "data": "-odd name/x.json",
    "classes": "cat, dog",
    "methods": ("reinhard", "pitie"),
    "cube": (Path("a b.cube"), Path("c.cube")),
    "max_side": None,
    "title": 'It\'s "one"',
    "product_rule": {"max_edge": 0.25, "tolerance": 3.0},
    "gates": {"min_structure": -0.5},
    "clean": False,
    "compile": True,
    "test_fraction": 1 / 3,
    "resolution": 96,
    "mask_values": ">=128",
    "layout": "coco",
    "reference": "s3://bucket/x",
    "license": "CC BY 4.0",
}


@pytest.mark.parametrize("changed", [*({name: value} for name, value in CHANGED.items()), CHANGED], ids=str)
def test_a_command_gives_back_the_settings_that_it_was_made_of(changed):
    settings = HumanHarmonySettings(**changed)
    words = shlex.split(command(settings).replace("\\\n", " "))[1:]
    params = {name: list(held) if isinstance(held, tuple) else held for name, held in parse(words).items()}
    typed = made_from_settings()["build-human-harmony"]._typed(params)
    assert resolve(HumanHarmonySettings, None, typed, params["overrides"] or ()) == settings


def test_every_setting_but_the_folder_and_the_workers_is_in_the_command():
    values = {"k": 3, "out": Path("x"), "workers": 3, "device": "cpu", "batch_size": "2", "max_bad_fraction": 0.5}
    said = command(HumanHarmonySettings(**values))
    assert said == "harmonygen build-human-harmony --k 3 --batch-size 2 --device cpu --max-bad-fraction 0.5"


# Names of before


def test_the_option_is_still_called_imaterialist_too(contest):
    assert resolve(HumanHarmonySettings, overrides=[f"imaterialist={contest}"]).data == str(contest)
    assert HumanHarmonySettings(imaterialist="a") == HumanHarmonySettings(data="a", imaterialist="a")
    with pytest.raises(UsageError, match="data and imaterialist are two names of one setting"):
        resolve(HumanHarmonySettings, options={"data": "a"}, overrides=["imaterialist=b"])
    both = [parse(["build-human-harmony", option, "x"])["data"] for option in ("--data", "--imaterialist")]
    assert both == ["x", "x"]


def test_a_build_of_an_older_version_is_resumed(settings_for, monkeypatch):
    """Its digest has the old name in it, and that of its run the path of the prepared photos."""
    settings = settings_for()
    pairs = read_segmentations(settings.data)
    named = {"imaterialist" if name == "data" else name: value for name, value in asked(settings).items()}
    inputs = build.make_plan(settings, pairs).inputs
    before = digest_of({"what": named, "inputs": inputs["inputs_digest"], "files": inputs["files_digest"]})
    assert build.make_plan(settings, pairs).digest == before
    monkeypatch.setattr(build, "InnerSettings", SynthesizeSettings)
    build_human_harmony(settings)
    monkeypatch.setattr(build, "InnerSettings", InnerSettings)
    assert build_human_harmony(settings).finished_before


def test_a_build_that_was_moved_is_still_complete(settings_for, tmp_path):
    settings = settings_for()
    build_human_harmony(settings)
    settings.out.rename(tmp_path / "moved")
    assert build_human_harmony(settings_for(out=tmp_path / "moved")).finished_before


# Words and title


def test_a_coco_file_has_a_card_of_its_own_classes(settings_for, tmp_path):
    data = write_coco(tmp_path / "coco")
    few = settings_for(data=str(data), classes="cat,dog", out=tmp_path / "few", k=2)
    every = settings_for(data=str(data), out=tmp_path / "every", k=2, format="iharmony4", license="Museum, 1999")
    for settings in (few, every):
        build_human_harmony(settings)
    front, text = front_of(few.out), text_of(few.out)
    assert front["pretty_name"] == "Image harmonization: cat, dog"
    assert "human" not in front["tags"]
    assert "the mask of its foreground (cat, dog), and a composite" in text
    assert "| 1 | cat | 1 |" in text
    assert "wear" not in text
    assert "People are shown" not in text
    assert "| not-chosen | 2 | no segment of the chosen classes |" in text
    front, text = front_of(every.out), text_of(every.out)
    assert front["pretty_name"] == "Image harmonization: instances"
    assert (front["license"], front["license_name"]) == ("other", "museum-1999")
    assert "(4 classes, most often cat, dog, cup)" in text
    assert (every.out / "Harmony" / "real_images").is_dir()


def test_a_set_of_clothing_keeps_its_name(settings_for):
    settings = settings_for(license="cc-by-4.0")
    build_human_harmony(settings)
    front, text = front_of(settings.out), text_of(settings.out)
    assert (front["pretty_name"], front["license"]) == ("Human Harmony", "cc-by-4.0")
    assert "human" in front["tags"]
    assert "a photo of a person, the mask of what they wear (a, b), and a composite" in text


def test_another_title_writes_the_card_alone(settings_for, tree):
    build_human_harmony(settings_for())
    out = settings_for().out
    before = tree(out)
    titled = build_human_harmony(settings_for(title="Mine | <b>"))
    assert (titled.finished_before, titled.summary["title"]) == (False, "Mine | <b>")
    assert front_of(out)["pretty_name"] == "Mine | <b>"
    assert text_of(out).lstrip().startswith("# Mine \\| \\<b\\>\n")
    data = {name: held for name, held in before.items() if name.startswith(("data/", "candidates/", "work/prepared"))}
    assert data
    assert data.items() <= tree(out).items()
    assert build_human_harmony(settings_for(title="Mine | <b>")).finished_before


def test_titles_of_several_lines_are_refused():
    assert HumanHarmonySettings(title=" a\n b ").title == "a b"
    for title in ("a\x07", "x" * 121):
        with pytest.raises(UsageError, match="title is"):
            resolve(HumanHarmonySettings, options={"title": title})


CLASSES = {
    0: ("shirt, blouse", "upperbody"),
    1: ("shoe", "legs and feet"),
    2: ("person", "person"),
    3: ("dog", "animal"),
    4: ("umbrella", "accessory"),
}


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["0", "0 1"], "clothing"),
        (["0 4"], "clothing"),
        (["4"], "things"),
        (["2"], "people"),
        (["2", "0"], "people"),
        (["2", "3"], "things"),
        (["", ""], "foregrounds"),
        (["9"], "foregrounds"),
    ],
)
def test_what_masks_cover_is_told_by_their_classes(ids, kind):
    source = FileSource(Path("x.png"))
    pairs = [Pair(f"p{n}", f"p{n}", "0", source, source, extra={"class_ids": each}) for n, each in enumerate(ids)]
    assert kind_of(pairs, CLASSES, widened=False) == kind
    assert kind_of(pairs, CLASSES, widened=True) == "people"


@pytest.mark.parametrize(
    ("counts", "chosen", "title"),
    [
        ({3: 2, 4: 1}, "all", "dog, umbrella"),
        ({3: 4, 0: 3, 1: 2, 4: 1}, "all", "photos"),
        ({3: 4, 0: 3, 1: 2, 4: 1}, "3, 0,1,4", "photos"),
        ({3: 4, 0: 3, 1: 2, 4: 1}, "animal,accessory", "animal,accessory"),
        ({}, "all", "photos"),
    ],
)
def test_a_title_names_few_classes_or_the_data(counts, chosen, title):
    assert Subject("things", CLASSES, counts, chosen, "photos").title() == f"Image harmonization: {title}"


# The Hub's schema


@pytest.mark.parametrize("layout", ["parquet", "iharmony4"])
def test_the_front_matter_keeps_the_hubs_schema(layout, settings_for):
    settings = settings_for(format=layout, license="Look at the LICENSE: (c) me")
    build_human_harmony(settings)
    card = DatasetCard.load(settings.out / "README.md")
    assert {name: held for name, held in card.data.to_dict().items() if held is not None} == front_of(settings.out)
    assert list(field_faults(str(card))) == list(field_notes(str(card))) == []
    assert front_of(settings.out)["size_categories"] == ["n<1K"]
    assert front_of(settings.out)["license_name"] == "look-at-the-license-c-me"


def test_size_categories_count_the_rows_of_all_configurations():
    from datasets.utils import resources

    carried = json.loads((Path(resources.__file__).parent / "size_categories.json").read_text())
    assert [*(name for name, _ in hub_fields.SIZES), hub_fields.LARGEST] == carried[1:]
    edges = {0: "n<1K", 999: "n<1K", 1000: "1K<n<10K", 9_999: "1K<n<10K", 10**6: "1M<n<10M", 10**13: "n>1T"}
    assert {rows: hub_fields.size_category(rows) for rows in edges} == edges


@pytest.mark.parametrize(
    ("stated", "fields"),
    [
        ("CC-BY-SA 4.0", {"license": "cc-by-sa-4.0"}),
        ("MIT License", {"license": "mit"}),
        ("OpenRAIL++", {"license": "openrail++"}),
        ("unknown", {"license": "unknown"}),
        ("other", {"license": "other", "license_name": "other"}),
        ("版权所有", {"license": "other", "license_name": "as-stated"}),
        (
            "https://example.org/terms",
            {
                "license": "other",
                "license_name": "https-example.org-terms",
                "license_link": "https://example.org/terms",
            },
        ),
    ],
)
def test_a_licence_is_stated_as_the_hub_knows_it(stated, fields):
    assert hub_fields.licence_fields(stated) == fields
    assert fields["license"] in hub_fields.LICENCES
