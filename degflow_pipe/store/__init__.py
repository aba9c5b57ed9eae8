"""The store: patches, latents and levels as zarr v3 arrays, and marks of what is complete.

    degflow.zarr/
      store.json                 format, version, and what every patch shares
      zarr.json                  the same again, for readers of zarr
      hr/                        (N, P, P, 3) uint8
      latents/                   (N, C, P/8, P/8) float32
      levels/GRID/               (N, T, P, P, 3) uint8, attributes: the grid's t, scale, noise
      done/ingest.json           patches of each photo that the ingests before left, and whether the
                                 last one came to its end
      done/ingest/00000000.json  what unit 0 holds, written after its data
      done/GRID/grid.json        the grid's t, scale, noise
      done/GRID/00000000.json
      skipped.json               photos left out, with the reason

A unit is UNIT patches, one zarr shard of each array, written whole by one writer. A unit that an
ingest closed short keeps its empty places for ever, so that a unit never changes once it is done;
its number is free again when it is lost or dropped. All JSON but zarr's own holds its own sum, and
zarr's follows from it. The store knows nothing of models: it is told shapes and an id.
"""

from degflow_pipe.store.arrays import digest
from degflow_pipe.store.records import (
    UNIT,
    PatchRecord,
    PhotoRecord,
    StoreSettings,
    UnitRecord,
)
from degflow_pipe.store.store import INGEST, Store

__all__ = [
    "INGEST",
    "UNIT",
    "PatchRecord",
    "PhotoRecord",
    "Store",
    "StoreSettings",
    "UnitRecord",
    "digest",
]
