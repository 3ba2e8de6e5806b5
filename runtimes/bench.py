"""Measures one file in one runtime: load, first run, steady runs, and the memory of each."""

from __future__ import annotations

import dataclasses
import gc
import time
from dataclasses import dataclass
from pathlib import Path

from runtimes.backend import Backend, Runtime, find_runtime, own_batch, random_inputs
from runtimes.errors import ModelError
from runtimes.memory import Memory, MemoryMeter
from runtimes.model_file import model_file, sha256_of_file
from runtimes.report import BenchReport, BenchRequest, Measurement
from runtimes.timing import Timing, measure, notes_on, summarise
from runtimes.watch import Watch, allowed_cpus


@dataclass(frozen=True)
class Phases:
    """One process's way through a file: what each phase took."""

    load_ms: float
    before: Memory
    loaded: Memory
    pss_bytes: int | None
    inference: Memory
    timing: Timing


def bench(request: BenchRequest) -> BenchReport:
    """Measure a file, at its own batch, with random inputs.

    The interpreter is imported first, so that neither `load_ms` nor the memory of loading has the
    import in it.
    """
    path = model_file(request.model)
    start_ns = time.perf_counter_ns()
    runtime = find_runtime(path, request.runtime)
    import_ms = _since_ms(start_ns)
    gc.collect()
    meter, watch = MemoryMeter(), Watch(allowed_cpus())
    backend, phases = _measure(runtime, path, request, meter, watch)
    try:
        row = _row(request, path, runtime, backend, phases)
        specs = backend.inputs, backend.outputs
    finally:
        backend.close()
    return BenchReport(
        row=dataclasses.replace(
            row,
            notes=(*row.notes, *meter.notes),
            watched=tuple(watch.samples),
            arena_bytes=_arena_bytes(runtime, path),  # last: it loads the file once more
        ),
        import_ms=import_ms,
        cpu_s=phases.timing.cpu_s,
        window_s=phases.timing.window_s,
        inputs=specs[0],
        outputs=specs[1],
    )


def _measure(
    runtime: Runtime, path: Path, request: BenchRequest, meter: MemoryMeter, watch: Watch
) -> tuple[Backend, Phases]:
    """Load and run; the memory's peak starts anew before each of the two."""
    meter.reset_peak()
    before = meter.read()
    start_ns = time.perf_counter_ns()
    backend = runtime.load(path, request.threads, request.delegate)
    load_ms = _since_ms(start_ns)
    loaded, pss_bytes = meter.read(), meter.pss_bytes()
    try:
        backend.set_inputs(random_inputs(backend.inputs, own_batch(backend), request.seed))
        meter.reset_peak()
        watch.start()
        timing = measure(
            backend.invoke,
            seconds=request.seconds,
            min_runs=request.min_runs,
            between=watch.look,
        )
        inference = meter.read()
    except BaseException:
        backend.close()
        raise
    return backend, Phases(load_ms, before, loaded, pss_bytes, inference, timing)


def _row(
    request: BenchRequest, path: Path, runtime: Runtime, backend: Backend, phases: Phases
) -> Measurement:
    timing = phases.timing
    samples_ms = tuple(sample_ns / 1e6 for sample_ns in timing.samples_ns)
    summary = summarise(samples_ms)
    delegate, delegate_notes = backend.delegate()
    return Measurement(
        artifact=path.name,
        device=request.device,
        runtime=runtime.name,
        runtime_version=runtime.version,
        delegate=delegate,
        threads=request.threads,
        load_ms=phases.load_ms,
        first_ms=timing.first_ms,
        samples_ms=samples_ms,
        **dataclasses.asdict(summary),
        memory_before_bytes=phases.before.resident_bytes,
        memory_loaded_bytes=phases.loaded.resident_bytes,
        peak_load_bytes=phases.loaded.peak_bytes,
        peak_inference_bytes=phases.inference.peak_bytes,
        valid=True,
        notes=(*delegate_notes, *notes_on(timing.settled, len(samples_ms), summary)),
        model_bytes=path.stat().st_size,
        model_sha256=sha256_of_file(path),
        pss_bytes=phases.pss_bytes,
        warmup_runs=timing.warmup_runs,
        settled=timing.settled,
        cpus=allowed_cpus(),
    )


def _arena_bytes(runtime: Runtime, path: Path) -> int | None:
    """The arena, where the interpreter's own kernels take the file."""
    try:
        return runtime.arena_bytes(path)
    except ModelError:
        return None


def _since_ms(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / 1e6
