"""What each layer of a shipped file weighs: bytes, zeros, distinct levels, entropy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporter.graph.model import Array
from exporter.report.layers import LayerRow


def entropy_bits(values: Array) -> float:
    """Order-0 entropy in bits for one value: no coder without context goes below (Shannon)."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def entropy_bytes(values: Array) -> float:
    """Bytes for all values at their order-0 entropy, or as float32 where that is less."""
    return min(entropy_bits(values), 32.0) * values.size / 8.0


WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def layer_rows(path: Path) -> list[LayerRow]:
    """One row for each weight tensor of a .tflite file, in the order of the operators.

    Raises:
        ModelError: no .tflite file.
    """
    from exporter.tflite.reader import read_tflite

    file = read_tflite(path)
    rows = []
    for operator in file.operators:
        data = file.tensors[operator.inputs[1]].data if operator.code in WEIGHTED else None
        if data is None:
            continue
        rows.append(
            LayerRow(
                name=file.tensors[operator.inputs[1]].name.removesuffix("_integers"),
                operator=operator.code,
                weights=data.size,
                zeros=int((data == 0).sum()),
                distinct_levels=len(np.unique(data)),
                bytes=data.nbytes,
                entropy_bits=entropy_bits(data),
            )
        )
    return rows
