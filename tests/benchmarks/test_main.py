"""`make bench` finds every benchmark, and one that fails neither stops nor hides."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.__main__ import FOLDER, run, scripts


def test_every_script_is_found_and_the_frame_is_not():
    names = scripts()

    assert {"demo", "lowering"} <= set(names)
    assert not {"results", "machine", "paired", "process", "__main__"} & set(names)


def test_each_script_knows_the_options_of_all():
    for name in scripts():
        argv = [sys.executable, FOLDER / f"{name}.py", "--help"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "--quick" in done.stdout, name
        assert "--out" in done.stdout, name


def test_a_failure_is_named_and_the_rest_runs(tmp_path, capfd):
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    (tmp_path / "good.py").write_text("import sys; print('ran', sys.argv[1:])")

    assert run(["bad", "good"], quick=True, folder=tmp_path) == ["bad"]
    assert "ran ['--quick']" in capfd.readouterr().out
