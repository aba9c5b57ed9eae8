"""The page in a browser: what one sees, at both widths and in both themes, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from skimage import data

from degflow_pipe.reports.charts import curve, histogram
from degflow_pipe.reports.drawn import Album, Entry
from degflow_pipe.reports.page import (
    Check,
    Fact,
    Judgement,
    Number,
    Page,
    Skips,
    Table,
    prose,
    render,
)

Visit = Callable[..., Any]
LONG = "a-name-without-any-place-to-break-it-" * 6


@pytest.fixture(scope="module")
def html() -> str:
    """A page that has everything, with long names."""
    page = Page("Store of degflow-pipe", LONG, "What it holds, in a sentence.")
    page.numbers = [Number("1,234", "patches"), Number("5.6 GB", "on disk")]
    states = ("good", "care", "bad", "unknown")
    checks = [Check(f"check {s}", s, s, f"what it says, {LONG}", "1.59", "≤ 1.5") for s in states]
    page.judgements = [Judgement(f"about {s}", s, f"Word {s}", "Said.", checks) for s in states]
    album = Album()
    hr = np.ascontiguousarray(data.astronaut()[100:196, 180:276])
    levels = [("HR", "", hr)]
    levels += [(f"x{k}", f"{30 - k} dB", np.ascontiguousarray(hr // k)) for k in (2, 3)]
    levels.append(("x4, smaller", "", np.ascontiguousarray(hr[::4, ::4])))
    entries = [Entry(name, "so far off", levels, rank) for rank, name in enumerate(("first", LONG))]
    album.add_all(entries, "farthest", "nearest")
    page.scenes, page.pictures_said = album.scenes, "As they are."
    lines = {"real": ([0.0, 1.0], [40.0, 25.0]), "generated": ([0.0, 1.0], [41.0, 26.0])}
    page.curves = [
        curve("PSNR", "t", "dB", lines),
        curve("Power", "f", "p", lines, logarithmic=True),
    ]
    columns = ["LR", *(f"figure {i}, in its unit" for i in range(9))]
    page.tables = [Table("Wide", columns, [[LONG[:60], *["31.50 ± 0.50"] * 9]], "Said.", total=7)]
    page.histograms = [histogram("Detail", "grey levels", [1, 2, 2, 3], "patches")]
    page.facts = [Fact("licence", LONG)]
    page.origins = [Table("Photos", ("photo", "patches"), [[LONG, "3"]])]
    page.skips = [Skips("damaged", 3, ["a.jpg", LONG])]
    page.costs = [Table("Disk", ("what", "bytes"), [["HR", "3 MB"]])]
    page.commands = [f"degflow-pipe ingest {LONG} --patch 64 --min-detail 1 --checkpoint {LONG}"]
    return render(page)


def test_slider_wipe_and_zoom_change_what_one_sees(html: str, visit: Visit) -> None:
    page = visit(html)
    stage = page.locator(".stage").first

    def seen() -> bytes:
        return bytes(stage.screenshot())

    shown = [seen()]
    for control, key in (("level", "ArrowLeft"), ("wipe", "PageUp"), ("wipe", "Home")):
        page.locator(f"#{control}").press(key)
        shown.append(seen())
    page.locator("[data-zoom]").select_option("8")
    shown.append(seen())
    page.locator("[data-scene]").select_option(index=1)
    page.locator("select[data-left]").select_option(index=1)
    shown.append(seen())
    assert len(set(shown)) == len(shown)
    options = page.locator("[data-scene] option").all_inner_texts()
    assert options == ["farthest: first", f"nearest: {LONG}"]
    assert page.locator("[data-level-said]").inner_text() == "x4, smaller"
    assert page.locator("#level").get_attribute("aria-valuetext") == "x4, smaller"
    page.locator("[data-beside]").check()
    assert page.locator(".stage").nth(1).is_visible() and page.locator("#wipe").is_disabled()
    assert page.said == [] and page.asked == []


def test_nothing_that_is_put_into_it_can_ask_for_anything(html: str, visit: Visit) -> None:
    """Were markup to slip through all the same."""
    there = '<img src="https://example.org/x.png"><script>document.title = "run"</script>'
    page = visit(html.replace("</main>", f"{there}</main>"))
    assert page.title() != "run"
    assert any("Content Security Policy" in said for said in page.said)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_can_be_read(html: str, visit: Visit, width: int, theme: str) -> None:
    """No sideways scrolling, and axe-core's rules, contrast AA among them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    page = visit(html, width, theme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_picture_and_its_controls_are_seen_at_once(html: str, visit: Visit) -> None:
    """On a phone and on a desk: one who moves a slider sees what it does."""
    for width, height in ((390, 844), (1400, 900)):
        page = visit(html, width)
        page.set_viewport_size({"width": width, "height": height})
        boxes = [
            page.locator(name).bounding_box() for name in (".stage >> nth=0", "#level", "#wipe")
        ]
        top, bottom = min(b["y"] for b in boxes), max(b["y"] + b["height"] for b in boxes)
        assert bottom - top < height, (width, boxes)


def test_what_is_enlarged_is_wiped_where_it_is_in_view(html: str, visit: Visit) -> None:
    page = visit(html, 390)
    page.locator("[data-zoom]").select_option("8")
    for part in (0.5, 0.25):
        page.locator("#wipe").fill(str(round(100 * part)))
        seam, stage = (page.locator(name).bounding_box() for name in (".seam", ".stage >> nth=0"))
        assert abs(seam["x"] - (stage["x"] + part * stage["width"])) < 4
    page.locator("[data-beside]").check()
    places = page.locator(".stage").evaluate_all("all => all.map(one => one.scrollLeft)")
    assert places[0] == places[1] > 0


def test_backticks_are_code_and_markup_is_text() -> None:
    assert prose("run `a <b>`, not <i>") == "run <code>a &lt;b&gt;</code>, not &lt;i&gt;"


def test_a_command_is_not_broken_within_an_option(html: str, visit: Visit) -> None:
    words = visit(html, 390).locator("pre span")
    lines = words.evaluate_all("all => all.map(one => one.getClientRects().length)")
    assert len(lines) == 9 and set(lines) == {1}


def test_it_needs_no_scripts(html: str, visit: Visit) -> None:
    page = visit(html, java_script_enabled=False)
    assert not page.locator("#viewer").is_visible()
    pictures = page.locator(".strip img")
    assert pictures.count() == 8 and pictures.first.is_visible()
    assert page.locator("summary", has_text=LONG[:30]).is_visible()
