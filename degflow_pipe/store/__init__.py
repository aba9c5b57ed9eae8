"""The store: patches, latents and levels as zarr v3 arrays, and ledgers of what is complete.

    degflow.zarr/
      store.json                 format, version, and what every patch shares
      zarr.json                  the same again, for readers of zarr
      hr/                        (N, P, P, 3) uint8
      latents/ENCODER/           (N, C, P/8, P/8) float32
      levels/GRID/               (N, T, P, P, 3) uint8, attributes: the grid
      done/ingest.json           whether the last ingest came to its end
      done/photos/               a ledger: what became of each photo
      done/hr/                   a ledger: the patches of each unit
      done/latents/ENCODER/      a ledger: units whose latents are there; encoder.json says whose
      done/levels/GRID/          a ledger: blocks whose levels are there; grid.json says which
      skipped.json               photos left out, with the reason
      removal.json, move.json    what is on its way out, and which unit is moving where

A unit is UNIT patches: a file of HR, and one of latents. A block is BLOCK of them: a file of
levels. Each is written whole by one writer, and the ledger after it. A unit that an ingest closed
short keeps its empty places for ever, so that a unit never changes once it is done; its number is
free again when it is lost or dropped. HR belong to no checkpoint; latents lie by the encoder that
made them, levels by the grid, which names its checkpoint. All JSON but zarr's own holds its own
sum, and zarr's follows from it. The store knows nothing of models: it is told shapes and ids.

It imports errors, files, json_files, ledger, levels, places, quality and settings.
"""

from degflow_pipe.store.arrays import digest
from degflow_pipe.store.records import (
    BLOCK,
    BLOCKS,
    UNIT,
    Encoder,
    Made,
    PatchRecord,
    PhotoRecord,
    StoreSettings,
    Unit,
)
from degflow_pipe.store.store import Store

__all__ = [
    "BLOCK",
    "BLOCKS",
    "UNIT",
    "Encoder",
    "Made",
    "PatchRecord",
    "PhotoRecord",
    "Store",
    "StoreSettings",
    "Unit",
    "digest",
]
