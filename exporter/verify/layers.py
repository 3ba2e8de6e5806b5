"""Layer by layer: where error enters, and whether each operator alone is the same in every runtime.

- SQNR: the int8 network's values against the fp32 network's, so it holds all error up to there.
- TFLite: each operator alone, from the reference's integers, in LiteRT with XNNPACK (int16: with
  LiteRT's builtin kernels).
- ONNX Runtime: the values inside the shipped file against the reference's.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exporter.build import GOLDEN, MANIFEST, Certificate, LayerParity, Manifest, load_json
from exporter.graph import integer
from exporter.graph.layout import NHWC_OF_NCHW, PLAIN, image_tensors
from exporter.graph.model import Array, Graph, Operator, Tensor
from exporter.graph.read import load, read, read_file
from exporter.progress import Reporter, Silent
from exporter.trained import CHANNEL_FACTORS, CHANNEL_ORDER, load_trained
from exporter.verify.parity import ON_WIDE_KERNELS, ON_XNNPACK
from runtimes.values import load_arrays

SAMPLES = 16
UNSIGNED_SHIFT = 128


@dataclass(frozen=True)
class Difference:
    """How far a runtime's integers are from the reference's."""

    differing: int
    values: int
    max_lsb: int


@dataclass(frozen=True)
class LayerError:
    """One operator of the canonical graph.

    Attributes:
        name: of its output.
        kind: of the operator.
        weights: what the file calls them, as in the lists of layers; "" where it has none.
        sqnr_db: 10 log10 of the power of the fp32 values over that of the error; None where the
            fp32 file has no such value.
        tflite: the operator alone, in LiteRT with XNNPACK; None where it cannot run alone.
        onnx: the value inside the shipped .onnx file; None where ONNX Runtime has fused it away.
        in_int16: whether it reads or gives int16 values, which LiteRT's builtin kernels compute.
    """

    name: str
    kind: str
    weights: str
    sqnr_db: float | None
    tflite: Difference | None
    onnx: Difference | None
    in_int16: bool = False

    @property
    def layer(self) -> str:
        """What people call it: the module of its weights, else its output."""
        return self.weights.removesuffix("_weight") or self.name


def layer_errors(
    directory: Path, samples: int = SAMPLES, reporter: Reporter | None = None
) -> list[LayerError]:
    """Compare every operator of a build, over its first golden inputs.

    Returns:
        A row for each operator, in the graph's order.

    Raises:
        BuildError: a file is missing.
        UnsupportedError: an operator that the integer reference does not know.
    """
    reporter = reporter if reporter is not None else Silent()
    manifest = load_json(directory / MANIFEST, Manifest)
    graph = read_file(directory / f"{manifest.name}.qdq.onnx")
    frames = load_arrays(str(directory / GOLDEN))["input.0"][:samples]
    given = as_given(graph, frames)
    with reporter.stage("layers", len(graph.operators) + 3) as advance:
        expected = integer.run(graph, [given])
        advance(1, "")
        real = _real_values(graph, load(directory / f"{manifest.name}.fp32.onnx"), given)
        trained = load_trained(directory / f"{manifest.name}.trained.safetensors")
        real = with_channels(graph, real, trained)
        advance(1, "")
        shipped = shipped_values(directory / f"{manifest.name}.int8.onnx", graph, given)
        advance(1, "")
        rows = []
        for operator in graph.operators:
            rows.append(_row(graph, operator, expected, real, shipped))
            advance(1, operator.kind)
    return rows


def worst_first(errors: list[LayerError]) -> list[LayerError]:
    """By SQNR; operators without one at the end, in their order."""
    return sorted(errors, key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db)


def with_layers(certificate: Certificate, errors: list[LayerError]) -> Certificate:
    """The certificate with the operators alone in TFLite, in the graph's order."""
    rows = tuple(
        LayerParity(
            layer=error.layer,
            runtime=ON_WIDE_KERNELS if error.in_int16 else ON_XNNPACK,
            values=error.tflite.values,
            differing=error.tflite.differing,
            max_lsb=error.tflite.max_lsb,
        )
        for error in errors
        if error.tflite is not None
    )
    return certificate.model_copy(update={"layers": rows})


