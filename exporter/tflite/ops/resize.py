"""Resize, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

_NEAREST = {
    ("asymmetric", "floor"): {},
    ("half_pixel", "round_prefer_ceil"): {"halfPixelCenters": True},
    ("half_pixel", "round_prefer_floor"): {"halfPixelCenters": True},
    ("align_corners", "round_prefer_ceil"): {"alignCorners": True},
}
_LINEAR = {
    "asymmetric": {},
    "half_pixel": {"halfPixelCenters": True},
    "pytorch_half_pixel": {"halfPixelCenters": True},
    "align_corners": {"alignCorners": True},
}
VERSION = 3


@lowers("Resize")
def resize(lowering: Lowering, operator: Operator) -> None:
    """Lower a resize of height and width: nearest in integers, linear in float."""
    attributes = operator.attributes
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if source.shape[:2] != result.shape[:2]:
        raise lowering.refuse(operator, "it resizes channels", "resize height and width")
    mode = attributes.get("mode", "nearest")
    centres = attributes.get("coordinate_transformation_mode", "half_pixel")
    size = lowering.integers(f"{operator.name}_size", result.shape[2:])
    if mode == "nearest":
        options = _NEAREST.get((centres, attributes.get("nearest_mode", "round_prefer_floor")))
        if options is None:
            raise _unknown(lowering, operator, f"{mode}, {centres}")
        lowering.writer.operator(
            "RESIZE_NEAREST_NEIGHBOR",
            [lowering.index(source), size],
            [lowering.index(result)],
            version=VERSION,
            **options,
        )
        return
    linear = _LINEAR.get(centres)
    if mode != "linear" or linear is None or attributes.get("antialias", 0):
        raise _unknown(lowering, operator, f"{mode}, {centres}")
    real = lowering.real(source, result)
    lowering.real_result(
        result,
        lambda out: lowering.writer.operator(
            "RESIZE_BILINEAR", [real, size], [out], version=VERSION, **linear
        ),
    )


def _unknown(lowering: Lowering, operator: Operator, what: str) -> Exception:
    return lowering.refuse(
        operator,
        f"TFLite has no resize that is {what}",
        "use nearest, or bilinear without antialias",
    )


@lowers("DepthToSpace", "SpaceToDepth")
def shuffle(lowering: Lowering, operator: Operator) -> None:
    """Lower blocks of channels to pixels, or back.

    TFLite's channels are [block row, block column, channel]. PyTorch's pixel shuffle has [channel,
    block row, block column]: the convolution before it then gives its channels in TFLite's order
    (`exporter.tflite.ops.conv`), or a GATHER brings them there. int16 values go as floats, which
    hold them: LiteRT has no kernel for them.
    """
    source, result = lowering.source(operator, 0), lowering.result(operator)
    block = int(operator.attributes["blocksize"])
    wide = source.dtype == np.int16
    index = lowering.real(source, result) if wide else lowering.index(source)
    if operator.attributes.get("mode", "DCR") == "CRD" and not reorders(lowering, source.name):
        order = channel_order(source.shape[1], block)
        name, shape = f"{operator.name}_ordered", lowering.shape(source)
        ordered = lowering.temporary(name, shape) if wide else lowering.like(source, name, shape)
        positions = lowering.integers(f"{operator.name}_order", order)
        version = 2 if source.dtype == np.int8 else 1
        lowering.writer.operator("GATHER", [index, positions], [ordered], version=version, axis=3)
        index = ordered
    code = "DEPTH_TO_SPACE" if operator.kind == "DepthToSpace" else "SPACE_TO_DEPTH"
    if wide:
        lowering.real_result(
            result,
            lambda out: lowering.writer.operator(code, [index], [out], blockSize=block),
        )
        return
    lowering.writer.operator(
        code,
        [index],
        [lowering.index(result)],
        version=2 if source.dtype == np.int8 else 1,
        blockSize=block,
    )


def channel_order(channels: int, block: int) -> np.ndarray:
    """Where each channel in TFLite's order lies in PyTorch's, [channels]."""
    order: np.ndarray = np.arange(channels).reshape(-1, block, block).transpose(1, 2, 0).flatten()
    return order


def reorders(lowering: Lowering, name: str) -> bool:
    """Whether a tensor's channels are given in TFLite's order: one convolution, one shuffle.

    Args:
        lowering: the lowering.
        name: of the tensor that a shuffle in PyTorch's order reads.
    """
    producer = lowering.producers.get(name)
    readers = lowering.readers.get(name, [])
    return (
        producer is not None
        and producer.kind == "Conv"
        and int(producer.attributes.get("group", 1)) == 1
        and len(readers) == 1
        and readers[0].kind == "DepthToSpace"
        and readers[0].attributes.get("mode", "DCR") == "CRD"
        and name not in lowering.graph.outputs
    )
