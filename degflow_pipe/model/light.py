"""The light of an LR: exposure, white balance, and what else is even over many pixels.

A lens blurs, and adds no tint. Yet two shots of a scene seldom have one light, and of few scenes a
network learns which colours changed: of colours that it has not met it makes others. So the head
`lens` leaves LR the light of HR. Of a crop, patch or tile that is of 64 pixels or little more it is
the mean, as what lies beyond is not seen.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.model.blurs import blurred
from degflow_pipe.model.config import COMPRESSION
from degflow_pipe.model.planes import enlarged

SIGMA = 8.0
"""Pixels of the latent, 64 of the picture, beyond which a difference is one of light. By 16 pixels
local contrast, which a camera may change, went too: figures in checkpoints/README.md.
"""


def in_light_of(hr: Tensor, lr: Tensor) -> Tensor:
    """The LR less what it differs by from HR over about 64 pixels and more.

    hr, lr: (B, 3, H, W) float32, H and W multiples of COMPRESSION; hr: HR or a blur of it. Returns
    (B, 3, H, W).
    """
    means = F.avg_pool2d(lr - hr, COMPRESSION)
    return lr - enlarged(blurred(means, SIGMA), COMPRESSION)
