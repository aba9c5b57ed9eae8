"""BasicSR's PairedImageDataset, from folders with a list and from LMDB.

Folders: the first word of each line of meta_info_file is the name in both folders; without a list,
both folders must hold equally many files, and each name of gt must be in lq, put into
filename_tmpl. In training HR must be exactly `scale` times the LR. LMDB: see `lmdbs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from degflow_pipe import files
from degflow_pipe.exports import owned
from degflow_pipe.exports.findings import (
    Found,
    Report,
    file_pair,
    is_litter,
    same_names,
    suffix_of,
    text_lines,
    unread,
    visible_files,
)
from degflow_pipe.exports.lmdbs import META, LmdbTrainer
from degflow_pipe.exports.networks import BASICSR, EDSR, MSR_RESNET, Network
from degflow_pipe.exports.options import training_yaml
from degflow_pipe.exports.settings import Rules, Settings
from degflow_pipe.exports.trainer import Plan, Roots, Row, Trainer

SAID = 2
"""Pictures beside a list that are told one by one; more of them have one cause."""


def basicsr_rules(gt: str, lq: str, reader: str = "PairedImageDataset", **lists: str) -> Rules:
    """What BasicSR asks of an option file, and what is built on it.

    basicsr/train.py at 016fe09, basicsr/utils/options.py at 04d745f and
    basicsr/data/paired_image_dataset.py at 01a75fb, read in November 2026. reader: its class of
    pairs. lists: further paths of the training set.
    """
    data = "datasets.train."
    return Rules(
        source="BasicSR, basicsr/train.py",
        required=(
            *("name", "model_type", "scale", "num_gpu", "path", "network_g.type"),
            *(data + key for key in ("name", "type", "dataroot_gt", "dataroot_lq", "gt_size")),
            *(data + key for key in ("io_backend.type", "use_hflip", "use_rot")),
            *(data + key for key in ("num_worker_per_gpu", "batch_size_per_gpu")),
            *("train.total_iter", "train.optim_g.type", "train.scheduler.type"),
            *("logger.print_freq", "logger.save_checkpoint_freq", "logger.use_tb_logger"),
        ),
        # Validation is asked for wherever `val` is; traiNNer-redux and BasicSR end without these.
        together={"val": ("val_freq", "save_img")},
        roots={
            f"{data}dataroot_gt": gt,
            f"{data}dataroot_lq": lq,
            **{data + key: place for key, place in lists.items()},
        },
        network="network_g.type",
        networks=BASICSR,
        factors=("network_g.upscale", "network_g.scale"),
        fixed={
            f"{data}type": (reader,),
            **{f"network_g.{key}": (3,) for key in ("num_in_ch", "num_out_ch", "in_chans")},
        },
        crop_hr=f"{data}gt_size",
    )


def meta_line(row: Row) -> str:
    """A pair's line in BasicSR's list, and in mmagic's."""
    side = row["hr_size"][0]
    return f"{Path(row['hr']).name} ({side},{side},3)"


def _network(scale: int) -> Network:
    return MSR_RESNET if MSR_RESNET.has(scale) else EDSR


