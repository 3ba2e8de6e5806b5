"""What must hold of the files' structure so that integers are all that is computed, and alike."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from exporter.build import CheckResult
from exporter.graph.model import Array, Graph, Operator
from exporter.quantize.scheme import PAIR_MAX
from exporter.tflite.reader import TfliteFile
from exporter.verify.scales import result

RATIO_LIMIT = 256.0
"""Requantization ratios from here on are refused or done inexactly by XNNPACK."""


def no_float_tensors(graph: Graph, file: TfliteFile) -> CheckResult:
    """No FLOAT32 tensor in the .tflite, save inputs and outputs that the recipe wants as floats."""
    interface = {
        name for name in (*graph.inputs, *graph.outputs) if graph.tensors[name].dtype == np.float32
    }
    faults = [
        f"'{tensor.name}' is FLOAT32"
        for tensor in file.tensors
        if tensor.dtype == np.float32 and tensor.name not in interface
    ]
    return result("no float tensor", len(file.tensors), faults, "tensors, all integers")


def no_transposes(file: TfliteFile) -> CheckResult:
    """No TRANSPOSE operator in the .tflite."""
    found = [operator for operator in file.operators if operator.code == "TRANSPOSE"]
    faults = [f"{len(found)} TRANSPOSE operators"] if found else []
    return result("no transpose", len(file.operators), faults, "operators, no TRANSPOSE")


def integer_kernels(graph: Graph, onnx_file: Path) -> CheckResult:
    """Each convolution and dense layer is one integer kernel in ONNX Runtime's optimized graph."""
    counts = optimized_operators(onnx_file)
    kinds = Counter(operator.kind for operator in graph.operators)
    faults = [
        f"{counts[kernel]} {kernel} for {kinds[kind]} {kind}"
        for kind, kernel in (("Conv", "QLinearConv"), ("Gemm", "QGemm"), ("Add", "QLinearAdd"))
        if counts[kernel] != kinds[kind]
    ]
    compared = kinds["Conv"] + kinds["Gemm"] + kinds["Add"]
    return result("integer kernels in ONNX Runtime", compared, faults, "operators, all integer")


def optimized_operators(path: Path) -> Counter[str]:
    """Operators by type after ONNX Runtime's default optimization."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
    return Counter(node.op_type for node in optimized.graph.node)


def pair_rule(graph: Graph) -> CheckResult:
    """No two adjacent weights of one sign sum to more than 128, in either memory order."""
    faults = []
    checked = 0
    for operator in graph.operators:
        if operator.kind not in ("Conv", "Gemm") or _is_depthwise(graph, operator):
            continue
        weight = graph.tensors[operator.inputs[1]].data
        if weight is None:
            continue
        checked += 1
        largest = _largest_pair(weight)
        if largest > PAIR_MAX:
            faults.append(f"'{operator.name}' has a pair that sums to {largest}")
    return result("pair rule (no 16-bit saturation)", checked, faults, "dense weights")


def _is_depthwise(graph: Graph, operator: Operator) -> bool:
    groups = int(operator.attributes.get("group", 1))
    return groups > 1 and groups == graph.tensors[operator.inputs[0]].shape[1]


def _largest_pair(weight: Array) -> int:
    orders = [weight.reshape(len(weight), -1)]
    if weight.ndim == 4:
        orders.append(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1))
    largest = 0
    for order in orders:
        padded = np.pad(order.astype(np.int32), ((0, 0), (0, order.shape[1] % 2)))
        pairs = padded.reshape(len(order), -1, 2)
        for sign in (1, -1):
            largest = max(largest, int((sign * pairs).clip(min=0).sum(-1).max(initial=0)))
    return largest


def requantization_ratios(graph: Graph) -> CheckResult:
    """Every ratio of scales lies where the kernels compute exactly."""
    faults = []
    checked = 0
    for operator in graph.operators:
        if operator.kind not in ("Conv", "Gemm", "Add", "ReduceMean"):
            continue
        checked += 1
        ratio = _largest_ratio(graph, operator)
        if ratio >= RATIO_LIMIT:
            faults.append(f"'{operator.name}' rescales by {ratio:.3g}")
    return result("requantization ratios", checked, faults, f"ratios, all under {RATIO_LIMIT:g}")


def _largest_ratio(graph: Graph, operator: Operator) -> float:
    output = graph.tensors[operator.outputs[0]].quantization
    if output is None:
        return 0.0
    scales = [graph.tensors[name].quantization for name in operator.inputs[:2] if name]
    known = [float(np.max(q.scale)) for q in scales if q is not None]
    product = operator.kind in ("Conv", "Gemm")
    return (float(np.prod(known)) if product else max(known)) / float(output.scale)
