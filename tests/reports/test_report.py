"""What is reported of each kind of source, and that a stranger's text stays text."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from degflow_pipe import json_files, report, shard
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info, write_info
from degflow_pipe.errors import DegflowError, FileError, UsageError
from degflow_pipe.evaluation.evaluate import EvaluationSettings, evaluate
from degflow_pipe.formats.said import duration_of
from degflow_pipe.levels import parse_t
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.reports.described import spread
from degflow_pipe.reports.drawn import SCENES, Album, Entry
from degflow_pipe.reports.page import LIMIT
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.store import (
    BLOCK,
    BLOCKS,
    UNIT,
    PatchRecord,
    PhotoRecord,
    Store,
    StoreSettings,
)
from degflow_pipe.watching import Watch
from tests.reports.conftest import aligned, comparison, evaluation

MARKUP = "<img src=x onerror=alert(1)>&\"'{{ 7*7 }}"


class Asked(HTMLParser):
    """What the elements of a page name that a browser may fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "srcset", "href", "xlink:href", "data", "action", "poster")
        self.values += [value or "" for name, value in attrs if name in names]


def page_of(path: Path, out: Path, **options: Any) -> str:
    """The page as text. It must not name anything that a browser would ask for."""
    report(path, out, **options)
    html = out.read_text()
    assert len(html) < LIMIT
    found = Asked()
    found.feed(html)
    assert all(value.startswith(("data:", "#")) for value in found.values), found.values
    assert "http:" not in html and "https:" not in html and "url(" not in html.replace("url(#", "")
    assert "default-src &#39;none&#39;" in html
    return html.replace("</span> <span>", " ")  # the words of a command


