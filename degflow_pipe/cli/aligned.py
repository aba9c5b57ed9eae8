"""What `align` says: pairs that were made of shots, and what pairs lie off."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from degflow_pipe.cli.output import print_rows, say, show
from degflow_pipe.cli.tables import Numbers, print_numbers

if TYPE_CHECKING:
    from degflow_pipe.alignment.results import AlignSummary, CheckSummary


def show_checked(result: CheckSummary, as_json: bool) -> None:
    """What pairs lie off, by level, and those that lie off most."""
    if as_json:
        show(result, True)
        return
    levels = result.levels.items()
    shifts: dict[str, Numbers] = {
        level: [
            *(found.pairs, found.shift_median, found.shift_90, found.shift_most),
            *(found.tile_90, found.doubt_median),
        ]
        for level, found in levels
    }
    columns = ["pairs", "median", "90%", "worst", "tiles 90%", "doubt"]
    caption = (
        "median, 90% and worst of all pairs, a pair's shift being the median of its tiles; tiles "
        "90%: nine tenths of the tiles of a pair lie off by less; doubt: deviation of one tile's "
        "own measuring, which is in these"
    )
    print_numbers("what LR lie off HR, pixels of HR", caption, columns, shifts, "level")
    light: dict[str, Numbers] = {
        level: [found.gain_median, found.gain_spread, found.contrast_median]
        for level, found in levels
    }
    caption = (
        "gain: brightness of LR over HR's, median and spread over pairs; contrast: of fine detail, "
        "above 1 where the LR was sharpened"
    )
    columns = ["gain", "spread", "contrast"]
    print_numbers("light", caption, columns, light, "level")
    worst = {one.lr: one.shift[0] for one in result.worst}
    show(worst, False, "pairs that lie off most, pixels of HR")
    if result.failed:
        show(result.failed, False, "pairs that could not be measured")
    from degflow_pipe.checkpoint.verdict import LIMITS

    limit = LIMITS["alignment"]
    for level, found in levels:
        fit = "fit to train on" if found.shift_median <= limit.care else "align them first"
        off = f"{found.shift_median:.2f} pixels off in the median"
        say(f"{level}: {off}, and up to {limit.care:g} is good: {fit}")


def show_aligned(result: AlignSummary, as_json: bool) -> None:
    """What was made of shots, and how well."""
    if as_json:
        show(result, True)
        return
    rows: dict[str, Any] = {
        "scenes": f"{result.made} aligned now, {result.known} before",
        "pairs": f"{result.pairs}, {result.megapixels:.1f} megapixels of HR",
        "share of HR in pairs": f"{result.kept:.0%}",
        "levels": ", ".join(f"{name} (s = {s:.3g})" for name, s in result.levels.items()),
        "levels that every scene has": ", ".join(result.knots),
        "held out": ", ".join(result.validate),
    }
    if result.shift_after:
        median, most = result.shift_after
        rows["what LR lie off HR"] = (
            f"{median:.2f} pixels of HR in the median tile, {most:.2f} at 95% of tiles, both "
            f"in the median scene"
        )
        rows["light that is left"] = f"{result.light_left:.2f} grey levels in the median scene"
    rows |= {"failed": result.failed, "files that are no shots": result.left_out}
    rows |= {"notes": result.notes, "recipe": result.recipe, "page": result.page}
    show({key: value for key, value in rows.items() if value}, False, f"align: {result.out}")
    out = shlex.quote(result.out)
    print_rows(
        [
            ("look", f"{result.page}, and degflow-pipe report {out}: are they fit to train on?"),
            ("next", f"degflow-pipe camera {out} -o my-camera"),
        ]
    )
