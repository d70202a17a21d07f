"""The folder of a job: free, ours or somebody else's; what is compared, held, swept and left alone."""

import json
from pathlib import Path
from typing import Annotated

import pytest

from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.job_folder import PLAN, JobPlan, is_resumed, job_folder, look
from harmonygen.settings import HOW, SHOWN, Settings, asked, marked
from harmonygen.storage.shards import locked, temporary_name, write_json_once


class Inner(Settings):
    low: float = 1.0
    device: Annotated[str, HOW] = "cpu"


class Example(Settings):
    k: int = 2
    title: Annotated[str, SHOWN] = ""
    workers: Annotated[int, HOW] = 1
    inner: Inner = Inner()


def plan(inputs="a", **settings) -> JobPlan:
    return JobPlan("example", Example(**settings), {"inputs_digest": inputs})


def seen(place: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in [place, *place.rglob("*")]}


def begun(out: Path, **settings) -> Path:
    with job_folder(out, plan(**settings)) as job:
        assert not job.resumed
    return out


def test_the_plan_comes_first_the_summary_last_and_no_lock_stays(tmp_path):
    out = tmp_path / "new" / "run"
    with job_folder(out, plan()) as job:
        assert json.loads((out / PLAN).read_text())["plan_digest"] == plan().digest
        assert [path.name for path in out.glob("*.json")] == [PLAN]
        whole = job.finish({"made": 3})
    assert whole == json.loads((out / "summary.json").read_text())
    assert (whole["verb"], whole["plan_digest"], whole["made"]) == ("example", plan().digest, 3)
    assert sorted(path.name for path in out.iterdir()) == [PLAN, "summary.json"]


def test_what_bears_a_mark_may_change_and_nothing_else(tmp_path):
    out = begun(tmp_path / "run")
    for free in ({"title": "other"}, {"workers": 9}, {"inner": Inner(device="cuda")}):
        with job_folder(out, plan(**free)) as job:
            assert job.resumed
    with pytest.raises(UsageError, match=r"other options \(k: 2 then, 3 now; inner.low: 1.0 then, 2.0 now\): repeat"):
        is_resumed(out, plan(k=3, inner=Inner(low=2.0)))
    with pytest.raises(UsageError, match="inputs_digest changed"):
        is_resumed(out, plan("b"))


def test_a_plan_of_another_version_is_named_as_such_and_digests_given_before_are_known(tmp_path):
    out = begun(tmp_path / "run")
    held = json.loads((out / PLAN).read_text())
    (out / PLAN).write_text(json.dumps({**held, "plan_digest": "older"}))
    with pytest.raises(UsageError, match="was made by another version of harmonygen, which cannot be resumed: choose"):
        is_resumed(out, plan())
    assert is_resumed(out, JobPlan("example", Example(), {"inputs_digest": "a"}, digests_before=("older",)))


def test_marks_are_seen_in_settings_inside_settings():
    assert asked(Example()) == {"k": 2, "inner": {"low": 1.0}}
    assert asked(Example(), HOW) == {"k": 2, "title": "", "inner": {"low": 1.0}}
    assert (marked(Example, HOW), marked(Example, SHOWN)) == (("workers",), ("title",))


def users(out: Path) -> None:
    (out / "thesis.tex").write_text("mine")


def terraform(out: Path) -> None:
    (out / PLAN).write_text('{"terraform_version": "1.9"}')


def a_list(out: Path) -> None:
    (out / PLAN).write_text("[1]")


def torn(out: Path) -> None:
    (out / PLAN).write_bytes(b'{"harmonygen": "0.1')


def another_verb(out: Path) -> None:
    (out / PLAN).write_text('{"harmonygen": "0.1.0", "verb": "other", "plan_digest": "x"}')


