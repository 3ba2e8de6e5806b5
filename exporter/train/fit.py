"""The fit loop, on Hugging Face accelerate: one process, or as many as a launcher starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from exporter.errors import DivergedError, RecipeError
from exporter.modules import evaluating
from exporter.train import randomness
from exporter.train.batch_norm import Synchronized, freeze
from exporter.train.checkpoint import Checkpoints, Tensors, within
from exporter.train.distill import Teacher
from exporter.train.labels import cross_entropy
from exporter.train.order import Order, loader_of, seed_everything
from exporter.train.score import Loss, Score, top1
from exporter.train.settings import FitSettings
from exporter.train.small_maps import SmallMaps
from exporter.train.team import PATIENCE, Team

ToModel = Callable[[torch.Tensor], torch.Tensor]
AfterStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Progress:
    """Where a stretch of training is, behind a step.

    Attributes:
        step: steps done.
        steps: that there will be.
        epoch: passes over the data done.
        loss: of the step, over the whole batch.
        lr: that the step was taken with.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    lr: float


@dataclass(frozen=True)
class Hooks:
    """What is called while training goes on, in every process.

    Attributes:
        after_step: with (step, steps) behind each optimizer step: pruning hooks in here.
        on_step: behind that, for progress bars and logs.
        on_epoch: behind each epoch, and behind the last step; True ends the training.
    """

    after_step: AfterStep = lambda step, steps: None
    on_step: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[Progress], bool] = lambda progress: False


