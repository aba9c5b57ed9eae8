"""RealSR's tree, and InterFlow's of a folder a scale: HR and LR of one size, numbered from 1.

Their readers count the `*HR.png` of a folder and then ask for Canon_001_HR.png to Canon_NNN_HR.png,
so a gap is an error in the middle of training. InterFlow takes for the LR the one other picture of
that number, and overlooks any whose whole path has HR in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.exports.findings import Found, Report, file_pair
from degflow_pipe.exports.options import RELATIVE
from degflow_pipe.exports.source import ShardLevel, ShardPair
from degflow_pipe.exports.trainer import (
    Plan,
    Size,
    Trainer,
    no_scale,
    own_scales,
    packing_at,
    same_size,
)
from degflow_pipe.training.sets import LAYOUTS

CAMERA = "Canon"
"""The readers look for this name, whatever the camera was."""
REALSR_SCALES = (2.0, 3.0, 4.0)
_tenths = LAYOUTS["interflow"].spell


class _Numbered(Trainer):
    """What both trees share: a folder a scale, in which a patch has one number."""

    one_scale = False

    def known(self, scale: float) -> float:
        """The tree's scale nearest to a level's."""
        raise NotImplementedError

    def folder_of(self, scale: float) -> str:
        raise NotImplementedError

    def lr_name(self, number: int, scale: float) -> str:
        return f"{CAMERA}_{number:03d}_LR{scale:g}.png"

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        no_scale(self.name, scale)
        told = own_scales(self.name, levels, self.known)
        return [Plan(level, scale, packing_at(self.name, level, 1)) for level, scale in told]

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        folder = self.folder_of(plan.told)
        return (
            f"{folder}/{CAMERA}_{pair.number:03d}_HR.png",
            f"{folder}/{self.lr_name(pair.number, plan.told)}",
        )

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        settings = {
            "__comment__": f"An entry of configs/arb_train_configs.json. {RELATIVE}",
            "LIIF_degflow.pt": {
                "GT_paths": [self.folder_of(plan.told) for plan in plans],
                "scale": [[plan.level.scale] * 2 for plan in plans],
                "only_gt": [False for _ in plans],
            },
        }
        return json.dumps(settings, indent=2) + "\n"

    def ratio(self, hr: Size, lr: Size) -> float | None:
        return same_size(hr, lr)

    def numbered(self, folder: Path, place: str, report: Report) -> Iterator[tuple[int, list[str]]]:
        """The numbers a reader asks for, each with the pictures of that number beside its HR."""
        names = [name for name in files.names(folder / place) if name.endswith(".png")]
        hr = {name for name in names if name.endswith("HR.png")}
        asked = {f"{CAMERA}_{number:03d}_HR.png": number for number in range(1, len(hr) + 1)}
        odd = sorted(hr - asked.keys())
        gaps = sorted(asked.keys() - hr)
        report.add(
            "numbering",
            *(f"{place}/{n} is asked for, as {len(hr)} HR are there, and missing" for n in gaps),
            *(f"{place}/{n} is counted, and never asked for" for n in odd),
        )
        beside: dict[int, list[str]] = {}
        for name in names:
            found = re.match(rf"{CAMERA}_(\d{{3,}})_", name)
            if found and "HR" not in name:
                beside.setdefault(int(found[1]), []).append(name)
        paired = {number for name, number in asked.items() if name in hr}
        for number in sorted(beside.keys() - paired):
            report.add("no HR", f"{place}/{beside[number][0]} has no HR")
        for number in sorted(paired):
            yield number, beside.get(number, [])


class InterFlow(_Numbered):
    name = "interflow"
    places = ("scale_*",)
    options = "interflow.json"

    def known(self, scale: float) -> float:
        return round(scale, 1)

    def folder_of(self, scale: float) -> str:
        return f"scale_{_tenths(scale)}"

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        places = [n for n in files.names(folder) if files.is_folder(folder / n)]
        scales = [name for name in places if re.fullmatch(r"scale_\d+\.\d", name)]
        odd = [name for name in places if "scale" in name and name not in scales]
        report.add("structure", *(f"{name} is not named as scale_2.1 is" for name in odd))
        if not scales:
            report.add("structure", "no folder such as scale_2.1")
        if "HR" in str(folder.absolute()):
            report.add("structure", f"{folder.absolute()}: below a path with HR no LR is found")
        for place in scales:
            for number, beside in self.numbered(folder, place, report):
                hr = f"{place}/{CAMERA}_{number:03d}_HR.png"
                if not beside:
                    report.add("no LR", f"{hr} has no LR beside it")
                elif len(beside) > 1:
                    report.add("names", f"{hr} has {len(beside)} LR beside it, one is allowed")
                else:
                    yield file_pair(folder, hr, f"{place}/{beside[0]}")


class RealSR(_Numbered):
    name = "realsr"
    places = (CAMERA,)
    options = "realsr.json"

    def known(self, scale: float) -> float:
        return min(REALSR_SCALES, key=lambda s: abs(s - scale))

    def folder_of(self, scale: float) -> str:
        return f"{CAMERA}/Train/{scale:g}"

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        scales = [s for s in REALSR_SCALES if files.names(folder / self.folder_of(s))]
        if not scales:
            report.add("structure", f"{CAMERA}/Train: no folder 2, 3 or 4 with pictures in it")
        for scale in scales:
            place = self.folder_of(scale)
            for number, beside in self.numbered(folder, place, report):
                hr, lr = f"{place}/{CAMERA}_{number:03d}_HR.png", self.lr_name(number, scale)
                others = [name for name in beside if name != lr]
                report.add("names", *(f"{place}/{name} should be {lr}" for name in others))
                if lr not in beside:
                    report.add("no LR", f"{hr} has no {lr} beside it")
                else:
                    yield file_pair(folder, hr, f"{place}/{lr}")
