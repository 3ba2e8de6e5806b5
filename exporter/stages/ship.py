"""What ships: fp32 files, int8 files, golden inputs and outputs, packages, the manifest."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from exporter.build import (
    ACCURACY,
    CERTIFICATE,
    GOLDEN,
    MANIFEST,
    Artifact,
    Companion,
    Layout,
    Manifest,
    PackageInfo,
    Preprocessing,
    TensorInfo,
    replacing,
    save_json,
    sha256_of,
)
from exporter.errors import RecipeError
from exporter.gate.units import BYTES
from exporter.graph import passes
from exporter.graph.layout import image_tensors
from exporter.graph.model import Graph, Tensor
from exporter.graph.read import load, read, read_file
from exporter.metadata import TFLITE_ENTRY, describe
from exporter.onnx_export import WithFrames, to_onnx
from exporter.ort import mobile, qdq, qoperator
from exporter.pack import pack
from exporter.quantize.quantize import folded
from exporter.stages.context import Context, Figures, bar, sample_of
from exporter.stages.quantize import save_onnx
from exporter.tflite import lower_file
from exporter.tflite.layout import shape_of
from exporter.tflite.reader import read_tflite

if TYPE_CHECKING:
    from devices.session import Feeding

SHIPPED = (
    ("fp32.onnx", "onnx", "fp32"),
    ("fp32.tflite", "tflite", "fp32"),
    ("int8.tflite", "tflite", "int8"),
    ("int8.onnx", "onnx", "int8"),
    ("int8.ort", "ort", "int8"),
)
ONNX_FORMS: dict[str, Callable[[ir.Model], ir.Model]] = {
    "qoperator": qoperator.lower,
    "s8s8": partial(qdq.lower, unsigned=False),
}
PACKED = ("int8.tflite", "int8.onnx", "int8.ort")
COMPANIONS = {
    f"int8.ort{mobile.CONFIG_SUFFIX}": "operators that a minimal build of ONNX Runtime needs",
    "ptq.json": "what post-training quantization tried and chose",
}
"""Files beside the artifacts, where they were written."""

VERSIONED = ("edgewright", "torch", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


def float_files(context: Context) -> Figures:
    """Write NAME.fp32.onnx and NAME.fp32.tflite: the network before any compression."""
    spec = context.spec
    with context.reporter.stage("export fp32", 2) as advance:
        network: torch.nn.Module = folded(context.module(context.state_path("fp32")), spec)
        example = torch.zeros((2, *spec.shape[1:]))
        if spec.takes_frames:
            network = WithFrames(network, spec)
            example = torch.zeros((2, *spec.sample_shape), dtype=getattr(torch, spec.dtype))
        model = to_onnx(network, example, context.recipe.name, context.recipe.output.names)
        passes.pool_padding(model)
        passes.clean(model)
        advance(1, "")
        about = describe(spec, read(model), read_labels(context.recipe.output.labels))
        about.write_to(model)
        save_onnx(model, context, "fp32.onnx")
        entry = {TFLITE_ENTRY: about.text()}
        lower_file(context.path("fp32.onnx"), context.path("fp32.tflite"), entry)
    return {}


def integer_files(context: Context) -> Figures:
    """Lower the canonical graph to NAME.int8.tflite, .onnx and .ort."""
    canonical = load(context.path("qdq.onnx"))
    about = describe(context.spec, read(canonical), read_labels(context.recipe.output.labels))
    about.write_to(canonical)
    forms = context.recipe.output.onnx_forms
    with context.reporter.stage("lower to int8 files", 3 + len(forms)) as advance:
        entry = {TFLITE_ENTRY: about.text()}
        lower_file(context.path("qdq.onnx"), context.path("int8.tflite"), entry)
        advance(1, "")
        save_onnx(qdq.lower(canonical), context, "int8.onnx")
        advance(1, "")
        signed = context.directory / "stages" / "int8.signed.onnx"
        with replacing(signed) as temporary:
            ir.save(qdq.lower(canonical, unsigned=False), temporary, format="protobuf")
        mobile.convert(signed, context.path("int8.ort"))
        signed.unlink()
        advance(1, "")
        for form in bar(advance, forms):
            save_onnx(ONNX_FORMS[form](canonical), context, f"int8.{form}.onnx")
    return {}


def integer_paths(context: Context) -> tuple[Path, ...]:
    """The int8 files of a recipe."""
    forms = context.recipe.output.onnx_forms
    more = (f"int8.ort{mobile.CONFIG_SUFFIX}", *(f"int8.{form}.onnx" for form in forms))
    return tuple(context.path(suffix) for suffix in (*PACKED, *more))


def golden_samples(context: Context, limit: int | None = None) -> Iterator[tuple[Any, Any]]:
    """(golden inputs [n, ...], labels [n] or None) in batches, from the test data if there is any.

    Without test data, from what calibrates.
    """
    has_test = context.recipe.data.test is not None
    context.seed()
    left = limit
    for batch in context.loader("test" if has_test else "calibration", shuffle=False):
        samples = sample_of(batch)
        labels = batch[1].numpy() if has_test and isinstance(batch, (tuple, list)) else None
        if left is not None:
            samples, labels = samples[:left], None if labels is None else labels[:left]
            left -= len(samples)
        if len(samples):
            yield context.spec.golden(samples), labels
        if left is not None and left <= 0:
            return


def golden(context: Context) -> Figures:
    """Write golden.npz: test inputs, and the int8 file's outputs in ONNX Runtime."""
    from devices.session import open_device
    from runtimes.values import load_arrays

    with context.reporter.stage("golden inputs", 2) as advance:
        batches = [inputs for inputs, _ in golden_samples(context, context.recipe.verify.samples)]
        inputs = {"input.0": np.concatenate(batches)}
        scratch = context.directory / "stages" / "golden_inputs.npz"
        outputs = context.directory / "stages" / "golden_outputs.npz"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        save_npz(scratch, inputs)
        advance(1, "")
        with open_device("local") as session:
            session.run(
                context.path("int8.onnx"),
                scratch,
                outputs=outputs,
                feeding=_onnx_feeding(read_file(context.path("qdq.onnx"))),
            )
        save_npz(context.directory / GOLDEN, inputs | load_arrays(str(outputs)))
        scratch.unlink()
        outputs.unlink()
    return {}


