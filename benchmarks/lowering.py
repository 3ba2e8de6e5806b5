"""Lowering to TFLite: processor seconds from the canonical ONNX file to the bytes of the .tflite.

Networks are untrained, their scales calibrated on random frames: neither changes the work. Reading
the ONNX file is part of the time; exporting it from PyTorch is not (benchmarks/export.py has that).
Nothing here runs on more than one thread, so processor seconds are what an idle machine takes.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.paired import interleaved, timed
from benchmarks.results import ROOT, Value, arguments, publish

if TYPE_CHECKING:
    from torch import nn

ROUNDS: Final = 15
QUICK_ROUNDS: Final = 3
CALIBRATION_FRAMES: Final = 4

Row = dict[str, Value]


@dataclass(frozen=True)
class Network:
    """A network to lower: where its module is imported from, its factory, input and limit."""

    name: str
    folder: Path
    factory: str
    shape: tuple[int, int, int, int]
    limit_s: float


NETWORKS: Final = (
    Network("ResNet-8", ROOT / "examples" / "digits", "digits:resnet8", (1, 1, 28, 28), 0.1),
    Network("ResNet-50", ROOT, "examples.models:resnet50", (1, 3, 224, 224), 1.0),
)


def main() -> None:
    """Lower every network that is here; print and write the table."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        rows = measure(Path(folder), QUICK_ROUNDS if options.quick else ROUNDS)
    publish("lowering", rows, options)


def measure(folder: Path, rounds: int) -> list[Row]:
    """One row a network; the networks take turns."""
    from exporter.graph.read import read_file

    paths: dict[str, Path] = {}
    networks = {network.name: network for network in NETWORKS}
    for network in NETWORKS:
        factory = factory_of(network)
        if factory is not None:
            paths[network.name] = folder / f"{network.name}.qdq.onnx"
            write_canonical(factory(), network.shape, paths[network.name])
    calls = {name: partial(_lower, path) for name, path in paths.items()}
    measured = interleaved(
        {name: timed(call, time.process_time) for name, call in calls.items()}, rounds
    )
    return [
        {
            "network": name,
            "operators": len(read_file(path).operators),
            "onnx_bytes": path.stat().st_size,
            "file_bytes": len(calls[name]()),
            "cpu_s": measured.median(name),
            "worst_cpu_s": max(measured.values[name]),
            "limit_s": networks[name].limit_s,
        }
        for name, path in paths.items()
    ]


def _lower(path: Path) -> bytes:
    from exporter.graph.read import read_file
    from exporter.tflite import lower

    return lower(read_file(path))


def factory_of(network: Network) -> Callable[[], nn.Module] | None:
    """What makes the network's module; None, with a line on stderr, where it is not here."""
    module, _, name = network.factory.partition(":")
    if str(network.folder) not in sys.path:
        sys.path.insert(0, str(network.folder))
    try:
        factory: Callable[[], nn.Module] = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        print(
            f"SKIPPED {network.name}: {network.factory} cannot be imported: {error}",
            file=sys.stderr,
        )
        return None
    return factory


def write_canonical(module: nn.Module, shape: tuple[int, int, int, int], path: Path) -> None:
    """Quantize a module on random frames and write its canonical QDQ ONNX."""
    import onnx_ir as ir
    import torch

    from exporter.graph.canonical import canonicalise
    from exporter.inputs import InputSpec
    from exporter.onnx_export import to_onnx
    from exporter.quantize.finish import finish
    from exporter.quantize.quantize import prepare_module

    _, channels, height, width = shape
    spec = InputSpec(shape, "uint8", (0.5,) * channels, (0.25,) * channels)
    generator = torch.Generator().manual_seed(0)
    size = (CALIBRATION_FRAMES, height, width, channels)
    frames = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    graph_module, _ = finish(prepare_module(module.eval(), spec, [frames]).graph_module)
    model = to_onnx(graph_module, torch.zeros((2, *shape[1:])), path.stem.partition(".")[0])
    canonicalise(model, dtype="uint8", integer_outputs=True)
    ir.save(model, path, format="protobuf")


if __name__ == "__main__":
    main()
