"""What the model takes: a camera's frames as they are, or floats.

Frames are uint8 [N, H, W, C]. The network wants (frame / 255 - mean) / std as [N, C, H, W]. In the
shipped int8 file no arithmetic is left at the entrance: with one scale s and zero point z, the
graph takes r = s * (frame - z), and (frame / 255 - mean) / std = factor * r + shift is folded into
the first convolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from exporter.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from exporter.quantize.scheme import ActivationScale

Array = np.ndarray
Dtype = Literal["uint8", "int8", "float32"]

FULL_SCALE = 255.0
SIGNED_SHIFT = 128


@dataclass(frozen=True)
class InputSpec:
    """One image input.

    Attributes:
        shape: [1, C, H, W], as the network takes it.
        dtype: what the shipped file takes: uint8 or int8 frames [N, H, W, C] (int8 = uint8 - 128),
            or float32 as the network takes it.
        mean: per channel, in units of full scale (255); empty for zero.
        std: per channel, in units of full scale; empty for one.
    """

    shape: tuple[int, int, int, int]
    dtype: Dtype = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that all parts fit each other."""
        if len(self.shape) != 4 or min(self.shape) < 1 or self.shape[0] != 1:
            raise RecipeError(
                "the input's shape does not fit an image",
                expected="1xCxHxW, such as 1x3x224x224",
                found="x".join(str(size) for size in self.shape),
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, self.channels):
                raise RecipeError(
                    f"[input] {name} does not fit the shape",
                    expected="1 value, as there is 1 channel"
                    if self.channels == 1
                    else f"1 or {self.channels} values, one for each channel",
                    found=f"{len(values)} values",
                    remedy=f"give one {name} for all channels, or one for each of the shape's",
                )
        if any(not value > 0 for value in self.std):
            raise RecipeError("[input] std must be positive", found=str(list(self.std)))
        if self.dtype == "float32" and (self.mean or self.std):
            raise RecipeError(
                "[input] mean and std do not go with float32",
                expected="floats that are normalised already",
                remedy='leave them out, or take frames with dtype = "uint8"',
            )

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[1]

    @property
    def takes_frames(self) -> bool:
        """Whether the shipped file takes integers [N, H, W, C]."""
        return self.dtype != "float32"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample of the user's data set: [H, W, C] frames, or [C, H, W] floats."""
        _, channels, height, width = self.shape
        return (height, width, channels) if self.takes_frames else (channels, height, width)

    def _per_channel(self, values: tuple[float, ...], default: float) -> Array:
        array = np.asarray(values or (default,), np.float64)
        return np.broadcast_to(array, (self.channels,))

    def to_model(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples of the data set to what the network takes: float32 [N, C, H, W].

        Raises:
            RecipeError: they have another shape or type.
        """
        self.check(samples)
        if not self.takes_frames:
            return samples
        import torch

        factor, offset = self.affine()
        images = samples.permute(0, 3, 1, 2).to(torch.float32)
        device = images.device
        return images * _channels(factor).to(device) + _channels(offset).to(device)

    def to_graph(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples to what the folded graph takes: r = s * (frame - z), float32 [N, C, H, W]."""
        self.check(samples)
        scale = self.frame_scale()
        if scale is None:
            return samples
        zero_point = scale.zero_point + SIGNED_SHIFT
        return (samples.permute(0, 3, 1, 2).float() - zero_point) * scale.scale

    def check(self, samples: torch.Tensor) -> None:
        """Refuse a batch of another shape or type.

        Raises:
            RecipeError: with what was expected and found.
        """
        wanted = "torch.uint8" if self.takes_frames else "torch.float32"
        if tuple(samples.shape[1:]) != self.sample_shape or str(samples.dtype) != wanted:
            raise RecipeError(
                "the data does not fit [input]",
                expected=f"{wanted.removeprefix('torch.')} samples {list(self.sample_shape)}",
                found=f"{str(samples.dtype).removeprefix('torch.')} {list(samples.shape[1:])}",
                remedy="frames are uint8 [H, W, C]; floats are float32 [C, H, W]",
            )

    def affine(self) -> tuple[Array, Array]:
        """Factor and offset [C], float64: network input = frame * factor + offset."""
        mean, std = self._per_channel(self.mean, 0.0), self._per_channel(self.std, 1.0)
        return 1.0 / (FULL_SCALE * std), -mean / std

    def frame_scale(self) -> ActivationScale | None:
        """Scale and int8 zero point of frames, shared by all channels; None for floats."""
        if not self.takes_frames:
            return None
        from exporter.quantize.scheme import ActivationScale

        mean, std = self._per_channel(self.mean, 0.0), self._per_channel(self.std, 1.0)
        spread = math.exp(float(np.log(std).mean()))
        zero_point = round(FULL_SCALE * min(max(float(mean.mean()), 0.0), 1.0))
        return ActivationScale.of(1.0 / (FULL_SCALE * spread), zero_point - SIGNED_SHIFT)

    @property
    def frame_zero_point(self) -> int | None:
        """The zero point of the frames as the file takes them; None for floats."""
        scale = self.frame_scale()
        if scale is None:
            return None
        return scale.zero_point + (SIGNED_SHIFT if self.dtype == "uint8" else 0)

    def residual_affine(self) -> tuple[Array, Array]:
        """Factor and shift [C], float64: network input = factor * r + shift, to be folded."""
        scale = self.frame_scale()
        if scale is None:
            return np.ones(self.channels), np.zeros(self.channels)
        factor, offset = self.affine()
        return factor / scale.scale, factor * (scale.zero_point + SIGNED_SHIFT) + offset

    def golden(self, samples: torch.Tensor) -> Array:
        """Samples as golden inputs: [N, H, W, C], in the dtype that the shipped file takes."""
        self.check(samples)
        if not self.takes_frames:
            return samples.permute(0, 2, 3, 1).contiguous().numpy()
        frames: Array = samples.contiguous().numpy()
        return frames if self.dtype == "uint8" else (frames ^ np.uint8(0x80)).view(np.int8)


def _channels(values: Array) -> torch.Tensor:
    import torch

    return torch.from_numpy(values.astype(np.float32)).reshape(1, -1, 1, 1)
