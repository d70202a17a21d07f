"""A folder that is not ours is refused with no byte in it changed, and a sweep takes our own temporary files alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from faults.forge import End, Forge
from small import JITTER, LOOSE, command, copied, differences, done, snapshot

SYNTHESIZE = f"synthesize --data {{photos}} {' '.join(map(str, JITTER))} --shard-size 2 {' '.join(LOOSE)} --out {{out}}"
BUILD = "build-human-harmony --imaterialist {photos} --generator color-jitter --k 2 --product-filter none"
AUGMENT = "augment --data {tree} --candidates {tree_run} --link copy --out {out}"
TRAIN = "train direct --recipe train/smoke-direct --data {run} source=stored --resolution 32 validation_samples=1"
VERBS = {
    "synthesize": SYNTHESIZE,
    "synthesize-part": f"{SYNTHESIZE} --part 0/2",
    "synthesize-overwrite": f"{SYNTHESIZE} --overwrite",
    "augment": AUGMENT,
    "augment-parquet": f"{AUGMENT} --format parquet",
    "export": "export {run} --link copy --out {out}",
    "harmonize": "harmonize --data {run} --method direct --model {direct} --out {out}",
    "evaluate": "evaluate --data {run} --no-ssim --out {out}",
    "build-human-harmony": f"{BUILD} --out {{out}}",
    "build-human-harmony-tree": f"{BUILD} --format iharmony4 --link copy --out {{out}}",
    "gain": "gain --recipe gain/smoke --data {photos} --out {out}",
    "train": f"{TRAIN} --max-train-steps 1 --output-dir {{out}}",
    "quickstart": "quickstart --k 2 --out {out}",
    "import-weights": "import-weights --from {weights} --kind classifier --labels composite-last --out {out}",
}
"""The verbs that write into a folder that `--out` names."""
OWN = (
    "notes.txt",
    ".notes.tmp",
    ".notes.txt.4242.tmp",
    ".budget.json.5.tmp",
    "poetry.lock",
    ".project.lock",
    "sub/deep/.draft.x.tmp",
    "sub/.thesis.tex.swp",
    "sub/.plan.json.77.tmp",
    "candidates/people.csv",
    "pairs/.people.csv.tmp",
    "quarantine/letter.txt",
    "synthesize/chapter.txt",
    "synthesize/.chapter.tmp",
)
"""Files of somebody who works with editors and build tools, some of them named as ours are."""
TMP = tuple(name for name in OWN if name.endswith((".tmp", ".swp")))


def users_folder(folder: Path, names: tuple[str, ...] = OWN) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} is mine\n")
    return folder


@pytest.fixture(scope="module")
def shop(made: Path, made_tree: Path, direct_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the commands of VERBS read, by name."""
    weights = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    inputs = {"photos": made / "photos", "run": made / "run", "tree": made_tree / "tree", "tree_run": made_tree / "run"}
    return {**inputs, "direct": direct_model, "weights": weights}


def words(order: str, shop: dict[str, Path], out: Path) -> list[str]:
    return [*order.format(**shop, out=out).split(), "--quiet"]


def refused(order: str, shop: dict[str, Path], out: Path, codes: tuple[int, ...] = (2,)) -> None:
    """Run a command on what it has to refuse, and compare all that lies around."""
    before = snapshot(out.parent)
    end = command(*words(order, shop, out))
    assert differences(before, snapshot(out.parent)) == {}
    assert end.code in codes, end.err[-500:]
    assert str(out) in end.close


@pytest.mark.parametrize("verb", VERBS)
def test_a_users_folder_is_refused_and_not_touched(verb, shop, tmp_path):
    refused(VERBS[verb], shop, users_folder(tmp_path / "mine"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_with_another_tools_plan_is_refused_and_not_touched(verb, shop, tmp_path):
    out = users_folder(tmp_path / "mine")
    (out / "plan.json").write_text('{"resource_changes": [], "terraform_version": "1.9"}')
    refused(VERBS[verb], shop, out)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "quickstart"])  # it has folders of all verbs
def test_a_finished_folder_of_another_verb_is_refused_and_not_touched(verb, shop, tmp_path):
    out = copied(shop["run"], tmp_path / "theirs")
    if verb.startswith("synthesize"):
        out = tmp_path / "exported"
        done(*words(VERBS["export"], shop, out))
    refused(VERBS[verb], shop, users_folder(out, TMP))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("import-weights", "quickstart", "gain")])
def test_hidden_files_alone_survive_whatever_is_decided(verb, shop, tmp_path):
    out = users_folder(tmp_path / "mine", (".notes.tmp", ".notes.txt.4242.tmp", ".git/config", ".git/.draft.tmp"))
    before = snapshot(out)
    end = command(*words(VERBS[verb], shop, out))
    after = snapshot(out)
    assert {name: after.get(name) for name in before if "/." in name} == {n: s for n, s in before.items() if "/." in n}
    assert end.code in (0, 2), end.err[-500:]


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_in_the_folders_place_is_refused_and_not_touched(verb, shop, tmp_path):
    out = tmp_path / "thesis"
    out.write_text("mine")
    refused(VERBS[verb], shop, out, codes=(2, 4))


@pytest.mark.parametrize("order", ["select {out}", "score {out}", "report {out}", "report {out} --review"])
def test_verbs_that_work_in_a_run_refuse_a_users_folder(order, shop, tmp_path):
    refused(order, shop, users_folder(tmp_path / "mine"))


