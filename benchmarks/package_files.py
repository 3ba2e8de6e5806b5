"""The files that benchmarks/package.py packs: int8 networks, pruned by magnitude.

Our own export: ResNet-20 trained on real digits, MobileNetV2 with its ImageNet weights, and the
shape of ResNet-50 with random ones. From a package: the ONNX networks of rapidocr-onnxruntime,
whose float weights are pruned, quantized per channel and written as int8 initializers in front of
DequantizeLinear: good for sizes, and for nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.results import ROOT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporter.inputs import InputSpec

CACHE: Final = ROOT / "build" / "bench" / "package"
SPARSITIES: Final = (0.9, 0.8, 0.0)
OCR_NETWORKS: Final = {
    "PP-OCRv4 det": "ch_PP-OCRv4_det_infer.onnx",
    "PP-OCRv4 rec": "ch_PP-OCRv4_rec_infer.onnx",
    "PP-OCR cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
}
EPOCHS: Final = 3  # of ResNet-20 before it is pruned; one more lets it recover


@dataclass(frozen=True)
class Packable:
    """A file to pack. `sparsity` is the share of zeros among the weights that were pruned."""

    network: str
    sparsity: float
    path: Path


def exported(quick: bool) -> Iterator[Packable]:
    """The files of our own export; made once, and kept under build/."""
    makers: dict[str, Callable[[float, Path], None]] = {
        "ResNet-20": _resnet20,
        "MobileNetV2": _mobilenet_v2,
        "ResNet-50 shape": _resnet50,
    }
    if quick:
        del makers["ResNet-50 shape"]
    for network, maker in makers.items():
        for sparsity in SPARSITIES:
            folder = CACHE / f"{network.replace(' ', '_')}_{round(100 * sparsity)}"
            if not (folder / "done").exists():
                folder.mkdir(parents=True, exist_ok=True)
                maker(sparsity, folder)
                (folder / "done").touch()
            for path in (folder / "n.tflite", folder / "n.onnx"):
                yield Packable(network, sparsity, path)


def from_package(models: Path) -> Iterator[Packable]:
    """The networks of rapidocr-onnxruntime, in this folder of .onnx files."""
    for network, name in OCR_NETWORKS.items():
        for sparsity in SPARSITIES:
            path = CACHE / f"{network.replace(' ', '_')}_{round(100 * sparsity)}.onnx"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                quantize_onnx(models / name, sparsity, path)
            yield Packable(network, sparsity, path)


def prune(module: nn.Module, sparsity: float, *, by_layer: bool = False) -> dict[str, torch.Tensor]:
    """Zero the smallest weights of all dense layers but the first; gives the masks by name.

    One limit holds for all layers, or each has its own: random weights differ between layers only
    by how they were drawn, and one limit would empty whole layers.
    """
    import torch
    from torch import nn

    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    chosen = {n: m for n, m in layers[1:] if getattr(m, "groups", 1) == 1}
    sizes = {name: m.weight.detach().abs() for name, m in chosen.items()}
    every = torch.cat([size.flatten() for size in sizes.values()])
    masks = {
        f"{name}.weight": size > _limit(size if by_layer else every, sparsity)
        for name, size in sizes.items()
    }
    apply_masks(module, masks)
    return masks


def _limit(sizes: torch.Tensor, sparsity: float) -> float:
    """The size that this share of the sizes does not exceed."""
    rank = int(sparsity * sizes.numel())
    return float(sizes.flatten().kthvalue(rank).values) if rank else -1.0


def apply_masks(module: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    """Set pruned weights to zero again."""
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        parameters[name].data *= mask


def write_int8(module: nn.Module, spec: InputSpec, frames: torch.Tensor, folder: Path) -> None:
    """Quantize a module (PTQ) and write `n.tflite` and `n.onnx`."""
    import onnx_ir as ir
    import torch

    from exporter.graph.canonical import canonicalise
    from exporter.onnx_export import to_onnx
    from exporter.ort import qdq
    from exporter.quantize.finish import finish
    from exporter.quantize.quantize import prepare_module
    from exporter.tflite import lower

    graph_module, _ = finish(prepare_module(module.eval(), spec, [frames]).graph_module)
    model = to_onnx(graph_module, torch.zeros((2, *spec.shape[1:])), "n")
    graph = canonicalise(model, dtype=spec.dtype, integer_outputs=True)
    (folder / "n.tflite").write_bytes(lower(graph))
    ir.save(qdq.lower(model), folder / "n.onnx", format="protobuf")


def _example(name: str) -> Any:
    """A module of examples/NAME."""
    import importlib

    folder = str(ROOT / "examples" / name)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def _resnet20(sparsity: float, folder: Path) -> None:
    import torch
    from torch import nn

    from exporter.inputs import InputSpec

    digits = _example("digits")
    torch.manual_seed(0)
    plan = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
    blocks = [
        digits.Block(inputs if place == 0 else outputs, outputs, stride if place == 0 else 1)
        for inputs, outputs, stride in plan
        for place in range(3)
    ]
    stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    module = nn.Sequential(*stem, *blocks, *head)
    spec = InputSpec((1, 1, 28, 28), "uint8", (0.1307,), (0.3081,))
    _train(module, digits.train(), spec, EPOCHS, {})
    _train(module, digits.train(), spec, 1, prune(module, sparsity))
    frames = torch.stack([digits.test()[place][0] for place in range(64)])
    write_int8(module, spec, frames, folder)


def _train(
    module: nn.Module, data: Any, spec: InputSpec, epochs: int, masks: dict[str, torch.Tensor]
) -> None:
    import torch

    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(
        module.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    module.train()
    for _ in range(epochs):
        for frames, labels in loader:
            loss = torch.nn.functional.cross_entropy(module(spec.to_model(frames)), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            apply_masks(module, masks)
    module.eval()


def _mobilenet_v2(sparsity: float, folder: Path) -> None:
    import torch

    from exporter.inputs import InputSpec

    example = _example("mobilenet_v2")
    module = example.mobilenet_v2()
    prune(module, sparsity)
    spec = InputSpec((1, 3, 224, 224), "uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    write_int8(module, spec, torch.from_numpy(example.frames()), folder)


def _resnet50(sparsity: float, folder: Path) -> None:
    import torch

    from examples.models.resnet import resnet50
    from exporter.inputs import InputSpec

    torch.manual_seed(0)
    module = resnet50()
    prune(module, sparsity, by_layer=True)
    spec = InputSpec((1, 3, 224, 224), "uint8", (0.5,) * 3, (0.25,) * 3)
    frames = torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8)
    write_int8(module, spec, frames, folder)


def quantize_onnx(source: Path, sparsity: float, target: Path) -> None:
    """Prune a float ONNX network by magnitude, and write its weights as int8 per channel."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    weights = _onnx_weights(graph)
    prunable = [one.array for one in weights if not one.depthwise][1:]
    every = np.abs(np.concatenate([array.reshape(-1) for array in prunable]))
    limit = float(np.quantile(every, sparsity)) if sparsity else -1.0
    first = next(one.name for one in weights if not one.depthwise)
    nodes = []
    for one in weights:
        kept = one.array * (
            np.abs(one.array) > (-1.0 if one.depthwise or one.name == first else limit)
        )
        integers, scale = _quantized(kept, one.axis)
        values = (integers, scale, np.zeros(len(scale), np.int8))
        names = [f"{one.name}_{part}" for part in ("q", "s", "z")]
        one.remove(graph)
        graph.initializer.extend(map(numpy_helper.from_array, values, names))
        nodes.append(helper.make_node("DequantizeLinear", names, [one.name], axis=one.axis))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    model.opset_import[0].version = max(model.opset_import[0].version, 13)
    onnx.save(model, str(target))


