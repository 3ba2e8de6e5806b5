"""The sections of a recipe that say how a network is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from exporter.build import Frozen
from exporter.settings import FieldError

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


def _callable_name(value: object) -> object:
    file = (
        re.fullmatch(r"(?:\./)?([\w./]+)\.py:([\w.]+)", value) if isinstance(value, str) else None
    )
    if file is not None:
        name = f"{file[1].replace('/', '.')}:{file[2]}"
        raise FieldError(NAMED, f'name the module, not its file: "{name}"')
    if not (isinstance(value, str) and re.fullmatch(r"[\w.]+:[\w.]+", value)):
        raise FieldError(
            NAMED, 'write a function, such as data() in mine.py, and name it "mine:data"'
        )
    return value


NAMED: Final = 'expected "package.module:callable"'
CallableName = Annotated[str, BeforeValidator(_callable_name)]


class FitSection(Frozen):
    """A stretch of training: how long, how fast, and what is kept of it."""

    epochs: Positive
    lr: Positive
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    freeze_batch_norm: Share = 0.0
    reestimate_batch_norm: CountOrNone = 0
    keep: Literal["last", "best"] = "last"


class LoopSection(Frozen):
    """`[loop]`: how every stretch of training is computed, saved and told of."""

    precision: Literal["fp32", "bf16", "fp16"] | None = None
    accumulate: Count = 1
    clip_gradients: Positive | None = None
    workers: CountOrNone = 0
    evaluate_every: CountOrNone = 1
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    checkpoint_steps: CountOrNone = 0
    log_every: Count = 50
    tensorboard: bool = True


TELLING: Final = frozenset({"checkpoint_seconds", "checkpoint_steps", "log_every", "tensorboard"})
"""Keys of `[loop]` that change nothing of what is trained."""


class DistillSection(Frozen):
    """`[distill]`: a teacher whose outputs pruning, sharing and QAT learn beside the labels.

    The teacher is the network as it is behind `[train]`, or another one.
    """

    temperature: Positive = 3.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.7
    factory: CallableName | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Path | None = None
    cache: bool | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _whole(self) -> DistillSection:
        if (self.factory is None) != (self.weights is None):
            raise ValueError("expected both factory and weights of a teacher, or neither")
        return self
