"""mmagic's BasicImageDataset, and CiaoSR, whose recipe is made one of pairs.

mmagic: the first word of each line of ann_file is the name below both folders, put into each one's
filename_tmpl; without a list it is every picture of the folder that data_prefix names first. In
training HR must be exactly `scale` times the LR. (open-mmlab/mmagic,
mmagic/datasets/basic_image_dataset.py at 93613c4, datasets/transforms/crop.py at 9f782fc,
configs/edsr/edsr_x4c64b16_1xb16-300k_div2k.py at c5f19aa, read in November 2026.)

CiaoSR is of mmagic's forerunner, mmediting 0.x. Its recipes load HR alone and make LR of them with
RandomDownSampling; ours has SRAnnotationDataset, both pictures and PairedRandomCrop at one scale in
their place. (caojiezhang/CiaoSR, configs/001_localimplicitsr_edsr_div2k_*.py at 56dd3e4, read in
November 2026.)
"""

from __future__ import annotations

import pprint
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

from degflow_pipe.exports.basicsr import BasicSR, meta_line
from degflow_pipe.exports.findings import Report
from degflow_pipe.exports.lmdbs import META
from degflow_pipe.exports.networks import EDSR_NET, MMAGIC, Network
from degflow_pipe.exports.options import crop_side
from degflow_pipe.exports.settings import Facts, Rules, Settings, check_rules
from degflow_pipe.exports.trainer import Plan, Roots, Row

_SET = "train_dataloader.dataset"
_PAIRED_CROP = "PairedRandomCrop"


class MMagic(BasicSR):
    name = "mmagic"
    options = "train_mmagic.py"
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {META: meta_line}
    # mmcv.imfrombytes by cv2 with IMREAD_COLOR, as imdecode_backend and color_type say.
    turns = True
    list_key = f"{_SET}.ann_file"
    template_key = f"{_SET}.filename_tmpl.img"
    pipeline_key: ClassVar[str] = f"{_SET}.pipeline"
    rules = Rules(
        source="mmagic, tools/train.py",
        required=(
            *("model.type", "train_cfg.type", "optim_wrapper.optimizer.type"),
            *(f"{_SET}.{key}" for key in ("type", "data_prefix.img", "data_prefix.gt", "pipeline")),
            *("train_dataloader.sampler.type", "train_dataloader.batch_size"),
        ),
        together={
            "val_cfg": ("type",),
            "val_dataloader": ("dataset",),
        },
        roots={
            f"{_SET}.data_root": "",
            f"{_SET}.data_prefix.gt": "gt",
            f"{_SET}.data_prefix.img": "lq",
            f"{_SET}.ann_file": META,
        },
        network="model.generator.type",
        networks=MMAGIC,
        factors=("model.generator.upscale_factor",),
        crop_hr="gt_patch_size",
    )

    def network(self, scale: int) -> Network | None:
        return EDSR_NET

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        train = {
            "num_workers": 8,
            "batch_size": 16,
            "drop_last": True,
            "persistent_workers": False,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": _set(roots.whole, _pipeline(scale, crop_side(plans, 192))),
        }
        settings: dict[str, Any] = {
            "default_scope": "mmagic",
            "experiment_name": f"edsr_x{scale}_degflow",
            "work_dir": f"./work_dirs/edsr_x{scale}_degflow",
            "scale": scale,
            "model": _model(scale),
            "train_dataloader": train,
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 300000, "val_interval": 5000},
            **(_validation(scale, roots) if roots.validation else {}),
            "optim_wrapper": {
                "constructor": "DefaultOptimWrapperConstructor",
                "type": "OptimWrapper",
                "optimizer": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.999]},
            },
            "param_scheduler": {
                "type": "MultiStepLR",
                "by_epoch": False,
                "milestones": [200000],
                "gamma": 0.5,
            },
            "default_hooks": {
                "checkpoint": {"type": "CheckpointHook", "interval": 5000, "by_epoch": False},
                "logger": {"type": "LoggerHook", "interval": 100},
            },
        }
        return _python(settings, roots.note, f"Factors of EDSRNet: {EDSR_NET.factors}.")

    def lr_of(self, name: str, template: str) -> str:
        path = PurePosixPath(name)
        return str(path.parent / super().lr_of(name, template))

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        steps = settings.get(self.pipeline_key)
        by_type = {
            str(step.get("type")): step
            for step in (steps if isinstance(steps, list) else [])
            if isinstance(step, Mapping)
        }
        crop = by_type.get(_PAIRED_CROP, {}).get("gt_patch_size")
        # The scale that crops are made by stands in a step, or in the set of 0.x.
        scale = by_type.get("SetValues", {}).get("dictionary")
        told = {
            "scale": scale["scale"] if isinstance(scale, Mapping) and "scale" in scale else None,
            "gt_patch_size": crop,
        }
        values = {**settings.values, **{key: said for key, said in told.items() if said}}
        check_rules(self.rules, Settings(settings.name, values), facts, report)
        if isinstance(steps, list):
            self.check_pipeline(settings.name, by_type, report)

    def check_pipeline(
        self, name: str, by_type: Mapping[str, Mapping[str, Any]], report: Report
    ) -> None:
        """Findings for steps that a pipeline of pairs needs, or must not have."""
        for wanted in ("LoadImageFromFile", _PAIRED_CROP):
            if wanted not in by_type:
                report.add("options", f"{name}: the training pipeline lacks {wanted}")
        for made in ("RandomDownSampling", "RandomBicubicSampling"):
            if made in by_type:
                report.add(
                    "options", f"{name}: {made} makes LR of HR, and the pairs' LR are unread"
                )