def _onnx_feeding(graph: Graph) -> Feeding:
    """How arrays go into and come out of the int8 .onnx file."""
    from devices.session import Feeding

    images = image_tensors(graph)
    inputs, outputs = (
        tuple(_layout(graph.tensors[name], "onnx", image=name in images) for name in names)
        for names in (graph.inputs, graph.outputs)
    )
    return Feeding(input_layouts=inputs, output_layouts=outputs)


def save_npz(path: Path, arrays: dict[str, Any]) -> None:
    """Write compressed arrays, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def packages(context: Context) -> Figures:
    """Write a package beside each int8 file."""
    with context.reporter.stage("pack", len(PACKED)) as advance:
        for suffix in bar(advance, PACKED):
            pack(context.path(suffix), context.path(f"{suffix}.ewp"))
    _say_if_larger(context)
    return {}


def _say_if_larger(context: Context) -> None:
    """Warn where the package is more than pruning was to reach: trained integers move."""
    section = context.recipe.prune
    if section is None or section.until is None:
        return
    path = context.path("int8.tflite.ewp")
    if path.stat().st_size > section.until:
        context.reporter.warn(
            f"{path.name}: {BYTES.format(path.stat().st_size)}, more than until = "
            f"{BYTES.format(section.until)} in [prune]; allow more sparsity, or set a smaller until"
        )


def manifest(context: Context) -> Figures:
    """Write manifest.json: every shipped file with its hash, inputs and outputs.

    What was proven of the files before, and how accurate they were, goes first: a run that stops
    behind this must not leave it to these.
    """
    for name in (CERTIFICATE, ACCURACY):
        (context.directory / name).unlink(missing_ok=True)
    canonical = read_file(context.path("qdq.onnx"))
    real = read(load(context.path("fp32.onnx")))
    artifacts = tuple(
        _artifact(context, suffix, form, precision, canonical if precision == "int8" else real)
        for suffix, form, precision in (*SHIPPED, *_more_forms(context))
    )
    document = Manifest(
        name=context.recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: metadata.version(name) for name in VERSIONED}
        | {"python": platform.python_version(), "machine": platform.machine()},
        source=context.recipe.model.factory,
        artifacts=artifacts,
        preprocessing=Preprocessing(mean=context.spec.mean, std=context.spec.std),
        labels=read_labels(context.recipe.output.labels),
        companions=_companions(context),
        activations=context.recipe.quantize.activations,
    )
    save_json(context.directory / MANIFEST, document)
    return {}


def _companions(context: Context) -> tuple[Companion, ...]:
    return tuple(
        Companion(
            path=path.name, bytes=path.stat().st_size, sha256=sha256_of(path), purpose=purpose
        )
        for suffix, purpose in COMPANIONS.items()
        if (path := context.path(suffix)).is_file()
    )


def _more_forms(context: Context) -> list[tuple[str, str, str]]:
    forms = context.recipe.output.onnx_forms
    return [(f"int8.{form}.onnx", "onnx", "int8") for form in forms]


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a text file.

    Raises:
        RecipeError: it cannot be read as text.
    """
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"[output] labels cannot be read: {path}",
            expected="a text file with one label a line",
            found=str(error),
        ) from None


