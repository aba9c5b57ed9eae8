"""Pages of `align`, HTML that needs nothing else: HR and LR to flip between, arrows, masks."""

from __future__ import annotations

import base64
from dataclasses import asdict
from html import escape
from typing import Any

import cv2
import numpy as np

from degflow_pipe.alignment.align import Aligned
from degflow_pipe.alignment.left import REASONS
from degflow_pipe.alignment.results import AlignSummary, SceneAligned
from degflow_pipe.alignment.tiles import BLOCK, Tiles
from degflow_pipe.pictures.formats import parse_format

PAGES = "pages"
"""Folder of the pages of scenes."""
SHOWN = 1200
"""Pixels of a picture's longer side, at most."""
ARROWS = 20.0
"""Times a shift is drawn enlarged on the page, at most; less where it would reach over two tiles.
"""
COLOURS = ("", "#888", "#fff", "#ff0", "#f0f", "#f00", "#08f")
"""Of the reasons why a block is not used."""
STYLE = """body{font:15px sans-serif;margin:1em;max-width:1240px}table{border-collapse:collapse}
td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child
{text-align:left}td{white-space:nowrap}figure{position:relative;margin:0 0 1.5em}figure img,
figure svg{width:100%;display:block}figure svg{position:absolute;top:0;left:0}
.flip img+img{position:absolute;top:0;left:0;visibility:hidden}
.flip:hover img+img{visibility:visible}"""


def scene_page(scene: SceneAligned, hr: np.ndarray, aligned: dict[str, Aligned]) -> str:
    """hr: (H, W, 3) uint8; aligned: by level."""
    height, width = hr.shape[:2]
    scale = min(1.0, SHOWN / max(height, width))
    shown = _coded(_small(hr, scale))
    parts = [f"<h1>{escape(scene.name)}</h1>", _table([_row(one) for one in _plain(scene)])]
    parts += [f"<p>{escape(note)}</p>" for note in scene.notes]
    for level, one in aligned.items():
        lr = _coded(_small(one.picture(0, 0, height, width), scale))
        box = f'viewBox="0 0 {width} {height}"'
        off = _arrows(one.before, "#f60", scale) + _arrows(one.after, "#0c0", scale)
        parts.append(
            f"<h2>{level}</h2><p>HR; LR on its grid while the pointer is on it.</p>"
            f'<figure class="flip"><img src="{shown}" alt="HR"><img src="{lr}" alt="LR"></figure>'
            f"<p>What tiles lie off, enlarged up to {ARROWS:g} times: before (orange), after "
            f'(green).</p><figure><img src="{shown}" alt=""><svg {box}>{off}</svg></figure>'
            f"<p>Pairs (green frames), and what is not used: {_legend()}.</p>"
            f'<figure><img src="{shown}" alt=""><svg {box}>{_mask(one.reasons)}'
            f"{_frames(scene)}</svg></figure>"
        )
    return _page(scene.name, parts)


def summary_page(summary: AlignSummary, scenes: list[dict[str, Any]]) -> str:
    """scenes: each a SceneAligned as a mapping."""
    rows = []
    for scene in scenes:
        for one in scene["levels"]:
            link = f'<a href="{PAGES}/{escape(scene["name"])}.html">{escape(scene["name"])}</a>'
            rows.append(
                {
                    "scene": link,
                    **_row(one),
                    "pairs": str(len(scene["pairs"])),
                    "area in pairs": f"{100 * scene['kept']:.0f} %",
                }
            )
    parts = ["<h1>Aligned pairs</h1>", _table(rows)]
    if summary.failed:
        parts.append("<h2>Not used</h2>")
        parts += [f"<p>{escape(k)}: {escape(v)}</p>" for k, v in summary.failed.items()]
    notes = [f"{s['name']}: {note}" for s in scenes for note in s["notes"]]
    if notes or summary.notes:
        parts.append("<h2>Notes</h2>")
        parts += [f"<p>{escape(note)}</p>" for note in [*summary.notes, *notes]]
    return _page("Aligned pairs", parts)


def _plain(scene: SceneAligned) -> list[dict[str, Any]]:
    return [asdict(one) for one in scene.levels]


def _row(one: dict[str, Any]) -> dict[str, str]:
    def off(figures: list[float]) -> str:
        return " / ".join(f"{v:.3f}" for v in figures) or "-"

    exif = one["exif_scale"]
    return {
        "level": escape(one["level"]),
        "shot": escape(one["shot"]),
        "scale": f"{one['scale']:.3f}",
        "by EXIF": "-" if exif is None else f"{exif:.2f}",
        "turned, degrees": f"{one['rotation']:.2f}",
        "matches": f"{one['agreeing']} of {one['matches']}",
        "off before, median / 95 %": off(one["shift_before"]),
        "off after": off(one["shift_after"]),
        "blur, pixels": f"{one['sigma']:.2f}",
        "gain R, G, B": " ".join(f"{v:.3f}" for v in one["light"]["gain"]),
        "light left": " ".join(f"{v:.2f}" for v in one["light"]["left"]),
        "clean": f"{100 * one['kept']:.0f} %",
    }


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in rows[0])
    body = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row.values()) + "</tr>" for row in rows]
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _page(title: str, parts: list[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _small(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _coded(picture: np.ndarray) -> str:
    data = parse_format("jpeg:90").encode(picture)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _arrows(tiles: Tiles, colour: str, scale: float) -> str:
    """A line from each tile's middle to where it lies, enlarged; scale: of the page to HR."""
    told = tiles.certain
    made = []
    for (x, y), (dx, dy) in zip(tiles.middles[told], tiles.shift[told], strict=True):
        long = float(np.hypot(dx, dy))
        times = min(ARROWS / scale, 8 * BLOCK / max(long, 1e-6))
        made.append(f"M{x:.0f} {y:.0f}l{dx * times:.1f} {dy * times:.1f}")
    width = 2 / scale
    return f'<path d="{"".join(made)}" stroke="{colour}" stroke-width="{width:.1f}" fill="none"/>'


def _mask(reasons: np.ndarray) -> str:
    made = []
    for number in range(1, len(REASONS) + 1):
        places = "".join(
            f"M{x * BLOCK} {y * BLOCK}h{BLOCK}v{BLOCK}h-{BLOCK}z"
            for y, x in np.argwhere(reasons == number)
        )
        if places:
            made.append(f'<path d="{places}" fill="{COLOURS[number]}" fill-opacity=".55"/>')
    return "".join(made)


def _frames(scene: SceneAligned) -> str:
    return "".join(
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="none" '
        f'stroke="#0c0" stroke-width="4"/>'
        for top, left, bottom, right in scene.pairs.values()
    )


def _legend() -> str:
    return ", ".join(
        f'<span style="background:{COLOURS[number]};border:1px solid">&emsp;</span> {name}'
        for number, name in enumerate(REASONS, 1)
    )
