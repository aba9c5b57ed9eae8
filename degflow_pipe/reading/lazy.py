"""Pairs straight from a store: any level of any patch, decoded when it is asked for."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import Place, parse_grid
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.places import place_of
from degflow_pipe.reading.ask import check_spans
from degflow_pipe.reading.samples import Sample
from degflow_pipe.shards.layout import ShardSettings, drawn_json, packed_levels
from degflow_pipe.stages.generate import require_patches
from degflow_pipe.stages.meant import checkpoint_of
from degflow_pipe.store import PatchRecord, Store

MARGIN = 16
"""Pixels around a crop that its LR is computed with; see `pictures.tiles.RAMP`."""

_Held = tuple[list[PatchRecord], np.ndarray, dict[int, np.ndarray]]
"""Records, HR, and latents by the number of the camera, of a unit."""


class LazyPairs(Dataset[Sample]):
    """Patches of a store as pairs of a level that is drawn anew in every epoch.

    `pairs[i]` is `(LR, HR, info)` of the store's patch i: float32 RGB in [0, 1], (3, P, P) both,
    and a dict with the patch's source, y and x, t and scale. `pair(i, t)` is the same at a level of
    your own. The LR is, byte by byte, what `generate` makes of that patch at that level. Only
    `ingest` has to be done: no level is read from the store. For processes, not threads: on the CPU
    it computes on one thread, which torch can only be told for all of a process.

    store: its folder. checkpoint: whose levels are made, by default the store's, or a bank of them
    (see `cameras.bank`); patches that the store has no latents of are encoded. t or scales: (low,
    high) that the level, or its SR scale, is drawn from evenly; t from 0.1 to 1 by default. noise,
    seed: see `DegFlow.degrade`; the seed settles the levels too. sr_scale: LR of (3, p, p), p the
    side over this (see `pictures.sizes`). crop: side in pixels of crops, each at a place drawn
    anew, 0 for whole patches: only what a crop needs is computed, itself and MARGIN pixels around,
    so that a crop of 128 from 256 takes less than half of the time. Its LR is what `generate` makes
    of that part as a patch; but for the noise, nearly all of its pixels are within a grey level of
    the whole patch's where the checkpoint's view is local, and within a few, without an edge, where
    its head is `lens`, whose light is that of the part. info has the crop's own y and x. device:
    `cpu` for workers of a DataLoader; on CUDA the decoder computes in bfloat16, as `generate` does.

    Raises StoreError for a store that is missing or empty, CheckpointError, UsageError for levels
    that the checkpoint does not have.
    """

    def __init__(
        self,
        store: str | Path,
        checkpoint: str | None = None,
        *,
        t: tuple[float, float] | None = None,
        scales: tuple[float, float] | None = None,
        noise: str = "auto",
        seed: int = 0,
        sr_scale: float = 0.0,
        crop: int = 0,
        device: str = "cpu",
    ) -> None:
        self._path, self._device = place_of(store), device
        self._checkpoint = checkpoint_of(self._path) if checkpoint is None else checkpoint
        self._noise, self._seed, self._sr_scale = noise, seed, sr_scale
        self._last: tuple[int, _Held] | None = None
        source = Store.open(self._path)
        require_patches(source)
        # Where each unit ends; few numbers even for millions of patches.
        self._units = list(source.units)
        self._ends = np.cumsum([unit.count for unit in source.units.values()])
        if seed < 0:
            raise UsageError(f"`seed` must be 0 or more, got {seed}")
        if crop:
            _check_crop(crop, source.settings.patch, sr_scale)
        self._crop = 0 if crop == source.settings.patch else crop
        if t is not None and scales is not None:
            raise UsageError("give `t` or `scales`, not both")
        check_spans(t, scales)
        self._by_scale = scales is not None
        low, high = scales or t or (0.1, self._highest())
        self._range = (low, high)
        for bound in (low, high):
            self._making(bound, self._by_scale)
        # Where workers that live on see it too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call, unused-ignore]

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it loads the networks itself."""
        left_out = {"_bank", "_store"}
        return {k: v for k, v in self.__dict__.items() if k not in left_out} | {"_last": None}

    @cached_property
    def _bank(self) -> Bank:
        bank = Bank.find(self._checkpoint, self._device)
        bank.require(loads=True)
        return bank

    @cached_property
    def _store(self) -> Store:
        store = Store.open(self._path)
        if list(store.units) != self._units:
            raise StoreError(f"{self._path} was changed since it was opened: open it again")
        return store

    def set_epoch(self, epoch: int) -> None:
        """Draw the levels of this epoch, counted from 0, from now on."""
        if epoch < 0:
            raise UsageError(f"`epoch` must be 0 or more, got {epoch}")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> Sample:
        """Raises IndexError past the end, StoreError for a damaged patch."""
        i = self._index(i)
        rng = np.random.default_rng([self._seed, int(self._epoch), i])
        making = self._making(float(rng.uniform(*self._range)), self._by_scale)
        y, x = rng.random(2).tolist()
        return self._pair(i, making, (y, x))

    def pair(self, i: int, t: float) -> Sample:
        """Patch i at level t in [0, 1]; where there are crops, the one in its middle."""
        return self._pair(self._index(i), self._making(t, by_scale=False), (0.5, 0.5))

    def _pair(self, i: int, making: Making, at: tuple[float, float]) -> Sample:
        """at: in [0, 1], where the crop lies along y and x."""
        place = int(np.searchsorted(self._ends, i, side="right"))
        first = int(self._ends[place - 1]) if place else 0
        records, unit_hr, unit_latents = self._unit(self._units[place])
        one = slice(i - first, i - first + 1)
        record, hr = records[i - first], unit_hr[one]
        latents = {k: values[one] for k, values in unit_latents.items()}
        y, x, inside = record.y, record.x, (slice(None), slice(None))
        if self._crop:
            side = hr.shape[1]
            multiple = max(site.info.model.side_multiple for site in self._bank.sites)
            y0, x0 = (int(share * (side - self._crop + 1)) for share in at)
            (rows, own_rows), (columns, own_columns) = (
                _around(start, self._crop, side, multiple) for start in (y0, x0)
            )
            hr, inside = hr[:, rows, columns], (own_rows, own_columns)
            y, x = y + y0, x + x0
        with making.open() as make:
            # As one's patch draws it, so that its camera and level are the same wherever it is cut.
            lr = make(hr, latents, [Place(record.sha256, record.y, record.x)])
        sizes = packed_levels(making.grid, hr.shape[1], ShardSettings())[0].packing
        hr_used, lr_used = (part[inside] for part in sizes.apply(hr[0], lr.values[0, 0]))
        info = {"source": record.source, "y": y, "x": x}
        info |= {"t": making.grid.t[0], "scale": making.grid.scales[0]}
        if lr.told:
            info |= drawn_json(making.grid, making.grid.levels[0], lr.told[0][0])
        return to_tensor(lr_used)[0], to_tensor(hr_used)[0], info

    def _unit(self, number: int) -> _Held:
        """A unit's records, HR and latents; the last one is kept, for those who read in order."""
        if self._last is None or self._last[0] != number:
            store, unit = self._store, self._store.units[number]
            found = {}
            # Those of a whole patch are of no use to a part of it, nor to a smaller one.
            whole = not self._crop and not self._sr_scale
            for i, site in enumerate(self._bank.sites if whole else ()):
                name = encoder_id(site.info)
                layer = store.latents(store.encoder(name)) if name in store.encoders() else None
                if layer is not None and layer.has(number, unit):
                    found[i] = layer.read(number, unit)
            self._last = number, (store.patches(number), store.hr(number), found)
        return self._last[1]

    def _index(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise IndexError(f"patch {i} of {len(self)}")
        return i % len(self)

    def _highest(self) -> float:
        """The t of the highest level that an LR at the SR scale can be had of."""
        if not self._sr_scale:
            return 1.0
        return min(
            site.info.t_of_scale(min(self._sr_scale, site.info.s_max)) for site in self._bank.sites
        )

    def _making(self, value: float, by_scale: bool) -> Making:
        """How LR are made at a t, or at an SR scale. Raises UsageError for what is none."""
        exact = f"{Decimal(f'{value:.9f}').normalize() + 0:f}"
        info = self._bank.first.info
        grid = parse_grid(f"x{exact}" if by_scale else exact, info.s_max, info.t_of_scale, "levels")
        return Making.of(self._bank, grid, self._noise, self._seed, 1, sr_scale=self._sr_scale)


def _check_crop(crop: int, patch: int, sr_scale: float) -> None:
    """Raises UsageError for a crop that patches do not have, or at an SR scale of its own."""
    if not isinstance(crop, int) or not 1 <= crop <= patch:
        raise UsageError(
            f"`crop` must be 1 to the patches' side, {patch}, or 0 for all, got {crop}"
        )
    if sr_scale:
        raise UsageError("`crop` is for LR of HR's size: leave `crop` or `sr_scale` out")


def _around(start: int, crop: int, side: int, multiple: int) -> tuple[slice, slice]:
    """Along one axis of a patch of `side` pixels, for a crop from `start` on: what of the patch is
    computed, and the crop within that.

    multiple: where that starts, and how long it is but at the end of a patch of another side, so
    that the networks' strides fall on the same pixels as in the whole patch.
    """
    length = min(-(-(crop + 2 * MARGIN + multiple - 1) // multiple) * multiple, side)
    last = (side - length) // multiple * multiple
    first = min(max((start - MARGIN) // multiple * multiple, 0), last)
    end = side if first == last else first + length
    return slice(first, end), slice(start - first, start - first + crop)
