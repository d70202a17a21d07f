import os
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.augmentation.augment import dry_run
from harmonygen.augmentation.gamma import count_pairs, per_pair, plan_gamma
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.errors import UsageError

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
REAL_LIST = SHARED / "data" / "iHarmony4_le50_train_64255.txt.gz"

counts = st.integers(1, 100_000)
hundredths = st.integers(0, 1000)


@given(hundredths, counts, counts)
def test_the_count_is_the_least_that_reaches_gamma_times_the_originals(gamma, pairs, composites):
    count = per_pair(gamma / 100, pairs, composites)
    assert 100 * count * pairs >= gamma * composites
    assert count == 0 or 100 * (count - 1) * pairs < gamma * composites


@given(hundredths, counts, counts, st.integers(1, 50))
def test_the_count_depends_on_the_ratio_alone(gamma, pairs, composites, times):
    assert per_pair(gamma / 100, pairs, composites) == per_pair(gamma / 100, times * pairs, times * composites)


@given(st.integers(1, 99), counts)
def test_a_decimal_gamma_that_divides_evenly_never_adds_one(tenths, pairs):
    gamma = tenths / 10  # 0.1 as a float is over 1/10: ceil of the float product would add one
    assert per_pair(gamma, pairs, 10 * pairs) == tenths


@given(st.dictionaries(st.text("abc", min_size=1), st.tuples(counts, counts), min_size=1), hundredths)
def test_added_composites_are_the_sum_over_pairs(by_subset, gamma):
    for per_subset in (True, False):
        plan = plan_gamma(gamma / 100, by_subset, per_subset)
        assert plan.added == sum(plan.count(name) * pairs for name, (pairs, _) in by_subset.items())
        assert plan.added * 100 >= gamma * plan.composites
        assert plan.needed_k == max(plan.count(name) for name in by_subset)


def test_over_all_every_pair_gets_the_same():
    plan = plan_gamma(1.0, {"a": (2, 10), "b": (10, 10)}, per_subset=False)
    assert {row.per_pair for row in plan.rows} == {2}
    assert {row.ratio for row in plan.rows} == {Fraction(20, 12)}


@pytest.mark.parametrize("gamma", [float("nan"), float("inf"), -0.5])
def test_a_gamma_that_is_no_ratio_is_refused(gamma):
    with pytest.raises(UsageError, match="--gamma is"):
        per_pair(gamma, 1, 1)


def test_a_dataset_without_composites_is_refused():
    with pytest.raises(UsageError, match="found 0 composites of 3 pairs"):
        plan_gamma(1.0, count_pairs([("a", 0)] * 3))


def test_dry_run_reads_a_list_by_names_alone_and_writes_nothing(tmp_path):
    names = ["S/composite_images/d1-2_1_1.jpg", "S/composite_images/d1-2_1_2.jpg", "S/composite_images/d1-2_2_1.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    plan = dry_run(AugmentSettings(gamma=1.0, data=str(tmp_path / "list.txt"), out=tmp_path / "out"))
    assert [(row.subset, row.pairs, row.composites, row.per_pair) for row in plan.rows] == [("S", 2, 3, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]


def test_dry_run_refuses_lines_that_are_no_composites(tmp_path):
    (tmp_path / "list.txt").write_text("S/composite_images/a_1_1.jpg\nreadme.jpg\n")
    with pytest.raises(UsageError, match=r"1 lines .* 'readme.jpg'"):
        dry_run(AugmentSettings(data=str(tmp_path / "list.txt")))


@pytest.mark.skipif(not REAL_LIST.is_file(), reason="the real list is not here")
def test_the_real_training_list_is_planned_in_seconds_and_under_a_gigabyte():
    # N1 and N2 counted apart with awk over the published names: stem without its last field, distinct, by subset
    expected = [
        ("HAdobe5k", 3740, 18652, 5, 18700),
        ("HCOCO", 34962, 38327, 2, 69924),
        ("HFlickr", 4139, 6967, 2, 8278),
        ("Hday2night", 81, 309, 4, 324),
    ]
    code = (
        "import sys; from pathlib import Path; from harmonygen.augmentation.settings import AugmentSettings; "
        "from harmonygen.augmentation.augment import dry_run; "
        "plan = dry_run(AugmentSettings(gamma=1, data=sys.argv[1])); "
        "print([(r.subset, r.pairs, r.composites, r.per_pair, r.added) for r in plan.rows]); "
        # VmHWM is this process's own peak; ru_maxrss would start from that of the process that forked it
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, str(REAL_LIST)], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows, peak_kilobytes = done.stdout.splitlines()
    assert rows == str(expected)
    assert int(peak_kilobytes) < 1_000_000
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 10
