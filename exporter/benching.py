"""bench.json: what devices measured, as a document of the build directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.build import Bench, BenchRow, Versus

if TYPE_CHECKING:
    from devices.session import Benched
    from devices.versus import Ratio


def bench_document(
    benched: Mapping[str, Sequence[Benched]], ratios: Mapping[str, Sequence[Ratio]] | None = None
) -> Bench:
    """The document of measurements by device, and of the ratios of files measured in turns."""
    return Bench(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(
            BenchRow.model_validate(one.row, from_attributes=True)
            for taken in benched.values()
            for one in taken
        ),
        device_state={name: taken[0].before.to_dict() for name, taken in benched.items() if taken},
        device_state_after={
            name: taken[-1].after.to_dict() for name, taken in benched.items() if taken
        },
        versus=tuple(
            Versus(device=name, **vars(ratio))
            for name, found in (ratios or {}).items()
            for ratio in found
        ),
    )