class CiaoSR(MMagic):
    """SRAnnotationDataset of mmediting 0.x, mmedit/datasets/sr_annotation_dataset.py."""

    name = "ciaosr"
    options = "train_ciaosr.py"
    list_key = "data.train.dataset.ann_file"
    template_key = "data.train.dataset.filename_tmpl"
    pipeline_key = "data.train.dataset.pipeline"
    rules = Rules(
        source="CiaoSR, tools/train.py",
        required=tuple(
            f"data.train.dataset.{key}"
            for key in ("type", "gt_folder", "lq_folder", "ann_file", "pipeline", "scale")
        ),
        roots={
            "data.train.dataset.gt_folder": "gt",
            "data.train.dataset.lq_folder": "lq",
            "data.train.dataset.ann_file": META,
        },
        network="data.train.dataset.type",
        factors=("data.train.dataset.scale",),
        crop_hr="gt_patch_size",
    )

    def lr_of(self, name: str, template: str) -> str:
        return BasicSR.lr_of(self, name, template)

    def network(self, scale: int) -> Network | None:
        return None

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        side = crop_side(plans, 48 * scale)
        load = {"type": "LoadImageFromFile", "io_backend": "disk"}
        both = {"keys": ["lq", "gt"]}
        pipeline = [
            *(
                {**load, "key": key, "flag": "color", "channel_order": "rgb"}
                for key in ("lq", "gt")
            ),
            {"type": _PAIRED_CROP, "gt_patch_size": side},
            {"type": "RescaleToZeroOne", **both},
            {"type": "Flip", **both, "flip_ratio": 0.5, "direction": "horizontal"},
            {"type": "Flip", **both, "flip_ratio": 0.5, "direction": "vertical"},
            {"type": "RandomTransposeHW", **both, "transpose_ratio": 0.5},
            {"type": "ImageToTensor", **both},
            {"type": "GenerateCoordinateAndCell", "sample_quantity": min(2304, side * side)},
            {
                "type": "Collect",
                "keys": ["lq", "gt", "coord", "cell"],
                "meta_keys": ["gt_path"],
            },
        ]
        pairs = {
            "type": "SRAnnotationDataset",
            "lq_folder": roots("lq"),
            "gt_folder": roots("gt"),
            "ann_file": roots(META),
            "pipeline": pipeline,
            "scale": scale,
            "filename_tmpl": "{}",
        }
        data = {"train": {"_delete_": True, "type": "RepeatDataset", "times": 20, "dataset": pairs}}
        settings = {"_base_": f"./{_CIAOSR}.py", "scale": scale, "data": data}
        return _python(
            settings,
            roots.note,
            "Save this in CiaoSR's folder configs, beside the recipe that _base_ names: it trains",
            "on pairs at one scale. Its own trains on HR alone, and makes LR of them. It says what",
            "training is watched on, too: pictures of Urban100 in data, which must be there.",
        )


_CIAOSR = "001_localimplicitsr_edsr_div2k_g1_c64b16_1000k_unfold_lec_mulwkv_res_nonlocal"


def _set(root: str, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "BasicImageDataset",
        "ann_file": META,
        "metainfo": {"dataset_type": "degflow", "task_name": "sisr"},
        "data_root": root,
        "data_prefix": {"img": "lq", "gt": "gt"},
        "filename_tmpl": {"img": "{}", "gt": "{}"},
        "pipeline": pipeline,
    }


def _load() -> list[dict[str, Any]]:
    how = {"color_type": "color", "channel_order": "rgb", "imdecode_backend": "cv2"}
    return [{"type": "LoadImageFromFile", "key": key, **how} for key in ("img", "gt")]


def _pipeline(scale: int, side: int) -> list[dict[str, Any]]:
    both = {"keys": ["img", "gt"]}
    return [
        *_load(),
        {"type": "SetValues", "dictionary": {"scale": scale}},
        {"type": _PAIRED_CROP, "gt_patch_size": side},
        {"type": "Flip", **both, "flip_ratio": 0.5, "direction": "horizontal"},
        {"type": "Flip", **both, "flip_ratio": 0.5, "direction": "vertical"},
        {"type": "RandomTransposeHW", **both, "transpose_ratio": 0.5},
        {"type": "PackInputs"},
    ]


def _model(scale: int) -> dict[str, Any]:
    return {
        "type": "BaseEditModel",
        "generator": {
            "type": EDSR_NET.name,
            "in_channels": 3,
            "out_channels": 3,
            "mid_channels": 64,
            "num_blocks": 16,
            "upscale_factor": scale,
            "res_scale": 1,
            "rgb_mean": [0.4488, 0.4371, 0.4040],
            "rgb_std": [1.0, 1.0, 1.0],
        },
        "pixel_loss": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        "train_cfg": {},
        "test_cfg": {"metrics": ["PSNR"], "crop_border": scale},
        "data_preprocessor": {
            "type": "DataPreprocessor",
            "mean": [0.0, 0.0, 0.0],
            "std": [255.0, 255.0, 255.0],
        },
    }


def _validation(scale: int, roots: Roots) -> dict[str, Any]:
    metrics = [{"type": kind, "crop_border": scale} for kind in ("PSNR", "SSIM")]
    return {
        "val_dataloader": {
            "num_workers": 4,
            "persistent_workers": False,
            "drop_last": False,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": _set(roots.apart("").rstrip("/"), [*_load(), {"type": "PackInputs"}]),
        },
        "val_evaluator": {"type": "Evaluator", "metrics": metrics},
        "val_cfg": {"type": "MultiValLoop"},
    }


def _python(settings: Mapping[str, Any], *notes: str) -> str:
    """Lines `name = value` with a comment a line above them."""
    lines = [f"# {note}" for note in notes]
    for name, value in settings.items():
        lines.append(f"{name} = {pprint.pformat(value, width=100, sort_dicts=False)}")
    return "\n".join(lines) + "\n"
