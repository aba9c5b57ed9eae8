"""What an export is, as it says itself: `info` returns it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from degflow_pipe import files, json_files
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.exports.owned import DONE, MARK, MAX_MARK
from degflow_pipe.exports.trainers import find_trainer
from degflow_pipe.settings import AtLeast, read

AGAIN = "run the `export` that made it again, which leaves what is whole"


@dataclass(frozen=True)
class LevelContents:
    """One level of an export.

    level: its name in the shards. scale: of the camera at t. told: the factor that the trainer is
    told; effective_scale: sides of HR over sides of LR. hr_size, lr_size: (H, W) in pixels.
    """

    level: str
    t: float
    scale: float
    told: float
    effective_scale: float
    hr_size: list[int]
    lr_size: list[int]


@dataclass(frozen=True)
class ExportContents:
    """What an export holds, by its own word: `doctor` counts.

    trainer: that it was made for. pairs: of all levels; None while it was not run to its end.
    shards: the name of those that it was made of. options: the trainer's option file; None where
    it is gone or not written yet.
    """

    kind: str
    trainer: str
    pairs: Annotated[int | None, AtLeast(0)]
    levels: list[LevelContents]
    shards: str
    options: str | None

    @classmethod
    def of(cls, folder: Path) -> ExportContents:
        """Raises FileError where what says so is missing or damaged."""
        complete = files.is_there(folder / DONE)
        path = folder / (DONE if complete else MARK)
        try:
            found = json_files.read(path, MAX_MARK)
            trainer = find_trainer(found["trainer"])
            levels = [read(LevelContents, _known(level), "levels") for level in found["levels"]]
            pairs = found["pairs"] if complete else None
            if not levels or (complete and pairs is None):
                raise ValueError("no levels, or no number of pairs")
            shards = found["shards"]["name"]
            values = {"kind": "export", "trainer": trainer.name, "pairs": pairs, "shards": shards}
            options = trainer.options if files.is_there(folder / trainer.options) else None
            return read(cls, {**values, "levels": levels, "options": options}, path.name)
        except FileError as error:
            raise FileError(f"{error}: {AGAIN}") from error
        except (UsageError, TypeError, KeyError, AttributeError, ValueError) as error:
            raise FileError(f"{path} is damaged: {AGAIN}") from error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _known(level: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of a level: a later one may say more."""
    names = {one.name for one in fields(LevelContents)}
    return {key: value for key, value in level.items() if key in names}
