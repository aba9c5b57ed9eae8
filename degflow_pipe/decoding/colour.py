"""Colours to sRGB, by LittleCMS: of an ICC profile, or of what a file says in other words.

Primaries, and code points of colours: ITU-T H.273 (2024), tables 2 and 3. Adobe RGB (1998): Adobe's
specification of 2005; a camera names it by the interoperability index R03 (Exif 2.32, DCF 2.0).
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from degflow_pipe.formats.text import printable

SRGB = "sRGB"
MAX_NAME = 100
"""Characters of a profile's name that are kept."""
BROKEN = "sRGB assumed: the colour profile is broken"

_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES = {
    1: ("BT.709", _BT709),
    9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
}
_ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_SRGB_CURVE = -1.0
"""In place of a gamma. Cameras' BT.709 pictures are shown, and so taken, by the same curve."""
_GAMMAS = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}
_HDR = {16: "PQ", 18: "HLG"}
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
_COLORIMETRIC = ImageCms.Intent.RELATIVE_COLORIMETRIC
_BLACK_POINT = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(
    image: Image.Image, profile: bytes | None = None, cicp: tuple[int, ...] | None = None
) -> tuple[Image.Image, str]:
    """A picture of mode RGB, L or CMYK as RGB in sRGB, and what was done, for a record.

    profile: the ICC profile, by default the picture's own; cicp: code points of H.273 that stand
    above it, as a PNG's do. The intent is relative colorimetric with black point compensation.
    Colours that are sRGB already keep their bytes; a profile that is broken, or of another kind of
    picture, is told and sRGB assumed. Raises ValueError for what holds no colours of a display:
    HDR.
    """
    if cicp is not None and cicp[:2] != (2, 2):
        profile, told = _of_code_points(cicp)
    else:
        profile = image.info.get("icc_profile") if profile is None else profile
        told = ""
        if profile is None:
            profile, told = _of_metadata(image)
    if profile is None:
        plain = "CMYK without a profile" if image.mode == "CMYK" else SRGB
        return image.convert("RGB"), plain
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space != _SPACES[image.mode]:
            return image.convert("RGB"), BROKEN
        transform = _transform(opened, image.mode)
        if image.mode != "CMYK" and _does_nothing(transform, image.mode):
            return image.convert("RGB"), SRGB
        told = told or _name(opened)
        if image.mode == "RGB":
            ImageCms.applyTransform(image, transform, inPlace=True)
            return image, f"converted from {told}"
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted, f"converted from {told}"
    except (OSError, ImageCms.PyCMSError):
        return image.convert("RGB"), BROKEN


def _transform(profile: Any, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=_COLORIMETRIC,
        flags=_BLACK_POINT,
    )


def _does_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a lattice of colours stays as it is but for rounding: sRGB by any other name."""
    lattice = _lattice(mode)
    changed = ImageCms.applyTransform(lattice, transform)
    assert changed is not None
    wanted = np.asarray(lattice.convert("RGB")).astype(int)
    off = np.abs(np.asarray(changed) - wanted)
    return bool(off.max() <= 2 and off.mean() <= 0.5)


@lru_cache
def _lattice(mode: str) -> Image.Image:
    levels = range(0, 256, 17)
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Image.fromarray(np.array([list(product(levels, repeat=3))], np.uint8))


def _name(profile: Any) -> str:
    name = printable(ImageCms.getProfileDescription(profile).strip())
    return name[:MAX_NAME] or "an unnamed profile"


def _of_code_points(cicp: tuple[int, ...]) -> tuple[bytes | None, str]:
    primaries, transfer = cicp[:2]
    if transfer in _HDR:
        raise ValueError(
            f"HDR ({_HDR[transfer]}), whose colours no display of 8 bits has: save it as SDR"
        )
    if (primaries not in _PRIMARIES and primaries != 2) or transfer not in _GAMMAS:
        raise ValueError(f"colours of the code points {primaries}, {transfer}, which are not known")
    name, corners = _PRIMARIES.get(primaries, _PRIMARIES[1])
    if corners == _BT709 and _GAMMAS[transfer] == _SRGB_CURVE:
        return None, ""
    return _matrix_profile(*corners, *_D65, gamma=_GAMMAS[transfer]), name


def _of_metadata(image: Image.Image) -> tuple[bytes | None, str]:
    """Of a PNG's gamma and corners, or of a camera's Adobe RGB; None for sRGB."""
    info = image.info
    if image.mode == "RGB" and _is_adobe(image):
        return _matrix_profile(*_ADOBE, *_D65, gamma=563 / 256), "Adobe RGB (1998)"
    if image.format != "PNG" or "srgb" in info or "gamma" not in info or image.mode != "RGB":
        return None, ""
    gamma = info["gamma"]
    white = info.get("chromaticity", (*_D65, *_BT709))
    near = np.abs(np.subtract(white, (*_D65, *_BT709))).max() < 0.005
    if (near and abs(gamma - 0.45455) < 0.01) or not 0.1 <= gamma <= 2:
        return None, ""
    try:
        curve = _SRGB_CURVE if abs(gamma - 0.45455) < 0.01 else 1 / gamma
        return _matrix_profile(*white[2:], *white[:2], gamma=curve), "the gamma that the PNG says"
    except (np.linalg.LinAlgError, ZeroDivisionError, struct.error):
        return b"", ""


def _is_adobe(image: Image.Image) -> bool:
    try:
        index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(1)
    except Exception:  # odd metadata make Pillow raise nearly anything; pixels decide
        return False
    return index in ("R03", b"R03")


@lru_cache
def _matrix_profile(
    rx: float, ry: float, gx: float, gy: float, bx: float, by: float, wx: float, wy: float, *,
    gamma: float,
) -> bytes:  # fmt: skip
    """An ICC profile (version 2) of primaries and a white, as chromaticities, and a curve."""
    corners = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in ((rx, ry), (gx, gy), (bx, by))]).T
    white = np.array([wx / wy, 1.0, (1 - wx - wy) / wy])
    to_xyz = corners * np.linalg.solve(corners, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    columns = (np.linalg.solve(_BRADFORD, cones @ _BRADFORD) @ to_xyz).T
    curve = _srgb_curve() if gamma == _SRGB_CURVE else struct.pack(">IH", 1, round(gamma * 256))
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"none\0" + bytes(78)
    tags = {
        b"desc": text,
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
        **{n: b"XYZ " + bytes(4) + _fixed(c) for n, c in zip(_XYZ, columns, strict=True)},
        **{n: b"curv" + bytes(4) + curve for n in (b"rTRC", b"gTRC", b"bTRC")},
    }
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4x", at + len(body)) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12)
    head += b"acsp" + bytes(28) + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


_XYZ = (b"rXYZ", b"gXYZ", b"bXYZ")


def _srgb_curve() -> bytes:
    """The curve of IEC 61966-2-1 as a table of 1024."""
    x = np.arange(1024) / 1023
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return struct.pack(">I", 1024) + np.rint(y * 65535).astype(">u2").tobytes()


def _fixed(values: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
