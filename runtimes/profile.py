"""Which operators take the time, by the runtime's own profiler, in a process of its own."""

from __future__ import annotations

from runtimes.backend import find_runtime
from runtimes.model_file import model_file
from runtimes.report import ProfileReport, ProfileRequest


def profile(request: ProfileRequest) -> ProfileReport:
    """Profile a file; the profiler slows it down, so that only the shares count."""
    path = model_file(request.model)
    runtime = find_runtime(path, request.runtime)
    operators, notes = runtime.profile(path, request.threads, request.runs, request.seed)
    return ProfileReport(path.name, runtime.name, runtime.version, operators, notes)
