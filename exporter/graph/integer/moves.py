"""Operators that move, join, cut or repeat values; and resizing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exporter.graph.integer.executor import Operands, executes
from exporter.graph.model import Array


@executes("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(operands: Operands) -> Array:
    """The same values in another shape; the first axis takes what the batch makes of it."""
    return operands.array(0).reshape(-1, *operands.result.shape[1:])


@executes("Transpose")
def transpose(operands: Operands) -> Array:
    """The axes in another order."""
    x = operands.array(0)
    return x.transpose(operands.numbers("perm", range(x.ndim)[::-1]))


@executes("Concat")
def concat(operands: Operands) -> Array:
    """Values side by side."""
    arrays = [operands.array(index) for index in range(len(operands.arrays))]
    return np.concatenate(arrays, axis=int(operands.operator.attributes["axis"]))


@executes("Slice")
def cut(operands: Operands) -> Array:
    """x[start:end:step] along some axes."""
    x = operands.array(0)
    starts, ends = operands.constant(1, "starts", None), operands.constant(2, "ends", None)
    axes = operands.constant(3, "axes", list(range(len(starts))))
    steps = operands.constant(4, "steps", [1] * len(starts))
    limits = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        limits[axis] = slice(start, end, step)
    return x[tuple(limits)]


@executes("Split")
def split(operands: Operands) -> tuple[Array, ...]:
    """Parts along an axis: of the sizes given, or equal ones, the last the smallest."""
    x, count = operands.array(0), len(operands.operator.outputs)
    axis = int(operands.operator.attributes.get("axis", 0))
    equal = [-(-x.shape[axis] // count)] * (count - 1)
    equal.append(x.shape[axis] - sum(equal))
    sizes = operands.constant(1, "split", equal)
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


@executes("Gather")
def gather(operands: Operands) -> Array:
    """Constant positions along an axis."""
    axis = int(operands.operator.attributes.get("axis", 0))
    return np.take(operands.array(0), operands.array(1), axis=axis)


@executes("Expand")
def expand(operands: Operands) -> Array:
    """Axes of size one repeated."""
    x = operands.array(0)
    return np.broadcast_to(x, (len(x), *operands.result.shape[1:]))


@executes("Tile")
def tile(operands: Operands) -> Array:
    """Axes repeated."""
    return np.tile(operands.array(0), operands.constant(1, "repeats", None))


@executes("Pad")
def pad(operands: Operands) -> Array:
    """Margins of a constant, or a reflection."""
    x = operands.array(0)
    amounts = operands.constant(1, "pads", None)
    axes = operands.constant(3, "axes", list(range(x.ndim)))
    margins = [(0, 0)] * x.ndim
    for position, axis in enumerate(axes):
        margins[axis] = (amounts[position], amounts[position + len(axes)])
    if operands.attribute("mode", "constant") == "reflect":
        return np.pad(x, margins, mode="reflect")
    given = len(operands.arrays) > 2 and operands.arrays[2] is not None
    value = operands.real(2).reshape(()) if given else np.zeros(())
    return np.pad(x, margins, constant_values=operands.quantized(value))


@executes("DepthToSpace")
def depth_to_space(operands: Operands) -> Array:
    """Blocks of channels to pixels."""
    x, block = operands.array(0), int(operands.operator.attributes["blocksize"])
    batch, channels, height, width = x.shape
    last = channels // block**2
    if operands.attribute("mode", "DCR") == "CRD":
        apart = x.reshape(batch, last, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    else:
        apart = x.reshape(batch, block, block, last, height, width).transpose(0, 3, 4, 1, 5, 2)
    return apart.reshape(batch, last, height * block, width * block)


@executes("SpaceToDepth")
def space_to_depth(operands: Operands) -> Array:
    """Blocks of pixels to channels: [block row, block column, channel]."""
    x, block = operands.array(0), int(operands.operator.attributes["blocksize"])
    batch, channels, height, width = x.shape
    apart = x.reshape(batch, channels, height // block, block, width // block, block)
    together = apart.transpose(0, 3, 5, 1, 2, 4)
    return together.reshape(batch, channels * block**2, height // block, width // block)


@executes("Resize")
def resize(operands: Operands) -> Array:
    """Height and width resized: nearest, or linear along each axis."""
    linear = operands.attribute("mode", "nearest") == "linear"
    x = operands.real(0) if linear else operands.array(0)
    for axis in (2, 3):
        positions = _positions(operands, x.shape[axis], operands.result.shape[axis])
        x = _linear(x, positions, axis) if linear else _nearest(operands, x, positions, axis)
    return operands.quantized(x) if linear else x


def _positions(operands: Operands, have: int, want: int) -> Array:
    """Where each result lies among the sources, float64 [want]."""
    places = np.arange(want, dtype=np.float64)
    mode = operands.attribute("coordinate_transformation_mode", "half_pixel")
    if mode == "align_corners":
        return places * ((have - 1) / max(want - 1, 1))
    if mode == "asymmetric":
        return places * (have / want)
    return (places + 0.5) * (have / want) - 0.5


def _nearest(operands: Operands, x: Array, positions: Array, axis: int) -> Array:
    rounding: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    mode = str(operands.attribute("nearest_mode", "round_prefer_floor"))
    chosen = np.clip(rounding[mode](positions), 0, x.shape[axis] - 1).astype(int)
    taken: Array = np.take(x, chosen, axis=axis)
    return taken


def _linear(x: Array, positions: Array, axis: int) -> Array:
    inside = np.clip(positions, 0, x.shape[axis] - 1)
    low = np.floor(inside).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    share = (inside - low).reshape(shape)
    mixed: Array = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return mixed
