"""The download: pack, unpack, keys, reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(help="Keys that sign packages.", no_args_is_help=True)

Base = Annotated[
    list[Path] | None,
    typer.Option("--base", help="the file before; again for each package that leads to it"),
]


def pack(
    file: Annotated[Path, typer.Argument(help="a .tflite, .onnx or .ort file")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="FILE.ewp")] = None,
    base: Base = None,
    sign: Annotated[Path | None, typer.Option(help="a private key of `keys new`")] = None,
    release: Annotated[int | None, typer.Option(min=0, help="a number that only rises")] = None,
    brotli: Annotated[bool, typer.Option("--brotli", help="the device has brotli")] = False,
    portable: Annotated[
        bool, typer.Option("--portable", help="the device has Python alone, without numpy")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="decode sooner, at some percent more bytes")
    ] = False,
) -> None:
    """Write the entropy-coded package of a file; with --base, what changed since that file."""
    from exporter.pack import Device, Options
    from exporter.pack import pack as write_package

    target = output if output is not None else file.with_name(f"{file.name}.ewp")
    device = Device(numpy=not portable, brotli=brotli, fast=fast)
    summary = write_package(file, target, Options(device, tuple(base or ()), release, sign))
    share = summary.package_bytes / max(1, summary.original_bytes)
    kind = "delta" if summary.delta else "package"
    print(
        f"{target}: {kind}, {summary.original_bytes} → {summary.package_bytes} bytes ({share:.1%})"
    )
    if summary.note:
        print(summary.note)


def unpack(
    package: Annotated[Path, typer.Argument(help="an .ewp package")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the file, or a directory for it")
    ] = None,
    base: Base = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="refuse what this public key did not sign; again for each key that may"),
    ] = None,
    newer_than: Annotated[int | None, typer.Option(help="refuse releases up to this one")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace another file")] = False,
) -> None:
    """Restore the byte-identical file of a package."""
    from runtimes.unpack import Demands, load_keys
    from runtimes.unpack import unpack as restore

    demands = Demands(load_keys(trust), newer_than)
    print(restore(package, output, base=base or (), overwrite=overwrite, demands=demands))


@keys.command("new")
def keys_new(
    private: Annotated[Path, typer.Argument(help="the private key; the public one gets .pub")],
) -> None:
    """Make an Ed25519 key pair: KEY signs packages, KEY.pub is for the devices."""
    from exporter.pack import new_keys

    print(f"{private}: keep it secret\n{new_keys(private)}: put it on the devices")


def reader(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the file")] = None,
) -> None:
    """Write edgewright-unpack.pyz: the unpacker in one file, for Python 3.9 and newer."""
    from exporter.pack.reader import READER_NAME, write_reader

    print(write_reader(output if output is not None else Path(READER_NAME)))
