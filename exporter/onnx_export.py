"""From a captured graph to ONNX, through torch's own exporter."""

from __future__ import annotations

import contextlib
import io

import onnx_ir as ir
import torch
from torch import nn

from exporter.errors import UnsupportedError
from exporter.inputs import InputSpec
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


def to_onnx(module: nn.Module, example: torch.Tensor, name: str) -> ir.Model:
    """Export a module with a dynamic batch.

    Args:
        module: a captured graph module, in the form in which it shall ship.
        example: an input with a batch of at least 2.
        name: of the graph.

    Raises:
        UnsupportedError: torch's exporter has no ONNX form for it.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    try:
        with quiet_torch(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                verbose=False,
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
    model: ir.Model = program.model
    model.graph.name = name
    return model
