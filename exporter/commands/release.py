"""The certificate: verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.commands.options import AsJson, Directory, exit_on

if TYPE_CHECKING:
    from exporter.verify.layers import LayerError


def verify(
    directory: Directory,
    cpus: Annotated[bool, typer.Option("--cpus", help="on every emulated CPU, too")] = False,
    cpu: Annotated[list[str] | None, typer.Option(help="on this one; may be repeated")] = None,
    root: Annotated[Path | None, typer.Option(help="an arm64 root, not the cached one")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="emulate only the first N")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="show where error enters, layer by layer")
    ] = False,
    json: AsJson = False,
) -> None:
    """Recompute the parity certificate from the files alone."""
    emulated = cpus or bool(cpu)
    if not emulated and (root is not None or samples is not None):
        raise typer.BadParameter("--root and --samples go with --cpus or --cpu")
    if layers and not emulated:
        _print_layers(directory, json)
        return
    from exporter.build import CERTIFICATE, save_json
    from exporter.progress import Bars
    from exporter.terminal import console, print_certificate
    from exporter.verify.certificate import certify
    from exporter.verify.cpus import certify_on_cpus, check_all_ran, cpus_named
    from exporter.verify.layers import with_layers

    if emulated:
        bars, wanted = Bars(console(stderr=True)), cpus_named(cpu or ())
        certificate = certify_on_cpus(directory, wanted, root=root, samples=samples, reporter=bars)
    else:
        certificate = certify(directory)
    save_json(directory / CERTIFICATE, certificate)
    if layers:  # behind the emulation, which takes minutes and is kept whatever comes here
        certificate = with_layers(certificate, _layer_errors(directory))
        save_json(directory / CERTIFICATE, certificate)
    print(certificate.model_dump_json(indent=1)) if json else print_certificate(certificate)
    exit_on(certificate.holds)
    check_all_ran(certificate.cpus)


def _print_layers(directory: Path, json: bool) -> None:
    """The layers of a build, worst first; its certificate takes them up."""
    import dataclasses
    import json as json_module

    from exporter.build import CERTIFICATE, Certificate, load_json, save_json
    from exporter.terminal import print_layers
    from exporter.verify.layers import with_layers, worst_first

    rows = _layer_errors(directory)
    path = directory / CERTIFICATE
    if path.is_file():
        save_json(path, with_layers(load_json(path, Certificate), rows))
    rows = worst_first(rows)
    if json:
        print(json_module.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        print_layers(rows)


def _layer_errors(directory: Path) -> list[LayerError]:
    from exporter.progress import Bars
    from exporter.terminal import console
    from exporter.verify.layers import layer_errors

    return layer_errors(directory, reporter=Bars(console(stderr=True)))
