"""Scales at which no exact result lies halfway between two integers, on request.

Another quantizer's scales let sums, products and means end on such a tie, which the runtimes round
apart (XNNPACK in fixed point, ONNX Runtime in float, up or to even). What `exporter.quantize.exact`
does while a network is quantized is done here to integers that have their scales already:

- addition: both inputs' scales as p / 511 of the output's: results are multiples of 1 / 511;
- product: s_a * s_b / s_out = p / odd;
- mean over n places, and sum (n = 1): s_in / (n * s_out) = 2^k / odd. Where padding is left out
  the places that count vary; 2^k has more factors of two than any of their numbers.
- bilinear resize, whose weights are multiples of 1 / d: s_in / s_out = d * whole / odd.

Scales grow, by two percent at the most, so that what a range covered stays covered; each once, in
the graph's order. An addition with one input much finer than the result may need more: it is left.

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
    is_quantize,
    parameters_of,
    quantization_behind,
    readers,
    replace_parameters,
)
from exporter.graph.ties import (
    ADD_DENOMINATOR,
    FINE_ENOUGH,
    LARGEST_DENOMINATOR_OF_WEIGHTS,
    SMALLEST_NUMERATOR,
    TOLERANCE,
    next_odd,
    product_step,
    resize_denominator,
)

MOST = 1.02
"""Scales that would grow more stay as they are."""
_CLIPPING = {"Clip", "Relu"}
_MEANS = {"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"}
_WHAT = "results of {} get scales that both runtimes round alike"


def tie_free_scales(model: ir.Model, changes: Changes) -> bool:
    """Move the scales, where numbers may change; return whether any did."""
    return changes.requantize and _Settling(model.graph, changes).run()


class _Settling:
    """The quantizations of a graph; those settled move no more."""

    def __init__(self, graph: ir.Graph, changes: Changes) -> None:
        self.graph, self.changes = graph, changes
        self.settled: set[ir.Node] = set()
        self.modified = False

    def run(self) -> bool:
        for node in list(self.graph):
            if node.op_type in ("Add", "Sub"):
                self._addition(node)
            elif node.op_type == "Mul":
                self._product(node)
            elif node.op_type in _MEANS:
                self._mean(node)
            elif node.op_type == "Resize":
                self._resize(node)
        return self.modified

    def _addition(self, node: ir.Node) -> None:
        left, right, result = _source(node, 0), _source(node, 1), _result(node)
        if left is None or right is None or result is None or result in self.settled:
            return
        kept, free = sorted((left, right), key=self._firmness, reverse=True)
        if free in self.settled and free is not kept:
            return
        step = _step(kept)
        part = math.floor(step * ADD_DENOMINATOR / _step(result) + TOLERANCE)
        if part < 1:
            return
        grown = step * ADD_DENOMINATOR / part
        moved = (
            grown / ADD_DENOMINATOR * math.ceil(_step(free) * ADD_DENOMINATOR / grown - TOLERANCE)
        )
        if grown > MOST * _step(result) or moved > MOST * _step(free):
            return
        if (free is kept or self._set(node, free, moved)) and self._set(node, result, grown):
            self.settled |= {kept, free, result}

    def _firmness(self, quantize: ir.Node) -> int:
        """2 settled, 1 not a convolution's, 0 free."""
        if quantize in self.settled:
            return 2
        producer = quantize.inputs[0].producer() if quantize.inputs[0] is not None else None
        return 0 if producer is not None and producer.op_type == "Conv" else 1

    def _product(self, node: ir.Node) -> None:
        left, right, result = _source(node, 0), _source(node, 1), _result(node)
        if left is None or right is None or result is None or result in self.settled:
            return
        wanted = product_step(_step(left) * _step(right), _step(result))
        if wanted is not None and self._set(node, result, wanted):
            self.settled |= {left, right, result}

    def _mean(self, node: ir.Node) -> None:
        source, result = _source(node, 0), _result(_corrected(node))
        places = _places(node)
        if source is None or result is None or result in self.settled or places is None:
            return
        ratio = _step(result) / _step(source)
        power = SMALLEST_NUMERATOR
        while power <= places or places * power * ratio < FINE_ENOUGH:
            power *= 2
        odd = next_odd(places * power * ratio - TOLERANCE)
        if self._set(node, result, _step(source) * odd / (places * power)):
            self.settled |= {source, result}

    def _resize(self, node: ir.Node) -> None:
        source, result, parts = _source(node, 0), _result(node), _parts(node)
        if source is None or result is None or result in self.settled or parts is None:
            return
        ratio = _step(result) / _step(source)
        parts *= math.ceil(FINE_ENOUGH / (parts * ratio))
        if self._set(node, result, _step(source) * next_odd(parts * ratio - TOLERANCE) / parts):
            self.settled |= {source, result}

    def _set(self, node: ir.Node, quantize: ir.Node, scale: float) -> bool:
        """Give a quantization another scale; whether it has that one now."""
        before = parameters_of(quantize)
        wanted = Parameters(np.array(scale, np.float32), before.zero_point)
        if before.same_as(wanted):
            return True
        if not replace_parameters(self.graph, quantize, wanted):
            return False
        detail = f"{scale:.6g} in place of {float(before.scale):.6g}"
        self.changes.note(_WHAT.format(node.op_type), node.name, detail, exact=False)
        self.modified = True
        return True


