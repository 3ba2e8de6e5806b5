"""ONNX of any tool → .tflite, .onnx or .ort: read, made canonical, written, compared.

What can be carried exactly is carried; what cannot is refused, or quantized anew on request, with
the change reported for each layer. What the other tool left in float stays float, and is named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.build import replacing, sha256_of, write_bytes
from exporter.conversion import (
    Conversion,
    Difference,
    InFloat,
    Interface,
    Requantized,
    Rewrite,
    Saturating,
    Source,
)
from exporter.errors import EdgewrightError, ModelError, UnsupportedError
from exporter.graph import describe, dynamic_batch
from exporter.graph.intake import AXIS_OPSET, early_axes, open_onnx, refusing
from exporter.graph.mixed import FloatOperator, separate
from exporter.graph.model import Graph
from exporter.graph.normalize import normalize, with_shared_scales
from exporter.graph.pairs import PAIR_MAX, largest_pairs, summed_in_pairs
from exporter.graph.passes.changes import Changes
from exporter.graph.read import read

FORMATS = (".onnx", ".ort", ".tflite")
SAMPLES = 8
OPTION = "--integer-only"
"""The command line's word for `Wishes.integer_only`."""
IN_SOURCE, IN_ONNX, IN_TFLITE, IN_WIDE_TFLITE = (
    "the source in ONNX Runtime",
    "the converted ONNX in ONNX Runtime",
    "the .tflite in LiteRT, XNNPACK",
    "the .tflite in LiteRT, builtin int16 kernels",
)


@dataclass(frozen=True)
class Wishes:
    """What the user asks of a conversion.

    Attributes:
        shapes: of inputs, by name; "" names a model's only input.
        dynamic_batch: keep an open batch open, in place of 1.
        requantize: quantize anew what has no exact int8 form, or not one answer on every CPU.
        integer_only: refuse a quantized model of which operators compute in float.
        samples: how many random inputs to compare with; 0 compares nothing.
        inputs: an npz file with one array for each input, in place of random ones.
    """

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dynamic_batch: bool = False
    requantize: bool = False
    integer_only: bool = False
    samples: int = SAMPLES
    inputs: Path | None = None


DEFAULT = Wishes()


@dataclass(frozen=True)
class _Lowered:
    """The forms of one model, ready to be written."""

    model: ir.Model
    graph: Graph
    in_float: list[FloatOperator]


def convert(source: Path, target: Path, wishes: Wishes = DEFAULT) -> Conversion:
    """Convert an ONNX file; the target is written whole or not at all.

    Args:
        source: an .onnx file: float, QDQ, or with ONNX Runtime's integer operators.
        target: a .tflite, .onnx or .ort file; its suffix says which.
        wishes: what is allowed, and what to compare with.

    Returns:
        What was read, changed, left in float, and how far the forms differ.

    Raises:
        ModelError: the source is damaged, contradicts itself, or has open shapes; or the target
            has another suffix, or is the source.
        UnsupportedError: an operator, or a quantization, that has no form in the target.
        CanonicalError: quantization that no rewrite here brings to the canonical form.
    """
    if target.suffix not in FORMATS:
        raise ModelError(
            f"{target} has no format that is known",
            expected=", ".join(FORMATS),
            found=target.suffix or "no suffix",
            remedy="name the output MODEL.tflite, MODEL.onnx or MODEL.ort",
        )
    _check_apart(source, target)
    proto, model = open_onnx(source)
    changes = Changes(requantize=wishes.requantize)
    for name in early_axes(proto):
        changes.note(f"an axis, which opset {AXIS_OPSET} brought, is taken at its word", name)
    shared = _rewritten(model, source, wishes, changes)
    with refusing("the reading of its quantization", source):
        graph = read(shared)
        lowered = _Lowered(model, graph, separate(graph))
    left = [operator for operator in lowered.in_float if not operator.by_design]
    if wishes.integer_only and left:
        _refuse_floats(left)
    if wishes.dynamic_batch and target.suffix == ".tflite":
        _check_open(graph)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as name:
        forms, notes = _write(lowered, target, Path(name), source)
        found, samples, more = _compare(lowered.graph, proto, source, forms, wishes)
    return Conversion(
        source=_source(source, proto),
        target=str(target),
        bytes=target.stat().st_size,
        rewrites=_rewrites(changes),
        requantized=tuple(
            Requantized(node=c.node, what=c.rewrite, detail=c.detail)
            for c in changes
            if not c.exact
        ),
        in_float=tuple(
            InFloat(node=f.name, operator=f.kind, reason=f.reason, by_design=f.by_design)
            for f in lowered.in_float
        ),
        saturating=_saturating(lowered),
        inputs=_interface(graph, shared.graph.inputs),
        outputs=_interface(graph, shared.graph.outputs),
        samples=samples,
        differences=tuple(found),
        notes=(*notes, *more),
        beside=_beside(target),
    )


