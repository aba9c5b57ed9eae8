"""EDSR-PyTorch: one HR, and an LR for each factor. What is built on it is in `edsr_forks`.

It takes the PNG of its folder of HR and makes the name of the LR of it, so a name that is missing
is an error when it is drawn; nothing looks at sizes. HR is cut at `scale` times the place in the
LR, so HR may be larger than what LR shows, to the right and below. Pictures are read with imageio,
which turns no PNG. A class of three lines opens any folder for its own class.
(sanghyun-son/EDSR-PyTorch, src/data/srdata.py at 021bea7 and src/data/common.py at 27bf944, read in
November 2026.)
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import splitext
from pathlib import Path
from typing import ClassVar

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.findings import (
    Found,
    Report,
    file_pair,
    instead_of,
    is_litter,
    unread,
)
from degflow_pipe.exports.networks import EDSR_FAMILY, ONE_FACTOR, Network
from degflow_pipe.exports.options import crop_side
from degflow_pipe.exports.settings import Facts, Rules, Settings
from degflow_pipe.exports.source import ShardLevel, ShardPair
from degflow_pipe.exports.trainer import (
    BY_PILLOW,
    Plan,
    Roots,
    Size,
    Trainer,
    own_scales,
    packing_at,
)

LEFT = 1 / 8
"""Part of HR that no LR may leave unshown: more is another scale."""


def edsr_rules(source: str, *more: str, **crop: str) -> Rules:
    """What the codes of this family ask of their option lines; more: further options."""
    return Rules(
        source=source,
        required=("dir_data", "data_train", "scale", "patch_size", *more),
        roots={"dir_data": ""},
        network="model",
        networks=EDSR_FAMILY,
        **crop,  # type: ignore[arg-type]
    )


class Edsr(Trainer):
    """Without a scale asked for, LR that are as large as HR go at their level's own, which must be
    whole; smaller ones at that of their pictures. Several levels at one scale have a number each.
    """

    name = "edsr"
    places = ("HR", "LR_bicubic")
    options = "train_edsr.sh"
    one_scale = False
    # imageio.imread: a fourth channel stays.
    alpha = False
    deep = BY_PILLOW
    rules = edsr_rules("EDSR-PyTorch, src/option.py", crop_hr="patch_size")
    otherwise = (
        "ingest larger patches, or generate levels at whole scales such as `t_grid=x2,x3,x4`"
    )
    model: ClassVar[str] = "EDSR"
    of_many: ClassVar[str] = "MDSR"
    """The network that is trained at several factors at once; empty where there is none."""
    hr_name: ClassVar[str] = "{}.png"
    lr_name: ClassVar[str] = "{}x{}.png"
    """{} is the number, and the factor."""
    network_lines: ClassVar[Mapping[str, object]] = {"n_resblocks": 16, "n_feats": 64}
    smaller: ClassVar[str] = "make smaller LR, such as by `generate(sr_scale=2)`"
    """What else there is where LR as large as HR do not go, untried; empty for nothing."""
    others: ClassVar[tuple[str, ...]] = ("DIV2K", "DIV2KJPEG", "SR291")
    """Classes of the trainer that look for other folders."""

    # Scales

    def known(self, scale: float) -> float:
        """The factor nearest to a scale."""
        return max(round(scale), 1)

    def spelled(self, scale: float) -> str:
        """A factor as it stands in names and options."""
        return f"{scale:g}"

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        plans = [
            Plan(level, told, packing_at(self.name, level, told))
            for level, told in self._told(levels, scale)
        ]
        for plan in plans:
            self.check_factor(plan)
        counts = Counter(plan.told for plan in plans)
        if len(set(counts.values())) > 1:
            said = ", ".join(f"x{told:g} in {count}" for told, count in sorted(counts.items()))
            raise UsageError(
                f"{self.name} has an LR of every factor for each HR, and these levels have {said}"
            )
        met: Counter[float] = Counter()
        whole = max(plan.packing.hr for plan in plans)
        for i, plan in enumerate(plans):
            plans[i] = replace(plan, whole=whole, nth=met[plan.told], of=counts[plan.told])
            met[plan.told] += 1
        return plans

    def _advice(self, levels: Sequence[ShardLevel], scale: int | None) -> str:
        said = super()._advice(levels, scale)
        large = all(level.lr == level.hr for level in levels)
        return f"{said}; or {self.smaller}" if large and scale is None and self.smaller else said

    def _told(
        self, levels: Sequence[ShardLevel], scale: int | None
    ) -> list[tuple[ShardLevel, float]]:
        if scale is not None:
            if scale < 1:
                raise UsageError(f"`scale` must be 1 or more, got {scale}")
            return [(level, float(scale)) for level in levels]
        own = [level for level in levels if level.lr == level.hr]
        told = dict(own_scales(self.name, own, self.known, shared=True))
        for level in levels:
            if level in told:
                continue
            ratio = round(level.hr / level.lr, 9)
            if self.known(ratio) != ratio:
                raise UsageError(
                    f"{self.name} knows no scale {ratio:.4g}, that of the pictures of level {level}"
                )
            told[level] = ratio
        return [(level, told[level]) for level in levels]

    def check_factor(self, plan: Plan) -> None:
        """Raises UsageError where the network has no such factor."""
        network = EDSR_FAMILY[self.model]
        if not network.has(int(plan.told)):
            raise UsageError(
                f"{self.name}: {network.name}, the network of its option lines, has no factor "
                f"{plan.told:g}, only {network.factors}"
            )

    def network(self, scale: int) -> Network | None:
        return EDSR_FAMILY[self.model]

    # Names

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        number = f"{(pair.number - 1) * plan.of + plan.nth + 1:04d}"
        return f"{self.places[0]}/{self.hr_name.format(number)}", self.lr_path(number, plan.told)

    def lr_path(self, stem: str, scale: float) -> str:
        spelled = self.spelled(scale)
        return f"{self.places[1]}/X{spelled}/{self.lr_name.format(stem, spelled)}"

    def stem_of(self, name: str) -> str | None:
        """What of an HR's name stands in that of its LR; None for a name that is an error."""
        return name.removesuffix(".png")

    # Option lines

    def data_lines(self, pictures: int, roots: Roots) -> dict[str, object]:
        """Which class reads the folder, and what of it."""
        # Else pictures are kept as pickles in a folder bin, and those of an earlier export read.
        return {"data_train": "DEGFLOW", "data_test": "DEGFLOW", "ext": "img"}

    def notes(self, roots: Roots) -> list[str]:
        return class_lines("src/data/degflow.py", "srdata", roots)

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        super().check_options(settings, facts, report)
        if (said := settings.get("data_train")) in self.others:
            report.add(
                "options",
                f"{settings.name}: data_train is {said}, which reads folders of other names: say "
                f"the class that this folder is for, such as DEGFLOW of an export's first lines",
            )

    def side(self, plans: Sequence[Plan]) -> int:
        """patch_size: pixels of HR, or of LR where there are several factors."""
        if len({plan.told for plan in plans}) > 1:
            return min([48, *(plan.packing.lr for plan in plans)])
        return crop_side(plans, 192)

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        pictures = roots.patches * plans[0].of
        scales = sorted({plan.told for plan in plans})
        head, model = [roots.note, *self.notes(roots)], self.model
        if len(scales) > 1 and self.of_many:
            model = self.of_many
        elif len(scales) > 1:
            head.append(
                f"{model} has one factor, here the largest: for another say it as scale; the "
                f"folder has them all."
            )
            scales = scales[-1:]
            plans = [plan for plan in plans if plan.told in scales]
        settings: dict[str, object] = {
            "dir_data": roots.whole,
            **self.data_lines(pictures, roots),
            "scale": "+".join(map(self.spelled, scales)),
            "patch_size": self.side(plans),
            "batch_size": min(16, pictures),
            "model": model,
            **self.network_lines,
            "save": f"{self.name}_x{'x'.join(map(self.spelled, scales))}_degflow"[:100],
        }
        lines = [f"--{key} {shlex.quote(str(value))}" for key, value in settings.items()]
        return (
            "".join(f"# {note}\n" for note in head)
            + " \\\n  ".join(["python main.py", *lines])
            + "\n"
        )

    # Pairing

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        place = self.places[0]
        found = _meant(files.names(folder / place))
        pictures = [name for name in found if name.endswith(".png")]
        names = self.asked(pictures, settings, report)
        others = sorted({*found} - {*pictures})
        twins = {name.removesuffix(".png") for name in pictures}
        report.add("names", *(_no_png(place, name, twins) for name in others))
        if not names:
            meant = instead_of(folder / place) if not found else ""
            report.add("structure", f"{place}: no such folder, or no .png in it{meant}")
            return
        patch = settings.count("patch_size") if settings is not None else None
        scales = list(self._scales(folder, settings, report))
        said = settings.get("scale") if settings is not None else None
        factors = len(scales) if said is None else str(said).count("+") + 1
        for scale in scales:
            least = self.least(scale, patch, factors)
            for name, lr in self._at(scale, folder, names, found, report):
                yield file_pair(folder, f"{place}/{name}", lr, scale, least)
        odd = [name for name in names if self.stem_of(name) is None]
        report.add("names", *(f"{place}/{n} is not named as {self.hr_name}" for n in odd))

    def _at(
        self,
        scale: float,
        folder: Path,
        names: Sequence[str],
        found: Sequence[str],
        report: Report,
    ) -> Iterator[tuple[str, str]]:
        """Names of HR, and the paths of their LR at a factor.

        names: those that are read; found: all that are there.
        """
        place = f"{self.places[1]}/X{self.spelled(scale)}"
        left = _meant(files.names(folder / place))
        if not left:
            if files.is_folder(folder / self.places[1]):  # else that is told
                wanted = place.rpartition("/")[2]
                folders = _meant(files.names(folder / self.places[1]))
                meant = next((name for name in folders if name.upper() == wanted != name), "")
                other = f"; {meant} is there: rename it" if meant else ""
                report.add("structure", f"{place}: no such folder, or nothing in it{other}")
            return
        there = {splitext(name)[0]: name for name in left if not name.endswith(".png")}
        there |= {name.removesuffix(".png"): name for name in left if name.endswith(".png")}

        def lr_stem(stem: str) -> str:
            return splitext(self.lr_path(stem, scale).rpartition("/")[2])[0]

        asked = {lr_stem(stem): name for name in names if (stem := self.stem_of(name)) is not None}
        if asked and not asked.keys() & there.keys():
            report.add(
                "structure", f"{place}: none of its pictures is named as {min(asked)}.png is"
            )
            return
        for stem, name in asked.items():
            beside = there.get(stem)
            if beside is None:
                report.add("no LR", f"{self.places[0]}/{name} has no {place}/{stem}.png")
            elif not beside.endswith(".png"):
                report.add("names", _no_png(place, beside, ()))
            else:
                yield name, f"{place}/{beside}"
        # Of HR that are not read, or misnamed, it is told: nothing is wrong with their LR.
        others = (splitext(name)[0] for name in {*found} - {*asked.values()})
        told = {lr_stem(self.stem_of(f"{stem}.png") or stem) for stem in others}
        strangers = (n for n in left if (stem := splitext(n)[0]) not in asked and stem not in told)
        report.add("no HR", *(f"{place}/{name} has no HR that is read" for name in strangers))

    def least(self, scale: float, patch: int | None, factors: int) -> int:
        """Pixels of HR that are cut at several factors; rules.crop_hr looks at one."""
        return int(scale * patch) if patch is not None and factors > 1 else 1

    def asked(self, names: list[str], settings: Settings | None, report: Report) -> list[str]:
        """Of the names of HR those that are read, in their order."""
        return names

    def _scales(self, folder: Path, settings: Settings | None, report: Report) -> Iterator[float]:
        """Those that the option lines name, and others that have a folder."""
        there = _meant(files.names(folder / self.places[1]))
        named = set()
        said = settings.get("scale") if settings is not None else None
        if said is not None:
            assert settings is not None
            if "+" in str(said) and str(settings.get("model")) in ONE_FACTOR:
                report.add(
                    "options",
                    f"{settings.name}: {settings.get('model')} is trained at the first factor "
                    f"alone, and scale says {str(said)[:40]}: say one",
                )
            for word in str(said).split("+")[:100]:
                if re.fullmatch(r"\d{1,2}(\.\d{1,6})?", word) and float(word) >= 1:
                    named.add(float(word))
                    yield float(word)
                else:
                    report.add("options", f"{settings.name}: scale {word[:40]!r} is no factor")
        found = {}
        for name in there:
            number = re.fullmatch(r"X(\d{1,2}(?:\.\d{1,6})?)", name)
            if number and self.spelled(float(number[1])) == number[1] and float(number[1]) >= 1:
                found[name] = float(number[1])
        example = f"X{self.spelled(2)}"
        # Of those that lack no more than a capital X it is told where they are looked for.
        meant = {f"X{self.spelled(scale)}" for scale in named - set(found.values())}
        odd = [name for name in there if name not in found and name.upper() not in meant]
        report.add(
            "structure", *(f"{self.places[1]}/{n} is not named as {example} is" for n in odd)
        )
        if not there:
            other = instead_of(folder / self.places[1])
            report.add("structure", f"{self.places[1]}: no such folder, or nothing in it{other}")
        elif not found and said is None:
            report.add("structure", f"{self.places[1]}: no folder such as {example}")
        yield from sorted(set(found.values()) - named)

    def fits(self, hr: Size, lr: Size, wanted: float | None) -> float | None:
        assert wanted is not None  # each folder of LR has its factor
        for large, small in zip(hr, lr, strict=True):
            shown = small * wanted
            if shown > large + 1e-6 or shown < min(large * (1 - LEFT), large - wanted):
                return None
        return wanted


def _no_png(place: str, name: str, twins: Container[str]) -> str:
    return f"{place}/{name} is no .png, and not read: {unread(name, twins)}"


def _meant(names: Sequence[str]) -> list[str]:
    """Of the names in a folder those that somebody meant to be read."""
    return [name for name in names if not is_litter(name)]


def class_lines(file: str, module: str, roots: Roots) -> list[str]:
    """A class that opens the folder itself, as the codes look for a folder of a class's name."""
    test = "validate" if roots.validation else ""
    return [
        f"Save these lines without their # as {file} of the trainer:",
        f"  from data import {module}",
        f"  class DEGFLOW({module}.SRData):",
        '      def __init__(self, args, name="", train=True, benchmark=False):',
        f'          super().__init__(args, name="" if train else "{test}", train=train)',
        *([] if roots.validation else ["It is tested on the pairs that it is trained on."]),
    ]
