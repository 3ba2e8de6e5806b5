"""Third-party ONNX in: convert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from exporter.conversion import Conversion

SHOWN = 12
ROUNDED_APART = (
    "--requantize moves scales of sums, products, means and bilinear resizes "
    "to where both runtimes round alike"
)


def convert(
    model: Annotated[Path, typer.Argument(help="an .onnx file: float, QDQ or QOperator")],
    output: Annotated[Path, typer.Option("-o", "--output", help="a .tflite, .onnx or .ort file")],
    input: Annotated[
        list[str] | None,
        typer.Option(help="NAME=1x3x224x224, or 1x3x224x224 for the only input; repeatable"),
    ] = None,
    dynamic_batch: Annotated[
        bool,
        typer.Option("--dynamic-batch", help="keep an open batch open; else it becomes 1"),
    ] = False,
    requantize: Annotated[
        bool,
        typer.Option(
            "--requantize",
            help="quantize anew what has no exact int8 form, saturates, or is rounded apart",
        ),
    ] = False,
    integer_only: Annotated[
        bool, typer.Option("--integer-only", help="refuse a model that is left in float anywhere")
    ] = False,
    inputs: Annotated[
        Path | None, typer.Option(help="an .npz with an array for each input to compare with")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="how many random inputs to compare with; 0: none")
    ] = 8,
    json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Convert ONNX of any tool to TFLite or ONNX Runtime, and say how far they differ."""
    from exporter.convert import Wishes, parse_shapes
    from exporter.convert import convert as run
    from exporter.terminal import console

    wishes = Wishes(
        shapes=parse_shapes(input or []),
        dynamic_batch=dynamic_batch,
        requantize=requantize,
        integer_only=integer_only,
        samples=samples,
        inputs=inputs,
    )
    conversion = run(model, output, wishes)
    if json:
        print(conversion.model_dump_json(indent=1))
    else:
        out = console()
        print_conversion(out, conversion)
        if not requantize and _is_rounded_apart(conversion):
            _line(out, f"  {ROUNDED_APART}")


def print_conversion(out: Console, conversion: Conversion) -> None:
    """What was read, changed, left in float, written, and how far the forms differ."""
    source = conversion.source
    kinds = ", ".join(f"{count} {kind}" for kind, count in source.operators.items())
    types = "; ".join(
        f"{what}: {', '.join(found)}"
        for what, found in (("activations", source.activations), ("weights", source.weights))
        if found
    )
    quantized = "float, not quantized" if source.quantization == "none" else source.quantization
    _line(out, f"read     {source.path}: {quantized}{f' ({types})' if types else ''}")
    _line(out, f"         opset {source.opset}, by {source.producer}: {kinds}")
    for rewrite in conversion.rewrites:
        mark = "" if rewrite.exact else "  NUMBERS CHANGE"
        _line(out, f"changed  {rewrite.count} x {rewrite.what}{mark}")
    _print_requantized(out, conversion)
    _print_floats(out, conversion)
    _print_saturating(out, conversion)
    _line(out, f"wrote    {conversion.target}: {conversion.bytes} bytes")
    for path in conversion.beside:
        _line(out, f"         {path}: what a minimal build of ONNX Runtime needs")
    _print_differences(out, conversion)


def _is_rounded_apart(conversion: Conversion) -> bool:
    """Whether the quantized forms differ with no other reason named."""
    from exporter.convert import IN_ONNX, IN_TFLITE

    if conversion.saturating or conversion.source.quantization == "none":
        return False
    return any(
        row.differing and {row.one, row.other} == {IN_ONNX, IN_TFLITE}
        for row in conversion.differences
    )


def _line(out: Console, text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)


def _print_requantized(out: Console, conversion: Conversion) -> None:
    """One line a layer; the first of each kind where there are many."""
    for what in dict.fromkeys(change.what for change in conversion.requantized):
        entries = [change for change in conversion.requantized if change.what == what]
        for change in entries[:SHOWN]:
            detail = f": {change.detail}" if change.detail else ""
            _line(out, f"  {change.node}: {what}{detail}")
        if len(entries) > SHOWN:
            _line(out, f"  and {len(entries) - SHOWN} more: --json names them all")


def _print_floats(out: Console, conversion: Conversion) -> None:
    left = [entry for entry in conversion.in_float if not entry.by_design]
    if left:
        out.print(
            f"LEFT IN FLOAT: {len(left)} operator(s), which the model does not quantize",
            style="bold yellow",
        )
    for entry in left[:SHOWN]:
        _line(out, f"  {entry.operator} '{entry.node}': {entry.reason}")
    if len(left) > SHOWN:
        _line(out, f"  and {len(left) - SHOWN} more: --json names them all")
    designed = sorted({entry.operator for entry in conversion.in_float if entry.by_design})
    if designed:
        count = len(conversion.in_float) - len(left)
        kinds = ", ".join(designed)
        _line(out, f"float    {count} x {kinds}: both runtimes compute them alike so, but for ties")


def _print_saturating(out: Console, conversion: Conversion) -> None:
    if not conversion.saturating:
        return
    out.print(
        f"NOT ONE ANSWER: {len(conversion.saturating)} operator(s) with weights whose 16-bit sums "
        "saturate in ONNX Runtime on x86 CPUs with AVX2 and no VNNI",
        style="bold yellow",
    )
    for entry in conversion.saturating[:SHOWN]:
        _line(
            out,
            f"  {entry.node}: {entry.channels} of {entry.of} channels have two neighbours "
            f"that sum to more than 128 (up to {entry.largest})",
        )
    if len(conversion.saturating) > SHOWN:
        _line(out, f"  and {len(conversion.saturating) - SHOWN} more: --json names them all")
    _line(out, "  a .tflite answers alike on all; --requantize gives these channels larger scales")


def _print_differences(out: Console, conversion: Conversion) -> None:
    if conversion.differences:
        _line(out, f"compared over {conversion.samples} input(s)")
    for row in conversion.differences:
        size = (
            f"up to {row.max_lsb:.3g} LSB"
            if row.max_lsb is not None
            else f"up to {row.max_relative:.2g} of the largest value"
        )
        found = f"{row.differing} of {row.values} values differ, {size}"
        equal = "identical" if not row.differing else found
        _line(out, f"  {row.one} / {row.other}: {equal}")
    for note in conversion.notes:
        _line(out, f"NOTE     {note}")
