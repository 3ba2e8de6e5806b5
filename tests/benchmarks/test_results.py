"""The document of a benchmark: what it holds, how it reads, and what it keeps to itself."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.machine import this_machine
from benchmarks.results import Results, arguments, columns, commit, load, publish
from benchmarks.units import heading, shown
from exporter.errors import BuildError
from exporter.gate.units import TIMES
from exporter.gate.verdict import NOTHING

ROWS = [
    {"network": "a", "file_bytes": 1500, "latency_ms_p50": 0.25},
    {"network": "b", "file_bytes": 2_500_000, "latency_ms_p50": None, "clean": True},
]


@pytest.fixture
def options(tmp_path):
    return arguments("Measures.").parse_args(["--quick", "--out", str(tmp_path)])


def test_the_document_has_what_the_design_says(options, capsys):
    path = publish("claim", ROWS, options, versions={"peer": "1.2"})

    document = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "claim.json"
    assert list(document) == [
        "schema_version",
        "name",
        "date",
        "commit",
        "machine",
        "versions",
        "quick",
        "rows",
    ]
    assert document["quick"] is True
    assert document["rows"] == ROWS
    assert document["versions"]["peer"] == "1.2"
    assert document["versions"]["numpy"]
    assert document["machine"]["cores"] >= 1


def test_the_table_is_printed_with_units(options, capsys):
    publish("claim", ROWS, options)

    printed = capsys.readouterr().out
    assert "1.50 kB" in printed
    assert "2.50 MB" in printed
    assert "250 µs" in printed
    assert "quick run" in printed


def test_markup_in_a_row_is_printed_as_it_is(options, capsys):
    publish("claim", [{"network": "[red]x[/red]"}], options)

    assert "[red]x[/red]" in capsys.readouterr().out


def test_the_document_names_no_host_and_no_path(options):
    text = publish("claim", ROWS, options).read_text(encoding="utf-8")

    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert str(Path.home()) not in text
    assert str(options.out) not in text


def test_what_was_written_is_read(options):
    publish("claim", ROWS, options)

    assert load("claim", options.out).rows == tuple(ROWS)


def test_missing_results_say_so(tmp_path):
    with pytest.raises(BuildError, match=r"claim\.json is missing"):
        load("claim", tmp_path)


@pytest.mark.parametrize("name", ["../claim", "a b", ""])
def test_a_name_that_is_no_file_name_is_refused(name, options):
    with pytest.raises(ValidationError, match="letters, digits"):
        publish(name, ROWS, options)


def test_rows_must_be_flat(options):
    with pytest.raises(ValidationError):
        publish("claim", [{"network": {"name": "a"}}], options)


def test_numbers_are_not_bent_into_another_type(options):
    publish("claim", [{"a": 1, "b": 1.0, "c": True, "d": "1"}], options)

    row = load("claim", options.out).rows[0]
    assert [type(value) for value in row.values()] == [int, float, bool, str]


def test_columns_come_in_the_order_of_the_rows():
    assert columns(ROWS) == ["network", "file_bytes", "latency_ms_p50", "clean"]


@pytest.mark.parametrize(
    ("key", "value", "title", "text"),
    [
        ("accuracy", 0.9876, "accuracy", "98.76 %"),
        ("accuracy_drop_pt", 0.4, "drop", "0.40 pt"),
        ("package_bytes", 12_345, "package", "12.3 kB"),
        ("ratio", 26.53, "ratio", f"26.5{TIMES}"),
        ("latency_ratio", 1.5, "latency ratio", f"1.50{TIMES}"),
        ("latency_ms_p90", 1.234, "p90", "1.23 ms"),
        ("load_ms_p50", 2.0, "load p50", "2.00 ms"),
        ("peak_rss_mb", 81.2, "peak memory", "81.2 MB"),
        ("cpu_s", 0.05, "CPU time", "50.0 ms"),
        ("wall_s", 200.0, "wall", "200 s"),
        ("nodes", 12345678, "nodes", "12345678"),
        ("sqnr_db", 11.512345, "SQNR, dB", "11.51"),
        ("clean", False, "clean", "no"),
        ("cpu_s", None, "CPU time", NOTHING),
    ],
)
def test_keys_and_values_read_well(key, value, title, text):
    assert (heading(key), shown(key, value)) == (title, text)


def test_the_commit_tells_changed_code(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        argv = ["git", "-C", tmp_path, *identity, *words]
        subprocess.run(argv, check=True, capture_output=True)

    (tmp_path / "exporter").mkdir()
    source, note = tmp_path / "exporter" / "code.py", tmp_path / "note.md"
    source.write_text("a = 1\n")
    note.write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")

    clean = commit(tmp_path)
    note.write_text("two\n")
    assert len(clean) == 40
    assert commit(tmp_path) == clean
    source.write_text("a = 2\n")
    assert commit(tmp_path) == f"{clean}+changed"


def test_without_git_the_commit_is_unknown(tmp_path):
    assert commit(tmp_path) == "unknown"


CPUINFO = {
    "x86": "processor : 0\nmodel name\t: AMD EPYC\nflags : fpu avx2 avx512f avx512_vnni\n\n"
    "processor : 1\nmodel name : other\nflags : fpu\n",
    "arm": "processor : 0\nFeatures : fp asimd asimddp\n",
}


@pytest.mark.parametrize(
    ("kind", "features"),
    [("x86", ("AVX2", "AVX512", "AVX512-VNNI")), ("arm", ("NEON", "DotProd"))],
)
def test_the_features_that_int8_kernels_choose_by(kind, features, tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO[kind])
    (tmp_path / "meminfo").write_text("MemTotal:       16777216 kB\n")

    machine = this_machine(tmp_path / "cpuinfo", tmp_path / "meminfo")

    assert machine.features == features
    assert machine.memory_gib == 16.0
    assert "16 GiB" in machine.sentence()


def test_the_model_name_is_the_first_core_s(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO["x86"])

    assert this_machine(tmp_path / "cpuinfo").cpu == "AMD EPYC"


def test_what_the_system_does_not_tell_is_unknown(tmp_path):
    machine = this_machine(tmp_path / "none", tmp_path / "none")

    assert machine.features is None
    assert machine.memory_gib is None
    assert machine.cpu


def test_a_schema_of_another_version_is_refused():
    with pytest.raises(ValidationError, match="schema_version"):
        Results.model_validate({"schema_version": 2})
