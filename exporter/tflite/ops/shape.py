"""Operators that see values in another shape: Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

A chain of them is lowered as one: where the values' order in NHWC allows it a single RESHAPE, else
with one TRANSPOSE.
"""

from __future__ import annotations

import numpy as np

from exporter.graph.layout import REARRANGING
from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers
from exporter.tflite.views import Chain, Composite

MAX_TRANSPOSE_RANK = 6


@lowers(*sorted(REARRANGING))
def rearrange(lowering: Lowering, operator: Operator) -> None:
    """Lower the longest chain that starts here and that nothing else reads in between."""
    source = lowering.source(operator, 0)
    chain = _chain_from(lowering, operator)
    result = lowering.result(chain[-1])
    if flattens_for_dense(lowering, operator):
        _write(lowering, operator, Composite((), (), lowering.shape(result)), source, result)
        return
    steps = Chain(source.shape, image=lowering.is_image(source))
    for member in chain:
        if member.kind == "Transpose":
            steps.transpose(_order(member, len(lowering.source(member, 0).shape)))
        elif not steps.reshape(lowering.result(member).shape):
            raise lowering.refuse(
                member,
                f"it cuts {list(source.shape)} to {list(lowering.result(member).shape)}",
                "cut axes into whole factors",
            )
    composite = steps.composite(image=lowering.is_image(result))
    if len(composite.order) > MAX_TRANSPOSE_RANK:
        raise lowering.refuse(
            operator, f"it permutes {len(composite.order)} axes", "permute at most 6 at once"
        )
    _write(lowering, operator, composite, source, result)
    lowering.done.update(member.name for member in chain[1:])


def _chain_from(lowering: Lowering, operator: Operator) -> list[Operator]:
    chain = [operator]
    while True:
        name = chain[-1].outputs[0]
        readers = lowering.readers.get(name, [])
        alone = len(readers) == 1 and name not in lowering.graph.outputs
        if not alone or readers[0].kind not in REARRANGING:
            return chain
        chain.append(readers[0])


def _order(operator: Operator, rank: int) -> list[int]:
    order: list[int] = operator.attributes.get("perm", list(range(rank))[::-1])
    return order


def flattens_for_dense(lowering: Lowering, operator: Operator) -> bool:
    """Whether only dense layers read it, which then take their columns in the image's order."""
    if operator.kind not in REARRANGING - {"Transpose"} or operator.name in lowering.done:
        return False
    source, result = lowering.source(operator, 0), lowering.result(operator)
    readers = lowering.readers.get(result.name, [])
    return (
        len(result.shape) == 2
        and source.shape[0] == result.shape[0]
        and result.name not in lowering.graph.outputs
        and all(reader.kind == "Gemm" for reader in readers)
    )


def _write(
    lowering: Lowering, operator: Operator, composite: Composite, source: Tensor, result: Tensor
) -> None:
    """RESHAPE, TRANSPOSE, RESHAPE; those that change nothing are left out."""
    index, shape = lowering.index(source), lowering.shape(source)
    if lowering.open_batch and composite.order:  # an axis of its own for the batch, which stays
        permutation = (0, *(axis + 1 for axis in composite.order))
        composite = Composite((1, *composite.before), permutation, composite.after)
    if not composite.order:
        _reshape(lowering, operator, index, lowering.index(result), composite.after)
        return
    version = 2 if result.dtype == np.int8 else 1
    if shape != composite.before:
        apart = lowering.like(result, f"{operator.name}_apart", composite.before)
        _reshape(lowering, operator, index, apart, composite.before)
        index = apart
    moved_shape = tuple(composite.before[axis] for axis in composite.order)
    last = moved_shape == composite.after
    moved = (
        lowering.index(result)
        if last
        else lowering.like(result, f"{operator.name}_moved", moved_shape)
    )
    order = lowering.integers(f"{operator.name}_order", composite.order)
    lowering.writer.operator("TRANSPOSE", [index, order], [moved], version=version)
    if not last:
        _reshape(lowering, operator, moved, lowering.index(result), composite.after)


def _reshape(
    lowering: Lowering, operator: Operator, source: int, target: int, shape: tuple[int, ...]
) -> None:
    shape = lowering.sizes(shape)
    name = f"{operator.name}_shape_{'x'.join(map(str, shape))}"
    lowering.writer.operator(
        "RESHAPE",
        [source, lowering.integers(name, shape)],
        [target],
        newShape=np.array(shape, np.int32),
    )
