"""LIIF's paired-image-folders, and DDIR, which reads six such pairs of folders.

Everything in a folder, hidden files included, is sorted by name and paired by place; unequal
numbers are not noticed. LIIF's scale is H // h: what a ratio has beyond a whole number shifts HR
against LR without a word. DDIR has the six scales of RealArbiSR, all needed, and cuts HR at `scale`
times the place in the LR; each folder must hold as many pictures as HR2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.findings import Found, Report, by_place
from degflow_pipe.exports.options import yaml_text
from degflow_pipe.exports.source import ShardLevel, ShardPair
from degflow_pipe.exports.trainer import (
    Plan,
    Size,
    Trainer,
    fixed_scale,
    no_scale,
    own_scales,
    packing_at,
)
from degflow_pipe.training.sets import LAYOUTS

DDIR_SCALES = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
_spell = LAYOUTS["realarbisr"].spell


class Liif(Trainer):
    """Without --scale each level goes at its own scale, which must be whole."""

    name = "liif"
    places = ("HR", "LR")
    options = "train_liif.yaml"
    one_scale = False

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        if scale is not None:
            return fixed_scale(self.name, levels, scale)
        told = own_scales(self.name, levels, lambda s: max(round(s), 1), shared=True)
        return [Plan(level, scale, packing_at(self.name, level, scale)) for level, scale in told]

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        side = min(48, *(plan.packing.lr for plan in plans))
        folders = {"root_path_1": "LR", "root_path_2": "HR"}
        wrapper = {"inp_size": side, "augment": True, "sample_q": min(2304, side * side)}
        train = _train("paired-image-folders", folders, "sr-implicit-paired", wrapper)
        return _liif_yaml(train, {"name": "liif", "args": _nets("encoder", "imnet")})

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        hr, lr = (_listed(folder, place, report) for place in self.places)
        if hr and lr:
            yield from by_place(folder, hr, lr, report)


class Ddir(Trainer):
    name = "ddir"
    places = ("Train",)
    options = "train_ddir.yaml"
    one_scale = False

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        no_scale(self.name, scale)
        told = own_scales(self.name, levels, lambda s: min(DDIR_SCALES, key=lambda d: abs(d - s)))
        missing = sorted(set(DDIR_SCALES) - {scale for _, scale in told})
        if missing:
            every = ",".join(f"{s:g}" for s in DDIR_SCALES)
            raise UsageError(
                f"ddir draws from six scales and needs all of them; these levels lack "
                f"{', '.join(f'{s:g}' for s in missing)}: generate --scales {every}, with a "
                f"checkpoint that reaches 4"
            )
        return [Plan(level, scale, packing_at(self.name, level, scale)) for level, scale in told]

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        folder = f"Train/{{}}{_spell(plan.told)}/{pair.patch}.png"
        return folder.format("HR"), folder.format("LR")

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        # A place is drawn below LR side - inp_size, which must leave one.
        side = min(48, min(plan.packing.lr for plan in plans) - 1)
        roots = {}
        for scale in map(_spell, DDIR_SCALES):
            roots[f"root_path_hr{scale}"] = f"Train/HR{scale}"
            roots[f"root_path_lr{scale}"] = f"Train/LR{scale}"
        wrapper = {
            "inp_size": side,
            "scale_min": 1.5,
            "scale_max": 4,
            "augment": True,
            "sample_q": min(2304, int(1.5 * side) ** 2),
        }
        train = _train("realsrarbi-image-folders", roots, "realsrarbi-deform-paired", wrapper)
        nets = _nets("encoder", "deformencoder", "imnet", "deformnet")
        return _liif_yaml(train, {"name": "liif-globaldeform", "args": nets}, "diff_rgb")

    def ratio(self, hr: Size, lr: Size) -> float | None:
        ratio = hr[0] / lr[0]
        return ratio if hr[0] * lr[1] == hr[1] * lr[0] else None

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
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


def _listed(folder: Path, place: str, report: Report) -> list[Path]:
    """All that a folder holds, hidden files too, sorted; a finding where that is nothing."""
    names = files.names(folder / place)
    if not names:
        report.add("structure", f"{place}: no such folder, or nothing in it")
    return [folder / place / name for name in names]


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


def _liif_yaml(train: dict[str, object], model: dict[str, object], *normed: str) -> str:
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
    return yaml_text(settings, "For validation add a val_dataset of the same form, and epoch_val.")
