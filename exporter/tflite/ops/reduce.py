"""Reductions over axes: ReduceMean, ReduceSum, ReduceMax, ReduceMin."""

from __future__ import annotations

from exporter.graph.layout import NHWC_OF_NCHW
from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

_CODES = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceSum": "SUM",
}


@lowers("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
def reduction(lowering: Lowering, operator: Operator) -> None:
    """Lower a reduction over constant axes."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    axes = _axes(lowering, operator, len(source.shape))
    keep = bool(operator.attributes.get("keepdims", 1))
    left = [axis for axis in range(len(source.shape)) if axis not in axes]
    stored = [axis for axis in NHWC_OF_NCHW if axis in left]
    if lowering.is_image(source) and not keep and stored != left:
        raise lowering.refuse(
            operator, "it drops an axis of an image and keeps its channels", "keep the dimensions"
        )
    positions = lowering.integers(
        f"{operator.name}_axes", [lowering.axis(source, axis) for axis in axes]
    )
    lowering.writer.operator(
        _CODES[operator.kind],
        [lowering.index(source), positions],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        keepDims=keep,
    )


def _axes(lowering: Lowering, operator: Operator, rank: int) -> list[int]:
    """The axes, from the first; ONNX has them in an attribute up to opset 17, then in an input."""
    axes = operator.attributes.get("axes")
    if axes is None and len(operator.inputs) > 1 and operator.inputs[1]:
        axes = lowering.constant_of(operator, 1, "list of axes").tolist()
    return [axis % rank for axis in (axes or range(rank))]
