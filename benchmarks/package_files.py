"""The files that benchmarks/package.py packs: int8 networks, pruned by magnitude.

Our own export: ResNet-20 trained on real digits, MobileNetV2 with its ImageNet weights, and the
shape of ResNet-50 with random ones. From a package: the ONNX networks of rapidocr-onnxruntime,
pruned and then quantized by ONNX Runtime's quantize_static (QDQ, weights per channel), calibrated
on noise: good for sizes, and for nothing else.
"""

from __future__ import annotations

import sys
import tempfile
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
OCR_SHAPES: Final = {
    "PP-OCRv4 det": (1, 3, 320, 320),
    "PP-OCRv4 rec": (1, 3, 48, 320),
    "PP-OCR cls": (1, 3, 48, 192),
}
NOISE_FRAMES: Final = 4
OPSET: Final = 13  # the first with scales per channel
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
            path = CACHE / f"{network.replace(' ', '_')}_{round(100 * sparsity)}_qdq.onnx"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                quantize_onnx(models / name, OCR_SHAPES[network], sparsity, path)
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


def quantize_onnx(source: Path, shape: tuple[int, ...], sparsity: float, target: Path) -> None:
    """Prune a float ONNX network by magnitude, and quantize all of it for frames of a shape."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(str(source))
    _prune_onnx(model.graph, sparsity)
    frame = model.graph.input[0]
    for dimension, size in zip(frame.type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        pruned, ready = Path(folder) / "pruned.onnx", Path(folder) / "ready.onnx"
        onnx.save(version_converter.convert_version(model, OPSET), str(pruned))
        # Shapes are all known, so that symbolic ones need not be inferred.
        quant_pre_process(pruned, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            target,
            _Noise(frame.name, shape),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


class _Noise:
    """A calibration data reader, as ONNX Runtime asks for one: a few frames of noise."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        random = np.random.default_rng(0)
        frames = [random.uniform(-1, 1, shape).astype(np.float32) for _ in range(NOISE_FRAMES)]
        self._feeds = iter([{name: frame} for frame in frames])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next frame by the input's name; None behind the last."""
        return next(self._feeds, None)


def _prune_onnx(graph: Any, sparsity: float) -> None:
    """Zero the smallest weights of all layers but the first and the depthwise ones."""
    from onnx import numpy_helper

    prunable = [one for one in _onnx_weights(graph) if not one.depthwise][1:]
    every = np.abs(np.concatenate([one.array.reshape(-1) for one in prunable]))
    limit = float(np.quantile(every, sparsity)) if sparsity else -1.0
    for one in prunable:
        kept = one.array * (np.abs(one.array) > limit)
        one.holder.CopyFrom(numpy_helper.from_array(kept, one.holder.name))


@dataclass(frozen=True)
class _Weight:
    """A float weight of an ONNX graph, in the tensor of an initializer or of a Constant node."""

    array: npt.NDArray[np.float32]
    depthwise: bool
    holder: Any


def _onnx_weights(graph: Any) -> list[_Weight]:
    from onnx import numpy_helper

    holders = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            holders[node.output[0]] = node.attribute[0].t
    found: dict[str, _Weight] = {}
    for node in graph.node:
        if node.op_type not in {"Conv", "MatMul", "Gemm", "ConvTranspose"}:
            continue
        name = node.input[1]
        if name not in holders or name in found:
            continue
        array = numpy_helper.to_array(holders[name])
        if array.dtype == np.float32 and array.ndim >= 2:
            depthwise = node.op_type == "Conv" and array.shape[1] == 1
            found[name] = _Weight(array, depthwise, holders[name])
    return list(found.values())
