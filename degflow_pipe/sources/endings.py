"""Which files are photos, by the endings of their names."""

from __future__ import annotations

from degflow_pipe.decoding.decode import HEIF
from degflow_pipe.formats.text import printable

EXTENSIONS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        *(".avif", *((".heic", ".heif", ".hif") if HEIF else ())),
    },
)
LONGEST = 40
"""Characters of an ending that is shown."""


def is_picture(ending: str) -> bool:
    return ending.lower() in EXTENSIONS


def count(ending: str, others: dict[str, int]) -> None:
    """Count a file that is no photo by its ending."""
    shown = printable(ending)[:LONGEST] or "(none)"
    others[shown] = others.get(shown, 0) + 1
