"""NCHW to NHWC, decided once: shapes, axes and constants of images in TFLite's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.graph.layout import NHWC_OF_NCHW

__all__ = ["NHWC_OF_NCHW", "axis_of", "broadcastable", "same_padding", "shape_of"]


def shape_of(shape: Sequence[int], *, image: bool) -> tuple[int, ...]:
    """The shape in TFLite's order."""
    return tuple(shape[axis] for axis in NHWC_OF_NCHW) if image else tuple(shape)


def axis_of(axis: int, rank: int, *, image: bool) -> int:
    """Where an ONNX axis lies in TFLite's order."""
    axis %= rank
    return NHWC_OF_NCHW.index(axis) if image else axis


def broadcastable(data: np.ndarray, *, image: bool) -> np.ndarray:
    """A constant that broadcasts against a value, in TFLite's order."""
    if not image or data.ndim == 0:
        return data
    return data.reshape((1,) * (4 - data.ndim) + data.shape).transpose(NHWC_OF_NCHW)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What padding "SAME" adds before and after an axis of `size` values (TensorFlow's rule)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
