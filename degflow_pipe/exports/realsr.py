"""RealSR's tree, and InterFlow's of a folder a scale: HR and LR of one size, numbered from 1.

Their readers count the `*HR.png` of a folder and then ask for Canon_001_HR.png to Canon_NNN_HR.png,
so a gap is an error in the middle of training. InterFlow takes for the LR the one other picture of
that number, and overlooks any whose whole path has HR in it. Of both it crops round(48 s) pixels, s
being between the two that `scale` tells. (dongjinkim9/InterFlow, sr_networks/dataset.py and
train_inr.py at 176c28a, read in November 2026; Pillow, so nothing is turned.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.findings import Found, Report, file_pair
from degflow_pipe.exports.settings import Facts, Rules, Settings, is_place, numbers
from degflow_pipe.exports.source import NEAR, ShardLevel, ShardPair
from degflow_pipe.exports.trainer import (
    BY_PILLOW,
    Plan,
    Roots,
    Size,
    Trainer,
    no_scale,
    own_scales,
    packing_at,
    same_size,
)
from degflow_pipe.pairs.sets import LAYOUTS

CAMERA = "Canon"
"""The readers look for this name, whatever the camera was."""
REALSR_SCALES = (2.0, 3.0, 4.0)
INPUT = 48
"""Side in pixels of the LR that InterFlow trains with."""
_tenths = LAYOUTS["interflow"].spell


def least_hr(scale: float) -> int:
    """Side in pixels that InterFlow's reader crops of HR and LR at an SR scale."""
    return max(round(INPUT * scale), 1)


class _Numbered(Trainer):
    """What both trees share: a folder a scale, in which a patch has one number."""

    deep = BY_PILLOW
    one_scale = False
    rules = Rules(source="InterFlow, sr_networks/train_inr.py", required=())
    otherwise = (
        "ingest larger patches, export shards whose LR are as large as HR (`lr_size=same`, and no "
        "`sr_scale`), or generate levels at other scales"
    )

    def known(self, scale: float) -> float:
        """The tree's scale nearest to a level's."""
        raise NotImplementedError

    def folder_of(self, scale: float) -> str:
        raise NotImplementedError

    def lr_name(self, number: int, scale: float) -> str:
        return f"{CAMERA}_{number:03d}_LR{scale:g}.png"

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        no_scale(self.name, scale)
        told = own_scales(self.name, levels, self.known)
        plans = [Plan(level, scale, packing_at(self.name, level, 1)) for level, scale in told]
        for plan in plans:
            least = least_hr(plan.level.scale)
            enough = -(-least // 64) * 64
            if plan.packing.hr < least:
                raise UsageError(
                    f"{self.name}: InterFlow's reader crops {least} pixels of HR at level "
                    f"{plan.level}, and patches have {plan.packing.hr} ({enough} do)"
                )
        return plans

    def check_folder(self, out: Path, relative: bool) -> None:
        where = out.name if relative else str(out.absolute())
        if "HR" in where or any(sign in where for sign in "*?["):
            raise UsageError(
                f"{self.name}: InterFlow's reader finds no LR below {where}, for HR or one of *?[ "
                f"in the path: give another `out`"
            )

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        folder = self.folder_of(plan.told)
        return (
            f"{folder}/{CAMERA}_{pair.number:03d}_HR.png",
            f"{folder}/{self.lr_name(pair.number, plan.told)}",
        )

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        settings = {
            "__comment__": f"An entry of configs/arb_train_configs.json. {roots.note}",
            "LIIF_degflow.pt": {
                "GT_paths": [roots(self.folder_of(plan.told)) for plan in plans],
                "scale": [[plan.level.scale] * 2 for plan in plans],
                "only_gt": [False for _ in plans],
            },
        }
        return json.dumps(settings, indent=2) + "\n"

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        super().check_options(settings, facts, report)
        entries = {
            name: entry
            for name, entry in settings.values.items()
            if name != "__comment__" and isinstance(entry, Mapping)
        }
        if not entries:
            report.add("options", f"{settings.name}: no entry with GT_paths, scale and only_gt")
        for name, entry in entries.items():
            for problem in self._entry(entry, facts):
                report.add("options", f"{settings.name}: {name[:60]}: {problem}")

    def _entry(self, entry: Mapping[str, object], facts: Facts) -> Iterator[str]:
        lists = [entry.get(key) for key in ("GT_paths", "scale", "only_gt")]
        paths, scales, only = lists
        if not (isinstance(paths, list) and isinstance(scales, list) and isinstance(only, list)):
            yield "GT_paths, scale and only_gt must be lists"
            return
        if not len(paths) == len(scales) == len(only):
            yield "GT_paths, scale and only_gt must be of one length: the rest is left out"
        places = self.folders(facts.folder)
        for path, scale in zip(paths, scales, strict=False):
            if not isinstance(path, str) or not any(
                is_place(path, place, facts.folder) for place in places
            ):
                yield f"{str(path)[:80]!r} is no folder of this tree"
            between = numbers(scale, 2)
            if between is None or not 1 <= min(between) <= max(between) <= 100:
                yield f"scale {str(scale)[:40]} must be two numbers from 1"
            elif facts.hr is not None and least_hr(max(between)) > facts.hr:
                yield (
                    f"at scale {max(between):g} {least_hr(max(between))} pixels are cropped, and "
                    f"the smallest HR has {facts.hr}"
                )

    def folders(self, folder: Path) -> list[str]:
        """The folders of this tree that are there."""
        raise NotImplementedError

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
            *(
                f"{place}/{n} is asked for, as {len(hr)} HR are there, and missing: leave no gap"
                for n in gaps
            ),
            *(f"{place}/{n} is counted, and never asked for: number from 001 on" for n in odd),
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

    def folders(self, folder: Path) -> list[str]:
        names = [name for name in files.names(folder) if re.fullmatch(r"scale_\d{1,3}\.\d", name)]
        return [name for name in names if files.is_folder(folder / name)]

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        places = [n for n in files.names(folder) if files.is_folder(folder / n)]
        scales = self.folders(folder)
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
                    least = least_hr(float(place.removeprefix("scale_")) - NEAR)
                    yield file_pair(folder, hr, f"{place}/{beside[0]}", least=least)


class RealSR(_Numbered):
    name = "realsr"
    places = (CAMERA,)
    options = "realsr.json"

    def known(self, scale: float) -> float:
        return min(REALSR_SCALES, key=lambda s: abs(s - scale))

    def folder_of(self, scale: float) -> str:
        return f"{CAMERA}/Train/{scale:g}"

    def folders(self, folder: Path) -> list[str]:
        places = [self.folder_of(scale) for scale in REALSR_SCALES]
        return [place for place in places if files.is_folder(folder / place)]

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
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
                    yield file_pair(folder, hr, f"{place}/{lr}", least=least_hr(scale - NEAR))
