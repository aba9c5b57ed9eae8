"""What `simulate` returns; its JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SimulateSummary:
    """What a simulation left in its folder; simulated: always true.

    train, test: photos of each split. written, kept: pictures made now, and there already. skipped:
    why photos were not used, by name. left_out: files that are no photos, by ending. colours:
    photos whose colours were not plain sRGB, by what was done; unchecked: those in which damage may
    go unseen, by kind; both of photos that were read now.
    """

    out: str
    software: str
    simulated: bool
    camera: str
    layout: str
    scales: list[float]
    train: int
    test: int
    written: int
    kept: int
    skipped: dict[str, str]
    left_out: dict[str, int]
    colours: dict[str, int]
    unchecked: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
