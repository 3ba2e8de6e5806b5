"""Remove what no output needs: unused nodes and constants, identities, notes of the exporter."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


def clean(model: ir.Model) -> bool:
    """Tidy a model in place with onnx-ir's own passes; return whether anything changed."""
    return bool(
        ir.passes.Sequential(
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.IdentityEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedOpsetsPass(),
            common.ClearMetadataAndDocStringPass(),
        )(model).modified
    )
