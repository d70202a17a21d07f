import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen import recipes
from harmonygen.errors import UsageError
from harmonygen.settings import PUBLISHED


@pytest.fixture
def two_roots(tmp_path, monkeypatch):
    """A repository's recipes before a package's: `starter/inverse` is in both, `paper/inverse` in the second."""
    for root, name, value in [("repo", "starter/inverse", 1), ("pkg", "starter/inverse", 2), ("pkg", "paper/big", 3)]:
        path = tmp_path / root / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"steps = {value}\n")
    monkeypatch.setattr(recipes, "_ROOTS", (tmp_path / "repo", tmp_path / "gone", tmp_path / "pkg"))
    return tmp_path


def test_recipes_are_listed_once_and_by_kind(two_roots):
    assert recipes.names() == ["paper/big", "starter/inverse"]
    assert recipes.names("paper") == ["paper/big"]
    assert recipes.names("pap") == []


@pytest.mark.parametrize("name", [name for name in recipes.names("paper") if name != "paper/figure2"])
def test_a_papers_table_is_made_as_published(name):
    """`figure2` runs no model."""
    recipe = recipes.load(name)
    for scored in recipe.get("methods", [recipe]):
        assert {key: scored.get(key) for key in PUBLISHED} == PUBLISHED
    assert (recipe.get("protocol", "paper"), recipe["background"]) == ("paper", "real")


def test_the_first_root_that_has_a_recipe_gives_it(two_roots):
    assert recipes.load("starter/inverse") == {"steps": 1}
    assert recipes.load("inverse") == {"steps": 1}
    assert recipes.load("big") == {"steps": 3}


def test_a_name_of_two_kinds_is_refused_with_both(two_roots):
    (two_roots / "pkg" / "paper" / "inverse.toml").write_text("")
    with pytest.raises(UsageError, match="'inverse' stands for paper/inverse and starter/inverse: see"):
        recipes.find("inverse")
    assert recipes.load("starter/inverse") == {"steps": 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("startr/inverse", r"not known \(did you mean 'starter/inverse'\?\): see 'harmonygen recipes ls'"),
        ("nowhere.toml", "'nowhere.toml' is not a file"),
        ("../repo/starter/inverse", "is not known"),
        ("", "is not known"),
    ],
)
def test_what_is_no_recipe_is_refused(two_roots, name, told):
    with pytest.raises(UsageError, match=told):
        recipes.find(name)


def test_a_path_is_a_recipe_too(two_roots):
    path = two_roots / "own.toml"
    path.write_text("[gates]\nmin_fmse = 3\n")
    assert recipes.load(str(path)) == {"gates": {"min_fmse": 3}}


@pytest.mark.parametrize("content", [b"k = ", b"k = 1\nk = 2\n", b"\xff\xfe"])
def test_toml_that_is_not_valid_is_refused_with_its_file(two_roots, content):
    path = two_roots / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.toml' is not valid TOML .*fix that line"):
        recipes.load(str(path))


TREES = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


def leaves(tree, path=()):
    return {
        inner: leaf
        for key, value in tree.items()
        for inner, leaf in (leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}).items()
    }


@given(TREES, TREES)
def test_merging_keeps_every_leaf_of_the_upper_and_nothing_that_it_hides(base, over):
    merged = recipes.merge(base, over)
    upper = leaves(over)
    assert upper.items() <= leaves(merged).items()
    assert leaves(merged).items() <= {**leaves(base), **upper}.items()
    assert recipes.merge(merged, over) == merged
    assert recipes.merge(base, {}) == base
    assert recipes.merge({}, over) == over


KEYS = st.lists(st.text(string.ascii_lowercase + "_", min_size=1, max_size=6), min_size=1, max_size=3)
VALUES = st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@given(KEYS, VALUES)
def test_an_override_sets_its_key_alone_to_the_value_as_typed(keys, value):
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    assert leaves(recipes.parse_overrides([f"{'.'.join(keys)}={text}"])) == {tuple(keys): value}


def test_the_later_of_two_overrides_counts():
    assert recipes.parse_overrides(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("words", [["a=1", "a.b=2"], ["a.b=2", "a.b.c=1"]])
def test_a_value_that_is_made_a_table_is_refused(words):
    with pytest.raises(UsageError, match="'a"):
        recipes.parse_overrides(words)
