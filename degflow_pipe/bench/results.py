"""What `bench` is asked and what it returns; its JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from degflow_pipe import defaults
from degflow_pipe.choices import Engine, Keep, Noise, check_choice
from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.formats import parse_format


@dataclass(frozen=True)
class BenchSettings:
    """What to measure.

    patch: side in pixels. patches: at most, cut from the photos. compare: patches that the
    published procedure does, without noise. noise, keep: as in a run. folder: photos whose time is
    told.
    """

    patch: int = defaults.PATCH
    patches: int = 128
    compare: int = 4
    noise: Noise = "auto"
    keep: Keep = "none"
    picture_format: str = "png"
    engine: Engine = "threads"
    folder: str | None = None

    def __post_init__(self) -> None:
        for option, value in (("patches", self.patches), ("compare", self.compare)):
            if value < 1:
                raise UsageError(f"`{option}` must be 1 at least, got {value}")
        check_choice("keep", self.keep, Keep)
        parse_format(self.picture_format)


@dataclass(frozen=True)
class Seconds:
    """Seconds a patch.

    ours: from photos to shards; without_noise: the same with noise off; published: the published
    procedure; limit: the decoder alone, at every level.
    """

    ours: float
    without_noise: float
    published: float
    limit: float


@dataclass(frozen=True)
class Parts:
    """Seconds a patch of each part of the work, alone on one thread, all levels together.

    decode: what the levels take beside `integrate`. code: into the picture format.
    """

    encode: float
    integrate: float
    decode: float
    noise: float
    code: float


@dataclass(frozen=True)
class Difference:
    """8-bit LR without noise against a solve at 1e-6.

    nfe: evaluations of v for a patch. max_diff: grey levels. share_within_1: of the pixels, those
    within one grey level.
    """

    nfe: int
    max_diff: int
    share_within_1: float


@dataclass(frozen=True)
class Reading:
    """Pairs a second that a DataLoader gets of the shards, and of a folder of their files.

    pairs: in an epoch, of which several are read of each, in turns; medians.
    """

    pairs: int
    shards: float
    folder: float


@dataclass(frozen=True)
class DeviceFigures:
    """The device on a batch of patches, alone: nothing is read, coded or written beside it.

    encode, integrate: seconds a patch; decode_a_level, noise_a_level: seconds an LR; whole: seconds
    a patch from HR to the bytes of all its LR on the host. busy: of these, the share that the
    device computes. matrix_tflops: 10^12 operations a second of a large product of matrices, in the
    decoder's numbers; decoder_tflops: of the decoder; decoder_of_matrix: the one over the other.
    equal, share_within_1, max_diff: bytes of LR as they ship against the CPU's in float32.
    """

    batch: int
    encode: float
    integrate: float
    decode_a_level: float
    noise_a_level: float
    whole: float
    busy: float
    matrix_tflops: float
    decoder_tflops: float
    decoder_of_matrix: float
    equal: float
    share_within_1: float
    max_diff: int


@dataclass(frozen=True)
class Benchmark:
    """Ours, the published procedure and the device's limit, in one run.

    checkpoint, against: ids of our model and of the published procedure's. load_before: the
    machine's, over a minute. levels: of each patch. patches_a_second, lr_a_second: of ours.
    noise_costs = ours / without_noise - 1. by_hand: LR a second of degradations made by hand, as
    many at once, pictures alone: see `bench.by_hand`. speedup = published / ours; of_limit = limit
    / ours. decoded: levels that ours decodes, the others being drawn between them;
    of_limit_decoded: of_limit of those alone. published_nfe, nfe: evaluations of v for a patch;
    max_diff, share_within_1: see `Difference`. decoder_gflops: 10^9 operations of one level of one
    patch. peak_mb: the most memory in 10^6 bytes that ours held beyond what the process ever held
    before, without that of other processes, or on CUDA beyond what the GPU held then.
    folder_seconds: for all photos of asked.folder; None where there is none.
    """

    checkpoint: str
    against: str
    device: str
    precision: str
    load_before: float
    workers: int
    patches: int
    levels: int
    seconds: Seconds
    patches_a_second: float
    lr_a_second: float
    noise_costs: float
    by_hand: dict[str, float]
    speedup: float
    of_limit: float
    decoded: int
    of_limit_decoded: float
    published_nfe: int
    nfe: int
    max_diff: int
    share_within_1: float
    parts: Parts
    on_device: DeviceFigures
    reading: Reading
    decoder_gflops: float
    peak_mb: float
    folder_seconds: float | None
    asked: BenchSettings

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
