"""benchmark_model's text, of old and new versions, and a stand-in that prints it on a phone."""

from __future__ import annotations

import dataclasses
import stat

import pytest

from devices.adb import open_adb
from devices.benchmark_model import BenchmarkModel, parse_operators, parse_report, parse_statistics
from devices.cargo import Cargo
from devices.config import Device
from devices.errors import AgentError, CrashError
from devices.session import Session
from runtimes.errors import ModelError
from runtimes.report import BenchRequest

OLD = """STARTING!
Graph: [/data/local/tmp/m.tflite]
Loaded model /data/local/tmp/m.tflite
Explicitly applied XNNPACK delegate, and the model graph will be completely executed w/ it.
The input model file size (MB): 3.5
Initialized session in 17.5ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds.
count=25 first=2500 curr=2100 min=2000 max=2500 avg=2150 std=60

Running benchmark for at least 50 iterations and at least 1 seconds.
count=480 first=2110 curr=2090 min=2040 max=3020 avg=2.10e+03 std=45

Inference timings in us: Init: 17500, First inference: 2500, Inference (avg): 2100
Peak memory footprint (MB): init=5.5 overall=9.25
"""
NEW = (
    OLD.replace("std=45", "std=45 p5=2050 median=2095 p95=2300")
    .replace("Peak memory footprint (MB)", "Memory footprint delta from the start of the tool (MB)")
    .replace("\n", "\nINFO: ")
)
ORDER = "=" * 30 + " Run Order " + "=" * 30 + "\n"
INIT_HEAD = "Profiling Info for Benchmark Initialization:\n"
REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
HEAD = (
    "[node type]",
    "[first]",
    "[avg ms]",
    "[%]",
    "[cdf%]",
    "[mem KB]",
    "[times called]",
    "[Name]",
)
DW = "Convolution (NHWC, QC8) DWConv"
ROWS = (
    ("CONV_2D", "1.2", "1.100", "52%", "52%", "0.0", "1", "[conv/Relu6]:0"),
    ("SOFTMAX", "0.2", "0.100", "5%", "57%", "0.0", "1", "[probs]:2"),
    (DW, "0.4", "0.300", "43%", "100%", "0.0", "3", f"Delegate/{DW}:3"),
)
# After each table of operators: others in another order, and statistics with the profiler's time.
AFTER = """
============================== Summary by node type ==============================
\t [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t     CONV_2D\t        1\t     1.100\t    52.000%\t    52.000%\t     0.000\t        1

Timings (microseconds): count=50 first=9000 curr=9000 min=9000 max=9900 avg=9000 std=90
Memory (bytes): count=0
3 nodes observed
"""


def table(head, rows, between="\t"):
    lines = ["\t" + between.join(f"{cell:>24}" for cell in row) for row in (head, *rows)]
    printed = ORDER + "\n".join(lines) + "\n\n"
    top = printed.replace("Run Order", "Top by Computation Time")
    return f"{printed}{top}Number of nodes executed: 3{AFTER}\n"


INIT = INIT_HEAD + table(HEAD, [("AllocateTensors", *["9.0"] * 5, "1", "AllocateTensors/0")])
PROFILE = INIT + "\n\nINFO: " + REGULAR + table(HEAD, ROWS)
# A terminal's copy, in which spaces stand for tabs.
SPACED = INIT + REGULAR + table(HEAD, ROWS, "  ")
# Before 2021 there was a column more; in 2018 no heading above the table, and no calls counted.
OLD_ROWS = [(*row[:1], "0.0", *row[1:]) for row in ROWS]
OLD_PROFILE = INIT + REGULAR + table((HEAD[0], "[start]", *HEAD[1:]), OLD_ROWS)
FIRST_PROFILE = table(HEAD, [(*row[:6], "0", row[7]) for row in ROWS[:2]])
# Other delegates, and XNNPACK until 2021: a row of their own, and what is inside again elsewhere.
WHOLE = (ROWS[0], ROWS[1], ("TfLiteXNNPackDelegate", *ROWS[0][1:2], "0.9", *ROWS[0][3:7], "[y]:3"))
INSIDE = ("DelegateOpInvoke", "0.4", "0.300", "43%", "100%", "0.0", "3", f"Delegate/{DW}:3")
NESTED = REGULAR + table(HEAD, (*WHOLE, INSIDE))
SEPARATE = REGULAR + table(HEAD, WHOLE) + "Delegate internal: \n" + table(HEAD, [INSIDE, ROWS[2]])
# A table for each subgraph, where there are several.
GRAPHS = (
    f"{REGULAR}Primary graph (name: main) profile:\n{table(HEAD, ROWS[:2])}"
    f"Subgraph (index: 1, name: body) profile:\n{table(HEAD, ROWS[2:])}"
)
REQUEST = BenchRequest("/models/m.tflite", threads=2, device="phone")


@pytest.mark.parametrize(("text", "p50", "p95"), [(OLD, None, None), (NEW, 2.095, 2.3)])
def test_the_last_statistics_count(text, p50, p95):
    found = parse_statistics(text)
    assert (found.count, found.mean_ms, found.std_ms, found.max_ms) == (480, 2.1, 0.045, 3.02)
    assert (found.first_ms, found.p50_ms, found.p95_ms) == (2.5, p50, p95)


def test_an_old_text_is_bounded_from_above_and_says_so():
    row = parse_report(OLD, REQUEST, 3_500_000, "ab")
    assert (row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms) == (2.1, 3.02, 3.02, 2.1)
    assert (row.load_ms, row.delegate, row.threads, row.device) == (17.5, "xnnpack", 2, "phone")
    assert (row.memory_loaded_bytes, row.peak_inference_bytes) == (5_767_168, 9_699_328)  # MiB
    assert row.samples_ms == ()
    assert any("p50 is the mean" in note for note in row.notes)
    assert any("the maximum" in note for note in row.notes)


