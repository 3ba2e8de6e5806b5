"""Which channels of a module belong together: torch-pruning's dependency graph, and its limits.

A group is a set of channels that can only go together: those of a convolution, of its batch norm,
of what reads them, and of everything that is added to or gated by them (Fang et al., DepGraph,
arXiv:2301.12900). Some code the graph cannot follow, such as a shuffle of channels or a reshape to
sizes that are written down. Each group is therefore tried:

1. Shape: a copy is pruned in this group, and must run with outputs of the same shapes.
2. Meaning: with the readers' weights for some channels at zero, nothing that those channels hold
   may matter: the output's gradient with respect to their weights is exactly zero.

A group that fails keeps its channels, and says why.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from exporter.compress.names import check_exempt
from exporter.errors import UnsupportedError
from exporter.modules import evaluating

PRUNED_TYPES = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
MIXING = (nn.LayerNorm, nn.GroupNorm)
"""They read all channels at once, so that no channel is without effect."""


@dataclass(frozen=True)
class Touch:
    """A tensor dimension that a group's channels run along.

    Attributes:
        name: of the module, or of the parameter for one that no layer owns.
        module: the module or the parameter.
        side: "out" for what makes the channels, "in" for what reads them, "both" for what passes
            them on, such as batch norms and depthwise convolutions.
        indices: positions along the dimension.
        channels: which of the group's channels each of them belongs to.
    """

    name: str
    module: Any
    side: str
    indices: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together.

    Attributes:
        root: name of the layer that the graph starts from.
        channels: how many there are.
        unit: how many go at once: one of each block of a grouped convolution.
        touches: everything that has these channels.
    """

    root: str
    channels: int
    unit: int
    touches: tuple[Touch, ...]

    def members(self, positions: Sequence[int]) -> list[int]:
        """The channels at the same positions in all blocks; a position is a channel for unit 1."""
        block = self.channels // self.unit
        return sorted(b * block + p for b in range(self.unit) for p in positions)


@dataclass(frozen=True)
class Grouping:
    """The groups of a module.

    Attributes:
        groups: that can be pruned.
        kept: why others cannot, by the name of their root.
    """

    groups: tuple[ChannelGroup, ...]
    kept: dict[str, str]


def find_groups(module: nn.Module, example: torch.Tensor, exempt: Sequence[str] = ()) -> Grouping:
    """Find the groups of channels, each tried as the module's docstring says.

    Args:
        module: left as it is.
        example: [N, C, H, W], float32.
        exempt: names of layers that keep all their outputs.

    Raises:
        RecipeError: an exempt name that is no layer of the model.
    """
    layers = [name for name, part in module.named_modules() if isinstance(part, PRUNED_TYPES)]
    check_exempt(layers, exempt)
    with evaluating(module):
        graph = dependency_graph(module, example)
        trial = _Trial(module, example)
        tied = _tied(module)
        groups, kept = [], {}
        for found in graph.get_all_groups(root_module_types=PRUNED_TYPES):
            group = _group_of(found, graph)
            reason = _named_reason(found, graph, group, exempt)
            reason = reason or _frozen_reason(group)
            reason = reason or _tied_reason(group, tied)
            reason = reason or trial.shape_problem(group)
            reason = reason or _meaning_problem(module, example, group)
            if reason is None:
                groups.append(group)
            else:
                kept[group.root] = reason
    order = {name: place for place, (name, _) in enumerate(module.named_modules())}
    return Grouping(tuple(sorted(groups, key=lambda group: order[group.root])), kept)


def _named_reason(found: Any, graph: Any, group: ChannelGroup, exempt: Sequence[str]) -> str | None:
    """What is known to speak against pruning a group, without a trial."""
    frozen = sorted({t.name for t in group.touches if t.side != "in"} & set(exempt))
    if frozen:
        return f"'{frozen[0]}' is exempt"
    if _reaches_output(found, graph):
        return "its channels are the model's outputs"
    if group.channels // group.unit < 2:
        return "its blocks have one channel each"
    return None


def _frozen_reason(group: ChannelGroup) -> str | None:
    """Layers that do not train keep what they make; what they read may go."""
    for touch in group.touches:
        if touch.side == "out" and not touch.module.weight.requires_grad:
            return f"'{touch.name}' is frozen (requires_grad=False)"
    return None


