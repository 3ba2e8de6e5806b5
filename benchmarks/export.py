"""Export of every example network: whether both int8 files give one answer, and what it cost.

Networks have random weights made lively (`examples.models.settle`); frames are random pictures,
half of them to calibrate with. With --quick, the narrow variants that the tests use. Differing
values are those of the .onnx in ONNX Runtime against the .tflite in LiteRT with XNNPACK.
`agreement` is how often a file's largest output is that of the canonical graph, which the integer
reference executes: the least of all outputs of both files. Results are written after every network,
so a run that was cut short has fewer rows.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.results import Value, arguments, publish
from benchmarks.zoo import MEAN, STD, frames

if TYPE_CHECKING:
    from examples.models.entry import Entry
    from exporter.build import CheckResult
    from exporter.graph.model import Graph

FRAMES: Final = 32
UNSIGNED_SHIFT: Final = 128
Row = dict[str, Value]


def main() -> None:
    """Export each network; print and write the table."""
    from examples.models import ZOO

    options = arguments(__doc__).parse_args()
    rows = []
    for name, entry in ZOO.items():
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            rows.append(measure(name, entry, Path(folder), small=options.quick))
        publish("export", rows, options)


def measure(name: str, entry: Entry, folder: Path, *, small: bool) -> Row:
    """One network, from its module to the comparison of its files."""
    from exporter.graph.islands import islands

    module = entry.settled(small=small, count=8 if not small else FRAMES)
    pictures = frames(name, FRAMES, small=small)
    ready = time.process_time()
    graph, tflite, onnx = _export(module, entry, pictures[: FRAMES // 2], folder, small)
    exported = time.process_time()
    checks = checks_of(graph, tflite, onnx)
    judged = pictures[FRAMES // 2 :].numpy()
    answers = [answers_of(graph, path, judged) for path in (tflite, onnx)]
    values, differing, largest = compare(*answers)
    return {
        "network": name,
        "operators": len(graph.operators),
        "float_islands": len(islands(graph)),
        "structure": all(check.passed for check in checks),
        "failed": "; ".join(check.detail for check in checks if not check.passed),
        "values": values,
        "differing": differing,
        "max_lsb": largest,
        "agreement": agreement_of(graph, answers, judged),
        "file_bytes": tflite.stat().st_size,
        "cpu_s": exported - ready,
    }


def _export(
    module: Any, entry: Entry, frames: Any, folder: Path, small: bool
) -> tuple[Graph, Path, Path]:
    import onnx_ir as ir
    import torch

    from exporter.graph.canonical import canonicalise
    from exporter.inputs import InputSpec
    from exporter.onnx_export import to_onnx
    from exporter.ort import qdq
    from exporter.quantize.finish import finish
    from exporter.quantize.quantize import Calibration, prepare_module
    from exporter.tflite import lower

    shape = entry.small_shape if small else entry.shape
    spec = InputSpec(shape, "uint8", mean=MEAN, std=STD)
    batches = list(frames.split(8))
    calibration = Calibration(pair_channels=True)  # what a recipe has by default
    prepared = prepare_module(module, spec, batches, calibration=calibration)
    network, _ = finish(prepared.graph_module)
    model = to_onnx(network, torch.zeros((2, *shape[1:])), "network")
    graph = canonicalise(model, dtype=spec.dtype, integer_outputs=True)
    tflite, onnx = folder / "network.tflite", folder / "network.onnx"
    tflite.write_bytes(lower(graph))
    ir.save(qdq.lower(model), onnx)
    return graph, tflite, onnx


def checks_of(graph: Graph, tflite: Path, onnx: Path) -> list[CheckResult]:
    """The certificate's checks of two int8 files against their canonical graph."""
    from exporter.tflite.reader import read_tflite
    from exporter.verify import scales, structure

    file = read_tflite(tflite)
    return [
        structure.no_float_tensors(graph, file),
        structure.no_transposes(graph, file),
        structure.integer_kernels(graph, onnx),
        structure.pair_rule(graph),
        structure.requantization_ratios(graph),
        scales.compare_tflite(graph, file),
    ]


def answers_of(graph: Graph, path: Path, frames: Any) -> list[np.ndarray]:
    """An int8 file's outputs over frames, one at a time: int8 steps as int64, in ONNX order."""
    from exporter.graph.layout import image_tensors
    from runtimes.backend import open_model

    backend = open_model(path)
    outputs = []
    for frame in frames:
        backend.set_inputs([frame[None]])
        backend.invoke()
        outputs.append([array.astype(np.int64) for array in backend.get_outputs()])
    backend.close()
    arrays = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    if path.suffix == ".onnx":
        return [array - UNSIGNED_SHIFT for array in arrays]
    images = image_tensors(graph)
    return [
        array.transpose(0, 3, 1, 2) if name in images else array
        for name, array in zip(graph.outputs, arrays, strict=True)
    ]


def compare(tflite: list[np.ndarray], onnx: list[np.ndarray]) -> tuple[int, int, int]:
    """How many output values there are, how many differ, and by how much at most."""
    values = differing = largest = 0
    for one, other in zip(tflite, onnx, strict=True):
        apart = np.abs(one - other)
        values += apart.size
        differing += int(np.count_nonzero(apart))
        largest = max(largest, int(apart.max()))
    return values, differing, largest


def agreement_of(graph: Graph, files: list[list[np.ndarray]], frames: Any) -> float:
    """How often files give the largest output where the reference does: the least of all."""
    from exporter.graph import integer

    expected = integer.run(graph, [frames])
    shares = []
    for answers in files:
        for name, found in zip(graph.outputs, answers, strict=True):
            wanted = expected[name].reshape(len(found), -1).argmax(1)
            shares.append(float(np.mean(found.reshape(len(found), -1).argmax(1) == wanted)))
    return min(shares)


if __name__ == "__main__":
    main()
