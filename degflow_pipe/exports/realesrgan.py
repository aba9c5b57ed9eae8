"""Real-ESRGAN's RealESRGANPairedDataset: each line of meta_info is `HR, LR`, below the two roots.

A line that is not two paths with a comma and a space between them is refused. In training HR must
be exactly `scale` times the LR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from degflow_pipe import files
from degflow_pipe.exports import owned
from degflow_pipe.exports.basicsr import basicsr_rules
from degflow_pipe.exports.findings import Found, Report, file_pair, text_lines
from degflow_pipe.exports.lmdbs import META
from degflow_pipe.exports.networks import RRDB_NET, Network
from degflow_pipe.exports.options import basicsr_end, crop_side, yaml_text
from degflow_pipe.exports.settings import Rules, Settings
from degflow_pipe.exports.source import ShardPair
from degflow_pipe.exports.trainer import Plan, Roots, Row, Trainer


class RealESRGAN(Trainer):
    """A list may name an HR as often as it has LR, so each is written once."""

    name = "realesrgan"
    places = ("gt", "lq")
    options = "finetune_realesrgan.yml"
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {META: "{hr}, {lr}".format_map}
    turns = True
    # Real-ESRGAN, realesrgan/data/realesrgan_paired_dataset.py at 1d180ef, run by BasicSR's train.
    rules: ClassVar[Rules] = basicsr_rules("", "", "RealESRGANPairedDataset", meta_info=META)

    def network(self, scale: int) -> Network | None:
        return RRDB_NET

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        return f"gt/{pair.patch}-{plan.packing.hr}.png", f"lq/{pair.key}.png"

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        settings = {
            "name": f"finetune_RealESRGAN_x{scale}_degflow",
            "model_type": "RealESRGANModel",
            "scale": scale,
            "num_gpu": "auto",
            "manual_seed": 0,
            "l1_gt_usm": False,
            "percep_gt_usm": False,
            "gan_gt_usm": False,
            "high_order_degradation": False,
            "datasets": {
                "train": {
                    "name": "degflow",
                    "type": "RealESRGANPairedDataset",
                    "dataroot_gt": roots.whole,
                    "dataroot_lq": roots.whole,
                    "meta_info": roots(META),
                    "io_backend": {"type": "disk"},
                    "gt_size": crop_side(plans, 256),
                    "use_hflip": True,
                    "use_rot": False,
                    "use_shuffle": True,
                    "num_worker_per_gpu": 4,
                    "batch_size_per_gpu": 8,
                    "dataset_enlarge_ratio": 1,
                    "prefetch_mode": None,
                }
            },
            "network_g": {
                "type": "RRDBNet",
                "num_in_ch": 3,
                "num_out_ch": 3,
                "scale": scale,
                "num_feat": 64,
                "num_block": 23,
                "num_grow_ch": 32,
            },
            "network_d": {
                "type": "UNetDiscriminatorSN",
                "num_in_ch": 3,
                "num_feat": 64,
                "skip_connection": True,
            },
            "path": {
                "pretrain_network_g": None,
                "param_key_g": "params_ema",
                "strict_load_g": True,
                "resume_state": None,
            },
            "train": _TRAIN,
            **basicsr_end(),
        }
        return yaml_text(
            settings,
            roots.note,
            "pretrain_network_g: the weights to begin with, RealESRGAN_x4plus.pth for scale 4.",
            f"Factors of RRDBNet: {RRDB_NET.factors}.",
        )

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        for number, line in enumerate(text_lines(folder / META, folder, report) or [], 1):
            names = line.strip().split(", ")
            if len(names) != 2:
                report.add("list", f"{META}, line {number}: not `HR, LR` but {line[:60]!r}")
                continue
            paths = [owned.below(folder, name) for name in names]
            gone = [
                name[:60]
                for name, path in zip(names, paths, strict=True)
                if path is None or not files.is_file(path)
            ]
            if gone:
                report.add("list", f"{META}, line {number}: {gone[0]} is not there")
            else:
                yield file_pair(folder, names[0], names[1])


_ADAM = {"type": "Adam", "lr": 0.0001, "weight_decay": 0, "betas": [0.9, 0.99]}
_TRAIN = {
    "ema_decay": 0.999,
    "optim_g": _ADAM,
    "optim_d": dict(_ADAM),
    "scheduler": {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5},
    "total_iter": 400000,
    "warmup_iter": -1,
    "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    "perceptual_opt": {
        "type": "PerceptualLoss",
        "layer_weights": {
            "conv1_2": 0.1,
            "conv2_2": 0.1,
            "conv3_4": 1,
            "conv4_4": 1,
            "conv5_4": 1,
        },
        "vgg_type": "vgg19",
        "use_input_norm": True,
        "perceptual_weight": 1.0,
        "style_weight": 0,
        "range_norm": False,
        "criterion": "l1",
    },
    "gan_opt": {
        "type": "GANLoss",
        "gan_type": "vanilla",
        "real_label_val": 1.0,
        "fake_label_val": 0.0,
        "loss_weight": 0.1,
    },
    "net_d_iters": 1,
    "net_d_init_iters": 0,
}
