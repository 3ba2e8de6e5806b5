"""Small helpers to read and edit ONNX graphs with onnx-ir."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from exporter.errors import CanonicalError

Array = np.ndarray


def constant(value: ir.Value | None) -> Array | None:
    """The array behind a constant value; None when it is computed."""
    if value is None or value.const_value is None:
        return None
    array: Array = value.const_value.numpy()
    return array


def required_constant(node: ir.Node, index: int) -> Array:
    """The constant behind a node's input.

    Raises:
        CanonicalError: the input is missing or computed.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    array = constant(value)
    if array is None:
        raise CanonicalError(
            f"{node.op_type} '{node.name}' needs a constant input {index}",
            found="a missing or computed value",
            remedy="simplify the model, so that scales, zero points and shapes are constants",
        )
    return array


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Register an initializer under a free name that starts with `name`."""
    free = name
    count = 1
    while free in graph.initializers:
        free = f"{name}_{count}"
        count += 1
    tensor = ir.tensor(np.asarray(array, order="C"), name=free)
    value = ir.Value(
        name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


ROUNDING = 1.0 + 1e-6


def clip_limits(node: ir.Node) -> tuple[float, float]:
    """The limits of a Relu or Clip; infinite where there is none, or a computed one."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = [constant(value) for value in node.inputs[1:3]]
    low = -np.inf if not bounds or bounds[0] is None else float(bounds[0])
    high = np.inf if len(bounds) < 2 or bounds[1] is None else float(bounds[1])
    return low, high


def implied_by_quantization(node: ir.Node) -> bool:
    """Whether a Relu or Clip is read by one QuantizeLinear, whose saturation has its effect."""
    saturated = _saturation(node)
    if saturated is None:
        return False
    low, high = clip_limits(node)
    return saturated[0] >= low and saturated[1] <= high * ROUNDING


def is_relu_by_quantization(node: ir.Node) -> bool:
    """Whether what a Clip does beyond a Relu is the effect of the QuantizeLinear behind it."""
    saturated = _saturation(node)
    low, high = clip_limits(node)
    return saturated is not None and low == 0.0 and saturated[1] <= high * ROUNDING


def _saturation(node: ir.Node) -> tuple[float, float] | None:
    """The smallest and largest real number of the only reader, a QuantizeLinear; else None."""
    users = [user for user, _ in node.outputs[0].uses()]
    if len(users) != 1 or users[0].op_type != "QuantizeLinear":
        return None
    scale, point = required_constant(users[0], 1), required_constant(users[0], 2)
    limits = np.iinfo(point.dtype)
    lowest = (limits.min - int(point)) * float(scale)
    return lowest, (limits.max - int(point)) * float(scale)


def insert_before(
    graph: ir.Graph,
    place: ir.Node,
    op_type: str,
    inputs: list[ir.Value],
    output: str,
    attributes: Mapping[str, object] | None = None,
) -> ir.Value:
    """Insert a node before `place`; return its only output, named `output`."""
    node = ir.node(op_type, inputs, attributes=dict(attributes or {}), name=f"{output}/{op_type}")
    node.outputs[0].name = output
    graph.insert_before(place, node)
    return node.outputs[0]


def only(values: list[ir.Value] | tuple[ir.Value, ...], what: str) -> ir.Value:
    """The single value of a list.

    Raises:
        CanonicalError: there is none, or more than one.
    """
    if len(values) != 1:
        raise CanonicalError(f"a model with one {what} is expected", found=f"{len(values)}")
    return values[0]
