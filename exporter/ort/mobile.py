"""ONNX → .ort, ONNX Runtime's own format for small builds on ARM, already optimized.

Beside it, the operators and types that a minimal build of ONNX Runtime has to contain for it:
`build.py --minimal_build --include_ops_by_config FILE --enable_reduced_operator_type_support`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from pathlib import Path

from exporter.build import replacing
from exporter.errors import ModelError

CONFIG_SUFFIX = ".required_operators.config"


def config_path(target: Path) -> Path:
    """Where the operators that a .ort file needs are listed."""
    return target.with_name(target.name + CONFIG_SUFFIX)


def convert(source: Path, target: Path) -> None:
    """Write the .ort form of an ONNX file and its `config_path`, each whole or not at all.

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
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            # The converter leaves the file that it wrote open.
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                convert_onnx_models_to_ort(
                    copy,
                    output_dir=Path(folder),
                    optimization_styles=[OptimizationStyle.Fixed],
                    target_platform="arm",
                    enable_type_reduction=True,
                )
            except Exception as error:  # ONNX Runtime's exceptions have no base but this
                raise _refused(source, str(error).splitlines()[0]) from None
        made = Path(folder) / "model.ort"
        config = made.with_suffix(".required_operators_and_types.config")
        if not (made.exists() and config.exists()):
            raise _refused(source, "no file")
        for file, place in ((made, target), (config, config_path(target))):
            with replacing(place) as temporary:
                temporary.write_bytes(_about(target, file))


def _refused(source: Path, found: str) -> ModelError:
    return ModelError(
        f"ONNX Runtime did not convert {source} to .ort",
        expected="an ONNX model that ONNX Runtime runs",
        found=found[:300],
    )


def _about(target: Path, file: Path) -> bytes:
    """A file's bytes; a configuration's first lines name the model, and no temporary folder."""
    content = file.read_bytes()
    if file.suffix != ".config":
        return content
    lines = [line for line in content.decode().splitlines() if not line.startswith("#")]
    return "\n".join((f"# What {target.name} needs of ONNX Runtime", *lines, "")).encode()
