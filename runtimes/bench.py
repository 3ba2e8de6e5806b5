"""Measures one file in one runtime: load, first run, steady runs, and the memory of each."""

from __future__ import annotations

import dataclasses
import gc
import time
from pathlib import Path

from runtimes.backend import find_runtime, own_batch, random_inputs
from runtimes.memory import MemoryMeter
from runtimes.report import BenchReport, BenchRequest, Measurement
from runtimes.timing import measure, notes_on, summarise


def bench(request: BenchRequest) -> BenchReport:
    """Measure a file, at its own batch, with random inputs.

    The interpreter is imported first, so that neither `load_ms` nor the memory of loading has the
    import in it.
    """
    path = Path(request.model)
    start_ns = time.perf_counter_ns()
    runtime = find_runtime(path, request.runtime)
    import_ms = _since_ms(start_ns)
    gc.collect()

    meter = MemoryMeter()
    meter.reset_peak()
    before = meter.read()
    start_ns = time.perf_counter_ns()
    backend = runtime.load(path, request.threads, request.delegate)
    load_ms = _since_ms(start_ns)
    loaded = meter.read()
    pss_bytes = meter.pss_bytes()
    try:
        batch = own_batch(backend)
        backend.set_inputs(random_inputs(backend.inputs, batch, request.seed))
        meter.reset_peak()
        timing = measure(backend.invoke, seconds=request.seconds, min_runs=request.min_runs)
        inference = meter.read()
        delegate, delegate_notes = backend.delegate()
        specs = backend.inputs, backend.outputs
    finally:
        backend.close()

    samples_ms = tuple(sample_ns / 1e6 for sample_ns in timing.samples_ns)
    summary = summarise(samples_ms)
    row = Measurement(
        artifact=path.name,
        device=request.device,
        runtime=runtime.name,
        runtime_version=runtime.version,
        delegate=delegate,
        threads=request.threads,
        load_ms=load_ms,
        first_ms=timing.first_ms,
        samples_ms=samples_ms,
        **dataclasses.asdict(summary),
        memory_before_bytes=before.resident_bytes,
        memory_loaded_bytes=loaded.resident_bytes,
        peak_load_bytes=loaded.peak_bytes,
        peak_inference_bytes=inference.peak_bytes,
        valid=True,
        notes=(*delegate_notes, *meter.notes, *notes_on(timing, summary)),
    )
    return BenchReport(
        row=row,
        import_ms=import_ms,
        warmup_runs=timing.warmup_runs,
        settled=timing.settled,
        cpu_s=timing.cpu_s,
        pss_loaded_bytes=pss_bytes,
        inputs=specs[0],
        outputs=specs[1],
    )


def _since_ms(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / 1e6
