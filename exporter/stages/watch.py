"""What is seen of a stage while it trains: the bar's note, the log, accuracy, the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from exporter.fit_recipe import FitSection
from exporter.gate.units import BYTES
from exporter.progress import Advance
from exporter.train import Progress, evaluate
from exporter.train.checkpoint import Tensors
from exporter.train.log import Row, TrainingLog

if TYPE_CHECKING:
    from exporter.stages.context import Context
    from exporter.stages.fitting import Subject

COLLAPSED: Final = 0.5
"""Of the accuracy before: with less, something is wrong."""


class Watch:
    """Watches one stretch of training. Its state goes into checkpoints.

    Args:
        context: of the build.
        subject: what trains.
        section: of the recipe.
        advance: of the progress bar.
    """

    def __init__(
        self, context: Context, subject: Subject, section: FitSection, advance: Advance
    ) -> None:
        self._context, self._subject, self._section = context, subject, section
        self._advance = advance
        self._log: TrainingLog | None = None
        self._started = 0
        self._losses: list[float] = []
        self._best = -1.0
        self._collapsed = self._restored = False
        self._seen = ""
        data = context.recipe.data
        self._measures = data.validation is not None or data.test is not None
        self.best_path: Path = context.directory / "stages" / f"{subject.stage}.best.safetensors"

    def on_step(self, progress: Progress) -> None:
        """Advance the bar, and log every so many steps."""
        self._losses.append(progress.loss)
        done = progress.step - self._started
        self._started = progress.step
        self._advance(done, self._note(progress.loss))
        ends = progress.step == progress.steps or float(progress.epoch).is_integer()
        if progress.step % self._context.recipe.loop.log_every == 0 and not ends:
            self._write(progress)

    def on_epoch(self, progress: Progress) -> bool:
        """Measure, log, keep the best weights; True where the stage has what it wants."""
        every = self._context.recipe.loop.evaluate_every
        last = progress.step == progress.steps
        due = last or (every and round(progress.epoch) % every == 0)
        accuracy, coded = self._context.team.share(self._measure) if due else (None, None)
        self._write(progress, accuracy, coded)
        self._seen = self._found(accuracy, coded) or self._seen
        self._advance(0, self._note(progress.loss))
        if accuracy is not None:
            self._look_for_collapse(accuracy)
            if self._subject.whole(progress.step, progress.steps):
                self._keep_best(accuracy)
        return bool(due) and self._subject.stops(accuracy, coded)

    def _measure(self) -> tuple[float | None, int | None]:
        """Accuracy in [0, 1] and coded bytes, each None where there is none."""
        context, subject = self._context, self._subject
        accuracy = None
        if self._measures:
            loader = context.loader("validation", shuffle=False)
            to_model = subject.to_model or context.spec.to_model
            accuracy = evaluate(subject.module, loader, to_model, context.task.score)
        coded = None if subject.compressor is None else round(subject.compressor.coded_bytes())
        return accuracy, coded

    def _keep_best(self, accuracy: float) -> None:
        if accuracy > self._best:
            self._best = accuracy
            self._context.save(self.best_path, self._subject.state())

    def _look_for_collapse(self, accuracy: float) -> None:
        before = max(self._context.accuracy or 0.0, self._best)
        if accuracy >= COLLAPSED * before or self._collapsed:
            return
        self._collapsed = True
        compressor = self._subject.compressor
        zeros = "" if compressor is None else f" at {compressor.sparsity():.1%} zeros"
        self._context.reporter.warn(
            f"{self._subject.stage}: accuracy fell from {before:.1%} to {accuracy:.1%}{zeros}; "
            "try more epochs, a smaller lr, or less sparsity"
            + (f"; the best weights so far are in {self.best_path}" if self._best > 0 else "")
        )

    def _note(self, loss: float) -> str:
        return f"loss {loss:.3f}{self._seen}"

    def _found(self, accuracy: float | None, coded: int | None) -> str:
        """What the bar shows behind the loss until it is measured again."""
        parts = []
        if accuracy is not None:
            parts.append(f"accuracy {accuracy:.2%}")
        if self._subject.compressor is not None and (accuracy, coded) != (None, None):
            parts.append(f"zeros {self._subject.compressor.sparsity():.1%}")
        if coded is not None:
            parts.append(BYTES.format(coded))
        return "".join(f" · {part}" for part in parts)

    def _write(
        self, progress: Progress, accuracy: float | None = None, coded: int | None = None
    ) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if not self._context.team.main:
            return
        compressor = self._subject.compressor
        sparsity = None if compressor is None else compressor.sparsity()
        self._opened(progress.step).write(
            Row(
                self._subject.stage,
                progress.epoch,
                progress.step,
                loss,
                progress.lr,
                accuracy,
                sparsity,
                coded,
            )
        )

    def _opened(self, step: int) -> TrainingLog:
        if self._log is None:
            from exporter.stages.fitting import TRAINING_LOG

            directory, stage = self._context.directory, self._subject.stage
            curves = directory / "tensorboard" / stage
            tensorboard = self._context.recipe.loop.tensorboard
            self._log = TrainingLog(
                directory / TRAINING_LOG,
                stage,
                step=step - 1 if self._restored else 0,
                curves=curves if tensorboard else None,
            )
        return self._log

    def state_dict(self) -> Tensors:
        """What a run that is taken up again must know."""
        return {
            "losses": torch.tensor(self._losses, dtype=torch.float64),
            "best": torch.tensor(self._best, dtype=torch.float64),
            "collapsed": torch.tensor(self._collapsed),
        }

    def load_state_dict(self, state: Tensors) -> None:
        """Take that back."""
        self._losses = state["losses"].tolist()
        self._best = float(state["best"])
        self._collapsed = bool(state["collapsed"])
        self._restored = True

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
