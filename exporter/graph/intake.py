"""Open an ONNX file of unknown origin: bounded, checked, and refused with a reason.

What leaves here is well formed: every value has one source, nodes are in order, every constant is
inside the model and as large as it says, every operator belongs to a domain that is known.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.errors import EdgewrightError, ModelError, UnsupportedError
from exporter.graph.external import load_external
from exporter.graph.passes.wide_opset import OPSET as WIDE_OPSET

MAX_FILE_BYTES = 2**31 - 1
"""What protobuf itself can hold."""
STANDARD = ("", "ai.onnx")
CONTRIBUTED = "com.microsoft"
OPSETS = range(7, 27)
OPSET = 20
"""Models of older opsets are brought to this one."""
AXIS_OPSET = 13
"""The one that gave QuantizeLinear and DequantizeLinear their `axis`."""
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
IR_VERSION = 10
"""The one that came with it."""


@contextmanager
def refusing(what: str, path: Path) -> Iterator[None]:
    """Whatever a library raises on a damaged model becomes one error that names the step.

    Raises:
        ModelError: with the first line of what the library said.
    """
    try:
        yield
    except EdgewrightError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"{path} fails at {what}",
            expected="a well-formed ONNX model",
            found=(lines[0] if lines else type(error).__name__)[:300],
            remedy="check it with onnx.checker.check_model(path, full_check=True)",
        ) from error


def open_onnx(path: Path) -> tuple[Any, ir.Model]:
    """Read, check and bring to opset 20.

    Returns:
        The protobuf as it came, its weights taken in, and the graph in opset 20 or newer.

    Raises:
        ModelError: it is missing, damaged, or contradicts itself.
        UnsupportedError: an operator of an unknown domain.
    """
    proto = parse_onnx(path)
    _check_domains(proto)
    _sort(proto)
    _check_nodes(proto)
    with refusing("the change of its opset", path):
        raised = _raise_opset(proto)
    with refusing("the reading of its graph", path):
        model = ir.from_proto(raised)
        model.ir_version = max(model.ir_version, IR_VERSION)
    return proto, model


def parse_onnx(path: Path) -> Any:
    """An ONNX file's protobuf with its weights taken in, each as large as its shape says.

    Raises:
        ModelError: it is missing, damaged, or contradicts itself.
    """
    proto = _parse(path)
    load_external(proto, path)
    for graph in _graphs(proto.graph):
        _check_sizes(graph)
    return proto


def early_axes(proto: Any) -> list[str]:
    """Quantizers with an `axis` in a model of an opset that has none.

    ONNX Runtime's quantize_static writes them per channel whatever the opset is, though its own
    sessions (1.23, 1.32) refuse such a model. The standard brought the attribute with opset 13, so
    there is one thing that it can mean.
    """
    version = next((o.version for o in proto.opset_import if o.domain in STANDARD), OPSET)
    nodes = [node for graph in _graphs(proto.graph) for node in graph.node]
    return [_called(n) for n in nodes if version < AXIS_OPSET and _has_axis(n)]


def _has_axis(node: Any) -> bool:
    quantizer = node.op_type in QUANTIZERS and node.domain in STANDARD
    return quantizer and any(attribute.name == "axis" for attribute in node.attribute)


def _parse(path: Path) -> Any:
    import google.protobuf.message
    import onnx

    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelError(
                f"{path} is too large to be read",
                expected=f"up to {MAX_FILE_BYTES} bytes",
                found=f"{size}",
                remedy="keep the weights in external files beside it",
            )
        proto = onnx.load_model(path, load_external_data=False, format="protobuf")
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing",
            expected="an .onnx file",
            found="no such file",
            remedy="name another file; torch.onnx.export(model, (example,), PATH) writes one",
        ) from None
    except (OSError, google.protobuf.message.DecodeError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as ONNX",
            expected="an ONNX model, whole",
            found=str(error)[:200],
            remedy="get the file again: it may be cut off, or of another format",
        ) from None
    if not proto.graph.node or not proto.opset_import:
        raise ModelError(
            f"{path} holds no ONNX graph",
            expected="a model with operators and an opset",
            found=f"{len(proto.graph.node)} operators, {len(proto.opset_import)} opsets",
            remedy="get the file again: it may be of another format",
        )
    return proto


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _check_sizes(graph: Any) -> None:
    """Every constant holds as many values as its shape says."""
    from onnx import helper

    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute)]
    for tensor in tensors:
        if tensor.data_type == 0:
            continue
        dims = list(tensor.dims)
        if min(dims, default=0) < 0:
            raise _misshapen(tensor, dims, "a negative size")
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except KeyError:
            raise _misshapen(tensor, dims, f"data type {tensor.data_type}") from None
        count = 1
        for size in dims:
            count *= size
        held = len(tensor.raw_data)
        packed = dtype.itemsize < 1 or "int4" in dtype.name or "int2" in dtype.name
        if held and not packed and held != count * dtype.itemsize:
            raise _misshapen(tensor, dims, f"{held} bytes of {dtype.name}")
        if not held and count > MAX_FILE_BYTES:
            raise _misshapen(tensor, dims, "fewer values")


def _misshapen(tensor: Any, dims: list[int], found: str) -> ModelError:
    return ModelError(
        f"constant '{tensor.name}' does not hold what its shape says",
        expected=f"{'x'.join(map(str, dims)) or 'one'} value(s)",
        found=found,
        remedy="export the model again",
    )


def _check_domains(proto: Any) -> None:
    functions = {(function.domain, function.name) for function in proto.functions}
    for graph in _graphs(proto.graph):
        for node in graph.node:
            known = node.domain in (*STANDARD, CONTRIBUTED)
            if not known and (node.domain, node.op_type) not in functions:
                raise UnsupportedError(
                    node.name or ", ".join(node.output),
                    node.op_type,
                    f"it belongs to the domain '{node.domain}', which only its maker can compute",
                    "export the model with standard operators",
                )
    if not any(opset.domain in STANDARD for opset in proto.opset_import):
        raise ModelError("the model names no opset of the standard operators")
    for opset in proto.opset_import:
        if opset.domain in STANDARD and opset.version not in OPSETS:
            raise ModelError(
                f"the model's opset {opset.version} cannot be read",
                expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
                found=str(opset.version),
                remedy="export it with opset 20",
            )


def _check_nodes(proto: Any) -> None:
    """Every standard operator has the inputs and attributes that the standard asks for."""
    from onnx import checker

    context = checker.DEFAULT_CONTEXT.__class__()
    context.ir_version = max(int(proto.ir_version), 3)
    imports = {opset.domain: opset.version for opset in proto.opset_import}
    version = next(imports[d] for d in STANDARD if d in imports)
    for graph in _graphs(proto.graph):
        for node in graph.node:
            inner = any(a.g.node or a.graphs for a in node.attribute)
            if node.domain not in STANDARD or inner:
                continue
            read_as = max(version, AXIS_OPSET) if _has_axis(node) else version  # see early_axes
            context.opset_imports = {**imports, "": read_as}
            try:
                checker.check_node(node, context)
            except (checker.ValidationError, UnicodeDecodeError) as error:
                raise ModelError(
                    f"{_called(node)} is not what the standard says",
                    expected=f"{node.op_type} of opset {read_as}",
                    found=str(error).splitlines()[0][:300],
                    remedy="export the model again",
                ) from None


def _sort(proto: Any) -> None:
    """Bring the nodes into an order in which every value is computed before it is read."""
    graph = proto.graph
    given = {value.name for value in (*graph.input, *graph.initializer)}
    given |= {value.values.name for value in graph.sparse_initializer}
    producer = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in producer or name in given:
                raise ModelError(
                    f"the value '{name}' is given twice",
                    expected="one source for each value",
                    found=f"another by {_called(node)}",
                    remedy="export the model again",
                )
            producer[name] = index
    before: dict[int, set[int]] = {}
    for index, node in enumerate(graph.node):
        names = _read_by(node)
        missing = [name for name in names if name not in producer and name not in given]
        if missing:
            raise ModelError(
                f"{_called(node)} reads '{missing[0]}', which nothing gives",
                expected="a constant, an input or the result of an operator",
                found="no such value",
                remedy="export the model again; the constant may have been cut out of it",
            )
        before[index] = {producer[name] for name in names if name in producer}
    if any(max(sources, default=-1) >= index for index, sources in before.items()):
        _reorder(graph, before)
    missing = [v.name for v in graph.output if v.name not in producer and v.name not in given]
    if missing:
        raise ModelError(
            f"the output '{missing[0]}' is computed by nothing", remedy="export the model again"
        )


def _reorder(graph: Any, before: dict[int, set[int]]) -> None:
    try:
        order = list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError as error:
        names = " → ".join(_called(graph.node[index]) for index in error.args[1][:6])
        raise ModelError(
            "the graph runs in a circle",
            expected="operators that do not wait for each other",
            found=names,
            remedy="export the model again",
        ) from None
    nodes = [type(graph.node[0])() for _ in order]
    for copy, index in zip(nodes, order, strict=True):
        copy.CopyFrom(graph.node[index])
    del graph.node[:]
    graph.node.extend(nodes)


def _read_by(node: Any) -> list[str]:
    """The values of the outer graph that a node reads, those of its own graphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            own = {value.name for value in (*inner.input, *inner.initializer)}
            own |= {name for child in inner.node for name in child.output}
            names += [n for child in inner.node for n in _read_by(child) if n not in own]
    return names


def _called(node: Any) -> str:
    return f"{node.op_type} '{node.name or ', '.join(node.output)}'"


def _raise_opset(proto: Any) -> Any:
    """The model in opset 20, if it is older; in 21, which knows int16, if a constant is int16."""
    from onnx import TensorProto, version_converter

    version = next(o.version for o in proto.opset_import if o.domain in STANDARD)
    # Up to version 3, constants had to be listed as inputs as well; many files do not care.
    proto.ir_version = max(proto.ir_version, 4)
    wide = (TensorProto.INT16, TensorProto.UINT16)
    is_wide = any(tensor.data_type in wide for tensor in proto.graph.initializer)
    wanted = WIDE_OPSET if is_wide else OPSET
    return proto if version >= wanted else version_converter.convert_version(proto, wanted)
