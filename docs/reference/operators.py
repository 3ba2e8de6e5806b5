"""The table of operators, out of the registries."""

from __future__ import annotations

from docs.reference.markdown import table
from exporter.operators import onnx_rows, torch_rows


def torch_table() -> str:
    """PyTorch operators by role."""
    return table(("operator", "role"), [(f"`{row.name}`", row.role) for row in torch_rows()])


def onnx_table() -> str:
    """ONNX operators with their int8 form."""
    rows = [(f"`{row.kind}`", row.form, row.meaning) for row in onnx_rows()]
    return table(("operator", "int8 form", "what is lowered"), rows)
