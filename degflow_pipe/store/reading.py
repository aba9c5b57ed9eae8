"""What the LR of a block are made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from degflow_pipe.levels import Place
from degflow_pipe.store.records import BLOCK, BLOCKS, Encoder, Made, Unit
from degflow_pipe.store.store import Store


def block_places(store: Store, block: int) -> list[Place]:
    """Where the patches of a block were."""
    number, place = divmod(block, BLOCKS)
    found = store.patches(number)[place * BLOCK : (place + 1) * BLOCK]
    return [Place(patch.sha256, patch.y, patch.x) for patch in found]


def known_latents(
    store: Store, encoders: Mapping[int, Encoder], number: int, unit: Unit
) -> dict[int, Made]:
    """What the store says of a unit's latents, where it has them, by what the encoders are called
    by.
    """
    layers = {i: store.latents(encoder) for i, encoder in encoders.items()}
    return {i: layer.made[number] for i, layer in layers.items() if layer.has(number, unit)}


def block_latents(
    store: Store,
    encoders: Mapping[int, Encoder],
    block: int,
    unit: Unit,
    known: Mapping[int, Made],
) -> dict[int, np.ndarray]:
    """The latents of a block that are known, each (n, C, h, w) float32. Raises StoreError for
    damaged ones.
    """
    return {i: store.latents(encoders[i]).block(block, unit, made) for i, made in known.items()}
