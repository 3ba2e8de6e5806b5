"""Which of LiteRT's kernels take int16 activations (TFLite's int16x8), and since which version.

Versions: `tflite/tools/versioning/op_version.cc` of google-ai-edge/LiteRT. That a kernel is there,
and what it computes, is measured by `tests/exporter/ops/test_wide.py`. XNNPACK has none of them:
LiteRT's builtin kernels run. Left out are two that are there: of GELU no version says that it takes
int16, and SOFTMAX errs by up to two steps for each class.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSIONS: Mapping[str, int] = {
    "ADD": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 7,
    "GATHER": 4,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MIRROR_PAD": 3,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "QUANTIZE": 2,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESHAPE": 1,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "STRIDED_SLICE": 2,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TOPK_V2": 3,
    "TRANSPOSE": 5,
}

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "ADD": {"potScaleInt16": False},
    "SUB": {"potScaleInt16": False},
}
"""The schema's default is scales that are powers of two."""


class NoWideKernelError(Exception):
    """LiteRT has no int16 kernel of an operator."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def version_of(code: str) -> int:
    """The version of an operator whose tensors are int16.

    Raises:
        NoWideKernelError: there is no such kernel.
    """
    if code not in VERSIONS:
        raise NoWideKernelError(code)
    return VERSIONS[code]
