"""Formats in which pictures are written: PNG, WebP and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.errors import UsageError

PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
)
"""Noise has nothing that repeats, so no repeats are looked for: compared with OpenCV's level 3, LR
takes a tenth less room and less than half of the time."""
FULL_CHROMA = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
"""OpenCV halves the colours both ways unless told, in HR too, which must keep what LR lacks."""


@dataclass(frozen=True)
class PictureFormat:
    """`png`, `webp` (both lossless) or `jpeg:QUALITY`, for HR and LR alike."""

    name: str
    ending: str
    parameters: tuple[int, ...]

    def encode(self, picture: np.ndarray) -> bytes:
        """(H, W, 3) uint8 RGB to the bytes of a file. Raises UsageError where it is too large."""
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        try:
            ok, data = cv2.imencode(f".{self.ending}", bgr, self.parameters)
        except cv2.error:
            ok = False
        if not ok:
            height, width = picture.shape[:2]
            raise UsageError(
                f"`picture_format={self.name}`: a picture of {width} x {height} pixels cannot be "
                f"written so: choose another format"
            )
        return data.tobytes()


def parse_format(text: str) -> PictureFormat:
    """Raises UsageError for anything but png, webp and jpeg:1 ... jpeg:100."""
    if text == "png":
        return PictureFormat(text, "png", PNG)
    if text == "webp":
        return PictureFormat(text, "webp", (cv2.IMWRITE_WEBP_QUALITY, 101))  # 101: lossless
    kind, _, quality = text.partition(":")
    if kind == "jpeg" and quality.isdecimal() and 1 <= int(quality) <= 100:
        return PictureFormat(text, "jpg", (*FULL_CHROMA, cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    raise UsageError(f"`picture_format` must be png, webp or jpeg:QUALITY (1 to 100), got {text!r}")
