"""On a GPU as on the CPU: what torch computes of pictures is what OpenCV does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from degflow_pipe.noise.by_torch import luma_of
from degflow_pipe.noise.drawing import on_own_pixels, rounded
from degflow_pipe.pictures import sizes
from degflow_pipe.pictures.arrays import greyed

PHOTO = data.astronaut()[40:232, 60:316]


def as_batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None].contiguous()


@pytest.mark.parametrize("size", [(48, 64), (65, 88), (192, 256), (131, 256)])
def test_own_pixels_are_read_as_opencv_reads_them(size: tuple[int, int]) -> None:
    wanted = sizes.on_own_pixels(PHOTO.astype(np.float32), size)
    found = on_own_pixels(as_batch(PHOTO), size)[0].permute(1, 2, 0).numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_grey_is_opencvs() -> None:
    wanted = greyed(PHOTO)[..., 0].astype(int)
    found = rounded(luma_of(as_batch(PHOTO)))[0, 0].numpy().astype(int)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.99
