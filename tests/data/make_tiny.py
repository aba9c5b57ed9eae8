"""Makes tests/data/tiny: a very small checkpoint, really trained on blurred photos.

    python tests/data/make_tiny.py

The photos are scikit-image's. It serves the tests only: its "camera" is a Gaussian blur and
noise. Three levels, scales 1, 2 and 4, so that native LR sizes are whole.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from degflow_pipe.checkpoint.folder import write_info
from degflow_pipe.training.recipe import train_recipe
from degflow_pipe.training.stages import train_joint, train_lfm, train_rae

HERE = Path(__file__).parent

RECIPE = {
    "kind": "train",
    "name": "tiny",
    "model": {
        "rae": {"width": 4, "latent_channels": 4, "head": "blurs"},
        "velocity": {
            "width": 8,
            "multipliers": [1, 1, 1, 1],
            "blocks": 1,
            "time_embedding": "smooth",
            "condition": "skips",
        },
        "solver": {"method": "rk4", "steps": 2},
    },
    "data": {
        "levels": [
            {"name": "HR", "t": 0.0, "files": "*_hr.png"},
            {"name": "LR2", "t": 0.333333333, "files": "*_lr2.png"},
            {"name": "LR4", "t": 1.0, "files": "*_lr4.png"},
        ],
        "validate": "coffee",
        "s_max": 4.0,
        "source": "photos of scikit-image, blurred: for tests only",
        "licence": "as scikit-image's photos",
    },
    "rae": {
        "steps": 1500,
        "patch": 64,
        "batch": 4,
        "lr": 3e-3,
        "warmup": 50,
        "between": 0.4,
    },
    "lfm": {
        "steps": 600,
        "patch": 64,
        "batch": 4,
        "lr": 2e-3,
        "warmup": 50,
        "latent_loss": "normalized",
        "perceptual": "none",
        "endpoint": "l1",
    },
    "joint": {"steps": 1000, "patch": 64, "batch": 4, "lr": 2e-3, "warmup": 50},
}


def make_pairs(folder: Path) -> None:
    """HR and two blurred levels of three photos."""
    rng = np.random.default_rng(0)
    for name in ("astronaut", "chelsea", "coffee"):
        hr = getattr(data, name)()[:256, :256, ::-1]
        cv2.imwrite(str(folder / f"{name}_hr.png"), hr)
        for level, sigma in (("lr2", 1.0), ("lr4", 2.2)):
            blurred = cv2.GaussianBlur(hr, (0, 0), sigma).astype(float)
            noisy = np.clip(blurred + rng.normal(0, 1, hr.shape), 0, 255).round()
            cv2.imwrite(str(folder / f"{name}_{level}.png"), noisy.astype(np.uint8))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pairs, out = Path(scratch) / "pairs", Path(scratch) / "out"
        pairs.mkdir()
        make_pairs(pairs)
        recipe = train_recipe(RECIPE)
        train_rae(recipe, pairs, out, "cpu")
        train_lfm(recipe, pairs, out, device="cpu")
        info = train_joint(recipe, pairs, out, "cpu")
        print({stage: info.training[stage]["figures"] for stage in ("rae", "lfm", "joint")})
        (HERE / "tiny").mkdir(exist_ok=True)
        for name in ("model.safetensors", "config.json", "README.md"):
            (HERE / "tiny" / name).write_bytes((out / name).read_bytes())
        # Trained with two steps; with one, tests generate in nearly half the time.
        solver = replace(info.model.solver, steps=1)
        write_info(HERE / "tiny", replace(info, model=replace(info.model, solver=solver)))


if __name__ == "__main__":
    main()
