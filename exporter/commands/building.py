"""From a recipe or a module to a build directory: init, run, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.commands.options import exit_on


def init(
    directory: Annotated[Path, typer.Argument(help="where; here by default")] = Path(),
) -> None:
    """Write a commented recipe and budget to start from."""
    from exporter.starter import write_starter

    for path in write_starter(directory):
        print(path)


def run(
    recipe: Annotated[Path, typer.Argument(help="a recipe.toml")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="the build directory; build/NAME")
    ] = None,
    resume: Annotated[bool, typer.Option(help="take finished stages from the run before")] = False,
    until: Annotated[
        str | None, typer.Option(help="the last stage to run, such as prune; all by default")
    ] = None,
) -> None:
    """Build everything that a recipe asks for."""
    from exporter.pipeline import run_recipe
    from exporter.progress import Bars
    from exporter.terminal import console, print_built

    built = run_recipe(recipe, out, resume=resume, reporter=Bars(console()), until=until)
    if built is None:  # it ended behind a stage, or helped to train while the main process goes on
        return
    print_built(built)
    exit_on(built.passed)


def export(
    factory: Annotated[str, typer.Argument(help="package.module:callable that gives a module")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the build directory")],
    input: Annotated[str, typer.Option(help="the network's input, such as 1x3x224x224")],
    calibration: Annotated[
        str, typer.Option(help="package.module:callable that gives a data set of samples")
    ],
    weights: Annotated[Path | None, typer.Option(help="a state dict")] = None,
    name: Annotated[str, typer.Option(help="of the files")] = "model",
    dtype: Annotated[str, typer.Option(help="uint8, int8 or float32")] = "uint8",
    mean: Annotated[str, typer.Option(help="per channel, with commas, 1 = full scale")] = "",
    std: Annotated[str, typer.Option(help="per channel, with commas, 1 = full scale")] = "",
    samples: Annotated[int, typer.Option(help="how many samples calibrate")] = 512,
    ptq: Annotated[
        str, typer.Option(help="ranges: minmax, percentile, mse, kl; best tries and measures")
    ] = "minmax",
    equalize: Annotated[bool, typer.Option(help="give channels ranges alike")] = False,
    adaptive_rounding: Annotated[
        bool, typer.Option(help="round weights for the layer's output (AdaRound)")
    ] = False,
    bias_correction: Annotated[bool, typer.Option(help="take shifts of means back")] = True,
    activations: Annotated[
        str, typer.Option(help="int8, or int16 (slower, errs less); weights are int8")
    ] = "int8",
    int16_layers: Annotated[
        str, typer.Option(help="layers whose results stay int16: names with commas, or auto:N")
    ] = "",
    float_layers: Annotated[
        str, typer.Option(help="layers that stay float: names with commas, or auto:N")
    ] = "",
    outputs: Annotated[str, typer.Option(help="of the int8 files: int8 or float32")] = "int8",
    output_names: Annotated[str, typer.Option(help="with commas, one for each output")] = "",
    labels: Annotated[
        Path | None, typer.Option(help="a text file: what each class is called, a line each")
    ] = None,
) -> None:
    """Quantize a trained model after training (PTQ) and build its files, without a recipe."""
    from exporter.option_words import in_options
    from exporter.pipeline import build
    from exporter.progress import Bars
    from exporter.recipe import export_recipe, layers_named, names_in
    from exporter.terminal import console, print_built

    with in_options():
        recipe = export_recipe(
            {"factory": factory, "weights": weights},
            {"shape": input, "dtype": dtype, "mean": mean, "std": std},
            {"calibration": calibration, "calibration_samples": samples, "batch_size": 16},
            name,
            {
                "ptq": ptq,
                "equalize": equalize,
                "adaptive_rounding": adaptive_rounding,
                "bias_correction": bias_correction,
                "activations": activations,
                "int16_layers": layers_named(int16_layers),
                "float_layers": layers_named(float_layers),
            },
            {"dtype": outputs, "names": names_in(output_names), "labels": labels},
        )
        built = build(recipe, Path.cwd(), out, reporter=Bars(console()))
    if built is not None:
        print_built(built)
        exit_on(built.passed)
