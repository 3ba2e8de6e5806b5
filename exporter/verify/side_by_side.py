"""The same inputs through a model's source and its converted forms, each in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.session import Feeding, Session, open_device
from exporter.conversion import Difference
from exporter.errors import ModelError
from exporter.graph.layout import NHWC_OF_NCHW, image_tensors
from exporter.graph.model import Graph
from runtimes.values import Array, load_arrays

TIMEOUT_S = 300.0
SEED = 20
_NCHW_OF_NHWC = (0, 3, 1, 2)


@dataclass(frozen=True)
class Form:
    """One way to run the model.

    Attributes:
        label: what the report calls it.
        path: of the file.
        dtypes: of its inputs, in order.
        channels_last: whether images are [N, H, W, C] there, as in TFLite.
    """

    label: str
    path: Path
    dtypes: tuple[str, ...]
    channels_last: bool = False


def random_inputs(graph: Graph, samples: int) -> dict[str, Array]:
    """Inputs of a graph by name: normal numbers, or integers over the whole of a small type."""
    generator = np.random.default_rng(SEED)
    arrays: dict[str, Array] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        shape = list(_own_shape(graph, name))
        shape[0] *= samples
        if tensor.dtype.kind == "f":
            arrays[name] = generator.standard_normal(shape).astype(np.float32)
        else:
            limits = np.iinfo(tensor.dtype)
            low, high = (limits.min, limits.max + 1) if tensor.dtype.itemsize == 1 else (0, 10)
            arrays[name] = generator.integers(low, high, shape).astype(tensor.dtype)
    return arrays


def given_inputs(graph: Graph, path: Path) -> dict[str, Array]:
    """Inputs from an npz file with one array for each input name.

    Raises:
        EdgewrightError: it is missing or damaged, an input is missing, or one has another shape or
            type.
    """
    arrays = load_arrays(str(path))
    for name in graph.inputs:
        if name not in arrays:
            raise ModelError(
                f"{path} has no array for input '{name}'",
                expected=", ".join(graph.inputs),
                found=", ".join(arrays),
                remedy="write it with numpy.savez(path, **{name: array})",
            )
        shape = _own_shape(graph, name)
        found = arrays[name].shape
        if len(found) != len(shape) or found[1:] != shape[1:] or found[0] % shape[0]:
            raise ModelError(
                f"the array for input '{name}' does not fit",
                expected=f"[samples * {shape[0]}, {', '.join(map(str, shape[1:]))}]",
                found=str(list(found)),
                remedy="bring it to the shape that the source has, with the samples on axis 0",
            )
        _check_type(name, arrays[name].dtype, tensor_type=graph.tensors[name].dtype)
    return {name: arrays[name] for name in graph.inputs}


def _check_type(name: str, found: np.dtype[Any], *, tensor_type: np.dtype[Any]) -> None:
    """Numbers of one kind, and small integers of one type: anything else means other values."""
    if found.kind == tensor_type.kind and (found == tensor_type or tensor_type.itemsize > 1):
        return
    remedy = f"give the values that the model takes, as array.astype(numpy.{tensor_type})"
    if tensor_type.kind == "f":
        remedy = (
            "give what the model was trained on: frames of 0 to 255 are often "
            "array.astype(numpy.float32) / 255, less the mean and over the deviation"
        )
    raise ModelError(
        f"the array for input '{name}' has another type",
        expected=str(tensor_type),
        found=str(found),
        remedy=remedy,
    )


def _own_shape(graph: Graph, name: str) -> tuple[int, ...]:
    """An input's shape as the source has it."""
    tensor = graph.tensors[name]
    if tensor.layout == "NHWC":
        return tuple(tensor.shape[axis] for axis in NHWC_OF_NCHW)
    return tensor.shape


def batch_of(graph: Graph) -> int:
    """How many samples go in at once: the first axis of every input.

    Raises:
        ModelError: inputs without one, or with several.
    """
    sizes = {_own_shape(graph, name)[:1] for name in graph.inputs}
    if len(sizes) != 1 or () in sizes:
        raise ModelError("the inputs have no batch in common", found=str(sorted(sizes)))
    return int(next(iter(sizes))[0])


