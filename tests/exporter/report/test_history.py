from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from rich.console import Console

from exporter.errors import BuildError
from exporter.history import HISTORY, History, open_history, render, to_json
from exporter.report.history import write_history

APPEND = """
import sys
from pathlib import Path
from exporter.history import History
history = History(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    history.append(Path(sys.argv[2]), passed=True)
"""


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "new folder" / HISTORY)


def test_a_build_is_remembered(history, build):
    assert history.append(build, passed=True) == 1
    (release,) = history.releases()
    assert (release.name, release.built, release.passed) == ("digits", "2025-03-14T09:26:53Z", True)
    fp32, tflite, onnx = release.files
    assert (tflite.label, tflite.file_bytes, tflite.package_bytes) == (
        "int8 · TFLite",
        84_216,
        14_902,
    )
    assert tflite.accuracy == 0.979
    assert tflite.p50_ms < tflite.p90_ms
    assert len(tflite.sha256) == 64
    assert (fp32.package_bytes, onnx.device) == (None, "local")


def test_what_was_not_measured_is_unknown(history, build):
    for name in ("accuracy.json", "bench.json"):
        (build / name).unlink()
    history.append(build)
    (release,) = history.releases()
    assert release.passed is None
    assert {(file.accuracy, file.p50_ms) for file in release.files} == {(None, None)}


def test_the_last_of_each_name_are_shown_the_oldest_first(history, build, builds):
    for _ in range(3):
        history.append(build)
    builds.edit_json(build / "manifest.json", lambda document: document.update(name="letters"))
    history.append(build)
    assert [(one.id, one.name) for one in history.releases(last=2)] == [
        (2, "digits"),
        (3, "digits"),
        (4, "letters"),
    ]
    assert [one.id for one in history.releases(name="letters")] == [4]


def test_two_writers_at_once_lose_nothing(history, build):
    """Both start from no file at all, so that making the tables is part of the race."""
    argv = [sys.executable, "-c", APPEND, history.path, build, "20"]
    writers = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.wait(timeout=120) == 0, writer.stderr.read()
        writer.stderr.close()
    releases = history.releases(last=100)
    assert [release.id for release in releases] == list(range(1, 41))
    assert all(len(release.files) == 3 for release in releases)


def test_a_writer_waits_until_another_is_done(history, build):
    """A transaction that began by reading would be refused at once, however long it may wait."""
    history.append(build)
    other = sqlite3.connect(history.path, timeout=20, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE releases SET name = 'letters'")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(history.append, build)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        other.execute("COMMIT")
        assert waiting.result(timeout=60) == 2
    other.close()
    assert [release.name for release in history.releases()] == ["letters", "digits"]


def test_a_write_that_fails_halfway_leaves_nothing(history, build, monkeypatch):
    history.append(build)
    monkeypatch.setattr("exporter.history._FIELDS", "no_such_column")
    with pytest.raises(BuildError, match="cannot be used"):
        history.append(build)
    monkeypatch.undo()
    assert len(history.releases()) == 1


def test_a_directory_is_searched_for_its_history(history, build):
    history.append(build)
    assert open_history(history.path.parent).releases() == history.releases()
    assert open_history(history.path).releases() == history.releases()


def test_without_a_history_it_says_where_one_comes_from(history):
    with pytest.raises(BuildError, match="there is no history at") as caught:
        history.releases()
    assert "edgewright run" in str(caught.value)
    assert not history.path.exists()


def test_a_file_that_is_no_database_is_bad_input(history, build):
    history.path.parent.mkdir()
    history.path.write_bytes(b"no database, but long enough to be read as one" * 40)
    with pytest.raises(BuildError, match="cannot be used"):
        history.append(build)


def test_a_history_of_another_version_is_left_alone(history, build):
    history.path.parent.mkdir()
    with sqlite3.connect(history.path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(BuildError, match="is of another version"):
        history.append(build)


def test_the_table_and_the_document_hold_every_release(history, build, capsys):
    history.append(build, passed=True)
    history.append(build, passed=False)
    releases = history.releases()
    Console(width=160).print(render(releases))
    text = capsys.readouterr().out
    assert text.count("14.9 kB") == 2
    assert ("✓" in text, "✗" in text) == (True, True)
    document = json.loads(to_json(releases))
    assert [release["passed"] for release in document["releases"]] == [True, False]


def test_a_line_of_the_table_stays_one_on_120_columns(history, build, builds, capsys):
    def change(document):
        for row in document["rows"]:
            row["valid"] = False

    builds.edit_json(build / "bench.json", change)
    history.append(build, passed=True)
    Console(width=120).print(render(history.releases()))
    head, _, *rows = capsys.readouterr().out.rstrip().splitlines()
    assert [row.count("~") for row in rows] == [2, 2]
    assert "accuracy" in head
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(rows)


def test_the_page_has_a_picture_of_size_accuracy_and_latency(history, build, tmp_path):
    for _ in range(3):
        history.append(build, passed=True)
    page = write_history(history.releases(), tmp_path / "history.html").read_text()
    assert page.count("<svg") == 3
    for title in ("Download", "Accuracy", "Median time of one inference"):
        assert f"<h3>{title}</h3>" in page
    assert "http:" not in page
    assert "https:" not in page


def test_steps_of_an_axis_read_as_equal(history, build, tmp_path):
    """15.25 kB would read 15.2 kB, nearer to 15.0 kB than to 15.5 kB."""
    history.append(build)
    page = write_history(history.releases(), tmp_path / "history.html").read_text()
    download = re.search(r"<svg.*?</svg>", page, re.DOTALL)[0]
    sizes = [float(found) for found in re.findall(r">\s*([\d.]+) kB\s*<", download)]
    steps = {round(after - before, 6) for before, after in pairwise(sorted(sizes))}
    assert len(sizes) > 2
    assert len(steps) == 1, sizes


@pytest.mark.parametrize("count", [0, 1])
def test_a_short_history_is_a_page_too(history, build, tmp_path, count):
    history.append(build)
    page = write_history(history.releases()[:count], tmp_path / "h.html").read_text()
    assert page.count("<svg") == 3 * count
    assert ("No builds yet" in page) == (count == 0)


def test_nothing_measured_gives_no_picture_of_it(history, build, tmp_path):
    for name in ("accuracy.json", "bench.json"):
        (build / name).unlink()
    history.append(build)
    page = write_history(history.releases(), tmp_path / "h.html").read_text()
    assert page.count("<svg") == 1


def test_a_name_without_builds_is_said_to_have_none(history, build):
    history.append(build)
    argv = [sys.executable, "-m", "exporter.cli", "history", history.path.parent, "--name", "zz"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"{history.path} holds no builds of the name zz\n"
