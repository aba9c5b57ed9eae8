"""HAT and MambaIR, which BasicSR's loop trains: its pictures and list, and networks of their own.

HAT imports BasicSR, whose PairedImageDataset its options name (XPixelGroup/HAT,
options/train/train_HAT_SRx4_finetune_from_SRx2.yml at 0cb37c7, hat/archs/hat_arch.py at 0452e9d).
MambaIR holds a copy of it, of which pairing by meta_info_file is BasicSR's own (csguoh/MambaIR,
basicsr/data/data_util.py at 3ad5892, basicsr/archs/mambair_arch.py at 06dc6cd,
options/train/mambair/train_MambaIR_lightSR_x3.yml at af4a48c). Read in November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from degflow_pipe.exports.basicsr import BasicSR
from degflow_pipe.exports.networks import BASICSR, HAT, MAMBAIR, Network
from degflow_pipe.exports.options import check_window, crop_side, training_yaml
from degflow_pipe.exports.source import ShardLevel
from degflow_pipe.exports.trainer import Plan, Roots


class Hat(BasicSR):
    name = "hat"
    options = "train_hat.yml"
    rules = replace(BasicSR.rules, source="HAT, hat/train.py", networks={**BASICSR, HAT.name: HAT})

    def network(self, scale: int) -> Network | None:
        return HAT

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        plans = super().planned(levels, scale)
        check_window(self.name, HAT, plans)
        return plans

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        side = crop_side(plans, 64 * scale, HAT.even(scale))
        network = {
            "type": HAT.name,
            "upscale": scale,
            "in_chans": 3,
            "img_size": side // scale,
            "window_size": 16,
            "compress_ratio": 3,
            "squeeze_factor": 30,
            "conv_scale": 0.01,
            "overlap_ratio": 0.5,
            "img_range": 1.0,
            "depths": [6] * 6,
            "embed_dim": 180,
            "num_heads": [6] * 6,
            "mlp_ratio": 2,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
        }
        return training_yaml(
            plans, roots, self.set_settings(roots), network=network, model="HATModel", side=side
        )


class MambaIR(BasicSR):
    name = "mambair"
    options = "train_mambair.yml"
    rules = replace(
        BasicSR.rules,
        source="MambaIR, basicsr/train.py",
        networks={**BASICSR, MAMBAIR.name: MAMBAIR},
    )

    def network(self, scale: int) -> Network | None:
        return MAMBAIR

    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        scale = int(plans[0].told)
        side = crop_side(plans, 64 * scale)
        network = {
            "type": MAMBAIR.name,
            "upscale": scale,
            "in_chans": 3,
            "img_size": side // scale,
            "img_range": 1.0,
            "d_state": 16,
            "depths": [6] * 6,
            "embed_dim": 180,
            "mlp_ratio": 2,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
        }
        data = {"task": "SR", **self.set_settings(roots)}
        return training_yaml(plans, roots, data, network=network, model="MambaIRModel", side=side)
