"""Ready chains, as a recipe would say them.

The ranges of JPEG are those that blind SR is trained on, quality 30 to 95: Wang, Xie, Dong, Shan,
*Real-ESRGAN*, ICCVW 2021, and Zhang, Liang, Van Gool, Timofte, *BSRGAN*, ICCV 2021. Those of phones
are higher. Resizing goes by less than in Real-ESRGAN's second round (0.3 to 1.2 of the size to
come): an LR has gone through a lens before it comes here.
"""

from __future__ import annotations

from typing import Any

_WEB_FILE: list[dict[str, Any]] = [
    {
        "step": "jpeg",
        "probability": 0.75,
        "quality": [30, 95],
        "chroma": ["4:2:0", "4:2:0", "4:2:0", "4:4:4"],
    },
    {"step": "webp", "probability": 0.25, "quality": [30, 95]},
]

READY: dict[str, list[dict[str, Any]]] = {
    # A site resizes and sharpens what is uploaded and saves it; at times another one does so again.
    "web": [
        {"step": "resize", "probability": 0.5, "factor": [0.6, 1.2]},
        {"step": "sharpen", "probability": 0.4, "radius": [0.5, 1.2], "amount": [0.2, 0.8]},
        {"step": "either", "of": _WEB_FILE},
        {"step": "resize", "probability": 0.2, "factor": [0.7, 1.2]},
        {"step": "either", "probability": 0.3, "of": _WEB_FILE},
    ],
    # A phone's own pipeline: sharpening with its halo, what noise it leaves or adds, one JPEG.
    "phone-jpeg": [
        {"step": "sharpen", "probability": 0.8, "radius": [0.6, 1.5], "amount": [0.2, 0.8]},
        {
            "step": "noise",
            "probability": 0.5,
            "gaussian": [0.3, 1.5],
            "shot": [0, 2],
            "grey": 0.4,
        },
        {
            "step": "jpeg",
            "quality": [80, 97],
            "chroma": ["4:2:0", "4:2:0", "4:2:0", "4:2:0", "4:2:2"],
        },
    ],
}
"""By name; see `chain.read_chain`."""
