"""One lowering a function, in small files by family. Importing this registers them all."""

from exporter.tflite.ops import (
    activation,
    boundary,
    conv,
    dense,
    elementwise,
    index,
    matmul,
    normalize,
    pointwise,
    pool,
    reduce,
    resize,
    select,
    shape,
    table,
    transposed,
)

__all__ = [
    "activation",
    "boundary",
    "conv",
    "dense",
    "elementwise",
    "index",
    "matmul",
    "normalize",
    "pointwise",
    "pool",
    "reduce",
    "resize",
    "select",
    "shape",
    "table",
    "transposed",
]