def _tied(module: nn.Module) -> dict[nn.Parameter, list[str]]:
    """The parameters that several layers share, and the names that they have there."""
    names: dict[nn.Parameter, list[str]] = {}
    for owner, part in module.named_modules():
        for key, parameter in part._parameters.items():
            if parameter is not None:
                names.setdefault(parameter, []).append(f"{owner}.{key}".lstrip("."))
    return {parameter: found for parameter, found in names.items() if len(found) > 1}


def _tied_reason(group: ChannelGroup, tied: dict[nn.Parameter, list[str]]) -> str | None:
    """Pruning gives each layer a parameter of its own: what is tied would come apart."""
    for touch in group.touches:
        part = touch.module
        own = [part] if isinstance(part, nn.Parameter) else part.parameters(recurse=False)
        for parameter in own:
            if parameter in tied:
                return " and ".join(f"'{name}'" for name in tied[parameter]) + " are tied"
    return None


def prune_groups(
    module: nn.Module, example: torch.Tensor, removed: Sequence[tuple[str, Sequence[int]]]
) -> None:
    """Take channels out of a module, in place.

    Args:
        module: as it was when the groups were found.
        example: as there.
        removed: roots of groups, and which of their channels go; in the order of the groups.
    """
    trains = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    with evaluating(module):
        graph = dependency_graph(module, example)
        for root, channels in removed:
            if channels:
                _pruning_group(graph, module.get_submodule(root), channels).prune()
    for name, parameter in module.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(trains[name])


def dependency_graph(module: nn.Module, example: torch.Tensor) -> Any:
    """torch-pruning's graph of a module.

    Raises:
        UnsupportedError: the module's forward() is beyond it.
    """
    import torch_pruning
    from torch_pruning.ops import OPTYPE

    class Graph(torch_pruning.DependencyGraph):  # type: ignore[misc]
        """Takes a reshape beside a transpose, a shuffle, for no change of channels.

        What it says of the channels is then not so, and the trials find that out; as a reshape it
        divides by zero.
        """

        def _trace(self, *args: Any, **kwargs: Any) -> Any:
            nodes = super()._trace(*args, **kwargs)
            for node in nodes.values():
                if node.type == OPTYPE.RESHAPE and _shuffles(node):
                    node.type = OPTYPE.ELEMENTWISE
            return nodes

    graph = Graph()
    try:
        # The graph is autograd's: it does not have what is frozen.
        with differentiable(module), torch.enable_grad():
            graph.build_dependency(module, example_inputs=example[:1], verbose=False)
    except (ArithmeticError, AttributeError, AssertionError, LookupError, TypeError) as error:
        raise UnsupportedError(
            type(module).__name__,
            "Module",
            f"torch-pruning cannot follow its channels: {type(error).__name__}: {error}",
            "leave [channels] out of the recipe",
        ) from error
    return graph


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Gradients for frozen parameters too, for a while."""
    frozen = [p for p in module.parameters() if not p.requires_grad and p.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _shuffles(reshape: Any) -> bool:
    """Whether a transpose is next to a reshape, or behind the copy that it needed."""
    around = [*reshape.inputs, *reshape.outputs]
    around += [source for node in reshape.inputs for source in node.inputs]
    names = [node.grad_fn.name() for node in around if node.grad_fn is not None]
    return any("Transpose" in name or "Permute" in name for name in names)


class _Trial:
    """A copy that is pruned in one group after another, and mended again."""

    def __init__(self, module: nn.Module, example: torch.Tensor) -> None:
        self.module, self.example = copy.deepcopy(module), example[:1]
        self.graph = dependency_graph(self.module, self.example)
        self.shapes = _output_shapes(self.module, self.example)

    def shape_problem(self, group: ChannelGroup) -> str | None:
        """Why the module does not run without some of the group's channels; None if it does."""
        module, graph = self.module, self.graph
        if any(isinstance(touch.module, nn.Parameter) for touch in group.touches):
            # The graph knows parameters by themselves: what is pruned there is another one.
            module = copy.deepcopy(module)
            graph = dependency_graph(module, self.example)
        pruned = _pruning_group(graph, module.get_submodule(group.root), group.members([0]))
        parts = {id(p): p for p in (item.dep.target.module for item in pruned)}
        kept = [
            (part, dict(vars(part)), dict(part._parameters), dict(part._buffers))
            for part in parts.values()
            if isinstance(part, nn.Module)
        ]
        try:
            pruned.prune(record_history=False)
            shapes = _output_shapes(module, self.example)
        except Exception as error:  # anything that the user's forward() raises
            return f"the model does not run without some of them: {str(error).splitlines()[0]}"
        finally:
            for part, attributes, parameters, buffers in kept:
                vars(part).clear()
                vars(part).update(attributes, _parameters=parameters, _buffers=buffers)
        return None if shapes == self.shapes else "its channels are the model's outputs"