def run_forms(
    graph: Graph, forms: Sequence[Form], inputs: Mapping[str, Array]
) -> tuple[dict[str, list[Array]], list[str]]:
    """The outputs of every form that runs, in the source's order of axes; and why others do not."""
    images = image_tensors(graph)
    outputs: dict[str, list[Array]] = {}
    notes = []
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder, open_device("local") as run:
        for form in forms:
            try:
                arrays = _run(run, graph, form, inputs, Path(folder))
            except ModelError as error:
                notes.append(f"{form.label} did not run: {error.problem}; {error.found}".strip())
                continue
            if form.channels_last:
                arrays = [
                    array.transpose(_NCHW_OF_NHWC) if name in images else array
                    for name, array in zip(graph.outputs, arrays, strict=True)
                ]
            outputs[form.label] = arrays
    return outputs, notes


def _run(
    session: Session, graph: Graph, form: Form, inputs: Mapping[str, Array], folder: Path
) -> list[Array]:
    images = image_tensors(graph)
    arrays = {}
    for index, (name, dtype) in enumerate(zip(graph.inputs, form.dtypes, strict=True)):
        array = inputs[name].astype(dtype)
        if form.channels_last and name in images and graph.tensors[name].layout != "NHWC":
            array = array.transpose(NHWC_OF_NCHW)
        arrays[f"input.{index}"] = np.ascontiguousarray(array)
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    session.run(
        form.path,
        folder / "inputs.npz",
        outputs=folder / "outputs.npz",
        feeding=Feeding(batch=batch_of(graph)),
        timeout_s=TIMEOUT_S,
    )
    found = load_arrays(str(folder / "outputs.npz"))
    return [found[f"output.{index}"] for index in range(len(found))]


def differences(graph: Graph, outputs: Mapping[str, Sequence[Array]]) -> list[Difference]:
    """Each two ways to run the model, compared over all outputs."""
    labels = list(outputs)
    return [
        _difference(graph, one, other, outputs[one], outputs[other])
        for index, one in enumerate(labels)
        for other in labels[index + 1 :]
    ]


def _difference(
    graph: Graph, one: str, other: str, first: Sequence[Array], second: Sequence[Array]
) -> Difference:
    values = differing = 0
    largest = relative = 0.0
    steps: list[float] = []
    for name, left, right in zip(graph.outputs, first, second, strict=True):
        if left.shape != right.shape:
            raise ModelError(
                f"output '{name}' has another shape in {other}",
                expected=str(list(left.shape)),
                found=str(list(right.shape)),
            )
        reals = left.astype(np.float64), right.astype(np.float64)
        distance = np.abs(reals[0] - reals[1])
        distance[np.isnan(reals[0]) & np.isnan(reals[1])] = 0.0
        furthest = float(distance.max(initial=0.0))
        values += distance.size
        differing += int(np.count_nonzero(distance))
        largest = max(largest, furthest)
        magnitude = float(np.abs(reals[0]).max(initial=0.0))
        relative = max(relative, furthest / magnitude if magnitude else furthest)
        scale = _scale_of(graph, name)
        if scale is not None:
            steps.append(furthest / scale)
    return Difference(
        one=one,
        other=other,
        values=values,
        differing=differing,
        max_difference=largest,
        max_lsb=max(steps) if len(steps) == len(graph.outputs) else None,
        max_relative=relative,
    )


def _scale_of(graph: Graph, name: str) -> float | None:
    """The size of one integer step in an output's own numbers."""
    tensor = graph.tensors[name]
    if tensor.dtype.kind != "f":
        return 1.0
    producer = graph.producer(name)
    if producer is None or producer.kind != "Dequantize":
        return None
    source = graph.tensors[producer.inputs[0]].quantization
    return None if source is None else float(source.scale)
