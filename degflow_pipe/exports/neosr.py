"""neosr and traiNNer-redux: a file of the same path and ending in both folders.

Both refuse unequal numbers of files and a name that is missing on one side. In training HR must be
exactly `scale` times the LR. neosr looks no deeper than the two folders, at four endings, and for
each name in a list of all, which takes the square of their number; its LMDB does not
(neosr-project/neosr, neosr/data/data_util.py at 3fe001f).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from degflow_pipe.exports.basicsr import named_apart
from degflow_pipe.exports.findings import (
    Found,
    Report,
    file_pair,
    is_litter,
    same_names,
    unread,
    visible_files,
)
from degflow_pipe.exports.lmdbs import LmdbTrainer
from degflow_pipe.exports.networks import COMPACT, NEOSR, REDUX, SPAN, Network
from degflow_pipe.exports.options import crop_side, toml_string, yaml_text
from degflow_pipe.exports.settings import Rules, Settings
from degflow_pipe.exports.trainer import Plan, Roots, Trainer

SLOW = 20_000
"""Pairs from which neosr takes long to pair folders: 6.7 s for 19,000, 11 minutes for 190,000."""


def _neosr_rules(gt: str, lq: str, *more: str) -> Rules:
    """neosr/utils/options.py at 3fe001f, neosr/data/paired_dataset.py and data/transforms.py at
    c5d54ee, read in November 2026. more: keys of the training set.
    """
    data = "datasets.train."
    return Rules(
        source="neosr, neosr/utils/options.py",
        required=(
            *("name", "model_type", "scale", "network_g.type"),
            *(data + key for key in ("type", "dataroot_gt", "dataroot_lq", "patch_size")),
            *(data + key for key in ("batch_size", *more)),
            *("train.optim_g.type", "logger.total_iter", "logger.save_checkpoint_freq"),
        ),
        together={"val": ("val_freq",)},
        roots={f"{data}dataroot_gt": gt, f"{data}dataroot_lq": lq},
        network="network_g.type",
        networks=NEOSR,
        crop_lr=f"{data}patch_size",
    )


def _toml(
    plans: Sequence[Plan], roots: Roots, places: Sequence[str], note: str, more: str = ""
) -> str:
    scale = int(plans[0].told)
    gt, lq = map(roots, places)
    side = crop_side(plans, 64 * scale) // scale
    return f"""# {note}
name = "compact_x{scale}_degflow"
model_type = "image"
scale = {scale}

[datasets.train]
type = "paired"
dataroot_gt = {toml_string(gt)}
dataroot_lq = {toml_string(lq)}
patch_size = {side}
batch_size = 8
{more}{_toml_val(roots, places, more) if roots.validation else ""}
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


def _toml_val(roots: Roots, places: Sequence[str], more: str) -> str:
    gt, lq = map(roots.apart, places)
    return f"""
[datasets.val]
name = "degflow-validate"
type = "paired"
dataroot_gt = {toml_string(gt)}
dataroot_lq = {toml_string(lq)}
{more}
[val]
val_freq = 5000

[val.metrics.psnr]
type = "calculate_psnr"
"""


class _ByName(Trainer):
    """Two folders, in which names are alike."""

    places = ("gt", "lq")
    template = False
    """Whether its option file has filename_tmpl."""

    def reads(self, name: str) -> bool:
        """Whether a file of that path below gt or lq is read."""
        return True

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        hr_names, lr_names = (
            [name for path in side if self.reads(name := path.relative_to(root).as_posix())]
            for side, root in ((hr, folder / "gt"), (lr, folder / "lq"))
        )
        read = {*(f"gt/{name}" for name in hr_names), *(f"lq/{name}" for name in lr_names)}
        named = [path.relative_to(folder).as_posix() for path in (*hr, *lr)]
        report.add(
            "names",
            *(
                f"{name} is in a deeper folder, or of no ending that is read: {unread(name, ())}"
                for name in named
                if name not in read and not is_litter(name.rpartition("/")[2])
            ),
        )
        said = settings.get("datasets.train.filename_tmpl") if settings is not None else None
        apart = str(said) if self.template and said is not None else ""
        if apart in ("", "{}"):
            apart = named_apart(self.name, hr_names, lr_names, report, self.template)
        own = {_renamed(name, apart): name for name in hr_names}
        for name in same_names(own, lr_names, report, "gt lq"):
            yield file_pair(folder, f"gt/{own[name]}", f"lq/{name}")


