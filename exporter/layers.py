"""What shipped files hold: their operators, and what each layer weighs."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.build import MANIFEST, Artifact, Manifest, load_json, save_json
from exporter.contents import CONTENTS, Contents, FileContents, LayerRow, OperatorUse, has_contents
from exporter.errors import ModelError
from exporter.graph.model import Array

if TYPE_CHECKING:
    from exporter.tflite.reader import FileOperator, TfliteFile

WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
BORDERS = {"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"}
"""Operators between integers and floats: they compute in neither."""


def entropy_bits(values: Array) -> float:
    """Order-0 entropy in bits for one value: no coder without context goes below (Shannon)."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def entropy_bytes(values: Array) -> float:
    """Bytes for all values at their order-0 entropy, or as float32 where that is less."""
    return min(entropy_bits(values), 32.0) * values.size / 8.0


def layer_rows(path: Path) -> list[LayerRow]:
    """One row for each weight tensor of a .tflite file, in the order of the operators.

    Raises:
        ModelError: no .tflite file.
    """
    from exporter.tflite.reader import read_tflite

    return list(_layers(read_tflite(path)))


def write_contents(directory: Path) -> Contents:
    """List what each int8 file of a build holds, in `contents.json`; gives the document.

    An .ort file has no entry: it holds ONNX Runtime's own serialization of the .onnx.

    Raises:
        BuildError: manifest.json is missing or damaged.
        ModelError: a file is missing or cannot be read.
    """
    manifest = load_json(directory / MANIFEST, Manifest)
    document = Contents(
        files=tuple(
            _file_contents(directory, artifact)
            for artifact in manifest.artifacts
            if has_contents(artifact)
        )
    )
    save_json(directory / CONTENTS, document)
    return document


def _file_contents(directory: Path, artifact: Artifact) -> FileContents:
    path = directory / artifact.path
    layers: tuple[LayerRow, ...] = ()
    if artifact.format == "tflite":
        from exporter.tflite.reader import read_tflite

        file = read_tflite(path)
        # Histograms are for pictures: here they would be most of the bytes.
        layers = tuple(replace(layer, histogram=()) for layer in _layers(file))
        operators = _tflite_operators(file)
    else:
        operators = _onnx_operators(path)
    return FileContents(
        artifact=artifact.name, sha256=artifact.sha256.lower(), operators=operators, layers=layers
    )


def _layers(file: TfliteFile) -> Iterator[LayerRow]:
    for operator in file.operators:
        weight = file.tensors[operator.inputs[1]] if operator.code in WEIGHTED else None
        if weight is None or weight.data is None:
            continue
        yield _layer(file, operator, weight.name.removesuffix("_integers"), weight.data)


def _layer(file: TfliteFile, operator: FileOperator, name: str, data: Array) -> LayerRow:
    output = file.tensors[operator.outputs[0]]
    values, counts = np.unique(data, return_counts=True)
    integers = data.dtype.kind in "iu"
    # A weight is used once for each place of the output map, [batch, height, width, channels].
    places = math.prod(output.shape[1:-1])
    item_bytes = 0 if output.dtype is None else output.dtype.itemsize
    return LayerRow(
        name=name,
        operator=operator.code,
        weights=data.size,
        zeros=int((data == 0).sum()),
        distinct_levels=len(values),
        bytes=data.nbytes,
        entropy_bits=entropy_bits(data),
        macs=places * data.size,
        activation_bytes=math.prod(output.shape[1:]) * item_bytes,
        histogram=tuple(zip(values.tolist(), counts.tolist(), strict=True)) if integers else (),
    )


def _tflite_operators(file: TfliteFile) -> tuple[OperatorUse, ...]:
    counts: Counter[tuple[str, int]] = Counter()
    floats: Counter[tuple[str, int]] = Counter()
    for operator in file.operators:
        key = (operator.code, operator.version)
        counts[key] += 1
        places = (*operator.inputs, *operator.outputs)
        tensors = [file.tensors[place] for place in places if place >= 0]
        in_float = any(tensor.dtype == np.float32 for tensor in tensors)
        floats[key] += in_float and operator.code not in BORDERS
    return _uses(counts, floats)


def _onnx_operators(path: Path) -> tuple[OperatorUse, ...]:
    """Operators after ONNX Runtime's default optimization: what it runs, not what is written."""
    import onnx

    model = optimized_model(path)
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    counts: Counter[tuple[str, int]] = Counter()
    floats: Counter[tuple[str, int]] = Counter()
    in_float = {
        value.name: value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        for value in model.graph.input
    }
    for node in model.graph.node:
        key = (node.op_type, versions.get(node.domain or "ai.onnx", 1))
        gives_float = _gives_float(node, in_float)
        in_float.update(dict.fromkeys(node.output, gives_float))
        counts[key] += 1
        floats[key] += gives_float and node.op_type not in BORDERS
    return _uses(counts, floats)


def optimized_model(path: Path) -> Any:
    """An .onnx or .ort file as ONNX Runtime rewrites it to run it, as an ONNX model.

    Raises:
        ModelError: ONNX Runtime does not take it.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions have no base but this
            raise ModelError(
                f"{path} cannot be run by ONNX Runtime",
                expected="an .onnx or .ort model",
                found=str(error).splitlines()[0][:300],
            ) from None
        return onnx.load(options.optimized_model_filepath)


def _gives_float(node: Any, in_float: dict[str, bool]) -> bool:
    """Integer kernels of ONNX Runtime are named after what they do; the rest follow their input."""
    if node.op_type.startswith(("QLinear", "QuantizeLinear")):
        return False
    if node.op_type == "QGemm":  # without an output scale, its ninth input, it gives floats
        return len(node.input) < 8
    if node.op_type == "DequantizeLinear":
        return True
    return any(in_float.get(name, False) for name in node.input)


def _uses(
    counts: Counter[tuple[str, int]], floats: Counter[tuple[str, int]]
) -> tuple[OperatorUse, ...]:
    return tuple(
        OperatorUse(code=code, version=version, count=count, floats=floats[code, version])
        for (code, version), count in sorted(counts.items())
    )
