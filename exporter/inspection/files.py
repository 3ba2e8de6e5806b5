"""Reads a model file into its report, by what is in it and not by its name alone."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ModelError
from exporter.inspection.report import ModelReport

FORMATS = (".tflite", ".onnx", ".ort")


def inspect_model(path: Path) -> ModelReport:
    """Say what a model file holds; nothing is run and nothing outside the file's folder is read.

    Args:
        path: a .tflite, .onnx or .ort file of any tool.

    Raises:
        ModelError: it is missing, damaged, or of no known format.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read", expected="a model file", found=str(error)
        ) from None
    if head[4:8] == b"TFL3":
        from exporter.inspection.of_tflite import inspect_tflite

        return inspect_tflite(path)
    if head[4:8] == b"ORTM":
        from exporter.inspection.of_ort import inspect_ort

        return inspect_ort(path)
    if path.suffix == ".onnx":
        from exporter.inspection.of_onnx import inspect_onnx

        return inspect_onnx(path)
    raise ModelError(
        f"{path} is no model that is known",
        expected=", ".join(FORMATS),
        found=f"a {path.suffix or 'nameless'} file that begins with {head!r}",
        remedy="name a model file, or a package that `edgewright pack` wrote",
    )
