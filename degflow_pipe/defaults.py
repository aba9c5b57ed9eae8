"""What the bare commands use: they work in sequence in one folder."""

CHECKPOINT = "city100-compact"
STORE = "degflow.zarr"
OUT = "shards"
T_GRID = "0.1:1.0:0.05"
PREVIEW_T_GRID = "0.2:1.0:0.2"
PATCH = 256
MIN_DETAIL = 1.0
BATCH = 8
