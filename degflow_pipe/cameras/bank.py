"""A bank of cameras with their shares, as it is written and as it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from degflow_pipe.cameras.camera import SimulatedCamera
from degflow_pipe.checkpoint.folder import holds_checkpoint
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.errors import UsageError
from degflow_pipe.model.devices import device_of
from degflow_pipe.places import place_of

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

SIMULATED = "simulated"
MAX_CAMERAS = 1000
_SHARE = r"[0-9]+(?:\.[0-9]+)?"


@dataclass(frozen=True)
class Share:
    """A member of a bank: a checkpoint by folder or name, or `simulated` cameras.

    share: of the patches, over the sum of all. count: cameras, that have it together.
    """

    name: str
    share: float = 1.0
    count: int = 1


def parse_bank(text: str) -> tuple[Share, ...]:
    """`a,b` or `a:3,b:1,simulated:20`: checkpoints with shares of 1 where none is said, and so many
    simulated cameras, of a share of 1 each, or together of what follows: `simulated:20:5`.

    A folder's name may hold a colon if no number follows it. Raises UsageError.
    """
    found = []
    for part in text.split(","):
        part = part.strip()
        simulated = re.fullmatch(rf"{SIMULATED}:([0-9]{{1,4}})(?::({_SHARE}))?", part)
        named = re.fullmatch(rf"(.+?)(?::({_SHARE}))?", part)
        if simulated:
            count = int(simulated[1])
            found.append(Share(SIMULATED, float(simulated[2] or count), count))
        elif named and named[1] != SIMULATED:
            _, colon, rest = named[1].rpartition(":")
            if colon and "/" not in rest:
                raise UsageError(
                    f"`checkpoint`: {rest!r} in {part!r} is no share, which is a number above 0"
                )
            found.append(Share(named[1], float(named[2] or 1)))
        else:
            raise UsageError(
                f"`checkpoint` wants names such as a:3,b:1,simulated:20 (shares, and how many "
                f"simulated cameras), got {text!r}"
            )
    names = [share.name for share in found]
    if len(set(names)) != len(names):
        raise UsageError(
            f"`checkpoint` names {max(names, key=names.count)} twice: give it one share"
        )
    if any(share.share <= 0 or not 1 <= share.count <= MAX_CAMERAS for share in found):
        raise UsageError(f"`checkpoint`: shares and counts must be above 0, got {text!r}")
    if names == [SIMULATED]:
        raise UsageError(
            f"`checkpoint`: name a checkpoint beside {text}: latents are of one; `simulate` makes "
            f"pairs of a simulated camera alone"
        )
    return tuple(found)


def members_of(text: str) -> tuple[Share, ...]:
    """The same, where a folder of that very name is none but itself."""
    return (Share(text),) if holds_checkpoint(place_of(text)) else parse_bank(text)


@dataclass(frozen=True)
class Bank:
    """Checkpoints with their shares, and how many simulated cameras with theirs. A checkpoint is
    loaded where it computes.
    """

    sites: tuple[Site, ...]
    shares: tuple[float, ...] = (1.0,)
    simulated: int = 0
    simulated_share: float = 0.0

    @classmethod
    def find(cls, text: str, device: str = "auto", precision: str = "auto") -> Bank:
        """See `parse_bank`, and `Site.find` for the rest. Raises UsageError too where two names are
        one checkpoint.
        """
        device_of(device)
        members = members_of(text)
        learned = [member for member in members if member.name != SIMULATED]
        sites = tuple(Site.find(member.name, device, precision) for member in learned)
        ids = [site.info.id for site in sites]
        if len(set(ids)) != len(ids):
            raise UsageError(f"`checkpoint` names {max(ids, key=ids.count)} twice")
        others = next((member for member in members if member.name == SIMULATED), None)
        return cls(
            sites,
            tuple(member.share for member in learned),
            0 if others is None else others.count,
            0.0 if others is None else others.share,
        )

    @classmethod
    def of(cls, model: DegFlow | Bank) -> Bank:
        """A bank of one, or the bank itself."""
        return model if isinstance(model, Bank) else cls((Site.of(model),))

    def require(self, loads: bool) -> None:
        """See `Site.require`, of all."""
        for site in self.sites:
            site.require(loads)

    @property
    def first(self) -> Site:
        """By whose scales levels are asked for, and whose latents an ingest writes first."""
        return self.sites[0]

    @property
    def s_max(self) -> float:
        """The largest scale that all of its cameras have."""
        simulated = [SimulatedCamera.S_MAX] if self.simulated else []
        return min([*simulated, *(site.info.s_max for site in self.sites)])

    @property
    def name(self) -> str:
        """As `parse_bank` takes it, of ids."""
        if len(self.sites) == 1 and not self.simulated:
            return self.first.info.id
        parts = [
            f"{site.info.id}:{share:g}" for site, share in zip(self.sites, self.shares, strict=True)
        ]
        if self.simulated:
            parts.append(f"{SIMULATED}:{self.simulated}:{self.simulated_share:g}")
        return ",".join(parts)
