"""ONNX → .ort, ONNX Runtime's own format for small builds on ARM, already optimized."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from pathlib import Path

from exporter.build import replacing
from exporter.errors import ModelError


def convert(source: Path, target: Path) -> None:
    """Write the .ort form of an ONNX file, whole or not at all.

    Args:
        source: an .onnx file; int8 activations for ARM kernels.
        target: the .ort file.

    Raises:
        ModelError: ONNX Runtime cannot convert it.
    """
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    # The converter logs where it put its own configuration, on a handler of the root logger.
    logging.getLogger("ort_format_model.utils").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copyfile(source, copy)
        with contextlib.redirect_stdout(io.StringIO()):
            convert_onnx_models_to_ort(
                copy,
                output_dir=Path(folder),
                optimization_styles=[OptimizationStyle.Fixed],
                target_platform="arm",
            )
        made = Path(folder) / "model.ort"
        if not made.exists():
            raise ModelError(f"ONNX Runtime did not convert {source} to .ort")
        with replacing(target) as temporary:
            shutil.copyfile(made, temporary)
