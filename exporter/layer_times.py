"""What `edgewright layer-times` does: small int8 files of one layer each, measured on a device.

Each kind of layer that the network has is measured over a grid of outputs and inputs; channel
pruning looks widths up in between (`exporter.compress.layer_times`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import nn

from exporter.compress.layer_costs import layers_of
from exporter.compress.layer_times import LayerShape, LayerTime, LayerTimes
from exporter.convert import Wishes, convert
from exporter.errors import RecipeError
from exporter.inputs import InputSpec
from exporter.progress import Advance
from exporter.quantize.user_loop import prepare_qat

if TYPE_CHECKING:
    from devices.session import Benched, Session

Runtime = Literal["tflite", "onnx"]

SHARES: Final = (0.25, 0.5, 1.0)
"""Of a layer's channels: the least that channel pruning leaves by default, half, and all."""

MULTIPLE = 8
"""Of all measured widths; with fewer than two of it, a layer's width is measured as it is."""

_SCALE, _WEIGHT_SCALE, _WEIGHT_LIMIT = 0.05, 0.004, 63


@dataclass(frozen=True)
class SingleLayer:
    """A layer at certain widths; `inputs` is 1 for a depthwise one."""

    shape: LayerShape
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Conditions:
    """How to measure: with which interpreter's files, on how many threads, how long each file."""

    runtime: Runtime = "tflite"
    threads: int = 1
    seconds: float = 0.5