def _renamed(name: str, template: str) -> str:
    path = Path(name)
    return path.with_name(
        template.replace("{}", path.stem).replace("/", "_") + path.suffix
    ).as_posix()


class Neosr(_ByName):
    name = "neosr"
    options = "train_neosr.toml"
    # cv2.imdecode with IMREAD_COLOR: neosr/utils/img_util.py at 91073d4.
    turns = True
    rules = _neosr_rules("gt", "lq")

    def reads(self, name: str) -> bool:
        return "/" not in name and name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))

    def network(self, scale: int) -> Network | None:
        return COMPACT

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        note = f"{roots.note}\n# From {SLOW} pairs on, an export to neosr-lmdb begins sooner."
        return _toml(plans, roots, self.places, note)


class NeosrLmdb(LmdbTrainer):
    name = "neosr-lmdb"
    options = "train_neosr.toml"
    turns = True
    rules = _neosr_rules("gt.lmdb", "lq.lmdb", "io_backend.type")

    def network(self, scale: int) -> Network | None:
        return COMPACT

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        return _toml(plans, roots, self.places, roots.note, 'io_backend = { type = "lmdb" }\n')


class TrainnerRedux(_ByName):
    name = "trainner-redux"
    options = "train_trainner.yml"
    template = True
    # pyvips.Image.new_from_file, which leaves the orientation alone: traiNNer/utils/img_util.py at
    # 6032433; its pixels are taken for bytes.
    turns = False
    deep = ()
    # train.py at 0566ac4 and traiNNer/utils/redux_options.py at 4f163cd, read in November 2026.
    rules = Rules(
        source="traiNNer-redux, train.py",
        required=(
            *("name", "scale", "num_gpu", "path", "network_g.type"),
            *(f"datasets.train.{key}" for key in ("name", "type", "dataroot_gt", "dataroot_lq")),
            *(f"datasets.train.{key}" for key in ("io_backend.type", "use_hflip", "use_rot")),
            *("datasets.train.num_worker_per_gpu", "datasets.train.batch_size_per_gpu"),
            *("train.total_iter", "train.optim_g.type"),
            *("logger.print_freq", "logger.save_checkpoint_freq", "logger.use_tb_logger"),
        ),
        together={"val": ("val_enabled", "val_freq", "save_img")},
        roots={"datasets.train.dataroot_gt": "gt", "datasets.train.dataroot_lq": "lq"},
        network="network_g.type",
        networks=REDUX,
        crop_hr="datasets.train.gt_size",
        crop_lr="datasets.train.lq_size",
    )

    def network(self, scale: int) -> Network | None:
        return SPAN

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        val = {
            "name": "degflow-validate",
            "type": "PairedImageDataset",
            "dataroot_gt": [roots.apart("gt")],
            "dataroot_lq": [roots.apart("lq")],
            "io_backend": {"type": "disk"},
        }
        settings = {
            "name": f"{scale}x_SPAN_degflow",
            "scale": scale,
            "use_amp": True,
            "num_gpu": "auto",
            "datasets": {
                "train": {
                    "name": "degflow",
                    "type": "PairedImageDataset",
                    "dataroot_gt": [roots("gt")],
                    "dataroot_lq": [roots("lq")],
                    "io_backend": {"type": "disk"},
                    "lq_size": crop_side(plans, 64 * scale) // scale,
                    "use_hflip": True,
                    "use_rot": True,
                    "num_worker_per_gpu": 4,
                    "batch_size_per_gpu": 8,
                    "accum_iter": 1,
                },
                **({"val": val} if roots.validation else {}),
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
            "val": {"val_enabled": roots.validation, "val_freq": 5000, "save_img": False},
            "logger": {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": True},
        }
        return yaml_text(settings, roots.note)
