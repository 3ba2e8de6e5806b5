"""What commands print of devices: measurements, smoke tests, findings, and the live table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from devices.state import UNKNOWN
from exporter.terminal import console

if TYPE_CHECKING:
    from devices.config import Device
    from devices.doctor import Examination
    from exporter.build import Bench, BenchRow, SmokeRow

LONG = 60


class FleetTable:
    """One line a device on stderr, alive while they work; no terminal gets plain lines."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._console = console(stderr=True)
        self._said = {device.name: "waiting" for device in devices}
        self._start_s = time.monotonic()
        self._ended_s: dict[str, float] = {}
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> FleetTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, device: Device, text: str) -> None:
        """What a device does now."""
        self._said[device.name] = text
        if text in ("done", "stopped") or text.startswith("failed"):
            self._ended_s[device.name] = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{device.name}: {text}", soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None)
        for column in ("device", "s", ""):
            table.add_column(column, justify="right" if column == "s" else "left")
        for name, text in self._said.items():
            until_s = self._ended_s.get(name, time.monotonic())
            table.add_row(name, f"{until_s - self._start_s:.0f}", text)
        return table


def print_bench(document: Bench) -> None:
    """One line a file; below, the devices, what would make invalid rows valid, and the ratios."""
    many = len({row.device for row in document.rows}) > 1
    table = Table(box=None)
    names = ["device"] if many else []
    for column in (*names, "file", "runtime"):
        table.add_column(column)
    for column in ("load ms", "first ms", "p50 ms", "p90 ms", "p99 ms", "peak MB", "runs", "valid"):
        table.add_column(column, justify="right")
    for row in document.rows:
        table.add_row(*([row.device] if many else []), *_bench_cells(row))
    console().print(table)
    for device, before in document.device_state.items():
        _say(f"{device}: {state_line(before, document.device_state_after.get(device, before))}")
    for line in invalid_lines(document.rows):
        _say(line)
    for ratio in document.versus:
        _say(
            f"{ratio.artifact} takes {ratio.ratio:.3f} times as long as {ratio.baseline} on "
            f"{ratio.device} (95 %: {ratio.low:.3f} to {ratio.high:.3f}, {ratio.rounds} rounds)"
        )
    for row in document.rows:
        _print_operators(row)


def state_line(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """A device's state in a line: what bears on the figures, before and after."""
    clocks, governors = before["frequency_max_mhz"], before["governors"]
    heat = " to ".join(
        f"{state['temperature_c']:.0f}"
        for state in (before, after)
        if _known(state, "temperature_c")
    )
    battery = before["battery_percent"]
    parts = (
        before["model"] if _known(before, "model") else "an unknown board",
        f"{before['cores']} cores" if _known(before, "cores") else "",
        f"up to {clocks:.0f} MHz" if _known(before, "frequency_max_mhz") else "",
        f"governor {', '.join(governors)}" if _known(before, "governors") else "governor unknown",
        f"{heat} °C" if heat else "temperature unknown",
        f"battery at {battery} %" if _known(before, "battery_percent") else "",
    )
    return ", ".join(part for part in parts if part)


def _known(state: Mapping[str, Any], key: str) -> bool:
    return bool(state.get(key, UNKNOWN) != UNKNOWN)


def invalid_lines(rows: Sequence[BenchRow]) -> list[str]:
    """Why rows are not valid and what would mend it; files with one reason in one line."""
    files: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for reason, remedy in zip(row.reasons, row.remedies, strict=True):
            files.setdefault((row.device, reason, remedy), []).append(row.artifact)
    lines = []
    for (device, reason, remedy), names in files.items():
        lines += [f"not valid: {device}, {', '.join(names)}: {reason}", f"  to do:   {remedy}"]
    return lines


def _runs_in(runtime: str, delegate: str) -> str:
    """The interpreter, and whose kernels ran: those of ONNX Runtime are its own."""
    if delegate != "none":
        return f"{runtime} ({delegate})"
    return runtime if runtime.startswith("onnxruntime") else f"{runtime} (builtin kernels)"


def _say(text: str) -> None:
    """A line as it is: remedies hold brackets and paths."""
    console().print(text, soft_wrap=True, highlight=False)


def _bench_cells(row: BenchRow) -> tuple[str, ...]:
    times = (row.load_ms, row.first_ms, row.p50_ms, row.p90_ms, row.p99_ms)
    return (
        row.artifact,
        _runs_in(row.runtime, row.delegate),
        *(f"{time_ms:.3f}" for time_ms in times),
        f"{row.peak_inference_bytes / 1e6:.1f}",
        str(len(row.samples_ms)),
        "yes" if row.valid else "no",
    )


def _print_operators(row: BenchRow) -> None:
    if not row.operators:
        return
    total_ms = sum(one.mean_ms for one in row.operators) or 1.0
    table = Table(box=None, title=f"{row.artifact} on {row.device}, by operator")
    table.add_column("operator")
    table.add_column("kind")
    table.add_column("ms", justify="right")
    table.add_column("%", justify="right")
    for one in row.operators:
        share = f"{100 * one.mean_ms / total_ms:.1f}"
        table.add_row(one.name[:LONG], one.kind, f"{one.mean_ms:.4f}", share)
    console().print(table)


def smoke_line(row: SmokeRow) -> str:
    """One file's outcome in one line."""
    if row.not_run:
        return f"- {row.device}  {row.file}: not run: {row.not_run}"
    mark = "✓" if row.passed else "✗"
    if row.error and not row.values:
        return f"{mark} {row.device}  {row.file}: {row.error}"
    said = "bit for bit" if not row.differing else f"{row.differing} of {row.values} values differ"
    if row.differing:
        said += f" by up to {row.max_lsb} LSB (allowed: {row.limit_lsb})"
    problem = f"; {row.error}" if row.error else ""
    return (
        f"{mark} {row.device}  {row.file}: {said}, {row.samples} samples, "
        f"{_runs_in(f'{row.runtime} {row.runtime_version}', row.delegate)}{problem}"
    )


def print_smoke(rows: Sequence[SmokeRow]) -> None:
    """One line a file."""
    for row in rows:
        _say(smoke_line(row))


def print_devices(devices: Sequence[Device]) -> None:
    """The configured devices."""
    table = Table(box=None)
    for column in ("device", "address", "runner", "profile"):
        table.add_column(column)
    for device in devices:
        runner = device.program if device.runner == "python" else device.runner
        table.add_row(device.name, device.address, runner, device.profile or "")
    console().print(table)


def print_examination(examination: Examination) -> None:
    """What was found of one device, with the commands that mend it."""
    _say(examination.device.name)
    marks = {"good": "✓", "warning": "!", "bad": "✗"}
    for finding in examination.findings:
        _say(f"  {marks[finding.level]} {finding.what}")
        if finding.remedy and finding.level != "good":
            _say(f"      to do: {finding.remedy}")
