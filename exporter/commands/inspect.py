"""What is in a file: inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.commands.options import AsJson

if TYPE_CHECKING:
    from exporter.inspection import LayerReport, ModelReport, ValueReport
    from exporter.pack.inspection import PackageReport


SCALES_SHOWN = 4
"""Significant digits of a scale in the table; --json has them all, and those of weights."""

_FIGURES = ("scale", "zero")
_WEIGHT_FIGURES = ("zeros", "levels", "bytes", "bits/w")


def inspect(
    file: Annotated[
        Path, typer.Argument(help="a .tflite, .onnx or .ort model, or an .ewp package")
    ],
    base: Annotated[
        list[Path] | None,
        typer.Option("--base", help="for a delta: the file before; again for each package"),
    ] = None,
    json: AsJson = False,
) -> None:
    """Say what a file holds: a model's layers, or what each part of a package takes."""
    if file.suffix != ".ewp":
        from exporter.inspection import inspect_model

        model = inspect_model(file)
        print(model.model_dump_json(indent=1)) if json else _print_model(model)
        return
    from exporter.pack.inspection import inspect_package

    report = inspect_package(file, base or ())
    print(report.model_dump_json(indent=1)) if json else _print_package(report)


def _print_model(report: ModelReport) -> None:
    from rich.table import Table

    from exporter.terminal import console

    out = console()
    out.print(f"{report.path}: {report.format}, {report.bytes} bytes", soft_wrap=True)
    for what, values in (("input", report.inputs), ("output", report.outputs)):
        for value in values:
            kind, scale, zero_point = _figures(value)
            more = f", scale {scale}, zero point {zero_point}" if scale else ""
            out.print(f"{what} {value.name}: {kind}{more}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("layer", "operator", "output", *_FIGURES, "weight", *_WEIGHT_FIGURES):
        figure = column in (*_FIGURES, *_WEIGHT_FIGURES)
        table.add_column(column, justify="right" if figure else "left", overflow="fold")
    for layer in report.layers:
        outputs = zip(*(_figures(value) for value in layer.outputs), strict=True)
        lines = ["\n".join(column) for column in outputs] or [""] * 3
        table.add_row(layer.name, layer.operator, *lines, *_weight(layer))
    out.print(table)
    for note in report.notes:
        out.print(note, soft_wrap=True)


def _figures(value: ValueReport) -> tuple[str, str, str]:
    """Such as ("int8 1x112x112x32", "0.0235", "-128")."""
    sizes = "?"
    if value.shape is not None:
        sizes = "x".join("N" if size is None else str(size) for size in value.shape)
    kind = f"{value.dtype} {sizes}"
    return (kind, "", "") if value.scale is None else (kind, _short(value), str(value.zero_point))


def _short(value: ValueReport) -> str:
    return f"{value.scale:.{SCALES_SHOWN}g}"


def _weight(layer: LayerReport) -> tuple[str, ...]:
    weight, held = layer.weight, str(layer.constant_bytes or "")
    if weight is None:
        return "", "", "", held, ""
    return (
        f"{weight.dtype} {'x'.join(map(str, weight.shape))}",
        f"{weight.sparsity:.1%}",
        str(weight.distinct_levels),
        held,
        f"{weight.entropy_bits:.2f}",
    )


def _print_package(report: PackageReport) -> None:
    from rich.table import Table

    from exporter.terminal import console

    out = console()
    share = report.package_bytes / max(1, report.original_bytes)
    marks = [f"version {report.version}", "signed" if report.signed else "not signed"]
    marks += [] if report.release is None else [f"release {report.release}"]
    marks += [] if report.base is None else [f"delta of {report.base[:12]}"]
    marks += ["needs no numpy"] if report.portable else []
    out.print(f"{report.name} ({', '.join(marks)})", soft_wrap=True)
    out.print(f"{report.original_bytes} → {report.package_bytes} bytes ({share:.1%})")
    table = Table(box=None)
    for column in ("group", "method", "arrays", "bytes", "packed", "bits/item", "order-0"):
        left = column in {"group", "method"}
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    table.add_row("header", "", "", "", str(report.header_bytes))
    for group in report.groups:
        table.add_row(
            group.content,
            group.method,
            str(group.spans or ""),
            str(group.original_bytes),
            str(group.package_bytes),
            f"{group.bits_per_item:.3f}",
            f"{group.entropy_bits:.3f}",
        )
    out.print(table)
    for name, size_bytes in report.others.items():
        less = 1 - report.package_bytes / max(1, size_bytes)
        out.print(f"{name}: {size_bytes} bytes; the package is {less:+.1%} smaller")