def _source(node: ir.Node, index: int) -> ir.Node | None:
    """The quantization of an input, before it was moved or padded with zeros; of int8 alone."""
    value = node.inputs[index]
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in MOVING | {"Pad"}:
        producer = producer.inputs[0].producer() if producer.inputs[0] is not None else None
    if producer is None or not is_dequantize(producer) or producer.inputs[0] is None:
        return None
    return _int8(producer.inputs[0].producer())


def _result(node: ir.Node) -> ir.Node | None:
    """The quantization of a result, behind a clipping of it."""
    found = readers(node.outputs[0])
    if len(found) == 1 and found[0].op_type in _CLIPPING and not node.outputs[0].is_graph_output():
        node = found[0]
    return _int8(quantization_behind(node))


def _int8(quantize: ir.Node | None) -> ir.Node | None:
    if quantize is None or not is_quantize(quantize):
        return None
    found = parameters_of(quantize)
    return quantize if not found.per_channel and found.zero_point.dtype == np.int8 else None


def _step(quantize: ir.Node) -> float:
    return float(parameters_of(quantize).scale)


def _corrected(node: ir.Node) -> ir.Node:
    """The product with window / (places that count) behind a mean that leaves padding out."""
    found = readers(node.outputs[0])
    product = found[0] if len(found) == 1 and found[0].op_type == "Mul" else None
    return node if product is None or constant(product.inputs[1]) is None else product


def _places(node: ir.Node) -> int | None:
    """Over how many values a mean goes; None where that is open."""
    if node.op_type == "AveragePool":
        return math.prod(int(size) for size in node.attributes["kernel_shape"].value)
    if node.op_type == "ReduceSum":
        return 1
    before, after = _size(node.inputs[0]), _size(node.outputs[0])
    return before // after if before and after else None


def _parts(node: ir.Node) -> int | None:
    """Of what the weights of a bilinear resize are multiples, as parts of 1.

    None where they are too fine, where sizes are open, and for any other resize.
    """
    mode, centres = (
        node.attributes[name].value if name in node.attributes else None
        for name in ("mode", "coordinate_transformation_mode")
    )
    if mode != "linear" or not _size(node.inputs[0]) or not _size(node.outputs[0]):
        return None
    have, want = ([int(size) for size in value.shape] for value in (node.inputs[0], *node.outputs))
    parts = resize_denominator(have, want, aligned=centres == "align_corners")
    return parts if parts <= LARGEST_DENOMINATOR_OF_WEIGHTS else None


def _size(value: ir.Value | None) -> int | None:
    """How many values it holds; None where a size is open."""
    sizes = [None] if value is None or value.shape is None else list(value.shape)
    fixed = [size for size in sizes if isinstance(size, int)]
    return math.prod(fixed) if len(fixed) == len(sizes) else None
