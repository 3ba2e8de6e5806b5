"""The document of `edgewright inspect` on a model file."""

from __future__ import annotations

from typing import Literal

import numpy as np

from exporter.build import SCHEMA_VERSION, Frozen
from exporter.graph.model import Array
from exporter.layers import entropy_bits


class ValueReport(Frozen):
    """An activation, an input or an output. `shape` has None where the file leaves a size open.

    A real value is `scale * (integer - zero_point)`; both are None where the file gives none.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class WeightReport(Frozen):
    """The largest constant operand of a layer.

    `scales` has one entry for a tensor or one for each channel; it is empty for floats.
    `entropy_bits` is its order-0 entropy, in bits a value.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_point: int | None
    values: int
    zeros: int
    sparsity: float
    distinct_levels: int
    bytes: int
    entropy_bits: float


class LayerReport(Frozen):
    """One operator, in the file's order, as its format calls it.

    `constant_bytes` is what all its constant operands take: weight, bias, shapes.
    """

    name: str
    operator: str
    inputs: tuple[ValueReport, ...]
    outputs: tuple[ValueReport, ...]
    weight: WeightReport | None
    constant_bytes: int


class ModelReport(Frozen):
    """A model file.

    `metadata` is what the file says of itself, by name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    path: str
    format: Literal["tflite", "onnx", "ort"]
    bytes: int
    sha256: str
    inputs: tuple[ValueReport, ...]
    outputs: tuple[ValueReport, ...]
    layers: tuple[LayerReport, ...]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def weight_report(name: str, data: Array, scale: Array | None, zero_point: int) -> WeightReport:
    """Count a constant's values; `scale` is None for real numbers."""
    zeros = int((data == zero_point).sum())
    return WeightReport(
        name=name,
        shape=data.shape,
        dtype=data.dtype.name,
        scales=() if scale is None else tuple(float(step) for step in np.atleast_1d(scale)),
        zero_point=None if scale is None else zero_point,
        values=data.size,
        zeros=zeros,
        sparsity=zeros / data.size if data.size else 0.0,
        distinct_levels=len(np.unique(data)),
        bytes=data.nbytes,
        entropy_bits=entropy_bits(data) if data.size else 0.0,
    )