class BasicSR(Trainer):
    name = "basicsr"
    places = ("gt", "lq")
    options = "train_basicsr.yml"
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {META: meta_line}
    # cv2.imdecode with IMREAD_COLOR: basicsr/utils/img_util.py at 084df5d.
    turns = True
    rules = basicsr_rules("gt", "lq", meta_info_file=META)
    list_key: ClassVar[str] = "datasets.train.meta_info_file"
    template_key: ClassVar[str] = "datasets.train.filename_tmpl"

    def network(self, scale: int) -> Network | None:
        return _network(scale)

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        return training_yaml(plans, roots, self.set_settings(roots))

    def set_settings(self, roots: Roots) -> dict[str, Any]:
        """Those of the training set that are of pictures as files."""
        return {
            "meta_info_file": roots(META),
            "filename_tmpl": "{}",
            "io_backend": {"type": "disk"},
        }

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        template = _template(settings, self.template_key, report)
        listed = settings is None or bool(settings.get(self.list_key))
        if settings is not None and listed and not files.exists(folder / META):
            report.add("list", f"{META} is not there, and {settings.name} names it")
        if not (files.exists(folder / META) and listed):
            yield from self._by_folder(folder, template, report)
            return
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is not None and lr is not None:
            yield from self._by_list(folder, hr, lr, template, report)

    def _by_list(
        self, folder: Path, hr: Sequence[Path], lr: Sequence[Path], template: str, report: Report
    ) -> Iterator[Found]:
        """The pairs of META; hr, lr: what is in gt and lq."""
        left = {path.name for path in hr if not is_litter(path.name)}

        @cache  # of many pictures, and asked for only where one is lacking
        def any_ending() -> dict[Path, str]:
            return {path.with_suffix(""): path.name for path in (*hr, *lr)}

        if template == "{}":
            hr_names, lr_names = ([path.name for path in side] for side in (hr, lr))
            template = named_apart(self.name, hr_names, lr_names, report)
        met: set[str] = set()
        for number, line in enumerate(text_lines(folder / META, folder, report) or [], 1):
            name, said = line.split(" ")[0], f"{META}, line {number}: "
            if name in met:
                report.add("list", f"{said}{name[:60]!r} is named twice: take one of them out")
            met.add(name)
            left.discard(PurePosixPath(name).name)
            if not name or (large := owned.below(folder / "gt", name)) is None:
                report.add("list", f"{said}{name[:60]!r} is no name below gt: write HR's name")
                continue
            small = folder / "lq" / self.lr_of(name, template)
            lacking = [
                (kind, path)
                for kind, path in (("no HR", large), ("no LR", small))
                if not files.is_file(path)
            ]
            if not lacking:
                yield file_pair(folder, f"gt/{name}", small.relative_to(folder).as_posix())
                continue
            kind, path = lacking[0]
            told = f"{said}{path.relative_to(folder).as_posix()} is not there"
            if template != "{}":
                told += f", by filename_tmpl {template!r}"
            if other := any_ending().get(path.with_suffix("")):
                told += f"; {other} is: {unread(other, (), path.suffix)}"
                left.discard(other)
            report.add(kind, told)
        if len(left) > SAID:
            report.add(
                "list",
                f"{META} lists {len(met)} HR, and {len(left)} more in gt, such as {min(left)}, are "
                f"never read: list them, or take them out",
            )
        else:
            report.add(
                "list",
                *(
                    f"gt/{name} is not in {META}, and never read: list it, or take it out"
                    for name in sorted(left)
                ),
            )

    def lr_of(self, name: str, template: str) -> str:
        """The path below lq of the LR of a listed HR: no deeper, however deep the HR is."""
        return _filled(template, PurePosixPath(name).name)

    def _by_folder(self, folder: Path, template: str, report: Report) -> Iterator[Found]:
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        # No deeper: BasicSR looks into the two folders alone.
        hr_names = [path.name for path in hr if path.parent == folder / "gt"]
        lr_names = [path.name for path in lr if path.parent == folder / "lq"]
        if template == "{}":
            template = named_apart(self.name, hr_names, lr_names, report)
        own = {_filled(template, name): name for name in hr_names}
        for name in same_names(own, lr_names, report, "gt lq"):
            yield file_pair(folder, f"gt/{own[name]}", f"lq/{name}")


def named_apart(
    trainer: str, hr: Sequence[str], lr: Sequence[str], report: Report, template: bool = True
) -> str:
    """The template of LR names like 0001x4.png beside 0001.png, with a finding; else `{}`.

    template: whether the trainer has filename_tmpl to say so.
    """
    suffix = suffix_of((Path(name).stem for name in hr), (Path(name).stem for name in lr))
    if not suffix:
        return "{}"
    cure = f'write filename_tmpl: "{{}}{suffix}" into the training set' if template else ""
    cure = cure or f"rename the LR without {suffix}"
    report.add(
        "names",
        f"LR are named as their HR with {suffix} after, and {trainer} looks for the same name: "
        f"{cure}",
    )
    return f"{{}}{suffix}"


def _template(settings: Settings | None, key: str, report: Report) -> str:
    said = settings.get(key) if settings is not None else None
    if said is None:
        return "{}"
    if isinstance(said, str) and said.count("{}") == 1 and owned.below(Path(), said) == Path(said):
        return said
    assert settings is not None
    report.add("options", f"{settings.name}: filename_tmpl must have one {{}} in it")
    return "{}"


def _filled(template: str, name: str) -> str:
    """The name of an LR: the template holds the HR's name without its ending."""
    path = PurePosixPath(name)
    return f"{template.replace('{}', path.stem)}{path.suffix}"


class BasicSRLmdb(LmdbTrainer):
    name = "basicsr-lmdb"
    options = "train_basicsr.yml"
    turns = True
    rules = basicsr_rules("gt.lmdb", "lq.lmdb")

    def network(self, scale: int) -> Network | None:
        return _network(scale)

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        return training_yaml(plans, roots, {"io_backend": {"type": "lmdb"}}, self.places)
