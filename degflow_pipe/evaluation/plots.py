"""Pages of figures and pictures as PNG, drawn with matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from degflow_pipe import files
from degflow_pipe.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[list[float], list[float]]
"""Places and values of one length."""

DPI = 100
ACROSS = 3
"""Plots beside each other on a page of curves."""


def sweep_page(
    path: Path, curves: dict[str, Curve], truth_t: float, best: dict[str, float], title: str
) -> None:
    """Each figure against t, with the real picture's t and the figure's best t marked.

    curves: by name of the figure, its (t, values); best: its best t, for those that have one.
    Values that are not finite are left out. Raises UsageError where matplotlib is not installed.
    """
    down = -(-len(curves) // ACROSS)
    figure = _figure(title, 4.0 * ACROSS, 3.0 * down + 0.5)
    for i, (name, (t, values)) in enumerate(curves.items()):
        axes = figure.add_subplot(down, ACROSS, i + 1, title=name, xlabel="t")
        kept = np.isfinite(values)
        axes.plot(np.asarray(t)[kept], np.asarray(values)[kept], marker=".")
        axes.axvline(truth_t, color="grey", linestyle="--", label=f"real, t = {truth_t:.3g}")
        if name in best:
            axes.axvline(best[name], color="tab:red", label=f"best, t = {best[name]:.3g}")
        _finish(axes)
    _write(path, figure)


def spectrum_page(
    path: Path, bands: Sequence[float], lines: dict[str, list[float]], title: str
) -> None:
    """Lines over spatial frequency, on a logarithmic scale.

    bands: middles of the bands in cycles a pixel (`spectrum.centres`); lines: by label, a value for
    each band. Raises UsageError where matplotlib is not installed.
    """
    figure = _figure(title, 8.0, 5.5)
    axes = figure.add_subplot(xlabel="cycles a pixel", ylabel="power, grey levels squared")
    for label, values in lines.items():
        axes.plot(np.asarray(bands), np.asarray(values), label=label)
    axes.set_yscale("log")
    _finish(axes)
    _write(path, figure)


@dataclass(frozen=True)
class Panel:
    """One plot of a page: lines over numbers, or bars beside each other over names.

    values: by label, a value for each of x; None is left out. level: a grey line across, at what
    would be perfect. at_least: what the axis spans, so that small things look small; more where
    values lie outside.
    """

    title: str
    across: str
    up: str
    x: Sequence[float] | Sequence[str]
    values: Mapping[str, Sequence[float | None]]
    logarithmic: bool = False
    level: float | None = None
    at_least: tuple[float, float] | None = None


def panel_page(path: Path, panels: Sequence[Panel], title: str) -> None:
    """Panels, two beside each other. Raises UsageError where matplotlib is not installed."""
    down = -(-len(panels) // 2)
    figure = _figure(title, 12.0, 3.8 * down + 0.5)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(
            down, 2, i + 1, title=panel.title, xlabel=panel.across, ylabel=panel.up
        )
        _draw(axes, panel)
        _finish(axes)
    _write(path, figure)


def _draw(axes: Axes, panel: Panel) -> None:
    named = isinstance(panel.x[0], str)
    width = 0.8 / max(len(panel.values), 1)
    for i, (label, values) in enumerate(panel.values.items()):
        kept = np.array([np.nan if value is None else value for value in values], float)
        if named:
            place = np.arange(len(panel.x)) + (i - (len(panel.values) - 1) / 2) * width
            axes.bar(place, kept, width, label=label)
        else:
            axes.plot(np.asarray(panel.x), kept, marker=".", label=label)
            axes.update_datalim([(x, 0) for x in np.asarray(panel.x)], updatey=False)
    if named:
        axes.set_xticks(np.arange(len(panel.x)), [str(x) for x in panel.x])
        axes.margins(y=0.25)  # room for the legend
    if panel.level is not None:
        axes.axhline(panel.level, color="grey", linewidth=0.8)
    if panel.logarithmic:
        axes.set_yscale("log")
    if panel.at_least is not None:
        axes.update_datalim([(0, y) for y in panel.at_least], updatex=False)
        axes.autoscale_view()


def picture_page(path: Path, rows: list[list[tuple[str, np.ndarray]]], title: str) -> None:
    """Pictures side by side, each under its label, pixels unsmoothed.

    rows: (label, (H, W, 3) uint8) from left to right; rows may differ in length. Raises UsageError
    where matplotlib is not installed.
    """
    across = max(len(row) for row in rows)
    figure = _figure(title, 2.6 * across, 2.9 * len(rows) + 0.5)
    for i, row in enumerate(rows):
        for j, (label, picture) in enumerate(row):
            axes = figure.add_subplot(len(rows), across, i * across + j + 1)
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(label, fontsize=9)
            axes.set_axis_off()
    _write(path, figure)


def _figure(title: str, width: float, height: float) -> Figure:
    """A figure of its own, in inches: pyplot would keep it, and choose a screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "pages of plots are drawn with matplotlib: pip install 'degflow-pipe[plots]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    return figure


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _write(path: Path, figure: Figure) -> None:
    data = BytesIO()
    # Without matplotlib's version in it, equal figures give equal bytes.
    figure.savefig(data, format="png", metadata={"Software": None})
    files.write_bytes(path, data.getvalue())
