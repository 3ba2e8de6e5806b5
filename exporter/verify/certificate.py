"""The certificate: recomputed from the files of a build directory alone."""

from __future__ import annotations

from pathlib import Path

from devices.session import open_device
from exporter.build import (
    MANIFEST,
    Artifact,
    Certificate,
    CheckResult,
    Companion,
    Manifest,
    load_json,
    sha256_of,
)
from exporter.errors import BuildError
from exporter.graph import canonical
from exporter.graph.islands import float_layers, islands
from exporter.graph.model import Graph
from exporter.graph.read import read_file
from exporter.progress import Reporter, Silent
from exporter.tflite.reader import read_tflite
from exporter.verify import parity, scales, structure, wide


def certify(directory: Path, reporter: Reporter | None = None) -> Certificate:
    """Check a build directory's int8 files against its canonical graph and each other.

    Args:
        directory: a build directory with its manifest and golden inputs.
        reporter: told of the progress.

    Raises:
        BuildError: the manifest or a file is missing.
        CanonicalError: the canonical graph is damaged.
    """
    manifest = load_json(directory / MANIFEST, Manifest)
    reporter = reporter if reporter is not None else Silent()
    with reporter.stage("verify", len(parity.routes(manifest.activations)) + 1) as advance:
        graph = read_file(directory / f"{manifest.name}.qdq.onnx")
        canonical.check(graph)
        int16_operators = _int16_operators(manifest, graph)
        checks = _checks(directory, manifest, graph)
        advance(1, "")
        with open_device("local") as session:
            outputs = parity.compare_outputs(
                directory, manifest, session, advance, mixed=bool(int16_operators)
            )
    equal = all(row.differing == 0 for row in outputs if row.decides)
    on_xnnpack = all("not applied" not in row.runtime for row in outputs)
    clean = equal and on_xnnpack and all(check.passed for check in checks)
    return Certificate(
        verdict="clean" if clean else "differs",
        samples=_samples(directory),
        checks=tuple(checks),
        outputs=tuple(outputs),
        islands=tuple(f"{operator.kind} {operator.outputs[0]}" for operator in islands(graph))
        + tuple(
            f"{operator.kind} {operator.outputs[0]} (float on request)"
            for operator in float_layers(graph)
        ),
        activations=manifest.activations,
        int16_operators=int16_operators,
    )


def _int16_operators(manifest: Manifest, graph: Graph) -> tuple[str, ...]:
    """Those that compute in int16 where the others compute in int8."""
    if manifest.activations == "int16":
        return ()
    return tuple(
        f"{operator.kind} {operator.outputs[0]}"
        for operator in graph.operators
        if graph.in_int16(operator) and operator.kind not in canonical.BOUNDARY
    )


def _samples(directory: Path) -> int:
    from runtimes.values import load_arrays

    return len(load_arrays(str(directory / "golden.npz"))["input.0"])


def _checks(directory: Path, manifest: Manifest, graph: Graph) -> list[CheckResult]:
    tflite = read_tflite(_path(directory, manifest, "tflite"))
    onnx_path = _path(directory, manifest, "onnx")
    return [
        _unaltered(directory, manifest),
        scales.compare_trained(graph, directory / f"{manifest.name}.trained.safetensors"),
        scales.compare_tflite(graph, tflite),
        scales.compare_onnx(graph, read_file(onnx_path), ".onnx"),
        structure.no_float_tensors(graph, tflite),
        structure.no_transposes(graph, tflite),
        *([wide.operators_alone(directory, graph)] if graph.is_wide else []),
        *(
            []
            if manifest.activations == "int16"
            else [
                structure.pair_rule(graph),
                structure.requantization_ratios(graph),
                structure.integer_kernels(graph, onnx_path),
            ]
        ),
    ]


def _path(directory: Path, manifest: Manifest, form: str) -> Path:
    artifact = manifest.artifact(form, "int8")
    if artifact is None:
        raise BuildError(f"{directory} has no int8 .{form} file", remedy="build it again")
    return directory / artifact.path


def _unaltered(directory: Path, manifest: Manifest) -> CheckResult:
    faults = []
    files: list[Artifact | Companion] = [*manifest.artifacts, *manifest.companions]
    for entry in files:
        path = directory / entry.path
        if not path.is_file():
            faults.append(f"'{entry.path}' is missing")
        elif sha256_of(path) != entry.sha256:
            faults.append(f"'{entry.path}' was altered since the build")
    return scales.result("files match the manifest", len(files), faults, "files")
