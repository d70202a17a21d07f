"""The map: a lasso is what a point-in-polygon test says row by row, and a polygon that is none is refused."""

from __future__ import annotations

import json
import struct
from urllib.parse import quote

import numpy as np
import pytest

from harmonygen.errors import UsageError
from harmonygen.review.columns import NUMBERS
from harmonygen.review.lasso import MOST_POINTS, Lasso
from harmonygen.review.overview import UNKNOWN, axis_bytes
from harmonygen.review.query import Query


def inside_one(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    """Cast a ray to the right of one place and count the edges that it meets."""
    met = 0
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            met += 1
    return met % 2 == 1


def star(seed: int, values: dict[str, np.ndarray], x: str, y: str) -> list[tuple[float, float]]:
    """Return a crooked polygon over the middle of two columns, which may cross itself."""
    rng = np.random.default_rng(seed)
    middle = [np.nanquantile(values[name], [0.2, 0.8]) for name in (x, y)]
    corners = [tuple(float(rng.uniform(low - 0.3 * (high - low), high)) for low, high in middle) for _ in range(9)]
    return [(max(a, 0.0) if x == "fmse" else a, max(b, 0.0) if y == "fmse" else b) for a, b in corners]


def text_of(x: str, y: str, corners: list[tuple[float, float]]) -> str:
    return ",".join([x, y, *(repr(value) for corner in corners for value in corner)])


def rows_of(client, **query) -> list[int]:
    words = "&".join(f"{name}={quote(str(value))}" for name, value in {"reviewer": "ana", **query}.items())
    status, _, content = client.ask("GET", f"/api/rows?{words}")
    assert status == 200, content
    return np.frombuffer(content, "<u4").tolist()


@pytest.mark.parametrize(
    ("seed", "x", "y"), [(0, "shift_r", "shift_b"), (1, "fmse", "p_composite"), (2, "margin", "fmse")]
)
def test_a_lasso_is_the_rows_inside_the_polygon(looked_at, seed, x, y):
    client, session, _ = looked_at
    values = session.columns.values
    corners = star(seed, values, x, y)
    on = {name: np.log1p(values[name]) if name == "fmse" else values[name] for name in (x, y)}
    edges = [(np.log1p(a) if x == "fmse" else a, np.log1p(b) if y == "fmse" else b) for a, b in corners]
    expected = [row for row in range(session.columns.rows) if inside_one(on[x][row], on[y][row], edges)]
    assert 5 < len(expected) < session.columns.rows - 5
    assert rows_of(client, scope="all", lasso=text_of(x, y, corners)) == expected
    narrower = rows_of(client, scope="all", lasso=text_of(x, y, corners), gate="passed", p_composite_min=0.5)
    passed = [row for row in expected if not session.columns.failed()[row] and values["p_composite"][row] >= 0.5]
    assert narrower == passed


def test_a_lasso_agrees_with_another_program(looked_at):
    measure = pytest.importorskip("skimage.measure")
    _, session, _ = looked_at
    values = session.columns.values
    corners = star(5, values, "shift_g", "fg_ratio")
    found = Lasso("shift_g", "fg_ratio", corners).inside(values)
    places = np.stack([values["shift_g"], values["fg_ratio"]], axis=1)
    assert found.tolist() == measure.points_in_poly(places, corners).tolist()


def test_unknown_values_are_outside_a_lasso():
    values = {"a": np.array([0.5, np.nan, 0.5]), "b": np.array([0.5, 0.5, np.nan])}
    assert Lasso("a", "b", [(0, 0), (1, 0), (1, 1), (0, 1)]).inside(values).tolist() == [True, False, False]


def test_a_lasso_is_decided_as_a_whole_and_undone(served):
    client, session, _ = served
    query = {
        "scope": "all",
        "lasso": text_of("shift_r", "shift_b", star(3, session.columns.values, "shift_r", "shift_b")),
    }
    hit = rows_of(client, **query)
    answer = client.post("/api/say-all", reviewer="ana", query=query, expected=len(hit), decision="reject")
    assert answer["changed"] == len(hit) > 5
    codes = np.frombuffer(client.ask("GET", "/api/codes?reviewer=ana")[2], np.uint8)
    assert np.flatnonzero(codes == 2).tolist() == hit
    assert client.post("/api/undo", reviewer="ana")["changed"] == len(hit)
    assert not np.frombuffer(client.ask("GET", "/api/codes?reviewer=ana")[2], np.uint8).any()


WRONG = {
    "no points": "fmse,margin",
    "two points": "fmse,margin,0,0,1,1",
    "an odd number": "fmse,margin,0,0,1,1,2",
    "words": "fmse,margin,0,0,1,one,2,2",
    "not a number": "fmse,margin,0,0,1,nan,2,2",
    "infinity": "fmse,margin,0,0,1,inf,2,2",
    "an unknown column": "fmse,size,0,0,1,1,2,0",
    "a column of another kind": "pair_ids,fmse,0,0,1,1,2,0",
    "one that is not measured": "dl,db,0,0,1,1,2,0",
    "one column": "fmse",
    "nothing but commas": ",,,,,,,,",
    "too many points": "fmse,margin," + ",".join(["1,2"] * (MOST_POINTS + 1)),
    "far too many": "fmse,margin," + ",".join(["1,2"] * 100_000),
    "long numbers": "fmse,margin," + ",".join(["0." + "1" * 2000] * 6),
    "scripts": "<script>alert(1)</script>,fmse,0,0,1,1,2,0",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_malformed_polygon_is_refused(looked_at, kind):
    client, *_ = looked_at
    body = {"reviewer": "ana", "query": {"lasso": WRONG[kind]}, "expected": 0, "decision": "reject"}
    status, _, said = client.ask("POST", "/api/say-all", json.dumps(body).encode())
    assert (status, "lasso" in json.loads(said)["error"]) == (400, True)
    assert len(said) < 1000
    if len(WRONG[kind]) < 10_000:
        assert client.ask("GET", f"/api/rows?reviewer=ana&lasso={quote(WRONG[kind])}")[0] == 400
    with pytest.raises(UsageError):
        Query.parse({"lasso": WRONG[kind]})


@pytest.mark.parametrize("name", [*NUMBERS, "selected", "refused"])
def test_an_axis_holds_every_row(looked_at, name):
    client, session, _ = looked_at
    columns = session.columns
    content = client.ask("GET", f"/api/axis/{name}")[2]
    low, high, from_, to, known, log = struct.unpack("<6d", content[:48])
    steps = np.frombuffer(content[48:], "<u2")
    values = {"selected": columns.selected, "refused": columns.failed()}.get(name)
    values = columns.values[name] if values is None else values.astype(float)
    values = np.log1p(values) if log else values
    assert (len(steps), int(known), bool(log)) == (columns.rows, int(np.isfinite(values).sum()), name == "fmse")
    assert ((steps == UNKNOWN) == ~np.isfinite(values)).all()
    seen = steps < UNKNOWN
    off = np.abs(low + steps[seen] / 65_534 * (high - low) - values[seen])
    assert off.max() <= (high - low) / 65_534
    assert low <= from_ <= to <= high


def test_no_axis_is_read_that_is_none(looked_at):
    client, session, _ = looked_at
    for name in ("pair_ids", "size", "..%2fplan.json", "dl"):
        assert client.ask("GET", f"/api/axis/{name}")[0] in (400, 404), name
    with pytest.raises(UsageError, match="there is no column 'dl'"):
        axis_bytes(session.columns, "dl")
