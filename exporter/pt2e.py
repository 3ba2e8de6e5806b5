"""Models that torchao's PT2E has quantized, to the files that ship: numbers as they are.

    converted = convert_pt2e(prepared)                 # torchao's, calibrated or trained
    export_quantized(converted, torch.zeros(1, 3, 224, 224), "build", "mymodel")

torch exports the quantize and dequantize operators in the graph as QDQ ONNX, which goes through the
same door as that of any other tool (`exporter.convert`). torchao itself is not needed here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.build import replacing
from exporter.conversion import Conversion
from exporter.convert import OPTION, Wishes, convert
from exporter.errors import ModelError, UnsupportedError
from exporter.onnx_export import onnx_program
from exporter.quantize.capture import quiet_torch
from exporter.quantize.edit import add_parameter, finish_edit, parameter_of, remove

INTEGERS_ONLY = Wishes(integer_only=True)
FORMATS = ("tflite", "onnx", "ort")

_QUANTIZED = "quantized_decomposed::"
_TRAINING = {"aten::dropout": 2, "aten::batch_norm": 5}
"""Which argument says that an operator is in training mode."""


def export_quantized(
    module: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    directory: str | Path,
    name: str = "model",
    *,
    formats: Sequence[str] = FORMATS,
    wishes: Wishes = INTEGERS_ONLY,
) -> dict[str, Conversion]:
    """Write NAME.qdq.onnx as torch exports it, and NAME.int8.* in the formats asked for.

    Args:
        module: what `torchao.quantization.pt2e.quantize_pt2e.convert_pt2e` gave.
        example: its inputs, float32, with the batch that the files shall have.
        directory: where; it is made if it is not there.
        name: of the files.
        formats: among "tflite", "onnx" and "ort".
        wishes: what is allowed (`exporter.convert.Wishes`). By default an operator that the
            quantizer left in float is refused; `Wishes()` leaves it in float and names it.

    Returns:
        By format: what was changed, what is in float, how far the forms differ.

    Raises:
        ModelError: no module that PT2E has converted, or in training mode.
        UnsupportedError: an operator, or a quantization, that has no form in the files; with the
            node, the reason and the remedy.
    """
    plain = _folded(_check(module))
    inputs = example if isinstance(example, tuple) else (example,)
    folder = Path(directory)
    source = folder / f"{name}.qdq.onnx"
    with replacing(source) as temporary:
        onnx_program(plain, inputs, name).save(str(temporary), external_data=False)
    made = {}
    for form in formats:
        try:
            made[form] = convert(source, folder / f"{name}.int8.{form}", wishes)
        except UnsupportedError as error:
            if OPTION not in error.remedy:
                raise
            raise UnsupportedError(
                error.node,
                error.operator,
                error.reason,
                "annotate it in the quantizer, or pass wishes=Wishes() to leave it in float",
            ) from None
    return made


def _check(module: nn.Module) -> GraphModule:
    nodes = module.graph.nodes if isinstance(module, GraphModule) else ()
    calls = [node for node in nodes if node.op == "call_function"]
    if not isinstance(module, GraphModule) or not any(
        _schema(node).startswith(_QUANTIZED) for node in calls
    ):
        observed = any(hasattr(part, "calculate_qparams") for part in module.modules())
        raise ModelError(
            f"{type(module).__name__} is no model that PT2E has quantized",
            expected="a graph module with quantize and dequantize operators",
            found="observers: it is prepared, not converted" if observed else "none of them",
            remedy="call convert_pt2e(prepared) first"
            if observed
            else "quantize it with prepare_pt2e and convert_pt2e, or take prepare_qat",
        )
    for node in calls:
        place = _TRAINING.get(_schema(node))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise ModelError(
                f"'{node.name}' is in training mode",
                expected="a model that was brought to evaluation mode",
                found=_schema(node),
                remedy="call torchao.quantization.pt2e.move_exported_model_to_eval(module)",
            )
    return module


def _folded(module: GraphModule) -> GraphModule:
    """A copy whose weights are integers, also those that convert_pt2e left float."""
    with quiet_torch():
        folded: GraphModule = copy.deepcopy(module)
    for node in list(folded.graph.nodes):
        weight = parameter_of(folded, node.args[0]) if node.args else None
        if weight is None or not _schema(node).startswith(f"{_QUANTIZED}quantize_"):
            continue
        values = [parameter_of(folded, a) if isinstance(a, Node) else a for a in node.args]
        integers = node.target(*values, **node.kwargs)
        constant = add_parameter(folded, f"{node.name}_integers", integers, node, trains=False)
        remove(folded, node, constant)
    finish_edit(folded)
    return folded


def _schema(node: Node) -> str:
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name)