@dataclass(frozen=True)
class _Weight:
    """A float weight of an ONNX graph: an initializer, or the value of a Constant node."""

    name: str
    array: npt.NDArray[np.float32]
    axis: int
    depthwise: bool
    holder: Any

    def remove(self, graph: Any) -> None:
        (graph.node if self.holder in graph.node else graph.initializer).remove(self.holder)


def _onnx_weights(graph: Any) -> list[_Weight]:
    from onnx import numpy_helper

    holders = {one.name: (one, one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            holders[node.output[0]] = (node, node.attribute[0].t)
    found: dict[str, _Weight] = {}
    for node in graph.node:
        if node.op_type not in {"Conv", "MatMul", "Gemm", "ConvTranspose"}:
            continue
        name = node.input[1]
        if name not in holders or name in found:
            continue
        array = numpy_helper.to_array(holders[name][1])
        if array.dtype == np.float32 and array.ndim >= 2:
            turned = any(one.name == "transB" and one.i for one in node.attribute)
            axis = 0 if node.op_type == "Conv" or turned else 1
            depthwise = node.op_type == "Conv" and array.shape[1] == 1
            found[name] = _Weight(name, array, axis, depthwise, holders[name][0])
    return list(found.values())


def _quantized(
    array: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 per channel: integers and scales [channels]."""
    others = tuple(one for one in range(array.ndim) if one != axis)
    largest = np.abs(array).max(axis=others)
    scale = np.where(largest > 0, largest / 127, 1e-3).astype(np.float32)
    shape = [-1 if one == axis else 1 for one in range(array.ndim)]
    integers = np.clip(np.rint(array / scale.reshape(shape)), -127, 127).astype(np.int8)
    return integers, scale
