"""Ready chains, as a recipe would say them.

JPEG of the web is what blind SR is trained on, quality 30 to 95: Wang, Xie, Dong, Shan,
*Real-ESRGAN*, ICCVW 2021 (both of its rounds), and Zhang, Liang, Van Gool, Timofte, *BSRGAN*, ICCV
2021. Resizing is milder than the 0.3 to 1.2 of Real-ESRGAN's second round, and noise is far below
its 1 to 25 grey levels, since an LR has a camera's blur and noise before it comes here; the share
of grey noise, 0.4, is the same. WebP is drawn about libwebp's default of 75: at 33 to 46 it left
little of grass and leaves. Phones save at higher quality, colours 4:2:0: two files of an iPhone 11
Pro have the tables of libjpeg's 89 and 93. The other ranges are ours, chosen by eye.
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
    {"step": "webp", "probability": 0.25, "quality": [60, 90]},
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
