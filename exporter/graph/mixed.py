"""Operators that another quantizer left in float, with Dequantize and Quantize written around them.

In ONNX an operator between a DequantizeLinear and no QuantizeLinear computes real numbers. In
`Graph` the DequantizeLinear is gone, so such an operator would read integers as they are: here it
gets a Dequantize in front, and a Quantize behind where its result is quantized. Each is listed by
name with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exporter.graph.canonical import SHARING
from exporter.graph.islands import islands
from exporter.graph.model import Graph, Operator, Quantization, Tensor
from exporter.graph.passes.bounded_scales import BOUNDED, WIDE_BOUNDED

FLOAT = np.dtype(np.float32)
_WEIGHTED = {"Conv", "Gemm"}
_ARITHMETIC = {"Add", "Mul", "Sub"}
_TABLES = {"Celu", "Erf", "Mish", "Selu", "Softplus", "Softsign"}
_INTEGER = {"Elu", "Gelu", "GlobalAveragePool", "ReduceMean", "ReduceSum"} | _TABLES
_BOUNDARY = {"Dequantize", "Quantize"}


@dataclass(frozen=True)
class FloatOperator:
    """An operator that is computed in float in a quantized model.

    Attributes:
        name: the node's.
        kind: its operator.
        reason: why it is not computed in integers.
        by_design: both runtimes are known to compute it alike in float, and only there.
    """

    name: str
    kind: str
    reason: str
    by_design: bool = False


def separate(graph: Graph) -> list[FloatOperator]:
    """Write the boundaries out, in place; return every operator that computes in float."""
    if not any(tensor.quantization is not None for tensor in graph.tensors.values()):
        return []
    return _Separation(graph).run()


class _Separation:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.found: list[FloatOperator] = []
        self.operators: list[Operator] = []
        self.real: dict[str, str] = {}
        # Those that both runtimes are known to compute alike: their lowering has its own way.
        self.islands = {
            operator.outputs[0]
            for operator in islands(graph)
            if graph.tensors[operator.outputs[0]].quantization is not None
        }
        self.padded_means = _padded_means(graph)

    def run(self) -> list[FloatOperator]:
        for operator in self.graph.operators:
            if operator.outputs and operator.outputs[0] in self.islands:
                if operator.kind not in _BOUNDARY:
                    self.found.append(_island(operator))
                self.operators.append(operator)
                continue
            reason = self._reason(operator)
            if reason:
                alike = operator.outputs[0] in self.padded_means
                found = FloatOperator(operator.name, operator.kind, reason)
                self.found.append(_island(operator) if alike else found)
                self._in_float(operator)
            else:
                self.operators.append(operator)
        self.graph.operators = self.operators
        return self.found

    def _tensors(self, names: list[str]) -> list[Tensor]:
        return [self.graph.tensors[name] for name in names if name]

    def _reason(self, operator: Operator) -> str:
        """Why an operator cannot compute in integers; empty where it can, or needs no numbers."""
        sources, results = self._tensors(operator.inputs), self._tensors(operator.outputs)
        if operator.kind in _BOUNDARY or not results:
            return ""
        quantized = [tensor.quantization is not None for tensor in sources]
        result = results[0]
        if result.quantization is None:
            if result.dtype != FLOAT:
                return ""
            return "its result is not quantized" if any(quantized) or self._among(sources) else ""
        return self._input_reason(operator, sources, result)

    def _among(self, sources: list[Tensor]) -> bool:
        """Whether it computes with real numbers of a quantized model, not with an input's."""
        return any(tensor.data is None and tensor.dtype == FLOAT for tensor in sources)

    def _input_reason(self, operator: Operator, sources: list[Tensor], result: Tensor) -> str:
        kind = operator.kind
        if sources and sources[0].quantization is None and sources[0].data is None:
            return "its input is not quantized"
        if {"int8", "int16"} <= {t.dtype.name for t in (*sources, result) if _is_activation(t)}:
            return "it reads int8 values and gives int16 ones, or the other way round"
        if kind in _WEIGHTED | _ARITHMETIC:
            plain = all(tensor.quantization is not None for tensor in sources)
            what = "its weights are" if kind in _WEIGHTED else "one of its operands is"
            return "" if plain else f"{what} not quantized"
        if kind in BOUNDED:
            scale = WIDE_BOUNDED if result.dtype == np.int16 else BOUNDED[kind]
            fits = _is(result.quantization, *scale)
            return "" if fits else "its result has another scale than int8 kernels have"
        if kind in SHARING | _INTEGER | {"Resize"}:
            return ""
        return "no int8 kernel computes it as it is defined"

    def _in_float(self, operator: Operator) -> None:
        inputs = [self._as_real(name) if name else "" for name in operator.inputs]
        outputs, after = [], []
        for name in operator.outputs:
            tensor = self.graph.tensors[name] if name else None
            if tensor is None or tensor.quantization is None:
                outputs.append(name)
                continue
            real = self._add(Tensor(f"{name}_in_float", tensor.shape, FLOAT))
            outputs.append(real)
            after.append(Operator("Quantize", f"{name}/Quantize", [real], [name]))
        self.operators.append(replace(operator, inputs=inputs, outputs=outputs))
        self.operators += after

    def _as_real(self, name: str) -> str:
        tensor = self.graph.tensors[name]
        quantization = tensor.quantization
        if quantization is None:
            return name
        if name not in self.real:
            real = Tensor(f"{name}_as_float", tensor.shape, FLOAT)
            if tensor.data is not None:
                real.data = _dequantized(tensor, quantization)
            self.real[name] = self._add(real)
            if tensor.data is None:
                boundary = Operator("Dequantize", f"{name}/Dequantize", [name], [real.name])
                self.operators.append(boundary)
        return self.real[name]

    def _add(self, tensor: Tensor) -> str:
        self.graph.tensors[tensor.name] = tensor
        return tensor.name


def _padded_means(graph: Graph) -> set[str]:
    """Results of means that leave padding out, as passes/explicit_padding.py writes them.

    An AveragePool between integers and its product with a constant: as alike as the pooling alone.
    """
    found: set[str] = set()
    pools = {o.outputs[0]: o for o in graph.operators if o.kind == "AveragePool"}
    for product in (operator for operator in graph.operators if operator.kind == "Mul"):
        pool, factor = pools.get(product.inputs[0]), graph.tensors[product.inputs[1]]
        if pool is None or factor.data is None:
            continue
        ends = graph.tensors[pool.inputs[0]], graph.tensors[product.outputs[0]]
        if all(end.quantization is not None for end in ends):
            found |= {pool.outputs[0], product.outputs[0]}
    return found


def _island(operator: Operator) -> FloatOperator:
    reason = "both runtimes compute it alike in float, in integers they do not"
    return FloatOperator(operator.name, operator.kind, reason, by_design=True)


def _is_activation(tensor: Tensor) -> bool:
    return tensor.data is None and tensor.quantization is not None


def _is(quantization: Quantization | None, scale: float, zero_point: int) -> bool:
    return (
        quantization is not None
        and float(quantization.scale) == scale
        and quantization.zero_point == zero_point
    )


def _dequantized(tensor: Tensor, quantization: Quantization) -> np.ndarray:
    scale = quantization.scale
    if scale.ndim and tensor.data is not None:
        shape = [1] * tensor.data.ndim
        shape[quantization.axis or 0] = -1
        scale = scale.reshape(shape)
    integers = np.asarray(tensor.data, np.int32) - quantization.zero_point
    real: np.ndarray = integers.astype(np.float32) * scale
    return real
