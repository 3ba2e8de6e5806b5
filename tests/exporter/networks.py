"""Small networks and the route from a module to files, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from exporter.build import replacing
from exporter.graph.canonical import canonicalise
from exporter.graph.model import Graph
from exporter.graph.read import read
from exporter.inputs import InputSpec
from exporter.onnx_export import to_onnx
from exporter.ort import qdq
from exporter.quantize.compact import coarsen_biases
from exporter.quantize.finish import Trained, finish
from exporter.quantize.fold import Grids
from exporter.quantize.quantize import Calibration, prepare_module
from exporter.tflite import lower


class Residual(nn.Module):
    """Convolutions, a shortcut, max pooling, a depthwise convolution, concat, mean and dense."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv = nn.Conv2d(16, 16, 3, 1, 1)
        self.bn = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(16)
        self.relu6 = nn.ReLU6()
        self.point = nn.Conv2d(16, 8, 1)
        self.fc = nn.Linear(24, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.stem_bn(self.stem(x))))
        x = torch.relu(self.bn(self.conv(x)) + x)
        x = self.relu6(self.depthwise_bn(self.depthwise(x)))
        x = torch.cat([x, torch.relu(self.point(x))], 1)
        return self.fc(x.mean((2, 3)))


def network(seed: int = 0) -> nn.Module:
    """An untrained network with lively batch norms, some factors negative."""
    torch.manual_seed(seed)
    module = Residual()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 0.0, 1.0)
            nn.init.normal_(layer.bias, 0.2, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.running_mean, 0.0, 0.3)
    return module.eval()


SPEC = InputSpec((1, 3, 32, 24), "uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def frames(count: int, seed: int = 1) -> torch.Tensor:
    """Random frames [count, 32, 24, 3] with structure at two scales."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 8, 6), generator=generator)
    fine = torch.rand((count, 3, 32, 24), generator=generator)
    image = 0.7 * nn.functional.interpolate(coarse, (32, 24)) + 0.3 * fine
    return (image * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def frames_like(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [N, C, H, W] of zero mean as frames [N, H, W, C], uint8."""
    frames = ((pictures * 0.25 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return frames.permute(0, 2, 3, 1).contiguous()


@dataclass
class Made:
    """A network brought all the way to files."""

    graph: Graph
    trained: Trained
    tflite: Path
    onnx: Path
    qdq: Path


def make(
    module: nn.Module,
    folder: Path,
    *,
    spec: InputSpec = SPEC,
    samples: torch.Tensor | None = None,
    integer_outputs: bool = True,
    grids: Grids | None = None,
    small_parts: bool = True,
    calibration: Calibration | None = None,
) -> Made:
    given = [frames(32) if samples is None else samples]
    options = {} if calibration is None else {"calibration": calibration}
    prepared = prepare_module(module, spec, given, grids=grids, short_scales=small_parts, **options)
    if small_parts:
        coarsen_biases(prepared.graph_module)
    graph_module, trained = finish(prepared.graph_module)
    model = to_onnx(graph_module, torch.zeros((2, *spec.shape[1:])), "net")
    graph = canonicalise(
        model,
        dtype=spec.dtype,
        integer_outputs=integer_outputs,
        kept_float=sorted(prepared.plan.float_weights),
        frame_zero_point=spec.frame_zero_point,
    )
    made = Made(graph, trained, folder / "n.tflite", folder / "n.onnx", folder / "n.qdq.onnx")
    ir.save(model, made.qdq)
    ir.save(qdq.lower(model), made.onnx)
    with replacing(made.tflite) as temporary:
        temporary.write_bytes(lower(read(model)))
    return made


def run_tflite(path: Path, inputs: np.ndarray, *, xnnpack: bool = True) -> np.ndarray:
    """The integers [N, ...] of the first output that LiteRT gives."""
    return run_tflite_all(path, inputs, xnnpack=xnnpack)[0]


def run_tflite_all(path: Path, inputs: np.ndarray, *, xnnpack: bool = True) -> list[np.ndarray]:
    """Every output, [N, ...], as LiteRT gives it: images NHWC."""
    from runtimes.backend import open_model

    backend = open_model(path, delegate="default" if xnnpack else "none")
    outputs = []
    for sample in inputs:
        backend.set_inputs([sample[None]])
        backend.invoke()
        outputs.append(backend.get_outputs())
    backend.close()
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def run_onnx(path: Path, inputs: np.ndarray) -> np.ndarray:
    """The first output that ONNX Runtime gives."""
    return run_onnx_all(path, inputs)[0]


def run_onnx_all(path: Path, inputs: np.ndarray) -> list[np.ndarray]:
    """Every output, [N, ...], as ONNX Runtime gives it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})
