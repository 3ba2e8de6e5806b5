"""The outputs of every int8 file in every runtime over the golden inputs: how far they differ."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.session import FEED_TIMEOUT_S, Feeding, Session
from exporter.build import GOLDEN, Activations, Artifact, Manifest, OutputComparison
from runtimes.values import Array, compare, load_arrays


@dataclass(frozen=True)
class Route:
    """One way to run an artifact. Only those that decide count for the verdict.

    Where it is to run `on_xnnpack`, a runtime that leaves XNNPACK out is told of in its row.
    """

    label: str
    format: str
    delegate: str = "default"
    decides: bool = True
    on_xnnpack: bool = False


ON_XNNPACK = "LiteRT, XNNPACK"
ROUTES = (
    Route("ONNX Runtime", "onnx"),
    Route(ON_XNNPACK, "tflite", on_xnnpack=True),
    Route("ONNX Runtime (.ort)", "ort"),
    Route("LiteRT, builtin kernels", "tflite", "none", decides=False),
)

ON_WIDE_KERNELS = "LiteRT, builtin int16 kernels"
WIDE_ROUTES = (
    Route("ONNX Runtime, float operators", "onnx"),
    Route(ON_WIDE_KERNELS, "tflite"),
    Route("ONNX Runtime (.ort), float operators", "ort"),
)
"""With int16 activations: XNNPACK has no kernels for them, ONNX Runtime no convolution."""


MIXED_ROUTES = (
    Route("ONNX Runtime; int16 layers: float operators", "onnx"),
    Route(f"{ON_XNNPACK}; int16 layers: builtin kernels", "tflite", on_xnnpack=True),
    Route("ONNX Runtime (.ort); int16 layers: float operators", "ort"),
    Route("LiteRT, builtin kernels", "tflite", "none", decides=False),
)
"""With single layers in int16, in a network of int8."""


def routes(activations: Activations, *, mixed: bool = False) -> tuple[Route, ...]:
    """The ways to run the int8 files of a build; `mixed`: with single layers in int16."""
    if activations != "int8":
        return WIDE_ROUTES
    return MIXED_ROUTES if mixed else ROUTES


def feeding_of(artifact: Artifact, batch: int | None = None) -> Feeding:
    """How samples go into an artifact; a batch only where it takes any."""
    takes_any = all(tensor.shape[:1] == (None,) for tensor in artifact.inputs)
    return Feeding(
        batch=batch if takes_any else None,
        input_layouts=tuple(tensor.layout for tensor in artifact.inputs),
        output_layouts=tuple(tensor.layout for tensor in artifact.outputs),
    )


def run_artifact(
    session: Session,
    path: Path,
    artifact: Artifact,
    inputs: Path,
    delegate: str = "default",
    *,
    timeout_s: float = FEED_TIMEOUT_S,
    batch: int | None = None,
) -> tuple[list[Array], str]:
    """The outputs of a file over all samples in canonical form, and which delegate ran it.

    Args:
        session: the device.
        path: of the file.
        artifact: what the manifest says of it.
        inputs: the samples, as golden inputs are stored.
        delegate: "none" leaves XNNPACK out.
        timeout_s: for all samples.
        batch: how many samples go in at once, where the file takes any; None is its own.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        outputs = Path(folder) / "outputs.npz"
        report = session.run(
            path,
            inputs,
            outputs=outputs,
            delegate=delegate,
            feeding=feeding_of(artifact, batch),
            timeout_s=timeout_s,
        )
        arrays = load_arrays(str(outputs))
    ordered = [arrays[f"output.{index}"] for index in range(len(arrays))]
    return ordered, report.delegate


def compare_outputs(
    directory: Path,
    manifest: Manifest,
    session: Session,
    advance: Callable[[int, str], None],
    *,
    mixed: bool = False,
) -> list[OutputComparison]:
    """Run every int8 artifact over the golden inputs and compare with the golden outputs.

    `mixed` as in `routes`.
    """
    golden_path = directory / GOLDEN
    arrays = load_arrays(str(golden_path))
    count = sum(key.startswith("output.") for key in arrays)
    golden = [arrays[f"output.{index}"] for index in range(count)]
    rows = []
    for route in routes(manifest.activations, mixed=mixed):
        for artifact in manifest.artifacts:
            if artifact.format != route.format or artifact.precision != "int8":
                continue
            outputs, delegate = run_artifact(
                session, directory / artifact.path, artifact, golden_path, route.delegate
            )
            rows.append(_row(artifact, route, outputs, golden, delegate))
        advance(1, "")
    return rows


def _row(
    artifact: Artifact, route: Route, outputs: list[Array], golden: list[Array], delegate: str
) -> OutputComparison:
    from runtimes.values import sha256_of

    difference = compare(outputs, golden)
    label = route.label
    if route.on_xnnpack and delegate != "xnnpack":
        label = f"LiteRT, {delegate} (XNNPACK was not applied)"
    return OutputComparison(
        artifact=artifact.name,
        runtime=label,
        sha256=sha256_of(outputs),
        values=difference.values,
        differing=difference.differing,
        max_lsb=difference.max_lsb,
        decides=route.decides,
    )


def as_reals(outputs: list[Array], artifact: Artifact) -> list[Array]:
    """Outputs in canonical form as the network in PyTorch gives them: float32, images [N, C, H, W].

    Args:
        outputs: from `run_artifact`.
        artifact: that gave them.
    """
    reals = []
    for array, tensor in zip(outputs, artifact.outputs, strict=True):
        real = array.astype(np.float32)
        if tensor.scale is not None and tensor.zero_point is not None:
            # In canonical form uint8 is int8, and its zero point 128 lower.
            zero_point = tensor.zero_point - (128 if tensor.dtype == "uint8" else 0)
            real = np.float32(tensor.scale) * (real - np.float32(zero_point))
        reals.append(real.transpose(0, 3, 1, 2) if tensor.layout and real.ndim == 4 else real)
    return reals


def top1(outputs: Array) -> Array:
    """The class with the largest output, for each sample [N]."""
    flat = outputs.reshape(len(outputs), -1)
    classes: Array = np.argmax(flat, axis=1)
    return classes
