"""Operators that join, cut, repeat or pad values without changing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.layout import shape_of
from exporter.tflite.registry import lowers

LAST = 2**31 - 1


@lowers("Concat")
def concat(lowering: Lowering, operator: Operator) -> None:
    """Lower a concatenation of values that share one scale."""
    result = lowering.result(operator)
    sources = [lowering.source(operator, index) for index in range(len(operator.inputs))]
    lowering.writer.operator(
        "CONCATENATION",
        [lowering.operand(source, result) for source in sources],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        axis=lowering.axis(result, int(operator.attributes["axis"])),
        fusedActivationFunction="NONE",
    )


@lowers("Slice")
def cut(lowering: Lowering, operator: Operator) -> None:
    """Lower x[start:end:step] with constant limits along any axes."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    rank = len(source.shape)
    starts, ends, steps = [0] * rank, list(source.shape), [1] * rank
    given = [lowering.constant_of(operator, i, "limits").tolist() for i in (1, 2)]
    count = len(given[0])
    axes = _optional(lowering, operator, 3, list(range(count)))
    strides = _optional(lowering, operator, 4, [1] * count)
    for start, end, axis, step in zip(*given, axes, strides, strict=True):
        size = source.shape[axis % rank]
        if step < 1:
            raise lowering.refuse(operator, "it goes backwards", "flip outside of the model")
        starts[axis % rank] = min(max(start + size if start < 0 else start, 0), size)
        ends[axis % rank] = min(max(end + size if end < 0 else end, 0), size)
        steps[axis % rank] = step
    image = lowering.is_image(source)
    begin, stop, step_by = (shape_of(values, image=image) for values in (starts, ends, steps))
    name = operator.name
    if all(step == 1 for step in step_by):
        size_of = [last - first for first, last in zip(begin, stop, strict=True)]
        inputs = [
            lowering.integers(f"{name}_begin", begin),
            lowering.integers(f"{name}_size", lowering.sizes(size_of)),
        ]
        _slice(lowering, source, result, inputs)
        return
    limits = [("begin", begin), ("end", stop), ("strides", step_by)]
    inputs = [lowering.integers(f"{name}_{key}", values) for key, values in limits]
    lowering.writer.operator(
        "STRIDED_SLICE",
        [lowering.index(source), *inputs],
        [lowering.index(result)],
        version=2 if source.dtype == np.int8 else 1,
        beginMask=int(lowering.open_batch),
        endMask=int(lowering.open_batch),
    )


def _slice(lowering: Lowering, source: Tensor, result: Tensor, limits: list[int]) -> None:
    """One SLICE; its kernel holds a result of another batch for a mistake unless told of it."""
    index = lowering.index(result)
    version = 2 if source.dtype == np.int8 else 1
    lowering.writer.operator("SLICE", [lowering.index(source), *limits], [index], version=version)
    if lowering.open_batch:
        lowering.writer.leave_batch_open(index)


def _optional(lowering: Lowering, operator: Operator, index: int, default: list[int]) -> list[int]:
    if len(operator.inputs) <= index or not operator.inputs[index]:
        return default
    values: list[int] = lowering.constant_of(operator, index, "axes or steps").tolist()
    return values


@lowers("Split")
def split(lowering: Lowering, operator: Operator) -> None:
    """Lower a split into parts as one SLICE for each part that is used."""
    source = lowering.source(operator, 0)
    axis = int(operator.attributes.get("axis", 0)) % len(source.shape)
    start = 0
    for index, name in enumerate(operator.outputs):
        if not name:
            raise lowering.refuse(operator, "one of its parts is not used", "slice instead")
        part = lowering.result(operator, index)
        begin = [0] * len(source.shape)
        begin[axis] = start
        image = lowering.is_image(source)
        inputs = [
            lowering.integers(f"{name}_begin", shape_of(begin, image=image)),
            lowering.integers(f"{name}_size", lowering.sizes(shape_of(part.shape, image=image))),
        ]
        _slice(lowering, source, part, inputs)
        start += part.shape[axis]


