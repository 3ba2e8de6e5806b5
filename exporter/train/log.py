"""What training logs: a CSV file always, TensorBoard's files where its package is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from exporter.build import write_bytes


@dataclass(frozen=True)
class Row:
    """One line of training.csv; what was not measured is empty.

    Attributes:
        stage: of the build, such as "prune".
        epoch: passes over the data that this stage has done.
        step: optimizer steps that this stage has done.
        loss: mean since the row before.
        lr: learning rate of the last step.
        accuracy: on the data that chooses, in [0, 1].
        sparsity: share of zeros among the weights that take part, in [0, 1].
        coded_bytes: of those weights.
    """

    stage: str
    epoch: float
    step: int
    loss: float
    lr: float
    accuracy: float | None = None
    sparsity: float | None = None
    coded_bytes: int | None = None


COLUMNS = tuple(field.name for field in fields(Row))
CURVES = ("loss", "lr", "accuracy", "sparsity", "coded_bytes")


class TrainingLog:
    """The log of one stage; what other stages have written stays.

    Args:
        path: of the CSV file.
        stage: its rows are replaced, but for those up to `step`.
        step: where training starts; 0 but for a run that is taken up again.
        curves: a folder for TensorBoard; None for none.
    """

    def __init__(
        self, path: Path, stage: str, *, step: int = 0, curves: Path | None = None
    ) -> None:
        kept = [
            row
            for row in read_rows(path)
            if row["stage"] != stage or (row["step"].isdigit() and int(row["step"]) <= step)
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_bytes(path, text.getvalue().encode())
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._curves = _tensorboard(curves, step) if curves is not None else None

    def write(self, row: Row) -> None:
        """Add a row; it is on disk at once."""
        values = [getattr(row, name) for name in COLUMNS]
        self._writer.writerow(["" if value is None else _shown(value) for value in values])
        self._file.flush()
        if self._curves is not None:
            for name in CURVES:
                value = getattr(row, name)
                if value is not None:
                    self._curves.add_scalar(name, value, row.step)

    def close(self) -> None:
        """Close all files."""
        self._file.close()
        if self._curves is not None:
            self._curves.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log; a line that was cut off by the end of its process is none."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(io.StringIO(whole))
    return [row for row in rows if list(row) == list(COLUMNS) and None not in row.values()]


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer; None where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)  # type: ignore[no-untyped-call]
