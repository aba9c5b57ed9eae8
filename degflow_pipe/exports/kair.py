"""KAIR's DatasetSR: the pictures below both roots, sorted by path, are paired by their place.

Only the endings below count; unequal numbers are refused, other names are not noticed. HR is
cropped to a multiple of `scale`; that an LR is not of that size over `scale` is not noticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from degflow_pipe import files
from degflow_pipe.exports.findings import (
    Found,
    Report,
    by_place,
    is_litter,
    unread,
    visible_files,
)
from degflow_pipe.exports.networks import KAIR, MSR_RESNET0, SWINIR, Network
from degflow_pipe.exports.options import check_window, crop_side
from degflow_pipe.exports.settings import Rules, Settings
from degflow_pipe.exports.source import ShardLevel
from degflow_pipe.exports.trainer import Plan, Roots, Size, Trainer

ENDINGS = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".ppm", ".PPM", ".bmp", ".BMP", ".tif")


def kair_rules(*net: str) -> Rules:
    """What KAIR asks of an option file; net: keys of the network's own.

    utils/utils_option.py at 090344b, data/dataset_sr.py at 60818fe, models/select_network.py at
    02d8377, read in November 2026.
    """
    return Rules(
        source="KAIR, utils/utils_option.py and main_train_psnr.py",
        required=(
            *("task", "model", "gpu_ids", "scale", "n_channels", "path.root"),
            *(f"datasets.train.{key}" for key in ("dataset_type", "dataroot_H", "dataroot_L")),
            *(f"datasets.train.dataloader_{key}" for key in ("shuffle", "num_workers")),
            *("datasets.train.H_size", "datasets.train.dataloader_batch_size"),
            *(f"netG.{key}" for key in ("net_type", *net)),
            *("train.G_lossfn_type", "train.G_optimizer_type", "train.G_optimizer_lr"),
            *("train.G_scheduler_type", "train.checkpoint_save", "train.checkpoint_print"),
        ),
        roots={"datasets.train.dataroot_H": "H", "datasets.train.dataroot_L": "L"},
        network="netG.net_type",
        networks=KAIR,
        factors=("netG.upscale",),
        fixed={key: (3,) for key in ("n_channels", "netG.in_nc", "netG.out_nc", "netG.in_chans")},
        crop_hr="datasets.train.H_size",
    )


class Kair(Trainer):
    name = "kair"
    places = ("H", "L")
    options = "train_kair.json"
    # cv2.IMREAD_UNCHANGED, which leaves the orientation alone: utils/utils_image.py at 0d875e8.
    turns = False
    deep = ()
    rules = kair_rules(
        *("in_nc", "out_nc", "nc", "nb", "act_mode", "upsample_mode"),
        *("init_type", "init_bn_type", "init_gain"),
    )

    def network(self, scale: int) -> Network | None:
        return MSR_RESNET0

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        net = self.network(int(plans[0].told))
        assert net is not None
        settings = {
            "task": f"{net.name}_x{int(plans[0].told)}_degflow",
            "model": "plain",
            "gpu_ids": [0],
            "dist": False,
            "scale": int(plans[0].told),
            "n_channels": 3,
            "merge_bn": False,
            "merge_bn_startpoint": 400000,
            "path": {"root": "superresolution", "pretrained_netG": None},
            "datasets": {
                "train": {
                    "name": "degflow",
                    "dataset_type": "sr",
                    "dataroot_H": roots("H"),
                    "dataroot_L": roots("L"),
                    "H_size": self.side(plans),
                    "dataloader_shuffle": True,
                    "dataloader_num_workers": 4,
                    "dataloader_batch_size": 16,
                },
                "test": {
                    "name": "replace_by_test_pictures",
                    "dataset_type": "sr",
                    "dataroot_H": roots("H"),
                    "dataroot_L": roots("L"),
                },
            },
            "netG": self.net_settings(plans),
            "train": _TRAIN,
        }
        return f"// {roots.note}\n{json.dumps(settings, indent=2)}\n"

    def side(self, plans: Sequence[Plan]) -> int:
        """Pixels of HR that a crop has."""
        return crop_side(plans, 96)

    def net_settings(self, plans: Sequence[Plan]) -> dict[str, Any]:
        """netG of the option file."""
        return {
            "net_type": MSR_RESNET0.name,
            "in_nc": 3,
            "out_nc": 3,
            "nc": 64,
            "nb": 16,
            "gc": 32,
            "ng": 2,
            "reduction": 16,
            "act_mode": "R",
            "upsample_mode": "upconv",
            "downsample_mode": "strideconv",
            "init_type": "orthogonal",
            "init_bn_type": "uniform",
            "init_gain": 0.2,
        }

    def ratio(self, hr: Size, lr: Size) -> float | None:
        scale = hr[0] // lr[0]
        fits = scale and (hr[0] // scale, hr[1] // scale) == lr
        return scale if fits else None

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        # With their partners, which else would be told to have none.
        unread_stems = set()
        for path in (*hr, *lr):
            if not path.name.endswith(ENDINGS) and not is_litter(path.name):
                name = path.relative_to(folder).as_posix()
                report.add("names", f"{name} is of no ending that KAIR reads: {unread(name, ())}")
                unread_stems.add(path.stem)
        for place in self.places:
            hidden = [name for name in files.names(folder / place) if name.startswith(".")]
            report.add(
                "names",
                *(
                    f"{place}/{name} is hidden, and read as a picture: delete it"
                    for name in hidden
                    if name.endswith(ENDINGS)
                ),
            )
        hr_read, lr_read = (
            [p for p in side if p.name.endswith(ENDINGS) and p.stem not in unread_stems]
            for side in (hr, lr)
        )
        yield from by_place(folder, sorted(hr_read, key=str), sorted(lr_read, key=str), report)


class SwinIR(Kair):
    """SwinIR is trained by KAIR (options/swinir/train_swinir_sr_classical.json at 4614f66)."""

    name = "swinir"
    options = "train_swinir.json"
    rules = kair_rules(
        *("upscale", "in_chans", "img_size", "window_size", "img_range", "depths", "embed_dim"),
        *("num_heads", "mlp_ratio", "upsampler", "resi_connection", "init_type"),
    )

    def network(self, scale: int) -> Network | None:
        return SWINIR

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        plans = super().planned(levels, scale)
        check_window(self.name, SWINIR, plans)
        return plans

    def side(self, plans: Sequence[Plan]) -> int:
        scale = int(plans[0].told)
        return crop_side(plans, 48 * scale, SWINIR.even(scale))

    def net_settings(self, plans: Sequence[Plan]) -> dict[str, Any]:
        scale = int(plans[0].told)
        return {
            "net_type": SWINIR.name,
            "upscale": scale,
            "in_chans": 3,
            "img_size": self.side(plans) // scale,
            "window_size": 8,
            "img_range": 1.0,
            "depths": [6] * 6,
            "embed_dim": 180,
            "num_heads": [6] * 6,
            "mlp_ratio": 2,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
            "init_type": "default",
            "init_bn_type": "uniform",
            "init_gain": 0.2,
        }


_TRAIN = {
    "G_lossfn_type": "l1",
    "G_lossfn_weight": 1.0,
    "G_optimizer_type": "adam",
    "G_optimizer_lr": 1e-4,
    "G_optimizer_wd": 0,
    "G_optimizer_clipgrad": None,
    "G_optimizer_reuse": False,
    "G_scheduler_type": "MultiStepLR",
    "G_scheduler_milestones": [200000, 400000],
    "G_scheduler_gamma": 0.5,
    "G_regularizer_orthstep": None,
    "G_regularizer_clipstep": None,
    "G_param_strict": True,
    "E_param_strict": True,
    "E_decay": 0,
    "checkpoint_test": 5000,
    "checkpoint_save": 5000,
    "checkpoint_print": 200,
}
