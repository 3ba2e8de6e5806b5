"""What is corrected behind the choice of scales, layer by layer: rounding and biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.fx import GraphModule

from exporter.quantize.adaround import Rounded, round_weights
from exporter.quantize.bias_correction import correct_bias, correct_biases
from exporter.quantize.edit import finish_edit
from exporter.quantize.fold import Grids
from exporter.quantize.lockstep import layers

Tick = Callable[[str], None]
"""Told of each layer that is done."""


def refine(
    real: GraphModule,
    quantized: GraphModule,
    batches: Sequence[torch.Tensor],
    *,
    rounding: bool = False,
    biases: bool = True,
    trained: Grids | None = None,
    tick: Tick = lambda name: None,
) -> list[Rounded]:
    """Round each layer's weights anew and correct its bias, as asked for, in place.

    Args:
        real: the float graph, from `lockstep.twin_of` before quantizers were put in place.
        quantized: the prepared graph.
        batches: inputs [N, ...] as the graphs take them; all that a layer gives for them is held
            in memory (`lockstep.fitting_count`), of the float graph only to round by it.
        rounding: whether to round weights anew.
        biases: whether to correct biases.
        trained: grids that weights were trained on: their integers stay.
        tick: called with a layer's name.

    Returns:
        What rounding did, a row for each layer that it looked at.
    """
    if not rounding:
        if biases:
            correct_biases(real, quantized, batches, tick)
        finish_edit(quantized)
        return []
    rounded = []
    for layer in layers(real, quantized, batches):
        if str(layer.twin.args[1].target) not in (trained or {}):
            done = round_weights(real, quantized, layer)
            rounded += [done] if done is not None else []
        if biases:
            correct_bias(real, quantized, layer)
        tick(layer.node.name)
    finish_edit(quantized)
    return rounded
