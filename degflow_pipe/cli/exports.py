"""export and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, complain, show

To = Annotated[
    str,
    typer.Option(
        "--to",
        "--trainer",
        help="basicsr, basicsr-lmdb, neosr, neosr-lmdb (for many pairs), trainner-redux, "
        "realesrgan, kair, liif, ddir, interflow or realsr.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(export)
    app.command()(doctor)


def export(
    shards: Annotated[Path, typer.Argument(help="Folder of finished shards.")],
    to: To,
    out: o.Out,
    scale: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="HR over LR, for trainers of one scale; by default that of the shards' pictures, "
            "1 where LR is as large as HR."
        ),
    ] = None,
    t: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--t", help="Only these levels: 0.2,0.55."),
    ] = None,
    scales: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--scales", help="Only the levels of these SR scales: 2,3,4."),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative", help="Paths in the option file are relative to OUT, for moving it."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that had other settings.")
    ] = False,
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """Write finished shards as an SR trainer reads them, with an option file for it."""
    from degflow_pipe.exports.export import export as stage
    from degflow_pipe.levels import parse_numbers

    summary = stage(
        shards,
        to,
        out,
        scale=scale,
        t=None if t is None else parse_numbers(t, "--t", "0.2,0.55"),
        scales=None if scales is None else parse_numbers(scales, "--scales", "2,3,4"),
        workers=workers,
        relative=relative,
        overwrite=overwrite,
        progress=TerminalProgress(),
    )
    show(summary.to_dict(), json, f"export {to}")


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder that the trainer would read.")],
    to: To,
    sample: Annotated[
        int, typer.Option(help="Pairs whose pixels are read and compared; 0: all.")
    ] = 2000,
    options: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The trainer's option file; by default the one that export writes."),
    ] = None,
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """Pair up a folder by a trainer's own rules; exits 1 where it would refuse or mispair it."""
    from degflow_pipe.exports.doctor import doctor as stage

    found = stage(
        folder, to, sample=sample, options=options, workers=workers, progress=TerminalProgress()
    )
    findings = found["findings"]
    fine = not findings
    if json:
        show({**found, "fine": fine}, True)
    else:
        counts = {kind: finding["count"] for kind, finding in findings.items()}
        show({**found, "findings": counts, "fine": fine}, False, f"doctor {to}")
        for kind, finding in findings.items():
            for text in finding["examples"]:
                print(f"{kind}: {text}")
            if (more := finding["count"] - len(finding["examples"])) > 0:
                print(f"{kind}: {more} more")
    if not fine:
        complain(f"{folder} is not fit for {to}: {', '.join(findings)}")
        raise typer.Exit(1)