def _pruning_group(graph: Any, root: nn.Module, channels: Sequence[int]) -> Any:
    prune: Callable[..., Any] = graph.get_pruner_of_module(root).prune_out_channels
    return graph.get_pruning_group(root, prune, list(channels))


def _group_of(found: Any, graph: Any) -> ChannelGroup:
    touches = []
    unit = 1
    for item in found:
        target = item.dep.target
        part = target.module
        if isinstance(part, nn.Module) and type(part).__module__.startswith("torch_pruning"):
            continue  # a concatenation, an addition: it has no weights
        side = _side(item.dep, graph, part)
        groups = getattr(part, "groups", None) or getattr(part, "num_groups", 1)
        if not (isinstance(part, PRUNED_TYPES) and side == "both"):
            unit = math.lcm(unit, groups)
        name = graph._module2name.get(part) or graph._param_to_name.get(part) or ""
        touches.append(Touch(name, part, side, tuple(item.idxs), tuple(item.root_idxs)))
    return ChannelGroup(touches[0].name, len(touches[0].indices), unit, tuple(touches))


def _side(dep: Any, graph: Any, part: Any) -> str:
    if isinstance(part, PRUNED_TYPES):
        if is_depthwise(part):
            return "both"
        return "out" if graph.is_out_channel_pruning_fn(dep.handler) else "in"
    return "both"


def is_depthwise(part: Any) -> bool:
    """Whether a layer has one filter a channel."""
    groups = getattr(part, "groups", 1)
    return groups > 1 and groups == part.in_channels == part.out_channels


def _reaches_output(found: Any, graph: Any) -> bool:
    return any(
        not item.dep.target.outputs and graph.is_out_channel_pruning_fn(item.dep.handler)
        for item in found
    )


def _output_shapes(module: nn.Module, example: torch.Tensor) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(tensor.shape) for tensor in flat(module(example))]


def flat(outputs: Any) -> list[torch.Tensor]:
    """The tensors of a module's outputs, however they are nested."""
    if torch.is_tensor(outputs):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for part in parts for tensor in flat(part)]


def _meaning_problem(module: nn.Module, example: torch.Tensor, group: ChannelGroup) -> str | None:
    """The second trial of the module's docstring, with every other position."""
    if any(isinstance(touch.module, MIXING) for touch in group.touches):
        return None
    removed = set(group.members(range(0, group.channels // group.unit, 2)))
    with _unread(group, removed), torch.enable_grad():
        makers = [t for t in group.touches if t.side == "out"]
        weights = [touch.module.weight for touch in makers]
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(example[:1].shape, generator=generator)
        outputs = flat(module(inputs))
        total = sum((o * torch.randn(o.shape, generator=generator)).sum() for o in outputs)
        gradients: Any = torch.autograd.grad(total, weights, allow_unused=True)
    for touch, gradient in zip(makers, gradients, strict=True):
        if gradient is None:
            continue
        rows = [i for i, c in zip(touch.indices, touch.channels, strict=True) if c in removed]
        if bool(by_output(touch.module, gradient)[rows].any()):
            return "its channels are mixed with others in a way that cannot be followed"
    return None


@contextmanager
def _unread(group: ChannelGroup, removed: set[int]) -> Iterator[None]:
    """The readers' weights for some channels at zero, for a while."""
    saved = []
    with torch.no_grad():
        for touch in group.touches:
            if touch.side != "in":
                continue
            weight = touch.module.weight
            saved.append((weight, weight.clone()))
            by_input(touch.module, weight)[_places(touch, removed)] = 0.0
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, values in reversed(saved):
                weight.copy_(values)


def _places(touch: Touch, channels: set[int]) -> list[int]:
    places = [i for i, c in zip(touch.indices, touch.channels, strict=True) if c in channels]
    groups = getattr(touch.module, "groups", 1)
    if groups > 1:
        # A grouped convolution reads the same positions of every block through one column each.
        places = sorted({place % (touch.module.in_channels // groups) for place in places})
    return places


def by_output(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """A layer's weight with outputs first, flat behind that: [out, ...]."""
    transposed = isinstance(module, nn.ConvTranspose2d)
    return (weight.transpose(0, 1) if transposed else weight).flatten(1)


def by_input(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """A view of a layer's weight with inputs (of a group) first: [in, out, ...]."""
    return weight if isinstance(module, nn.ConvTranspose2d) else weight.transpose(0, 1)
