"""Convolutions over few pixels as matrix products, which CPUs compute several times as fast.

oneDNN's convolution has little to share out over a map of 1 x 1 to 8 x 8 pixels, and its gradients
have less: deep layers of networks that train on small pictures. The same sums as one product of
matrices (im2col; K. Chellapilla et al., High Performance Convolutional Neural Networks for Document
Processing, 2006) halve a step of ResNet-50 at 32 x 32. Rounding differs as between two kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

POINTWISE_PIXELS: Final = 64
"""1 x 1 kernels: no pixel is copied."""
WINDOW_PIXELS: Final = 4
"""Larger kernels: each pixel is copied once for each place of the kernel."""


class SmallMaps(TorchFunctionMode):
    """While it is entered, `torch.conv2d` over few pixels is a matrix product: for CPUs."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch in place of each of its functions."""
        if func is torch.conv2d and not kwargs and len(args) == 7 and _is_small(*args):
            return _product(*args[:5])
        return func(*args, **(kwargs or {}))


def _is_small(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> bool:
    """Whether a convolution is one that a product does faster: as `nn.Conv2d` calls it."""
    pairs = all(isinstance(value, tuple) for value in (stride, padding, dilation))
    if not pairs or x.dim() != 4:
        return False
    if groups != 1 or dilation != (1, 1):
        return False
    pixels = x.shape[2] * x.shape[3]
    if weight.shape[2:] == (1, 1):
        return bool(padding == (0, 0) and pixels <= POINTWISE_PIXELS)
    return bool(pixels <= WINDOW_PIXELS)


def _product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> torch.Tensor:
    """[N, C, H, W] to [N, O, H', W']."""
    outputs, _, *kernel = weight.shape
    height, width = (
        (x.shape[2 + axis] + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1
        for axis in (0, 1)
    )
    if kernel == [1, 1]:
        columns = x[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        columns = F.unfold(x, tuple(kernel), padding=padding, stride=stride)
    rows = columns.transpose(1, 2).reshape(-1, columns.shape[1])
    product = F.linear(rows, weight.flatten(1), bias)
    return product.view(len(x), height, width, outputs).permute(0, 3, 1, 2)
