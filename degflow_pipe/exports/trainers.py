"""The trainers that an export is made for."""

from __future__ import annotations

from degflow_pipe.choices import one_of
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.basicsr import BasicSR, BasicSRLmdb
from degflow_pipe.exports.edsr import Edsr
from degflow_pipe.exports.edsr_forks import Han, MetaSR, Rcan
from degflow_pipe.exports.hat import Hat, MambaIR
from degflow_pipe.exports.kair import Kair, SwinIR
from degflow_pipe.exports.liif import Ddir, Liif
from degflow_pipe.exports.mmagic import CiaoSR, MMagic
from degflow_pipe.exports.neosr import Neosr, NeosrLmdb, TrainnerRedux
from degflow_pipe.exports.realesrgan import RealESRGAN
from degflow_pipe.exports.realsr import InterFlow, RealSR
from degflow_pipe.exports.trainer import Trainer

TRAINERS: dict[str, type[Trainer]] = {
    trainer.name: trainer
    for trainer in (
        BasicSR,
        BasicSRLmdb,
        Neosr,
        NeosrLmdb,
        TrainnerRedux,
        RealESRGAN,
        Kair,
        Liif,
        Ddir,
        InterFlow,
        RealSR,
        Edsr,
        Rcan,
        Han,
        MetaSR,
        MMagic,
        CiaoSR,
        Hat,
        MambaIR,
        SwinIR,
    )
}


def find_trainer(name: str) -> Trainer:
    """Raises UsageError for a name that is none of TRAINERS."""
    if name not in TRAINERS:
        raise UsageError(f"`to` must be {one_of(list(TRAINERS))}, got {name!r}")
    return TRAINERS[name]()
