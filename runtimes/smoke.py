"""Runs samples through a file, and compares the outputs with golden ones, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.backend import Backend, find_runtime, own_batch
from runtimes.errors import EdgewrightError, ModelError
from runtimes.model_file import model_file, sha256_of_file
from runtimes.report import (
    FeedRequest,
    RunReport,
    RunRequest,
    SmokeReport,
    SmokeRequest,
    TensorSpec,
)
from runtimes.values import Array, canonical, compare, for_file, load_arrays, pick, sha256_of


def run(request: RunRequest) -> RunReport:
    """Run every sample of the inputs; hash the canonical outputs, and save them if asked to."""
    report, outputs = _run_file(request, load_arrays(request.inputs))
    if request.outputs is not None:
        save_outputs(Path(request.outputs), outputs)
    return report


def smoke(request: SmokeRequest) -> SmokeReport:
    """Run the golden inputs and compare with the golden outputs."""
    golden = load_arrays(request.golden)
    report, outputs = _run_file(request, golden)
    expected = pick(golden, "output", [spec.name for spec in report.outputs])
    difference = compare(outputs, expected)
    return SmokeReport(
        artifact=report.artifact,
        runtime=report.runtime,
        runtime_version=report.runtime_version,
        delegate=report.delegate,
        threads=report.threads,
        count=report.count,
        sha256=report.sha256,
        expected_sha256=sha256_of(expected),
        values=difference.values,
        differing=difference.differing,
        max_lsb=difference.max_lsb,
        passed=difference.differing == 0,
        notes=report.notes,
        model_sha256=report.model_sha256,
    )


def save_outputs(path: Path, outputs: Sequence[Array]) -> None:
    """Write `output.0`, `output.1`... as npz, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            arrays: dict[str, Any] = {f"output.{i}": array for i, array in enumerate(outputs)}
            np.savez(stream, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise EdgewrightError(f"{path} cannot be written", found=str(error)) from None
    finally:
        if temporary.exists():
            temporary.unlink()


def _run_file(request: FeedRequest, arrays: dict[str, Array]) -> tuple[RunReport, list[Array]]:
    path = model_file(request.model)
    runtime = find_runtime(path, request.runtime)
    backend = runtime.load(path, request.threads, request.delegate)
    try:
        specs = backend.inputs
        layouts = _layouts(request.input_layouts, specs, "input")
        inputs = [
            for_file(array, spec.dtype, layout)
            for array, spec, layout in zip(
                pick(arrays, "input", [spec.name for spec in specs]), specs, layouts
            )
        ]
        outputs = feed(backend, inputs, request.batch or own_batch(backend))
        layouts = _layouts(request.output_layouts, backend.outputs, "output")
        outputs = [canonical(array, layout) for array, layout in zip(outputs, layouts)]
        delegate, notes = backend.delegate()
        report = RunReport(
            artifact=path.name,
            runtime=runtime.name,
            runtime_version=runtime.version,
            delegate=delegate,
            threads=request.threads,
            count=len(inputs[0]),
            sha256=sha256_of(outputs),
            outputs=backend.outputs,
            notes=notes,
            model_sha256=sha256_of_file(path),
        )
    finally:
        backend.close()
    return report, outputs


def feed(backend: Backend, inputs: Sequence[Array], batch: int) -> list[Array]:
    """Run all samples, `batch` at a time; the last batch is filled up with its last sample."""
    backend.resize(batch)
    count = len(inputs[0])
    collected: list[list[Array]] = [[] for _ in backend.outputs]
    for start in range(0, count, batch):
        kept = min(batch, count - start)
        backend.set_inputs([_filled(array[start : start + kept], batch) for array in inputs])
        backend.invoke()
        for spec, chunks, output in zip(backend.outputs, collected, backend.get_outputs()):
            if output.shape[:1] != (batch,):
                raise ModelError(
                    f"output '{spec.name}' has no batch axis",
                    expected=f"{batch} on its first axis",
                    found=f"shape {output.shape}",
                )
            chunks.append(output[:kept])
    return [np.concatenate(chunks) for chunks in collected]


def _filled(array: Array, batch: int) -> Array:
    missing = batch - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _layouts(layouts: Sequence[str], specs: Sequence[TensorSpec], side: str) -> Sequence[str]:
    if layouts and len(layouts) != len(specs):
        raise EdgewrightError(
            f"the {side} layouts do not fit the model",
            expected=f"one for each of {[spec.name for spec in specs]}, or none at all",
            found=str(list(layouts)),
        )
    return layouts or [""] * len(specs)
