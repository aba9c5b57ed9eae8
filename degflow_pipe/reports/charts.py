"""Curves and histograms as SVG that takes the page's own colours, drawn with matplotlib.

All text in a drawing is ours or a number: names from files stand beside it, in HTML.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from degflow_pipe.reports.page import Chart, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.6, 3.3)
"""Inches of 72 points, which become pixels of the drawing's own."""
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
}
"""What matplotlib is told to draw with, and what stands for it in the page: see style.css."""
INK, MUTED, GRID, ACCENT = COLOURS
STYLES = (
    {"color": ACCENT, "linewidth": 2.0, "marker": "o", "markersize": 4.0},
    {"color": INK, "linewidth": 1.4, "linestyle": "--"},
    {"color": MUTED, "linewidth": 1.4, "linestyle": "-"},
    {"color": INK, "linewidth": 1.4, "linestyle": ":"},
    {"color": MUTED, "linewidth": 1.4, "linestyle": "-."},
)
"""Of lines, in their order: told apart by their dashes, as there is one colour. The legend in
style.css has the same."""
BINS = 24
TABLED = 40
"""Rows of the table below a curve, at most."""

LARGEST = 1e12
"""Of what is drawn: no figure is larger, and an axis cannot be."""

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def curve(
    title: str,
    across: str,
    up: str,
    lines: Lines,
    *,
    said: str = "",
    logarithmic: bool = False,
    digits: int = 2,
) -> Chart:
    """Lines over numbers. lines: by label, (x, y) of one length; what is not finite, or
    beyond LARGEST, is left out; of labels beyond STYLES nothing is drawn, the table has them.
    """
    axes = _axes(across, up)
    shown = list(lines.items())[: len(STYLES)]
    for (_, (x, y)), style in zip(shown, STYLES, strict=False):
        xs, ys = np.asarray(x, float), np.asarray(y, float)
        kept = (np.abs(xs) < LARGEST) & (np.abs(ys) < LARGEST) & ((ys > 0) | (not logarithmic))
        axes.plot(xs[kept], ys[kept], **style)  # type: ignore[arg-type]
    if logarithmic:
        axes.set_yscale("log")
    legend = [(label, i) for i, (label, _) in enumerate(shown)] if len(shown) > 1 else []
    alt = f"{title}: {up} by {across}. " + " ".join(_ends(n, v, digits) for n, v in shown)
    table = _table_of(title, across, up, lines, digits)
    return Chart(title, alt.strip(), _svg(axes), table, legend, said)


def histogram(title: str, across: str, values: Sequence[float], of: str, said: str = "") -> Chart:
    """How often values fall into BINS equal bins, or how often each is there where they are few
    whole numbers. of: what is counted, such as `photos`.
    """
    found = np.asarray(values, float)
    found = found[np.abs(found) < LARGEST]
    low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    whole = bool((found == np.rint(found)).all())
    single = whole and high - low < BINS
    if single:
        edges = np.arange(low - 0.5, high + 1)
    else:
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
        edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(found, edges)
    axes = _axes(across, of)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, edgecolor="none")
    axes.margins(x=0.02 if len(counts) > 1 else 2)
    axes.locator_params("y", integer=True)
    if whole:
        axes.locator_params("x", integer=True)
    spread = ", ".join(
        f"{name} {value:.3g}"
        for name, value in (
            ("least", low if len(found) == 0 else found.min()),
            ("median", np.median(found) if len(found) else low),
            ("most", high if len(found) == 0 else found.max()),
        )
    )
    rows = [
        [f"{(a + b) / 2:.0f}" if single else f"{a:.3g} to {b:.3g}", f"{n:,}"]
        for n, (a, b) in zip(counts, itertools.pairwise(edges), strict=True)
        if n
    ]
    table = Table(title, (across, of), rows)
    return Chart(title, f"{title}: {len(found):,} {of}, {spread}.", _svg(axes), table, (), said)


def _ends(label: str, line: tuple[Sequence[float], Sequence[float]], digits: int) -> str:
    x, y = line
    if not len(x):
        return ""
    return f"{label}: {y[0]:.{digits}f} at {x[0]:.3g}, {y[-1]:.{digits}f} at {x[-1]:.3g}."


def _table_of(title: str, across: str, up: str, lines: Lines, digits: int) -> Table:
    """A row for each x; lines that have other x are left blank there."""
    every = sorted({round(float(v), 6) for x, _ in lines.values() for v in x})
    by_x = {
        label: {round(float(a), 6): float(b) for a, b in zip(x, y, strict=True)}
        for label, (x, y) in lines.items()
    }
    chosen = every[:: -(-len(every) // TABLED) or 1]
    rows = [
        [f"{x:.3g}", *(_figure(values.get(x), digits) for values in by_x.values())] for x in chosen
    ]
    columns = [across, *(lines if len(lines) > 1 else [up])]
    return Table(title, columns, rows, total=len(every))


def _figure(value: float | None, digits: int) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.3g}" if abs(value) >= 1e5 or 0 < abs(value) < 1e-3 else f"{value:.{digits}f}"


def _axes(across: str, up: str) -> Axes:
    from matplotlib.figure import Figure  # half a second, so not before it is needed

    figure = Figure(figsize=SIZE, dpi=72)
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.16, top=0.97)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, labelsize=10.5, which="both")
    axes.set_xlabel(across, color=MUTED, fontsize=10.5, parse_math=False)
    axes.set_ylabel(up, color=MUTED, fontsize=10.5, parse_math=False)
    return axes


def _svg(axes: Axes) -> Markup:
    """The drawing without what names its maker, and with the page's colours and font."""
    import matplotlib

    figure = axes.figure
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "degflow-pipe"}):
        data = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(data, format="svg", metadata=nothing, transparent=True)  # type: ignore[union-attr]
    text = data.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"font(-family)?:[^;\"]*;?", "", text)
    for drawn, ours in COLOURS.items():
        text = text.replace(drawn, ours)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)
    return Markup(_unique(text))  # of numbers and our own words


def _unique(text: str) -> str:
    """Its ids are of this drawing alone: a page has several."""
    head = f"c{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    text = re.sub(r'\bid="', f'id="{head}', text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{head}", text)
