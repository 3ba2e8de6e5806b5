"""What a training step costs with compression in it, against a plain fp32 step.

Phase A reads every weight through its levels and sets pruned weights to zero behind each step;
phase B rounds activations as well, on the captured graph. Steps of all three take turns on one
thread and are counted in processor seconds, so that other work on the machine matters little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from benchmarks.paired import interleaved, timed
from benchmarks.results import ROOT, Value, arguments, publish

if TYPE_CHECKING:
    from torch import nn

ROUNDS: Final = 25
QUICK_ROUNDS: Final = 5
BATCH: Final = 16
SIZE: Final = 64
LIMITS: Final = {"A: pruning and levels": 1.2, "B: weights and activations": 1.8}
PLAIN: Final = "fp32"

Row = dict[str, Value]


def main() -> None:
    """Time the steps; print and write the table."""
    options = arguments(__doc__).parse_args()
    publish("qat_cost", measure(QUICK_ROUNDS if options.quick else ROUNDS), options)


def measure(rounds: int) -> list[Row]:
    """One row for each kind of step."""
    import torch

    torch.set_num_threads(1)
    steps = {
        PLAIN: _step_of(_network()),
        "A: pruning and levels": _phase_a(_network()),
        "B: weights and activations": _step_of(_phase_b(_network())),
    }
    clocked = {name: timed(step, time.process_time) for name, step in steps.items()}
    found = interleaved(clocked, rounds, warmup=2)
    rows: list[Row] = []
    for name in steps:
        ratio = found.ratio(name, PLAIN)
        rows.append(
            {
                "network": f"ResNet-18 at {SIZE}x{SIZE}, batch {BATCH}",
                "step": name,
                "cpu_s": found.median(name),
                "ratio": ratio.value,
                "low_ratio": ratio.low,
                "high_ratio": ratio.high,
                "limit_ratio": LIMITS.get(name),
            }
        )
    return rows


def _network() -> nn.Module:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from examples.models import ZOO

    return ZOO["resnet18"].make().train()


def _step_of(module: nn.Module, after: Callable[[], Any] = lambda: None) -> Callable[[], None]:
    """One step of SGD on a fixed batch."""
    import torch

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn((BATCH, 3, SIZE, SIZE), generator=generator)
    targets = torch.randint(0, 1000, (BATCH,), generator=generator)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 1e-4, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss: Any = torch.nn.functional.cross_entropy(module(inputs), targets)
        loss.backward()
        optimizer.step()
        after()

    return step


def _phase_a(module: nn.Module) -> Callable[[], None]:
    from exporter.compress import compress

    compressor = compress(module)
    compressor.prune(0.9)
    compressor.share()
    return _step_of(module, compressor.step)


def _phase_b(module: nn.Module) -> nn.Module:
    import torch

    from exporter.inputs import InputSpec
    from exporter.quantize.quantize import prepare_module

    spec = InputSpec((1, 3, SIZE, SIZE), "float32")
    samples = torch.randn((8, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1))
    return prepare_module(module.eval(), spec, [samples]).graph_module


if __name__ == "__main__":
    main()
