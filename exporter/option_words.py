"""Errors of a recipe in the words of `edgewright export`, which has options in place of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.errors import RecipeError

OPTIONS: Final = {
    "name": "--name",
    "model.weights": "--weights",
    "input.shape": "--input",
    "input.dtype": "--dtype",
    "input.mean": "--mean",
    "input.std": "--std",
    "data.calibration_samples": "--samples",
    "data.calibration": "--calibration",
    "quantize.ptq": "--ptq",
    "quantize.equalize": "--equalize",
    "quantize.adaptive_rounding": "--adaptive-rounding",
    "quantize.bias_correction": "--bias-correction",
    "quantize.activations": "--activations",
    "quantize.int16_layers": "--int16-layers",
    "quantize.float_layers": "--float-layers",
    "output.dtype": "--outputs",
    "output.names": "--output-names",
    "output.labels": "--labels",
}
"""What each key of the recipe is called there; a key that is the start of another comes after."""
DOCUMENT: Final = "options"
"""What stands for the recipe's file in messages."""


@contextmanager
def in_options() -> Iterator[None]:
    """Name options in every error that names keys of a recipe."""
    try:
        yield
    except RecipeError as error:
        texts = (error.problem, error.expected, error.found, error.remedy)
        problem, expected, found, remedy = map(as_options, texts)
        raise RecipeError(problem, expected=expected, found=found, remedy=remedy) from error


def as_options(text: str) -> str:
    """A text with `[input] mean`, `input.mean`, `mean in [input]` and the like as `--mean`."""
    text = text.removeprefix(f"{DOCUMENT}: ").replace("the recipe's shape", "--input's shape")
    for place, option in OPTIONS.items():
        table, _, key = place.rpartition(".")
        text = re.sub(rf'(?<![\w-]){key} = "([^"]*)"', rf"{option} \1", text)
        if table:
            text = text.replace(f"[{table}] {key}", option).replace(f"{key} in [{table}]", option)
            text = re.sub(rf"\b{table}\.{key}\b(\.\d+)?", option, text)
        if "_" in key or not table:
            text = re.sub(rf"(?<![\w-]){key}(?=:)" if not table else rf"\b{key}\b", option, text)
    return text.replace("[input]", "--input").replace("[data]", "--calibration")
