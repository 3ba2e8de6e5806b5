"""What is seen of a stage while it trains: the bar's note, the log, accuracy, the best weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from exporter.fit_recipe import FitSection
from exporter.gate.units import BYTES
from exporter.progress import Advance
from exporter.stages.collapse import Labelled, has_collapsed
from exporter.train import Progress, evaluate
from exporter.train.checkpoint import Tensors
from exporter.train.log import Row, TrainingLog

if TYPE_CHECKING:
    from exporter.stages.context import Context
    from exporter.stages.fitting import Subject


@dataclass(frozen=True)
class Seen:
    """What was measured behind an epoch; None where there is none.

    Attributes:
        accuracy: in [0, 1].
        chance: the accuracy of naming one class every time; 0 with a score of the recipe's own.
        coded: bytes of the package.
    """

    accuracy: float | None = None
    chance: float = 0.0
    coded: int | None = None


NOTHING = Seen()


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
        self._best = self._highest = -1.0
        self._growing = -1.0
        self._collapsed = self._restored = False
        self._sizes = subject.compressor or subject.sizes
        self._seen = ""
        data = context.recipe.data
        self._measures = data.validation is not None or data.test is not None
        folder = context.directory / "stages"
        self.best_path: Path = folder / f"{subject.stage}.best.safetensors"
        self.growing_path: Path = folder / f"{subject.stage}.growing.safetensors"

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
        """Measure, log, keep good weights; True where the stage has what it wants."""
        every = self._context.recipe.loop.evaluate_every
        last = progress.step == progress.steps
        due = last or (every and round(progress.epoch) % every == 0)
        seen = self._context.team.share(self._measure) if due else NOTHING
        self._write(progress, seen)
        self._seen = self._found(seen) or self._seen
        self._advance(0, self._note(progress.loss))
        if seen.accuracy is not None:
            self._look_for_collapse(seen.accuracy, seen.chance)
            self._keep(seen.accuracy, whole=self._subject.whole(progress.step, progress.steps))
        return bool(due) and self._subject.stops(seen.accuracy, seen.coded)

    def _measure(self) -> Seen:
        context, subject = self._context, self._subject
        accuracy, chance = None, 0.0
        if self._measures:
            loader = context.loader("validation", shuffle=False)
            to_model = subject.to_model or context.spec.to_model
            if context.recipe.data.score is None:
                score = Labelled(context.task.score)
                accuracy = evaluate(subject.module, loader, to_model, score)
                chance = score.chance
            else:
                accuracy = evaluate(subject.module, loader, to_model, context.task.score)
        coded = None if self._sizes is None else round(self._sizes.coded_bytes())
        return Seen(accuracy, chance, coded)

    def _keep(self, accuracy: float, *, whole: bool) -> None:
        """Save the best weights; while sparsity grows, the last ones that have not collapsed."""
        self._highest = max(self._highest, accuracy)
        if whole and not self._collapsed and self._context.team.main:
            self._growing = -1.0
            self.growing_path.unlink(missing_ok=True)
        if whole and accuracy > self._best:
            self._best = accuracy
            self._context.save(self.best_path, self._subject.state())
        elif not (whole or self._collapsed):
            self._growing = self._sparsity()
            self._context.save(self.growing_path, self._subject.state())

    def _look_for_collapse(self, accuracy: float, chance: float) -> None:
        before = max(self._context.accuracy or 0.0, self._highest)
        if self._collapsed or not has_collapsed(accuracy, before, chance):
            return
        self._collapsed = True
        zeros = "" if self._sizes is None else f" at {self._sizes.sparsity():.1%} zeros"
        self._context.reporter.warn(
            f"{self._subject.stage}: accuracy fell from {before:.1%} to {accuracy:.1%}{zeros}; "
            f"try more epochs, a smaller lr, or less sparsity{self._kept()}"
        )

    def _kept(self) -> str:
        """Where good weights are, for the warning."""
        if self._best > 0:
            return f"; the best weights so far are in {self.best_path}"
        if self._growing >= 0:
            return f"; the last before, at {self._growing:.1%} zeros, are in {self.growing_path}"
        return ""

    def _sparsity(self) -> float:
        return 0.0 if self._sizes is None else self._sizes.sparsity()

    def _note(self, loss: float) -> str:
        return f"loss {loss:.3f}{self._seen}"

    def _found(self, seen: Seen) -> str:
        """What the bar shows behind the loss until it is measured again."""
        parts = []
        if seen.accuracy is not None:
            parts.append(f"accuracy {seen.accuracy:.2%}")
        if seen.coded is not None:
            parts.append(f"zeros {self._sparsity():.1%}")
            parts.append(BYTES.format(seen.coded))
        return "".join(f" · {part}" for part in parts)

    def _write(self, progress: Progress, seen: Seen = NOTHING) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if not self._context.team.main:
            return
        sparsity = None if self._sizes is None else self._sizes.sparsity()
        self._opened(progress.step).write(
            Row(
                self._subject.stage,
                progress.epoch,
                progress.step,
                loss,
                progress.lr,
                seen.accuracy,
                sparsity,
                seen.coded,
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
            "highest": torch.tensor(self._highest, dtype=torch.float64),
            "growing": torch.tensor(self._growing, dtype=torch.float64),
            "collapsed": torch.tensor(self._collapsed),
        }

    def load_state_dict(self, state: Tensors) -> None:
        """Take that back."""
        self._losses = state["losses"].tolist()
        self._best = float(state["best"])
        self._highest, self._growing = float(state["highest"]), float(state["growing"])
        self._collapsed = bool(state["collapsed"])
        self._restored = True

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
