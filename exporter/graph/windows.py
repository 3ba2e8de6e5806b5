"""The windows of a 2-D pooling along each axis: where they lie, and which of their places count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporter.graph.model import Array, Operator


@dataclass(frozen=True)
class Windows:
    """The windows along one axis.

    Attributes:
        size: of the input.
        kernel: places of a window.
        stride: from one window to the next.
        before: padding at the beginning.
        after: padding at the end, as far as the last window reaches.
        count: how many windows.
        counted: how many places of the padding at the end count to a mean; those at the beginning
            do if `counts_before`.
        counts_before: whether padding counts at all.
    """

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    count: int
    counted: int
    counts_before: bool

    def shares(self) -> Array:
        """Window / (places that count), float64 [count]."""
        starts = np.arange(self.count) * self.stride - self.before
        low = -self.before if self.counts_before else 0
        held = np.minimum(starts + self.kernel, self.size + self.counted) - np.maximum(starts, low)
        shares: Array = self.kernel / held
        return shares

    @property
    def is_same(self) -> bool:
        """Whether TensorFlow's padding "SAME" pads so, and leaves it out as these windows do."""
        needed = (-(-self.size // self.stride) - 1) * self.stride + self.kernel - self.size
        total = max(needed, 0)
        wanted = (total // 2, total - total // 2)
        return wanted == (self.before, self.after) and not (self.counts_before or self.counted)


def windows_of(
    operator: Operator, source: Sequence[int], result: Sequence[int]
) -> tuple[Windows, Windows]:
    """The windows along height and width of a pooling without dilation.

    Args:
        operator: with ONNX's attributes; with ceil_mode a last window may reach beyond the padding,
            and what lies there never counts.
        source: shape of its input, NCHW.
        result: shape of its output, NCHW.
    """
    attributes = operator.attributes
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    pads = attributes.get("pads", [0, 0, 0, 0])
    include = bool(attributes.get("count_include_pad", 0))

    def along(axis: int) -> Windows:
        size, count = source[2 + axis], result[2 + axis]
        reach = (count - 1) * strides[axis] + kernel[axis] - size - pads[axis]
        return Windows(
            size=size,
            kernel=kernel[axis],
            stride=strides[axis],
            before=pads[axis],
            after=max(pads[2 + axis], reach),
            count=count,
            counted=pads[2 + axis] if include else 0,
            counts_before=include and pads[axis] > 0,
        )

    return along(0), along(1)
