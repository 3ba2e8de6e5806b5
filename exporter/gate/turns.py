"""`comparison.json`: two builds measured in turns on a device, so that their times can be compared.

In each round the file and the baseline's are measured one right after the other, each in a fresh
process, and which comes first changes from round to round. A round's time is the median of its
window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from exporter.build import SCHEMA_VERSION, Artifact, Frozen, load_json, save_json
from exporter.errors import BuildError
from exporter.gate.evidence import Evidence, file_name

if TYPE_CHECKING:
    from devices.session import Session

__all__ = ["COMPARISON", "TurnRow", "Turns", "load_turns", "pairs", "take_turns", "write_turns"]

COMPARISON: Final = "comparison.json"


class TurnRow(Frozen):
    """One file against the baseline's on one device: a time in ms for each round and side.

    `invalid` counts rounds in which the device's state spoke against the measurement; their times
    are kept, since both sides of a round share its state, and the notes say what was wrong.
    """

    artifact: str
    sha256: str
    baseline_artifact: str
    baseline_sha256: str
    device: str
    runtime: str
    threads: int
    seconds: float
    new_ms: tuple[float, ...]
    baseline_ms: tuple[float, ...]
    invalid: int = 0
    notes: tuple[str, ...] = ()

    @property
    def of(self) -> tuple[str, str, str, int, float]:
        """What was measured: rows of the same may be joined."""
        return self.sha256, self.baseline_sha256, self.device, self.threads, self.seconds


class Turns(Frozen):
    """The document."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: str
    rows: tuple[TurnRow, ...]


@dataclass(frozen=True)
class Pair:
    """A file and the baseline's, with their hashes."""

    new: Path
    new_artifact: Artifact
    old: Path
    old_artifact: Artifact


def pairs(new: Evidence, old: Evidence) -> list[Pair]:
    """The int8 files of two builds that belong together: the same format.

    Raises:
        BuildError: there are none.
    """
    found = []
    for artifact in new.manifest.artifacts:
        other = old.manifest.artifact(artifact.format, artifact.precision)
        if artifact.precision == "int8" and other is not None:
            found.append(
                Pair(new.directory / artifact.path, artifact, old.directory / other.path, other)
            )
    if not found:
        raise BuildError(
            f"{new.directory} and {old.directory} have no files to compare",
            expected="int8 files of the same format in both",
            found=", ".join(map(file_name, new.manifest.artifacts)) or "no files",
        )
    return found


def take_turns(
    session: Session,
    pair: Pair,
    *,
    rounds: int,
    seconds: float,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> TurnRow:
    """Measure both files of a pair in turns.

    Args:
        session: an open device.
        pair: the files.
        rounds: how often each is measured.
        seconds: the window of one measurement.
        threads: of the interpreter.
        progress: called after each round.

    Raises:
        EdgewrightError: the device failed, or refused a file.
    """
    # Two lists, not a mapping by path: a file may be compared with itself.
    new_ms: list[float] = []
    old_ms: list[float] = []
    sides = [(pair.new, new_ms), (pair.old, old_ms)]
    invalid, notes, runtime = 0, dict[str, None](), ""
    for turn in range(rounds):
        steady = True
        for path, times_ms in sides if turn % 2 == 0 else reversed(sides):
            row = session.bench(path, threads=threads, seconds=seconds, min_runs=5).row
            times_ms.append(row.p50_ms)
            steady, runtime = steady and row.valid, row.runtime
            notes.update(dict.fromkeys(row.notes))
        invalid += not steady
        progress()
    return TurnRow(
        artifact=file_name(pair.new_artifact),
        sha256=pair.new_artifact.sha256.lower(),
        baseline_artifact=file_name(pair.old_artifact),
        baseline_sha256=pair.old_artifact.sha256.lower(),
        device=session.name,
        runtime=runtime,
        threads=threads,
        seconds=seconds,
        new_ms=tuple(new_ms),
        baseline_ms=tuple(old_ms),
        invalid=invalid,
        notes=tuple(notes),
    )


def write_turns(
    directory: Path, rows: Sequence[TurnRow], *, add: bool = False
) -> tuple[TurnRow, ...]:
    """Write rows into a build's `comparison.json`; gives them as they stand there.

    A row takes the place of one of the same files on the same device; with `add`, its rounds are
    added to those.

    Raises:
        BuildError: the `comparison.json` that is there is damaged.
    """
    known = load_turns(directory)
    kept = {row.of: row for row in (known.rows if known is not None else ())}
    for row in rows:
        earlier = kept.get(row.of)
        kept[row.of] = _join(earlier, row) if add and earlier is not None else row
    created = datetime.now(UTC).isoformat(timespec="seconds")
    save_json(directory / COMPARISON, Turns(created=created, rows=tuple(kept.values())))
    return tuple(kept[row.of] for row in rows)


def load_turns(directory: Path) -> Turns | None:
    """A build's `comparison.json`; None where there is none.

    Raises:
        BuildError: it is damaged.
    """
    path = directory / COMPARISON
    return load_json(path, Turns) if path.exists() else None


def _join(earlier: TurnRow, later: TurnRow) -> TurnRow:
    return later.model_copy(
        update={
            "new_ms": earlier.new_ms + later.new_ms,
            "baseline_ms": earlier.baseline_ms + later.baseline_ms,
            "invalid": earlier.invalid + later.invalid,
            "notes": tuple(dict.fromkeys(earlier.notes + later.notes)),
        }
    )
