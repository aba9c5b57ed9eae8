"""What is left between real and generated LR, in figures: what `residual.over_scenes` gives.

Figures are of one level, means over its scenes, in grey levels from 0 to 255. Those by name of a
picture are of `real`, `generated`, `noisy` (generated with the drawn noise) and `hr`. Those by
side are of `real`, which is real minus generated LR, and `drawn`, which is noisy minus generated:
what chance alone would give. `noisy` and `drawn` are there where the checkpoint has noise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BandFigures:
    """How HR went over into one LR, each a value for each band: see `spectrum.Transfer`.

    coherent, power: grey levels squared.
    """

    transfer: list[float]
    magnitude: list[float]
    coherent: list[float]
    power: list[float]
    coherence: list[float]


@dataclass(frozen=True)
class PartFigures:
    """What the parts of `residual.PARTS` take of a difference.

    left: 6 mean squares in grey levels squared, of all and of what each part leaves. shares: of
    all, by name of the part.
    """

    left: list[float]
    shares: dict[str, float]


@dataclass(frozen=True)
class ToneFigures:
    """Difference in tone, of R, G and B, in grey levels.

    difference: mean over scenes; scene_rms: its root mean square over scenes; tile_std: deviation
    of tiles of 64 pixels within a scene.
    """

    difference: list[float]
    scene_rms: list[float]
    tile_std: list[float]


@dataclass(frozen=True)
class FitFigures:
    """What the fit of the parts found, as `residual.Apart` has it.

    contrast: factor; down, right: pixels; blur: square pixels; shift, fine_shift: root mean square
    of the shifts of tiles of 64 and of 16 pixels, in pixels.
    """

    contrast: float
    down: float
    right: float
    blur: float
    shift: float
    fine_shift: float


@dataclass(frozen=True)
class PlaceFigures:
    """The rest in calm or in busy places.

    std: grey levels; kurtosis: 3 for Gaussian noise; grey: share of its power that is alike in R, G
    and B, 1/3 where they are independent.
    """

    std: float
    kurtosis: float
    grey: float


@dataclass(frozen=True)
class RestFigures:
    """What no part takes, of one side.

    power: of green by band, grey levels squared. std: deviation in calm places by brightness, grey
    levels; None where too few pixels tell it.
    """

    power: list[float]
    std: list[float | None]
    calm: PlaceFigures
    busy: PlaceFigures


@dataclass(frozen=True)
class NoiseFigures:
    """The rest of both sides.

    brightness: middles of the steps of `RestFigures.std`, grey levels. ratio: drawn over real power
    by band. drawn, ratio: None where the checkpoint has no noise.
    """

    brightness: list[float]
    real: RestFigures
    drawn: RestFigures | None
    ratio: list[float] | None

    @property
    def sides(self) -> dict[str, RestFigures]:
        """`real` and, where it is there, `drawn`."""
        return {"real": self.real, **({} if self.drawn is None else {"drawn": self.drawn})}


@dataclass(frozen=True)
class GridFigures:
    """Traces of compression and demosaicing, by name of the picture; see `grids`.

    blocks: `horizontal` and `vertical`, 8 ratios each; strongest_block: the largest of them, of
    each scene alone; enlarged: amplitude of the period of an enlarged block of 8. mosaic: 4 ratios,
    and mosaic_std their deviation, of each scene alone.
    """

    blocks: dict[str, dict[str, list[float]]]
    strongest_block: dict[str, float]
    enlarged: dict[str, float]
    mosaic: dict[str, list[float]]
    mosaic_std: dict[str, float]


@dataclass(frozen=True)
class Residual:
    """Real minus generated LR of one level, taken apart.

    scenes: that the figures are means over. centres: of the bands, cycles a pixel; bands: by name
    of the LR. ratio: of generated transfer to real by band, None where real LR hardly knows HR.
    leak: generated power that is coherent with HR beyond the real one's, over generated power, by
    band, negative where it is less. parts, fine_parts: by tiles of 64 and of 16 pixels, by side;
    fit, along_edges: by side, the latter as `residual.along_edges` gives it.
    """

    scenes: int
    centres: list[float]
    bands: dict[str, BandFigures]
    ratio: list[float | None]
    leak: list[float]
    parts: dict[str, PartFigures]
    fine_parts: dict[str, PartFigures]
    tone: ToneFigures
    fit: dict[str, FitFigures]
    noise: NoiseFigures
    along_edges: dict[str, float]
    grid: GridFigures
