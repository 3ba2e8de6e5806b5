"""ONNX models that packages carry, ready for the corpus: weights filled in, shapes fixed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.environments import python_of

LIGHT: Final = "backend/test/data/light"
CARRIERS: Final = ("rapidocr_onnxruntime", "magika", "silero_vad")
SHAPES: Final = {
    "ch_PP-OCRv4_det_infer": (1, 3, 320, 320),
    "ch_PP-OCRv4_rec_infer": (1, 3, 48, 320),
    "ch_ppocr_mobile_v2.0_cls_infer": (1, 3, 48, 192),
}
"""Of models whose axes are open."""


@dataclass(frozen=True)
class Source:
    """An ONNX file of a package."""

    name: str
    path: Path
    package: str


@dataclass(frozen=True)
class Ready:
    """A model with one float input of a fixed shape."""

    path: Path
    input: str
    shape: tuple[int, ...]


def sources() -> Iterator[Source]:
    """The models of all packages that are here, by package and name."""
    spec = importlib.util.find_spec("onnx")
    folders = [("onnx", Path(str(spec.origin)).parent / LIGHT)] if spec else []
    python = python_of("corpus")
    if python is not None:
        site = next((python.parent.parent / "lib").glob("python*/site-packages"))
        folders += [(name, site / name) for name in CARRIERS]
    for package, folder in folders:
        for path in sorted(folder.rglob("*.onnx")):
            yield Source(path.stem, path, package)


def prepared(source: Source, target: Path) -> Ready | str:
    """Write a model whose weights and shape are there, or say why it has no such form."""
    import onnx

    model = filled(source.path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    kinds = [value.type.tensor_type.elem_type for value in inputs]
    if kinds != [onnx.TensorProto.FLOAT]:
        return "it has more than one input, or not of floats"
    dims = inputs[0].type.tensor_type.shape.dim
    shape = SHAPES.get(source.name) or tuple(d.dim_value or 1 for d in dims)
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]  # shapes inside may speak of the open ones
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    onnx.save(onnx.shape_inference.infer_shapes(model), target)
    return Ready(target, inputs[0].name, shape)


def filled(path: Path) -> Any:
    """A model with random numbers where onnx's `light` graphs left their weights out.

    They have a ConstantOfShape in place of each.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    generator = np.random.default_rng(0)
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        fan_in = max(1, int(np.prod(shape[1:])))
        numbers = generator.standard_normal(shape) * np.sqrt(2 / fan_in)
        # Vectors may be variances, which are positive.
        numbers = numbers if len(shape) > 1 else 0.5 + np.abs(numbers)
        model.graph.initializer.append(
            numpy_helper.from_array(numbers.astype(np.float32), node.output[0])
        )
    if len(kept) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.ir_version = max(model.ir_version, 4)  # before, every weight is an input as well
    return model
