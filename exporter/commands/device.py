"""On devices: bench, smoke."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from exporter.commands.options import Directory

if TYPE_CHECKING:
    from devices.fleet import Ended, Say
    from devices.session import Session

Outcome = TypeVar("Outcome")
NOT_RUN = 3
"""The exit code where a device has no interpreter for some of the files."""

On = Annotated[
    str, typer.Option("--device", help="a name, an address, several with commas between, or all")
]
Configured = Annotated[
    Path | None, typer.Option("--devices", help="another devices.toml", dir_okay=False)
]
Pin = Annotated[str | None, typer.Option(help="measure on these cores: big, little, or 0,1")]
AcceptNew = Annotated[
    bool, typer.Option("--accept-new", help="take the key of a host that was never seen")
]


def bench(
    files: Annotated[list[Path], typer.Argument(help="model files, packages, builds")],
    device: On = "local",
    threads: Annotated[int, typer.Option(min=1, help="of the interpreter")] = 1,
    seconds: Annotated[float, typer.Option(min=0.01, help="the steady window")] = 10.0,
    vs: Annotated[Path | None, typer.Option(help="measure in turns with this file")] = None,
    rounds: Annotated[int, typer.Option(min=6, help="of --vs")] = 10,
    pin: Pin = None,
    profile: Annotated[bool, typer.Option("--profile", help="the operators' times, too")] = False,
    devices: Configured = None,
    accept_new: AcceptNew = False,
    json: Annotated[Path | None, typer.Option(help="write the rows to this file")] = None,
) -> None:
    """Measure latency and memory of files on devices."""
    from exporter.benching import bench_document
    from exporter.build import save_json
    from exporter.device_tables import print_bench
    from exporter.measuring import Plan, measure, models_of

    chosen = tuple(one for path in files for one in models_of(path))
    plan = Plan(chosen, vs, threads, seconds, rounds, profile)
    ended = _on(device, devices, pin, accept_new, lambda session, say: measure(session, plan, say))
    came = {one.device.name: one.outcome for one in ended if one.outcome is not None}
    document = bench_document(
        {name: outcome.benched for name, outcome in came.items()},
        {name: outcome.ratios for name, outcome in came.items()},
    )
    if came:
        print_bench(document)
    if json is not None and came:
        save_json(json, document)
    missing = [f"{name}: {text}" for name, outcome in came.items() for text in outcome.not_run]
    for text in missing:
        typer.echo(f"not run: {text}", err=True)
    _end(ended, code=NOT_RUN if missing else 0)


def smoke(
    directory: Directory,
    device: On = "local",
    devices: Configured = None,
    accept_new: AcceptNew = False,
) -> None:
    """Run golden inputs through the shipped files; exit 1 on a mismatch, 3 if some did not run."""
    from exporter.build import SMOKE, save_json
    from exporter.device_tables import print_smoke
    from exporter.smoke import smoke_build, smoke_document

    ended = _on(
        device,
        devices,
        None,
        accept_new,
        lambda session, say: smoke_build(directory, session, lambda row: say(row.file)),
    )
    rows = [row for one in ended for row in one.outcome or ()]
    document = smoke_document(rows)
    print_smoke(rows)
    if rows:
        save_json(directory / SMOKE, document)
    missing = [row for row in rows if row.not_run]
    differs = any(not row.passed for row in rows if not row.not_run)
    _end(ended, code=1 if differs or not rows else NOT_RUN if missing else 0)


def _on(
    names: str,
    configured: Path | None,
    pin: str | None,
    accept_new: bool,
    work: Callable[[Session, Say], Outcome],
) -> list[Ended[Outcome]]:
    """Do the work on the chosen devices, with a line for each while it lasts."""
    from devices.config import load_devices
    from devices.fleet import choose, on_each
    from exporter.device_tables import FleetTable

    changes: dict[str, object] = {"pin": pin} if pin is not None else {}
    if accept_new:
        changes["accept_new"] = True
    chosen = [device.changed(changes) for device in choose(names, load_devices(configured))]
    with FleetTable(chosen) as table:
        return on_each(chosen, work, table.say)


def _end(ended: list[Ended[Outcome]], code: int = 0) -> None:
    """Tell what went wrong on each device, and exit with the worst code; return if all is well.

    Args:
        ended: what came of each device.
        code: what to exit with where no device failed.
    """
    from devices.fleet import exit_code

    for one in ended:
        if one.error is not None:
            typer.echo(f"error: {one.device.name}: {one.error}", err=True)
    if exit_code(ended) or code:
        raise typer.Exit(exit_code(ended) or code)
