"""Bias correction of the real MobileNetV2 by how many photographs it is measured on.

Judged is the quantized graph in PyTorch, on photographs that calibrated nothing: KL(fp32 || int8)
of the class probabilities, with biases corrected and without. Ranges come from the same photographs
as the corrections, so both see as much data. `exporter.quantize.bias_correction.FEWEST_SAMPLES`
rests on this table.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Final

import numpy as np

from benchmarks.photographs import photographs
from benchmarks.ptq import BATCH, EXAMPLE, MEAN, STD, log_probabilities, sqnr_db
from benchmarks.results import Value, arguments, publish

COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS: Final = 3
JUDGED: Final = 100


def main() -> None:
    """Measure each count with several draws of photographs."""
    options = arguments(__doc__).parse_args()
    import torch

    sys.path.insert(0, str(EXAMPLE))
    network = importlib.import_module("mobilenet_v2").mobilenet_v2().eval()
    calibrating, judging = (torch.from_numpy(part) for part in photographs(100, JUDGED))
    counts, draws = (COUNTS[::3], 1) if options.quick else (COUNTS, DRAWS)
    rows = []
    for count in counts:
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(calibrating))[:count]
            rows += _rows(network, calibrating[order], judging, draw)
    publish("bias_correction", rows, options)


def _rows(network: Any, samples: Any, judging: Any, draw: int) -> list[dict[str, Value]]:
    import torch

    from exporter.inputs import InputSpec
    from exporter.quantize.quantize import Calibration, prepare_module

    spec = InputSpec((1, 3, 224, 224), "uint8", MEAN, STD)
    rows: list[dict[str, Value]] = []
    with torch.no_grad():
        real = torch.cat([network(spec.to_model(part)) for part in judging.split(BATCH)])
    for biases in (False, True):
        start = time.process_time()
        calibration = Calibration(biases=biases)
        batches = list(samples.split(BATCH))
        prepared = prepare_module(network, spec, batches, calibration=calibration).graph_module
        cpu_s = time.process_time() - start
        with torch.no_grad():
            found = torch.cat([prepared(spec.to_graph(part)) for part in judging.split(BATCH)])
        logits, int8 = real.double().numpy(), found.double().numpy()
        expected, given = log_probabilities(logits), log_probabilities(int8)
        rows.append(
            {
                "network": "MobileNetV2",
                "samples": len(samples),
                "draw": draw,
                "biases": "corrected" if biases else "as they are",
                "kl": round(float((np.exp(expected) * (expected - given)).sum(1).mean()), 4),
                "sqnr_db": sqnr_db(logits, float(((int8 - logits) ** 2).sum())),
                "agreement": float((logits.argmax(1) == int8.argmax(1)).mean()),
                "cpu_s": round(cpu_s, 1),
            }
        )
        print({key: rows[-1][key] for key in ("samples", "draw", "biases", "kl", "sqnr_db")})
    return rows


if __name__ == "__main__":
    main()
