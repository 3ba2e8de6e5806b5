"""Compression in a training loop of one's own: no recipe, no fit loop of ours.

python -m examples.own_loop.own_loop build/own_loop
"""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

from examples.digits import digits
from exporter import InputSpec, Levels, Plan, Ramp, prepare_qat
from exporter.compress import compress

SPEC = InputSpec((1, 1, 28, 28), "uint8", mean=(0.1307,), std=(0.3081,))


def main(directory: str, steps: int = 600) -> dict[str, float]:
    """Train, prune, share, quantize; write the files; return what was estimated and came of it."""
    torch.manual_seed(0)
    model = digits.resnet8()
    loader = DataLoader(digits.train(), batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    ramps = (Ramp(0.8, steps // 4), Ramp(0.9, steps // 4))
    plan = Plan(ramps, exempt=("conv1",), levels=Levels(begin=3 * steps // 4))
    compressor = compress(model, plan, to_model=SPEC.to_model)
    while compressor.steps_done < steps:
        for frames, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(SPEC.to_model(frames)), labels).backward()
            optimizer.step()
            compressor.step(optimizer)
        print(f"{compressor.sparsity():.1%} zeros, {compressor.coded_bytes():,.0f} bytes")
    estimated, sparsity = compressor.coded_bytes(), compressor.sparsity()
    grids = compressor.finish(loader)
    frames = [batch for batch, _ in loader][:8]
    shipped = prepare_qat(model.eval(), SPEC, frames, grids=grids).finish(directory, "own_loop")
    package = shipped.files["int8.tflite.ewp"].stat().st_size
    return {"sparsity": sparsity, "estimated_bytes": estimated, "package_bytes": float(package)}


if __name__ == "__main__":
    print(main(*sys.argv[1:2] or ["build/own_loop"]))
