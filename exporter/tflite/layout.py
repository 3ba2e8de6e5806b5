"""NCHW to NHWC, decided once.

Every rank-4 value of an ONNX graph is an image, [N, C, H, W] there and [N, H, W, C] in TFLite.
Other ranks keep their axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NHWC_OF_NCHW = (0, 2, 3, 1)


def shape_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in TFLite's order."""
    if len(shape) != 4:
        return tuple(shape)
    return tuple(shape[axis] for axis in NHWC_OF_NCHW)


def axis_of(axis: int, rank: int) -> int:
    """Where an ONNX axis lies in TFLite's order."""
    axis %= rank
    return NHWC_OF_NCHW.index(axis) if rank == 4 else axis


def broadcastable(data: np.ndarray, rank: int) -> np.ndarray:
    """A constant that broadcasts against a value of `rank` axes, in TFLite's order."""
    if rank != 4 or data.ndim == 0:
        return data
    return data.reshape((1,) * (4 - data.ndim) + data.shape).transpose(NHWC_OF_NCHW)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What padding "SAME" adds before and after an axis of `size` values (TensorFlow's rule)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
