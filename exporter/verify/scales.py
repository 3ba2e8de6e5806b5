"""Every scale, zero point and int8 weight of a shipped file, against the canonical graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from exporter.build import CheckResult
from exporter.graph.layout import REARRANGING, image_tensors
from exporter.graph.model import Array, Graph, Quantization, Tensor
from exporter.tflite.layout import shape_of
from exporter.tflite.reader import FileTensor, TfliteFile
from exporter.trained import (
    ACTIVATION_SCALES,
    ACTIVATION_ZERO_POINTS,
    WEIGHT_INTEGERS,
    WEIGHT_SCALE,
    load_trained,
)

UNSIGNED_SHIFT = 128
INTEGERS = (np.int8, np.int16)
"""What activations are."""
SHOWN = 5


def result(name: str, compared: int, faults: Iterable[str], what: str) -> CheckResult:
    """A check over `compared` things; it passes without faults, and with something to compare."""
    listed = list(faults)
    if listed:
        detail = "; ".join(listed[:SHOWN])
        more = len(listed) - SHOWN
        return CheckResult(name=name, passed=False, detail=detail + _more(more))
    return CheckResult(name=name, passed=compared > 0, detail=f"{compared} {what}")


def _more(count: int) -> str:
    return f"; and {count} more" if count > 0 else ""


def quantized_tensors(graph: Graph) -> list[Tensor]:
    """The tensors whose integers have a scale."""
    return [t for t in graph.tensors.values() if t.quantization is not None]


def compare_tflite(graph: Graph, file: TfliteFile) -> CheckResult:
    """Compare a .tflite file with the canonical graph, tensor by tensor, by name."""
    found = {tensor.name: tensor for tensor in file.tensors}
    wanted = [tensor for tensor in quantized_tensors(graph) if not _inside_a_view(graph, tensor)]
    images = image_tensors(graph)
    faults = [
        fault
        for tensor in wanted
        for fault in _tflite_faults(tensor, found, image=tensor.name in images)
    ]
    return result(".tflite equals canonical", len(wanted), faults, "scales, zero points, integers")


def _inside_a_view(graph: Graph, tensor: Tensor) -> bool:
    """Whether a tensor is a mere view of another, which the .tflite may leave out."""
    producer = graph.producer(tensor.name)
    views = REARRANGING | {"Clip", "Expand"}
    return producer is not None and producer.kind in views and tensor.name not in graph.outputs


def _tflite_faults(tensor: Tensor, found: dict[str, FileTensor], *, image: bool) -> list[str]:
    other = found.get(tensor.name)
    if other is None or other.scale is None or tensor.quantization is None:
        return [f"'{tensor.name}' is missing"]
    faults = []
    scale = np.atleast_1d(tensor.quantization.scale)
    if not np.array_equal(np.sort(scale), np.sort(other.scale)):
        faults.append(f"'{tensor.name}' has another scale")
    if tensor.quantization.zero_point != other.zero_point:
        faults.append(f"'{tensor.name}' has zero point {other.zero_point}")
    if tensor.data is not None and not _same_weights(tensor.data, tensor.quantization, other):
        faults.append(f"'{tensor.name}' has other integers")
    if tensor.data is None and tuple(other.shape) != shape_of(tensor.shape, image=image):
        faults.append(f"'{tensor.name}' has shape {list(other.shape)}")
    return faults


def _same_weights(data: Array, quantization: Quantization, other: FileTensor) -> bool:
    """The same integers with the same scales, in TFLite's order of axes.

    Two orders may differ as well: a dense layer's columns behind a flattened image, and the output
    channels of a convolution before a pixel shuffle, each with its scale.
    """
    if other.data is None or other.scale is None:
        return False
    depthwise = data.ndim == 4 and other.axis == 3
    if data.ndim == 4 and quantization.scale.ndim:
        data = data.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    elif data.ndim != other.data.ndim or data.shape != other.data.shape:
        return data.size == other.data.size and np.array_equal(
            np.sort(data, None), np.sort(other.data, None)
        )
    if data.shape != other.data.shape:
        return False
    scales = np.atleast_1d(quantization.scale), other.scale
    if np.array_equal(data, other.data) and np.array_equal(*scales):
        return True
    axis = data.ndim - 1 if depthwise else 0
    rows = [np.moveaxis(d, axis, 0).reshape(d.shape[axis], -1) for d in (data, other.data)]
    return any(_same_rows(rows, scales, columns) for columns in (False, True))


def _same_rows(rows: list[Array], scales: tuple[Array, Array], sort_columns: bool) -> bool:
    """Whether both have the same rows with the same scales, in any order."""
    keyed = []
    for row_set, scale in zip(rows, scales, strict=True):
        values = np.sort(row_set, 1) if sort_columns else row_set
        broadcast = np.broadcast_to(scale, (len(values),))
        pairs = zip(broadcast, values, strict=True)
        keyed.append(sorted((float(step), row.tobytes()) for step, row in pairs))
    return keyed[0] == keyed[1]


def compare_onnx(graph: Graph, other: Graph, name: str) -> CheckResult:
    """Compare a shipped ONNX graph with the canonical one, by name; uint8 has zero point + 128."""
    wanted = quantized_tensors(graph)
    faults = []
    for tensor in wanted:
        if tensor.name not in other.tensors:
            # uint8 frames need no conversion where activations are uint8 too.
            if _is_entrance(graph, tensor):
                continue
            faults.append(f"'{tensor.name}' is missing")
            continue
        faults += _onnx_faults(tensor, other.tensors[tensor.name])
    return result(f"{name} equals canonical", len(wanted), faults, "scales, zero points, integers")


def _equal(one: Array, other: Array | None) -> bool:
    return other is not None and one.dtype == other.dtype and np.array_equal(one, other)


def _is_entrance(graph: Graph, tensor: Tensor) -> bool:
    producer = graph.producer(tensor.name)
    return (
        producer is not None and producer.kind == "Quantize" and producer.inputs[0] in graph.inputs
    )


def _onnx_faults(tensor: Tensor, other: Tensor) -> list[str]:
    if tensor.quantization is None or other.quantization is None:
        return [f"'{tensor.name}' has no scale"]
    faults = []
    if not np.array_equal(tensor.quantization.scale, other.quantization.scale):
        faults.append(f"'{tensor.name}' has another scale")
    became_unsigned = tensor.dtype.name == "int8" and other.dtype.name == "uint8"
    shift = UNSIGNED_SHIFT if became_unsigned else 0
    if tensor.quantization.zero_point + shift != other.quantization.zero_point:
        faults.append(f"'{tensor.name}' has zero point {other.quantization.zero_point}")
    if tensor.data is not None and not _equal(tensor.data, other.data):
        faults.append(f"'{tensor.name}' has other integers")
    return faults


def compare_trained(graph: Graph, path: Path) -> CheckResult:
    """Compare the canonical graph with the integers and scales that training left.

    Raises:
        ModelError: the checkpoint is missing or damaged.
    """
    trained = load_trained(path)
    faults = []
    weights = [k.removeprefix(WEIGHT_INTEGERS) for k in trained if k.startswith(WEIGHT_INTEGERS)]
    for name in weights:
        tensor = graph.tensors.get(f"{name.replace('.', '_')}_integers")
        if tensor is None or tensor.quantization is None:
            faults.append(f"weight '{name}' is missing")
        elif not _equal(trained[WEIGHT_INTEGERS + name], tensor.data):
            faults.append(f"weight '{name}' has other integers")
        elif not _equal(trained[WEIGHT_SCALE + name], np.atleast_1d(tensor.quantization.scale)):
            faults.append(f"weight '{name}' has another scale")
    shipped = _activation_scales(graph)
    scales, points = trained[ACTIVATION_SCALES], trained[ACTIVATION_ZERO_POINTS]
    learned = {(float(s), int(p)) for s, p in zip(scales, points, strict=True)}
    for scale, zero_point in sorted(shipped ^ learned):
        side = "not trained" if (scale, zero_point) in shipped else "lost"
        faults.append(f"activation scale {scale:g} with zero point {zero_point} is {side}")
    what = "weights and activation scales"
    return result("canonical equals training", len(weights) + len(learned), faults, what)


def _activation_scales(graph: Graph) -> set[tuple[float, int]]:
    scales = set()
    for tensor in quantized_tensors(graph):
        if tensor.data is None and tensor.dtype in INTEGERS and tensor.quantization is not None:
            scales.add((float(tensor.quantization.scale), tensor.quantization.zero_point))
    return scales
