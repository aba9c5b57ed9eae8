"""What the bare commands use: they work in sequence in one folder."""

CHECKPOINT = "city100-compact"
STORE = "degflow.zarr"
OUT = "shards"
T_GRID = "0.1:1.0:0.05"
PREVIEW_T_GRID = "0.2:1.0:0.2"
PATCH = 256
MIN_DETAIL = 1.0
BATCH = 8
MAX_PIXELS = 210_000_000
"""Of a photo: somewhat more than a phone's 16320 x 12288; beyond it a file is taken for a bomb."""
SIMULATED_PIXELS = 64_000_000
"""Of a photo for `simulate`, whose light is computed in floats: some 9 GB at this size."""
FEW_PAIRS = 20
"""Pairs to train on below which `camera` says that they are few, and starts from `CHECKPOINT`."""
