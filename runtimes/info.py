"""Says what this device is and which interpreters it can import."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys

import numpy as np

from runtimes.errors import MissingRuntimeError
from runtimes.ort import import_onnxruntime
from runtimes.report import InfoReport, InfoRequest, Interpreter
from runtimes.tflite import import_tflite


def info(_request: InfoRequest) -> InfoReport:
    """Describe the device. Interpreters are imported to see; TensorFlow (8 s) is only looked up."""
    return InfoReport(
        python=platform.python_version(),
        numpy=np.__version__,
        machine=_machine(),
        os=f"{platform.system()} {platform.release()}",
        cores=os.cpu_count(),
        interpreters=(
            _imported("litert"),
            _imported("tflite_runtime"),
            _tensorflow(),
            _imported("onnxruntime"),
        ),
    )


def _machine() -> str:
    """As packages' names have it: armv8l for a 32-bit Python under a 64-bit kernel, as on many Pis.

    uname knows the kernel alone.
    """
    machine = platform.machine()
    return "armv8l" if machine == "aarch64" and sys.maxsize < 2**32 else machine


def _imported(name: str) -> Interpreter:
    try:
        runtime = import_onnxruntime() if name == "onnxruntime" else import_tflite(name)
    except MissingRuntimeError as error:
        return Interpreter(name, None, error.found)
    if name == "tflite_runtime" and int(np.__version__.partition(".")[0]) >= 2:
        return Interpreter(name, None, f"needs numpy<2, found numpy {np.__version__}")
    return Interpreter(name, runtime.version)


def _tensorflow() -> Interpreter:
    if importlib.util.find_spec("tensorflow") is None:
        return Interpreter("tensorflow", None, "No module named 'tensorflow'")
    for distribution in ("tensorflow", "tensorflow-cpu", "tensorflow-aarch64"):
        try:
            return Interpreter("tensorflow", importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            continue
    return Interpreter("tensorflow", "unknown")