def as_given(graph: Graph, frames: Array) -> Array:
    """Golden inputs, which are NHWC, as a graph's first input takes them: a float one is NCHW."""
    if graph.tensors[graph.inputs[0]].layout == "NHWC" or frames.ndim != 4:
        return frames
    moved: Array = np.ascontiguousarray(np.moveaxis(frames, -1, 1))
    return moved


def _row(
    graph: Graph,
    operator: Operator,
    expected: dict[str, Array],
    real: dict[str, Array],
    shipped: dict[str, Array],
) -> LayerError:
    name = next(output for output in operator.outputs if output)
    tensor = graph.tensors[name]
    return LayerError(
        name=name,
        kind=operator.kind + (f"+{operator.activation}" if operator.activation else ""),
        weights=_weights(graph, operator),
        sqnr_db=_sqnr(tensor, expected[name], real.get(name)),
        tflite=alone(graph, operator, expected),
        onnx=difference(expected[name], shipped.get(name)),
        in_int16=graph.in_int16(operator),
    )


def _weights(graph: Graph, operator: Operator) -> str:
    if operator.kind not in ("Conv", "ConvTranspose", "Gemm"):
        return ""
    name = operator.inputs[1]
    return name.removesuffix("_integers") if graph.tensors[name].data is not None else ""


def _sqnr(tensor: Tensor, integers: Array, real: Array | None) -> float | None:
    if real is None or tensor.quantization is None or real.shape != integers.shape:
        return None
    scale, zero_point = float(tensor.quantization.scale), tensor.quantization.zero_point
    found = (integers.astype(np.float64) - zero_point) * scale
    noise = float(np.square(found - real).sum())
    power = float(np.square(real.astype(np.float64)).sum())
    if noise == 0 or power == 0:
        return None
    return 10.0 * math.log10(power / noise)


def difference(expected: Array, found: Array | None) -> Difference | None:
    """Of uint8 values to int8 ones, too, by 128; None where there is nothing of that shape."""
    if found is None or found.shape != expected.shape:
        return None
    shift = UNSIGNED_SHIFT if found.dtype == np.uint8 and expected.dtype == np.int8 else 0
    apart = np.abs(expected.astype(np.int64) - found.astype(np.int64) + shift)
    return Difference(int(np.count_nonzero(apart)), apart.size, int(apart.max(initial=0)))


def alone(graph: Graph, operator: Operator, expected: dict[str, Array]) -> Difference | None:
    """One operator as a .tflite file of its own, fed with the reference's integers."""
    from exporter.tflite import lower
    from runtimes.backend import open_model

    names = [name for name in (*operator.inputs, *operator.outputs) if name]
    values = [n for n in dict.fromkeys(operator.inputs) if n and graph.tensors[n].data is None]
    outputs = [name for name in operator.outputs if name]
    images = image_tensors(graph)
    kept = {
        name: replace(graph.tensors[name], layout="" if name in images else PLAIN) for name in names
    }
    own = graph.float_layers & set(operator.inputs)
    single = Graph(operator.name, kept, [operator], values, outputs, own)
    if any((name in images) != (name in image_tensors(single)) for name in (*values, *outputs)):
        return None
    samples = {name: expected[name].reshape(-1, *graph.tensors[name].shape) for name in values}
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        path = Path(folder) / "one.tflite"
        path.write_bytes(lower(single))
        backend = open_model(path)
        found = []
        for index in range(len(samples[values[0]])):
            arrays = [_stored(samples[name][index], name in images) for name in values]
            backend.set_inputs(arrays)
            backend.invoke()
            found.append(backend.get_outputs()[0])
        backend.close()
    stacked = np.concatenate(found)
    if outputs[0] in images:
        stacked = np.moveaxis(stacked, -1, 1)
    return difference(expected[outputs[0]], stacked)


