"""The agent against a C program: the same file, the same kernels, in turns, each in a process.

The agent on a device is Python: its p50 must agree with that of a program without Python within
5 % (`latency_ratio`), and what a call from Python costs is `overhead_ms` of each inference.
`variation` is the coefficient of variation of the agent's p50 over the runs: below 0.05 on an idle
machine. The C program is the native runner; build it first:
`edgewright devices build-runner --target x86_64`. A machine that does other work is kept away by
`chrt -r 10 taskset -c 1 python -m benchmarks.agent`, as the root user.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.lowering import NETWORKS, Network, factory_of, write_canonical
from benchmarks.paired import interleaved
from benchmarks.results import ROOT, Value, arguments, publish

if TYPE_CHECKING:
    from devices.session import Session

ROUNDS: Final = 5
SECONDS: Final = 3.0
QUICK_SECONDS: Final = 0.5
LIMIT_RATIO: Final = 1.05
LIMIT_VARIATION: Final = 0.05
MEASURED: Final = (
    NETWORKS[0],
    Network(
        "MobileNetV2",
        ROOT / "examples" / "mobilenet_v2",
        "mobilenet_v2:mobilenet_v2",
        (1, 3, 224, 224),
        1.0,
    ),
)

Row = dict[str, Value]


def main() -> None:
    """Measure both; print and write the table."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        rows = measure(Path(folder), QUICK_SECONDS if options.quick else SECONDS, ROUNDS)
    publish("agent", rows, options)


def measure(folder: Path, seconds: float, rounds: int) -> list[Row]:
    """One row a network and runtime, and one of the agent's own loop around nothing."""
    from devices.local import LocalTransport
    from devices.session import Session

    native = _native()
    rows = []
    with Session(LocalTransport()) as agent:
        for network in MEASURED:
            files = _files(network, folder)
            rows += [_row(network.name, path, agent, native, seconds, rounds) for path in files]
    if native is not None:
        native.close()
    return [*rows, _loop_row()]


def _row(
    network: str, path: Path, agent: Session, native: Session | None, seconds: float, rounds: int
) -> Row:
    sessions = {"agent": agent, **({"c": native} if native is not None else {})}
    contenders = {
        name: lambda session=session: session.bench(path, seconds=seconds).row.p50_ms
        for name, session in sessions.items()
    }
    found = interleaved(contenders, rounds, warmup=0)
    agents = found.values["agent"]
    row: Row = {
        "network": network,
        "file": path.name,
        "latency_ms_p50": found.median("agent"),
        "c_ms_p50": None,
        "latency_ratio": None,
        "low_ratio": None,
        "high_ratio": None,
        "overhead_ms": None,
        "variation": statistics.stdev(agents) / statistics.mean(agents),
        "within_limits": statistics.stdev(agents) / statistics.mean(agents) < LIMIT_VARIATION,
    }
    if native is not None:
        ratio = found.ratio("agent", "c")
        agrees = 2 - LIMIT_RATIO < ratio.value < LIMIT_RATIO
        row |= {
            "c_ms_p50": found.median("c"),
            "latency_ratio": ratio.value,
            "low_ratio": ratio.low,
            "high_ratio": ratio.high,
            "overhead_ms": found.median("agent") - found.median("c"),
            "within_limits": bool(row["within_limits"]) and agrees,
        }
    return row


def _loop_row() -> Row:
    """What the agent's own loop and clock take, around a call of nothing: part of each sample."""
    from runtimes.timing import measure as timed
    from runtimes.timing import summarise

    found = timed(lambda: None, seconds=0.2, min_runs=1000)
    p50_ms = summarise([sample / 1e6 for sample in found.samples_ns]).p50_ms
    return {"network": "(no call)", "latency_ms_p50": p50_ms, "overhead_ms": p50_ms}


def _files(network: Network, folder: Path) -> tuple[Path, ...]:
    """The network's int8 files; none where the network is not here."""
    import onnx_ir as ir

    from exporter.graph.read import load
    from exporter.ort import qdq
    from exporter.tflite import lower_file

    factory = factory_of(network)
    if factory is None:
        return ()
    stem = network.name.lower().replace("-", "")
    canonical = folder / f"{stem}.qdq.onnx"
    onnx, tflite = folder / f"{stem}.int8.onnx", folder / f"{stem}.int8.tflite"
    write_canonical(factory(), network.shape, canonical)
    lower_file(canonical, tflite)
    ir.save(qdq.lower(load(canonical)), onnx, format="protobuf")
    return onnx, tflite


def _native() -> Session | None:
    """This machine with the native runner; None, with a line on stderr, where it is not built."""
    import platform

    from devices.bundle import bundle_for
    from devices.cargo import Cargo
    from devices.errors import DeviceError
    from devices.local import LocalTransport
    from devices.native import NativeRunner
    from devices.session import Session
    from runtimes.errors import MissingRuntimeError

    try:
        bundle = bundle_for(platform.machine())
    except (DeviceError, MissingRuntimeError) as error:
        print(f"SKIPPED the C program: {error}", file=sys.stderr)
        return None
    transport = LocalTransport()
    return Session(transport, runner=NativeRunner(transport, Cargo(transport), bundle))


if __name__ == "__main__":
    main()
