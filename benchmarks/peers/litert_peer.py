"""litert-torch and ai-edge-quantizer: `litert_peer.py NETWORK SMALL FOLDER`.

Reads FOLDER/weights.pt and FOLDER/normalised.npy, writes FOLDER/litert.tflite. Runs in the peers'
environment (litert.txt); of this project it imports the example networks alone.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import torch


def main(network: str, small: bool, folder: Path) -> None:
    """Convert to a float .tflite, calibrate it, quantize it: int8 weights and activations."""
    zoo = importlib.import_module("examples.models").ZOO
    module = zoo[network].make(small=small)
    module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    samples = np.load(folder / "normalised.npy")
    litert_torch = importlib.import_module("litert_torch")
    quantizer = importlib.import_module("ai_edge_quantizer.quantizer")
    recipe = importlib.import_module("ai_edge_quantizer.recipe")
    real = folder / "litert_float.tflite"
    litert_torch.convert(module.eval(), (torch.from_numpy(samples[:1]),)).export(str(real))
    work = quantizer.Quantizer(str(real), recipe.static_wi8_ai8())
    data = {"serving_default": [{"args_0": sample[None]} for sample in samples]}
    work.quantize(work.calibrate(data)).export_model(folder / "litert.tflite", overwrite=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "small", Path(sys.argv[3]))
