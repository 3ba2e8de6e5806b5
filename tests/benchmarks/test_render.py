"""Results as Markdown."""

from __future__ import annotations

from benchmarks.render import (
    by_shape,
    claim,
    compression_table,
    demo_table,
    markdown_table,
    page,
    provenance,
    ptq_table,
)
from benchmarks.results import arguments, load, publish
from exporter.gate.verdict import NOTHING

ROWS = [{"network": "a|b", "cpu_s": 0.5}, {"network": "c", "cpu_s": None}]


def options(folder, *more):
    return arguments("").parse_args(["--out", str(folder), *more])


def test_a_table_has_units_and_sides():
    assert markdown_table(ROWS).splitlines() == [
        "| network | CPU time |",
        "| --- | --: |",
        "| a\\|b | 500 ms |",
        f"| c | {NOTHING} |",
    ]


def test_columns_can_be_chosen():
    assert markdown_table(ROWS, ["cpu_s"]).splitlines()[0] == "| CPU time |"


def test_rows_of_another_shape_get_a_table_of_their_own():
    rows = [*ROWS, {"wall_s": 3.0}, {"cpu_s": 1.0, "network": "d"}]

    assert by_shape(rows) == [[rows[0], rows[1], rows[3]], [rows[2]]]


def test_the_page_has_every_result_and_says_what_was_quick(tmp_path, capsys):
    publish("one", ROWS, options(tmp_path))
    publish("two", ROWS, options(tmp_path, "--quick"))

    text = page(tmp_path)

    first, second = text.split("## two")
    assert first.startswith("## one\n\n| network |")
    assert "Measured on" in first
    assert "A quick run, measured on" in second


def test_the_provenance_names_machine_versions_and_commit(tmp_path, capsys):
    publish("one", ROWS, options(tmp_path))
    results = load("one", tmp_path)

    changed = results.model_copy(update={"commit": "0123456789abcdef+changed"})

    assert results.machine.cpu in provenance(results)
    assert "commit 0123456789 with changes, " in provenance(changed)


def test_a_result_stands_below_what_its_script_asks(tmp_path, capsys):
    rows = [
        {"network": "n", "size": "narrow", "samples": 2, "values": 60, "failed": failed}
        | {"cpu": cpu, "differing": differing}
        for cpu, differing, failed in (("A", 3, ""), ("B", None, "no emulator"))
    ]
    publish("cpus", rows, options(tmp_path))

    text = page(tmp_path)

    (asked,) = claim("cpus")
    assert asked in text
    assert "| network | size | samples | values | A | B |" in text
    assert "| n | narrow | 2 | 60 | 3 | no emulator |" in text
    assert claim("one") == []


def test_draws_are_told_by_their_median(tmp_path, capsys):
    shared = {"network": "n", "samples": 4, "biases": "corrected"}
    kls = (0.1, 0.5, 0.2)
    rows = [shared | {"draw": draw, "kl": kl} for draw, kl in enumerate(kls)]
    publish("bias_correction", rows, options(tmp_path))

    assert "| n | 4 | corrected | 3 | 0.2 |" in page(tmp_path)


FILE_ROW = {"network": "net", "dataset": "data", "runtime": "TFLite", "steady": True}
RUN_ROW = {"network": "net", "wall_s": 100.0, "cpu_s": 150.0, "others_cpu_s": 20.0}


def test_the_demo_s_table_tells_what_the_run_took(tmp_path, capsys):
    publish("demo", [FILE_ROW, RUN_ROW], options(tmp_path))

    text = demo_table(tmp_path)

    assert text.count("\n| ") == 2  # the line below the heading, and one file
    assert "net on data" in text
    assert "took 100 s, 150 s of processor time; other programs took 20.0 s meanwhile." in text
    assert "disturbed" not in text


def test_a_run_beside_unknown_work_says_so(tmp_path, capsys):
    run = {key: value for key, value in RUN_ROW.items() if key != "others_cpu_s"}
    publish("demo", [FILE_ROW, run], options(tmp_path))

    assert "what other programs took meanwhile is not known" in demo_table(tmp_path)


def test_times_that_were_disturbed_are_said_to_be(tmp_path, capsys):
    publish("demo", [{**FILE_ROW, "steady": False}], options(tmp_path))

    assert "Other programs disturbed the times." in demo_table(tmp_path)


def test_the_tables_of_documents_choose_their_columns(tmp_path, capsys):
    publish("ptq", [{"method": "ours", "kl": 0.5, "file_bytes": 7}], options(tmp_path))
    row = {"network": "net", "dataset": "data", "seed": 0, "ratio": 60.0, "source_mb": None}
    where = {"machine": "a CPU", "date": "2026-12-01"}
    publish("compression", [row | where], options(tmp_path))

    assert ptq_table(tmp_path).startswith(
        "| method | KL | SQNR, dB | TFLite SQNR, dB | agreement |"
    )
    assert f"| ours | 0.5 | {NOTHING} |" in ptq_table(tmp_path)
    heading, _, first, *_, last = compression_table(tmp_path).splitlines()
    assert "| ratio | source's size |" in heading
    assert "| 60.0" in first
    assert last.startswith("net: data; a CPU, 2026-12-01. The last run: Measured on")
