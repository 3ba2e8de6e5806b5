"""The workstation: PyTorch or ONNX in, shippable files out.

What is public is imported when it is first asked for: `import exporter` alone is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.compress import Compressor, Levels, Plan, Ramp
    from exporter.inputs import InputSpec
    from exporter.pipeline import Built, run_recipe
    from exporter.pt2e import export_quantized
    from exporter.quantize.quantize import Calibration
    from exporter.quantize.user_loop import Qat, Shipped, prepare_qat
    from exporter.recipe import Recipe, load_recipe

_HOMES = {
    "Built": "exporter.pipeline",
    "Calibration": "exporter.quantize.quantize",
    "Compressor": "exporter.compress",
    "InputSpec": "exporter.inputs",
    "Levels": "exporter.compress",
    "Plan": "exporter.compress",
    "Qat": "exporter.quantize.user_loop",
    "Ramp": "exporter.compress",
    "Recipe": "exporter.recipe",
    "Shipped": "exporter.quantize.user_loop",
    "export_quantized": "exporter.pt2e",
    "load_recipe": "exporter.recipe",
    "prepare_qat": "exporter.quantize.user_loop",
    "run_recipe": "exporter.pipeline",
}

__all__ = [
    "Built",
    "Calibration",
    "Compressor",
    "InputSpec",
    "Levels",
    "Plan",
    "Qat",
    "Ramp",
    "Recipe",
    "Shipped",
    "export_quantized",
    "load_recipe",
    "prepare_qat",
    "run_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'exporter' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
