"""What is measured of all candidates is what one by one gives, resumes after a kill, and planted copies are found."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import review_run
from PIL import Image
from skimage import data

from harmonygen.errors import UsageError
from harmonygen.evaluation.changes import measure_change
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.pictures.images import decode_plainly
from harmonygen.pictures.masks import to_mask
from harmonygen.records import FileSource, Pair
from harmonygen.review import measure as measure_module
from harmonygen.review.columns import Columns, read_columns_of
from harmonygen.review.ledger import Desk
from harmonygen.review.measure import measured_file
from harmonygen.review.measure_judge import principal_components
from harmonygen.review.measured import measure_kind, with_measured
from harmonygen.review.query import Query, mask_of, order_of
from harmonygen.review.session import Session
from harmonygen.runs.read import Run
from harmonygen.storage.shards import strays
from harmonygen.synthesis import reselect as reselect_module
from harmonygen.synthesis.reselect import reselect

MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def opened(folder: Path) -> tuple[Run, Columns]:
    run = Run.look(folder)
    return run, read_columns_of(run)


def pictures(run: Run, columns: Columns, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pair = int(columns.pair[row])
    part = int(columns.part[pair])
    images = dict(run.images(part))[columns.pair_ids[pair]]
    real = decode_plainly(images.real or images.path.read_bytes(), "real")
    ((_, encoded),) = run.composites([{"part": part, "row": int(columns.place[row])}])
    mask = to_mask(Image.open(io.BytesIO(images.mask)))
    return decode_plainly(encoded, "composite"), real, mask


def test_colour_changes_are_those_of_an_evaluation(run: Path):
    found, columns = opened(run)
    assert measure_kind(found, columns, "colour")
    assert not measure_kind(found, columns, "colour")
    columns, facts = with_measured(found, columns)
    assert (columns.measured, facts["colour"]["unreadable"]) == (("dl", "da", "db", "contrast"), 0)
    for row in range(0, columns.rows, 37):
        change = measure_change(*pictures(found, columns, row))
        own = {name: columns.values[name][row] for name in columns.measured}
        assert abs(own["dl"]) == pytest.approx(change.lightness, rel=1e-5)
        assert np.hypot(own["da"], own["db"]) == pytest.approx(change.chroma, rel=1e-5)
        assert abs(own["contrast"]) == pytest.approx(change.contrast, rel=1e-4, abs=1e-6)
    grey = sum(weight * columns.values[f"shift_{name}"] for name, weight in zip("rgb", (0.3, 0.6, 0.1), strict=True))
    assert np.corrcoef(columns.values["dl"], grey)[0, 1] > 0.9


def test_measured_columns_filter_sort_and_lie_on_the_map(served, run: Path):
    client, session, _ = served
    assert client.ask("GET", "/api/rows?reviewer=ana&dl_min=0")[0] == 400
    measure_kind(session.run, session.columns, "colour")
    session.take_measured()
    values = session.columns.values["dl"]
    found = np.frombuffer(client.ask("GET", "/api/rows?reviewer=ana&scope=all&dl_min=0&sort=dl")[2], "<u4")
    assert values[found].tolist() == sorted(values[values >= 0].tolist())
    assert "dl" in client.get("/api/overview")["axes"]
    assert client.ask("GET", "/api/axis/dl")[0] == 200
    assert client.get("/api/run?reviewer=ana")["numbers"]["dl"] == [values.min(), values.max()]


def test_a_photo_that_changed_or_is_gone_is_not_measured(run: Path):
    found, columns = opened(run)
    by_photo: dict[str, list[int]] = {}
    for part in range(len(found.parts)):
        for pair_id, images in found.images(part):
            by_photo.setdefault(str(images.path), []).append(columns.number_of[pair_id])
    gone, other = sorted(by_photo)[:2]
    kept = {path: Path(path).read_bytes() for path in (gone, other)}
    try:
        Path(gone).unlink()
        Image.new("RGB", (review_run.WIDTH, review_run.HEIGHT)).save(other)
        measure_kind(found, columns, "colour")
    finally:
        for path, content in kept.items():
            Path(path).write_bytes(content)
    columns, facts = with_measured(found, columns)
    lost = [row for path in (gone, other) for pair in by_photo[path] for row in columns.rows_of(pair)]
    assert np.flatnonzero(np.isnan(columns.values["dl"])).tolist() == sorted(lost)
    assert facts["colour"]["unreadable"] == len(lost)


def _measure_slowly(folder: Path, told) -> None:
    measure_module._ROWS = 30
    run, columns = opened(folder)

    def progress(done: int, _total: int) -> None:
        told.send(done)
        time.sleep(0.05)

    measure_kind(run, columns, "colour", progress)


def test_a_killed_measurement_resumes(run: Path, monkeypatch):
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measure_slowly, args=(run, there))
    process.start()
    while here.recv() < 21:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found, columns = opened(run)
    monkeypatch.setattr(measure_module, "_ROWS", 30)
    assert not measured_file(found, "colour").exists()
    (work,) = (run / "review").glob(".colour-*")
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.npz")}
    assert before
    (work / f".00009.npz.{process.pid}.hg-tmp").write_bytes(b"half")
    seen: list[int] = []
    measure_kind(found, columns, "colour", lambda done, _total: seen.append(done))
    resumed = with_measured(found, columns)[0]
    assert seen == sorted(seen)
    assert len(seen) < columns.pairs  # chunks that were there are told of once
    assert not work.exists()
    assert not strays(run / "review")
    measured_file(found, "colour").unlink()
    measure_kind(found, columns, "colour")
    for name in resumed.measured:
        assert np.array_equal(resumed.values[name], with_measured(found, columns)[0].values[name])


def test_a_measurement_is_of_its_run_and_damage_is_no_measurement(run: Path, monkeypatch):
    monkeypatch.setattr(reselect_module, "_sum_up", lambda *_: None)
    found, columns = opened(run)
    measure_kind(found, columns, "colour")
    path = measured_file(found, "colour")
    content = path.read_bytes()
    for damage in (b"", content[:-500], content[:200]):
        path.write_bytes(damage)
        assert with_measured(found, columns)[0].measured == ()
    path.write_bytes(content)
    reselect(run, rule="quantile")
    again = Run.look(run)
    assert with_measured(again, read_columns_of(again))[0].measured == ("dl", "da", "db", "contrast")
    other = Run(found.folder, {**found.plan, "plan_digest": "another"}, found.parts)
    assert with_measured(other, columns)[0].measured == ()
    with pytest.raises(UsageError, match="still being read"):
        measure_kind(found, read_columns_of(found, 1), "colour")


# The judge's features


def test_the_judges_features_give_its_logits(run: Path):
    found, columns = opened(run)
    scorer = ClassifierScorer.from_pretrained("starter", "cpu")
    composite, _, mask = pictures(found, columns, 7)
    features = scorer.features([composite, composite[::-1].copy()], mask)
    logits = features @ scorer.model.last.weight.numpy().T + scorer.model.last.bias.numpy()
    expected = scorer([composite, composite[::-1].copy()], mask)
    assert 1 / (1 + np.exp(-logits[:, 0])) == pytest.approx(expected, abs=1e-5)


def test_principal_components_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 6)) * [9, 4, 1, 1, 0.5, 0.1]) @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 5
    rows[17] = np.nan
    parts = [rows[:100], rows[100:100], rows[100:]]
    found, share = principal_components(lambda: parts)
    known = np.delete(rows, 17, axis=0)
    _, sizes, axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
    expected = (known - known.mean(axis=0)) @ axes[:2].T
    assert np.abs(np.delete(found, 17, axis=0)) == pytest.approx(np.abs(expected), abs=1e-3)
    assert share == pytest.approx(((sizes**2) / (sizes**2).sum())[:2])
    assert np.isnan(found[17]).all()


def test_the_judges_map_has_a_place_for_every_candidate(tmp_path: Path):
    folder = review_run.make_run(tmp_path / "run", pairs=4, k=3, processes=1)
    found, columns = opened(folder)
    measure_kind(found, columns, "judge")
    columns, facts = with_measured(found, columns)
    assert columns.measured == ("judge_x", "judge_y")
    assert np.isfinite(columns.values["judge_x"]).all()
    assert columns.values["judge_x"].std() > columns.values["judge_y"].std() > 0
    assert facts["judge"]["judge"] == "starter"
    plan = {**found.plan, "settings": {**found.plan["settings"], "judge": ["drawn=review_run:Drawn"]}}
    with pytest.raises(UsageError, match=r"judge of this run \(drawn\) is a plug-in"):
        measure_kind(Run(found.folder, plan, found.parts), columns, "judge")


# Copies


def write_pairs(folder: Path) -> list[Pair]:
    """Write photos of which some are one photo: as it is, as JPEG, mirrored, cropped, and under a second mask."""
    folder.mkdir()
    photos = {
        name: Image.fromarray(getattr(data, name)()).resize((240, 180))
        for name in ("astronaut", "chelsea", "coffee", "rocket")
    }
    made = dict(photos)
    made["equal"] = photos["astronaut"]
    made["mirrored"] = photos["astronaut"].transpose(MIRROR)
    made["cropped"] = photos["coffee"].crop((16, 12, 230, 172)).resize((240, 180))
    mask = Image.new("L", (240, 180))
    mask.paste(255, (60, 40, 150, 140))
    mask.save(folder / "mask.png")
    pairs = []
    for name, photo in made.items():
        photo.save(folder / f"{name}.png")
        pairs.append(Pair(name, name, "1", FileSource(folder / f"{name}.png"), FileSource(folder / "mask.png")))
    photos["rocket"].save(folder / "jpeg.jpg", quality=70)
    pairs.append(Pair("jpeg", "jpeg", "1", FileSource(folder / "jpeg.jpg"), FileSource(folder / "mask.png")))
    second = Image.new("L", (240, 180))
    second.paste(255, (20, 20, 90, 90))
    second.save(folder / "second.png")
    return [
        *pairs,
        Pair("chelsea_2", "chelsea", "2", FileSource(folder / "chelsea.png"), FileSource(folder / "second.png")),
    ]


def test_planted_copies_are_found_and_no_other_photo_is(tmp_path: Path):
    folder = review_run.make_run_of(tmp_path / "run", write_pairs(tmp_path / "photos"), 2)
    session = Session(folder)
    measure_kind(session.run, session.columns, "copies")
    session.take_measured()
    columns = session.columns
    copies, ids = columns.copies, columns.pair_ids
    groups = {}
    for pair in range(columns.pairs):
        groups.setdefault(int(copies.group[pair]), set()).add(ids[pair])
    assert groups.pop(0) == {"chelsea", "chelsea_2"}  # one photo under one id
    assert sorted(map(sorted, groups.values())) == [
        ["astronaut", "equal", "mirrored"],
        ["coffee", "cropped"],
        ["jpeg", "rocket"],
    ]
    told = {name: columns.like_of(columns.number_of[name]) for name in ("equal", "mirrored", "cropped", "jpeg")}
    assert told["equal"] == {"id": "astronaut", "kind": "the same pixels"}
    assert (told["mirrored"]["kind"], told["cropped"]["kind"]) == ("mirrored", "cropped or framed")
    assert told["jpeg"]["id"] == "rocket"
    assert columns.like_of(columns.number_of["chelsea"]) is None
    assert (copies.photos, copies.unreadable, copies.groups, copies.pairs, copies.surplus) == (7, 0, 3, 7, 4)
    for asked, names in {
        "near": {"astronaut", "equal", "mirrored", "coffee", "cropped", "rocket", "jpeg"},
        "again": {"equal", "mirrored", "cropped", "jpeg"},
    }.items():
        query = Query.parse({"scope": "all", "duplicates": asked})
        rows = order_of(query, columns, mask_of(query, columns, session.desk, "ana"))
        assert {ids[columns.pair[row]] for row in rows} == names
        order = copies.group[columns.pair[rows]].tolist()
        assert order == sorted(order)
    session.desk.close()


def test_measured_columns_are_known_before_the_whole_run_is_read(run: Path):
    found, columns = opened(run)
    for kind in ("colour", "copies"):
        measure_kind(found, columns, kind)
    first, facts = with_measured(found, read_columns_of(found, 1))
    assert list(facts) == ["colour", "copies"]
    assert np.isnan(first.values["dl"]).all()
    lasso = "dl,db,-90,-90,90,-90,90,90,-90,90"
    desk = Desk(found, first)
    for asked in ({"duplicates": "near"}, {"lasso": lasso}):
        query = Query.parse({"scope": "all", **asked}, first.numbers)
        assert not mask_of(query, first, desk, "ana").any()


def test_copies_that_nobody_looked_for_are_not_filtered(looked_at):
    client, *_ = looked_at
    status, _, said = client.ask("GET", "/api/rows?reviewer=ana&duplicates=near")
    assert (status, b"not been looked for" in said) == (400, True)


# From the page


def _ended(client) -> dict:
    end = time.monotonic() + 60
    while (found := client.get("/api/overview")["measurements"]["colour"])["state"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_the_page_starts_a_measurement_and_sees_it_end(served, run: Path):
    client, session, _ = served
    version = client.get("/api/run?reviewer=ana")["version"]
    assert client.post("/api/measure", kind="colour")["colour"]["state"] == "running"
    client.post("/api/measure", stop=True)
    assert _ended(client)["state"] == "stopped"
    assert client.post("/api/measure", kind="colour")["colour"]["state"] == "running"
    assert client.ask("POST", "/api/measure", b'{"kind":"copies"}')[0] == 400
    assert _ended(client)["state"] == "done"
    end = time.monotonic() + 20
    while client.get("/api/run?reviewer=ana")["version"] == version and time.monotonic() < end:
        time.sleep(0.02)
    assert np.isfinite(session.columns.values["dl"]).all()
    for body in (b'{"kind":"size"}', b"{}", b'{"kind":["colour"]}'):
        assert client.ask("POST", "/api/measure", body)[0] == 400
    assert client.ask("POST", "/api/measure", b'{"kind":"copies"}', {"Origin": "http://evil.example"})[0] == 403
