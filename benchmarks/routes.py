"""Routes from a module of the zoo to int8 files: this project's and its peers', each measured.

Every route gets the same weights and the same frames to calibrate with (min/max everywhere), and
runs in a process of its own on one thread. Peers that start from ONNX have torch.onnx.export's cost
added. A route that fails gives its reason instead of a file.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks import zoo
from benchmarks.environments import python_of
from benchmarks.process import CommandError, Cost, measure
from benchmarks.results import ROOT
from benchmarks.zoo import MEAN, STD

if TYPE_CHECKING:
    from examples.models.entry import Entry

CALIBRATION: Final = 32
JUDGING: Final = 32
TIMEOUT_S: Final = 900.0
PEERS: Final = ROOT / "benchmarks" / "peers"
OURS: Final = "edgewright"
PLAIN: Final = "edgewright, exact = false"
ORT: Final = "ORT quantize_static"
LITERT: Final = "litert-torch + ai-edge-quantizer"
ONNX2TF: Final = "onnx2tf"
ROUTES: Final = (OURS, PLAIN, ORT, LITERT, ONNX2TF)


@dataclass(frozen=True)
class Made:
    """What a route made: its files, what it cost, or why there is nothing."""

    route: str
    files: tuple[Path, ...]
    cpu_s: float | None
    peak_bytes: int | None
    failure: str = ""


@dataclass(frozen=True)
class Bench:
    """A network with its weights, frames and float answers, in a folder that all routes share.

    Attributes:
        frames: to judge with, uint8 [N, H, W, C].
        real: outputs of the float network on them, one array each.
    """

    network: str
    small: bool
    folder: Path
    frames: np.ndarray
    real: tuple[np.ndarray, ...]


def prepare(network: str, entry: Entry, folder: Path, *, small: bool) -> Bench:
    """Write the weights and the calibration frames, and answer the judging ones in float."""
    import torch

    module = entry.settled(small=small, count=8)
    torch.save(module.state_dict(), folder / "weights.pt")
    frames = zoo.frames(network, CALIBRATION + JUDGING, small=small).numpy()
    real = reals(frames)
    np.save(folder / "frames.npy", frames[:CALIBRATION])
    np.save(folder / "normalised.npy", np.ascontiguousarray(real[:CALIBRATION]))
    np.save(folder / "nhwc.npy", real[:CALIBRATION].transpose(0, 2, 3, 1).copy())
    with torch.no_grad():
        answers = [module(torch.from_numpy(sample[None])) for sample in real[CALIBRATION:]]
    lists = [list(a) if isinstance(a, (tuple, list)) else [a] for a in answers]
    outputs = tuple(torch.cat(parts).numpy() for parts in zip(*lists, strict=True))
    return Bench(network, small, folder, frames[CALIBRATION:], outputs)


def reals(frames: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] as the float network takes them, float32 [N, C, H, W]."""
    scaled = (frames.astype(np.float32) / 255 - MEAN[0]) / STD[0]
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2).astype(np.float32))


def make(bench: Bench, route: str, exported: Cost | None) -> Made:
    """Run one route.

    Args:
        bench: the network.
        route: of `ROUTES`.
        exported: what `export_fp32` cost, for routes that start from its file.
    """
    folder = bench.folder
    if route in (OURS, PLAIN):
        name = "ours" if route == OURS else "plain"
        argv = _child("ours", bench, name, str(route == OURS))
        return _run(route, [sys.executable, *argv], (f"{name}.tflite", f"{name}.onnx"), folder)
    packages = {ORT: "ptq", LITERT: "litert", ONNX2TF: "onnx2tf"}[route]
    python = python_of(packages)
    if python is None:
        return Made(route, (), None, None, f"its environment ({packages}.txt) is not here")
    if route == LITERT:
        size = "small" if bench.small else "whole"
        argv = [str(PEERS / "litert_peer.py"), bench.network, size, str(folder)]
        return _run(route, [str(python), *argv], ("litert.tflite",), folder)
    source = str(folder / "fp32.onnx")
    if exported is None:
        return Made(route, (), None, None, "torch.onnx.export made no file")
    if route == ORT:
        script, samples, target = "ptq_peer.py", folder / "normalised.npy", "ort.onnx"
        argv = [str(PEERS / script), "ort_minmax", source, str(samples), str(folder / target)]
    else:
        target = "onnx2tf.tflite"
        argv = [str(PEERS / "onnx2tf_peer.py"), source, "input", str(folder / "nhwc.npy")]
        argv += [str(folder / "onnx2tf"), str(folder / target)]
    return _run(route, [str(python), *argv], (target,), folder, exported)


