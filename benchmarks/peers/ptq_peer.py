"""Quantize an fp32 ONNX file with a peer: `ptq_peer.py METHOD IN.onnx INPUTS.npy OUT.onnx`.

Runs in the peers' environment (benchmarks/peers/ptq.txt) and imports nothing of this project.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from pathlib import Path

import numpy as np


class Reader:
    """Samples, one at a time, as ONNX Runtime's calibration takes them."""

    def __init__(self, source: str, samples: np.ndarray) -> None:
        graph = importlib.import_module("onnx").load(source).graph
        constants = {tensor.name for tensor in graph.initializer}
        (self.name,) = [value.name for value in graph.input if value.name not in constants]
        self.samples = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample, or None at the end."""
        sample = next(self.samples, None)
        return None if sample is None else {self.name: sample[None]}


def ort_throughout(source: str, samples: np.ndarray, target: str) -> None:
    """The same with operators quantized that otherwise follow their input, as pooling does."""
    ort_minmax(source, samples, target, {"ForceQuantizeNoInputCheck": True})


def ort_minmax(
    source: str, samples: np.ndarray, target: str, options: dict[str, bool] | None = None
) -> None:
    """ONNX Runtime's quantize_static, per channel, u8 activations, min/max."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = str(Path(source).resolve()), str(Path(target).resolve())
    prepared = target + ".prepared.onnx"
    # Where it gives up, it leaves a graph and its weights in the directory that it runs in.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        try:
            quant_pre_process(source, prepared)
        except Exception as error:  # symbolic shape inference gives up on some graphs, by any error
            print(f"without symbolic shapes: {error!r}", file=sys.stderr)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        Reader(source, samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options=options,
    )


def nncf_accurate(source: str, samples: np.ndarray, target: str) -> None:
    """NNCF with its accurate bias correction."""
    nncf = importlib.import_module("nncf")
    onnx = importlib.import_module("onnx")

    dataset = nncf.Dataset([{"input": sample[None]} for sample in samples])
    model = nncf.quantize(
        onnx.load(source), dataset, subset_size=len(samples), fast_bias_correction=False
    )
    onnx.save(model, target)


if __name__ == "__main__":
    method, source, inputs, target = sys.argv[1:]
    methods = {
        "ort_minmax": ort_minmax,
        "ort_throughout": ort_throughout,
        "nncf_accurate": nncf_accurate,
    }
    methods[method](source, np.load(inputs), target)