def _check_apart(source: Path, target: Path) -> None:
    for written in (target, *map(Path, _beside(target))):
        if source.exists() and written.exists() and written.samefile(source):
            raise ModelError(
                f"{written} is the source, which a conversion leaves as it is",
                expected="an output that is another file",
                found=f"the same file as {source}",
                remedy="name another output with -o",
            )


def _rewritten(model: ir.Model, source: Path, wishes: Wishes, changes: Changes) -> ir.Model:
    """Bring a model to the form that is lowered, in place; the form for TFLite."""
    if not wishes.dynamic_batch:
        normalize(model, source, wishes.shapes, changes)
        return with_shared_scales(model, changes)
    with refusing("the reading of its inputs' shapes", source):
        shapes, larger_shapes = dynamic_batch.shapes_of_two(model, wishes.shapes)
    larger, unheard = model.clone(), Changes(requantize=wishes.requantize)
    normalize(larger, source, larger_shapes, unheard)
    normalize(model, source, shapes, changes)
    shared = with_shared_scales(model, changes)
    with refusing("the opening of its batch", source):
        dynamic_batch.leave_open(shared, with_shared_scales(larger, unheard))
        dynamic_batch.leave_open(model, larger)
    return shared


def _check_open(graph: Graph) -> None:
    from exporter.tflite.context import OF_FIXED_BATCH, Lowering

    if not Lowering(graph).open_batch:
        kinds = sorted({o.kind for o in graph.operators if o.kind in OF_FIXED_BATCH})
        raise ModelError(
            "the .tflite cannot leave its batch open",
            expected="the batch as the first axis of each value, and operators that take any",
            found=", ".join(kinds) or "values that have the batch in another size",
            remedy=f"write MODEL.onnx, or leave out {dynamic_batch.OPTION}",
        )


