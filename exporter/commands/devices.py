"""The devices themselves: devices list, devices doctor, devices build-runner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.commands.device import AcceptNew, Configured

app = typer.Typer(
    help="The configured devices, their health, and the native runner.", no_args_is_help=True
)


@app.command("list")
def list_devices(devices: Configured = None) -> None:
    """List the devices of devices.toml."""
    from devices.config import find_device, load_devices
    from exporter.device_tables import print_devices

    found = load_devices(devices)
    print_devices([*found.values(), *([] if "local" in found else [find_device("local", {})])])
    if not found:
        typer.echo(
            "no others are configured: an address such as ssh://pi@raspberrypi.local works as it "
            "is, and devices.toml gives devices names (docs/devices.md)",
            err=True,
        )


@app.command()
def doctor(
    device: Annotated[str, typer.Argument(help="a name, an address, or all")] = "local",
    devices: Configured = None,
    accept_new: AcceptNew = False,
) -> None:
    """Say what is wrong with a device, and the command that mends it."""
    from devices.config import load_devices
    from devices.doctor import examine
    from devices.fleet import choose
    from exporter.device_tables import print_examination

    changes = {"accept_new": True} if accept_new else {}
    code = 0
    for one in choose(device, load_devices(devices)):
        examination = examine(one.changed(changes))
        print_examination(examination)
        code = max(code, examination.exit_code)
    if code:
        raise typer.Exit(code)


@app.command("build-runner")
def build_runner(
    target: Annotated[str, typer.Option(help="the machine: aarch64 or x86_64")] = "aarch64",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="not this user's cache")] = None,
    wheel: Annotated[list[Path] | None, typer.Option(help="a wheel that is here already")] = None,
) -> None:
    """Build the native runner and its bundle, for devices without Python."""
    from devices import build_runner as build
    from devices.bundle import default_directory

    bundle = build.build_runner(target, out or default_directory(target), wheels=wheel or ())
    size = sum(path.stat().st_size for path in bundle.directory.iterdir())
    typer.echo(f"{bundle.directory}: {size / 1e6:.1f} MB, {', '.join(bundle.interpreters)}")
