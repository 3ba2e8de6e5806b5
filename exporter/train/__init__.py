"""Training: the fit loop and what goes with it."""

from exporter.train.checkpoint import Checkpoints
from exporter.train.distill import Teacher
from exporter.train.fit import Hooks, Progress, evaluate, fit
from exporter.train.labels import check_labels, cross_entropy
from exporter.train.score import CLASSIFICATION, Task
from exporter.train.settings import FitSettings, computes_bf16
from exporter.train.team import Team

__all__ = [
    "CLASSIFICATION",
    "Checkpoints",
    "FitSettings",
    "Hooks",
    "Progress",
    "Task",
    "Teacher",
    "Team",
    "check_labels",
    "computes_bf16",
    "cross_entropy",
    "evaluate",
    "fit",
]