def export_fp32(bench: Bench) -> Cost | None:
    """What torch.onnx.export costs, in a process of its own; None if it fails."""
    argv = [sys.executable, *_child("fp32", bench, "fp32", "")]
    try:
        return measure(argv, timeout_s=TIMEOUT_S, env=environment())
    except CommandError as error:
        print(error, file=sys.stderr)
        return None


def _child(what: str, bench: Bench, name: str, exact: str) -> list[str]:
    words = (what, bench.network, "small" if bench.small else "", str(bench.folder), name, exact)
    return ["-c", "import sys; from benchmarks.routes import child; child(*sys.argv[1:])", *words]


def _run(
    route: str, argv: list[str], targets: tuple[str, ...], folder: Path, before: Cost | None = None
) -> Made:
    try:
        cost = measure(argv, timeout_s=TIMEOUT_S, env=environment())
    except CommandError as error:
        return Made(route, (), None, None, reason_of(error))
    missing = [target for target in targets if not (folder / target).is_file()]
    if missing:
        return Made(route, (), None, None, f"it ended well, but made no {', '.join(missing)}")
    cpu_s, peak = cost.cpu_s, cost.peak_rss_bytes
    if before is not None:
        cpu_s, peak = cpu_s + before.cpu_s, max(peak, before.peak_rss_bytes)
    return Made(route, tuple(folder / target for target in targets), cpu_s, peak)


def reason_of(error: CommandError) -> str:
    """The last line that names an error, on one line and not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error" in line]
    return (named or lines)[-1][:160]


def environment() -> dict[str, str]:
    """This process's, on one thread, with modules found in the project."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _module(network: str, small: bool, folder: Path) -> Any:
    import torch

    from examples.models import ZOO

    module = ZOO[network].make(small=small)
    module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return module.eval()


def _fp32(network: str, small: bool, folder: Path) -> None:
    import torch

    from examples.models import ZOO

    entry = ZOO[network]
    example = entry.example(1, small=small)
    torch.onnx.export(
        _module(network, small, folder),
        (example,),
        str(folder / "fp32.onnx"),
        dynamo=True,
        input_names=["input"],
        opset_version=17,
        external_data=False,
        verbose=False,
    )


def _ours(network: str, small: bool, folder: Path, name: str, exact: bool) -> None:
    import onnx_ir as ir
    import torch

    from exporter.graph.canonical import canonicalise
    from exporter.inputs import InputSpec
    from exporter.onnx_export import to_onnx
    from exporter.ort import qdq
    from exporter.quantize.finish import finish
    from exporter.quantize.quantize import Calibration, prepare_module
    from exporter.tflite import lower

    images = torch.from_numpy(np.load(folder / "frames.npy"))
    shape = (1, images.shape[3], images.shape[1], images.shape[2])
    spec = InputSpec(shape, "uint8", mean=MEAN, std=STD)
    module = _module(network, small, folder)
    calibration = Calibration(pair_channels=True)  # what a recipe has by default
    batches = list(torch.split(images, 8))
    prepared = prepare_module(module, spec, batches, exact=exact, calibration=calibration)
    finished, _ = finish(prepared.graph_module)
    model = to_onnx(finished, torch.zeros((2, *shape[1:])), "network")
    graph = canonicalise(model, dtype=spec.dtype, integer_outputs=True)
    (folder / f"{name}.tflite").write_bytes(lower(graph))
    ir.save(model, folder / f"{name}.qdq.onnx", format="protobuf")
    ir.save(qdq.lower(model), folder / f"{name}.onnx", format="protobuf")


def child(what: str, network: str, size: str, where: str, name: str, exact: str) -> None:
    """What a process of its own does: torch.onnx.export ("fp32"), or this project's route."""
    if what == "fp32":
        _fp32(network, bool(size), Path(where))
    else:
        _ours(network, bool(size), Path(where), name, exact == "True")