@lowers("Gather")
def gather(lowering: Lowering, operator: Operator) -> None:
    """Lower the choice of constant positions along one axis."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    positions = lowering.constant_of(operator, 1, "list of positions")
    if positions.ndim != 1:
        raise lowering.refuse(operator, "it drops or adds an axis", "choose with a list")
    axis = int(operator.attributes.get("axis", 0))
    size = source.shape[axis]
    lowering.writer.operator(
        "GATHER",
        [
            lowering.index(source),
            lowering.integers(f"{operator.name}_positions", positions % size),
        ],
        [lowering.index(result)],
        version=2 if source.dtype == np.int8 else 1,
        axis=lowering.axis(source, axis),
    )


@lowers("Expand")
def expand(lowering: Lowering, operator: Operator) -> None:
    """Lower a repetition along axes of size one."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if len(source.shape) != len(result.shape):
        raise lowering.refuse(operator, "it adds an axis", "reshape first")
    times = [wide // narrow for wide, narrow in zip(result.shape, source.shape, strict=True)]
    _tile(lowering, operator, times)


@lowers("Tile")
def tile(lowering: Lowering, operator: Operator) -> None:
    """Lower a repetition."""
    _tile(lowering, operator, lowering.constant_of(operator, 1, "number of times").tolist())


def _tile(lowering: Lowering, operator: Operator, times: Sequence[int]) -> None:
    """One CONCATENATION for each axis that is repeated: TILE has no int8 kernel everywhere."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    index, shape = lowering.index(source), list(source.shape)
    axes = [axis for axis, count in enumerate(times) if count != 1]
    if not axes:
        lowering.alias(result, index)
        return
    for position, axis in enumerate(axes):
        shape[axis] *= times[axis]
        if position == len(axes) - 1:
            target = lowering.index(result)
        else:
            stored = shape_of(shape, image=lowering.is_image(result))
            target = lowering.like(result, f"{operator.name}_axis{axis}", stored)
        lowering.writer.operator(
            "CONCATENATION",
            [index] * times[axis],
            [target],
            version=2 if result.quantization is not None else 1,
            axis=lowering.axis(result, axis),
            fusedActivationFunction="NONE",
        )
        index = target


@lowers("Pad")
def pad(lowering: Lowering, operator: Operator) -> None:
    """Lower padding with a constant, or by reflection."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    rank = len(source.shape)
    given = lowering.constant_of(operator, 1, "amount").tolist()
    axes = [a % rank for a in _optional(lowering, operator, 3, list(range(rank)))]
    amounts = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        amounts[axis] = (given[position], given[position + len(axes)])
    if min(min(pair) for pair in amounts) < 0:
        raise lowering.refuse(operator, "it crops", "slice instead")
    if lowering.is_image(source):
        amounts = [amounts[axis] for axis in (0, 2, 3, 1)]
    table = lowering.integers(f"{operator.name}_amounts", amounts)
    index = lowering.index(source)
    mode = operator.attributes.get("mode", "constant")
    version = 2 if source.dtype == np.int8 else 1
    if mode == "reflect":
        lowering.writer.operator(
            "MIRROR_PAD",
            [index, table],
            [lowering.index(result)],
            version=version,
            mode="REFLECT",
        )
        return
    if mode != "constant":
        raise lowering.refuse(operator, f"its mode is {mode}", "use constant or reflect")
    value = _pad_value(lowering, operator, source)
    lowering.writer.operator(
        "PADV2", [index, table, value], [lowering.index(result)], version=version
    )


def _pad_value(lowering: Lowering, operator: Operator, source: Tensor) -> int:
    """The constant to pad with, in the source's own integers."""
    given = len(operator.inputs) > 2 and operator.inputs[2]
    real = float(lowering.constant_of(operator, 2, "value").reshape(())) if given else 0.0
    name = f"{operator.name}_value"
    if source.quantization is None:
        return lowering.number(name, [real])
    steps = round(real / float(source.quantization.scale)) + source.quantization.zero_point
    kind = np.iinfo(source.dtype)
    data = np.array([min(max(steps, kind.min), kind.max)], source.dtype)
    return lowering.constant(Tensor(name, (1,), source.dtype, source.quantization), data)
