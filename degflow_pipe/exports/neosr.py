"""neosr and traiNNer-redux: a file of the same path and ending in both folders, at any depth.

Both refuse unequal numbers of files and a name that is missing on one side. In training HR must be
exactly `scale` times the LR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from degflow_pipe.exports.findings import Found, Report, file_pair, same_names, visible_files
from degflow_pipe.exports.options import RELATIVE, crop_side, yaml_text
from degflow_pipe.exports.trainer import Plan, Trainer


class Neosr(Trainer):
    name = "neosr"
    places = ("gt", "lq")
    options = "train_neosr.toml"

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        scale = int(plans[0].told)
        side = crop_side(plans, 64 * scale) // scale
        return f"""# {RELATIVE}
name = "compact_x{scale}_degflow"
model_type = "image"
scale = {scale}

[datasets.train]
type = "paired"
dataroot_gt = "gt"
dataroot_lq = "lq"
patch_size = {side}
batch_size = 8

[path]

[network_g]
type = "compact"

[train]
ema = 0.999

[train.optim_g]
type = "adan_sf"
lr = 1e-3
betas = [0.98, 0.92, 0.99]
weight_decay = 0.02
schedule_free = true
warmup_steps = 1600

[train.pixel_opt]
type = "L1Loss"
loss_weight = 1.0

[logger]
total_iter = 300000
save_checkpoint_freq = 5000
use_tb_logger = true
"""

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        hr_names = [path.relative_to(folder / "gt").as_posix() for path in hr]
        lr_names = [path.relative_to(folder / "lq").as_posix() for path in lr]
        for name in same_names(hr_names, lr_names, report, "gt lq"):
            yield file_pair(folder, f"gt/{name}", f"lq/{name}")


class TrainnerRedux(Neosr):
    name = "trainner-redux"
    options = "train_trainner.yml"

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        scale = int(plans[0].told)
        settings = {
            "name": f"{scale}x_SPAN_degflow",
            "scale": scale,
            "use_amp": True,
            "num_gpu": "auto",
            "datasets": {
                "train": {
                    "name": "degflow",
                    "type": "PairedImageDataset",
                    "dataroot_gt": ["gt"],
                    "dataroot_lq": ["lq"],
                    "io_backend": {"type": "disk"},
                    "lq_size": crop_side(plans, 64 * scale) // scale,
                    "use_hflip": True,
                    "use_rot": True,
                    "num_worker_per_gpu": 4,
                    "batch_size_per_gpu": 8,
                    "accum_iter": 1,
                }
            },
            "network_g": {"type": "span"},
            "path": {"resume_state": None},
            "train": {
                "ema_decay": 0.999,
                "optim_g": {"type": "AdamW", "lr": 0.0001, "weight_decay": 0, "betas": [0.9, 0.99]},
                "scheduler": {"type": "MultiStepLR", "milestones": [200000], "gamma": 0.5},
                "total_iter": 300000,
                "warmup_iter": -1,
                "losses": [{"type": "l1loss", "loss_weight": 1.0}],
            },
            "val": {"val_enabled": False, "save_img": False},
            "logger": {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": True},
        }
        return yaml_text(settings)
