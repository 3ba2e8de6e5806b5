"""Layers of ONNX nodes, whichever file they lie in.

QuantizeLinear and DequantizeLinear around an operator are no layers of their own: they are the
scales of what it reads and gives. Integer operators carry theirs among their operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.graph.model import Array
from exporter.inspection.report import LayerReport, ValueReport, WeightReport, weight_report

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_BOUNDARY = (QUANTIZE, DEQUANTIZE)
_WEIGHTS = ("int8", "uint8", "int16", "uint16", "float16", "float32", "float64")


@dataclass(frozen=True)
class _Places:
    """Where an integer operator has its data, each before its scale, and its result's scale."""

    data: tuple[int, ...]
    result: int


_ONE, _TWO = _Places((0,), 3), _Places((0, 3), 6)
_INTEGER = {
    QUANTIZE: _Places((0,), 1),
    DEQUANTIZE: _Places((0,), 3),
    "QGemm": _Places((0, 3), 7),
    "QLinearAdd": _TWO,
    "QLinearAveragePool": _ONE,
    "QLinearConcat": _Places((), 0),
    "QLinearConv": _TWO,
    "QLinearGlobalAveragePool": _ONE,
    "QLinearLeakyRelu": _ONE,
    "QLinearMatMul": _TWO,
    "QLinearMul": _TWO,
    "QLinearReduceMean": _ONE,
    "QLinearSigmoid": _ONE,
    "QLinearSoftmax": _ONE,
}
"""ONNX's operator sets, and ONNX Runtime's docs/ContribOperators.md."""


@dataclass(frozen=True)
class Node:
    """An operator; "" stands for an operand that is left out."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What a file says of a value: `shape` has None for open sizes, is None if it is not said."""

    shape: tuple[int | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class _Scale:
    scale: Array
    zero_point: int


def _operands(node: Node) -> list[str]:
    """The operands that are values: without the scales and zero points of integer operators."""
    places = _INTEGER.get(node.operator)
    if places is None:
        return [name for name in node.inputs if name]
    if node.operator == "QLinearConcat":  # result's scale and zero point, then triples
        return list(node.inputs[2::3])
    return [node.inputs[place] for place in places.data if place < len(node.inputs)]


class Layers:
    """The layers of one graph.

    Args:
        nodes: in the file's order.
        constants: initializers and constants of nodes, by name.
        values: what is known of all others, by name.
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Array], values: Mapping[str, Known]
    ) -> None:
        self.nodes, self.constants, self.values = nodes, constants, values
        self.producer = {name: node for node in nodes for name in node.outputs if name}
        self.readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def rows(self) -> tuple[LayerReport, ...]:
        """A row for each node that is no mere scale of another's."""
        return tuple(self._row(node) for node in self.nodes if not self._belongs_to_another(node))

    def value(self, name: str) -> ValueReport:
        """A value with the scale that a QuantizeLinear or DequantizeLinear beside it gives."""
        known = self.values.get(name, Known(None, ""))
        scale = self._scale_beside(name)
        return ValueReport(
            name=name,
            shape=known.shape,
            dtype=known.dtype,
            scale=None if scale is None else float(scale.scale.flat[0]),
            zero_point=None if scale is None else scale.zero_point,
        )

    def _belongs_to_another(self, node: Node) -> bool:
        if node.operator == QUANTIZE:
            source = self.producer.get(node.inputs[0]) if node.inputs else None
            return source is not None and source.operator not in _BOUNDARY
        if node.operator == DEQUANTIZE:
            readers = self.readers.get(node.outputs[0], [])
            return bool(readers) and all(reader.operator != QUANTIZE for reader in readers)
        return node.operator == "Constant"

    def _row(self, node: Node) -> LayerReport:
        held = [(name, *self._content(node, name)) for name in _operands(node)]
        weights = [
            (name, data, scale)
            for name, data, scale in held
            if data is not None and data.dtype.name in _WEIGHTS and data.size > 1
        ]
        return LayerReport(
            name=node.name or next(iter(node.outputs), ""),
            operator=node.operator,
            inputs=tuple(self._operand(node, name) for name, data, _ in held if data is None),
            outputs=tuple(self._result(node, name) for name in node.outputs if name),
            weight=self._largest(weights),
            constant_bytes=self._constant_bytes(node),
        )

    def _largest(self, weights: list[tuple[str, Array, _Scale | None]]) -> WeightReport | None:
        if not weights:
            return None
        name, data, scale = max(weights, key=lambda entry: entry[1].size)
        if scale is None:
            return weight_report(name, data, None, 0)
        return weight_report(name, data, scale.scale, scale.zero_point)

    def _content(self, node: Node, name: str) -> tuple[Array | None, _Scale | None]:
        """The constant behind an operand, and its scale; (None, None) for a computed one."""
        if name in self.constants:
            return self.constants[name], self._own_scale(node, name)
        producer = self.producer.get(name)
        if producer is not None and producer.operator == DEQUANTIZE and producer.inputs:
            data = self.constants.get(producer.inputs[0])
            return data, None if data is None else self._parameters(producer, 1)
        return None, None

    def _own_scale(self, node: Node, name: str) -> _Scale | None:
        """The scale that an integer operator has beside an operand."""
        if node.operator not in _INTEGER:
            return None
        return self._parameters(node, node.inputs.index(name) + 1)

    def _parameters(self, node: Node, place: int) -> _Scale | None:
        """The scale at an operand's place, and the zero point behind it."""
        scale = self._constant(node, place)
        if scale is None or not scale.size or scale.dtype.kind != "f":
            return None
        point = self._constant(node, place + 1)
        return _Scale(scale, int(point.flat[0]) if point is not None and point.size else 0)

    def _constant(self, node: Node, place: int) -> Array | None:
        return self.constants.get(node.inputs[place]) if place < len(node.inputs) else None

    def _operand(self, node: Node, name: str) -> ValueReport:
        """What an operator reads: the integers, where a DequantizeLinear stands between."""
        producer = self.producer.get(name)
        if producer is not None and producer.operator == DEQUANTIZE and producer.inputs:
            return self.value(producer.inputs[0])
        return self._with(name, self._own_scale(node, name))

    def _result(self, node: Node, name: str) -> ValueReport:
        """What an operator gives: the integers, where a QuantizeLinear alone reads it."""
        if node.operator in _INTEGER:
            return self.value(name)
        readers = self.readers.get(name, [])
        if len(readers) == 1 and readers[0].operator == QUANTIZE and node.operator != QUANTIZE:
            return self.value(readers[0].outputs[0])
        return self.value(name)

    def _with(self, name: str, scale: _Scale | None) -> ValueReport:
        found = self.value(name)
        if scale is None:
            return found
        update = {"scale": float(scale.scale.flat[0]), "zero_point": scale.zero_point}
        return found.model_copy(update=update)

    def _scale_beside(self, name: str) -> _Scale | None:
        """The scale with which integers are written, or else read."""
        producer = self.producer.get(name)
        if producer is not None and producer.operator in _INTEGER:
            return self._parameters(producer, _INTEGER[producer.operator].result)
        for reader in self.readers.get(name, []):
            if reader.operator == DEQUANTIZE:
                return self._parameters(reader, 1)
        return None

    def _constant_bytes(self, node: Node) -> int:
        names = list(node.inputs)
        for name in node.inputs:
            producer = self.producer.get(name)
            if producer is not None and producer.operator == DEQUANTIZE:
                names += producer.inputs[:1]
        held = (self.constants.get(name, np.empty(0)) for name in dict.fromkeys(names))
        return sum(data.nbytes for data in held)
