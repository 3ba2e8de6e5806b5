"""The memory that TFLite's own kernels share for what passes between operators.

The interpreter tells no size, but where each tensor lies. Tensors whose lives do not meet lie on
one another, so the arena is the bytes that at least one of them covers: inputs, outputs, what is
between, and the kernels' scratch. Constants lie in the model file and are not counted; nor are
gaps that planning may leave, of which no network of the examples has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ALIGNMENT_BYTES = 64  # kDefaultTensorAlignment, tensorflow/lite/util.h


def arena_bytes(interpreter: Any) -> int | None:
    """The bytes of an allocated interpreter's arena; None where a delegate has taken operators.

    A delegate such as XNNPACK keeps what it computes in memory of its own, which nothing tells.
    """
    try:
        nodes = interpreter._get_ops_details()
    except AttributeError:
        return None
    if any(node["op_name"] == "DELEGATE" for node in nodes):
        return None
    made = {int(index) for node in nodes for index in node["outputs"]}
    made.update(int(detail["index"]) for detail in interpreter.get_input_details())
    constant = {int(index) for node in nodes for index in node["inputs"]} - made
    return covered_bytes(
        span
        for detail in interpreter.get_tensor_details()
        if int(detail["index"]) not in constant
        for span in _span(interpreter, int(detail["index"]))
    )


def covered_bytes(spans: Iterable[tuple[int, int]]) -> int:
    """The bytes that at least one span (start, size) covers, sizes rounded up as TFLite does."""
    covered = end = 0
    for start, size in sorted(spans):
        stop = start + -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        covered += max(0, stop - max(start, end))
        end = max(end, stop)
    return covered


def _span(interpreter: Any, index: int) -> tuple[tuple[int, int], ...]:
    """Where a tensor lies, and its bytes; nothing for one that has no memory."""
    try:
        view = interpreter.tensor(index)()
    except (ValueError, RuntimeError):
        return ()
    return ((int(view.__array_interface__["data"][0]), int(view.nbytes)),)
