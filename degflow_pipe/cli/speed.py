"""What `bench` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from degflow_pipe.cli.output import as_mapping, print_lines, show
from degflow_pipe.cli.summaries import Lines
from degflow_pipe.formats.said import duration_of, number_of, size_of

if TYPE_CHECKING:
    from degflow_pipe.bench.results import Benchmark


def show_bench(found: Benchmark, as_json: bool) -> None:
    """What comes of the figures; all of them are in the JSON."""
    if as_json:
        show(found, True)
    else:
        print_lines(_bench(found))


def _bench(found: Benchmark) -> Lines:
    took, read = found.seconds, found.reading
    yield (
        "",
        f"{found.lr_a_second:.3g} LR a second, photos to shards: {took.ours:.3g} s a patch, of "
        f"{number_of(found.patches, 'patches')} at {number_of(found.levels, 'levels')}",
    )
    on = f"{found.device}, {found.precision}, {number_of(found.workers, 'workers')}"
    yield "by", f"{found.checkpoint} on {on}; load before {found.load_before:.2g}"
    yield (
        "noise",
        f"takes {100 * found.noise_costs:.0f} % more time than none ({took.without_noise:.3g} s)",
    )
    yield (
        "published",
        f"{took.published:.3g} s a patch by {found.against}, {found.speedup:.3g} times as long; "
        f"velocity evaluated {found.published_nfe} times, here {found.nfe}",
    )
    yield (
        "decoding",
        f"{took.limit:.3g} s a patch by the decoder alone at all levels, {found.of_limit:.2g} of "
        f"ours; at the {found.decoded} that are decoded, {found.of_limit_decoded:.2g} of ours",
    )
    rates = "; ".join(
        f"{name} {rate:.3g} LR a second, ours {found.lr_a_second / rate:.2g} times that"
        for name, rate in found.by_hand.items()
    )
    yield "by hand", f"{rates}; neither coded nor written"
    each = ", ".join(f"{name} {seconds:.3g}" for name, seconds in as_mapping(found.parts).items())
    yield "parts", f"{each} s a patch, each alone on one thread"
    yield (
        "exactness",
        f"{100 * found.share_within_1:.2f} % of pixels within one grey level of a solve at 1e-6, "
        f"at most {found.max_diff} off",
    )
    yield from _alone(found)
    yield (
        "reading",
        f"{read.shards:.3g} pairs a second of shards, {read.folder:.3g} of a folder of the same",
    )
    if found.peak_mb > 0:  # else no more than the process held before
        yield "memory", f"{size_of(1e6 * found.peak_mb)} at most"
    if found.folder_seconds is not None:
        yield "folder", f"{found.asked.folder} would take {duration_of(found.folder_seconds)}"


def _alone(found: Benchmark) -> Lines:
    """The device on a batch of patches, nothing beside it."""
    device = found.on_device
    yield (
        "batch",
        f"{device.whole:.3g} s a patch by {number_of(device.batch, 'patches')} at once, "
        f"{100 * device.busy:.0f} % of it computing; bytes "
        f"{100 * device.equal:.4g} % those of the CPU, at most {device.max_diff} grey levels off",
    )
    yield (
        "decoder",
        f"{1000 * device.decoder_tflops:.3g} of the {1000 * device.matrix_tflops:.3g} x 10^9 "
        f"operations a second of a product of matrices; {found.decoder_gflops:.3g} x 10^9 an LR",
    )
