"""What `doctor` returns; its JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Finding:
    """What is wrong in one way: how often, the first few in words, and what to do; that is empty
    where the words say it.
    """

    count: int
    examples: list[str]
    cure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says of a folder.

    options: the option file that was read. pairs: that the trainer makes; compared: those whose
    pixels were looked at. ratios: how many pairs have which HR over LR. findings: by kind; fine:
    whether there is none.
    """

    trainer: str
    folder: str
    options: str | None
    pairs: int
    compared: int
    ratios: dict[str, int]
    findings: dict[str, Finding]
    fine: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
