"""Which factors the networks have that option files name, by the networks' own sources.

Each was read in November 2026, at the commit that is named. A network that is not listed here is
not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Network:
    """A network as an option file names it.

    has: whether it enlarges by that factor; factors: the same in words; even: the LR crop must be a
    multiple of this at that factor.
    """

    name: str
    has: Callable[[int], bool]
    factors: str
    even: Callable[[int], int] = lambda scale: 1


def _any(scale: int) -> bool:
    return scale >= 1


def _powers_of_two_and_3(scale: int) -> bool:
    return scale == 3 or (scale >= 1 and scale & (scale - 1) == 0)


# XPixelGroup/BasicSR, basicsr/archs/srresnet_arch.py at 323cc14: layers for 2, 3 and 4 alone; with
# any other upscale the initialisation looks for a layer that was not made.
MSR_RESNET = Network("MSRResNet", lambda scale: scale in (2, 3, 4), "2, 3 and 4")

# XPixelGroup/BasicSR, basicsr/archs/edsr_arch.py at ab4a7a3, which enlarges by arch_util.Upsample:
# powers of two, 1 being none, and 3; any other is a ValueError.
EDSR = Network("EDSR", _powers_of_two_and_3, "3 and the powers of two from 1")

# XPixelGroup/BasicSR, basicsr/archs/rrdbnet_arch.py at 323cc14: enlarges by 4, for 2 and 1 after a
# pixel_unshuffle by 2 and 4, which asserts that the LR divides so; every other scale gives x4.
RRDB_NET = Network(
    "RRDBNet",
    lambda scale: scale in (1, 2, 4),
    "1, 2 and 4",
    lambda scale: {1: 4, 2: 2}.get(scale, 1),
)

# XPixelGroup/BasicSR, basicsr/archs/srvgg_arch.py at 5ba5f85: one PixelShuffle of any factor.
SRVGG = Network("SRVGGNetCompact", _any, "any")

# cszn/KAIR, models/network_msrresnet.py at f9888a0: MSRResNet0 takes the whole part of log2 of any
# other factor, MSRResNet1 is BasicSR's.
MSR_RESNET0 = Network("msrresnet0", _powers_of_two_and_3, "3 and the powers of two from 1")
MSR_RESNET1 = Network("msrresnet1", lambda scale: scale in (2, 3, 4), "2, 3 and 4")

# muslll/neosr (now neosr-project), neosr/archs/compact_arch.py at 0199ef5: one PixelShuffle.
COMPACT = Network("compact", _any, "any")

# the-database/traiNNer-redux, traiNNer/archs/span_arch.py at 0708929, whose network is spandrel's
# SPAN/__arch/span.py at 4248295: one PixelShuffle.
SPAN = Network("span", _any, "any")

# sanghyun-son/EDSR-PyTorch, src/model/common.py at 1abac01, from which RCAN and HAN have their
# upsampler: powers of two, 1 being none, and 3; any other is a NotImplementedError.
_FAMILY = ("EDSR", "MDSR", "RCAN", "RDN", "HAN")
EDSR_FAMILY: Mapping[str, Network] = {name: replace(EDSR, name=name) for name in _FAMILY}
# src/model/edsr.py there takes args.scale[0]; src/model/mdsr.py has a head and a tail a factor.
ONE_FACTOR = [name for name in _FAMILY if name != "MDSR"]

# open-mmlab/mmagic, mmagic/models/editors/edsr/edsr_net.py at 58380b2: the same factors.
EDSR_NET = replace(EDSR, name="EDSRNet")

# XPixelGroup/HAT, hat/archs/hat_arch.py at 0452e9d: the same factors; LR is cut into windows of 16
# pixels and padded in validation alone. Windows are as large in all of its options.
HAT = replace(EDSR, name="HAT", even=lambda scale: 16)

# csguoh/MambaIR, basicsr/archs/mambair_arch.py at 06dc6cd, upsampler pixelshuffle.
MAMBAIR = replace(EDSR, name="MambaIR")

# cszn/KAIR's swinir is JingyunLiang/SwinIR's network, models/network_swinir.py: LR is padded to its
# windows of 8 pixels, but the masks of a crop are made for img_size as it is said.
SWINIR = replace(EDSR, name="swinir", even=lambda scale: 8)

BASICSR: Mapping[str, Network] = {
    network.name: network for network in (MSR_RESNET, EDSR, RRDB_NET, SRVGG)
}
KAIR: Mapping[str, Network] = {
    network.name: network for network in (MSR_RESNET0, MSR_RESNET1, SWINIR)
}
NEOSR: Mapping[str, Network] = {COMPACT.name: COMPACT}
REDUX: Mapping[str, Network] = {SPAN.name: SPAN}
MMAGIC: Mapping[str, Network] = {EDSR_NET.name: EDSR_NET}