def _stored(array: Array, image: bool) -> Array:
    """A tensor as TFLite stores it."""
    stored: Array = np.ascontiguousarray(array.transpose(NHWC_OF_NCHW) if image else array)
    return stored


def _real_values(canonical: Graph, model: Any, given: Array) -> dict[str, Array]:
    """Values of the fp32 network by the names that the canonical graph has for them.

    Operators of a kind follow each other in the same order in both. They are paired from the end:
    the fp32 network has the arithmetic on frames in front.
    """
    real = read(model)
    values = {value.name: value for node in model.graph for value in node.outputs}
    wanted = {}
    for kind in {operator.kind for operator in canonical.operators}:
        own = [operator for operator in canonical.operators if operator.kind == kind]
        others = [operator for operator in real.operators if operator.kind == kind]
        for operator, other in zip(reversed(own), reversed(others), strict=False):
            value = values.get(other.outputs[0])
            if value is None or operator.activation != other.activation:
                continue
            readers = [node for node, _ in value.uses()]
            fused = other.activation and len(readers) == 1
            wanted[operator.outputs[0]] = str((readers[0].outputs[0] if fused else value).name)
    found = _run_with_values(model, set(wanted.values()), given)
    return {name: found[value] for name, value in wanted.items() if value in found}


def with_channels(
    graph: Graph, real: dict[str, Array], trained: dict[str, Array]
) -> dict[str, Array]:
    """Values of the fp32 network with their channels scaled and ordered as the int8 network's are.

    Args:
        graph: the canonical graph.
        real: [N, C, ...] by name.
        trained: the checkpoint of integers, which says what became of channels.
    """
    factors, order = (
        {
            key.removeprefix(start).replace(".", "_"): trained[key]
            for key in trained
            if key.startswith(start)
        }
        for start in (CHANNEL_FACTORS, CHANNEL_ORDER)
    )
    layer_of: dict[str, str] = {}
    for operator in graph.operators:
        # What is no layer passes channels on, or they would not have been touched.
        layer = _weights(graph, operator) or layer_of.get(operator.inputs[0], "")
        layer_of.update(dict.fromkeys(operator.outputs, layer))
    moved = dict(real)
    for name, array in real.items():
        layer = layer_of.get(name, "")
        if layer in factors:
            shape = (1, -1, *(1,) * (array.ndim - 2))
            moved[name] = array * factors[layer].reshape(shape)
        if layer in order:
            moved[name] = moved[name].take(order[layer], axis=1)
    return moved


def shipped_values(path: Path, graph: Graph, given: Array) -> dict[str, Array]:
    """Integers inside the shipped .onnx by the canonical graph's names."""
    model = load(path)
    by_name = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear":
            source = node.inputs[0].producer()
            if source is not None:
                by_name[str(source.outputs[0].name)] = str(node.outputs[0].name)
            while source is not None and source.op_type in ("Relu", "Clip"):
                source = source.inputs[0].producer()
                if source is not None:  # unless it has a quantization of its own
                    by_name.setdefault(str(source.outputs[0].name), str(node.outputs[0].name))
    wanted = {n: by_name.get(n, n) for o in graph.operators for n in o.outputs if n}
    found = _run_with_values(model, set(wanted.values()), given)
    return {name: found[value] for name, value in wanted.items() if value in found}


def _run_with_values(model: Any, wanted: set[str], given: Array) -> dict[str, Array]:
    """Run an ONNX model and keep values by name; names that it lacks are left out."""
    import onnx_ir as ir
    import onnxruntime

    known = {value.name: value for node in model.graph for value in node.outputs}
    outputs = {value.name for value in model.graph.outputs}
    for name in sorted(wanted):
        value = known.get(name)
        if value is not None and name not in outputs and value.type is not None:
            model.graph.outputs.append(value)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, {session.get_inputs()[0].name: given})
    return dict(zip(names, arrays, strict=True))