@pytest.mark.parametrize("options", ["", "--review"])
def test_a_report_does_not_overwrite_a_file_that_is_no_report(options, shop, tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<h1>My home page</h1>")
    refused(f"report {{run}} {options} --out {{out}}", shop, page)
    own = tmp_path / "own.html"
    for _ in range(2):  # its own page it replaces
        done(*words(f"report {{run}} {options} --out {{out}}", shop, own))


def test_publish_reads_only(shop, tmp_path):
    refused("publish {out} --repo user/name --dry-run", shop, users_folder(tmp_path / "mine"))
    built = tmp_path / "built"
    done(*words(VERBS["augment-parquet"], shop, built))
    before = snapshot(users_folder(built, (".notes.tmp", "sub/.draft.x.tmp")))
    done("publish", built, "--repo", "user/name", "--dry-run", "--quiet")
    assert differences(before, snapshot(built)) == {}


def test_import_weights_leaves_what_lies_beside_its_folder(shop, tmp_path):
    write_weights(shop["weights"])
    beside = users_folder(tmp_path / ".imported.tmp")
    before = snapshot(beside)
    command(*words(VERBS["import-weights"], shop, tmp_path / "imported"))
    assert differences(before, snapshot(beside)) == {}


def write_weights(path: Path) -> None:
    """Save a random ResNet-18 with two outputs, as released classifiers are saved."""
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    if not path.is_file():
        save_file({name: value.contiguous() for name, value in resnet18(num_classes=2).state_dict().items()}, path)


AGAIN = {
    **{verb: order for verb, order in VERBS.items() if verb not in ("quickstart", "import-weights", "gain")},
    "train": f"{TRAIN} --max-train-steps 2 --resume-from-checkpoint latest --output-dir {{out}}",
    "synthesize-part": f"{SYNTHESIZE} --part 0/1",
    "select": "select {out} --rule quantile",
    "score": "score {out}",
}
"""What goes on in a folder of its own."""


@pytest.mark.parametrize("verb", AGAIN)
def test_a_users_temporary_files_in_a_folder_of_ours_survive_a_resume(verb, shop, tmp_path):
    out, elsewhere = tmp_path / "ours", users_folder(tmp_path / "elsewhere", (".draft.x.tmp",))
    done(*words(VERBS.get(verb, SYNTHESIZE), shop, out))
    mine = (*TMP, "candidates/.people.csv.tmp", "work/.people.csv.tmp")
    users_folder(out, mine)
    (out / "sub" / "link").symlink_to(elsewhere)
    if verb not in ("select", "score"):
        for name in ("summary.json", "manifest.json"):
            (out / name).unlink(missing_ok=True)
    before = {name: snapshot(out / name) for name in mine}
    done(*words(AGAIN[verb], shop, out))
    assert {name for name in mine if not (out / name).exists()} == set()
    assert {name: snapshot(out / name) for name in mine} == before
    assert (elsewhere / ".draft.x.tmp").exists()


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory):
    with Forge(tmp_path_factory.mktemp("said")) as started:
        yield started


KILLED = {
    **{
        verb: order for verb, order in AGAIN.items() if verb not in ("synthesize-part", "synthesize-overwrite", "score")
    },
    "train": f"{TRAIN} --max-train-steps 1 --output-dir {{out}}",
    "report": "report {out}",
    "review": "report {out} --review",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.long if verb == "synthesize" else ()) for verb in KILLED],
)
def test_a_killed_command_repeated_leaves_no_temporary_file(verb, shop, forge, tmp_path):
    straight, out = tmp_path / "straight" / "x", tmp_path / "killed" / "x"
    for folder in (straight, out):
        folder.parent.mkdir()
        if verb in ("select", "report", "review"):
            copied(shop["run"], folder)
    renames = [kind for kind, _ in struck(forge, verb, shop, straight, does="nothing").events].count("rename")
    assert renames > 0
    for at in sorted({0, renames // 2}):
        end = struck(forge, verb, shop, out, does="kill", ops=["rename"], at=at)
        assert end.code in (-signal.SIGKILL, 0), end.err[-500:]
    assert files(out) - files(straight) != set()  # the kill left something to sweep
    again = struck(forge, verb, shop, out, does="nothing")
    assert again.code == 0, again.err[-500:]
    assert files(out) - files(straight) == set()


def struck(forge: Forge, verb: str, shop: dict[str, Path], out: Path, **spec: Any) -> End:
    """Run a verb of KILLED in a process of its own, on all that lies beside its folder too."""
    order = words(KILLED[verb], shop, out)
    if verb == "train" and list(out.glob("checkpoint-*")):
        order += ["--resume-from-checkpoint", "latest"]
    return forge.run(*order, trap={"out": str(out.parent), "data": str(shop["photos"]), **spec})


def files(out: Path) -> set[str]:
    """Return the names of all files beside and below a folder, but for locks."""
    return {str(p.relative_to(out.parent)) for p in out.parent.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.mark.parametrize("verb", ["synthesize", "augment", "export", "evaluate"])
def test_an_empty_folder_is_taken(verb, shop, tmp_path):
    out = tmp_path / "new"
    out.mkdir()
    done(*words(VERBS[verb], shop, out))
    assert json.loads((out / "plan.json").read_text())["verb"] == verb
