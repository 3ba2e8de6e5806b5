"""NAME.trained.safetensors: the integers and scales that quantization left, and what it moved.

- `integers.W`, `scale.W`: of the weight W.
- `activation_scales`, `activation_zero_points`: of the values between operators.
- `channel_factors.W`, `channel_order.W`: channel i of the output of W's layer is channel order[i]
  of what the trained network has there, times factors[order[i]]; where one is missing, nothing was
  done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.errors import ModelError
from exporter.graph.model import Array

WEIGHT_INTEGERS: Final = "integers."
WEIGHT_SCALE: Final = "scale."
CHANNEL_FACTORS: Final = "channel_factors."
CHANNEL_ORDER: Final = "channel_order."
ACTIVATION_SCALES: Final = "activation_scales"
ACTIVATION_ZERO_POINTS: Final = "activation_zero_points"


def load_trained(path: Path) -> dict[str, Array]:
    """All arrays of a checkpoint.

    Raises:
        ModelError: it is missing, damaged, or another file.
    """
    import safetensors
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Array] = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} cannot be read", found=str(error)) from None
    if not {ACTIVATION_SCALES, ACTIVATION_ZERO_POINTS} <= set(arrays):
        raise ModelError(f"{path} is no checkpoint of integers and scales")
    return arrays
