"""The command line: parse and print only; a command is a few lines over a function of a package.

Exit codes: 0 good; 1 the verdict is no; 2 bad input or usage; 3 the device or link failed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runtimes.errors import EdgewrightError

app = typer.Typer(
    name="edgewright",
    help="PyTorch vision models to int8 TFLite and ONNX Runtime files that give one answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Directory = Annotated[Path, typer.Argument(help="a build directory")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def main() -> None:
    """Run a command; errors go to stderr with what was expected, found and to do."""
    try:
        app()
    except EdgewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        print(
            f"error: this command needs the package '{error.name}'\n"
            "  to do:    pip install 'edgewright[export]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


@app.command()
def init(directory: Annotated[Path, typer.Argument()] = Path()) -> None:
    """Write a commented recipe and budget to start from."""
    from exporter.starter import write_starter

    for path in write_starter(directory):
        print(path)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="a recipe.toml")],
    out: Annotated[Path | None, typer.Option(help="the build directory; build/NAME")] = None,
    resume: Annotated[bool, typer.Option(help="take finished stages from the run before")] = False,
) -> None:
    """Build everything that a recipe asks for."""
    from exporter.pipeline import run_recipe
    from exporter.progress import Bars
    from exporter.terminal import console, print_built

    built = run_recipe(recipe, out, resume=resume, reporter=Bars(console()))
    print_built(built)
    _exit_on(built.verdict is None or built.verdict.passed)


@app.command()
def export(
    factory: Annotated[str, typer.Argument(help="package.module:callable that gives a module")],
    out: Annotated[Path, typer.Option(help="the build directory")],
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
) -> None:
    """Quantize a trained model after training (PTQ) and build its files, without a recipe."""
    from exporter.pipeline import build
    from exporter.progress import Bars
    from exporter.recipe import export_recipe
    from exporter.terminal import console, print_built

    recipe = export_recipe(
        {"factory": factory, "weights": weights},
        {"shape": input, "dtype": dtype, "mean": mean, "std": std},
        {"calibration": calibration, "calibration_samples": samples, "batch_size": 16},
        name,
    )
    print_built(build(recipe, Path.cwd(), out, reporter=Bars(console())))


@app.command()
def verify(directory: Directory, json: AsJson = False) -> None:
    """Recompute the parity certificate from the files alone."""
    from exporter.build import CERTIFICATE, save_json
    from exporter.terminal import print_certificate
    from exporter.verify.certificate import certify

    certificate = certify(directory)
    save_json(directory / CERTIFICATE, certificate)
    print(certificate.model_dump_json(indent=1)) if json else print_certificate(certificate)
    _exit_on(certificate.verdict == "clean")


@app.command()
def pack(
    file: Annotated[Path, typer.Argument(help="a .tflite, .onnx or .ort file")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="FILE.ewp")] = None,
    brotli: Annotated[bool, typer.Option(help="the device has brotli")] = False,
) -> None:
    """Write the entropy-coded package of a file."""
    from exporter.pack import pack as write_package

    target = output if output is not None else file.with_name(f"{file.name}.ewp")
    summary = write_package(file, target, brotli=brotli)
    share = summary.package_bytes / max(1, summary.original_bytes)
    print(f"{target}: {summary.original_bytes} → {summary.package_bytes} bytes ({share:.1%})")
    if summary.note:
        print(summary.note)


@app.command()
def unpack(
    package: Annotated[Path, typer.Argument(help="an .ewp package")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the file")] = None,
) -> None:
    """Restore the byte-identical file of a package."""
    from runtimes.unpack import unpack as restore

    print(restore(package, output))


@app.command()
def bench(
    files: Annotated[list[Path], typer.Argument(help="model files")],
    device: Annotated[str, typer.Option(help="where")] = "local",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seconds: Annotated[float, typer.Option(min=0.01, help="the steady window")] = 10.0,
    json: Annotated[Path | None, typer.Option(help="write the rows to this file")] = None,
) -> None:
    """Measure latency and memory of files on a device."""
    from devices.session import bench_files, open_device
    from exporter.terminal import print_bench, save_bench

    with open_device(device) as session:
        reports = bench_files(session, files, threads=threads, seconds=seconds)
    print_bench([report.row for report in reports])
    if json is not None:
        save_bench(json, [report.row for report in reports])


@app.command()
def check(
    directory: Directory,
    budget: Annotated[Path, typer.Option(help="a budget.toml")],
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML to this file")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write Markdown to this file")] = None,
    json: AsJson = False,
) -> None:
    """Hold a build against a budget: the release gate."""
    from exporter.gate import check as check_build
    from exporter.gate import load_budget
    from exporter.gate.junit import write_junit
    from exporter.gate.markdown import write_markdown
    from exporter.gate.table import render
    from exporter.terminal import console

    verdict = check_build(directory, load_budget(budget))
    print(verdict.to_json()) if json else console().print(render(verdict))
    if junit is not None:
        write_junit(verdict, junit)
    if markdown is not None:
        write_markdown(verdict, markdown)
    _exit_on(verdict.passed)


@app.command()
def report(directory: Directory) -> None:
    """Draw the self-contained HTML page of a build."""
    from exporter.build import MANIFEST, Manifest, load_json
    from exporter.layers import layer_rows
    from exporter.report import write_report

    manifest = load_json(directory / MANIFEST, Manifest)
    layers = layer_rows(directory / f"{manifest.name}.int8.tflite")
    print(write_report(directory, layers=layers))


def _exit_on(good: bool) -> None:
    if not good:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