def _beside(target: Path) -> tuple[str, ...]:
    from exporter.ort.mobile import config_path

    return (str(config_path(target)),) if target.suffix == ".ort" else ()


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs by name, from "NAME=1x3x224x224" or "1x3x224x224" ("" is its name).

    Raises:
        ModelError: a text that is no such thing.
    """
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split("x"))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1 or name in shapes:
            raise ModelError(
                f"--input {text} gives no shape",
                expected="NAME=1x3x224x224, once for each input",
                found=text,
            )
        shapes[name] = shape
    return shapes


def _refuse_floats(operators: list[FloatOperator]) -> None:
    first = operators[0]
    others = f"; and {len(operators) - 1} more" if len(operators) > 1 else ""
    raise UnsupportedError(
        first.name,
        first.kind,
        f"{first.reason}, so it computes in float{others}",
        f"quantize the model so that it is integer throughout, or leave out {OPTION}",
    )


def _write(
    lowered: _Lowered, target: Path, scratch: Path, source: Path
) -> tuple[dict[str, Path], list[str]]:
    """Write the target, and the forms to compare it with; say which there is none of."""
    from exporter.ort import mobile, qdq
    from exporter.tflite import lower

    forms, notes = {}, []
    tflite = target if target.suffix == ".tflite" else scratch / "model.tflite"
    onnx = target if target.suffix == ".onnx" else scratch / "model.onnx"
    try:
        with refusing("the writing of the .tflite", source):
            content = lower(lowered.graph)
    except EdgewrightError as error:
        if target.suffix == ".tflite":
            raise
        notes.append(f"it has no .tflite form: {error.problem}")
    else:
        write_bytes(tflite, content)
        forms[IN_WIDE_TFLITE if lowered.graph.is_wide else IN_TFLITE] = tflite
    with refusing("the writing of the .onnx", source):
        _save(qdq.lower(lowered.model), onnx)
    forms[IN_ONNX] = onnx
    if target.suffix == ".ort":
        signed = scratch / "signed.onnx"
        _save(qdq.lower(lowered.model, unsigned=False), signed)
        mobile.convert(signed, target)
    return forms, notes


def _save(model: ir.Model, path: Path) -> None:
    with replacing(path) as temporary:
        ir.save(model, temporary, format="protobuf")


def _compare(
    graph: Graph, proto: Any, source: Path, forms: Mapping[str, Path], wishes: Wishes
) -> tuple[list[Difference], int, list[str]]:
    """How far the forms differ; how many samples it was; what did not run."""
    from exporter.verify.side_by_side import (
        Form,
        batch_of,
        differences,
        given_inputs,
        random_inputs,
        run_forms,
    )

    if not wishes.samples and wishes.inputs is None:
        return [], 0, ["nothing was compared: no samples were asked for"]
    if wishes.inputs is not None:
        inputs = given_inputs(graph, wishes.inputs)
    else:
        inputs = random_inputs(graph, wishes.samples)
    dtypes = tuple(graph.tensors[name].dtype.name for name in graph.inputs)
    ways = [Form(IN_SOURCE, source, _source_dtypes(proto, graph))]
    ways += [
        Form(label, path, dtypes, channels_last=path.suffix == ".tflite")
        for label, path in sorted(forms.items())
    ]
    try:
        batch = batch_of(graph)
    except ModelError as error:
        return [], 0, [f"nothing was compared: {error.problem}"]
    outputs, notes = run_forms(graph, ways, inputs)
    samples = len(next(iter(inputs.values()))) // batch
    return differences(graph, outputs), samples, notes


def _source_dtypes(proto: Any, graph: Graph) -> tuple[str, ...]:
    from onnx import helper

    types = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    return tuple(
        np.dtype(helper.tensor_dtype_to_np_dtype(types[name])).name for name in graph.inputs
    )


def _source(path: Path, proto: Any) -> Source:
    activations, weights = describe.integer_types(proto)
    return Source(
        path=str(path),
        sha256=sha256_of(path),
        producer=describe.producer_of(proto),
        opset=describe.opset_of(proto),
        operators=describe.operators_of(proto),
        quantization=describe.quantization_of(proto),
        activations=activations,
        weights=weights,
    )


def _rewrites(changes: Changes) -> tuple[Rewrite, ...]:
    counts: dict[tuple[str, bool], int] = {}
    for change in changes:
        key = change.rewrite, change.exact
        counts[key] = counts.get(key, 0) + 1
    return tuple(
        Rewrite(what=what, count=count, exact=exact) for (what, exact), count in counts.items()
    )


def _saturating(lowered: _Lowered) -> tuple[Saturating, ...]:
    in_float = {operator.name for operator in lowered.in_float}
    found = []
    for operator, weight in summed_in_pairs(lowered.graph):
        pairs = largest_pairs(weight)
        channels = int((pairs > PAIR_MAX).sum())
        if channels and operator.name not in in_float:
            largest = int(pairs.max())
            found.append(
                Saturating(node=operator.name, largest=largest, channels=channels, of=len(pairs))
            )
    return tuple(found)


def _interface(graph: Graph, values: Sequence[ir.Value]) -> tuple[Interface, ...]:
    found = []
    for value in values:
        tensor = graph.tensors[str(value.name)]
        is_open = bool(value.shape) and not isinstance(value.shape[0], int)
        shape = (None, *tensor.shape[1:]) if is_open else tensor.shape
        found.append(Interface(name=tensor.name, dtype=tensor.dtype.name, shape=shape))
    return tuple(found)