def fit(
    module: nn.Module,
    dataset: Dataset[Any],
    settings: FitSettings,
    *,
    to_model: ToModel,
    loss: Loss = cross_entropy,
    hooks: Hooks = Hooks(),
    checkpoints: Checkpoints | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Train a module in place; it comes back on the CPU.

    Args:
        module: in the mode that it shall train in.
        dataset: gives (input, target).
        settings: how long, how fast, in which precision.
        to_model: turns a batch of inputs into what the module takes.
        loss: of (outputs, targets), a scalar: the mean over the batch.
        hooks: called while training goes on.
        checkpoints: where it is saved, and taken up again.
        teacher: whose outputs are learned beside the targets.

    Raises:
        DivergedError: the loss is not finite; a FloatingPointError.
        RecipeError: a precision that the device does not have, or a batch that cannot be shared
            out among the processes.
    """
    with _accelerated(settings) as accelerator:
        loop = _Loop(module, dataset, settings, accelerator, hooks, checkpoints, teacher)
        with ExitStack() as stack:
            stack.callback(module.to, "cpu")
            stack.enter_context(Synchronized(module, accelerator.num_processes))
            loop.prepare(to_model, loss)
            loop.run()


class _Objective(nn.Module):
    """Inputs to loss. What accelerate does to a module it does to this one, not to the user's."""

    def __init__(
        self, module: nn.Module, to_model: ToModel, loss: Loss, teacher: Teacher | None
    ) -> None:
        super().__init__()
        self.module = module
        self.to_model, self.loss, self.teacher = to_model, loss, teacher

    def forward(
        self, inputs: torch.Tensor, targets: torch.Tensor, taught: torch.Tensor | None
    ) -> torch.Tensor:
        with SmallMaps() if inputs.device.type == "cpu" else nullcontext():
            outputs = self.module(self.to_model(inputs))
        value = self.loss(outputs, targets)
        if self.teacher is not None and taught is not None:
            value = self.teacher.blend(value, outputs, taught)
        return value


class _Loop:
    """One stretch of training."""

    def __init__(
        self,
        module: nn.Module,
        dataset: Dataset[Any],
        settings: FitSettings,
        accelerator: Any,
        hooks: Hooks,
        checkpoints: Checkpoints | None,
        teacher: Teacher | None,
    ) -> None:
        self.module, self.settings, self.accelerator = module, settings, accelerator
        self.hooks, self.checkpoints, self.teacher = hooks, checkpoints, teacher
        self.alone = accelerator.num_processes == 1
        self.order = Order(
            len(dataset),  # type: ignore[arg-type]
            settings.batch_size,
            settings.seed,
            rank=accelerator.process_index,
            processes=accelerator.num_processes,
            seeded=settings.workers > 0 or not self.alone,
        )
        self.loader = loader_of(dataset, self.order, workers=settings.workers, seed=settings.seed)
        self.steps = settings.steps(len(self.order))
        self.step = 0
        self.epoch_state = self.order.state()

    def prepare(self, to_model: ToModel, loss: Loss) -> None:
        """Bring everything to the device, and to where an interrupted run was."""
        # Only what the graph reads: a captured one keeps weights that it has replaced.
        used = _used_parameters(self.module)
        self.optimizer = _optimizer(used, self.settings)
        objective = _Objective(self.module, to_model, loss, self.teacher)
        saved = self.checkpoints.load() if self.checkpoints is not None else None
        if saved is not None:
            self.module.load_state_dict(within(saved[0], "module."))
        self.objective, self.stepper = self.accelerator.prepare(objective, self.optimizer)
        if saved is not None:
            self._restore(*saved)

    def run(self) -> None:
        """All steps that are left."""
        per_epoch = len(self.order)
        stopped = False
        while self.step < self.steps and not stopped:
            epoch, first = divmod(self.step, per_epoch)
            if not first:
                self.epoch_state = self.order.state()
            self.order.start(epoch, first=first, state=self.epoch_state)
            for inputs, targets in self.loader:
                progress = self._one_step(inputs, targets, per_epoch)
                ends = self.step == self.steps or self.step % per_epoch == 0
                stopped = ends and self.hooks.on_epoch(progress)
                self._save_if_due()
                if self.step == self.steps or stopped:
                    return

    def _one_step(self, inputs: torch.Tensor, targets: torch.Tensor, per_epoch: int) -> Progress:
        if not self.alone:
            # Each process its own dropout, and the same one again when a run is taken up again.
            seed_everything(self.settings.seed, self.step, self.accelerator.process_index)
        share = self.settings.freeze_batch_norm
        if share and self.step >= (1.0 - share) * self.steps:
            freeze(self.module)
        lr = self.settings.lr * cosine(self.step, self.steps, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        value = self._backward(inputs, targets)
        if self.settings.clip is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            self.accelerator.clip_grad_norm_(parameters, self.settings.clip)
        self.stepper.step()
        self.step += 1
        self.hooks.after_step(self.step, self.steps)
        progress = Progress(self.step, self.steps, self.step / per_epoch, value, lr)
        self.hooks.on_step(progress)
        return progress

    def _backward(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Gradients of a batch, in parts; gives the loss over the batch of all processes."""
        device = self.accelerator.device
        inputs, targets = inputs.to(device), targets.to(device)
        taught = None
        if self.teacher is not None:
            with self.accelerator.autocast():
                taught = self.teacher(self.order.indices.popleft(), inputs)
        else:
            self.order.indices.popleft()
        self.stepper.zero_grad()
        total = torch.zeros((), device=device)
        parts = _parts(self.settings.accumulate, inputs, targets, taught)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            silent = nullcontext() if last else self.accelerator.no_sync(self.objective)
            with silent:
                value = self.objective(*part)
                if len(parts) > 1:
                    value = value * (len(part[0]) / len(inputs))
                self.accelerator.backward(value)
            total = total + value.detach()
        if not self.alone:
            total = self.accelerator.reduce(total, "mean")
        if not bool(torch.isfinite(total)):
            raise DivergedError(
                f"the loss is {float(total)} at step {self.step}: lower the rate",
                expected="a finite loss",
                found=f"{float(total)}",
                remedy="set lr lower, or limit gradients: clip, which recipes call clip_gradients",
            )
        return float(total)

    def _save_if_due(self) -> None:
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        if self.step == self.steps or not self.checkpoints.due(self.step):
            return
        tensors = {f"module.{k}": t for k, t in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{key}": value
                for key, value in state.items()
                if torch.is_tensor(value)
            }
        tensors |= {f"random.{key}": t for key, t in randomness.capture().items()}
        tensors["order"] = self.epoch_state
        scaler = self.accelerator.scaler
        numbers = {"step": self.step, "scaler": None if scaler is None else scaler.state_dict()}
        self.checkpoints.save(tensors, numbers)

    def _restore(self, tensors: Tensors, numbers: dict[str, Any]) -> None:
        """Everything but the module's own state, and the parts', which are restored already."""
        self.step = int(numbers["step"])
        self.epoch_state = tensors["order"]
        document = self.optimizer.state_dict()
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in within(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**document, "state": states})
        if numbers["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(numbers["scaler"])
        if self.step % len(self.order) == 0:
            # Behind an epoch: draw its order once more, which brings the generator to its end.
            epoch = self.step // len(self.order)
            self.order.start(epoch - 1, first=len(self.order), state=self.epoch_state)
            for _ in self.loader:
                pass
        randomness.restore(within(tensors, "random."))


def _used_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that train; of a captured graph only those that it still reads."""
    parameters = dict(module.named_parameters())
    if isinstance(module, torch.fx.GraphModule):
        read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
        called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
        for name, parameter in parameters.items():
            if name not in read and name.rpartition(".")[0] not in called:
                parameter.requires_grad_(False)
    return [parameter for parameter in parameters.values() if parameter.requires_grad]


def _optimizer(parameters: list[nn.Parameter], settings: FitSettings) -> torch.optim.Optimizer:
    # Fused: one pass over all parameters, where a CPU would go through memory for each operation.
    fused = True if not torch.accelerator.is_available() else None
    decay = settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=decay, fused=fused)
    return torch.optim.SGD(
        parameters,
        settings.lr,
        momentum=settings.momentum,
        weight_decay=decay,
        nesterov=settings.momentum > 0,
        fused=fused,
    )


def _parts(count: int, *tensors: torch.Tensor | None) -> list[tuple[Any, ...]]:
    """A batch in parts of about the same size, at most one a sample."""
    if count == 1:
        return [tensors]
    split = [[None] * count if t is None else list(t.chunk(count)) for t in tensors]
    return list(zip(*split, strict=False))


@contextmanager
def _accelerated(settings: FitSettings) -> Iterator[Any]:
    """An accelerator of the wanted precision; others may follow with another one."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    team = Team.launched()
    precision = "no" if settings.precision == "fp32" else settings.precision
    # The precision is kept for the whole process; a recipe may have one for each run.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=team.on_cpus,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=PATIENCE),
            # Such as a head that the loss does not read, or a layer that some batches skip. torch
            # warns once where there is none: whether there is one is only known step by step.
            DistributedDataParallelKwargs(find_unused_parameters=True),
        ],
    )
    # Where a device has no such precision, accelerate computes in fp32 without a word.
    used, device = accelerator.mixed_precision, accelerator.device
    if used != "no" and not accelerator.native_amp:
        AcceleratorState._reset_state()
        raise RecipeError(
            f"this machine does not train in {used}",
            expected='precision = "fp32", or "bf16", which CPUs have too',
            found=f"a {device.type}",
        )
    if accelerator.num_processes != team.processes:
        raise RecipeError(
            "the processes that were started do not find each other",
            expected=f"{team.processes} processes, as WORLD_SIZE says",
            found=f"{accelerator.num_processes} in {accelerator.distributed_type}",
            remedy="start them with torchrun or accelerate launch",
        )
    try:
        yield accelerator
    finally:
        accelerator.free_memory()
        AcceleratorState._reset_state()


def cosine(step: int, steps: int, warmup: float) -> float:
    """The learning rate of a step, from 0 on, as a share of the largest: a rise, then half a wave.

    I. Loshchilov and F. Hutter, arXiv:1608.03983, equation 5, without restarts.
    """
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return 0.5 * (1.0 + float(torch.cos(torch.tensor(progress * torch.pi))))


def evaluate(
    module: nn.Module, loader: Iterable[Any], to_model: ToModel, score: Score = top1
) -> float:
    """The mean score of a module in evaluation mode, in [0, 1]: top-1 accuracy, or another.

    Neither the modes of its parts nor any random generator are changed.

    Raises:
        RecipeError: what the module gives cannot be scored.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    seen, total = 0, 0.0
    with torch.no_grad(), evaluating(module), randomness.kept():
        for inputs, targets in loader:
            outputs = module(to_model(inputs.to(device)))
            total += float(score(outputs, targets.to(device)).sum())
            seen += len(targets)
    return total / max(1, seen)
