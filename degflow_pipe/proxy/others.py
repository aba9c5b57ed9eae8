"""Pairs of another data set, as a source of LR beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import DataError
from degflow_pipe.pairs.settings import DataSettings


@dataclass(frozen=True)
class OtherPairs:
    """Their folder, and how they lie there; data: None for NAME_hr.png beside NAME_lr.png, in any
    one format each.
    """

    root: Path
    data: DataSettings | None = None

    def layout(self, scale: float) -> DataSettings:
        """How they lie; scale: that of their LR, where nothing says it.

        Raises DataError where there are no such files, or of several formats.
        """
        if self.data is not None:
            return self.data
        levels = [
            {"name": side.upper(), "t": t, "files": self._pattern(side)}
            for side, t in (("hr", 0.0), ("lr", 1.0))
        ]
        return DataSettings(s_max=scale, source="", licence="", levels=levels)

    def _pattern(self, side: str) -> str:
        """What matches the files of a side, `hr` or `lr`: in capitals where they are so named."""
        if not files.is_folder(self.root):
            raise DataError(f"{self.root}: no such folder")
        for spelled in (side, side.upper()):
            found = {path.suffix for path in files.matches(f"*_{spelled}.*", self.root)}
            if len(found) == 1:
                return f"*_{spelled}{found.pop()}"
            if found:
                break
        problem = f"files of {len(found)} formats match" if found else "no file matches"
        raise DataError(
            f"{problem} *_{side}.* in {self.root}: name its pairs NAME_hr.png and NAME_lr.png, or "
            f"say how they lie in a recipe of kind proxy, by its key also"
        )
