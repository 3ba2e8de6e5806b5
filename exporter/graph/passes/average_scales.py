"""Results of average pooling get a scale at which no sum lies halfway between two integers.

The runtimes round such halves apart: ONNX Runtime's kernel up or to even, LiteRT's float one by the
last bit of a product. A mean over n places is sum * s_in / (n * s_out) steps; with s_out = s_in *
odd / 2^k it is sum * 2^k / (n * odd), which is a half for no sum, as long as 2^k has more factors
of two than n. The scale moves by 0.8 % at the most, by twice that for windows of more than 16.

Requires: signed_activations, explicit_padding (whose products follow a mean over padding).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import constant
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import (
    MOVING,
    Parameters,
    is_dequantize,
    parameters_of,
    quantization_behind,
    readers,
    replace_parameters,
)

SMALL_WINDOW = 16
"""Of larger ones the halves are nearer; a smaller odd number holds them off."""


def average_scales(model: ir.Model, changes: Changes) -> bool:
    """Set such scales, where numbers may change; return whether any did."""
    if not changes.requantize:
        return False
    modified = False
    for node in list(model.graph):
        source = _source(node) if node.op_type == "AveragePool" else None
        quantize = None if source is None else quantization_behind(_corrected(node))
        if source is None or quantize is None:
            continue
        before = parameters_of(quantize)
        scale = _scale(float(source.scale), float(before.scale), _window(node))
        if scale is None:
            continue
        wanted = Parameters(np.array(scale, np.float32), before.zero_point)
        if replace_parameters(model.graph, quantize, wanted):
            detail = f"{scale:.6g} in place of {float(before.scale):.6g}"
            what = "results of AveragePool get a scale that both runtimes round alike"
            changes.note(what, node.name, detail, exact=False)
            modified = True
    return modified


def _source(node: ir.Node) -> Parameters | None:
    """How its input is quantized, before it was moved or padded with zeros."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    while producer is not None and producer.op_type in MOVING | {"Pad"}:
        producer = producer.inputs[0].producer() if producer.inputs[0] is not None else None
    if producer is None or not is_dequantize(producer):
        return None
    found = parameters_of(producer)
    return None if found.per_channel else found


def _corrected(node: ir.Node) -> ir.Node:
    """The product with window / (places that count) behind a mean that leaves padding out."""
    found = readers(node.outputs[0])
    product = found[0] if len(found) == 1 and found[0].op_type == "Mul" else None
    return node if product is None or constant(product.inputs[1]) is None else product


def _window(node: ir.Node) -> int:
    return math.prod(node.attributes["kernel_shape"].value)


def _scale(source: float, measured: float, window: int) -> float | None:
    """The nearest source * odd / 2^k; None where that is so large that none fits."""
    bits = 8 if window <= SMALL_WINDOW else 7
    shift = bits - 1 - math.floor(math.log2(measured / source))  # odd has so many bits
    if 2**shift <= window:
        return None
    odd = 2 * round((measured / source * 2**shift - 1) / 2) + 1
    return source * odd / 2**shift
