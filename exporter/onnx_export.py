"""From a captured graph to ONNX, through torch's own exporter."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.fx import GraphModule

from exporter.errors import RecipeError, UnsupportedError
from exporter.inputs import InputSpec
from exporter.memory import give_back
from exporter.quantize.capture import MAX_BATCH, quiet_torch

INPUT_NAME = "input"
OUTPUT_NAME = "output"
OPSET = 20


class WithFrames(nn.Module):
    """A network behind the arithmetic that turns frames [N, H, W, C] into its input."""

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.network = network
        factor, offset = spec.affine()
        if spec.dtype == "int8":
            offset = offset + factor * 128.0
        for name, values in (("factor", factor), ("offset", offset)):
            tensor = torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
            self.register_buffer(name, tensor)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 or int8 [N, H, W, C] to the network's output."""
        images = frames.permute(0, 3, 1, 2).to(torch.float32)
        result: torch.Tensor = self.network(images * self.factor + self.offset)
        return result


def to_onnx(
    module: nn.Module, example: torch.Tensor, name: str, outputs: Sequence[str] = ()
) -> ir.Model:
    """Export a module with a dynamic batch.

    Args:
        module: a captured graph module, in the form in which it shall ship.
        example: an input with a batch of at least 2.
        name: of the graph.
        outputs: names of its outputs; "output", or "output_0" and on, where they are left out.

    Raises:
        UnsupportedError: torch's exporter has no ONNX form for it.
        RecipeError: as many names as outputs were not given.
    """
    give_back()
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    program = onnx_program(
        module,
        (example,),
        name,
        input_names=[INPUT_NAME],
        output_names=_output_names(module, outputs),
        dynamic_shapes=({0: batch},),
        custom_translation_table={torch.ops.aten.softplus.default: _softplus},
    )
    model: ir.Model = program.model
    model.graph.name = name
    return model


def onnx_program(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], name: str, **options: Any
) -> Any:
    """Torch's ONNX program of a module, with nothing printed; `options` are torch.onnx.export's.

    Raises:
        UnsupportedError: torch.onnx cannot export the module.
    """
    try:
        with quiet_torch(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                module, inputs, dynamo=True, opset_version=OPSET, verbose=False, **options
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedError(
            name,
            "Module",
            str(error).strip().splitlines()[0][:300],
            "replace the operator that torch.onnx.export names",
        ) from error
    if program is None:
        raise UnsupportedError(name, "Module", "torch.onnx.export gave no program", "see its log")
    return program


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """One operator, where torch's own form compares with the threshold and selects.

    The rewrites (exporter/quantize/rewrites/activations.py) leave no other beta.
    """
    from onnxscript import opset20

    return opset20.Softplus(x)


def _output_names(module: nn.Module, given: Sequence[str]) -> list[str]:
    network = module.network if isinstance(module, WithFrames) else module
    count = 1
    if isinstance(network, GraphModule):
        found = next(node for node in network.graph.nodes if node.op == "output").args[0]
        count = len(found) if isinstance(found, (tuple, list)) else 1
    if given and len(given) != count:
        raise RecipeError(
            "[output] names do not fit the network",
            expected=f"{count} names, one for each output",
            found=", ".join(given),
        )
    if given:
        return list(given)
    return [OUTPUT_NAME] if count == 1 else [f"{OUTPUT_NAME}_{index}" for index in range(count)]
