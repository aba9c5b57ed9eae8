"""Option files that several trainers share the form of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from degflow_pipe.errors import UsageError
from degflow_pipe.exports.networks import EDSR, MSR_RESNET, Network
from degflow_pipe.exports.trainer import Plan, Roots


class _Plain(yaml.SafeDumper):
    """No anchors: equal lists are written twice, as people would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(settings: dict[str, Any], *notes: str) -> str:
    """YAML in the order of the settings, with a comment a line above it."""
    body = yaml.dump(settings, Dumper=_Plain, sort_keys=False, default_flow_style=None, width=100)
    return "".join(f"# {note}\n" for note in notes) + body


def toml_string(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON but for pairs of surrogates."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def crop_side(plans: Sequence[Plan], most: int, window: int = 1) -> int:
    """Side of the HR that training crops: at most `most`, a multiple of the scale that fits.

    window: pixels of which the LR crop must be a multiple; it fits once.
    """
    step = window * int(plans[0].told)
    return min([most, *(plan.packing.hr for plan in plans)]) // step * step


def check_window(trainer: str, network: Network, plans: Sequence[Plan]) -> None:
    """Raises UsageError where an LR is smaller than the windows that a network cuts it into."""
    least = min(plan.packing.lr for plan in plans)
    window = network.even(int(plans[0].told))
    if least < window:
        raise UsageError(
            f"{trainer}: {network.name} takes LR of a multiple of {window} pixels, and the "
            f"smallest here have {least}"
        )


def basicsr_val(gt: str, lq: str, data: dict[str, Any]) -> dict[str, Any]:
    """The validation set of BasicSR; data: settings of the training set, of which it has some."""
    shared = {key: value for key, value in data.items() if key in ("filename_tmpl", "io_backend")}
    return {
        "name": "degflow-validate",
        "type": "PairedImageDataset",
        "dataroot_gt": gt,
        "dataroot_lq": lq,
        **shared,
    }


def basicsr_metrics(scale: int) -> dict[str, Any]:
    """PSNR in RGB every 5,000 iterations."""
    psnr = {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": False}
    return {"val_freq": 5000, "save_img": False, "metrics": {"psnr": psnr}}


def basicsr_end() -> dict[str, Any]:
    """What a run of BasicSR, and of what is built on it, ends with."""
    return {
        "logger": {
            "print_freq": 100,
            "save_checkpoint_freq": 5000,
            "use_tb_logger": True,
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }


def training_yaml(
    plans: Sequence[Plan],
    roots: Roots,
    data: dict[str, Any],
    places: Sequence[str] = ("gt", "lq"),
    *,
    network: dict[str, Any] | None = None,
    model: str = "SRModel",
    side: int = 0,
) -> str:
    """A whole run of BasicSR, L1: MSRResNet where it has the factor, else EDSR.

    data: further settings of the training set. network, model, side: of another network, and the
    pixels of HR that are cropped for it.
    """
    scale = int(plans[0].told)
    (gt, lq), apart = places, roots.validation
    own = network is None
    network = network or _network(scale)
    kind = network["type"]
    settings = {
        "name": f"{kind}_x{scale}_degflow",
        "model_type": model,
        "scale": scale,
        "num_gpu": 1,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "degflow",
                "type": "PairedImageDataset",
                "dataroot_gt": roots(gt),
                "dataroot_lq": roots(lq),
                **data,
                "gt_size": side or crop_side(plans, 128),
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 4,
                "batch_size_per_gpu": 16 if own else 4,
                "dataset_enlarge_ratio": 1,
                "prefetch_mode": None,
            },
            **({"val": basicsr_val(roots.apart(gt), roots.apart(lq), data)} if apart else {}),
        },
        "network_g": network,
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 0.0002, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [200000], "gamma": 0.5},
            "total_iter": 300000,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        **({"val": basicsr_metrics(scale)} if apart else {}),
        **basicsr_end(),
    }
    factors = f"Factors of MSRResNet: {MSR_RESNET.factors}; others are EDSR."
    return yaml_text(settings, roots.note, *([factors] if own else []))


def _network(scale: int) -> dict[str, Any]:
    kind = MSR_RESNET.name if MSR_RESNET.has(scale) else EDSR.name
    sizes = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16}
    return {"type": kind, **sizes, "upscale": scale}