def grid_of(
    module: nn.Module, example: torch.Tensor, shares: Sequence[float] = SHARES
) -> list[SingleLayer]:
    """The layers to measure: every kind that the module has, over its widths.

    Args:
        module: before channel pruning.
        example: [N, C, H, W].
        shares: of the widest layer of a kind, above 0 and up to 1.

    Raises:
        RecipeError: a share is out of range, or the module has no layer that is measured.
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise RecipeError(
            "shares of channels are out of range",
            expected="numbers above 0 and up to 1, such as 0.25,0.5,1",
            found=", ".join(f"{share:g}" for share in shares) or "none",
        )
    kinds: dict[LayerShape, list[tuple[int, int]]] = {}
    for layer in layers_of(module, example):
        if layer.shape is not None:
            kinds.setdefault(layer.shape, []).append((layer.outputs, layer.inputs))
    if not kinds:
        raise RecipeError(
            "there are no layers to measure",
            expected="a module with 2-D convolutions or dense layers",
            found=type(module).__name__,
        )
    return [
        SingleLayer(shape, outputs, inputs)
        for shape, widths in kinds.items()
        for outputs in _steps([one for one, _ in widths], shares, shape.groups)
        for inputs in _steps([one for _, one in widths], shares, shape.groups)
    ]


def measure_layers(
    session: Session,
    module: nn.Module,
    spec: InputSpec,
    grid: Sequence[SingleLayer],
    conditions: Conditions,
    advance: Advance = lambda done, note: None,
) -> tuple[LayerTimes, list[Benched]]:
    """Measure a module's layers and the whole of it, as int8 files.

    Args:
        session: the device.
        module: before channel pruning; its weights do not matter.
        spec: its input.
        grid: the layers to measure, from `grid_of`.
        conditions: how.
        advance: told of every file; there are `len(grid) + 1`.

    Returns:
        The table, and what the device said of each file, the whole network's first: a measurement
        may not be valid.

    Raises:
        UnsupportedError: the network has no int8 form.
        DeviceError: the device failed.
    """
    benched, rows = [], []
    with tempfile.TemporaryDirectory(prefix="edgewright-") as name:
        folder = Path(name)

        def bench(path: Path, what: str) -> Benched:
            found = session.bench(
                path, threads=conditions.threads, seconds=conditions.seconds, min_runs=5
            )
            benched.append(found)
            advance(1, f"{what}: {found.row.p50_ms:.3f} ms")
            return found

        whole = bench(_whole_network(module, spec, folder, conditions.runtime), "whole network")
        for single in grid:
            found = bench(layer_file(single, folder, conditions.runtime), shown(single))
            rows.append(
                LayerTime(
                    shape=single.shape,
                    outputs=single.outputs,
                    inputs=single.inputs,
                    ms=found.row.p50_ms,
                )
            )
    times = LayerTimes(
        device=session.name,
        runtime=whole.row.runtime,
        threads=conditions.threads,
        network_ms=whole.row.p50_ms,
        rows=tuple(rows),
    )
    return times, benched


def shown(single: SingleLayer) -> str:
    """In a few words, such as "conv 3x3 /2, 28x28, 64 → 128"."""
    shape = single.shape
    stride = "" if shape.stride == (1, 1) else f" /{shape.stride[0]}"
    inputs = "" if shape.kind == "depthwise" else f"{single.inputs} → "
    height, width = shape.size
    return (
        f"{shape.kind} {shape.kernel[0]}x{shape.kernel[1]}{stride}, {height}x{width}, "
        f"{inputs}{single.outputs}"
    )


def layer_file(single: SingleLayer, folder: Path, runtime: Runtime) -> Path:
    """Write an int8 file that holds one layer and nothing else; its weights are random."""
    import onnx

    source = folder / "layer.onnx"
    if runtime == "onnx":
        onnx.save(_model(single, np.dtype(np.uint8), channels_last=True), source)
        return source
    onnx.save(_model(single, np.dtype(np.int8), channels_last=False), source)
    target = folder / "layer.tflite"
    convert(source, target, Wishes(samples=0))
    return target


def _steps(widths: Sequence[int], shares: Sequence[float], groups: int) -> list[int]:
    """The widths to measure: shares of the largest, and the least that pruning makes of any."""
    least, most = min(widths), max(widths)
    if most < 2 * MULTIPLE:
        return sorted({least, most})
    multiple = groups if groups > 1 else MULTIPLE
    wanted = {most * share for share in shares} | {least * min(shares)}
    return sorted({max(multiple, round(one / multiple) * multiple) for one in wanted})


def _whole_network(module: nn.Module, spec: InputSpec, folder: Path, runtime: Runtime) -> Path:
    generator = torch.Generator().manual_seed(0)
    shape = (2, *spec.sample_shape)
    if spec.takes_frames:
        samples = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    else:
        samples = torch.randn(shape, generator=generator)
    qat = prepare_qat(module, spec, [samples])
    with torch.no_grad():
        count = len(_flat(qat.module(qat.inputs(samples))))
    shipped = qat.finish(folder, "network", outputs=[f"output_{i}" for i in range(count)])
    return shipped.files[f"int8.{runtime}"]


def _flat(outputs: Any) -> Sequence[Any]:
    return outputs if isinstance(outputs, (tuple, list)) else (outputs,)


def _model(single: SingleLayer, dtype: np.dtype[Any], *, channels_last: bool) -> Any:
    """One quantized layer as QDQ ONNX.

    Channels come last where ONNX Runtime is to run it: its integer kernels want them so, and the
    transpositions are taken out, as they are inside a network.
    """
    from onnx import helper, numpy_helper

    shape, point = single.shape, 128 if dtype == np.uint8 else 0
    inputs = single.outputs if shape.kind == "depthwise" else single.inputs
    images = shape.kind != "dense"
    height, width = shape.size
    sizes = [1, inputs, height, width] if images else [width, inputs]
    constants = {
        "scale": np.float32(_SCALE),
        "point": np.asarray(point, dtype),
        "result_scale": np.float32(_SCALE * _WEIGHT_SCALE * _WEIGHT_LIMIT),
        **_weight(single, inputs),
    }
    wrapped = images and channels_last
    nodes = [
        helper.make_node(
            "DequantizeLinear", ["first" if wrapped else "x", "scale", "point"], ["a"]
        ),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_point"], ["b"], axis=_axis(shape)),
        _operator(shape, single.outputs),
        helper.make_node(
            "QuantizeLinear", ["c", "result_scale", "point"], ["last" if wrapped else "y"]
        ),
    ]
    if wrapped:
        sizes = [1, height, width, inputs]
        nodes.insert(0, helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Transpose", ["last"], ["y"], perm=[0, 2, 3, 1]))
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kind, sizes)],
        [helper.make_tensor_value_info("y", kind, _result_sizes(single, channels_last=wrapped))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _weight(single: SingleLayer, inputs: int) -> dict[str, Any]:
    shape, outputs = single.shape, single.outputs
    if shape.kind == "dense":
        sizes: tuple[int, ...] = (outputs, inputs)
    elif shape.kind == "transposed":
        sizes = (inputs, outputs, *shape.kernel)
    elif shape.kind == "depthwise":
        sizes = (outputs, 1, *shape.kernel)
    else:
        sizes = (outputs, inputs // shape.groups, *shape.kernel)
    generator = np.random.default_rng(0)
    integers = generator.integers(-_WEIGHT_LIMIT, _WEIGHT_LIMIT + 1, sizes).astype(np.int8)
    return {
        "w": integers,
        "w_scale": np.full(outputs, _WEIGHT_SCALE, np.float32),
        "w_point": np.zeros(outputs, np.int8),
    }


def _axis(shape: LayerShape) -> int:
    return 1 if shape.kind == "transposed" else 0


def _operator(shape: LayerShape, outputs: int) -> Any:
    from onnx import helper

    if shape.kind == "dense":
        return helper.make_node("Gemm", ["a", "b"], ["c"], "layer", transB=1)
    pads = [*shape.padding, *shape.padding]
    kind = "ConvTranspose" if shape.kind == "transposed" else "Conv"
    groups = outputs if shape.kind == "depthwise" else shape.groups
    return helper.make_node(
        kind,
        ["a", "b"],
        ["c"],
        "layer",
        kernel_shape=shape.kernel,
        strides=shape.stride,
        pads=pads,
        group=groups,
    )


def _result_sizes(single: SingleLayer, *, channels_last: bool) -> list[int]:
    shape = single.shape
    if shape.kind == "dense":
        return [shape.size[1], single.outputs]
    sizes = list(_image_sizes(shape))
    return [1, *sizes, single.outputs] if channels_last else [1, single.outputs, *sizes]


def _image_sizes(shape: LayerShape) -> Iterator[int]:
    for size, kernel, stride, padding in zip(
        shape.size, shape.kernel, shape.stride, shape.padding, strict=True
    ):
        if shape.kind == "transposed":
            yield (size - 1) * stride + kernel - 2 * padding
        else:
            yield (size + 2 * padding - kernel) // stride + 1
