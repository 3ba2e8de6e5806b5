"""Which operators can be exported, and in what form: the rows of `edgewright ops`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal[
    "integers",
    "float island",
    "float",
    "table",
    "moves values",
    "positions",
    "boundary",
    "rewritten",
]


@dataclass(frozen=True)
class OnnxRow:
    """An ONNX operator of the canonical graph.

    Attributes:
        kind: as ONNX calls it; Relu6 and Quantize are ours.
        form: how both runtimes compute it in an int8 file, or "rewritten" where others take its
            place.
        meaning: what is lowered, in one sentence; of a rewritten one, what it becomes.
        file: the lowering's file in exporter/tflite/ops; "" where it has none.
    """

    kind: str
    form: Form
    meaning: str
    file: str


@dataclass(frozen=True)
class TorchRow:
    """A PyTorch operator, as a captured graph has it.

    Attributes:
        name: such as aten.conv2d.
        role: what it is to quantization, or "rewritten" where others take its place.
    """

    name: str
    role: str


_MOVES: Form = "moves values"
_BOUNDARY = {"Cast", "Dequantize", "Quantize"}
_POSITIONS = {"ArgMax", "ArgMin"}
_FLOAT = {"ConvTranspose", "LRN"}
"""In float files, and where another tool left them in float: no integer form of them is exact."""


def onnx_rows() -> list[OnnxRow]:
    """The operators that have a TFLite lowering or become such, by name."""
    from exporter.graph.canonical import SHARING
    from exporter.graph.islands import ISLANDS
    from exporter.graph.normalize import REWRITTEN
    from exporter.tflite import ops  # noqa: F401 - registers every lowering
    from exporter.tflite.registry import kinds, lowering_of

    rows = [OnnxRow(kind, "rewritten", meaning, "") for kind, meaning in REWRITTEN.items()]
    for kind in kinds():
        function = lowering_of(kind)
        form: Form = "integers"
        if kind in _BOUNDARY:
            form = "boundary"
        elif kind in _FLOAT:
            form = "float"
        elif kind in _POSITIONS:
            form = "positions"
        elif kind in SHARING:
            form = _MOVES
        elif kind in ISLANDS:
            form = "float island"
        module = getattr(function, "__module__", "").rpartition(".")[2]
        if module == "table":
            form = "table"
        meaning = (getattr(function, "__doc__", None) or "").strip().splitlines()[0]
        rows.append(OnnxRow(kind, form, meaning.removeprefix("Lower ").rstrip("."), module))
    return sorted(rows, key=lambda row: row.kind)


def torch_rows() -> list[TorchRow]:
    """The PyTorch operators that a module may capture to, by name."""
    from exporter.quantize import rewrites, roles

    named = {
        "compute": roles.COMPUTE,
        "activation": roles.ACTIVATIONS,
        "moves values": roles.SHARE,
        "joins values": roles.JOIN,
        "positions": roles.INDEX,
        "rewritten": rewrites.REWRITTEN,
    }
    found: dict[str, str] = {}
    for role, targets in named.items():
        for target in targets:
            found.setdefault(str(target).rpartition(".")[0], role)
    return [TorchRow(name, role) for name, role in sorted(found.items())]
