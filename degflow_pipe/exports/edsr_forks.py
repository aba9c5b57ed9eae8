"""What is built on EDSR-PyTorch, and has other names: RCAN, HAN and Meta-SR.

rcan: the class of DIV2K with DIV2K's names, which RCAN and most codes of this family have; older
ones, RCAN's too, ask for 0001.png to the number of n_train, newer ones take a range of the names
(src/data/div2k.py at 4f5e2ce and a91ccea; yulunzhang/RCAN, RCAN_TrainCode/code/option.py at
5a1d981).
han: HAN's class of DIV2K, which has other folders, and names of two parts with _ between them
(wwlCape/HAN, src/data/srdata.py and div2k.py at 26ac015).
metasr: scales in tenths, as X1.10, and one name in all folders; an LR crop lies at a multiple of
the step at which scale times the place is whole (XuecaiHu/Meta-SR-Pytorch,
data/multiscalesrdata.py and data/common.py at c3f93be, option.py at 779fe86). Its other class,
data/srdata.py, which has x4/0001x4.png, is imported by none of its other files. (All read in
November 2026.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from degflow_pipe.errors import UsageError
from degflow_pipe.exports.edsr import Edsr, class_lines, edsr_rules
from degflow_pipe.exports.findings import Report
from degflow_pipe.exports.settings import Facts, Settings
from degflow_pipe.exports.trainer import Plan, Roots

TEST_EVERY = 1000
"""Batches from one of Meta-SR's tests to the next, by default: its set repeats the pictures as many
times as they go into that, and is empty where they go into it not even once."""
ALL_SHOWN = 10
"""Pictures that training is watched on, where no photos were set apart."""


class _Div2k(Edsr):
    """The class of DIV2K, which takes a range of the names."""

    of_many = ""
    others = ()

    def data_lines(self, pictures: int, roots: Roots) -> dict[str, object]:
        shown = f"1-{pictures}/1-{min(ALL_SHOWN, pictures)}"
        return {"data_train": "DIV2K", "data_test": "DIV2K", "data_range": shown}

    def notes(self, roots: Roots) -> list[str]:
        if not roots.validation:
            return [f"It is tested on the first {ALL_SHOWN} pairs, which it is trained on as well."]
        return [
            "Photos that were set apart are in the folder validate: to test on them say "
            "test_only, and that folder as dir_data.",
        ]

    def asked(self, names: list[str], settings: Settings | None, report: Report) -> list[str]:
        said = settings.get("data_range") if settings is not None else None
        if said is None:
            return names
        assert settings is not None
        found = re.match(r"(\d{1,9})-(\d{1,9})(?:/|\Z)", str(said))
        if not found or int(found[1]) < 1:
            report.add("options", f"{settings.name}: data_range {str(said)[:40]!r} is no range")
            return names
        taken = names[int(found[1]) - 1 : int(found[2])]
        if len(taken) < len(names):
            report.add(
                "options",
                f"{settings.name}: data_range {str(said)[:40]} trains on {len(taken)} of "
                f"{len(names)} HR",
            )
        return names


class Rcan(_Div2k):
    name = "rcan"
    places = ("DIV2K/DIV2K_train_HR", "DIV2K/DIV2K_train_LR_bicubic")
    options = "train_rcan.sh"
    model = "RCAN"
    network_lines: ClassVar[Mapping[str, object]] = {
        "n_resgroups": 10,
        "n_resblocks": 20,
        "n_feats": 64,
    }
    rules = edsr_rules("RCAN, RCAN_TrainCode/code/option.py", "n_train", crop_hr="patch_size")

    def data_lines(self, pictures: int, roots: Roots) -> dict[str, object]:
        return {
            "data_train": "DIV2K",
            "data_test": "DIV2K",
            "n_train": pictures,
            "offset_val": 0,
            "n_val": min(ALL_SHOWN, pictures),
            "ext": "sep_reset",
        }

    def notes(self, roots: Roots) -> list[str]:
        return [
            *super().notes(roots),
            "EDSR-PyTorch and newer codes have data_range 1-N/1-10 for the three of n_train, "
            "offset_val and n_val.",
        ]

    def asked(self, names: list[str], settings: Settings | None, report: Report) -> list[str]:
        if settings is not None and not settings.has("n_train"):
            return super().asked(names, settings, report)
        count = settings.count("n_train") if settings is not None else None
        count = len(names) if count is None else count
        wanted = [f"{number:04d}.png" for number in range(1, min(count, len(names)) + 1)]
        if count > len(names):
            report.add("numbering", f"n_train is {count}, and {len(names)} HR are there: say that")
        there, place = set(names), self.places[0]
        report.add(
            "numbering",
            *(
                f"{place}/{n} is asked for, and missing: number HR from 0001 on, without gaps"
                for n in wanted
                if n not in there
            ),
            *(
                f"{place}/{n} is never asked for: number HR from 0001 on, and say all in n_train"
                for n in sorted(there - set(wanted))
            ),
        )
        return [name for name in wanted if name in there]


class Han(_Div2k):
    name = "han"
    places = ("TrainHR", "TrainLR")
    options = "train_han.sh"
    rules = edsr_rules("HAN, src/option.py", crop_hr="patch_size")
    model = "HAN"
    hr_name = "{}_HR.png"
    lr_name = "{}_LR.png"
    network_lines: ClassVar[Mapping[str, object]] = {
        "n_resgroups": 10,  # any other number does not fit its last layers
        "n_resblocks": 20,
        "n_feats": 64,
    }

    def data_lines(self, pictures: int, roots: Roots) -> dict[str, object]:
        return {**super().data_lines(pictures, roots), "ext": "img"}

    def stem_of(self, name: str) -> str | None:
        parts = name.removesuffix(".png").split("_")
        return parts[0] if len(parts) == 2 else None


class MetaSR(Edsr):
    name = "metasr"
    options = "train_metasr.sh"
    rules = replace(edsr_rules("Meta-SR-Pytorch, option.py"), network="", networks={})
    model = of_many = "metardn"
    smaller = ""
    lr_name = "{}.png"
    network_lines: ClassVar[Mapping[str, object]] = {}
    otherwise = (
        "ingest larger patches, or generate levels at scales in tenths such as "
        "`t_grid=x1.1:x4:x0.1`"
    )

    def known(self, scale: float) -> float:
        return max(round(scale, 1), 1.1)

    def spelled(self, scale: float) -> str:
        return f"{scale:.2f}"

    def check_factor(self, plan: Plan) -> None:
        if plan.packing.lr <= _step(plan.told):
            raise UsageError(
                f"{self.name} crops LR at multiples of {_step(plan.told)} pixels, and those of "
                f"level {plan.level} have {plan.packing.lr}"
            )

    def data_lines(self, pictures: int, roots: Roots) -> dict[str, object]:
        lines = super().data_lines(pictures, roots)
        return {**lines, "test_every": max(TEST_EVERY, pictures // min(16, pictures))}

    def side(self, plans: Sequence[Plan]) -> int:
        return min([50, *(plan.packing.lr - _step(plan.told) for plan in plans)])

    def notes(self, roots: Roots) -> list[str]:
        return class_lines("data/degflow.py", "multiscalesrdata", roots)

    def least(self, scale: float, patch: int | None, factors: int) -> int:
        # An LR crop of patch_size needs a step beside it.
        return int(scale * (patch + _step(scale))) if patch is not None else 1

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        super().check_options(settings, facts, report)
        if settings.get("patch_size") is not None and settings.count("patch_size") is None:
            report.add("options", f"{settings.name}: patch_size must be pixels of LR")

    def asked(self, names: list[str], settings: Settings | None, report: Report) -> list[str]:
        batch = (settings.count("batch_size") if settings is not None else None) or 16
        every = (settings.count("test_every") if settings is not None else None) or TEST_EVERY
        if names and len(names) < batch:
            report.add(
                "counts", f"batch_size is {batch}, and {len(names)} HR are there: it needs as many"
            )
        elif names and len(names) // batch > every:
            report.add(
                "counts",
                f"test_every is {every}, and {len(names)} HR make {len(names) // batch} batches of "
                f"{batch}: it must be as many, or nothing is trained on",
            )
        return names


def _step(scale: float) -> int:
    """Pixels of LR at whose multiples a crop begins."""
    return next(step for step in (1, 2, 5, 10) if round(scale * 10) * step % 10 == 0)