def _artifact(context: Context, suffix: str, form: Any, precision: Any, graph: Graph) -> Artifact:
    path = context.path(suffix)
    package = path.with_name(f"{path.name}.ewp") if suffix in PACKED else None
    images = image_tensors(graph)
    unsigned = form == "onnx" and suffix != "int8.s8s8.onnx"
    batch = _batch(path) if form == "tflite" else None
    tensors = [
        tuple(
            _tensor_info(graph.tensors[name], form, batch, image=name in images, unsigned=unsigned)
            for name in names
        )
        for names in (graph.inputs, graph.outputs)
    ]
    return Artifact(
        name=path.name,
        format=form,
        precision=precision,
        path=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        inputs=tensors[0],
        outputs=tensors[1],
        package=None
        if package is None
        else PackageInfo(
            path=package.name, bytes=package.stat().st_size, sha256=sha256_of(package)
        ),
    )


def _batch(path: Path) -> int | None:
    """The batch of a .tflite file; None where it is open."""
    file = read_tflite(path)
    size = file.tensors[file.inputs[0]].signature[0]
    return None if size < 0 else size


def _layout(tensor: Tensor, form: str, *, image: bool) -> Layout:
    """The layout of a tensor in a file of this format."""
    if not image:
        return ""
    return "NHWC" if form == "tflite" or tensor.layout == "NHWC" else "NCHW"


def _tensor_info(
    tensor: Tensor, form: str, batch: int | None, *, image: bool, unsigned: bool
) -> TensorInfo:
    """A tensor as a file of this format has it."""
    layout = _layout(tensor, form, image=image)
    shape = shape_of(tensor.shape, image=layout == "NHWC")
    quantization = tensor.quantization
    dtype: Any = tensor.dtype.name
    zero_point = None if quantization is None else quantization.zero_point
    # ONNX Runtime's file computes in uint8: its int8 outputs have zero points 128 higher.
    if unsigned and dtype == "int8" and not tensor.layout and zero_point is not None:
        dtype, zero_point = "uint8", zero_point + 128
    return TensorInfo(
        name=tensor.name,
        shape=(batch, *shape[1:]),
        dtype=dtype,
        layout=layout,
        scale=None if quantization is None else float(quantization.scale),
        zero_point=zero_point,
    )


__all__ = [
    "float_files",
    "golden",
    "golden_samples",
    "integer_files",
    "manifest",
    "packages",
]