@pytest.mark.parametrize("fill", [users, terraform, a_list, torn, another_verb])
@pytest.mark.parametrize("anew", [None, lambda out: pytest.fail(f"{out} is emptied")])
def test_a_folder_that_is_not_ours_is_refused_and_no_byte_of_it_changes(tmp_path, fill, anew):
    out = tmp_path / "theirs"
    out.mkdir()
    fill(out)
    (out / temporary_name("x")).write_text("even this")
    before = seen(tmp_path)
    with pytest.raises(UsageError, match="choose another --out"), job_folder(out, plan(), ["x"], anew=anew):
        pytest.fail("it was taken")
    assert seen(tmp_path) == before


def test_a_file_is_refused_and_no_parent_is_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    before = seen(tmp_path)
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError), job_folder(out, plan()):
            pytest.fail("it was taken")
    assert seen(tmp_path) == before


def test_hidden_files_do_not_make_a_folder_somebodys(tmp_path):
    (tmp_path / ".DS_Store").write_text("x")
    assert look(tmp_path, "example") is None


def test_a_finished_job_is_not_even_locked(tmp_path):
    out = begun(tmp_path / "run")
    before = seen(tmp_path)
    with locked(tmp_path, "elsewhere"), job_folder(out, plan(), finished=lambda: True) as job:
        assert job.finished
    assert {k: v for k, v in seen(tmp_path).items() if k.startswith(str(out))} == {
        k: v for k, v in before.items() if k.startswith(str(out))
    }


def test_the_lock_of_a_job_killed_at_its_very_end_goes_with_the_next_one(tmp_path):
    out = begun(tmp_path / "run")
    (out / ".example.lock").touch()  # killed after its last file, before the lock's removal
    with job_folder(out, plan(), finished=lambda: True) as job:
        assert job.finished
    assert [path.name for path in out.iterdir()] == [PLAN]


def test_a_second_job_is_refused_and_parts_of_one_array_are_kin(tmp_path):
    out = begun(tmp_path / "run")
    with job_folder(out, plan(), part=(0, 2)):
        with job_folder(out, plan(), part=(1, 2)):
            pass
        for other in ((0, 2), (0, 3), None):
            with pytest.raises(UsageError, match="another run is writing"), job_folder(out, plan(), part=other):
                pytest.fail("both are at work")
    with job_folder(out, plan(), part=(0, 3)):
        pass


def test_a_sweep_takes_what_bears_our_name_in_the_folders_that_are_written(tmp_path):
    out = begun(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    ours = [".plan.json.7.hg-tmp", "made/.a.png.7.hg-tmp", "made/.a.png.8.tmp", ".summary.json.9.tmp"]
    theirs = [".b.json.7.tmp", "made/.c.png.7.tmp", "sub/.a.png.7.hg-tmp", "made/deep/.a.png.7.hg-tmp", "made/.d.tmp"]
    for name in (*ours, *theirs):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half")
    (tmp_path / "elsewhere" / ".a.png.7.hg-tmp").write_text("behind a link")
    (out / "linked").symlink_to(tmp_path / "elsewhere")
    with job_folder(out, plan(), ["made/a.png", "linked/a.png"]):
        assert [name for name in ours if (out / name).exists()] == []
    assert [name for name in theirs if not (out / name).exists()] == []
    assert (tmp_path / "elsewhere" / ".a.png.7.hg-tmp").exists()


def test_old_names_are_not_looked_for_in_a_new_folder(tmp_path):
    (tmp_path / ".plan.json.7.tmp").write_text("an editor's")
    begun(tmp_path)
    assert (tmp_path / ".plan.json.7.tmp").exists()


def test_anew_replaces_the_plan_after_the_old_job_was_removed(tmp_path):
    out = begun(tmp_path / "run")
    with job_folder(out, plan(k=7), anew=lambda folder: (folder / "made").mkdir()):
        assert (out / "made").is_dir()
    assert look(out, "example")["settings"]["k"] == 7


def test_of_two_that_begin_at_once_one_plan_stands(tmp_path):
    path = tmp_path / PLAN
    assert write_json_once(path, {"first": 1})
    assert not write_json_once(path, {"second": 2})
    assert json.loads(path.read_text()) == {"first": 1}
    assert [each.name for each in tmp_path.iterdir()] == [PLAN]
