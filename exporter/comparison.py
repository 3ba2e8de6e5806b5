"""Two builds, measured in turns on one device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from devices.session import open_device
from exporter.gate.evidence import Evidence
from exporter.gate.turns import TurnRow, pairs, take_turns, write_turns
from exporter.progress import Reporter, Silent

__all__ = ["compare_builds"]


def compare_builds(
    new: Path,
    old: Path,
    device: str = "local",
    *,
    rounds: int = 30,
    seconds: float = 0.5,
    threads: int = 1,
    add: bool = False,
    reporter: Reporter | None = None,
) -> tuple[TurnRow, ...]:
    """Measure the int8 files of two builds in turns, and keep that in the new one's directory.

    Args:
        new: a build directory; `comparison.json` is written there.
        old: the build to compare with; the same directory measures the noise.
        device: as `edgewright devices` names it.
        rounds: how often each file is measured.
        seconds: the window of one measurement.
        threads: of the interpreter.
        add: add these rounds to earlier ones of the same files on the same device.
        reporter: told of the progress.

    Returns:
        The rows of these files, in the manifest's order.

    Raises:
        BuildError: a directory is no build, or the two have no files in common.
        DeviceError: the device or the link failed.
    """
    reporter = reporter if reporter is not None else Silent()
    found = pairs(Evidence(new), Evidence(old))
    rows = []
    with open_device(device) as session:
        for pair in found:
            with reporter.stage(pair.new_artifact.name, rounds) as advance:
                rows.append(
                    take_turns(
                        session,
                        pair,
                        rounds=rounds,
                        seconds=seconds,
                        threads=threads,
                        progress=partial(advance, 1, ""),
                    )
                )
    return write_turns(new, rows, add=add)
