"""Where the known sets of real pairs keep their pictures.

A pattern is a path below the set's folder. {camera}, {split} (Train or Test), {scene} and {any}
stand for part of a name, {s} for the level's scale as the set spells it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

GROUPS = {
    "camera": "(?P<camera>[^/]+)",
    "split": "(?P<split>Train|Test)",
    "scene": "(?P<scene>[^/]+?)",
    "any": "[^/]+?",
}
LOSSLESS = "(?:png|webp|bmp|tiff?)"


@dataclass(frozen=True)
class Layout:
    """A set's patterns of HR and LR.

    spell: a scale as it stands in the set's names. smaller: LR is stored smaller than HR, so it is
    enlarged by data.enlarge. partial: not every scene was taken at every scale; training takes
    those that have all the knots.
    """

    hr: str
    lr: str
    spell: Callable[[float], str] = "{:g}".format
    smaller: bool = False
    partial: bool = False


LAYOUTS = {
    # Cai et al., ICCV 2019, version 2 "ordered": one HR a scene, LR of the same size.
    "realsr-v2": Layout(
        "{camera}/{split}/2/{scene}_HR.png", "{camera}/{split}/{s}/{scene}_LR{s}.png"
    ),
    # Version 3: LR as small as its scale, an HR beside each LR.
    "realsr-v3": Layout(
        "{camera}/{split}/{s}/{scene}_HR.png",
        "{camera}/{split}/{s}/{scene}_LR{s}.png",
        smaller=True,
        partial=True,
    ),
    # Wei et al., ECCV 2020.
    "drealsr": Layout(
        "{split}_x{s}/{any}_HR/{scene}_x1.png",
        "{split}_x{s}/{any}_LR/{scene}_x{s}.png",
        smaller=True,
        partial=True,
    ),
    # Li et al., ECCV 2024: folders HR1dot5, LR1dot5, HR2, LR2, ...
    "realarbisr": Layout(
        "{split}/HR{s}/{scene}.png",
        "{split}/LR{s}/{scene}.png",
        spell=lambda scale: f"{scale:g}".replace(".", "dot"),
        smaller=True,
        partial=True,
    ),
    # Chen et al., CVPR 2019: one level a camera.
    "city100": Layout("{camera}/{scene}_hr.{picture}", "{camera}/{scene}_lr.{picture}"),
    # A folder a scale, the same name in each; HR is scale 1. Below Train/ and Test/, or not.
    "interflow": Layout(
        "{split?}scale_1.0/{scene}_HR.png",
        "{split?}scale_{s}/{scene}_HR.png",
        spell="{:.1f}".format,
    ),
}


def compile_pattern(pattern: str, scale: str = "") -> tuple[str, re.Pattern[str]]:
    """A pattern as a glob that finds at least its files, and as the expression they must match."""
    parts = re.split(r"(\{[a-z?]+\})", pattern)
    glob, expression = "", ""
    for part in parts:
        name = part[1:-1]
        if not part.startswith("{"):
            glob, expression = glob + part, expression + re.escape(part)
        elif name == "s":
            glob, expression = glob + scale, expression + re.escape(scale)
        elif name == "picture":
            glob, expression = glob + "*", expression + LOSSLESS
        elif name == "split?":
            glob, expression = glob + "**/", expression + f"(?:{GROUPS['split']}/)?"
        else:
            glob, expression = glob + "*", expression + GROUPS[name]
    return glob, re.compile(expression + r"\Z", re.IGNORECASE if "picture" in pattern else 0)