def test_a_store(ready_store: Path, tmp_path: Path) -> None:
    html = page_of(ready_store, tmp_path / "a.html")
    for said in ("27", "HR patches of 64 pixels a side", "Whole", "astronaut.png", "PSNR to HR"):
        assert said in html, said
    assert "after those of 27 looked at" in html
    assert 'data-name="farthest from HR: ' in html and 'data-name="nearest to HR: ' in html
    assert f"degflow-pipe ingest PHOTOS --store {ready_store.name} --patch 64" in html
    assert "<code>degflow-pipe verify</code>" in html
    assert html.count("<img src=") >= 12 * 3
    report(ready_store, tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()
    with pytest.raises(UsageError, match="overwrite"):
        report(ready_store, tmp_path / "a.html")
    assert report(ready_store, tmp_path / "a.html", overwrite=True).kind == "store"


def test_of_a_large_store_some_files_are_read(tmp_path: Path) -> None:
    """Twelve blocks of levels, the same each time, however many there are."""
    path = tmp_path / "large.zarr"
    store, grid = Store.create(path, StoreSettings(patch=8)), parse_t("0.5,1")
    grid = replace(grid, scales=(2.0, 3.0), pictures="a" * 12, scale_map="b" * 12)
    rng = np.random.default_rng(0)
    with store.writing():
        store.make_grid(grid)
        levels = store.levels(grid)
        for number in range(5):
            store.make_room(number)
            levels.make_room(number + 1)
            unit = store.write_hr(number, rng.integers(0, 256, (UNIT, 8, 8, 3), dtype=np.uint8))
            rows = [
                PatchRecord("a.png", "ab" * 32, 8 * i, 8, 3.5, f"{i:032d}") for i in range(UNIT)
            ]
            store.note_unit(number, unit, rows)
            for block in levels.numbers(number):
                lr = rng.integers(0, 256, (BLOCK, 2, 8, 8, 3), dtype=np.uint8)
                levels.note(block, levels.write(block, lr, unit, {"device": "cpu"}))
        store.note_photo(PhotoRecord("a.png", "ab" * 32, 5 * UNIT, 0, 0, 8, 1.0, "sRGB"))
        store.note_ingest(complete=True)
    before = page_of(path, tmp_path / "a.html")
    assert "320" in before and "after those of 192 looked at" in before
    blocks = range(5 * BLOCKS)
    for block in set(blocks) - set(spread(blocks, SCENES)):
        levels.file(block).unlink()
    assert page_of(path, tmp_path / "b.html") == before


def test_a_store_with_strange_names_and_photos_that_were_left_out(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    name = MARKUP.replace("/", "_") + ".png"
    shutil.copy(photo_folder / "astronaut.png", photos / name)
    for torn in ("torn.png", "<b>torn.png"):
        (photos / torn).write_bytes(b"no picture")
    store = make_store(tmp_path / "s.zarr", [str(photos)])
    html = page_of(store, tmp_path / "out.html")
    assert "<img src=x" not in html and "<b>torn" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;{{ 7*7 }}.png" in html
    assert "<h3>2: not a PNG" in html and "<li>&lt;b&gt;torn.png</li>" in html


def test_shards(ready_store: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "shards")
    html = page_of(tmp_path / "shards", tmp_path / "out.html")
    for said in ("54", "LR/HR pairs", "Finished", "astronaut.png, patch at", "all 54 pairs"):
        assert said in html, said
    assert "degflow-pipe shard --store STORE" in html and "--out shards</span>" in html
    assert 'data-name="farthest from HR: ' in html and 'data-name="nearest to HR: ' in html


def test_shards_whose_lr_are_smaller(ready_store: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "native", ShardSettings(lr_size="native"))
    html = page_of(tmp_path / "native", tmp_path / "out.html")
    assert 'data-about="32 x 32 pixels"' in html and 'data-about="16 x 16 pixels"' in html
    assert 'data-name="farthest from HR: ' in html and 'data-name="nearest to HR: ' in html
    assert "--lr-size native" in html


def test_how_long_it_took_is_told_by_events(ready_store: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    for name in ("one", "two"):
        with Watch(events) as watch:
            shard(ready_store, tmp_path / name, watch=watch)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    took = sum(line["seconds"] for line in lines if line["event"] == "unit")
    events.write_bytes(events.read_bytes() + b'{"event": "unit", "stage": "cut off')
    for path in (ready_store, tmp_path / "one"):
        html = page_of(path, tmp_path / f"{path.name}.html", events=events)
        row = f"shard</th><td>2</td><td>-</td><td>108</td><td>{duration_of(took)}</td>"
        assert row in html and "By the clock, 2 runs took" in html
    events.write_text('{"event": "unit", "stage": "shard", "seconds": "long"}\n')
    with pytest.raises(FileError, match=r"line 1\.seconds must be a number, got 'long'"):
        report(ready_store, tmp_path / "none.html", events=events)
    events.write_text("degflow\n")
    with pytest.raises(FileError, match="line 1 is no event"):
        report(ready_store, tmp_path / "none.html", events=events)
    assert not (tmp_path / "none.html").exists()


def test_a_checkpoint_with_what_was_found_about_it(tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    shutil.copytree(tiny, folder)
    plain = page_of(folder, tmp_path / "plain.html")
    assert "learned by heart" in plain and "recovers" not in plain
    json_files.write(folder / "evaluation.json", evaluation())
    json_files.write(folder / "proxy" / "figures.json", comparison())
    html = page_of(folder, tmp_path / "out.html")
    assert "Generated LR recovers 75 % of the gap" in html
    assert "Against real LR, x2.9" in html and "SR of real LR, x2.9" in html


def test_results(results: Path, tmp_path: Path) -> None:
    html = page_of(results / "evaluation", tmp_path / "evaluation.html")
    assert "Not judged" in html and "with care" in html
    assert "31.50 ± 0.50" in html and "Coherence with HR, x2.9" in html
    html = page_of(results / "evaluation" / "figures.json", tmp_path / "file.html")
    assert "31.50 ± 0.50" in html
    html = page_of(results / "proxy", tmp_path / "proxy.html")
    assert "Generated LR recovers 75 % of the gap" in html and "24.00 ± 0.01" in html
    html = page_of(results / "aligned", tmp_path / "aligned.html")
    assert "nearest of all, off 0.10 px" in html and "farthest off of all, off 0.30 px" in html
    assert "degflow-pipe align SHOTS --least 192 --out aligned" in html
    assert html.count('alt="cup, ') == 2 and "1: nothing to match" in html


def test_real_lr_beside_generated_is_shown_of_what_evaluate_wrote(
    pairs: tuple[Path, DataSettings], tiny: str, tiny_model: DegFlow, tmp_path: Path
) -> None:
    folder, data = pairs
    out = tmp_path / "evaluation"
    found = evaluate(tiny_model, data, folder, EvaluationSettings(parse_t("1"), out=out))
    html = page_of(out, tmp_path / "out.html")
    ranks = sorted(found.by_scene, key=lambda one: np.mean([*one.psnr.values()]))
    assert f'data-name="farthest from real LR: {ranks[0].scene}" data-left="1"' in html
    assert f'data-name="nearest to real LR: {ranks[-1].scene}" data-left="1"' in html
    for said in ("HR", "real LR, LR2", "generated, no noise, LR4"):
        assert html.count(f'data-label="{said}"') == 3, said
    assert f"generated without noise {np.mean([*ranks[0].psnr.values()]):.2f} dB to real LR" in html
    assert tiny_model.info.id in html and "licence of the pairs" in html
    assert page_of(out / "figures.json", tmp_path / "file.html") == html
    # A camera has its figures and its crops in its own folder.
    camera = tmp_path / "camera"
    shutil.copytree(tiny, camera)
    shutil.copytree(out / "crops", camera / "crops")
    shutil.copy(out / "figures.json", camera / "evaluation.json")
    html = page_of(camera, tmp_path / "camera.html")
    assert html.count('data-label="real LR, LR2"') == 3
    shutil.rmtree(camera / "crops")
    html = page_of(camera, tmp_path / "plain.html")
    assert "Real LR beside" not in html and "Drawn by" not in html
    # A stranger's crop is no larger than ours are.
    crop = out / "crops" / f"01_{found.scenes[0]}_HR.webp"
    Image.new("RGB", (257, 256)).save(crop)
    with pytest.raises(DegflowError, match=crop.name):
        report(out, tmp_path / "none.html")
    shutil.rmtree(out / "crops")
    assert 'data-label="' not in page_of(out, tmp_path / "without.html")


def test_real_lr_beside_what_a_checkpoint_generates(
    pairs: tuple[Path, DataSettings], tiny: str, tmp_path: Path
) -> None:
    folder, data = pairs
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny, checkpoint)
    info = read_info(checkpoint)
    write_info(checkpoint, replace(info, data={**info.data, "validate": data.validate}))
    html = page_of(checkpoint, tmp_path / "out.html", pairs=folder, device="cpu")
    assert "Real LR of 3 of 3 held-out scenes" in html
    assert 'data-name="farthest from real LR: ' in html and 'data-left="4"' in html
    for said in ("real LR, LR2", "generated, no noise, LR2", "generated, t = 0.25"):
        assert html.count(f'data-label="{said}"') == 3, said
    (folder / "a_lr2.png").write_bytes(b"no picture")
    with pytest.raises(DegflowError, match=r"a_lr2\.png"):
        report(checkpoint, tmp_path / "none.html", pairs=folder, device="cpu")
    assert not (tmp_path / "none.html").exists()


def test_the_ends_are_left_where_all_are_alike() -> None:
    album = Album()
    picture = np.zeros((8, 8, 3), np.uint8)
    entries = [
        Entry(name, "", [("HR", "", picture)], rank)
        for name, rank in zip("ab", (1, 1), strict=True)
    ]
    album.add_all([*entries, Entry("c", "", [("HR", "", picture)])], "worst", "best")
    assert [(one.name, one.end) for one in album.scenes] == [("a", ""), ("b", ""), ("c", "")]


def test_no_path_from_inside_a_file_is_followed(results: Path, tmp_path: Path) -> None:
    value = aligned()
    value["scenes"][0]["pairs"] = {"../aligned/street": [0, 0, 96, 96]}
    json_files.write(results / "aligned" / "align.json", value)
    html = page_of(results / "aligned", tmp_path / "out.html")
    assert 'alt="cup, ' not in html and html.count('alt="street, ') == 2


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, held in inner:
        found.append((*before, key))
        if isinstance(held, dict | list):
            found += places(held, (*before, key))
    return found


OTHERS = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(MARKUP),
    st.just([]),
    st.just({MARKUP: [MARKUP]}),
)


@pytest.mark.parametrize("kind, make", [("evaluation", evaluation), ("proxy", comparison)])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(choice=st.data())
def test_a_strangers_figures(
    kind: str, make: Callable[[], dict[str, Any]], choice: st.DataObject, results: Path
) -> None:
    """Any value in it may be something else: the page has it as text, or an error names it."""
    value = copy.deepcopy(make())
    *way, last = choice.draw(st.sampled_from(places(value)))
    at = value
    for key in way:
        at = at[key]
    at[last] = choice.draw(OTHERS)
    path = results / kind / "figures.json"
    path.write_text(json.dumps(value))
    try:
        html = page_of(path, results / "out.html", overwrite=True)
    except DegflowError as error:
        assert str(path) in str(error)
    else:
        assert "<img src=x" not in html


def test_damaged_figures_are_named(results: Path, tmp_path: Path) -> None:
    value = evaluation()
    value["levels"]["x2.9"]["candidates"]["noisy"]["psnr"]["mean"] = "high"
    json_files.write(results / "evaluation" / "figures.json", value)
    with pytest.raises(FileError, match=r"noisy.*psnr.*mean must be a number, got 'high'"):
        report(results / "evaluation", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_what_cannot_be_reported(tiny: str, ready_store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, options, said in (
        (tmp_path / "empty", {}, "no store, no folder of shards"),
        (tmp_path / "nowhere", {}, "is not there"),
        (Path(tiny), {"grid": "fine"}, "`grid` is for a store"),
        (Path(tiny), {"events": tmp_path}, "`events` is for a store or shards"),
        (ready_store, {"pairs": tmp_path}, "`pairs` is for a checkpoint"),
    ):
        with pytest.raises(UsageError, match=said):
            report(path, tmp_path / "out.html", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out.html").exists()
