"""Formats in which pictures are written: PNG, PPM, WebP and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.arrays import decoded

PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
)
"""Noise has nothing that repeats, so no repeats are looked for: compared with OpenCV's own choice,
LR takes a tenth less room, a seventh less time to write and as much to read. With Paeth's filter
it would take 6% less room, but a quarter more time to write and two fifths more to read."""
PPM = (cv2.IMWRITE_PXM_BINARY, 1)
"""Nothing is compressed: 2.3 times the room of PNG, read in a thirtieth of the time."""
CHROMA = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
"""How a JPEG may subsample colours, as OpenCV is told."""
FULL_CHROMA = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, CHROMA["4:4:4"])
"""OpenCV halves the colours both ways unless told, in HR too, which must keep what LR lacks."""


@dataclass(frozen=True)
class PictureFormat:
    """How a picture is coded: a file's ending and what OpenCV is told. option: whose value `name`
    is, for errors.
    """

    name: str
    ending: str
    parameters: tuple[int, ...]
    lossy: bool = False
    option: str = "picture_format"

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
                f"`{self.option}={self.name}`: a picture of {width} x {height} pixels cannot be "
                f"written so: choose another format"
            )
        return data.tobytes()

    def round_trip(self, picture: np.ndarray) -> np.ndarray:
        """What a file of the picture holds, (H, W, 3) uint8 RGB; raises as `encode` does."""
        back = decoded(self.encode(picture), turn=False)
        assert back is not None, "OpenCV could not read its own picture"
        return back


def parse_format(text: str, option: str = "picture_format") -> PictureFormat:
    """`png`, `ppm`, `webp` (lossless all three) or `jpeg:QUALITY`, colours in full. option: who
    asks, for errors.

    Raises UsageError for anything but png, ppm, webp and jpeg:1 ... jpeg:100.
    """
    if text in ("png", "ppm"):
        return PictureFormat(text, text, PNG if text == "png" else PPM, option=option)
    if text == "webp":
        lossless = (cv2.IMWRITE_WEBP_QUALITY, 101)
        return PictureFormat(text, "webp", lossless, option=option)
    kind, _, quality = text.partition(":")
    if kind == "jpeg" and quality.isdecimal() and 1 <= int(quality) <= 100:
        parameters = (*FULL_CHROMA, cv2.IMWRITE_JPEG_QUALITY, int(quality))
        return PictureFormat(text, "jpg", parameters, lossy=True, option=option)
    raise UsageError(f"`{option}` must be png, ppm, webp or jpeg:QUALITY (1 to 100), got {text!r}")