def test_a_new_text_has_a_median():
    row = parse_report(NEW, REQUEST, 1, "ab")
    assert (row.p50_ms, row.p90_ms, row.p99_ms) == (2.095, 2.3, 3.02)
    assert not any("p50 is the mean" in note for note in row.notes)
    assert any("p90 is p95" in note for note in row.notes)


def test_runs_of_one_length_are_told_in_another_form():
    found = parse_statistics("INFO: count=7 curr=9\nINFO: count=60 curr=3(all same)\n")
    assert (found.count, found.std_ms) == (60, 0)
    assert found.first_ms == found.mean_ms == found.max_ms == found.p50_ms == found.p95_ms == 0.003


@pytest.mark.parametrize("text", [OLD, NEW])
def test_a_profiles_own_statistics_do_not_count(text):
    assert parse_statistics(text + PROFILE) == parse_statistics(text)


CONV, SOFTMAX = ("[conv/Relu6]:0", "CONV_2D", 1.1), ("[probs]:2", "SOFTMAX", 0.1)
INNER, DELEGATE = (f"Delegate/{DW}:3", DW, 0.9), ("[y]:3", "TfLiteXNNPackDelegate", 0.9)


@pytest.mark.parametrize(
    ("text", "third"),
    [
        (PROFILE, INNER),
        (SPACED, INNER),
        (OLD_PROFILE, INNER),
        (GRAPHS, INNER),
        (FIRST_PROFILE, None),
        (NESTED, DELEGATE),
        (SEPARATE, DELEGATE),
    ],
    ids=["new", "spaces", "before 2021", "subgraphs", "2018", "delegate inside", "delegate apart"],
)
def test_operators_are_those_of_the_regular_runs(text, third):
    """Each with the time of all its calls in one inference, and none counted twice."""
    found = [(one.name, one.kind, pytest.approx(one.mean_ms)) for one in parse_operators(text)]
    assert found == [one for one in (CONV, third, SOFTMAX) if one is not None]


@pytest.mark.parametrize(
    "text", ["", "STARTING!\n", "count=0\n", INIT, REGULAR, REGULAR + "odd\n", REGULAR + ORDER]
)
def test_other_texts_hold_nothing(text):
    assert parse_report(text, REQUEST, 1, "") is None
    assert parse_operators(text) == ()


@pytest.fixture
def program(tmp_path):
    """A stand-in that says what it was asked for, and then a text."""

    def make(script):
        path = tmp_path / "benchmark_model"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def saying(text):
    return f"echo \"$*\" >&2\ncat <<'END'\n{text}\nEND"


@pytest.fixture
def measured(program):
    """A session on this machine with a stand-in."""
    opened = []

    def make(script):
        device = Device(name="here", address="local", runner=str(program(script)))
        opened.append(device.open())
        return opened[-1]

    yield make
    for session in opened:
        session.close()


def test_a_phone_with_the_users_program(adb_server, phone, program, models):
    transport = open_adb(phone.serial, program=adb_server)
    runner = BenchmarkModel(transport, Cargo(transport), program(saying(NEW + PROFILE)))
    with Session(transport, runner=runner, name="phone") as session:
        row = session.bench(models.int8_tflite, threads=2, seconds=0.5).row
        operators, _ = session.profile(models.int8_tflite)
        interpreters = session.info().interpreters
    assert (row.device, row.runtime, row.p50_ms) == ("phone", "benchmark_model", 2.095)
    assert row.model_bytes == models.int8_tflite.stat().st_size
    assert [one.kind for one in operators] == ["CONV_2D", DW, "SOFTMAX"]
    assert interpreters[0].name == "benchmark_model"


def test_it_is_asked_in_its_own_words(measured, models, tmp_path):
    log = tmp_path / "log"
    session = measured(f'echo "$*" >>{log}\n{saying(NEW + PROFILE)}')
    session.bench(models.int8_tflite, threads=2, seconds=0.5, min_runs=60, delegate="none")
    session.profile(models.int8_tflite)
    first, second = log.read_text().splitlines()
    asked = "--num_threads=2 --num_runs=60 --min_secs=0.5 --use_xnnpack=false"
    assert first.partition(" ")[2] == f"{asked} --enable_op_profiling=false"
    assert second.endswith("--use_xnnpack=true --enable_op_profiling=true")


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -SEGV $$", CrashError, r"benchmark_model was killed by SIGSEGV \(signal 11\)"),
        ("exit 255", AgentError, "measured nothing"),
        ("echo 'cannot load model' >&2; exit 1", AgentError, "measured nothing"),
        ("exit 0", AgentError, "measured nothing"),
    ],
)
def test_a_program_that_fails_says_so(measured, models, script, error, message):
    with pytest.raises(error, match=message):
        measured(script).bench(models.int8_tflite, seconds=0)


def test_it_measures_tflite_files_and_compares_nothing(measured, models):
    session = measured(saying(NEW))
    with pytest.raises(ModelError, match=r"cannot run tiny\.int8\.onnx"):
        session.bench(models.int8_onnx, seconds=0)
    with pytest.raises(ModelError, match="cannot check") as caught:
        session.smoke(models.int8_tflite, models.golden)
    assert "native" in caught.value.remedy
    with pytest.raises(ModelError, match="cannot check"):
        session.run(models.int8_tflite, models.golden)


def test_a_row_without_samples_fits_bench_json():
    build = pytest.importorskip("exporter.build")
    row = parse_report(OLD, REQUEST, 1, "ab")
    assert build.BenchRow(**dataclasses.asdict(row)).samples_ms == ()
