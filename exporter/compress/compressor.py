"""`compress(model, plan)`: pruning and few levels in the user's own module and training loop.

    plan = Plan((Ramp(0.9, steps=600),), exempt=("conv1",), levels=Levels(begin=900))
    compressor = compress(model, plan)
    for inputs, targets in loader:
        ...
        optimizer.step()
        compressor.step(optimizer)    # masks grow by the plan, pruned weights stay zero
    grids = compressor.finish(loader)

Convolutions and dense layers get a class that reads the weight through the compressor; parameter
names, `state_dict`, the optimizer and the loop stay the user's. `compressor.finish()` gives the
classes back and leaves weights that lie on their grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn

from exporter.compress.batch_norm import re_estimate
from exporter.compress.codebook import CodeBook
from exporter.compress.coded_size import CodedSize, coded_size, weights_of
from exporter.compress.criteria import criterion_of, pattern_of
from exporter.compress.flattened import channels_first, channels_last, flattened_channels
from exporter.compress.layer import Layer, layers_by_weight, left_alone, takes
from exporter.compress.levels import layer_step
from exporter.compress.magnitude import Masks, Weights, check_finite, check_module, layer_masks
from exporter.compress.names import check_exempt, values_by_layer
from exporter.compress.plan import Levels, Plan
from exporter.compress.rate import Choice, choose_steps
from exporter.compress.schedule import grows_at, share_at, sparsity_at
from exporter.compress.structure import structure_of
from exporter.errors import RecipeError
from exporter.quantize.fold import Grids

STEPS_KEY = "compressor.steps"
NOTHING = Plan()
SOME_LEVELS = Levels()
NO_LAYERS: Final[Mapping[str, float]] = MappingProxyType({})
PRUNED, SHARED = "[prune.layers]", "[share.layers]"
CALIBRATION_BATCHES = 4

ToModel = Callable[[torch.Tensor], torch.Tensor]


def compress(
    model: nn.Module,
    plan: Plan = NOTHING,
    *,
    calibration: Iterable[Any] = (),
    to_model: ToModel | None = None,
) -> Compressor:
    """Prepare a module for pruning and few levels, in place.

    Args:
        model: any module; every nn.Conv2d and nn.Linear whose weight trains takes part, subclasses
            with the same forward() included. Frozen ones (`requires_grad` False) stay as they
            are; so do other layers with weights, which a warning names.
        plan: what happens when; the default does nothing by itself.
        calibration: batches of inputs, or of (inputs, ...), where levels have the step "auto".
        to_model: turns inputs into what the model takes; None where they are that.

    Raises:
        RecipeError: an exempt name that is no layer of the model, a pattern of single layers that
            matches none, or no layer is left.
        WeightError: a parameter, or what a batch norm measured, is not finite; its name is given.
    """
    return Compressor(model, plan, calibration=calibration, to_model=to_model)


class Compressor:
    """Masks and levels of a module's weights. Make one with `compress`."""

    def __init__(
        self,
        model: nn.Module,
        plan: Plan = NOTHING,
        *,
        calibration: Iterable[Any] = (),
        to_model: ToModel | None = None,
    ) -> None:
        check_module(model)
        self.model = model
        self.plan = plan
        self._calibration = calibration
        self._to_model = to_model
        self._criterion = criterion_of(plan.criterion)
        self.steps_done = 0
        self._layers = _layers_of(model, plan.exempt)
        self.structure = structure_of(model)
        patterned = pattern_of(plan.criterion) is not None
        self._images = flattened_channels(model) if patterned else {}
        self._own_values(plan.layers, PRUNED)
        if plan.levels is not None:
            self._own_values(plan.levels.layers, SHARED)
        for layer in self._layers.values():
            layer.attach()

    def prune(self, sparsity: float, share: float = 1.0) -> None:
        """Prune by the plan's criterion to this share of zeros, now.

        Args:
            sparsity: of the layers that have none of their own in the plan.
            share: of their own sparsities that those others are pruned to.
        """
        own = self._own_values(self.plan.layers, PRUNED)
        latent = {name: layer.latent for name, layer in self._layers.items()}
        others = {name: weight for name, weight in latent.items() if name not in own}
        masks = self._masks(others, sparsity) if others else {}
        densities = {name: 1.0 - share * value for name, value in own.items()}
        masks |= layer_masks({name: latent[name] for name in own}, densities)
        for name, layer in self._layers.items():
            layer.mask = masks[name]
            layer.project()

    def _masks(self, weights: Weights, sparsity: float) -> Masks:
        """The criterion's masks; patterns lie along the input axis as a .tflite file has it."""
        images = {name: count for name, count in self._images.items() if name in weights}
        moved = {name: channels_last(weights[name], count) for name, count in images.items()}
        masks = self._criterion({**weights, **moved}, sparsity)
        return masks | {name: channels_first(masks[name], n) for name, n in images.items()}

    def share(self, levels: Levels = SOME_LEVELS, calibration: Iterable[Any] = ()) -> None:
        """Read every weight through few levels from now on.

        Args:
            levels: which; when they begin does not matter here.
            calibration: as in `compress`, whose is taken where none is given.

        Raises:
            RecipeError: the step is "auto", and there is no calibration data; or a pattern of
                single layers matches none.
            WeightError: a weight became NaN or infinite.
        """
        check_finite(self.model.named_parameters())
        own = self._own_values(levels.layers, SHARED)
        steps = dict.fromkeys(self._layers, levels.step) | own
        if levels.kind == "uniform" and levels.step == "auto" and len(own) < len(self._layers):
            chosen = self._steps_by_rate(calibration, set(own))
            steps |= {name: choice.step_in_rms for name, choice in chosen.items()}
        for name, layer in self._layers.items():
            if levels.kind == "kmeans":
                layer.share_codes(levels.codes)
            else:
                layer.share(float(steps[name]))

    def _own_values(self, patterns: Mapping[str, float], what: str) -> dict[str, float]:
        """Values of single layers, by the name of their weight."""
        weights = {
            name.rpartition(".")[0]: weight
            for weight, layer in self._layers.items()
            for name in layer.names
        }
        values = values_by_layer(patterns, weights, what)
        return {weights[name]: value for name, value in values.items()}

    def _steps_by_rate(self, calibration: Iterable[Any], but: set[str]) -> dict[str, Choice]:
        for layer in self._layers.values():
            layer.step, layer.codes = None, None
        batches = list(islice(calibration, CALIBRATION_BATCHES))
        batches = batches or list(islice(self._calibration, CALIBRATION_BATCHES))
        if not batches:
            raise RecipeError(
                'the step "auto" is found on calibration data, and there is none',
                expected="compress(model, plan, calibration=batches)",
            )
        layers = {name: layer for name, layer in self._layers.items() if name not in but}
        return choose_steps(self.model, layers, batches, self._to_model)

    def step(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Call after `optimizer.step()`: masks and levels follow the plan; pruned weights go to 0.

        Args:
            optimizer: forgets its momentum of pruned weights, where given; they are set to zero in
                any case.

        Raises:
            WeightError: a weight became NaN or infinite; seen where masks grow and levels begin.
        """
        self.steps_done += 1
        plan = self.plan
        if grows_at(plan.ramps, self.steps_done, plan.every):
            at = self.steps_done
            self.prune(sparsity_at(plan.ramps, at), share_at(plan.ramps, at))
        if plan.levels is not None and self.steps_done == max(1, plan.levels.begin):
            self.share(plan.levels)
        for layer in self._layers.values():
            layer.project()
            if optimizer is not None:
                layer.clear(optimizer.state.get(layer.latent, {}))

    def sparsity(self) -> float:
        """The share of zeros among the weights that take part, as the forward pass sees them."""
        weights = self.weights().values()
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        return zeros / sum(weight.numel() for weight in weights)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights as the forward pass sees them, by parameter name."""
        with torch.no_grad():
            return {name: layer.weight().detach() for name, layer in self._layers.items()}

    def coded_bytes(self) -> float:
        """About the bytes of the package of the int8 .tflite file, were training to end now.

        Some tenths of a second for millions of weights. See `coded_size` for the parts.
        """
        return self.coded_size().total

    def coded_size(
        self, step_in_rms: float | None = None, layers: Mapping[str, float] = NO_LAYERS
    ) -> CodedSize:
        """What `coded_bytes` adds up: every layer's weights, exempt ones included, and the rest.

        Args:
            step_in_rms: of levels that are still to come, in units of each layer's RMS.
            layers: steps of single layers in its place, as `Levels.layers`.
        """
        coming: dict[str, float | None] = dict.fromkeys(self._layers, step_in_rms)
        coming |= self._own_values(layers, SHARED)
        steps: dict[int, float | None] = {}
        for name, layer in self._layers.items():
            step = coming[name]
            if layer.step is None and step is not None:
                steps[id(layer.latent)] = layer_step(layer.latent, step)
            else:
                steps[id(layer.latent)] = layer.step
        return coded_size(weights_of(self.model, steps), self.structure)

    def finish(
        self,
        loader: Iterable[Any] | None = None,
        to_model: ToModel | None = None,
    ) -> Grids:
        """Give the module its classes back; its weights then lie on their grids.

        Args:
            loader: batches of inputs, or of (inputs, ...), on which batch norm statistics are
                measured anew; None leaves them.
            to_model: as in `compress`, whose is taken where none is given.

        Returns:
            The grids of the weights that have levels, by parameter name, for
            `exporter.quantize.quantize.prepare_module`.

        Raises:
            WeightError: a parameter, or what a batch norm measured, became NaN or infinite.
        """
        check_finite(self.model.named_parameters())
        grids: Grids = {}
        for name, layer in self._layers.items():
            if layer.step is not None:
                # A captured graph has a tied weight under each of its names.
                grids |= {own: layer.grid() for own in layer.names}
                layer.latent.data.copy_(grids[name].values())
            layer.detach()
        if loader is not None:
            re_estimate(self.model, loader, to_model or self._to_model)
        check_module(self.model)
        return grids

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Masks, steps and the place in the plan, to be saved beside the model's own state."""
        state = {STEPS_KEY: torch.tensor(self.steps_done)}
        for name, layer in self._layers.items():
            if layer.mask is not None:
                state[f"mask.{name}"] = layer.mask
            if layer.step is not None:
                state[f"step.{name}"] = torch.tensor(layer.step, dtype=torch.float64)
            if layer.codes is not None:
                state[f"codes.{name}"] = layer.codes.labels
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take masks, steps and the place in the plan back.

        Raises:
            RecipeError: they are of another model.
        """
        for key, value in state.items():
            if key == STEPS_KEY:
                self.steps_done = int(value)
                continue
            kind, _, name = key.partition(".")
            layer = self._layers.get(name)
            if layer is None or (kind != "step" and value.shape != layer.latent.shape):
                raise RecipeError(
                    f"the saved {kind} of '{name}' does not fit the model",
                    remedy="start without --resume",
                )
            if kind == "mask":
                layer.mask = value.bool()
            elif kind == "codes":
                layer.codes = CodeBook(value, int(value.max()) + 1)
            else:
                layer.step = float(value)


def _layers_of(model: nn.Module, exempt: tuple[str, ...]) -> dict[str, Layer]:
    """The layers that take part, by the name of their weight."""
    found = [name for name, module in model.named_modules() if takes(module)]
    left = left_alone(model)
    check_exempt([*found, *left], exempt)
    _tell_of({name: kind for name, kind in left.items() if name not in exempt})
    layers: dict[str, Layer] = {}
    for sharing in layers_by_weight(model):
        if sharing.keys() & set(exempt):
            continue
        (name, module), *others = sharing.items()
        weight = f"{name}.weight" if name else "weight"
        layers[weight] = Layer(weight, module)
        for name, module in others:
            layers[weight].tie(f"{name}.weight", module)
    if not layers:
        raise RecipeError(
            "no layer is left to compress",
            expected="an nn.Conv2d or nn.Linear that is neither exempt nor frozen",
            found=f"{len(found)} such layers, all exempt or frozen" if found else "none",
        )
    return layers


def _tell_of(left: Mapping[str, str]) -> None:
    """Warn of layers that take no part, once in a process."""
    if left:
        named = ", ".join(f"'{name}' ({kind})" for name, kind in left.items())
        warnings.warn(
            f"layers that keep all their weights: {named}; pruning and few levels are for "
            "nn.Conv2d and nn.Linear, and subclasses with the same forward(). Name them as exempt "
            "where that is meant",
            stacklevel=2,
        )
