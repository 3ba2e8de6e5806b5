"""A table of measured times of single int8 layers on a device, over their widths.

`Channels(milliseconds=..., times=...)` chooses widths by it. It can be kept as JSON for as long as
the device and its interpreter stay.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn

from exporter.build import Frozen
from exporter.errors import RecipeError


class LayerShape(Frozen):
    """What the time of a layer depends on beside its channels.

    Attributes:
        kind: "conv", "depthwise", "grouped", "transposed" or "dense".
        kernel: height and width; (1, 1) for dense layers.
        stride: likewise.
        padding: likewise.
        size: height and width of its input.
        groups: of a grouped convolution; 1 for all others.
    """

    kind: Literal["conv", "depthwise", "grouped", "transposed", "dense"]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, layer: Any, x: torch.Tensor) -> LayerShape:
        """The shape of a layer that reads `x`: [N, C, H, W], or [N, ..., C] for a dense one."""
        if isinstance(layer, nn.Linear):
            return cls(kind="dense", size=(1, x[0].numel() // x.shape[-1]))
        if isinstance(layer, nn.ConvTranspose2d):
            kind: Any = "transposed"
        elif layer.groups == 1:
            kind = "conv"
        else:
            kind = "depthwise" if layer.groups == layer.in_channels else "grouped"
        padding = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
        return cls(
            kind=kind,
            kernel=layer.kernel_size,
            stride=layer.stride,
            padding=padding,
            size=tuple(x.shape[2:]),
            groups=layer.groups if kind == "grouped" else 1,
        )


class LayerTime(Frozen):
    """One measurement: the median of a file that holds this layer alone."""

    shape: LayerShape
    outputs: int
    inputs: int
    ms: float


class LayerTimes(Frozen):
    """Measured times of layers, and of the whole network that they are of.

    Attributes:
        device: what they were measured on.
        runtime: with which interpreter.
        threads: of it.
        network_ms: the whole int8 network before pruning: what has no weights takes time as well.
        rows: single layers: every shape over a grid of outputs and inputs.
    """

    schema_version: int = 1
    device: str
    runtime: str
    threads: int
    network_ms: float
    rows: tuple[LayerTime, ...]

    @cached_property
    def _by_shape(self) -> dict[LayerShape, dict[tuple[int, int], float]]:
        tables: dict[LayerShape, dict[tuple[int, int], float]] = {}
        for row in self.rows:
            tables.setdefault(row.shape, {})[row.outputs, row.inputs] = row.ms
        return tables

    def layer_ms(self, shape: LayerShape, outputs: int, inputs: int) -> float:
        """Interpolated between the four measured widths around: linear in each.

        Raises:
            RecipeError: the layer was not measured.
        """
        table = self._by_shape.get(shape)
        if table is None:
            raise RecipeError(
                "the table of layer times lacks a layer of the model",
                expected=f"times of {shape}",
                found=f"{len(self._by_shape)} other layers",
                remedy="measure that layer at two widths or more",
            )
        rows = sorted({key[0] for key in table})
        columns = sorted({key[1] for key in table})
        low_row, high_row, row = _between(rows, outputs)
        low_column, high_column, column = _between(columns, inputs)
        above = (1 - column) * table[low_row, low_column] + column * table[low_row, high_column]
        below = (1 - column) * table[high_row, low_column] + column * table[high_row, high_column]
        return max(0.0, (1 - row) * above + row * below)


def load_times(path: Path) -> LayerTimes:
    """Read a table of layer times.

    Raises:
        RecipeError: the file is missing, or holds something else.
    """
    try:
        return LayerTimes.model_validate_json(path.read_bytes())
    except OSError as error:
        found = error.strerror or str(error)
    except ValidationError as error:
        found = str(error).splitlines()[0]
    raise RecipeError(
        f"layer times {path} cannot be read",
        expected="a LayerTimes document (exporter.compress.layer_times) as JSON",
        found=found,
    )


def _between(measured: list[int], wanted: int) -> tuple[int, int, float]:
    """The measured widths around one, and how far it is from the first to the second."""
    if len(measured) == 1:
        return measured[0], measured[0], 0.0
    high = min(max(bisect_right(measured, wanted), 1), len(measured) - 1)
    low = high - 1
    return (
        measured[low],
        measured[high],
        (wanted - measured[low]) / (measured[high] - measured[low]),
    )
