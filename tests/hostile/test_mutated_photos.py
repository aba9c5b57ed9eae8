"""A sample of the mutated photos, and the damage that decoders are silent about."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.decoding.decode import decode
from degflow_pipe.errors import PhotoError

_spec = spec_from_file_location("mutated_photos", Path(__file__).with_name("mutated_photos.py"))
assert _spec is not None and _spec.loader is not None
mutated = module_from_spec(_spec)
sys.modules["mutated_photos"] = mutated
_spec.loader.exec_module(mutated)

KEPT_OUT = (
    *("PNG", "JPEG baseline", "JPEG progressive", "WebP lossy", "TIFF LZW", "TIFF deflate", "AVIF"),
)


def test_no_photo_of_a_sample_is_taken_with_many_wrong_pixels() -> None:
    mutated.VARIANTS = 1
    numbers = [n for n in range(180) if list(mutated.FORMATS)[n % len(mutated.FORMATS)] in KEPT_OUT]
    found = [mutated.trial(0, number) for number in numbers]
    assert [(t.number, t.format, t.damage, t.wrong) for t in found if t.taken_wrong] == []
    assert sum(t.wrong is None for t in found) > len(found) / 2


@pytest.mark.parametrize("quality, progressive", [(30, False), (75, True), (95, False)])
def test_a_whole_jpeg_is_taken(quality: int, progressive: bool) -> None:
    file = io.BytesIO()
    picture = Image.fromarray(data.coffee())
    picture.save(file, "JPEG", quality=quality, progressive=progressive)
    assert decode(file.getvalue(), "a.jpg").pixels.shape == data.coffee().shape


def test_blocks_that_are_off_from_one_on_are_a_seam() -> None:
    """As a changed bit in the difference of a mean leaves them; no decoder warns of it."""
    file = io.BytesIO()
    off = data.astronaut().astype(int)
    off[208:, :] += 30
    off[192:208, 240:] += 30
    Image.fromarray(np.clip(off, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    with pytest.raises(PhotoError, match=r"a\.jpg: damaged: from one block on"):
        decode(file.getvalue(), "a.jpg")


def test_what_was_tried_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [mutated.Trial("PNG", "cut", 0, None, "damaged"), mutated.Trial("AVIF", "cut", 1, 0.5)]
    lines = [json.dumps(asdict(one)) + "\n" for one in kept]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    asked = ["mutated_photos.py", "--count", "2", "--list", "--results", str(tmp_path / "a.jsonl")]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        mutated.main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "| PNG | 1 | 1 | 0 | 0 | 0.0% |" in shown and "| AVIF | 1 | 0 | 0 | 1 | 50.0% |" in shown
    assert "1: AVIF, cut: 50.0% wrong" in shown
