"""What `bench` does on one device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices.session import Benched, Session
from devices.versus import Ratio, bench_in_turns
from exporter.build import MANIFEST, Manifest, load_json
from runtimes.errors import MissingRuntimeError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The files to measure, and how; with `vs`, in turns with that one."""

    files: tuple[Path, ...]
    vs: Path | None = None
    threads: int = 1
    seconds: float = 10.0
    rounds: int = 10
    profile: bool = False


@dataclass(frozen=True)
class Measured:
    """What came of a plan; `not_run` names files that have no interpreter there, and why."""

    benched: tuple[Benched, ...]
    ratios: tuple[Ratio, ...] = ()
    not_run: tuple[str, ...] = ()


def models_of(path: Path) -> tuple[Path, ...]:
    """The model files of a build directory; any other path stands for itself.

    Raises:
        BuildError: a directory holds no build.
    """
    if not path.is_dir():
        return (path,)
    manifest = load_json(path / MANIFEST, Manifest)
    return tuple(path / artifact.path for artifact in manifest.artifacts)


def measure(session: Session, plan: Plan, say: Say = lambda _text: None) -> Measured:
    """Carry a plan out on an open device; `say` is told what was measured.

    Raises:
        MissingRuntimeError: the device has no interpreter for any of the files, or for one of two
            that take turns.
    """
    not_run: tuple[str, ...] = ()
    if plan.vs is not None:
        versus = bench_in_turns(
            session,
            plan.vs,
            plan.files,
            threads=plan.threads,
            seconds=plan.seconds,
            rounds=plan.rounds,
            progress=lambda path, row: say(f"{path.name} {row.p50_ms:.3f} ms"),
        )
        benched, ratios = versus.benched, versus.ratios
        paths = (plan.vs, *plan.files)
    else:
        benched, ratios, paths = (), (), ()
        for path in plan.files:
            say(path.name)
            try:
                measured = session.bench(path, threads=plan.threads, seconds=plan.seconds)
            except MissingRuntimeError as error:
                if not benched and path == plan.files[-1]:
                    raise
                not_run += (f"{path.name}: {error.problem}",)
                continue
            benched, paths = (*benched, measured), (*paths, path)
            say(f"{path.name} {measured.row.p50_ms:.3f} ms")
    if plan.profile:
        benched = tuple(
            _profiled(session, path, one, plan.threads)
            for path, one in zip(paths, benched, strict=True)
        )
    return Measured(benched, ratios, not_run)


def _profiled(session: Session, path: Path, benched: Benched, threads: int) -> Benched:
    operators, notes = session.profile(path, threads=threads)
    row = dataclasses.replace(benched.row, operators=operators, notes=(*benched.row.notes, *notes))
    return dataclasses.replace(benched, report=dataclasses.replace(benched.report, row=row))
