"""What must hold of the files' structure so that integers are all that is computed, and alike."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from exporter.build import CheckResult
from exporter.graph.islands import float_layers, is_float_layer, islands
from exporter.graph.layout import REARRANGING, image_tensors
from exporter.graph.model import Graph, Operator
from exporter.graph.pairs import PAIR_MAX, largest_pairs, summed_in_pairs
from exporter.tflite.reader import FileOperator, TfliteFile
from exporter.verify.scales import result

RATIO_LIMIT = 256.0
"""Requantization ratios from here on are refused or done inexactly by XNNPACK."""


def no_float_tensors(graph: Graph, file: TfliteFile) -> CheckResult:
    """No FLOAT32 tensor in the .tflite but inside named islands, and layers left float on request.

    Inputs and outputs that the recipe wants as floats do not count either.
    """
    interface = {
        name for name in (*graph.inputs, *graph.outputs) if graph.tensors[name].dtype == np.float32
    }
    named = islands(graph) + float_layers(graph)
    allowed = {name for operator in named for name in operator.outputs}
    readers: dict[int, list[FileOperator]] = {}
    for operator in file.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    floats = [
        index
        for index, tensor in enumerate(file.tensors)
        if tensor.dtype == np.float32 and tensor.name not in interface
    ]
    faults = [
        f"'{file.tensors[index].name}' is FLOAT32"
        for index in floats
        if not _ends(file, readers, index) <= allowed
    ]
    what = f"tensors, {len(floats)} of them inside {len(named)} named float islands"
    if graph.float_layers:
        what += f", {len(graph.float_layers)} of these layers left float on request"
    return result("no float tensor", len(file.tensors), faults, what)


def _ends(file: TfliteFile, readers: dict[int, list[FileOperator]], start: int) -> set[str]:
    """The names of the tensors that are no longer float, behind a float one."""
    ends: set[str] = set()
    pending, seen = [start], {start}
    while pending:
        index = pending.pop()
        followers = readers.get(index, [])
        if not followers:
            ends.add(file.tensors[index].name)
        for operator in followers:
            for output in operator.outputs:
                if file.tensors[output].dtype != np.float32:
                    ends.add(file.tensors[output].name)
                elif output not in seen:
                    seen.add(output)
                    pending.append(output)
    return ends


def no_transposes(graph: Graph, file: TfliteFile) -> CheckResult:
    """No TRANSPOSE in the .tflite but those of the model itself."""
    found = sum(operator.code == "TRANSPOSE" for operator in file.operators)
    images = image_tensors(graph)
    own = sum(
        operator.kind == "Transpose" or bool({*operator.inputs, *operator.outputs} & images)
        for operator in graph.operators
        if operator.kind in REARRANGING
    )
    faults = [f"{found} TRANSPOSE for {own} that the model has"] if found > own else []
    what = f"operators, {found} TRANSPOSE, of the model's own" if found else "operators, none"
    return result("no transpose added", len(file.operators), faults, what)


def integer_kernels(graph: Graph, onnx_file: Path) -> CheckResult:
    """Each convolution and dense layer is one integer kernel in ONNX Runtime's optimized graph."""
    counts = optimized_operators(onnx_file)
    kinds = Counter(operator.kind for operator in graph.operators if _is_integer(graph, operator))
    faults = [
        f"{counts[kernel]} {kernel} for {kinds[kind]} {kind}"
        for kind, kernel in (("Conv", "QLinearConv"), ("Gemm", "QGemm"), ("Add", "QLinearAdd"))
        if counts[kernel] != kinds[kind]
    ]
    compared = kinds["Conv"] + kinds["Gemm"] + kinds["Add"]
    return result("integer kernels in ONNX Runtime", compared, faults, "operators, all integer")


def _is_integer(graph: Graph, operator: Operator) -> bool:
    """Whether ONNX Runtime has an integer kernel: it adds a constant in float (exactly so).

    With int16 values it has none.
    """
    operands = [graph.tensors[name] for name in operator.inputs[:2] if name]
    if is_float_layer(graph, operator) or graph.in_int16(operator):
        return False
    return operator.kind != "Add" or all(operand.data is None for operand in operands)


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
    """No two adjacent weights of one sign sum to more than 128 that ONNX Runtime adds in pairs."""
    faults = []
    weights = summed_in_pairs(graph)
    for operator, weight in weights:
        largest = int(largest_pairs(weight).max(initial=0))
        if largest > PAIR_MAX:
            faults.append(f"'{operator.name}' has a pair that sums to {largest}")
    return result("pair rule (no 16-bit saturation)", len(weights), faults, "dense weights")


def requantization_ratios(graph: Graph) -> CheckResult:
    """Every ratio of scales lies where the kernels compute exactly."""
    faults = []
    checked = 0
    for operator in graph.operators:
        if operator.kind not in ("Conv", "Gemm", "Add", "ReduceMean"):
            continue
        if is_float_layer(graph, operator) or graph.in_int16(operator):
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
