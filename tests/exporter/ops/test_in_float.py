"""Functions that TFLite lacks, made of its operators where a graph leaves them in float."""

import numpy as np
import pytest
import single
import torch
from single import Case, Value, function

FUNCTIONS = {
    "Celu": (function("Celu", alpha=0.7), lambda x: torch.celu(x, 0.7)),
    "Erf": (function("Erf"), torch.erf),
    "Mish": (function("Mish"), torch.nn.functional.mish),
    "Selu": (function("Selu"), torch.selu),
    "Softplus": (function("Softplus"), torch.nn.functional.softplus),
    "Softsign": (function("Softsign"), torch.nn.functional.softsign),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("scale", [0.01, 0.5])  # at 0.5, both ends of the exponential
def test_the_numbers_are_the_function_s(name, scale):
    body, function_of = FUNCTIONS[name]
    source = Value((1, 256), scale, 20)
    outcome = single.assert_real(Case.of(body, source, None), source.every())
    expected = function_of(torch.from_numpy(source.real(source.every())))
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-6)
