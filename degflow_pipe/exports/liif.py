"""LIIF's paired-image-folders, and DDIR, which reads six such pairs of folders.

Everything in a folder, hidden files included, is sorted by name and paired by place; unequal
numbers are not noticed. LIIF's scale is H // h: what a ratio has beyond a whole number shifts HR
against LR without a word. DDIR has the six scales of RealArbiSR, all needed, and cuts HR at `scale`
times the place in the LR; each folder must hold as many pictures as HR2. Both read with Pillow,
which turns nothing. (yinboc/liif, datasets/image_folder.py and wrappers.py at cb4c0e8;
nonozhizhiovo/RealArbiSR, datasets/image_folder.py and wrappersdeform.py at 1b3ecff; read in
November 2026.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.findings import Found, Report, by_place, instead_of, is_litter
from degflow_pipe.exports.options import yaml_text
from degflow_pipe.exports.settings import Facts, Rules, Settings
from degflow_pipe.exports.source import ShardLevel, ShardPair
from degflow_pipe.exports.trainer import (
    BY_PILLOW,
    Plan,
    Roots,
    Size,
    Trainer,
    fixed_scale,
    no_scale,
    own_scales,
    packing_at,
)
from degflow_pipe.pairs.sets import LAYOUTS

DDIR_SCALES = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
_spell = LAYOUTS["realarbisr"].spell
_INP = "train_dataset.wrapper.args.inp_size"
_SAMPLES = "train_dataset.wrapper.args.sample_q"
_REQUIRED = (
    *("train_dataset.dataset.name", "train_dataset.wrapper.name", _INP, "train_dataset.batch_size"),
    *("model.name", "optimizer.name", "epoch_max"),
)


class Liif(Trainer):
    """Without a scale asked for each level goes at its own scale, which must be whole."""

    name = "liif"
    deep = BY_PILLOW
    places = ("HR", "LR")
    options = "train_liif.yaml"
    one_scale = False
    rules = Rules(
        source="LIIF, train_liif.py",
        required=_REQUIRED,
        roots={
            "train_dataset.dataset.args.root_path_1": "LR",
            "train_dataset.dataset.args.root_path_2": "HR",
        },
    )

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        if scale is not None:
            return fixed_scale(self.name, levels, scale)
        told = own_scales(self.name, levels, lambda s: max(round(s), 1), shared=True)
        return [Plan(level, scale, packing_at(self.name, level, scale)) for level, scale in told]

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        side = min(48, *(plan.packing.lr for plan in plans))
        folders = {"root_path_1": roots("LR"), "root_path_2": roots("HR")}
        wrapper = {"inp_size": side, "augment": True, "sample_q": min(2304, side * side)}
        train = _train("paired-image-folders", folders, "sr-implicit-paired", wrapper)
        return _liif_yaml(train, {"name": "liif", "args": _nets("encoder", "imnet")}, roots)

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        super().check_options(settings, facts, report)
        side = settings.count(_INP)
        if side is not None and facts.lr is not None and side > facts.lr:
            report.add("options", _crop_text(settings, side, f"{facts.lr} or less", facts.lr))
        _check_samples(settings, side, 1.0, report)

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        hr, lr = (_listed(folder, place, report) for place in self.places)
        if hr and lr:
            yield from by_place(folder, hr, lr, report)


_LEAST = 2


class Ddir(Trainer):
    name = "ddir"
    deep = BY_PILLOW
    places = ("Train",)
    options = "train_ddir.yaml"
    one_scale = False
    rules = Rules(
        source="DDIR, train_realliif_deform.py",
        required=_REQUIRED,
        roots={
            f"train_dataset.dataset.args.root_path_{side.lower()}{_spell(scale)}": (
                f"Train/{side}{_spell(scale)}"
            )
            for scale in DDIR_SCALES
            for side in ("HR", "LR")
        },
    )
    otherwise = (
        f"ingest patches of 64 pixels or more, and generate levels as "
        f"`t_grid={','.join(f'x{s:g}' for s in DDIR_SCALES)}` with a checkpoint that reaches 4"
    )

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        no_scale(self.name, scale)
        told = own_scales(self.name, levels, lambda s: min(DDIR_SCALES, key=lambda d: abs(d - s)))
        plans = [Plan(level, scale, packing_at(self.name, level, scale)) for level, scale in told]
        for plan in plans:
            if plan.packing.lr <= _LEAST:
                raise UsageError(
                    f"ddir crops at least {_LEAST} pixels out of more, and LR of level "
                    f"{plan.level} have {plan.packing.lr}"
                )
        return plans

    def check_whole(self, plans: Sequence[Plan]) -> None:
        missing = sorted(set(DDIR_SCALES) - {plan.told for plan in plans})
        if missing:
            raise UsageError(
                f"ddir draws from six scales and needs all of them; these levels lack "
                f"{', '.join(f'{s:g}' for s in missing)}"
            )

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        folder = f"Train/{{}}{_spell(plan.told)}/{pair.patch}.png"
        return folder.format("HR"), folder.format("LR")

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        # A place is drawn below LR side - inp_size, which must leave one. inp_size is even: at the
        # scales that end in .5 the HR of an odd one is cut half a pixel short.
        side = min(48, (min(plan.packing.lr for plan in plans) - 1) // 2 * 2)
        folders = {key.rpartition(".")[2]: roots(place) for key, place in self.rules.roots.items()}
        wrapper = {
            "inp_size": side,
            "scale_min": 1.5,
            "scale_max": 4,
            "augment": True,
            "sample_q": min(2304, int(1.5 * side) ** 2),
        }
        train = _train("realsrarbi-image-folders", folders, "realsrarbi-deform-paired", wrapper)
        nets = _nets("encoder", "deformencoder", "imnet", "deformnet")
        return _liif_yaml(train, {"name": "liif-globaldeform", "args": nets}, roots, "diff_rgb")

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        super().check_options(settings, facts, report)
        side = settings.count(_INP)
        if side is not None and side % 2:
            report.add(
                "options",
                f"{settings.name}: inp_size {side} is odd, which puts LR and HR half a pixel apart",
            )
        if side is not None and facts.lr is not None and side >= facts.lr:
            report.add("options", _crop_text(settings, side, f"less than {facts.lr}", facts.lr))
        _check_samples(settings, side, min(DDIR_SCALES), report)

    def ratio(self, hr: Size, lr: Size) -> float | None:
        ratio = hr[0] / lr[0]
        return ratio if hr[0] * lr[1] == hr[1] * lr[0] else None

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        counts = {}
        for scale in DDIR_SCALES:
            sides = [f"Train/{side}{_spell(scale)}" for side in ("HR", "LR")]
            hr, lr = (_listed(folder, side, report) for side in sides)
            if hr and lr:
                counts[sides[0]] = len(hr)
                yield from by_place(folder, hr, lr, report, scale)
        for name, count in counts.items():
            if count != counts.get("Train/HR2", count):
                report.add(
                    "counts", f"{name} has {count} pictures, Train/HR2 {counts['Train/HR2']}"
                )


def _crop_text(settings: Settings, side: int, wanted: str, least: int) -> str:
    return f"{settings.name}: inp_size is {side}, must be {wanted}: the smallest LR has {least}"


def _check_samples(settings: Settings, side: int | None, scale: float, report: Report) -> None:
    """sample_q pixels are drawn without one coming twice: numpy refuses more than are there."""
    count = settings.count(_SAMPLES)
    if count is not None and side is not None and count > int(side * scale) ** 2:
        report.add(
            "options",
            f"{settings.name}: sample_q is {count}, and a crop has {int(side * scale) ** 2} pixels",
        )


def _listed(folder: Path, place: str, report: Report) -> list[Path]:
    """All that a folder holds, sorted; findings where that is nothing, and for what is no picture
    and would be read as one: that is left out, as all else comes of it.
    """
    names = files.names(folder / place)
    if not names:
        other = instead_of(folder / place)
        report.add("structure", f"{place}: no such folder, or nothing in it{other}")
    litter = [name for name in names if is_litter(name)]
    report.add("names", *(f"{place}/{n} would be read as a picture: delete it" for n in litter))
    return [folder / place / name for name in names if not is_litter(name)]


def _train(
    dataset: str, roots: Mapping[str, str], wrapper: str, args: Mapping[str, object]
) -> dict[str, object]:
    return {
        "dataset": {"name": dataset, "args": {**roots, "repeat": 1, "cache": "none"}},
        "wrapper": {"name": wrapper, "args": dict(args)},
        "batch_size": 16,
    }


def _nets(*names: str) -> dict[str, object]:
    mlp = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256, 256, 256, 256]}}
    edsr = {"name": "edsr-baseline", "args": {"no_upsampling": True}}
    return {f"{name}_spec": dict(edsr if name.endswith("encoder") else mlp) for name in names}


def _liif_yaml(
    train: dict[str, object], model: dict[str, object], roots: Roots, *normed: str
) -> str:
    half = {"sub": [0.5], "div": [0.5]}
    settings = {
        "train_dataset": train,
        "data_norm": {name: dict(half) for name in ("inp", "gt", *normed)},
        "model": model,
        "optimizer": {"name": "adam", "args": {"lr": 1.0e-4}},
        "epoch_max": 1000,
        "multi_step_lr": {"milestones": [200, 400, 600, 800], "gamma": 0.5},
        "epoch_save": 100,
    }
    note = "For validation add a val_dataset of the same form, and epoch_val."
    return yaml_text(settings, roots.note, note)
