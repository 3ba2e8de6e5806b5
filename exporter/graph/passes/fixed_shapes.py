"""Give every input a fixed shape, and every value the one that follows from it.

Shapes that the file holds for other values are forgotten first: with a fixed input they are often
no longer true, and some exporters write ones that never were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from exporter.errors import ModelError
from exporter.graph.passes.changes import Changes

Shape = Sequence[int]
MAX_VALUE_BYTES = 2**31 - 1
MAX_CARRIED = 2**16
"""Values of a constant that shape inference carries along: shapes have a handful."""
_CARRYING = {"Add", "Cast", "Concat", "Gather", "Identity", "Mul", "Slice", "Squeeze", "Sub"}
_CARRYING |= {"Unsqueeze"}
_LARGEST_RANK = 64


def fixed_inputs(model: ir.Model, shapes: Mapping[str, Shape], changes: Changes) -> bool:
    """Give inputs the shapes named in `shapes`, and a batch of 1 where it is open.

    Args:
        model: changed in place.
        shapes: by input name; "" stands for a model's only input.
        changes: told of each axis that was open.

    Raises:
        ModelError: an unknown name, a shape that contradicts the model, or an axis left open.
    """
    inputs = list(model.graph.inputs)
    names = [str(value.name) for value in inputs]
    given = {(names[0] if not key and len(names) == 1 else key): v for key, v in shapes.items()}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ModelError(
            f"the model has no input '{unknown[0]}'",
            expected=", ".join(names),
            found=unknown[0] or "a shape without a name",
            remedy="write --input NAME=1x3x224x224",
        )
    known: dict[str, int] = {}
    before = [value.shape for value in inputs]
    for value in inputs:
        _forget_nonsense(value)
    for value in inputs:
        if value.name in given:
            _fix(value, given[str(value.name)], known)
    for value in inputs:
        value.shape = ir.Shape(_closed(value, known, changes))
    return before != [value.shape for value in inputs]


def _forget_nonsense(value: ir.Value) -> None:
    """Some exporters write -1 or 0 for a size that is open."""
    if value.shape is not None:
        sizes = [n if not isinstance(n, int) or n > 0 else None for n in value.shape]
        value.shape = ir.Shape(sizes)


def _fix(value: ir.Value, shape: Shape, known: dict[str, int]) -> None:
    declared = list(value.shape) if value.shape is not None else [None] * len(shape)
    fits = len(declared) == len(shape) and all(
        not isinstance(size, int) or size == wanted
        for size, wanted in zip(declared, shape, strict=True)
    )
    if not fits:
        raise ModelError(
            f"input '{value.name}' cannot have the shape {_text(shape)}",
            expected=_text(declared),
            found=_text(shape),
            remedy="give the shape that the model was made for",
        )
    for size, wanted in zip(declared, shape, strict=True):
        if isinstance(size, ir.SymbolicDim) and size.value is not None:
            known[str(size.value)] = wanted
    value.shape = ir.Shape(shape)


def _closed(value: ir.Value, known: Mapping[str, int], changes: Changes) -> list[int]:
    if value.shape is None:
        raise _open(value, "it has no shape", "1x3x224x224")
    sizes: list[int] = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            sizes.append(size)
        elif size.value is not None and str(size.value) in known:
            sizes.append(known[str(size.value)])
        elif axis == 0:
            sizes.append(1)
            changes.note("fix the batch at 1", value.name)
        else:
            raise _open(value, f"axis {axis} is open", _text(value.shape))
    return sizes


def _open(value: ir.Value, problem: str, example: str) -> ModelError:
    return ModelError(
        f"the shape of input '{value.name}' is not fixed: {problem}",
        expected="a size for every axis; an open batch becomes 1",
        found=_text(value.shape) if value.shape is not None else "nothing",
        remedy=f"write --input {value.name}=SHAPE, such as {example}",
    )


def _text(shape: object) -> str:
    sizes = shape if isinstance(shape, (list, tuple, ir.Shape)) else []
    return "x".join(str(size) if isinstance(size, int) else "?" for size in sizes) or "one value"


def inferred_shapes(model: ir.Model, *, strict: bool = False) -> bool:
    """Infer the shape and type of every value from the inputs, with onnx's own rules.

    Raises:
        ModelError: operators whose shapes contradict each other (`strict`), or a value that no
            device could hold.
    """
    import onnx
    from onnx_ir.passes.common import _c_api_utils

    keep = {*model.graph.inputs, *model.graph.initializers.values()}
    for node in model.graph:
        for value in node.outputs:
            if value not in keep:
                value.shape = None
    for value in model.graph.initializers.values():
        _believe_constant(value)
    carries = _carries_little(model)
    try:
        proto = _c_api_utils.call_onnx_api(
            lambda proto: onnx.shape_inference.infer_shapes(
                proto, check_type=True, strict_mode=strict, data_prop=carries
            ),
            model,
        )
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            "the shapes of the model contradict each other",
            found=_reason(str(error)),
            remedy="check the node that is named, and the shapes given with --input",
        ) from None
    found = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    for node in model.graph:
        for value in node.outputs:
            if value.name in found:
                _take(value, found[value.name])
    return True


def _believe_constant(value: ir.Value) -> None:
    """A constant has its own type, whatever the file says beside it: some tools leave it behind."""
    if value.const_value is not None:
        value.dtype, value.shape = value.const_value.dtype, ir.Shape(value.const_value.shape)


def _carries_little(model: ir.Model) -> bool:
    """Whether the values that onnx's inference carries along, to know shapes, stay few.

    It writes each out, 60 bytes a value: a constant that is joined with itself a few dozen times
    would take all memory, before anybody sees how large it becomes.
    """
    sizes: dict[ir.Value, int] = {}
    for value in model.graph.initializers.values():
        data = value.const_value
        if data is not None and len(data.shape) < 2:
            sizes[value] = data.size
    for node in model.graph:
        given = [sizes.get(value, 0) for value in node.inputs if value is not None]
        size = 0
        if node.op_type in ("Shape", "Constant"):
            size = _LARGEST_RANK
        elif node.op_type in _CARRYING and given and all(given):
            size = sum(given) if node.op_type == "Concat" else max(given)
        if size > MAX_CARRIED and node.op_type == "Concat":
            return False
        sizes |= dict.fromkeys(node.outputs, size)
    return True


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines)[:300]


def _take(value: ir.Value, info: object) -> None:
    inferred = ir.from_proto(info)
    if inferred.shape is not None:
        value.shape = inferred.shape
        sizes = [size if isinstance(size, int) else 1 for size in inferred.shape]
        if math.prod(sizes) * 4 > MAX_VALUE_BYTES:
            raise ModelError(
                f"the value '{value.name}' is too large",
                expected=f"up to {MAX_VALUE_BYTES} bytes",
                found=_text(inferred.shape),
                remedy="give the model a smaller input",
            )
    if inferred.dtype is not None:
        value.dtype = inferred.dtype
